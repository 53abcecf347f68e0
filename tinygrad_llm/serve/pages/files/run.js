"use strict";
const WORDS = {
  en: {
    title: "A training run", live: "Update every 2 seconds", losses: "Losses", norms: "Gradient norms of the layers", samples: "Texts by the model",
    norms_hint: "Before clipping, every 10 steps; the lines have one logarithmic scale.", layer: "layer", now: "now", over: "over time",
    pause: "Pause", go_on: "Continue", step: "Step", loss: "Loss", val_loss: "Validation loss", rate: "Tokens/s", lr: "Learning rate", tokens: "Tokens",
    time: "Time", sample: "Step {0}", steps: "steps", none: "This server watches no run: start it with --run FOLDER.",
    waiting: "{0}: the run has not begun.", running: "{0} trains.", pausing: "{0} will wait after this step.", paused: "{0} waits; what it learnt is saved.",
    stopped: "{0} does not train now. It can be resumed from its last checkpoint.", ended: "{0} has ended.",
    chart: "Training loss from {0} to {1}, over {2} steps.", chart_val: " Validation loss {0}.", legend: "line: training, dashed: validation",
    no_samples: "The run has written no texts yet.", no_norms: "Nothing yet.",
  },
  ja: {
    title: "学習の様子", live: "2 秒ごとに更新", losses: "損失", norms: "各層の勾配ノルム", samples: "モデルが書いたテキスト",
    norms_hint: "クリッピング前の値、10 ステップごと。線はすべて同じ対数目盛です。", layer: "層", now: "現在", over: "推移",
    pause: "一時停止", go_on: "再開", step: "ステップ", loss: "損失", val_loss: "検証損失", rate: "トークン/秒", lr: "学習率", tokens: "トークン",
    time: "時間", sample: "ステップ {0}", steps: "ステップ", none: "このサーバーは学習を見ていません。--run FOLDER を付けて起動してください。",
    waiting: "{0}：まだ始まっていません。", running: "{0} を学習しています。", pausing: "{0} はこのステップの後で一時停止します。", paused: "{0} は一時停止中です。学習した内容は保存されています。",
    stopped: "{0} は学習していません。最後のチェックポイントから再開できます。", ended: "{0} は終わりました。",
    chart: "訓練損失は {0} から {1} へ、{2} ステップ。", chart_val: "検証損失 {0}。", legend: "実線：訓練、破線：検証",
    no_samples: "まだテキストはありません。", no_norms: "まだありません。",
  },
};

(() => {
  let run = null, clock = 0;

  const digits = (x, n = 4) => (Number.isFinite(x) ? Number(x.toPrecision(n)).toLocaleString("en", { maximumSignificantDigits: n }) : "–");
  const time = (s) => (Number.isFinite(s) ? `${Math.floor(s / 3600)}:${String(Math.floor(s / 60) % 60).padStart(2, "0")}:${String(Math.floor(s) % 60).padStart(2, "0")}` : "–");

  function facts() {
    const last = run.losses.at(-1) || [], val = run.validation.at(-1) || [];
    const all = [["step", run.steps ? `${run.step} / ${run.steps}` : run.step], ["loss", digits(last[1])], ["val_loss", digits(val[1])],
      ["lr", Number.isFinite(run.lr) ? run.lr.toExponential(2) : "–"], ["rate", digits(Math.round(run.tokens_per_second || NaN))],
      ["tokens", digits(run.tokens, 6)], ["time", time(run.seconds)]];
    get("facts").replaceChildren(...all.map(([word, value]) => element("div", {}, element("dt", { text: words(word) }), element("dd", { text: value }))));
  }

  function chart() {
    const points = run.losses.map(([step, loss]) => [step, loss]), val = run.validation;
    if (!points.length && !val.length) { get("chart").replaceChildren(); return; }
    let label = points.length ? words("chart", digits(points[0][1], 3), digits(points.at(-1)[1], 3), run.step) : "";
    if (val.length) label += words("chart_val", digits(val.at(-1)[1], 3));
    curves(get("chart"), [{ points, kind: "training" }, { points: val, kind: "validation", dots: val.length < 40 }], label, words("steps"));
    get("chart").append(element("p", { class: "soft", text: words("legend") }));
  }

  function norms() {
    const rows = run.gradients, names = rows.length ? Object.keys(rows.at(-1)[1]) : [];
    if (!names.length) { get("norms").replaceChildren(element("p", { class: "soft", text: words("no_norms") })); return; }
    const all = rows.flatMap(([, one]) => Object.values(one)).filter((v) => v > 0);
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const head = ["layer", "now", "over"].map((word, i) => element("th", { scope: "col", text: words(word), class: i === 1 ? null : "left" }));
    const body = names.map((name) => element("tr", {}, element("td", { class: "left mono", text: name }),
      element("td", { text: digits(rows.at(-1)[1][name], 3) }),
      element("td", { class: "left line" }, smallLine(rows.map(([, one]) => one[name]), low, high))));
    get("norms").replaceChildren(element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body)));
  }

  function samples() {
    const parts = run.samples.slice().reverse().map(({ step, text }) => element("figure", { class: "sample" },
      element("figcaption", { class: "soft", text: words("sample", step) }), element("pre", { text })));
    get("samples").replaceChildren(...(parts.length ? parts : [element("p", { class: "soft", text: words("no_samples") })]));
  }

  function show() {
    const waits = run && (run.state === "paused" || run.pause_asked);
    get("pause").textContent = words(waits ? "go_on" : "pause");
    get("pause").disabled = !run || !["running", "paused"].includes(run.state);
    if (!run) return;
    const state = run.state === "running" && run.pause_asked ? "pausing" : run.state;
    if (said[0] !== state || said[1] !== run.name || wrong) say(false, state, run.name);
    get("results").classList.toggle("hidden", !run.losses.length && !run.validation.length);
    facts();
    chart();
    norms();
    samples();
  }

  async function update() {
    clearTimeout(clock);
    try {
      run = await ask("/v1/run");
      show();
    } catch (error) {
      complain(error.status === 404 ? Object.assign(error, { message: "none" }) : error);
    }
    if (get("live").checked) clock = setTimeout(update, 2000);
  }

  get("pause").onclick = async () => {
    const on = run.state === "paused" || run.pause_asked;
    try {
      await ask(on ? "/v1/run/continue" : "/v1/run/pause", {});
      await update();
    } catch (error) {
      complain(error);
    }
  };
  get("live").onchange = update;
  get("key").onchange = update;
  addEventListener("resize", () => { if (run) chart(); });
  speak(language, () => { say(wrong, ...said); show(); });
  update();
})();
