"use strict";
// Where a token of an answer looks, in a layer and head that can be chosen. show(i) asks the server
// about token i, if the view is open, and keeps what it has answered.
function attentionView(model, idsTo, shade) {
  const answers = new Map();
  let layer = null, head = "mean", now = -1, shown = null, open = false;
  const pick = (word) => element("select", { "aria-label": words(word) });
  const layers = pick("layer"), heads = pick("head");
  const fields = element("div", { class: "fields hidden" },
    element("label", {}, element("span", { "data-word": "layer", text: words("layer") }), layers),
    element("label", {}, element("span", { "data-word": "head", text: words("head") }), heads));
  const out = element("div", { "aria-live": "polite" });
  const button = element("button", { type: "button", "data-word": "attention", text: words("attention"), "aria-expanded": "false" });

  function options() {
    if (layers.childElementCount !== shown.layers.length) {
      layers.replaceChildren(...shown.layers.map((_, i) => element("option", { value: i, text: i + 1 })));
      layer = shown.layers.length - 1;
    }
    layers.value = layer;
    const n = shown.layers[layer].heads.length;
    heads.replaceChildren(element("option", { value: "mean", "data-word": "mean", text: words("mean") }),
      ...Array.from({ length: n }, (_, i) => element("option", { value: i, text: i + 1 })));
    if (head !== "mean" && Number(head) >= n) head = "mean";
    heads.value = head;
  }

  function draw() {
    if (!shown || !open) return;
    options();
    fields.classList.remove("hidden");
    const chosen = shown.layers[layer], looks = head === "mean" ? chosen.mean : chosen.heads[head];
    const rows = looks.slice(0, 8).map(([at, w]) => [`${at + 1}  ${visible(shown.tokens[at]) || "∅"}`, w]);
    const text = words("looks", visible(shown.tokens[shown.length - 1]) || "∅", shown.length);
    out.replaceChildren(element("p", { text }), barTable(rows, [words("token"), words("weight"), ""]));
    shade(looks);
  }

  async function show(i) {
    now = i;
    if (!open) return;
    try {
      if (!answers.has(i)) {
        out.replaceChildren(element("p", { class: "soft", text: words("working") }));
        answers.set(i, ask("/v1/attention", { model, ids: idsTo(i) }));
      }
      const answer = await answers.get(i);
      if (now === i) { shown = answer; draw(); }
    } catch (error) {
      answers.delete(i);
      if (now === i) { out.replaceChildren(); complain(error); }
    }
  }

  layers.onchange = () => { layer = Number(layers.value); draw(); };
  heads.onchange = () => { head = heads.value; draw(); };
  button.onclick = () => {
    open = !open;
    button.setAttribute("aria-expanded", String(open));
    if (open) show(now);
    else { fields.classList.add("hidden"); out.replaceChildren(); shade([]); }
  };
  return { part: element("div", { class: "attention" }, button, fields, out), show };
}
