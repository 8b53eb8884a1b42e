"use strict";
// Headings sort their table: numbers by value, texts in natural order, missing values last.
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const numeric = head.classList.contains("number");
      const keyed = [...table.tBodies[0].rows].map((row) => {
        const cell = row.cells[column];
        const missing = numeric ? cell.dataset.n === undefined : cell.textContent === "–";
        return { row, missing, key: numeric ? Number(cell.dataset.n) : cell.textContent };
      });
      const order = (a, b) =>
        numeric ? a - b : a.localeCompare(b, "en", { numeric: true, sensitivity: "base" });
      keyed.sort((a, b) => a.missing - b.missing || (a.missing ? 0 : (up ? 1 : -1) * order(a.key, b.key)));
      table.tBodies[0].append(...keyed.map((entry) => entry.row));
    });
  });
}
// A long table is filtered by what its rows say; without this script there is no such field.
for (const label of document.querySelectorAll(".filter")) {
  const rows = label.nextElementSibling.querySelectorAll("tbody tr");
  label.hidden = false;
  label.firstElementChild.addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/);
    rows.forEach((row) => {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    });
  });
}
// A link opens the section that it leads to.
const unfold = () => {
  const section = location.hash && document.getElementById(location.hash.slice(1));
  const folded = section && section.querySelector("details");
  if (folded) folded.open = true;
};
addEventListener("hashchange", unfold);
unfold();
// Nothing can be opened on paper, so print everything.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((details) => { details.open = true; });
});
addEventListener("afterprint", () => opened.forEach((details) => { details.open = false; }));
