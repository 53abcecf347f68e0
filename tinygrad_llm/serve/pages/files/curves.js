"use strict";
// Curves as SVG, as wide as the box that they stand in, so that their text keeps its size.
function shape(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// series: [{points: [[x, y], ...], kind: a class, dots}]; x and y are numbers, others are left out.
function curves(box, series, label, xLabel) {
  const width = Math.max(240, box.clientWidth), height = 240, left = 48, right = 10, top = 10, bottom = 28;
  const all = series.map((one) => ({ ...one, points: one.points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y)) }));
  const xs = all.flatMap((one) => one.points.map(([x]) => x)), ys = all.flatMap((one) => one.points.map(([, y]) => y));
  if (!xs.length) { box.replaceChildren(); return; }
  const [x0, y0] = [Math.min(...xs), Math.min(...ys)];
  const x1 = Math.max(...xs, x0 + 1), y1 = Math.max(...ys, y0 + 1e-9);
  const at = ([x, y]) => [left + (x - x0) / (x1 - x0) * (width - left - right), height - bottom - (y - y0) / (y1 - y0) * (height - top - bottom)];
  const text = (x, y, words, anchor) => {
    const made = shape("text", { x, y, "text-anchor": anchor });
    made.textContent = words;
    return made;
  };
  const parts = [shape("polyline", { class: "axis", points: `${left},${top} ${left},${height - bottom} ${width - right},${height - bottom}` })];
  for (const y of [y0, (y0 + y1) / 2, y1]) parts.push(text(left - 6, at([x0, y])[1] + 4, y.toPrecision(3), "end"));
  parts.push(text(left, height - 8, x0, "start"), text(width - right, height - 8, x1, "end"), text((left + width) / 2, height - 8, xLabel, "middle"));
  for (const { points, kind, dots } of all) {
    const places = points.map(at);
    parts.push(shape("polyline", { class: kind, points: places.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ") }));
    if (dots) parts.push(...places.map(([x, y]) => shape("circle", { class: kind, cx: x.toFixed(1), cy: y.toFixed(1), r: 3 })));
  }
  box.replaceChildren(shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, height }, ...parts));
}

// A small line of numbers on a logarithmic scale from `low` to `high`.
function smallLine(numbers, low, high) {
  const n = Math.max(1, numbers.length - 1), span = Math.log(high / low) || 1;
  const points = numbers.map((y, i) => (y > 0 ? `${(200 * i / n).toFixed(1)},${(23 - 22 * Math.log(y / low) / span).toFixed(1)}` : null));
  return shape("svg", { viewBox: "0 0 200 24", preserveAspectRatio: "none", "aria-hidden": "true" },
    shape("polyline", { class: "training", points: points.filter(Boolean).join(" ") }));
}
