// The exports of the source, and the downloads of one of them.

import { json, post } from "./api.js";
import { announce, bytes, failure, fill, h, heading, names, number, span } from "./dom.js";
import { virtualTable } from "./table.js";

const address = (export_) => `#/export/${encodeURIComponent(export_)}`;
const ASKED_AT_ONCE = 3;

export async function showExports({ main, about, signal }) {
  const listed = json("/page/runs", { signal }).then(runList, (error) => failure(error.message)); // exports show without them
  const [ids, runs] = await Promise.all([json("/page/exports", { signal }), listed]);
  if (!ids.length) {
    fill(main, heading("Exports"), h("p", {}, "This source holds no export."));
    return;
  }
  const rows = ids.map((id) => h("tr", {}, h("th", { scope: "row" }, h("a", { href: address(id) }, id)), h("td", { colspan: 6, class: "faint" }, "…")));
  const columns = ["Export", "Downloads", "Rows", "Patients", "Types", "Window"];
  const head = columns.map((text, at) => h("th", { scope: "col", class: at > 0 && at < 4 ? "number" : null }, text));
  const table = h(
    "table",
    { class: "cards" },
    h("caption", { class: "hidden" }, "The exports of this source, as it declares them"),
    h("thead", {}, h("tr", {}, head, h("th", { scope: "col" }, h("span", { class: "hidden" }, "Runs")))),
    h("tbody", {}, rows),
  );
  fill(main, heading("Exports"), table, runs);
  const asked = ids.map((id, at) => [id, rows[at]]);
  const ask = async () => {
    for (let next = asked.shift(); next && !signal.aborted; next = asked.shift()) {
      const [id, row] = next;
      await json(`/page/export?export=${encodeURIComponent(id)}`, { signal }).then(
        (found) => row.replaceWith(exportRow(found, about)),
        (error) => signal.aborted || row.lastChild.replaceWith(h("td", { colspan: 6, class: "bad" }, error.message)),
      );
    }
  };
  await Promise.all(Array.from({ length: ASKED_AT_ONCE }, ask));
}

function exportRow(found, about) {
  const cell = (label, text, kind = null) => h("td", { "data-label": label, class: kind }, text);
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, h("a", { href: address(found.id) }, found.id)),
    cell("Downloads", number(found.downloads), "number"),
    cell("Rows", number(found.rows), "number"),
    cell("Patients", number(found.patients), "number"),
    cell("Types", names(found.types), "names"),
    cell("Window", span(found.start_time, found.end_time), "window"),
    h("td", { class: "actions" }, startButtons(found.id, about)),
  );
}

/** Buttons that start each kind of run over an export. */
function startButtons(id, about) {
  return about.kinds.map((kind) => {
    const button = h("button", { "aria-label": `${kind.title} ${id}`, click: start }, kind.title);
    async function start() {
      button.disabled = true;
      try {
        location.hash = `#/run/${(await post("/page/runs", { kind: kind.name, export: id })).id}`;
      } catch (error) {
        button.disabled = false;
        button.focus();
        const told = h("p", { class: "bad", role: "alert" }, error.message);
        button.parentElement.querySelector(".bad")?.remove();
        button.parentElement.append(told);
      }
    }
    return button;
  });
}

function runList(runs) {
  if (!runs.length) return null;
  const item = (run) =>
    h("li", {}, h("a", { href: `#/run/${run.id}` }, `${run.title} ${run.export}`), h("span", { class: `state ${run.state}` }, run.state));
  return h("section", {}, h("h2", {}, "Runs"), h("ul", { class: "runs" }, runs.map(item)));
}

export async function showExport({ main, argument, about, signal }) {
  const query = `export=${encodeURIComponent(argument)}`;
  const found = await json(`/page/export?${query}`, { signal });
  const fact = (name, text) => h("div", {}, h("dt", {}, name), h("dd", {}, text));
  const table = h("div", {}, h("p", { class: "faint" }, "Loading …"));
  fill(
    main,
    heading(found.id, h("div", { class: "actions" }, startButtons(found.id, about))),
    h(
      "dl",
      { class: "facts" },
      fact("Rows", number(found.rows)),
      fact("Downloads", number(found.downloads)),
      fact("Patients", number(found.patients)),
      fact("Types", number(found.types && found.types.all)),
      fact("Window", span(found.start_time, found.end_time)),
    ),
    h("h2", {}, "Downloads"),
    table,
  );
  let listed;
  try {
    listed = await json(`/page/downloads?${query}`, { signal });
  } catch (error) {
    if (!signal.aborted) fill(table, failure(error.message));
    return;
  }
  const { downloads, all } = listed;
  if (!downloads.length) {
    fill(table, h("p", {}, "This export has no downloads."));
    return;
  }
  const columns = [
    { name: "Download", text: (row) => row.id, by: (row) => row.id, head: true, width: 23.5 },
    { name: "Rows", text: (row) => number(row.rows), by: (row) => row.rows ?? -1, number: true },
    { name: "Size", text: (row) => bytes(row.size), by: (row) => row.size ?? -1, number: true },
    { name: "Patients", text: (row) => number(row.patients && row.patients.all), by: (row) => row.patients?.all ?? -1, number: true },
    { name: "Types", text: (row) => names(row.types, 4), width: 11 },
    { name: "Window", text: (row) => span(row.start_time, row.end_time), by: (row) => row.start_time ?? "", width: 22 },
  ].filter((column) => !["Size", "Patients"].includes(column.name) || downloads.some((row) => row[column.name.toLowerCase()] !== null));
  fill(
    table,
    virtualTable({ rows: downloads, columns, label: `Downloads of ${found.id}` }),
    all > downloads.length ? h("p", { class: "faint" }, `The first ${number(downloads.length)} of ${number(all)} are listed.`) : null,
  );
  announce(`${number(all)} downloads`);
}
