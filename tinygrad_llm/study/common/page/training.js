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
  let now = 0, timer = null;

  // ------------------------------------------------------------------------------ the words
  function voices(plain, exact) {
    const part = element("div", {}), made = element("div", {});
    made.innerHTML = exact; // written by Python, which escapes it
    if (plain) part.append(element("p", { class: "plain" }, element("span", { class: "voice", text: "in plain words" }), plain));
    if (exact) part.append(element("div", { class: "exact" }, element("span", { class: "voice", text: "exactly" }), made));
    return part;
  }

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
  const SVG = Object.assign(document.createElement("div"), { innerHTML: "<svg></svg>" }).firstChild.namespaceURI;
  function shape(tag, attributes, text) {
    const created = document.createElementNS(SVG, tag);
    Object.entries(attributes).forEach(([name, value]) => created.setAttribute(name, value));
    if (text !== undefined) created.textContent = text;
    return created;
  }

  function ticks(low, high) { // at most five round numbers
    const raw = (high - low) / 4 || 1, power = 10 ** Math.floor(Math.log10(raw));
    const size = [1, 2, 5, 10].map((f) => f * power).find((f) => f >= raw);
    const found = [];
    for (let t = Math.ceil(low / size - 1e-9) * size; t <= high + 1e-9; t += size) found.push(Number(t.toPrecision(6)));
    return found;
  }

  function axes(label, xs, ys, xWord, yWord) {
    const box = { left: 46, right: 12, top: 18, bottom: 34, width: 480, height: 230 };
    const svg = shape("svg", { class: "chart", viewBox: `0 0 ${box.width} ${box.height}`, role: "img", "aria-label": label });
    const x = (v) => box.left + (v - xs[0]) / (xs[1] - xs[0]) * (box.width - box.left - box.right);
    const y = (v) => box.height - box.bottom - (v - ys[0]) / (ys[1] - ys[0]) * (box.height - box.top - box.bottom);
    ticks(...xs).forEach((t) => svg.append(shape("text", { x: x(t), y: box.height - box.bottom + 14, "text-anchor": "middle" }, String(t))));
    ticks(...ys).forEach((t) => svg.append(shape("text", { x: box.left - 5, y: y(t) + 4, "text-anchor": "end" }, String(t)),
      shape("line", { class: "axis", x1: box.left, x2: box.width - box.right, y1: y(t), y2: y(t), opacity: 0.5 })));
    svg.append(shape("polyline", { class: "axis", points: `${box.left},${box.top} ${box.left},${box.height - box.bottom} ${box.width - box.right},${box.height - box.bottom}` }),
      shape("text", { x: (box.left + box.width) / 2, y: box.height - 4, "text-anchor": "middle" }, xWord),
      shape("text", { x: 4, y: 11 }, yWord));
    return { svg, x, y };
  }

  const line = (kind, points) => shape("polyline", { class: kind, points: points.map(([a, b]) => `${a.toFixed(1)},${b.toFixed(1)}`).join(" ") });
  const legend = (...entries) => element("figcaption", { class: "legend" },
    ...entries.map(([color, text]) => element("span", { style: `--key: var(${color})`, text })));

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
  function show(frame) {
    now = Math.max(0, Math.min(last, frame));
    const at = isAt(now);
    get("slider").value = now;
    get("where").textContent = `step ${at.s + 1} of ${steps.length}, ${at.phase} ${at.i + 1}`;
    get("first").disabled = get("back").disabled = now === 0;
    get("next").disabled = get("whole").disabled = now === last;
    ["forward", "backward", "update"].forEach((phase) => {
      get(phase).classList.toggle("now", phase === at.phase);
      if (phase === at.phase) get(phase).setAttribute("aria-current", "step");
      else get(phase).removeAttribute("aria-current");
    });
    describe(at);
    allNumbers(at);
    charts(at);
    if (now === last) stop();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    get("play").textContent = "play";
  }

  get("slider").max = last;
  get("slider").oninput = (event) => show(Number(event.target.value));
  get("first").onclick = () => show(0);
  get("back").onclick = () => show(now - 1);
  get("next").onclick = () => show(now + 1);
  get("whole").onclick = () => show(now + perStep);
  get("play").onclick = () => {
    if (timer) return stop();
    if (now === last) show(0);
    timer = setInterval(() => show(now + 1), 700);
    get("play").textContent = "pause";
  };
  get("play").hidden = matchMedia("(prefers-reduced-motion: reduce)").matches; // nothing moves by itself
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.type === "range") return;
    const to = { ArrowRight: now + 1, ArrowLeft: now - 1, PageDown: now + perStep, PageUp: now - perStep, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    stop();
    show(to);
  });
  show(0);
})();
