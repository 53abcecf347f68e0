"use strict";
// What a classifier answered: the probability of each class, and the text with each token shaded by
// its score. names: of the classes; answer: {probabilities, target (a number), tokens: [{token, score}]}.
function showClasses(names, answer) {
  get("results").classList.remove("hidden");
  const order = names.map((name, i) => [name, answer.probabilities[i]]).sort((a, b) => b[1] - a[1]);
  get("classes").replaceChildren(barTable(order, [words("class"), words("probability"), ""]));
  get("target").replaceChildren(...names.map((name, i) => element("option", { value: i, text: name })));
  get("target").value = answer.target;
  const most = Math.max(...answer.tokens.map(({ score }) => Math.abs(score)), 1e-30);
  get("tokens").replaceChildren(...answer.tokens.map(({ token, score }) => {
    const part = element("span", { class: "part", text: token, title: signed(score) });
    const sign = score > 0 ? "--plus" : "--minus";
    part.style.backgroundColor = `rgba(var(${sign}), ${(0.45 * Math.abs(score) / most).toFixed(3)})`;
    return part;
  }));
  const ranked = answer.tokens.map((one, i) => ({ ...one, i })).sort((a, b) => Math.abs(b.score) - Math.abs(a.score));
  const head = ["token", "score", "side"].map((word, i) => element("th", { text: words(word), scope: "col", class: i === 1 ? null : "left" }));
  const rows = ranked.slice(0, 8).map(({ token, score, i }) => element("tr", {},
    element("td", { class: "left mono", text: `${i + 1}  ${visible(token) || "∅"}` }), element("td", { text: signed(score) }),
    element("td", { class: "left", text: words(score > 0 ? "for" : "against", names[answer.target]) })));
  get("strongest").replaceChildren(element("table", { class: "shares" },
    element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows)));
}

const signed = (score) => `${score < 0 ? "−" : "+"}${Math.abs(score).toPrecision(3)}`;

const VIEW = {
  en: {
    title: "Texts classified", text: "Text", classify: "Classify", classes: "Classes", class: "class", mattered: "Tokens that mattered",
    target: "For the class", score: "score", side: "speaks", for: "for {0}", against: "against {0}",
    legend: "Gradient times input, averaged from a neutral token to this one: what each adds to the log odds. Orange speaks for the class, blue against it.",
    done: "{0}: {1}. {2} tokens.", cut: "{0}: {1}. The text is longer than the model reads: {2} tokens count.", empty: "Write a text first.",
  },
  ja: {
    title: "テキストの分類", text: "テキスト", classify: "分類する", classes: "クラス", class: "クラス", mattered: "判断に効いたトークン",
    target: "対象のクラス", score: "スコア", side: "方向", for: "{0} を支持", against: "{0} に反対",
    legend: "勾配×入力（中立なトークンからの平均）：各トークンが対数オッズに加える量。オレンジは支持、青は反対です。",
    done: "{0}：{1}。{2} トークン。", cut: "{0}：{1}。テキストが長いため、モデルが読むのは {2} トークンです。", empty: "先にテキストを入力してください。",
  },
};
