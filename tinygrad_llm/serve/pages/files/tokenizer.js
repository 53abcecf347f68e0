"use strict";
// Tokenizers of characters and of bytes (BPE), as text/char.py and text/bpe.py have them.

// White space as in Unicode's White_Space: JavaScript's own class differs by two characters.
const SPACE = "\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const PIECES = new RegExp(
  "'(?:s|t|re|ve|m|ll|d)| ?\\p{L}+| ?\\p{N}+"
  + `| ?[^${SPACE}\\p{L}\\p{N}]+|[${SPACE}]+(?![^${SPACE}])|[${SPACE}]+`, "gu");

class Tokenizer {
  // fields: kind "char" with characters, or "bpe" with bytes (the byte of each id below 256) and
  // merges (pairs of ids, flat); special: the spellings of special tokens, which come last
  constructor(fields) {
    const coder = new TextEncoder();
    this.kind = fields.kind;
    if (fields.kind === "char") {
      this.characters = Array.from(fields.characters);
      this.ids = new Map(this.characters.map((c, i) => [c, i]));
      this.tokens = this.characters.map((c) => coder.encode(c));
    } else {
      this.tokens = fields.bytes.map((byte) => Uint8Array.of(byte));
      this.ids = new Map(fields.bytes.map((byte, i) => [byte, i]));
      this.merges = new Map();
      for (let i = 0; i < fields.merges.length; i += 2) {
        const [left, right] = [fields.merges[i], fields.merges[i + 1]];
        this.merges.set(`${left} ${right}`, this.tokens.length);
        this.tokens.push(Uint8Array.from([...this.tokens[left], ...this.tokens[right]]));
      }
    }
    this.firstSpecial = this.tokens.length;
    this.tokens.push(...fields.special.map((token) => coder.encode(token)));
  }

  isSpecial(id) { return id >= this.firstSpecial; }

  // The bytes of a token.
  token(id) { return this.tokens[id]; }

  // The ids of a text; {unknown: a character} if the vocabulary has not got it.
  encode(text) {
    if (this.kind === "char") {
      const ids = [];
      for (const c of text) {
        if (!this.ids.has(c)) return { ids, unknown: c };
        ids.push(this.ids.get(c));
      }
      return { ids };
    }
    const coder = new TextEncoder();
    const pieces = text.match(PIECES) || [];
    return { ids: pieces.flatMap((piece) => this.joined(Array.from(coder.encode(piece), (b) => this.ids.get(b)))) };
  }

  // The earliest merge first, from left to right.
  joined(ids) {
    for (;;) {
      let best = Infinity, at = -1;
      for (let i = 0; i + 1 < ids.length; i++) {
        const merged = this.merges.get(`${ids[i]} ${ids[i + 1]}`);
        if (merged !== undefined && merged < best) { best = merged; at = i; }
      }
      if (at < 0) return ids;
      ids.splice(at, 2, best);
    }
  }

  // The text of ids; a cut character becomes U+FFFD.
  decode(ids) {
    return new TextDecoder().decode(Uint8Array.from(ids.flatMap((id) => [...(this.tokens[id] || [])])));
  }
}
