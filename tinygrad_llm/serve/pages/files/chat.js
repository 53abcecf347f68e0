"use strict";
const WORDS = {
  en: {
    title: "Chat", temperature: "Temperature", most: "Most tokens", mode: "Mode", chat: "conversation",
    write: "write on", system: "Instructions for the model", options: "Options", message: "Message", send: "Send",
    stop: "Stop", clear: "New conversation", copy: "Copy", copied: "Copied", tokens: "Tokens",
    user: "You", assistant: "Model", hint: "Enter sends, Shift and Enter begin a new line, Escape stops.",
    none: "This server has no language model.", writing: "The model writes.", stopped: "Stopped.", done: "{0} tokens, {1} tokens/s.",
    length: "{0} tokens, {1} tokens/s; the limit on tokens was reached.",
    attention: "Attention", layer: "Layer", head: "Head", mean: "mean of all", looks: "“{0}” (token {1}) looks at:",
    plain: "This model has no chat template: it writes on from your text.",
    log: "Conversation", chosen: "“{0}” was written with the probability {1}; the best candidates were:",
    number: "Temperature is 0 to 2, tokens are a whole number from 1.", look: "Tokens: the darker, the less probable. Use the mouse or ← → Home End.",
  },
  ja: {
    title: "チャット", temperature: "温度", most: "最大トークン数", mode: "モード", chat: "会話",
    write: "続きを書く", system: "モデルへの指示", options: "設定", message: "メッセージ", send: "送信",
    stop: "止める", clear: "新しい会話", copy: "コピー", copied: "コピーしました", tokens: "トークン",
    user: "あなた", assistant: "モデル", hint: "Enter で送信、Shift + Enter で改行、Escape で停止します。",
    none: "このサーバーには言語モデルがありません。", writing: "モデルが書いています。", stopped: "止めました。", done: "{0} トークン、{1} トークン/秒。",
    length: "{0} トークン、{1} トークン/秒。トークン数の上限に達しました。",
    attention: "アテンション", layer: "層", head: "ヘッド", mean: "全体の平均", looks: "「{0}」（{1} 番目のトークン）が見ている先：",
    plain: "このモデルにはチャットテンプレートがないので、テキストの続きを書きます。",
    log: "会話", chosen: "「{0}」は確率 {1} で選ばれました。上位の候補：",
    number: "温度は 0〜2、トークン数は 1 以上の整数です。", look: "トークン：濃いほど確率が低いものです。マウス、または ← → Home End キーで選びます。",
  },
};

(() => {
  let messages = [], running = null;

  async function models() {
    try {
      const all = (await ask("/v1/models")).data.filter((one) => one.kind === "language-model");
      get("model").replaceChildren(...all.map(({ id }) => element("option", { text: id, value: id })));
      say(!all.length, all.length ? "ready" : "none");
    } catch (error) {
      complain(error);
    }
  }

  // ------------------------------------------------------------------------------ the messages
  function article(role) {
    const body = element("div", { class: "body" }), tools = element("div", { class: "tools" });
    const made = element("article", { class: role }, element("h2", { "data-word": role, text: words(role) }), body, tools);
    get("log").append(made);
    return { made, body, tools, text: "", tokens: [], ids: [], prompt: [], model: get("model").value };
  }

  function tool(answer, word, act) {
    const button = element("button", { type: "button", "data-word": word, text: words(word) });
    button.onclick = () => act(button);
    answer.tools.append(button);
    return button;
  }

  async function copy(text, button) {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // without a secure address: the old way
      const field = element("textarea", {});
      field.value = text;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
      button.focus();
    }
    say(false, "copied");
  }

  // The tokens of an answer as buttons; the one in focus or under the mouse shows its alternatives.
  function tokenView(answer) {
    const shown = element("div", { class: "details" });
    const box = element("div", { class: "tokens", role: "toolbar", "aria-label": words("tokens") });
    const about = element("div", { "aria-live": "polite" });
    const plain = (p) => `rgba(var(--plus), ${(0.45 * (1 - p)).toFixed(3)})`, first = answer.prompt.length;
    const shade = (looks) => { // the tokens of the answer at which the chosen one looks
      for (const one of buttons) one.style.boxShadow = "";
      for (const [at, w] of looks) if (buttons[at - first]) {
        buttons[at - first].style.boxShadow = `inset 0 -${(2 + 6 * w).toFixed(1)}px var(--accent)`;
      }
    };
    const attention = attentionView(answer.model, (i) => [...answer.prompt, ...answer.ids.slice(0, i + 1)], shade);
    const buttons = answer.tokens.map(({ text, p, top }, i) => {
      const button = element("button", { type: "button", class: "token", tabindex: "-1", text: visible(text) || "∅" });
      button.style.backgroundColor = plain(p);
      const show = () => {
        for (const other of buttons) { other.classList.remove("now"); other.tabIndex = -1; }
        button.classList.add("now");
        button.tabIndex = 0;
        const rows = top.map(([name, q]) => [visible(name) || "∅", q]);
        about.replaceChildren(element("p", { text: words("chosen", visible(text), percent(p)) }),
          barTable(rows, [words("token"), words("probability"), ""]));
        attention.show(i);
      };
      button.onfocus = button.onmouseenter = button.onclick = show;
      return button;
    });
    box.append(...buttons);
    box.onkeydown = (event) => {
      const now = buttons.indexOf(document.activeElement);
      const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: buttons.length - 1 }[event.key];
      if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      if (buttons[to]) buttons[to].focus();
    };
    if (buttons.length) buttons[0].tabIndex = 0;
    shown.append(element("p", { class: "soft", "data-word": "look", text: words("look") }), box, about);
    if (first && answer.ids.length === answer.tokens.length) shown.append(attention.part);
    return shown;
  }

  function finish(answer) {
    answer.body.replaceChildren(...markdown(answer.text));
    tool(answer, "copy", (button) => copy(answer.text, button));
    if (!answer.tokens.length) return;
    let view = null;
    const button = tool(answer, "tokens", () => {
      if (view) { view.remove(); view = null; } else answer.made.append(view = tokenView(answer));
      button.setAttribute("aria-expanded", String(view !== null));
    });
    button.setAttribute("aria-expanded", "false");
  }

  // --------------------------------------------------------------------------------- the server
  // The data of server-sent events, one JSON object after the other.
  async function* events(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data: ") && line !== "data: [DONE]") yield JSON.parse(line.slice(6));
      }
    }
  }

  // The tokens of a choice in one form: {text, p, top: [[text, p], ...]}.
  function tokensOf({ logprobs }) {
    if (!logprobs) return [];
    if (logprobs.content) {
      return logprobs.content.map(({ token, logprob, top_logprobs }) => (
        { text: token, p: Math.exp(logprob), top: top_logprobs.map((one) => [one.token, Math.exp(one.logprob)]) }));
    }
    return logprobs.tokens.map((text, i) => ({
      text, p: Math.exp(logprobs.token_logprobs[i]),
      top: Object.entries(logprobs.top_logprobs[i]).map(([name, q]) => [name, Math.exp(q)]),
    }));
  }

  function request(text) {
    const common = {
      model: get("model").value, temperature: get("temperature").valueAsNumber, max_tokens: get("most").valueAsNumber, stream: true,
      return_token_ids: true,
    };
    if (get("mode").value === "write") return ["/v1/completions", { ...common, prompt: text, logprobs: 5 }];
    const system = get("system").value.trim();
    const all = [...(system ? [{ role: "system", content: system }] : []), ...messages, { role: "user", content: text }];
    return ["/v1/chat/completions", { ...common, messages: all, logprobs: true, top_logprobs: 5 }];
  }

  async function stream(text, answer) {
    const [path, body] = request(text);
    const options = { method: "POST", headers: headers(), body: JSON.stringify(body), signal: running.signal };
    const response = await fetch(path, options);
    if (!response.ok) throw await failure(response);
    let reason = null;
    for await (const event of events(response)) {
      if (event.error) throw Object.assign(new Error(event.error.message), { status: 500 });
      answer.prompt = event.prompt_token_ids || answer.prompt;
      for (const choice of event.choices) {
        answer.ids.push(...(choice.token_ids || []));
        answer.text += choice.text || (choice.delta && choice.delta.content) || "";
        answer.tokens.push(...tokensOf(choice));
        reason = choice.finish_reason || reason;
      }
      const root = document.documentElement, atEnd = innerHeight + scrollY > root.scrollHeight - 60;
      answer.body.replaceChildren(element("p", { text: answer.text }));
      if (atEnd) scrollTo(0, root.scrollHeight);
    }
    return reason;
  }

  function busy(on) {
    get("send").disabled = on;
    get("stop").disabled = !on;
    get("clear").disabled = on;
    get("log").setAttribute("aria-busy", String(on));
  }

  async function send() {
    const text = get("message").value, [heat, most] = ["temperature", "most"].map((id) => get(id).valueAsNumber);
    if (running || !text.trim()) return;
    if (!(heat >= 0 && heat <= 2 && most >= 1 && Number.isInteger(most))) { say(true, "number"); return; }
    running = new AbortController();
    busy(true);
    say(false, "writing");
    const question = article("user"), answer = article("assistant"), began = performance.now();
    question.body.append(element("p", { text }));
    get("message").value = "";
    scrollTo(0, document.documentElement.scrollHeight);
    try {
      const reason = await stream(text, answer);
      const rate = answer.tokens.length / ((performance.now() - began) / 1000);
      say(false, reason === "length" ? "length" : "done", answer.tokens.length, rate.toFixed(1));
    } catch (error) {
      if (error.name === "AbortError") say(false, "stopped");
      else if (error.code === "no_chat_template") {
        get("mode").value = "write";
        say(false, "plain");
      } else complain(error);
      if (!answer.text) {
        question.made.remove();
        answer.made.remove();
        get("message").value = text;
      }
    }
    if (answer.text) {
      finish(answer);
      messages.push({ role: "user", content: text }, { role: "assistant", content: answer.text });
    }
    running = null;
    busy(false);
    if (document.activeElement === document.body) get("message").focus();
  }

  const stop = () => { if (running) running.abort(); };
  get("form").onsubmit = (event) => { event.preventDefault(); send(); };
  get("message").onkeydown = (event) => { // not while a Japanese input method chooses its characters
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
  };
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") stop(); });
  get("stop").onclick = () => { stop(); get("message").focus(); };
  get("clear").onclick = () => { messages = []; get("log").replaceChildren(); say(false, "ready"); get("message").focus(); };
  get("key").onchange = models;
  speak(language, () => {
    say(wrong, ...said);
    for (const button of document.querySelectorAll(".token.now")) button.onfocus();
  });
  models();
})();
