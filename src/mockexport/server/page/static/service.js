// The heart-rate service's own figures, from its metrics for Prometheus, read every two seconds.

import { pause, request } from "./api.js";
import { bytes, fill, h, heading, number, say, short, trouble } from "./dom.js";

const EVERY = 2000; // milliseconds
const PREFIX = "mockexport_heartrate_";

/** Read the text format of Prometheus: the value of each sample, by its name and labels. */
export function readMetrics(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const end = line.lastIndexOf(" ");
    if (line.startsWith(PREFIX) && end > 0) found.set(line.slice(PREFIX.length, end), Number(line.slice(end + 1)));
  }
  return found;
}

/** The latency below which a share of the posts since `before` was answered, in milliseconds; null without posts. */
export function latency(share, now, before) {
  const buckets = [];
  for (const [name, value] of now) {
    const bound = /^post_seconds_bucket\{le="([^"]+)"\}$/.exec(name);
    if (bound) buckets.push([bound[1] === "+Inf" ? Infinity : Number(bound[1]), value - (before.get(name) ?? 0)]);
  }
  const all = buckets.length ? Math.max(...buckets.map(([, posts]) => posts)) : 0;
  if (!all) return null;
  return Math.min(...buckets.filter(([, posts]) => posts >= share * all).map(([bound]) => bound)) * 1000;
}

const atMost = (value) => (value === null ? "—" : value === Infinity ? "over 10 s" : `≤ ${short(value)} ms`);

const ACCEPTED = 'readings_total{outcome="accepted"}';

const figures = [
  ["Readings a second", (now, before, seconds) => (before ? short((now.get(ACCEPTED) - before.get(ACCEPTED)) / seconds) : "—")],
  ["Readings accepted", (now) => number(now.get(ACCEPTED))],
  ["Readings rejected", (now) => number(now.get('readings_total{outcome="rejected"}'))],
  ["Half acknowledged in", (now, before) => atMost(before && latency(0.5, now, before))],
  ["99 % acknowledged in", (now, before) => atMost(before && latency(0.99, now, before))],
  ["Journal", (now) => bytes(now.get("journal_bytes"))],
  ["Pending readings", (now) => number(now.get("pending_readings"))],
  ["Files", (now) => number(now.get("files"))],
  ["Days", (now) => number(now.get("days"))],
  ["Commits to the table", (now) => number(now.get("commits_total"))],
  ["Compactions", (now) => number(now.get("compactions_total"))],
];

export async function showService({ main, signal }) {
  const values = figures.map(() => h("dd", {}, "—"));
  const problem = h("div", {});
  fill(
    main,
    heading("Service"),
    problem,
    h("dl", { class: "facts panel" }, figures.map(([name], at) => h("div", {}, h("dt", {}, name), values[at]))),
    h("p", { class: "faint" }, "Rates and latencies are of the last two seconds, the rest since the server started. ", h("a", { href: "/docs" }, "The API"), " has them all at /metrics."),
  );
  let before = null;
  let read = 0;
  while (!signal.aborted) {
    try {
      const now = readMetrics(await (await request("/metrics", { signal })).text());
      const at = performance.now();
      if (before && before.get(ACCEPTED) > now.get(ACCEPTED)) before = null; // another server, which began anew
      figures.forEach(([, figure], index) => say(values[index], figure(now, before, (at - read) / 1000)));
      before = now;
      read = at;
      trouble(problem, "");
    } catch (error) {
      if (!signal.aborted) trouble(problem, error.message);
    }
    await pause(EVERY, signal);
  }
}
