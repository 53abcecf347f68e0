"use strict";
const WORDS = {
  en: {
    text: "Text", write: "Write on", stop: "Stop", temperature: "Temperature", count: "Tokens to write", seed: "Seed",
    tokens: "Tokens", hint: "Choose a token with the mouse, or with ← → Home End.", next: "What comes next",
    attention: "Attention", layer: "Layer", head: "Head", token: "token", probability: "probability", weight: "weight",
    after: "After “{0}” (token {1}) the model expects:", looks: "“{0}” (token {1}) looks at:",
    ready: "{0} tokens; the model sees at most {1}.", cut: "{0} tokens; the model sees them from token {1} on.",
    reading: "The model reads: {0} of {1} tokens.", writing: "The model writes: {0} of {1} tokens.",
    wrote: "{0} tokens were written.", ended: "The model ended its text.", empty: "Write a text first.",
    unknown: "The model's characters do not include “{0}”.", out: "The model does not see this token any more.",
    number: "Temperature is 0 to 5, tokens are 1 to 10,000, the seed is a whole number.",
  },
  ja: {
    text: "テキスト", write: "続きを書く", stop: "止める", temperature: "温度", count: "書くトークン数", seed: "シード",
    tokens: "トークン", hint: "マウス、または ← → Home End キーでトークンを選びます。", next: "次に来るもの",
    attention: "アテンション", layer: "層", head: "ヘッド", token: "トークン", probability: "確率", weight: "重み",
    after: "「{0}」（{1} 番目のトークン）の次の予測：", looks: "「{0}」（{1} 番目のトークン）が見ている先：",
    ready: "{0} トークン。モデルが見るのは最大 {1} トークンです。", cut: "{0} トークン。モデルが見るのは {1} 番目からです。",
    reading: "読んでいます：{0} / {1} トークン", writing: "書いています：{0} / {1} トークン",
    wrote: "{0} トークンを書きました。", ended: "モデルが文章を終えました。", empty: "先にテキストを入力してください。",
    unknown: "モデルの文字に「{0}」はありません。", out: "このトークンはもうモデルから見えません。",
    number: "温度は 0〜5、トークン数は 1〜10,000、シードは整数です。",
  },
};

(() => {
  const held = JSON.parse(get("model").textContent), { settings, tokenizer: fields } = held, weights = weightsOf(held);
  const model = new Model(settings, weights), tokenizer = fields.kind === "pipeline" ? new Pipeline(fields) : new Tokenizer(fields);
  const most = settings.context_length;
  // ids: the whole text; start: the first token that the model sees; read: what is in its cache
  let ids = [], start = 0, read = [], written = Infinity, chosen = -1, shownText = null, task = 0, busy = false;
  said = ["ready", 0, most];

  // A token as it stands in a text.
  const text = (id) => new TextDecoder().decode(tokenizer.token(id));

  const spelled = (i) => {
    const id = ids[i];
    return visible(tokenizer.token(id) ? text(id) : `#${id}`);
  };

  const breath = () => new Promise((done) => setTimeout(done));

  // Reads the tokens that the cache has not got; false if something newer began meanwhile.
  async function catchUp(mine) {
    const all = ids.slice(start);
    let same = 0;
    while (same < read.length && same < all.length && read[same] === all[same]) same++;
    read.length = model.length = same;
    let last = performance.now();
    while (read.length < all.length) {
      model.read(all[read.length]);
      read.push(all[read.length]);
      if (performance.now() - last > 40) {
        if (all.length - read.length > 3) say(false, "reading", read.length, all.length);
        await breath();
        if (mine !== task) return false;
        last = performance.now();
      }
    }
    return true;
  }

  function button(i) {
    const made = element("button", { type: "button", class: "token", tabindex: "-1", "aria-pressed": "false", text: spelled(i) });
    made.onclick = () => choose(i, true);
    return made;
  }

  // Shows the tokens; those that are there already stay.
  function list(from) {
    const box = get("tokens");
    while (box.childElementCount > from) box.lastElementChild.remove();
    for (let i = box.childElementCount; i < ids.length; i++) box.append(button(i));
    [...box.children].forEach((one, i) => {
      one.classList.toggle("unseen", i < start);
      one.classList.toggle("written", i >= written);
    });
  }

  function choose(i, focus) {
    const buttons = get("tokens").children;
    if (!buttons.length) { show(); return; }
    chosen = Math.max(0, Math.min(buttons.length - 1, i));
    for (const [j, one] of [...buttons].entries()) {
      one.setAttribute("aria-pressed", String(j === chosen));
      one.tabIndex = j === chosen ? 0 : -1;
    }
    if (focus) buttons[chosen].focus();
    show();
  }

  function best(numbers, n) {
    return Array.from(numbers, (p, i) => [p, i]).sort((a, b) => b[0] - a[0]).slice(0, n);
  }

  // The distribution and the attention of the chosen token.
  function show() {
    const buttons = [...get("tokens").children], at = chosen - start;
    for (const one of buttons) one.style.backgroundColor = "";
    get("next").replaceChildren();
    get("looks").replaceChildren();
    get("after").textContent = get("where").textContent = "";
    if (chosen < 0 || chosen >= ids.length || at >= model.length) return;
    if (at < 0) { get("after").textContent = get("where").textContent = words("out"); return; }
    get("after").textContent = words("after", spelled(chosen), chosen + 1);
    get("where").textContent = words("looks", spelled(chosen), chosen + 1);
    const temperature = Number(get("temperature").value) || 1;
    const p = softmax(model.logits(at).map((v) => v / temperature));
    const name = (id) => visible(tokenizer.token(id) ? text(id) : `#${id}`);
    get("next").append(barTable(best(p, 10).map(([q, id]) => [name(id), q]), [words("token"), words("probability"), ""]));
    const w = model.attention(Number(get("layer").value), Number(get("head").value), at);
    w.forEach((q, j) => { buttons[start + j].style.backgroundColor = `rgba(var(--plus), ${(0.45 * q).toFixed(3)})`; });
    const rows = best(w, 8).map(([q, j]) => [`${start + j + 1}  ${spelled(start + j)}`, q]);
    get("looks").append(barTable(rows, [words("token"), words("weight"), ""]));
  }

  function begin(own) {
    busy = own;
    get("write").disabled = own;
    get("stop").disabled = !own;
    return ++task;
  }

  function ready() {
    if (start) say(false, "cut", ids.length, start + 1);
    else say(false, "ready", ids.length, most);
  }

  // Takes the text of the field; false if the model cannot read it.
  function take() {
    if (get("text").value === shownText) return true;
    const { ids: taken, unknown } = tokenizer.encode(get("text").value);
    if (unknown !== undefined) { say(true, "unknown", unknown); return false; }
    let same = 0;
    while (same < ids.length && same < taken.length && ids[same] === taken[same]) same++;
    [ids, written, shownText] = [taken, Infinity, get("text").value];
    start = Math.max(0, ids.length - most);
    list(same);
    return true;
  }

  async function changed() {
    const mine = begin(false);
    if (!take()) return;
    if (!await catchUp(mine)) return;
    ready();
    choose(ids.length - 1, false);
  }

  // The same seed draws the same tokens (mulberry32).
  function generator(seed) {
    let a = seed | 0;
    return () => {
      a = (a + 0x6D2B79F5) | 0;
      let t = Math.imul(a ^ (a >>> 15), 1 | a);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  function drawn(logits, temperature, random) {
    if (temperature === 0) return best(logits, 1)[0][1];
    const p = softmax(logits.map((v) => v / temperature));
    let left = random();
    for (let i = 0; i < p.length; i++) if ((left -= p[i]) < 0) return i;
    return best(p, 1)[0][1];
  }

  async function write() {
    const [temperature, n, seed] = ["temperature", "count", "seed"].map((id) => get(id).valueAsNumber);
    if (!(temperature >= 0 && temperature <= 5 && n >= 1 && n <= 10000 && Number.isInteger(n) && Number.isInteger(seed))) {
      say(true, "number");
      return;
    }
    if (!take()) return;
    if (!ids.length) { say(true, "empty"); get("text").focus(); return; }
    const mine = begin(true), random = generator(seed);
    let count = 0, ended = false;
    written = Math.min(written, ids.length);
    while (count < n && mine === task && await catchUp(mine)) {
      const id = drawn(model.logits(model.length - 1), temperature, random);
      ended = tokenizer.isSpecial(id);
      if (ended) break;
      if (ids.length - start >= most) start = ids.length - Math.floor(most / 2); // reads half of it again
      ids.push(id);
      list(ids.length - 1);
      count++;
      get("text").value = shownText = tokenizer.decode(ids);
      if (count % 4 === 0) { say(false, "writing", count, n); await breath(); }
    }
    if (mine !== task) return;
    await catchUp(mine);
    if (mine !== task) return;
    begin(false);
    say(false, ended ? "ended" : "wrote", count);
    choose(ids.length - 1, false);
  }

  async function stop() {
    if (!busy) return;
    const mine = begin(false);
    if (!await catchUp(mine)) return;
    say(false, "wrote", ids.length - Math.min(written, ids.length));
    choose(ids.length - 1, false);
    get("write").focus();
  }

  for (const [id, n] of [["layer", settings.n_layers], ["head", settings.n_heads]]) {
    for (let i = 0; i < n; i++) get(id).append(element("option", { value: i, text: i + 1 }));
    get(id).onchange = show;
  }
  get("layer").value = settings.n_layers - 1;
  get("temperature").onchange = show;
  get("text").oninput = changed;
  get("write").onclick = write;
  get("stop").onclick = stop;
  get("tokens").onkeydown = (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const to = { ArrowLeft: chosen - 1, ArrowRight: chosen + 1, Home: 0, End: ids.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(to, true);
  };
  document.onkeydown = (event) => { if (event.key === "Escape") stop(); };
  speak(language, () => { say(wrong, ...said); show(); });
  changed();
  // For the console: the ids of a text, and the logits after each token of a list of ids.
  window.model = {
    encode: (text) => tokenizer.encode(text).ids,
    decode: (list) => tokenizer.decode(list),
    logits: (list) => {
      const other = new Model(settings, weights);
      return list.map((id, i) => { other.read(id); return Array.from(other.logits(i)); });
    },
  };
})();
