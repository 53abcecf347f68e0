"use strict";
const WORDS = {
  en: {
    title: "Sentences compared", texts: "Texts, one per line", compare: "Compare", query: "Nearest to",
 done: "{0} texts were compared.", few: "Write at least two texts, and at most {0}.", similarity: "Cosine similarity",
    blank: "A text has no tokens for this model.", neighbours: "Nearest neighbours", text: "text", cosine: "cosine", number: "no.",
  },
  ja: {
    title: "文の比較", texts: "テキスト（1 行に 1 つ）", compare: "比較する", query: "近いものを探すテキスト",
 done: "{0} 個のテキストを比較しました。", few: "2 個以上 {0} 個以下のテキストを書いてください。", similarity: "コサイン類似度",
    blank: "このモデルのトークンがないテキストがあります。", neighbours: "最も近いもの", text: "テキスト", cosine: "コサイン", number: "番号",
  },
};

(() => {
  const MOST = 16;
  let texts = [], vectors = [];

  function cosine(a, b) {
    let ab = 0, aa = 0, bb = 0;
    for (let i = 0; i < a.length; i++) { ab += a[i] * b[i]; aa += a[i] * a[i]; bb += b[i] * b[i]; }
    return ab / Math.sqrt(aa * bb || 1);
  }

  // All pairs as a table: the more similar, the darker.
  function matrix() {
    const corner = element("th", { text: words("number"), scope: "col" });
    const head = element("tr", {}, corner, ...texts.map((_, i) => element("th", { text: i + 1, scope: "col" })));
    const rows = vectors.map((a, i) => element("tr", {}, element("th", { text: i + 1, scope: "row" }),
      ...vectors.map((b) => {
        const cell = element("td", { text: cosine(a, b).toFixed(2) });
        cell.style.backgroundColor = `rgba(var(--plus), ${(0.45 * Math.max(0, cosine(a, b))).toFixed(3)})`;
        return cell;
      })));
    return element("div", { class: "wide", tabindex: "0" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
  }

  function neighbours() {
    const at = Number(get("query").value);
    const rows = vectors.map((v, i) => [i, cosine(vectors[at], v)]).filter(([i]) => i !== at).sort((a, b) => b[1] - a[1]);
    const head = element("tr", {}, element("th", { class: "left", text: words("text"), scope: "col" }),
      element("th", { text: words("cosine"), scope: "col" }));
    const body = rows.map(([i, c]) => element("tr", {}, element("td", { class: "left", text: `${i + 1}  ${texts[i]}` }),
      element("td", { text: c.toFixed(3) })));
    return element("table", { class: "shares" }, element("thead", {}, head), element("tbody", {}, ...body));
  }

  function show() {
    get("results").classList.toggle("hidden", !vectors.length);
    if (!vectors.length) return;
    get("matrix").replaceChildren(matrix());
    get("neighbours").replaceChildren(neighbours());
  }

  async function compare() {
    texts = get("texts").value.split("\n").map((line) => line.trim()).filter((line) => line);
    if (texts.length < 2 || texts.length > MOST) { say(true, "few", MOST); return; }
    say(false, "working");
    get("compare").disabled = true;
    try {
      vectors = await vectorsOf(texts);
      get("query").replaceChildren(...texts.map((text, i) => element("option", { value: i, text: `${i + 1}  ${text.slice(0, 60)}` })));
      say(false, "done", texts.length);
      show();
    } catch (error) {
      complain(error);
    } finally {
      get("compare").disabled = false;
    }
  }

  get("form").onsubmit = (event) => { event.preventDefault(); compare(); };
  get("query").onchange = show;
  speak(language, () => { say(wrong, ...said); show(); });
})();
