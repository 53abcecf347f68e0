"use strict";
// A decoder in plain JavaScript: GPT-2's and Llama's blocks, one token at a time, with a cache.
// Vectors are Float32Array; sums are computed in double precision. T tokens, C channels, H heads,
// KV heads of keys and values, D channels of a head, V tokens in the vocabulary.

// The bytes of a text in base64.
function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

// float16 (IEEE 754, little-endian) as float32; a table makes it one look-up per number.
function fromHalf(bytes) {
  const bits = new Uint16Array(bytes.buffer), table = new Float32Array(1 << 16);
  for (let h = 0; h < 1 << 16; h++) {
    const exponent = (h >> 10) & 31, part = h & 1023;
    const size = exponent === 0 ? part * 2 ** -24
      : exponent === 31 ? (part ? NaN : Infinity) : (1 + part / 1024) * 2 ** (exponent - 15);
    table[h] = h & 0x8000 ? -size : size;
  }
  return Float32Array.from(bits, (h) => table[h]);
}

// The weights of a page by their names.
function weightsOf({ tensors, kind }) {
  const weights = {};
  for (const [name, data] of Object.entries(tensors)) {
    const bytes = bytesOf(data);
    weights[name] = kind === "F16" ? fromHalf(bytes) : new Float32Array(bytes.buffer);
  }
  return weights;
}

// y = W·x + b: W (rows, x.length), row after row.
function linear(weight, bias, x, rows = weight.length / x.length) {
  const n = x.length, y = new Float32Array(rows);
  for (let i = 0, at = 0; i < rows; i++) {
    let sum = 0;
    for (let j = 0; j < n; j++) sum += weight[at++] * x[j];
    y[i] = bias ? sum + bias[i] : sum;
  }
  return y;
}

function softmax(scores) {
  const most = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const e = scores.map((s) => Math.exp(s - most));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / sum);
}

const geluNew = (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
const silu = (x) => x / (1 + Math.exp(-x));

class Model {
  // settings and weights: as models/described.py names them
  constructor(settings, weights) {
    this.settings = settings;
    this.weights = weights;
    const { context_length: n, n_layers, n_heads, n_kv_heads, head_dim } = settings;
    const rows = (heads) => new Float32Array(n * heads * head_dim);
    this.cache = Array.from({ length: n_layers }, () => (
      { queries: rows(n_heads), keys: rows(n_kv_heads), values: rows(n_kv_heads) }));
    this.finals = rows(settings.emb_dim / head_dim); // what the head reads, for each token
    this.length = 0;
  }

  norm(name, x) {
    const { norm, norm_eps } = this.settings, n = x.length;
    const weight = this.weights[`${name}.weight`], bias = this.weights[`${name}.bias`];
    let mean = 0, square = 0;
    if (norm === "layer") { for (const v of x) mean += v; mean /= n; }
    for (const v of x) square += (v - mean) ** 2;
    const r = 1 / Math.sqrt(square / n + norm_eps);
    return x.map((v, i) => (v - mean) * r * weight[i] + (bias ? bias[i] : 0));
  }

  // Turns each head of x (heads·D) by the angles of a position, in place.
  turn(x, position) {
    const frequencies = this.weights.frequencies;
    if (!frequencies) return;
    const { head_dim: D, attention_factor: factor } = this.settings, half = D / 2;
    for (let j = 0; j < half; j++) {
      const angle = Math.fround(position * frequencies[j]);
      const cos = Math.cos(angle) * factor, sin = Math.sin(angle) * factor;
      for (let at = j; at < x.length; at += D) {
        const a = x[at], b = x[at + half];
        x[at] = a * cos - b * sin;
        x[at + half] = b * cos + a * sin;
      }
    }
  }

  // Each head's D channels through the norm of queries or keys, in place.
  normHeads(name, x) {
    const D = this.settings.head_dim;
    for (let at = 0; at < x.length; at += D) x.set(this.norm(name, x.slice(at, at + D)), at);
  }

  // The weights with which the token at `position` looks at the first tokens: (position + 1).
  attention(layer, head, position) {
    const { n_heads, n_kv_heads, head_dim: D, scale, windows } = this.settings;
    const { queries, keys } = this.cache[layer];
    const shared = Math.floor(head / (n_heads / n_kv_heads));
    const q = (position * n_heads + head) * D, scores = new Float32Array(position + 1);
    const first = windows[layer] === null ? 0 : Math.max(0, position + 1 - windows[layer]);
    for (let s = 0; s <= position; s++) {
      if (s < first) { scores[s] = -Infinity; continue; }
      let sum = 0;
      const k = (s * n_kv_heads + shared) * D;
      for (let d = 0; d < D; d++) sum += queries[q + d] * keys[k + d];
      scores[s] = sum * scale;
    }
    return softmax(scores);
  }

  attend(layer, x, position) {
    const { n_heads: H, n_kv_heads: KV, head_dim: D, qk_norm } = this.settings;
    const name = `trf_blocks.${layer}.att`, w = this.weights, cache = this.cache[layer];
    const qkv = linear(w[`${name}.qkv.weight`], w[`${name}.qkv.bias`], x);
    const queries = qkv.slice(0, H * D), keys = qkv.slice(H * D, (H + KV) * D);
    if (qk_norm) {
      this.normHeads(`${name}.q_norm`, queries);
      this.normHeads(`${name}.k_norm`, keys);
    }
    this.turn(queries, position);
    this.turn(keys, position);
    cache.queries.set(queries, position * H * D);
    cache.keys.set(keys, position * KV * D);
    cache.values.set(qkv.subarray((H + KV) * D), position * KV * D);
    const context = new Float32Array(H * D);
    for (let h = 0; h < H; h++) {
      const weights = this.attention(layer, h, position), shared = Math.floor(h / (H / KV));
      for (let d = 0; d < D; d++) {
        let sum = 0;
        for (let s = 0; s <= position; s++) sum += weights[s] * cache.values[(s * KV + shared) * D + d];
        context[h * D + d] = sum;
      }
    }
    return linear(w[`${name}.out_proj.weight`], w[`${name}.out_proj.bias`], context);
  }

  feedForward(layer, x) {
    const name = `trf_blocks.${layer}.ff`, w = this.weights;
    if (this.settings.feed_forward === "silu") {
      const both = linear(w[`${name}.gate_up.weight`], w[`${name}.gate_up.bias`], x), n = both.length / 2;
      const hidden = both.slice(0, n).map((a, i) => silu(a) * both[n + i]);
      return linear(w[`${name}.down.weight`], w[`${name}.down.bias`], hidden);
    }
    const hidden = linear(w[`${name}.layers.0.weight`], w[`${name}.layers.0.bias`], x).map(geluNew);
    return linear(w[`${name}.layers.2.weight`], w[`${name}.layers.2.bias`], hidden);
  }

  // Reads one more token, with another vector in place of its embedding if there is one.
  read(id, vector = null) {
    const { emb_dim: C, n_layers, context_length } = this.settings, w = this.weights;
    const position = this.length;
    if (position >= context_length) throw new Error("the context is full");
    let x = vector || w["tok_emb.weight"].slice(id * C, (id + 1) * C);
    const places = w["pos_emb.weight"];
    if (places) x = x.map((v, i) => v + places[position * C + i]);
    for (let layer = 0; layer < n_layers; layer++) {
      const attended = this.attend(layer, this.norm(`trf_blocks.${layer}.norm1`, x), position);
      x = x.map((v, i) => v + attended[i]);
      const processed = this.feedForward(layer, this.norm(`trf_blocks.${layer}.norm2`, x));
      x = x.map((v, i) => v + processed[i]);
    }
    this.finals.set(this.norm("final_norm", x), position * C);
    this.length = position + 1;
  }

  // The scores of all tokens to follow the one at `position`: (V).
  logits(position) {
    const C = this.settings.emb_dim, w = this.weights;
    const head = w["out_head.weight"] || w["tok_emb.weight"];
    return linear(head, null, this.finals.subarray(position * C, (position + 1) * C));
  }
}
