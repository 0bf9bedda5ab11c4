// The answer of `reconcile`: whether the export is whole, and what was found.

import { json } from "./api.js";
import { csvTable } from "./csv.js";
import { h } from "./dom.js";

export async function certificate(given) {
  const { whole } = await json(`${given.path}/result.json`, { signal: given.signal });
  const verdict = whole
    ? h("p", { class: "note good" }, "The export is whole: what was declared was found.")
    : h("p", { class: "note bad" }, "The export is not whole.");
  return h("div", {}, verdict, await csvTable({ ...given, nothing: "No findings." }));
}
