"use strict";
// Copying a part of the page puts every formula's Unicode form on the clipboard.
document.addEventListener("copy", (event) => {
  const selection = getSelection();
  if (!selection.rangeCount || selection.isCollapsed) return;
  const part = selection.getRangeAt(0).cloneContents();
  const formulas = part.querySelectorAll("math[alttext]");
  if (!formulas.length) return;
  formulas.forEach((math) => math.replaceWith(math.getAttribute("alttext")));
  const holder = document.createElement("div");
  holder.style.cssText = "position: fixed; left: -9999px; white-space: pre-wrap";
  holder.append(part);
  document.body.append(holder); // innerText needs a layout: it puts lines where blocks end
  event.clipboardData.setData("text/plain", holder.innerText);
  holder.remove();
  event.preventDefault();
});
