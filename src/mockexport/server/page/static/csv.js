// Any answer as a table: the rows of the CSV that the command writes.

import { request } from "./api.js";
import { h, number } from "./dom.js";
import { beyond, virtualTable } from "./table.js";

/** Read CSV (RFC 4180): rows of fields. */
export function readCsv(text) {
  const rows = [];
  let row = [];
  const field = /(?:"((?:[^"]|"")*)"|([^,\r\n]*))(,|\r?\n|$)/gy;
  while (field.lastIndex < text.length) {
    const [, quoted, plain, end] = field.exec(text);
    row.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === ",") {
      if (field.lastIndex === text.length) row.push("");
      continue;
    }
    rows.push(row);
    row = [];
  }
  if (row.length) rows.push(row);
  return rows;
}

const IDS = new Set(["patient_id", "event_type", "code"]); // text, whatever it looks like
const figure = (value) => (value && Math.abs(value) < 1 ? String(Number(value.toPrecision(3))) : number(value));
const isNumber = (text) => text !== "" && !Number.isNaN(Number(text));

export async function csvTable({ path, run, signal, nothing = "There is nothing in the answer." }) {
  const [names = [], ...rows] = readCsv(await (await request(`${path}/result.csv`, { signal })).text());
  if (!rows.length) return h("p", {}, nothing);
  const columns = names.map((name, at) => {
    const numeric = at > 0 && !IDS.has(name) && rows.every((row) => row[at] === "" || isNumber(row[at]));
    return {
      name,
      head: at === 0,
      width: numeric ? undefined : 14,
      number: numeric,
      text: (row) => (numeric && row[at] ? figure(Number(row[at])) : (row[at] ?? "")),
      draw: numeric ? (cell, row) => (cell.title = row[at] ?? "") : null, // all its digits
      by: numeric ? (row) => (row[at] === "" ? -Infinity : Number(row[at])) : (row) => row[at] ?? "",
    };
  });
  return h("div", {}, h("p", { class: "faint" }, `${number(rows.length)} ${rows.length === 1 ? "row" : "rows"}${beyond(rows.length)}`), virtualTable({ rows, columns, label: `${run.title} of ${run.export}` }));
}
