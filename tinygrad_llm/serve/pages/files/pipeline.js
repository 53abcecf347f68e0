"use strict";
// A published BPE tokenizer as text/described.py writes it: normalise, cut, join the best pairs.

class Pipeline {
  constructor(fields) {
    this.fields = fields;
    this.bytes = bytesOf(fields.bytes);
    this.starts = [0];
    for (const n of fields.lengths) this.starts.push(this.starts.at(-1) + n);
    this.vocabulary = new Map();
    fields.vocabulary.forEach((token, id) => { if (token !== null) this.vocabulary.set(token, id); });
    this.ranks = new Map();
    const token = (id) => fields.vocabulary[id];
    const { merges, joins } = fields;
    if (fields.longest) this.most = Math.max(...[...this.vocabulary.keys()].map((t) => Array.from(t).length));
    else if (merges) for (let i = 0; i < merges.length; i += 2) this.ranks.set(`${token(merges[i])}\0${token(merges[i + 1])}`, i);
    else joins.forEach((id, i) => this.ranks.set(token(id), i));
    this.rank = (a, b) => this.ranks.get(merges ? `${a}\0${b}` : a + b);
    this.special = new Set(fields.special);
    this.cuts = fields.cuts.map((cut) => this.cutter(cut));
    this.normalizers = fields.normalizers.map(([kind, ...more]) => {
      if (kind === "form") return (text) => text.normalize(more[0]);
      if (kind === "prepend") return (text) => (text ? more[0] + text : text);
      if (kind === "mark") return (text) => (text ? more[1] + text.replaceAll(" ", more[0]) + more[2] : text);
      if (kind === "bert") return bertNormalizer(more);
      const pattern = new RegExp(more[0], "gu");
      return (text) => text.replace(pattern, (match) => (match ? more[1] : ""));
    });
    this.finders = fields.added.map((tokens) => {
      if (!tokens.length) return null;
      const longest = tokens.map(([spelling]) => spelling).sort((a, b) => b.length - a.length);
      return new RegExp(longest.map((s) => s.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|"), "gu");
    });
    this.known = new Map();
  }

  isSpecial(id) { return this.special.has(id); }

  // The bytes of a token that does not begin a text.
  token(id) { return id < this.fields.lengths.length ? this.bytes.subarray(this.starts[id], this.starts[id + 1]) : null; }

  cutter([what, ...more]) {
    if (what === "prefix") return (text) => [text.startsWith(" ") ? text : ` ${text}`];
    if (what === "metaspace") {
      const [mark, scheme, split] = more;
      return (text, first) => {
        text = text.replaceAll(" ", mark);
        if ((scheme === "always" || (scheme === "first" && first)) && !text.startsWith(mark)) text = mark + text;
        if (!split) return [text];
        const [begin, ...rest] = text.split(mark);
        return [...(begin ? [begin] : []), ...rest.map((piece) => mark + piece)];
      };
    }
    const pattern = new RegExp(what, "gu"), [behaviour, invert] = more;
    return (text) => separated(found(pattern, text).map(([piece, match]) => [piece, match !== invert]), behaviour);
  }

  // The ids of a text with those around it; {unknown: a sign} if the vocabulary has not got it.
  encode(text) {
    try {
      return { ids: [...this.fields.before, ...this.part(text), ...this.fields.after] };
    } catch (error) {
      if (error.unknown === undefined) throw error;
      return { ids: [], unknown: error.unknown };
    }
  }

  part(text) {
    const ids = [];
    let first = true;
    for (const section of cutAt(text, this.finders[0])) {
      if (section.added) ids.push(this.addedId(0, section.text));
      else {
        let own = first;
        const normalized = this.normalizers.reduce((t, change) => change(t), section.text);
        for (const inner of cutAt(normalized, this.finders[1])) {
          if (inner.added) ids.push(this.addedId(1, inner.text));
          else if (inner.text) {
            let pieces = [inner.text];
            for (const cut of this.cuts) pieces = pieces.flatMap((piece, i) => cut(piece, own && i === 0));
            for (const piece of pieces) ids.push(...this.piece(piece));
          }
          own = false;
        }
      }
      first = false;
    }
    return ids;
  }

  addedId(list, spelling) { return this.fields.added[list].find(([text]) => text === spelling)[1]; }

  piece(piece) {
    if (!this.known.has(piece)) {
      if (this.known.size > 20000) this.known.clear();
      const { letters, whole, longest } = this.fields;
      if (longest) return this.words(Array.from(piece));
      const spelled = letters ? Array.from(new TextEncoder().encode(piece), (byte) => letters[byte]).join("") : piece;
      const known = whole ? this.vocabulary.get(spelled) : undefined;
      this.known.set(piece, known === undefined ? this.ids(this.join(Array.from(spelled))) : [known]);
    }
    return this.known.get(piece);
  }

  // WordPiece: the longest token that the rest begins with, each time.
  words(signs) {
    const { longest, prefix, unknown } = this.fields, ids = [];
    if (signs.length > longest) return [unknown];
    for (let start = 0; start < signs.length;) {
      let end = Math.min(signs.length, start + this.most), id;
      for (; end > start; end--) {
        id = this.vocabulary.get((start ? prefix : "") + signs.slice(start, end).join(""));
        if (id !== undefined) break;
      }
      if (id === undefined) return [unknown];
      ids.push(id);
      start = end;
    }
    return ids;
  }

  join(symbols) {
    const { prefix, suffix } = this.fields, skip = Array.from(prefix).length;
    if (!symbols.length) return symbols;
    if (prefix || suffix) {
      symbols = symbols.map((s, i) => (i ? prefix + s : s));
      symbols[symbols.length - 1] += suffix;
    }
    const rank = (i) => this.rank(symbols[i], symbols[i + 1]) ?? Infinity;
    const ranks = symbols.slice(1).map((_, i) => rank(i));
    while (ranks.length) {
      let best = 0;
      for (let i = 1; i < ranks.length; i++) if (ranks[i] < ranks[best]) best = i;
      if (ranks[best] === Infinity) break;
      symbols.splice(best, 2, symbols[best] + Array.from(symbols[best + 1]).slice(skip).join(""));
      ranks.splice(best, 1);
      if (best > 0) ranks[best - 1] = rank(best - 1);
      if (best < ranks.length) ranks[best] = rank(best);
    }
    return symbols;
  }

  ids(symbols) {
    const { unknown, fuse, fallback } = this.fields, ids = [];
    let fused = false;
    for (const symbol of symbols) {
      const id = this.vocabulary.get(symbol);
      if (id !== undefined) { ids.push(id); fused = false; continue; }
      const bytes = fallback && Array.from(new TextEncoder().encode(symbol), (byte) => fallback[byte]);
      if (bytes && !bytes.includes(null)) { ids.push(...bytes); fused = false; continue; }
      if (unknown === null) throw Object.assign(new Error("unknown"), { unknown: symbol });
      if (!(fused && fuse)) ids.push(unknown);
      fused = true;
    }
    return ids;
  }

  // The text of ids, without what stands around a text; a cut character becomes U+FFFD.
  decode(ids) {
    const { before, drop } = this.fields;
    const own = before.length && before.every((id, i) => ids[i] === id) ? ids.slice(before.length) : ids;
    let data = own.flatMap((id) => [...(this.token(id) || [])]), left = this.fields.leading;
    if (drop && data[0] === 32) data = data.slice(1);
    while (left-- > 0 && data[0] === 32) data = data.slice(1);
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(data));
  }
}

// BERT's normaliser: control characters out, ideographs apart, accents out, lower case.
function bertNormalizer([clean, apart, accents, lower, controls, spaces, ideographs, marks]) {
  const [gone, space, signs, mark] = [controls, spaces, ideographs, marks].map((source) => new RegExp(source, "gu"));
  return (text) => {
    if (clean) text = text.replace(/[\t\n\r]/g, " ").replace(gone, "").replace(space, " ");
    if (apart) text = text.replace(signs, " $& ");
    if (accents) text = text.normalize("NFD").replace(mark, "");
    if (!lower) return text;
    return text.includes("Σ") ? Array.from(text, (c) => c.toLowerCase()).join("") : text.toLowerCase();
  };
}

// A text as [piece, whether the pattern matches it], in order.
function found(pattern, text) {
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index > end) pieces.push([text.slice(end, match.index), false]);
    if (match[0]) pieces.push([match[0], true]);
    end = match.index + match[0].length;
  }
  if (end < text.length) pieces.push([text.slice(end), false]);
  return pieces;
}

// The texts of pieces, of which those with true are separators: text/stages/pre_tokenizers.py.
function separated(pieces, behaviour) {
  if (behaviour === "Isolated") return pieces.map(([piece]) => piece);
  if (behaviour === "Removed") return pieces.filter(([, match]) => !match).map(([piece]) => piece);
  const joined = [];
  let before = null;
  if (behaviour === "MergedWithNext") {
    for (const [piece, match] of [...pieces].reverse()) {
      if (match && before === false) joined[joined.length - 1] = piece + joined.at(-1);
      else joined.push(piece);
      before = match;
    }
    return joined.reverse();
  }
  for (const [piece, match] of pieces) {
    const together = behaviour === "MergedWithPrevious" ? match && before === false : match === before;
    if (together) joined[joined.length - 1] += piece;
    else joined.push(piece);
    before = match;
  }
  return joined;
}

// A text in order: {text}, and {text, added: true} where the finder matches.
function cutAt(text, finder) {
  if (!finder) return text ? [{ text }] : [];
  return found(finder, text).map(([piece, added]) => ({ text: piece, added }));
}
