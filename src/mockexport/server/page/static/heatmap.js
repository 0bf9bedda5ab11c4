// Counts as a heat map: patients by types. What is far from the mean of its type has a colour and a mark.

import { json } from "./api.js";
import { fill, h, number } from "./dom.js";
import { beyond, virtualTable } from "./table.js";

const TYPES_SHOWN = 40; // columns at a time

export async function heatMap({ path, run, signal }) {
  const counts = await json(`${path}/result.json`, { signal });
  const map = new Map(Object.entries(counts.patients).map(([patient, types]) => [patient, new Map(Object.entries(types))]));
  const rows = [...map].map(([patient, types]) => ({ patient, types, total: sumOf(types.values()) }));
  const totals = Object.entries(counts.totals);
  const ranked = totals.length > TYPES_SHOWN ? [...totals].sort((one, two) => two[1] - one[1]) : totals;
  const all = sumOf(totals.map(([, records]) => records));
  const spreads = new Map(); // by type, when they are needed
  const distance = (row, type) => {
    if (!spreads.has(type)) spreads.set(type, spreadOf(map, type));
    const { mean, deviation } = spreads.get(type);
    return deviation > 1e-9 * mean ? ((row.types.get(type) ?? 0) - mean) / deviation : 0;
  };
  const standsOut = (row) => (row.out ??= totals.some(([type]) => Math.abs(distance(row, type)) > 1)); // in any type

  const told = h("p", { class: "faint", role: "status" });
  const search = h("input", { type: "search", id: "filter", autocomplete: "off", spellcheck: "false", input: filter });
  const only = h("input", { type: "checkbox", id: "only", change: filter });
  const typeSearch = h("input", { type: "search", id: "types", autocomplete: "off", spellcheck: "false", input: findTypes });
  const part = h("select", { id: "part", change: drawTable });
  const place = h("div", {});
  let found = ranked;
  let table = null;

  function findTypes() {
    found = ranked.filter(([type]) => has(type, typeSearch));
    const parts = Array.from({ length: Math.max(1, Math.ceil(found.length / TYPES_SHOWN)) }, (_, at) => at * TYPES_SHOWN);
    const last = (from) => Math.min(from + TYPES_SHOWN, found.length);
    fill(part, parts.map((from) => h("option", { value: from }, `${number(Math.min(from + 1, found.length))} to ${number(last(from))} of ${number(found.length)}`)));
    drawTable();
  }

  function drawTable() {
    const from = Number(part.value);
    const types = found.slice(from, from + TYPES_SHOWN);
    const columns = columnsOf(types, distance);
    const footer = ["All patients", ...types.map(([, records]) => number(records)), number(all)];
    const sorted = table ? table.sorting() : { name: "Patient", down: false };
    table = virtualTable({ rows, columns, label: `Counts of ${run.export} by patient and type`, footer, sorted });
    table.classList.add("heat");
    fill(place, table);
    filter();
  }

  function filter() {
    const shown = rows.filter((row) => has(row.patient, search) && (!only.checked || standsOut(row)));
    table.show(shown);
    told.textContent = `${number(shown.length)} of ${number(rows.length)} patients${beyond(shown.length)}`;
  }

  findTypes();
  const many = totals.length > TYPES_SHOWN;
  return h(
    "div",
    {},
    many && h("p", { class: "note" }, `There are ${number(totals.length)} types. ${TYPES_SHOWN} are shown at a time, those with the most records first.`),
    h(
      "div",
      { class: "tools" },
      h("label", { for: "filter" }, "Patients with", search),
      many && h("label", { for: "types" }, "Types with", typeSearch),
      many && h("label", { for: "part" }, "Types", part),
      h("label", { for: "only", class: "check" }, only, "only those that stand out"),
      told,
    ),
    legend(),
    rows.length ? place : h("p", {}, "No record has a patient."),
    notes(counts),
  );
}

const has = (name, search) => name.toLowerCase().includes(search.value.trim().toLowerCase());

function sumOf(numbers) {
  let sum = 0;
  for (const value of numbers) sum += value;
  return sum;
}

function columnsOf(types, distance) {
  return [
    { name: "Patient", text: (row) => row.patient, by: (row) => row.patient, head: true, width: 12 },
    ...types.map(([type]) => ({
      name: type,
      number: true,
      text: (row) => (row.types.has(type) ? number(row.types.get(type)) : "·"),
      by: (row) => row.types.get(type) ?? 0,
      draw: (cell, row) => {
        const { heat, mark } = markOf(distance(row, type));
        cell.dataset.heat = heat;
        cell.append(h("span", { class: "mark" }, mark));
      },
    })),
    { name: "Total", number: true, text: (row) => number(row.total), by: (row) => row.total },
  ];
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
function notes(counts) {
  const found = [];
  for (const [type, reasons] of Object.entries(counts.unassigned ?? {})) {
    const told = Object.entries(reasons).map(([reason, records]) => `${reason} ${number(records)}`);
    found.push(`${type} without a patient: ${told.join(", ")}`);
  }
  for (const [reason, records] of Object.entries(counts.left_out ?? {})) found.push(`left out: ${number(records)} rows, ${reason}`);
  return found.map((text) => h("p", { class: "note" }, text));
}
