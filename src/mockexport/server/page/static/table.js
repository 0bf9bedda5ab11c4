// A table of any length: only the rows in sight are in the document. Sorted by its headings.

import { announce, fill, h, number } from "./dom.js";

const ROW = 36; // pixels, as in the style sheet
const SPARE = 8; // rows above and below those in sight
const TALLEST = 8_000_000; // pixels: browsers draw nothing beyond some tens of millions
const MOST = Math.floor(TALLEST / ROW);
const PRINTED = 2000; // rows

/** What to say if there are more rows than a table shows. */
export const beyond = (rows) => (rows > MOST ? `; the table has the first ${number(MOST)}, the CSV has all` : "");

window.addEventListener("beforeprint", () => each((box) => box.drawRows(0, PRINTED)));
window.addEventListener("afterprint", () => each((box) => box.drawInSight()));
function each(tell) {
  for (const box of document.querySelectorAll(".scroll")) if (box.drawRows) tell(box);
}

/** How wide a column is, in rem: all rows have the same widths, so that nothing moves as one scrolls. */
const widthOf = (column) => column.width ?? Math.max(8, Math.min(18, 4 + 0.65 * column.name.length));

function widthsOf(columns) {
  const widths = columns.map((column) => {
    const width = h("col", {});
    width.style.width = column.head ? `min(${widthOf(column)}rem, 40vw)` : `${widthOf(column)}rem`;
    return width;
  });
  return h("colgroup", {}, widths);
}

/**
 * Make a table. Each column has a `name` and `text(row)`; `by(row)` is what it is sorted by, `draw(cell, row)` may
 * do more with its cell, and `width` is in rem. The `head` column names its row. `footer` has the texts of a last row, which stays in sight.
 * `sorted` is the name of the column to begin with, and whether it goes `down`.
 * The element that is returned has `show(rows)`, for other rows, and `sorting()`, which may be the next table's `sorted`.
 */
export function virtualTable({ rows, columns, label, footer = null, sorted = null }) {
  let shown = rows;
  const at = columns.findIndex((column) => column.name === sorted?.name);
  let sort = at < 0 ? null : { at, down: sorted.down };
  const above = h("tr", { class: "gap", "aria-hidden": "true" }, h("td", { colspan: columns.length }));
  const below = h("tr", { class: "gap", "aria-hidden": "true" }, h("td", { colspan: columns.length }));
  const body = h("tbody", {});
  const heads = columns.map((column, at) => headOf(column, at));
  const table = h("table", { class: "virtual", "aria-label": label, "aria-colcount": columns.length }, widthsOf(columns), h("thead", {}, h("tr", { "aria-rowindex": 1 }, heads)), body);
  table.style.minWidth = `${columns.reduce((sum, column) => sum + widthOf(column), 0)}rem`;
  if (footer) table.append(h("tfoot", {}, h("tr", {}, footer.map((text, at) => h(at ? "td" : "th", { class: columns[at].number ? "number" : null, scope: at ? null : "row" }, text)))));
  const box = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, table);
  const pool = []; // the rows in the document, which are filled anew rather than made anew
  let first = -1;
  let last = -1;

  function headOf(column, at) {
    const kind = [column.number ? "number" : "", column.head ? "first" : ""].join(" ").trim() || null;
    const given = { scope: "col", class: kind, title: column.name };
    if (!column.by) return h("th", given, column.name);
    return h("th", given, h("button", { class: "sort", click: () => sortBy(at) }, column.name));
  }

  function sortBy(at) {
    const down = sort && sort.at === at ? !sort.down : Boolean(columns[at].number);
    sort = { at, down };
    order();
    announce(`Sorted by ${columns[at].name}, ${down ? "largest first" : "smallest first"}`);
  }

  function order() {
    if (sort) {
      const { by } = columns[sort.at];
      const sign = sort.down ? -1 : 1;
      shown = [...shown].sort((one, two) => {
        const [left, right] = [by(one), by(two)];
        return left < right ? -sign : left > right ? sign : 0;
      });
      heads.forEach((head, at) => {
        if (at === sort.at) head.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
    }
    first = last = -1;
    draw();
  }

  function rowOf() {
    const cells = columns.map((column) => h(column.head ? "th" : "td", { class: [column.number ? "number" : "", column.head ? "first" : ""].join(" ").trim() || null, scope: column.head ? "row" : null }));
    return h("tr", {}, cells);
  }

  function draw() {
    const height = box.clientHeight || 600;
    const from = Math.max(0, Math.floor(box.scrollTop / ROW) - SPARE);
    drawRows(from, Math.ceil((box.scrollTop + height) / ROW) + SPARE);
  }

  function drawRows(wantedFirst, wantedLast) {
    const all = Math.min(shown.length, MOST);
    const from = Math.min(wantedFirst, all);
    const to = Math.min(wantedLast, all);
    if (from === first && to === last) return;
    first = from;
    last = to;
    while (pool.length < to - from) pool.push(rowOf());
    const drawn = pool.slice(0, to - from);
    drawn.forEach((row, at) => {
      const index = from + at;
      if (row.shown === shown[index] && row.index === index) return;
      row.shown = shown[index];
      row.index = index;
      row.setAttribute("aria-rowindex", index + 2);
      row.classList.toggle("odd", index % 2 === 1);
      columns.forEach((column, number) => {
        const cell = row.children[number];
        cell.textContent = column.text(shown[index]);
        if (!column.number) cell.title = cell.textContent; // it may be cut
        column.draw?.(cell, shown[index]);
      });
    });
    above.firstChild.style.height = `${from * ROW}px`;
    below.firstChild.style.height = `${(all - to) * ROW}px`;
    if (body.children.length !== drawn.length + 2) fill(body, above, drawn, below);
  }

  let waiting = false;
  box.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => ((waiting = false), draw()));
  }, { passive: true });
  new ResizeObserver(() => draw()).observe(box);
  box.show = (others) => {
    shown = others;
    table.setAttribute("aria-rowcount", others.length + 1);
    box.scrollTop = 0;
    order();
  };
  box.sorting = () => sort && { name: columns[sort.at].name, down: sort.down };
  box.drawRows = drawRows;
  box.drawInSight = draw;
  box.show(rows);
  return box;
}
