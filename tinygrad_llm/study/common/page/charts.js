"use strict";
// What pages that replay recorded numbers share: charts, the two voices, and the stepping itself.
// Places to draw are all that it computes.
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

function axes(label, xs, ys, xWord, yWord, height = 230) {
  const box = { left: 46, right: 12, top: 18, bottom: 34, width: 480, height };
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

function voices(plain, exact) {
  const part = element("div", {}), made = element("div", {});
  made.innerHTML = exact; // written by Python, which escapes it
  if (plain) part.append(element("p", { class: "plain" }, element("span", { class: "voice", text: "in plain words" }), plain));
  if (exact) part.append(element("div", { class: "exact" }, element("span", { class: "voice", text: "exactly" }), made));
  return part;
}

// Buttons, slider and keys that call draw(frame) for a frame from 0 to last; `jump` is a longer step.
function stepping(last, jump, pause, draw) {
  const get = (id) => document.getElementById(id);
  let now = 0, timer = null;

  function show(frame) {
    now = Math.max(0, Math.min(last, frame));
    get("slider").value = now;
    get("first").disabled = get("back").disabled = now === 0;
    get("next").disabled = get("whole").disabled = now === last;
    draw(now);
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
  get("whole").onclick = () => show(now + jump);
  get("play").onclick = () => {
    if (timer) return stop();
    if (now === last) show(0);
    timer = setInterval(() => show(now + 1), pause);
    get("play").textContent = "pause";
  };
  get("play").hidden = matchMedia("(prefers-reduced-motion: reduce)").matches; // nothing moves by itself
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.type === "range") return;
    const to = { ArrowRight: now + 1, ArrowLeft: now - 1, PageDown: now + jump, PageUp: now - jump, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    stop();
    show(to);
  });
  show(0);
}
