// What the page does beside being read: tables sort by their columns, the theme can be chosen, and what does not scroll
// is no stop of the keyboard. It reads nothing but this page; without it every table keeps the order of the report.
"use strict";

const collator = new Intl.Collator("en", { numeric: true });

// A cell's number, else its text; what is missing is null.
function readCell(row, column) {
  const cell = row.cells[column];
  if (cell.tagName === "TH") return cell.textContent.trim();
  const text = cell.dataset.sort || "";
  if (text === "") return null;
  const number = Number(text);
  return Number.isNaN(number) ? text : number;
}

function compare(one, other) {
  return typeof one === "number" && typeof other === "number" ? one - other : collator.compare(one, other);
}

// Stable, and what is missing stays last in both directions.
function sortTable(table, column, sign) {
  const body = table.tBodies[0];
  const pairs = Array.from(body.rows, (row) => [readCell(row, column), row]);
  const known = pairs.filter(([value]) => value !== null);
  known.sort(([one], [other]) => sign * compare(one, other));
  const missing = pairs.filter(([value]) => value === null);
  body.append(...[...known, ...missing].map(([, row]) => row));
}

function makeSortable(table) {
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = head.dataset.first || "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? second : first;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      sortTable(table, column, order === "ascending" ? 1 : -1);
    });
  });
}

// A page that was opened as a file may have no storage: then the choice lasts as long as the page.
function remember(theme) {
  try { localStorage.setItem("theme", theme); } catch { /* not allowed here */ }
}

function recall() {
  try { return localStorage.getItem("theme"); } catch { return null; }
}

function offerThemes(button) {
  const themes = ["system", "light", "dark"];
  const show = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  button.addEventListener("click", () => {
    const now = themes.indexOf(document.documentElement.dataset.theme);
    show(themes[(now + 1) % themes.length]);
    remember(document.documentElement.dataset.theme);
  });
  show(themes.includes(recall()) ? recall() : "system");
  button.hidden = false;
}

// A region to scroll is a stop of the keyboard and a landmark; where all of it is in sight it need be neither.
function watchRegions(regions) {
  const kept = ["role", "tabindex", "aria-label"];
  const known = regions.map((region) => kept.map((name) => [name, region.getAttribute(name)]));
  const update = () => {
    const wide = regions.map((region) => region.scrollWidth > region.clientWidth);
    regions.forEach((region, place) => {
      known[place].forEach(([name, value]) => {
        if (wide[place]) region.setAttribute(name, name === "aria-label" ? `${value}, scrolls sideways` : value);
        else if (region !== document.activeElement) region.removeAttribute(name);
      });
    });
  };
  window.addEventListener("resize", update);
  update();
}

document.querySelectorAll("table").forEach(makeSortable);
offerThemes(document.getElementById("theme"));
watchRegions(Array.from(document.querySelectorAll(".scroll, pre")));
