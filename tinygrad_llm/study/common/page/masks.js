"use strict";
// The keyboard chooses a query; the sentence above says what it sees, read from the table.
(() => {
  const panels = JSON.parse(document.getElementById("masks").textContent);
  const sections = [...document.querySelectorAll(".panel")];
  let at = 0, row = 0;

  function show() {
    const { title, queries, keys } = panels[at];
    row = (row + queries.length) % queries.length;
    sections.forEach((section, i) => {
      section.classList.toggle("now", i === at);
      section.querySelectorAll("tbody tr").forEach((line, j) => line.classList.toggle("now", i === at && j === row));
    });
    const cells = [...sections[at].querySelectorAll("tbody tr")[row].querySelectorAll("td")];
    const sees = keys.map((key, j) => (cells[j].textContent ? `“${key}” ${cells[j].textContent}` : null)).filter(Boolean);
    const hidden = keys.filter((_, j) => !cells[j].textContent).map((key) => `“${key}”`);
    document.getElementById("description").textContent =
      `${title}: “${queries[row]}” sees ${sees.join(", ")}` + (hidden.length ? `; hidden: ${hidden.join(", ")}` : "");
  }

  sections.forEach((section, i) => section.querySelectorAll("tbody tr").forEach((line, j) => {
    line.onmouseenter = line.onclick = () => { at = i; row = j; show(); };
  }));
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const n = panels.length;
    const act = {
      ArrowDown: () => { row += 1; }, ArrowUp: () => { row -= 1; },
      ArrowRight: () => { at = (at + 1) % n; row = 0; }, ArrowLeft: () => { at = (at + n - 1) % n; row = 0; },
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
    show();
  });
  show();
})();
