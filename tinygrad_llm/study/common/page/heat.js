"use strict";
// One array as a table of coloured cells: orange is positive, blue is negative, clear is zero.
function number(x, digits) {
  if (typeof x !== "number") return String(x);
  if (Number.isInteger(x) && Math.abs(x) < 1e6) return String(x);
  return String(Number(x.toPrecision(digits || 5)));
}

function element(tag, attributes, ...children) {
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "text") created.textContent = value;
    else if (value !== null && value !== undefined) created.setAttribute(name, value);
  }
  created.append(...children.filter((child) => child !== null && child !== undefined));
  return created;
}

function shade(percent) {
  const sign = percent >= 0 ? "--plus" : "--minus";
  return `background: rgba(var(${sign}), ${(Math.abs(percent) / 100 * 0.85).toFixed(2)})`;
}

function heatTable(array) {
  if (!array.heat) return element("p", { class: "soft", text: array.size ? array.dtype : "empty" });
  const { top, cell, rows } = array.heat;
  const numbers = array.numbers;
  const label = `${array.shape}, from ${number(array.low)} to ${number(array.high)}`;
  const table = element("table", { class: numbers ? "heat numbers" : "heat", "aria-label": label });
  (numbers || rows).forEach((row, i) => {
    const line = table.insertRow();
    row.forEach((value, j) => {
      const percent = numbers ? value / top * 100 : value;
      const td = line.insertCell();
      td.style.cssText = shade(typeof percent === "number" ? percent : 100);
      if (numbers) td.textContent = number(typeof value === "boolean" ? Number(value) : value, 5);
      else td.title = `rows ${i * cell[0]}…, columns ${j * cell[1]}…: ${number(value / 100 * top, 3)}`;
    });
  });
  return table;
}

function heatFigure(array, caption) {
  if (!array) return element("p", { class: "soft", text: `${caption}: its value was not recorded` });
  const figure = element("figure", {});
  const facts = [array.shape === "()" ? null : array.shape, array.dtype];
  if (array.size > 1 && array.norm !== undefined) {
    facts.push(`from ${number(array.low, 3)} to ${number(array.high, 3)}`, `norm ${number(array.norm, 4)}`);
  }
  const cell = array.heat && !array.numbers ? array.heat.cell : [1, 1];
  if (cell[0] * cell[1] > 1) facts.push(`a cell is the largest of ${cell[0]} × ${cell[1]}`);
  figure.append(
    element("figcaption", {}, element("b", { text: caption }), " ",
      element("span", { class: "soft", text: facts.filter(Boolean).join(" · ") })),
    element("div", { class: "wide" }, heatTable(array)));
  return figure;
}
