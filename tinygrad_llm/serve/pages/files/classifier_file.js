"use strict";
const OFFLINE = {
  en: { unknown: "The model's characters do not include “{0}”.", scoring: "{0}: {1}. The tokens that mattered: {2} %." },
  ja: { unknown: "モデルの文字に「{0}」はありません。", scoring: "{0}：{1}。効いたトークンを計算中：{2} %" },
};
const WORDS = { en: { ...VIEW.en, ...OFFLINE.en }, ja: { ...VIEW.ja, ...OFFLINE.ja } };

(() => {
  const held = JSON.parse(get("model").textContent);
  const { settings, classes, limit, windows, padded } = held, weights = weightsOf(held);
  const fields = held.tokenizer, model = settings.encoder ? new Encoder(settings, weights) : new Model(settings, weights);
  const tokenizer = fields.kind === "pipeline" ? new Pipeline(fields) : new Tokenizer(fields);
  const STEP = 0.01, POINTS = held.points;
  // The mean embedding of the vocabulary: from there to the text the gradients are averaged.
  const C = settings.emb_dim, table = weights["tok_emb.weight"], middle = new Float32Array(C);
  for (let i = 0; i < table.length; i++) middle[i % C] += table[i] * C / table.length;

  const vector = (id, part) => middle.map((m, c) => m + part * (table[id * C + c] - m));

  let shown = null, target = null, task = 0;

  // The ids of each window of a text, as finetune/data.py cuts it; {unknown} as the tokenizer.
  function read(text) {
    const { ids, unknown } = tokenizer.encode(text);
    if (unknown !== undefined) return { unknown };
    if (ids.length <= limit) return { parts: [ids], cut: false };
    const before = fields.before || [], after = fields.after || [], inner = ids.slice(before.length, ids.length - after.length);
    const room = Math.max(1, limit - before.length - after.length), parts = [];
    for (let i = 0; i < inner.length; i += room) parts.push([...before, ...inner.slice(i, i + room), ...after].slice(0, limit));
    return windows ? { parts, cut: false } : { parts: parts.slice(0, 1), cut: true };
  }

  // The scores of the classes (K), after the tokens from `place` on were read again. part(i): how far
  // the embedding of token i is from the mean embedding, 1 for its own; null for all at 1.
  function scores(ids, place, part) {
    if (settings.encoder) {
      const vectors = part && ids.map((id, i) => vector(id, part(i)));
      return linear(weights["class_head.weight"], weights["class_head.bias"], pooled(model.hidden(ids, vectors), settings.pool));
    }
    const all = padded ? [...ids, ...Array(limit - ids.length).fill(settings.pad_token_id)] : ids;
    model.length = place;
    for (let i = place; i < all.length; i++) model.read(all[i], part && i < ids.length ? vector(all[i], part(i)) : null);
    const at = (i) => model.finals.subarray(i * C, (i + 1) * C);
    let n = all.length; // without the padding at the end
    while (n > 1 && all[n - 1] === settings.pad_token_id) n--;
    let chosen = at({ last: all.length - 1, last_real: n - 1, first: 0, mean: 0 }[settings.pool]);
    if (settings.pool === "mean") {
      chosen = Float32Array.from({ length: C }, (_, c) => {
        let sum = 0;
        for (let i = 0; i < n; i++) sum += model.finals[i * C + c];
        return sum / n;
      });
    }
    return linear(weights["class_head.weight"], weights["class_head.bias"], chosen);
  }

  function odds(z, k) {
    const others = Array.from(z).filter((_, j) => j !== k), most = Math.max(...others);
    return z[k] - most - Math.log(others.reduce((sum, v) => sum + Math.exp(v - most), 0));
  }

  // The probabilities of a text: the normalised geometric mean over its windows.
  function probabilities(parts) {
    const logs = parts.map((ids) => Array.from(softmax(scores(ids, 0, null)), (p) => Math.log(p)));
    return Array.from(softmax(classes.map((_, k) => logs.reduce((sum, one) => sum + one[k], 0) / parts.length)));
  }

  // Gradient times input of each token of a window, averaged over points between the mean embedding
  // and the token's own; each gradient is a difference quotient.
  async function contributions(ids, k, progress) {
    const found = ids.map(() => 0);
    let last = performance.now();
    for (let point = 0; point < POINTS; point++) {
      const a = (point + 0.5) / POINTS;
      scores(ids, 0, () => a);
      for (let i = ids.length - 1; i >= 0; i--) { // what stands before token i is as it was
        const [more, less] = [STEP, -STEP].map((h) => odds(scores(ids, i, (j) => (j === i ? a + h : a)), k));
        found[i] += (more - less) / (2 * STEP * POINTS);
        if (performance.now() - last > 40) {
          if (progress && !progress((point + 1 - i / ids.length) / POINTS)) return null;
          await new Promise((done) => setTimeout(done));
          last = performance.now();
        }
      }
    }
    return found;
  }

  const spelled = (id) => new TextDecoder().decode(tokenizer.token(id));

  async function classify(chosen) {
    const mine = ++task, text = get("text").value;
    if (!text.trim()) { say(true, "empty"); get("text").focus(); return; }
    const { parts, unknown, cut } = read(text);
    if (unknown !== undefined) { say(true, "unknown", unknown); return; }
    if (!parts[0].length) { say(true, "empty"); return; }
    const p = probabilities(parts), best = p.indexOf(Math.max(...p)), n = parts.flat().length;
    target = chosen === undefined ? best : chosen;
    const tokens = parts.flat().map((id) => ({ token: spelled(id), score: 0 }));
    let done = 0;
    for (const ids of parts) {
      const found = await contributions(ids, target, (i) => {
        if (mine === task) say(false, "scoring", classes[best], percent(p[best]), Math.round(100 * (done + i * ids.length) / n));
        return mine === task;
      });
      if (!found || mine !== task) return;
      for (const score of found) tokens[done++].score = score / parts.length;
    }
    shown = { probabilities: p, target, tokens };
    say(false, cut ? "cut" : "done", classes[best], percent(p[best]), n);
    showClasses(classes, shown);
  }

  get("form").onsubmit = (event) => { event.preventDefault(); classify(); };
  get("target").onchange = () => classify(Number(get("target").value));
  speak(language, () => { say(wrong, ...said); if (shown) showClasses(classes, shown); });
  if (get("text").value) classify();
  // For the console: the probabilities of a text, and what each of its tokens contributed to a class.
  window.classifier = {
    probabilities: (text) => probabilities(read(text).parts),
    contributions: async (text, k) => {
      const { parts } = read(text), all = [];
      for (const ids of parts) all.push(...(await contributions(ids, k)).map((s) => s / parts.length));
      return all;
    },
  };
})();
