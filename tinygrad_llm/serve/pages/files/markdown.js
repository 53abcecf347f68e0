"use strict";
// A little Markdown as elements: fenced code, headings, lists, quotations, paragraphs; in a line
// code, bold, italics, links. Texts only become text nodes and the elements that are named here.

function inline(text) {
  const parts = [];
  const marks = /`([^`]+)`|\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*|\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)/g;
  let at = 0;
  for (const m of text.matchAll(marks)) {
    parts.push(text.slice(at, m.index));
    if (m[1] !== undefined) parts.push(element("code", { text: m[1] }));
    else if (m[2] !== undefined) parts.push(element("strong", { text: m[2] }));
    else if (m[3] !== undefined) parts.push(element("em", { text: m[3] }));
    else parts.push(element("a", { href: m[5], rel: "noreferrer noopener", target: "_blank", text: m[4] }));
    at = m.index + m[0].length;
  }
  parts.push(text.slice(at));
  return parts.filter((part) => part !== "");
}

// The elements of a text.
function markdown(text) {
  const lines = text.split("\n"), blocks = [];
  let i = 0;
  const while_ = (test) => {
    const taken = [];
    while (i < lines.length && test(lines[i])) taken.push(lines[i++]);
    return taken;
  };
  const item = /^\s*([-*+]|\d{1,9}[.)])\s+/;
  const starts = (line) => /^(```|#{1,6} |> ?)/.test(line) || item.test(line) || !line.trim();
  while (i < lines.length) {
    const line = lines[i];
    if (line.startsWith("```")) {
      i++;
      const code = while_((one) => !one.startsWith("```"));
      i++;
      blocks.push(element("pre", { tabindex: "0" }, element("code", { text: code.join("\n") })));
    } else if (/^#{1,6} /.test(line)) {
      i++;
      blocks.push(element("p", { class: "heading" }, element("strong", {}, ...inline(line.replace(/^#+ /, "")))));
    } else if (item.test(line)) {
      const ordered = /^\s*\d/.test(line);
      const items = while_((one) => item.test(one) && /^\s*\d/.test(one) === ordered);
      const first = ordered ? { start: parseInt(line, 10) } : {};
      blocks.push(element(ordered ? "ol" : "ul", first, ...items.map((one) => element("li", {}, ...inline(one.replace(item, ""))))));
    } else if (/^> ?/.test(line)) {
      const quoted = while_((one) => /^> ?/.test(one));
      blocks.push(element("blockquote", {}, ...inline(quoted.map((one) => one.replace(/^> ?/, "")).join("\n"))));
    } else if (!line.trim()) {
      i++;
    } else {
      blocks.push(element("p", {}, ...inline([lines[i++], ...while_((one) => !starts(one))].join("\n"))));
    }
  }
  return blocks;
}
