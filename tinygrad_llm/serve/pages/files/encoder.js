"use strict";
// BERT in plain JavaScript: all tokens see each other, norms stand behind each part. It uses
// linear, softmax and geluNew of model.js. T tokens, C channels, H heads.

// erf by its series near 0 and by a continued fraction elsewhere: exact to 1e-12.
function erf(x) {
  const z = Math.abs(x);
  if (z < 2.5) {
    let term = x, sum = x;
    for (let n = 1; n < 60; n++) { term *= -x * x / n; sum += term / (2 * n + 1); }
    return 2 / Math.sqrt(Math.PI) * sum;
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (z + fraction);
  return Math.sign(x) * (1 - Math.exp(-z * z) / ((z + fraction) * Math.sqrt(Math.PI)));
}

const gelu = (x) => 0.5 * x * (1 + erf(x / Math.SQRT2));

class Encoder {
  // settings and weights: as models/described.py names them
  constructor(settings, weights) { this.settings = settings; this.weights = weights; }

  norm(name, x) {
    const n = x.length, weight = this.weights[`${name}.weight`], bias = this.weights[`${name}.bias`];
    let mean = 0, square = 0;
    for (const v of x) mean += v;
    mean /= n;
    for (const v of x) square += (v - mean) ** 2;
    const r = 1 / Math.sqrt(square / n + this.settings.norm_eps);
    return x.map((v, i) => (v - mean) * r * weight[i] + bias[i]);
  }

  layer(name, x) { return linear(this.weights[`${name}.weight`], this.weights[`${name}.bias`], x); }

  // The vector of each token: T arrays of C. vectors: in place of the ids' embeddings, or null.
  hidden(ids, vectors = null) {
    const { emb_dim: C, n_layers } = this.settings, w = this.weights;
    const places = w["pos_emb.weight"], kinds = w["type_emb.weight"];
    let rows = ids.map((id, t) => {
      const own = vectors ? vectors[t] : w["tok_emb.weight"].subarray(id * C, (id + 1) * C);
      return this.norm("emb_norm", Float32Array.from(own, (v, c) => v + places[t * C + c] + (kinds ? kinds[c] : 0)));
    });
    const plus = (x, y) => x.map((v, i) => v + y[i]), act = this.settings.activation === "gelu" ? gelu : geluNew;
    for (let i = 0; i < n_layers; i++) {
      const name = `trf_blocks.${i}`, attended = this.attend(`${name}.att`, rows);
      rows = rows.map((x, t) => this.norm(`${name}.norm1`, plus(x, attended[t])));
      rows = rows.map((x) => this.norm(`${name}.norm2`, plus(x, this.layer(`${name}.ff.layers.2`, this.layer(`${name}.ff.layers.0`, x).map(act)))));
    }
    return rows;
  }

  attend(name, rows) {
    const { emb_dim: C, n_heads: H } = this.settings, D = C / H, scale = 1 / Math.sqrt(D);
    const qkv = rows.map((x) => this.layer(`${name}.qkv`, x));
    return qkv.map((own) => {
      const context = new Float32Array(C);
      for (let h = 0; h < H; h++) {
        const weights = softmax(Float32Array.from(qkv, (other) => {
          let sum = 0;
          for (let d = h * D; d < (h + 1) * D; d++) sum += own[d] * other[C + d];
          return sum * scale;
        }));
        for (let d = h * D; d < (h + 1) * D; d++) {
          let sum = 0;
          for (let s = 0; s < qkv.length; s++) sum += weights[s] * qkv[s][2 * C + d];
          context[d] = sum;
        }
      }
      return this.layer(`${name}.out_proj`, context);
    });
  }
}

// The first row, or the mean of all.
function pooled(rows, pool) {
  if (pool === "first") return rows[0];
  if (pool === "last_real" || pool === "last") return rows.at(-1);
  return rows[0].map((_, c) => rows.reduce((sum, row) => sum + row[c], 0) / rows.length);
}

// The ids of a text with what stands around it, at most `limit`.
function cutIds(tokenizer, text, limit) {
  const { ids, unknown } = tokenizer.encode(text);
  if (unknown !== undefined || ids.length <= limit) return { ids, unknown };
  const { before = [], after = [] } = tokenizer.fields || {};
  const inner = ids.slice(before.length, ids.length - after.length);
  return { ids: [...before, ...inner.slice(0, Math.max(0, limit - before.length - after.length)), ...after].slice(0, limit), unknown };
}
