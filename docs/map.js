// The map of the course is wider than a phone: it opens at its middle, where the path begins.
for (const map of document.querySelectorAll(".map")) {
  const toMiddle = () => { map.scrollLeft = (map.scrollWidth - map.clientWidth) / 2; };
  const picture = map.querySelector("img");
  if (picture.complete) toMiddle();
  else picture.onload = toMiddle;
}
