"use strict";
// The vectors of texts, by the model in this page.
const held = JSON.parse(document.getElementById("model").textContent);
const encoder = new Encoder(held.settings, weightsOf(held)), cutter = new Pipeline(held.tokenizer);

async function vectorsOf(texts) {
  const vectors = [];
  for (const text of texts) {
    await new Promise((done) => setTimeout(done)); // the page stays usable
    const { ids, unknown } = cutIds(cutter, text, held.limit);
    const { before, after } = held.tokenizer;
    if (unknown !== undefined || ids.length <= before.length + after.length) throw new Error("blank");
    const x = pooled(encoder.hidden(ids), held.pool), n = Math.hypot(...x) || 1;
    vectors.push(Array.from(x, (v) => v / n));
  }
  return vectors;
}

const complain = (error) => say(true, error.message);
