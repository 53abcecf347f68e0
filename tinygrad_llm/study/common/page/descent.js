"use strict";
// Replays an optimizer's path: every number was recorded, nothing is computed but places to draw.
(() => {
  const descent = JSON.parse(document.getElementById("descent").textContent);
  const { points, losses, rates, averages, steps, texts } = descent;
  const get = (id) => document.getElementById(id);
  const six = (x) => number(x, 6);

  // ------------------------------------------------------------------------------ one step
  function describe(t) {
    const title = element("h2", { text: `Step ${t + 1} of ${steps.length}` });
    get("now").replaceChildren(title, voices(`${descent.plain} ${steps[t].words}`, descent.exact), numbersOf(t));
  }

  function numbersOf(t) {
    const { gradient, options, before, after } = steps[t];
    const table = element("table", { class: "state" });
    const head = element("tr", {}, ...["", "x", "y"].map((text) => element("th", { text })));
    table.append(element("thead", {}, head));
    const body = element("tbody", {});
    const row = (name, values, changed) => {
      const cells = Array.isArray(values) ? values : [values];
      const wide = cells.length === 1 ? { colspan: 2 } : {};
      body.append(element("tr", changed ? { class: "changed" } : {}, element("td", { class: "left", text: name }),
        ...cells.map((value) => element("td", { ...wide, text: typeof value === "string" ? value : six(value) }))));
    };
    row("p, before", points[t]);
    row("gradient g = ∂L/∂p", gradient);
    Object.entries(options).forEach(([name, value]) => row(name === "lr" ? "learning rate" : name, [value]));
    const kept = new Map(before);
    after.forEach(([name, values]) => {
      row(`${name}, before`, kept.has(name) ? kept.get(name) : "not there yet");
      row(`${name}, after`, values, true);
    });
    row("p, after", points[t + 1], true);
    if (averages.length) row("their average", averages[t], true);
    table.append(body);
    return element("div", { class: "wide" }, table);
  }

  function code(lines) {
    const table = element("table", { class: "lines" });
    lines.forEach(([text, values]) => table.append(element("tr", {}, element("td", { text: texts[text] }),
      element("td", { text: values.map(([name, value]) => (name === "return" ? value : `${name} = ${value}`)).join("\n") }))));
    return table;
  }

  function codeOf(t) {
    const parts = [element("h3", { text: `${descent.optimizer}: the update` }), code(steps[t].lines)];
    if (descent.schedule) {
      parts.unshift(element("h3", { text: `${descent.schedule}: then, the rate of the next step` }), code(steps[t].scheduled));
    }
    get("code").replaceChildren(...parts);
  }

  // ------------------------------------------------------------------------------ pictures
  function segments(values, x, y) {
    let d = "";
    for (let i = 0; i < values.length; i += 4) {
      const [x1, y1, x2, y2] = [x(values[i]), y(values[i + 1]), x(values[i + 2]), y(values[i + 3])].map((v) => v.toFixed(1));
      d += `M${x1} ${y1}L${x2} ${y2}`;
    }
    return d;
  }

  function surface(t) {
    const { svg, x, y } = axes("the loss over x and y, with the optimizer's path", descent.x, descent.y, "x", "y", 330);
    const at = (p) => [x(p[0]), y(p[1])];
    descent.contours.forEach((values) => svg.append(shape("path", { class: "contour", d: segments(values, x, y) })));
    svg.append(line("rest", points.map(at)), line("path", points.slice(0, t + 2).map(at)));
    if (averages.length) svg.append(line("average", [points[0], ...averages.slice(0, t + 1)].map(at)));
    points.slice(0, t + 1).forEach((p) => svg.append(shape("circle", { class: "visited", cx: at(p)[0], cy: at(p)[1], r: 1.8 })));
    const [a, b] = [at(points[t]), at(points[t + 1])];
    const [gx, gy] = steps[t].gradient;
    const across = [x(points[t][0] - gx) - a[0], y(points[t][1] - gy) - a[1]];
    const length = Math.hypot(...across) || 1;
    svg.append(shape("line", { class: "gradient", x1: a[0], y1: a[1], x2: a[0] + across[0] / length * 46, y2: a[1] + across[1] / length * 46 }),
      shape("line", { class: "move", x1: a[0], y1: a[1], x2: b[0], y2: b[1] }),
      shape("circle", { class: "here", cx: a[0], cy: a[1], r: 4.5 }));
    const words = [["--warm", "p before this step; dashed: downhill, −g"], ["--accent", "this step; thin: contours, each half as high as the next outside"]];
    if (averages.length) words.push(["--good", "the average of the points"]);
    get("surface").replaceChildren(svg, legend(...words));
  }

  function curve(place, label, word, values, t, xs) {
    const top = Math.max(...values) || 1;
    const { svg, x, y } = axes(label, [xs, Math.max(xs + 1, xs + values.length - 1)], [0, top * 1.05], "step", word, 190);
    const path = values.map((value, i) => [x(xs + i), y(value)]);
    svg.append(line("rest", path), line("one", path.slice(0, t + 1)),
      shape("circle", { class: "here", cx: path[t][0], cy: path[t][1], r: 4.5 }));
    get(place).replaceChildren(svg, legend(["--accent", `${word} so far`], ["--line", "still to come"],
      ["--warm", `now: ${number(values[t], 4)}`]));
  }

  stepping(steps.length - 1, 10, 500, (t) => {
    get("where").textContent = `step ${t + 1} of ${steps.length}`;
    describe(t);
    codeOf(t);
    surface(t);
    if (descent.schedule) curve("rates", "the learning rate of each step", "learning rate", rates, t, 1);
    curve("losses", "the loss after each step", "loss", losses, t + 1, 0);
  });
})();
