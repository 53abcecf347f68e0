"use strict";
const NONE = {
  en: { none: "This server has no classifier. Train one with “tinygrad-llm finetune classify” and start “tinygrad-llm serve RUN”." },
  ja: { none: "このサーバーには分類器がありません。「tinygrad-llm finetune classify」で学習し、「tinygrad-llm serve RUN」で起動してください。" },
};
const WORDS = { en: { ...VIEW.en, ...NONE.en }, ja: { ...VIEW.ja, ...NONE.ja } };

(() => {
  let shown = null; // the last answer, to show it in another language too

  async function models() {
    try {
      const all = (await ask("/v1/models")).data.filter((one) => one.kind === "classifier");
      get("model").replaceChildren(...all.map(({ id }) => element("option", { text: id, value: id })));
      get("choice").classList.toggle("hidden", all.length < 2);
      get("classify").disabled = !all.length;
      say(!all.length, all.length ? "ready" : "none");
    } catch (error) {
      complain(error);
    }
  }

  function show() {
    if (!shown) return;
    const names = shown.classes.map(({ name }) => name);
    showClasses(names, {
      probabilities: shown.classes.map(({ probability }) => probability), target: names.indexOf(shown.target), tokens: shown.tokens,
    });
  }

  async function classify(target) {
    const input = get("text").value;
    if (!input.trim()) { say(true, "empty"); get("text").focus(); return; }
    get("classify").disabled = true;
    say(false, "working");
    try {
      shown = await ask("/v1/classify", { model: get("model").value, input, ...(target === undefined ? {} : { target }) });
      const best = shown.classes.find(({ name }) => name === shown.best);
      say(false, shown.cut ? "cut" : "done", shown.best, percent(best.probability), shown.tokens.length);
      show();
    } catch (error) {
      complain(error);
    } finally {
      get("classify").disabled = false;
    }
  }

  get("form").onsubmit = (event) => { event.preventDefault(); classify(); };
  get("target").onchange = () => classify(shown.classes[Number(get("target").value)].name);
  get("key").onchange = models;
  speak(language, () => { say(wrong, ...said); show(); });
  models();
})();
