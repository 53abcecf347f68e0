"use strict";
// The vectors of texts, from the server of this page.
const vectorsOf = async (texts) => (
  (await ask("/v1/embeddings", { model: "embeddings", input: texts })).data.map((one) => one.embedding));
