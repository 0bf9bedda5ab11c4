// Counts as a heat map: patients by types. What is far from the mean of its type has a colour and a mark.

import { json } from "./api.js";
import { h, number } from "./dom.js";
import { virtualTable } from "./table.js";

const TYPES_SHOWN = 40; // columns; the rest is in the JSON and the CSV

export async function heatMap({ path, run, signal }) {
  const counts = await json(`${path}/result.json`, { signal });
  const map = new Map(Object.entries(counts.patients).map(([patient, types]) => [patient, new Map(Object.entries(types))]));
  const totals = Object.entries(counts.totals);
  const types = totals.length > TYPES_SHOWN ? [...totals].sort((one, two) => two[1] - one[1]).slice(0, TYPES_SHOWN) : totals;
  const spread = new Map(types.map(([type]) => [type, spreadOf(map, type)]));
  const rows = [...map].map(([patient, found]) => rowOf(patient, found, spread));
  const all = totals.reduce((sum, [, records]) => sum + records, 0);
  const columns = [
    { name: "Patient", text: (row) => row.patient, by: (row) => row.patient, head: true, width: 12 },
    ...types.map(([type]) => ({
      name: type,
      number: true,
      text: (row) => (row.types.has(type) ? number(row.types.get(type)) : "·"),
      by: (row) => row.types.get(type) ?? 0,
      draw: (cell, row) => {
        const { heat, mark } = row.marks.get(type);
        cell.dataset.heat = heat;
        cell.append(h("span", { class: "mark" }, mark));
      },
    })),
    { name: "Total", number: true, text: (row) => number(row.total), by: (row) => row.total },
  ];
  const footer = ["All patients", ...types.map(([, records]) => number(records)), number(all)];
  const table = virtualTable({ rows, columns, label: `Counts of ${run.export} by patient and type`, footer });
  table.classList.add("heat");
  const told = h("p", { class: "faint", role: "status" });
  const search = h("input", { type: "search", id: "filter", autocomplete: "off", spellcheck: "false", input: filter });
  const only = h("input", { type: "checkbox", id: "only", change: filter });

  function filter() {
    const part = search.value.trim().toLowerCase();
    const found = rows.filter((row) => (!part || row.patient.toLowerCase().includes(part)) && (!only.checked || row.out));
    table.show(found);
    told.textContent = `${number(found.length)} of ${number(rows.length)} patients`;
  }

  filter();
  return h(
    "div",
    {},
    h(
      "div",
      { class: "tools" },
      h("label", { for: "filter" }, "Patients with", search),
      h("label", { for: "only", class: "check" }, only, "only those that stand out"),
      told,
    ),
    legend(),
    rows.length ? table : h("p", {}, "No record has a patient."),
    notes(counts, totals.length),
  );
}

/** The mean of a type's counts over all patients, and their standard deviation. */
function spreadOf(map, type) {
  let sum = 0;
  let squares = 0;
  for (const types of map.values()) {
    const records = types.get(type) ?? 0;
    sum += records;
    squares += records * records;
  }
  const mean = sum / map.size;
  return { mean, deviation: Math.sqrt(Math.max(0, squares / map.size - mean * mean)) };
}

function rowOf(patient, types, spread) {
  const marks = new Map();
  let out = false;
  for (const [type, { mean, deviation }] of spread) {
    const distance = deviation > 1e-9 * mean ? ((types.get(type) ?? 0) - mean) / deviation : 0;
    marks.set(type, markOf(distance));
    out ||= Math.abs(distance) > 1;
  }
  let total = 0;
  for (const records of types.values()) total += records;
  return { patient, types, marks, out, total };
}

function markOf(distance) {
  const strong = Math.abs(distance) > 2;
  if (distance > 1) return strong ? { heat: "2", mark: "++" } : { heat: "1", mark: "+" };
  if (distance < -1) return strong ? { heat: "-2", mark: "−−" } : { heat: "-1", mark: "−" };
  return { heat: "0", mark: "" };
}

function legend() {
  const item = (heat, mark, text) => h("li", {}, h("span", { class: "swatch", "data-heat": heat }, mark), text);
  return h(
    "ul",
    { class: "legend", "aria-label": "What the marks mean" },
    item("-2", "−−", "more than 2 standard deviations below the type’s mean"),
    item("-1", "−", "more than 1 below"),
    item("1", "+", "more than 1 above"),
    item("2", "++", "more than 2 above"),
  );
}

/** What the table does not show. */
function notes(counts, types) {
  const found = [];
  if (types > TYPES_SHOWN) found.push(`The ${TYPES_SHOWN} types with the most records are shown, of ${number(types)}; the JSON and the CSV have all.`);
  for (const [type, reasons] of Object.entries(counts.unassigned ?? {})) {
    const told = Object.entries(reasons).map(([reason, records]) => `${reason} ${number(records)}`);
    found.push(`${type} without a patient: ${told.join(", ")}`);
  }
  for (const [reason, records] of Object.entries(counts.left_out ?? {})) found.push(`left out: ${number(records)} rows, ${reason}`);
  return found.map((text) => h("p", { class: "note" }, text));
}
