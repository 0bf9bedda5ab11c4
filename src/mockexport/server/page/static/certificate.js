// The answer of `reconcile`: whether the export is whole, and what was found.

import { json, request } from "./api.js";
import { csvTable, readCsv } from "./csv.js";
import { h, number } from "./dom.js";

export async function certificate(given) {
  const [{ whole }, csv] = await Promise.all([
    json(`${given.path}/result.json`, { signal: given.signal }),
    request(`${given.path}/result.csv`, { signal: given.signal }).then((answer) => answer.text()),
  ]);
  const verdict = whole
    ? h("p", { class: "note good" }, "The export is whole: what was declared was found.")
    : h("p", { class: "note bad" }, "The export is not whole.");
  const [names, ...rows] = readCsv(csv);
  const findings = rows.map((row) => Object.fromEntries(names.map((name, at) => [name, row[at]])));
  return h("div", {}, verdict, h("ul", { class: "findings" }, findings.map(told)), await csvTable({ ...given, nothing: "No findings." }));
}

/** A finding in full: the table cuts long texts. */
function told({ severity, count, meaning, places }) {
  const kind = severity === "error" ? "bad" : "faint";
  return h("li", {}, h("b", { class: kind }, severity), ` ${meaning}: ${number(Number(count))}`, places && h("span", { class: "faint" }, ` — ${places}`));
}
