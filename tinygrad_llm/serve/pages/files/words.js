"use strict";
// A page in English and Japanese: elements with data-word show a text of WORDS[language], those
// with data-label have it as their aria-label. words(key, ...parts) puts parts in for {0}, {1}.
let language = (navigator.language || "en").startsWith("ja") ? "ja" : "en";

const COMMON = {
  en: {
    nav: "Pages", nav_chat: "Chat", nav_classify: "Classify", nav_embed: "Compare", nav_run: "Training", key: "Key of the server",
    ready: "Ready.", lost: "The server does not answer.", locked: "The server wants its key.", model: "Model",
    token: "token", probability: "probability", weight: "weight", working: "The server computes.",
  },
  ja: {
    nav: "ページ", nav_chat: "チャット", nav_classify: "分類", nav_embed: "比較", nav_run: "学習", key: "サーバーのキー",
    ready: "準備ができました。", lost: "サーバーが応答しません。", locked: "サーバーのキーを入力してください。", model: "モデル",
    token: "トークン", probability: "確率", weight: "重み", working: "計算しています。",
  },
};

const known = (key) => key in WORDS.en || key in COMMON.en;

function words(key, ...parts) {
  const text = key in WORDS[language] ? WORDS[language][key] : COMMON[language][key];
  return text.replace(/\{(\d)\}/g, (_, i) => String(parts[i]));
}

function speak(other, then) {
  language = other;
  document.documentElement.lang = language;
  for (const part of document.querySelectorAll("[data-word]")) part.textContent = words(part.dataset.word);
  for (const part of document.querySelectorAll("[data-label]")) {
    part.setAttribute("aria-label", words(part.dataset.label));
  }
  const button = document.getElementById("language");
  button.textContent = language === "en" ? "日本語" : "English";
  button.lang = language === "en" ? "ja" : "en";
  button.onclick = () => speak(language === "en" ? "ja" : "en", then);
  if (then) then();
}

const get = (id) => document.getElementById(id);
let said = ["ready"], wrong = false; // what the status line says, to say it in another language too

// The status line: a key of WORDS with its parts, or a text as the server wrote it.
function say(problem, key, ...parts) {
  [said, wrong] = [[key, ...parts], problem];
  get("status").textContent = known(key) ? words(...said) : key;
  get("status").classList.toggle("error", wrong);
}

// A token as it can be seen: spaces and line breaks as signs.
function visible(text) {
  return text.replace(/ /g, "␣").replace(/\n/g, "⏎").replace(/\t/g, "⇥");
}

function percent(p) {
  return `${(100 * p).toFixed(p < 0.0995 ? 2 : 1)} %`;
}

// Rows of [text, share from 0 to 1] as a table with bars.
function barTable(rows, head) {
  const top = element("tr", {}, ...head.map((text, i) => element("th", { text, scope: "col", class: i ? null : "left" })));
  const body = rows.map(([text, share]) => {
    const bar = element("span", { class: "bar" });
    bar.style.width = `${Math.max(0.5, 100 * share)}%`;
    return element("tr", {}, element("td", { class: "left mono", text }), element("td", { text: percent(share) }),
      element("td", { class: "bars", "aria-hidden": "true" }, bar));
  });
  return element("table", { class: "shares" }, element("thead", {}, top), element("tbody", {}, ...body));
}
