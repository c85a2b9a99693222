// Sortable tables, enlargeable plots, and maps that stay visible after a tap. The page is readable without scripts.
"use strict";

for (const heading of document.querySelectorAll("table.sortable thead th:not(.no-sort)")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  heading.append(button); // vendor/sortable.min.js handles the click and sets aria-sort
}

for (const map of document.querySelectorAll("button.map")) {
  map.addEventListener("click", () => map.setAttribute("aria-pressed", map.getAttribute("aria-pressed") !== "true"));
}

const dialog = document.querySelector("#enlarged");
const stage = dialog.querySelector(".stage");
let placeholder, panzoom;

function enlarge(figure) {
  const plot = figure.querySelector("svg, img");
  placeholder = document.createComment("enlarged");
  plot.replaceWith(placeholder); // moved, not copied: its ids stay unique
  const sheet = document.createElement("div");
  sheet.append(plot);
  stage.replaceChildren(sheet);
  dialog.setAttribute("aria-label", plot.getAttribute("aria-label") || plot.alt);
  dialog.showModal();
  panzoom = Panzoom(sheet, { maxScale: 16, step: 0.4 });
}

dialog.addEventListener("close", () => {
  panzoom.destroy();
  placeholder.replaceWith(stage.querySelector("svg, img"));
  stage.replaceChildren();
});

const moves = {
  in: () => panzoom.zoomIn(),
  out: () => panzoom.zoomOut(),
  reset: () => panzoom.reset(),
  close: () => dialog.close(),
};
for (const button of dialog.querySelectorAll("button")) button.addEventListener("click", moves[button.name]);

const keys = {
  "+": moves.in, "=": moves.in, "-": moves.out, "0": moves.reset,
  ArrowLeft: () => panzoom.pan(60, 0, { relative: true }), ArrowRight: () => panzoom.pan(-60, 0, { relative: true }),
  ArrowUp: () => panzoom.pan(0, 60, { relative: true }), ArrowDown: () => panzoom.pan(0, -60, { relative: true }),
};
dialog.addEventListener("keydown", (event) => {
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});
stage.addEventListener("wheel", (event) => panzoom.zoomWithWheel(event), { passive: false });

for (const figure of document.querySelectorAll("figure.zoomable")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "enlarge";
  button.textContent = "Enlarge";
  button.setAttribute("aria-label", "Enlarge: " + figure.dataset.name);
  button.addEventListener("click", () => enlarge(figure));
  figure.append(button);
}
