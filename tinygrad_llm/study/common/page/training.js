"use strict";
// Replays a training: every number on the page was recorded, nothing is computed but places to draw.
(() => {
  const training = JSON.parse(document.getElementById("training").textContent);
  const { nodes, steps, arrays, parameters } = training;
  const get = (id) => document.getElementById(id);
  const ops = nodes.filter((node) => node.kind === "op");
  const perStep = ops.length + steps[0].back.length + parameters.length;
  const last = steps.length * perStep - 1;
  const isAt = (frame) => {
    const s = Math.floor(frame / perStep);
    let i = frame % perStep;
    if (i < ops.length) return { s, phase: "forward", i };
    i -= ops.length;
    if (i < steps[s].back.length) return { s, phase: "backward", i };
    return { s, phase: "update", i: i - steps[s].back.length };
  };

  // ------------------------------------------------------------------------------ the words
  function describe({ s, phase, i }) {
    const step = steps[s], part = get("now");
    const title = (word) => element("h2", { text: `Training step ${s + 1} of ${steps.length}, ${phase}: ${word}` });
    if (phase === "forward") {
      const node = ops[i];
      part.replaceChildren(title(node.label), voices(node.plain[0], node.exact[0]),
        heatFigure(arrays[step.values[node.id]], i === ops.length - 1 ? "the loss" : "its output"));
    } else if (phase === "backward") {
      const back = step.back[i], node = nodes[back.node];
      part.replaceChildren(title(node.label), voices(node.plain[1], node.exact[1]),
        heatFigure(arrays[back.arriving], "arrives: ∂L/∂output"),
        ...back.leaving.map(([to, name, g]) => heatFigure(arrays[g], `leaves: ∂L/∂${name} → ${nodes[to].label}`)));
    } else {
      const update = step.update[i];
      part.replaceChildren(title(update.name),
        voices("The parameter moves a small step against its gradient: where more would make the loss larger, it becomes smaller.",
          `${training.rule}${update.words}`),
        heatFigure(arrays[update.before], `${update.name}, before`),
        heatFigure(arrays[update.gradient], "its gradient g"),
        heatFigure(arrays[update.after], `${update.name}, after`));
    }
  }

  // -------------------------------------------------------------------------------- all numbers
  function allNumbers({ s, phase, i }) {
    const step = steps[s], table = element("table", {});
    table.append(element("thead", {}, element("tr", {},
      ...["", "value", "gradient ∂L/∂"].map((text) => element("th", { text })))));
    const body = element("tbody", {});
    nodes.forEach((node) => {
      const k = ops.indexOf(node);
      const has = k < 0 || phase !== "forward" || k <= i;
      const total = step.totals[node.id];
      const arrived = total && (phase === "update" || (phase === "backward" && total[0] <= i + 1));
      const active = (phase === "forward" && k === i && k >= 0) || (phase === "backward" && step.back[i].node === node.id)
        || (phase === "update" && node.label === step.update[i].name);
      const value = phase === "update" && step.update.slice(0, i + 1).find((u) => u.name === node.label);
      const shown = value ? value.after : step.values[node.id];
      const cell = (content) => element("td", {}, content || element("span", { class: "soft", text: "not yet" }));
      body.append(element("tr", { class: active ? (phase === "forward" ? "now" : "now back") : null },
        element("td", {}, element("b", { text: node.label }), ` ${node.kind === "op" ? "" : node.kind === "parameter" ? "(parameter)" : "(input)"}`),
        cell(has && heatTable(arrays[shown])), cell(arrived && heatTable(arrays[total[1]]))));
    });
    table.append(body);
    get("nodes").replaceChildren(table);
  }

  // ------------------------------------------------------------------------------------- charts
  function charts({ s }) {
    const losses = steps.map((step) => step.loss);
    const top = Math.max(...losses);
    const one = axes("the loss of each training step", [1, Math.max(2, steps.length)], [0, top * 1.05], "training step", "loss");
    const points = losses.map((loss, i) => [one.x(i + 1), one.y(loss)]);
    one.svg.append(line("rest", points), line("one", points.slice(0, s + 1)),
      shape("circle", { class: "here", cx: points[s][0], cy: points[s][1], r: 4.5 }));
    get("losses").replaceChildren(one.svg, legend(["--accent", "loss so far"], ["--line", "still to come"],
      ["--warm", `this step: ${number(losses[s], 4)}`]));
    if (!training.curve) return;
    const { x: xs, points: data } = training.curve;
    const all = [...steps.flatMap((step) => step.curve), ...data.map(([, b]) => b)];
    const two = axes("the model's output and the data", [xs[0], xs[xs.length - 1]], [Math.min(...all) - 0.1, Math.max(...all) + 0.1], "x", "y");
    two.svg.append(line("rest", xs.map((a, i) => [two.x(a), two.y(steps[0].curve[i])])),
      line("one", xs.map((a, i) => [two.x(a), two.y(steps[s].curve[i])])),
      ...data.map(([a, b]) => shape("circle", { class: "point", cx: two.x(a), cy: two.y(b), r: 4.5 })));
    get("curve").replaceChildren(two.svg, legend(["--accent", "what the model computes now"],
      ["--line", "before the training"], ["--good", "the data"]));
  }

  // ---------------------------------------------------------------------------------- one state
  stepping(last, perStep, 700, (now) => {
    const at = isAt(now);
    get("where").textContent = `step ${at.s + 1} of ${steps.length}, ${at.phase} ${at.i + 1}`;
    ["forward", "backward", "update"].forEach((phase) => {
      get(phase).classList.toggle("now", phase === at.phase);
      if (phase === at.phase) get(phase).setAttribute("aria-current", "step");
      else get(phase).removeAttribute("aria-current");
    });
    describe(at);
    allNumbers(at);
    charts(at);
  });
})();
