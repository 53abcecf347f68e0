"use strict";
(() => {
  const { heads, tokens } = JSON.parse(document.getElementById("maps").textContent);
  const get = (id) => document.getElementById(id);
  const word = (i) => (tokens && tokens[i] !== undefined ? tokens[i] : String(i));
  const nameOf = (head) => `${head.name || "attention"}, head ${head.head + 1} of ${head.of}`;
  let now = 0, row = heads[0].rows.length - 1;

  function big() {
    const head = heads[now];
    const table = element("table", { class: "map", "aria-label": nameOf(head) });
    const top = element("tr", {}, element("th", {}));
    head.rows[0].forEach((_, j) => top.append(element("th", { text: word(j) })));
    table.append(element("thead", {}, top));
    const body = element("tbody", {});
    head.rows.forEach((weights, i) => {
      const line = element("tr", { class: i === row ? "now" : null }, element("th", { text: word(i) }));
      weights.forEach((p, j) => {
        const td = element("td", { title: `${word(i)} → ${word(j)}: ${number(p, 3)}` });
        td.style.cssText = shade(p * 100);
        line.append(td);
      });
      line.onmouseenter = () => { row = i; mark(); };
      body.append(line);
    });
    table.append(body);
    get("big").replaceChildren(table);
    mark();
  }

  function mark() {
    const head = heads[now];
    row = Math.max(0, Math.min(head.rows.length - 1, row));
    [...get("big").querySelectorAll("tbody tr")].forEach((line, i) => line.classList.toggle("now", i === row));
    const best = head.rows[row].map((p, j) => [p, j]).sort((a, b) => b[0] - a[0]).slice(0, 5);
    const weights = best.filter(([p]) => p >= 0.005).map(([p, j]) => `“${word(j)}” ${number(p, 3)}`);
    get("description").textContent = `${nameOf(head)}: “${word(row)}” looks at ${weights.join(", ")}`;
    [...get("thumbs").children].forEach((button, i) => button.classList.toggle("now", i === now));
  }

  function choose(n) {
    now = (n + heads.length) % heads.length;
    big();
  }

  heads.forEach((head, n) => {
    const canvas = element("canvas", { width: head.rows[0].length, height: head.rows.length });
    const pen = canvas.getContext("2d");
    const ink = getComputedStyle(document.documentElement).getPropertyValue("--plus");
    head.rows.forEach((weights, i) => weights.forEach((p, j) => {
      pen.fillStyle = `rgba(${ink}, ${p})`;
      pen.fillRect(j, i, 1, 1);
    }));
    const button = element("button", { type: "button", "aria-label": nameOf(head) },
      `${head.name || "attention"} · ${head.head + 1}`, canvas);
    button.onclick = () => choose(n);
    get("thumbs").append(button);
  });
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const act = {
      ArrowRight: () => choose(now + 1), ArrowLeft: () => choose(now - 1),
      ArrowDown: () => { row += 1; mark(); }, ArrowUp: () => { row -= 1; mark(); },
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  big();
})();
