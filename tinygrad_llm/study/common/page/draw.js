"use strict";
(() => {
  const drawing = JSON.parse(document.getElementById("drawing").textContent);
  const { nodes, edges, steps, arrays } = drawing;
  const get = (id) => document.getElementById(id);
  const canvas = document.querySelector(".canvas");
  const svg = get("edges");
  const stepOf = new Map(steps.map((step, i) => [step.node, i + 1]));
  let now = 0;
  let inspected = null;

  // ------------------------------------------------------------------------- what has arrived
  // Every gradient that reached output `out` of a node in the first n steps.
  function arrivals(node, out, n) {
    const arrived = [];
    steps.slice(0, n).forEach((step) => {
      step.leaving.forEach((a) => {
        if (a.to === node && a.out === out) arrived.push({ from: step.node, ...a });
      });
    });
    return arrived;
  }

  function gradientSoFar(node, out, n) {
    if (!steps.length) return nodes[node].grad;
    const arrived = arrivals(node, out, n);
    if (arrived.length) return arrived[arrived.length - 1].total;
    return node === drawing.root && n > 0 ? steps[0].arriving[out] ?? null : null;
  }

  function nameOf(id) {
    const node = nodes[id];
    return node.names.length ? `${node.label} (${node.names.join(", ")})` : node.label;
  }

  function brief(id) {
    if (id === null || id === undefined) return "";
    const array = arrays[id];
    return array.size === 1 && array.numbers ? number(array.numbers[0][0], 5) : `|∂| ${number(array.norm, 3)}`;
  }

  // ------------------------------------------------------------------------------- the edges
  function shown(element) {
    let visible = element;
    for (let box = element.closest(".box"); box; box = box.parentElement.closest(".box")) {
      if (box.classList.contains("folded") && box !== element) visible = box;
    }
    return visible;
  }

  function drawEdges() {
    const base = canvas.getBoundingClientRect();
    const place = (element) => {
      const r = element.getBoundingClientRect();
      return { left: r.left - base.left, right: r.right - base.left, top: r.top - base.top,
        bottom: r.bottom - base.top, middle: (r.left + r.right) / 2 - base.left };
    };
    const visible = [...canvas.querySelectorAll(".node, .box.folded")].filter((e) => shown(e) === e);
    const places = new Map(visible.map((e) => [e, place(e)]));
    const sent = new Map();
    steps.slice(0, now).forEach((step, i) => step.leaving.forEach((a) =>
      sent.set(`${a.to} ${step.node} ${a.input}`, i + 1 === now ? "now" : "passed")));
    const paths = [];
    const known = new Map();
    const lanes = [];
    edges.forEach((edge) => {
      const from = shown(get(`n${edge.from}`)), to = shown(get(`n${edge.to}`));
      if (from === to) return;
      const state = sent.get(`${edge.from} ${edge.to} ${edge.input}`) || "";
      const key = `${from.id} ${to.id}`;
      if (known.has(key)) {
        const path = known.get(key);
        if (state === "now" || (state && !path.getAttribute("class"))) path.setAttribute("class", state);
        return;
      }
      const a = places.get(from), b = places.get(to);
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("d", curve(a, b, [...places.values()], lanes));
      if (state) path.setAttribute("class", state);
      known.set(key, path);
      paths.push(path);
    });
    svg.replaceChildren(...paths);
  }

  // Downwards; if something is in between, around it, on the side where there is room.
  function curve(a, b, places, lanes) {
    const low = Math.min(a.middle, b.middle) - 3, high = Math.max(a.middle, b.middle) + 3;
    const between = places.filter((p) =>
      p.top >= a.bottom && p.bottom <= b.top && p.right > low && p.left < high);
    if (!between.length) {
      const bend = Math.max(10, (b.top - a.bottom) / 2);
      return `M${a.middle} ${a.bottom}C${a.middle} ${a.bottom + bend} ${b.middle} ${b.top - bend} ${b.middle} ${b.top}`;
    }
    const start = (a.top + a.bottom) / 2, end = (b.top + b.bottom) / 2;
    const sameHeight = places.filter((p) => p.top < start && p.bottom > start);
    const side = sameHeight.some((p) => p.left >= a.right) && !sameHeight.some((p) => p.right <= a.left) ? -1 : 1;
    const edge = (p) => (side > 0 ? p.right : -p.left);
    let lane = Math.max(...[a, b, ...between].map(edge)) + 10;
    while (lanes.some((other) => Math.abs(lane * side - other) < 6)) lane += 7;
    lane *= side;
    lanes.push(lane);
    const from = edge(a) * side, to = edge(b) * side;
    return `M${from} ${start}C${lane} ${start} ${lane} ${start} ${lane} ${start + 16}` +
      `L${lane} ${end - 16}C${lane} ${end} ${lane} ${end} ${to} ${end}`;
  }

  // ------------------------------------------------------------------------------ the panel
  function arrivesPart(step) {
    const part = element("section", {}, element("h3", { text: "Arrives" }));
    step.arriving.forEach((id, out) => {
      const which = step.arriving.length > 1 ? `∂L/∂output ${out}` : "∂L/∂output";
      if (id === null) {
        part.append(element("p", { class: "soft", text: `${which}: nothing: this output was not used` }));
        return;
      }
      const arrived = arrivals(step.node, out, now - 1);
      if (arrived.length > 1) {
        const list = element("p", { class: "sum", text: `${arrived.length} gradients add up here: ` });
        list.append(arrived.map((a) => `${brief(a.gradient)} from ${nameOf(a.from)}`).join("  +  "));
        if (arrays[id].size === 1) list.append(`  =  ${brief(id)}`);
        part.append(list);
      } else if (!arrived.length) {
        part.append(element("p", { class: "soft", text: "the backward pass begins here" }));
      }
      part.append(heatFigure(arrays[id], which));
    });
    return part;
  }

  function formulaPart(step) {
    const part = element("section", {}, element("h3", { text: "Formula" }));
    if (step.plain) part.append(element("p", { class: "plain", text: step.plain }));
    const exact = element("div", { class: "exact" });
    exact.innerHTML = step.exact; // written by Python, which escapes it
    part.append(exact);
    const formulas = Object.entries(step.formulas);
    if (formulas.length) {
      const names = Object.fromEntries(step.leaving.map((a) => [a.input, a.name]));
      const texts = formulas.filter(([i]) => i in names).map(([i, text]) => `∂L/∂${names[i]} = ${text}`);
      part.append(element("pre", { class: "with-numbers", text: texts.join("\n") }));
    }
    const table = element("table", { class: "lines" });
    step.lines.forEach((line) => {
      const row = table.insertRow();
      row.insertCell().textContent = line.text;
      row.insertCell().textContent = line.values.map(([name, value]) => {
        const sign = name === "return" ? "" : `${name} = `;
        return sign + value.replaceAll("\n", "\n" + " ".repeat(sign.length));
      }).join("\n");
    });
    const details = element("details", {},
      element("summary", { text: `the op's lines, with the values that each one set` }),
      element("div", { class: "wide" }, table));
    details.open = !formulas.length;
    if (step.more) details.append(element("p", { class: "soft", text: `and ${step.more} more lines` }));
    part.append(details);
    return part;
  }

  function leavesPart(step) {
    const part = element("section", {}, element("h3", { text: "Leaves" }));
    step.leaving.forEach((a) => {
      part.append(heatFigure(arrays[a.gradient], `∂L/∂${a.name} → ${nameOf(a.to)}`));
      if (a.count > 1) {
        const text = `added to the gradient that is there: now ${brief(a.total)} after ${a.count} arrivals`;
        part.append(element("p", { class: "sum", text }));
      }
    });
    if (!step.leaving.length) part.append(element("p", { class: "soft", text: "nothing: no input wants a gradient" }));
    return part;
  }

  function showStep() {
    const part = get("step");
    if (!steps.length) {
      part.replaceChildren(element("p", { text: "A backward pass has freed what the ops of this graph had saved. To step through it, draw before backward(), or call backward(retain_graph=True)." }));
      return;
    }
    if (!now) {
      part.replaceChildren(
        element("h2", { text: "Before the first step" }),
        element("p", { text: `${steps.length === 1 ? "1 op lies" : `${steps.length} ops lie`} between ${nameOf(drawing.root)} and the inputs. Each receives ∂L/∂output, the newest op first, and sends ∂L/∂input to each of its inputs.` }),
        element("p", { class: "soft", text: "Arrow keys or the buttons step through; Tab goes from node to node and shows its numbers; Enter goes to an op's step, or closes a box." }));
      return;
    }
    const step = steps[now - 1], node = nodes[step.node];
    part.replaceChildren(
      element("h2", { text: `Step ${now} of ${steps.length}: ${nameOf(step.node)}` }),
      element("p", { class: "soft", text: [node.path, node.text, node.line].filter(Boolean).join("  ·  ") }),
      arrivesPart(step), formulaPart(step), leavesPart(step));
    if (now === steps.length) {
      const leaves = nodes.filter((n) => n.kind !== "op");
      part.append(element("h3", { text: "The backward pass is complete: the gradients of the leaves" }));
      leaves.forEach((n) => part.append(heatFigure(arrays[gradientSoFar(n.id, 0, now)], `∂L/∂${n.label}`)));
    }
  }

  function inspect(id) {
    inspected = id;
    const node = nodes[id];
    const part = get("inspect");
    part.replaceChildren(element("h3", { text: `${nameOf(id)}: its numbers` }));
    if (node.kind === "op" && node.plain) part.append(element("p", { class: "plain", text: node.plain }));
    if (node.kind === "op" && node.text) part.append(element("p", { class: "soft", text: node.text }));
    if (node.others.length) part.append(element("p", { class: "soft", text: node.others.join(", ") }));
    node.values.forEach((value, out) => {
      const tail = node.values.length > 1 ? ` ${out}` : "";
      part.append(heatFigure(value === null ? null : arrays[value], `value${tail}`));
      const g = gradientSoFar(id, out, now);
      if (g !== null && g !== undefined) part.append(heatFigure(arrays[g], `gradient${tail}, so far`));
    });
  }

  // ------------------------------------------------------------------------------- one state
  function show(n) {
    now = Math.max(0, Math.min(steps.length, n));
    get("slider").value = now;
    get("where").textContent = `step ${now} of ${steps.length}`;
    get("first").disabled = get("back").disabled = now === 0;
    get("next").disabled = get("last").disabled = now === steps.length;
    const active = now ? shown(get(`n${steps[now - 1].node}`)) : null;
    canvas.querySelectorAll(".now, .done").forEach((e) => e.classList.remove("now", "done"));
    nodes.forEach((node) => {
      const button = get(`n${node.id}`);
      const grads = node.shapes.map((_, out) => gradientSoFar(node.id, out, now)).filter((g) => g !== null && g !== undefined);
      button.querySelector(".g").textContent = grads.length ? `∂ ${brief(grads[0]).replace("|∂| ", "")}` : "";
      if (stepOf.has(node.id) && stepOf.get(node.id) <= now) shown(button).classList.add("done");
    });
    if (active) {
      active.classList.add("now");
      const frame = get("graph"), r = active.getBoundingClientRect(), f = frame.getBoundingClientRect();
      if (r.top < f.top + 20 || r.bottom > f.bottom - 20) frame.scrollTop += r.top - f.top - f.height / 2;
      if (r.left < f.left || r.right > f.right) frame.scrollLeft += r.left - f.left - f.width / 2 + r.width / 2;
    }
    drawEdges();
    showStep();
    if (inspected !== null) inspect(inspected);
  }

  // A step by button, slider or key. On a phone the card of the inspected node is removed for it.
  function go(n) {
    if (window.matchMedia("(max-width: 760px)").matches) {
      inspected = null;
      get("inspect").replaceChildren();
    }
    show(n);
  }

  function fold(box, folded) {
    box.classList.toggle("folded", folded);
    box.querySelector(".head").setAttribute("aria-expanded", String(!folded));
  }

  get("first").onclick = () => go(0);
  get("back").onclick = () => go(now - 1);
  get("next").onclick = () => go(now + 1);
  get("last").onclick = () => go(steps.length);
  get("slider").max = steps.length;
  get("slider").oninput = (event) => go(Number(event.target.value));
  const boxes = [...canvas.querySelectorAll(".box")];
  const foldAll = (folded) => { boxes.forEach((box) => fold(box, folded)); show(now); };
  get("close").onclick = () => foldAll(true);
  get("open").onclick = () => foldAll(false);
  get("close").hidden = get("open").hidden = !boxes.length;
  boxes.forEach((box) => {
    box.querySelector(".head").onclick = () => { fold(box, !box.classList.contains("folded")); show(now); };
  });
  nodes.forEach((node) => {
    const button = get(`n${node.id}`);
    button.onmouseenter = button.onfocus = () => inspect(node.id);
    button.onclick = () => { inspect(node.id); if (stepOf.has(node.id)) show(stepOf.get(node.id)); };
  });
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.type === "range") return;
    const to = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: steps.length }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(to);
  });
  window.addEventListener("resize", drawEdges);
  show(0);
  get("graph").scrollTop = get("graph").scrollHeight;
})();
