"use strict";
// Replays moments: every number on the page was recorded, nothing is computed but places to draw.
(() => {
  const { moments, arrays } = JSON.parse(document.getElementById("replay").textContent);
  const get = (id) => document.getElementById(id);

  // The colours of the ranks whose numbers are in a cell, side by side.
  function colours(cell, ranks) {
    const part = 100 / ranks.length;
    const stops = ranks.map((r, i) => `color-mix(in srgb, var(--rank${r}) 45%, transparent) ${i * part}% ${(i + 1) * part}%`);
    cell.style.background = ranks.length ? `linear-gradient(90deg, ${stops.join(", ")})` : "none";
    cell.title = ranks.length ? `from rank ${ranks.join(" and rank ")}` : "from no rank";
  }

  function figureOf(held) {
    const array = arrays[held.array];
    const figure = element("figure", { class: held.new ? "new" : "before" },
      element("figcaption", {}, element("b", { text: held.caption }), " ", element("span", { class: "soft", text: array.shape })),
      element("div", { class: "wide" }, heatTable(array)));
    [...figure.querySelectorAll("tr")].forEach((row, i) => {
      const cells = [...row.cells];
      if (held.origins) cells.forEach((cell, j) => colours(cell, held.origins[i][j]));
      if (held.rows.length) row.prepend(element("th", { scope: "row", text: held.rows[i] }));
    });
    return figure;
  }

  function sentList(sent) {
    if (!sent) return null;
    if (!sent.length) return element("p", { class: "soft", text: "nothing is sent" });
    return element("ul", { class: "sent", "aria-label": "what is sent" },
      ...sent.map(([from, to, what]) => element("li", { text: `${from} → ${to}: ${what}` })));
  }

  stepping(moments.length - 1, moments.length, 1500, (i) => {
    const moment = moments[i];
    get("where").textContent = `step ${i + 1} of ${moments.length}`;
    document.querySelectorAll("#phases li").forEach((li) => li.classList.toggle("now", li.dataset.phase === moment.phase));
    get("now").replaceChildren(element("h2", { text: moment.title }), voices(moment.plain, moment.exact),
      ...[sentList(moment.sent)].filter(Boolean));
    get("places").replaceChildren(...moment.places.map(([name, every]) =>
      element("section", { class: "place" }, element("h3", { text: name }), ...every.map(figureOf))));
  });
})();
