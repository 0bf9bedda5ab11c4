// The heart rate of a user, minute by minute, one day at a time; fresh readings show as they are stored.

import { events, json, pause } from "./api.js";
import { announce, fill, h, heading, number, say, trouble } from "./dom.js";

const DAY = 86_400;
const TOO_MANY = 429; // requests for now
const REFRESH = 1000; // milliseconds between two queries for fresh minutes
const HEIGHT = 340; // pixels
const DEVICES = 4; // colours and sizes of points; further devices share them
const GAP = 300; // seconds without a reading, over which no line is drawn

const today = () => new Date().toISOString().slice(0, 10);
const isDay = (text) => /^[1-9]\d{3}-\d\d-\d\d$/.test(text) && !Number.isNaN(Date.parse(`${text}T00:00:00Z`));
const moved = (day, days) => new Date(Date.parse(`${day}T00:00:00Z`) + days * DAY * 1000).toISOString().slice(0, 10);

export async function showHeartRate({ main, argument, signal }) {
  const list = h("datalist", { id: "users" });
  const knowing = knownDays(signal).then((days) => {
    const users = [...new Set(days.flatMap((day) => (day.patients ? day.patients.first : [])))].sort();
    fill(list, users.map((name) => h("option", { value: name })));
    return { days, users };
  });
  let [user, day] = argument ? argument.split("/").map(decodeURIComponent) : [];
  if (user && day) {
    knowing.catch(() => {}); // only suggestions are missing
  } else {
    const { days, users } = await knowing;
    user ||= users[0] || "";
    day ||= latestDay(days, user) || today();
  }
  if (!isDay(day)) throw new Error(`${day} is not a day, such as ${today()}.`);
  const go = (who, when) => (location.hash = `#/heart-rate/${encodeURIComponent(`${encodeURIComponent(who)}/${when}`)}`);

  const who = h("input", { id: "user", list: "users", value: user, autocomplete: "off", spellcheck: "false", change: () => who.value && go(who.value, day) });
  const when = h("input", { id: "day", type: "date", value: day, change: () => isDay(when.value) && go(user, when.value) });
  const step = (text, label, by) => h("button", { "aria-label": label, click: () => go(user, moved(day, by)) }, text);
  const body = h("div", {});
  fill(
    main,
    heading("Heart rate"),
    h(
      "div",
      { class: "tools" },
      h("label", { for: "user" }, "User", who),
      list,
      h("label", { for: "day" }, "Day (UTC)", when),
      h("div", { class: "actions", role: "group", "aria-label": "Days" }, step("←", "The day before", -1), step("→", "The day after", 1)),
    ),
    body,
  );
  if (!user) {
    fill(body, h("p", {}, "No readings yet. Enter a user to watch for them."));
    return;
  }
  await showDay(body, user, day, signal);
}

/** The days that have readings, from the export of them; the users are known if there are not too many. */
async function knownDays(signal) {
  const found = await json("/page/downloads?export=heart_rate", { signal });
  return found.downloads;
}

function latestDay(days, user) {
  const found = days.filter((day) => !day.patients || day.patients.first.includes(user));
  return found.length ? found[found.length - 1].id : null;
}

async function showDay(body, user, day, signal) {
  const begin = Date.parse(`${day}T00:00:00Z`) / 1000;
  const minutes = new Map(); // second since 1970 -> {heart_rate, device_id}
  const [{ default: uPlot }] = await Promise.all([import("./vendor/uPlot.esm.js"), query(user, begin, begin + DAY - 1, minutes, signal)]);
  const rate = h("span", { class: "rate" }, "—");
  const device = h("span", { class: "faint" });
  const seen = h("span", { class: "faint" });
  const box = h("div", { class: "plot", role: "img" });
  const problem = h("div", {});
  const summary = h("p", { class: "faint" });
  const table = h("div", {});
  fill(body, h("div", { class: "now" }, rate, device, seen), problem, box, summary, h("details", {}, h("summary", {}, "The minutes as a table"), table));

  let plot = null;
  let heard = false; // a fresh reading, which is told rather than the last minute
  function show(reading, time) {
    say(rate, `${Math.round(reading.heart_rate)} beats a minute`);
    say(device, reading.device_id);
    say(seen, `at ${new Date(time * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`);
  }

  let drawnFor = "";
  function draw() {
    const times = [...minutes.keys()].sort((one, two) => one - two);
    const devices = [...new Set(times.map((time) => minutes.get(time).device_id))].sort();
    const data = columnsOf(minutes, times, devices);
    const kind = JSON.stringify(devices);
    if (!plot || kind !== drawnFor) {
      plot?.destroy();
      plot = new uPlot(options(uPlot, devices, begin, box), data, box);
      drawnFor = kind;
    } else {
      plot.setData(data);
    }
    const rates = times.map((time) => minutes.get(time).heart_rate);
    const text = rates.length
      ? `${number(times.length)} ${times.length === 1 ? "minute" : "minutes"}, ${Math.round(Math.min(...rates))} to ${Math.round(Math.max(...rates))} beats a minute, from ${devices.join(", ")}`
      : "No readings on this day.";
    say(summary, text);
    if (rates.length && !heard) show(minutes.get(times[times.length - 1]), times[times.length - 1]);
    box.setAttribute("aria-label", `Heart rate of ${user} on ${day}: ${text}`);
    if (table.parentElement.open) drawTable(table, minutes, times);
  }
  table.parentElement.addEventListener("toggle", draw);
  draw();
  announce(summary.textContent);

  const redraw = () => {
    plot.destroy();
    plot = null;
    draw();
  };
  const watcher = new ResizeObserver(() => plot?.setSize({ width: widthOf(box), height: HEIGHT }));
  watcher.observe(box);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", redraw);
  signal.addEventListener("abort", () => (watcher.disconnect(), dark.removeEventListener("change", redraw), plot?.destroy()));

  let stale = null; // the first minute that fresh readings have changed
  let asking = false;
  let open = false; // the stream of fresh readings
  async function refresh() {
    if (asking) return;
    asking = true;
    while (stale !== null && !signal.aborted) {
      const from = stale;
      stale = null;
      try {
        await query(user, from, begin + DAY - 1, minutes, signal);
        draw();
        if (open) trouble(problem, "");
      } catch (error) {
        if (!signal.aborted) trouble(problem, error.message);
        if (!error.status || error.status === TOO_MANY || error.status >= 500) stale = Math.min(stale ?? Infinity, from);
      }
      await pause(REFRESH, signal);
    }
    asking = false;
  }

  function take(readings) {
    const last = readings[readings.length - 1];
    heard = true;
    show(last, last.time);
    const ours = readings.map((reading) => Math.floor(reading.time / 60) * 60).filter((time) => time >= begin && time < begin + DAY);
    if (!ours.length) return;
    stale = Math.min(stale ?? Infinity, ...ours);
    refresh();
  }

  const opened = () => ((open = true), (stale = begin), refresh()); // what was stored meanwhile
  while (!signal.aborted) {
    try {
      await events(`/page/heart-rate?user=${encodeURIComponent(user)}`, signal, take, opened);
    } catch (error) {
      trouble(problem, error.message);
    }
    open = false;
    await pause(2000, signal);
  }
}

/** The columns of the plot: times, all rates, and those of each device; the line breaks where minutes are missing. */
function columnsOf(minutes, times, devices) {
  const columns = [[], [], ...devices.map(() => [])];
  const add = (time, rate, device) => {
    columns[0].push(time);
    columns[1].push(rate);
    devices.forEach((name, at) => columns[at + 2].push(name === device ? rate : null));
  };
  let before = null;
  for (const time of times) {
    if (before !== null && time - before > GAP) add(before + 60, null, null);
    add(time, minutes.get(time).heart_rate, minutes.get(time).device_id);
    before = time;
  }
  return columns;
}

/** Ask for the minutes of a range, and put them into a map. */
async function query(user, from, to, minutes, signal) {
  const range = new URLSearchParams({ user_id: user, start: new Date(from * 1000).toISOString(), end: new Date(to * 1000 + 999).toISOString() });
  const found = await json(`/page/minutes?${range}`, { signal });
  for (const minute of found.data) minutes.set(Date.parse(minute.timestamp) / 1000, minute);
}

const widthOf = (box) => Math.max(200, box.clientWidth - 24);

function options(uPlot, devices, begin, box) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
  const value = (_, rate) => (rate === null || rate === undefined ? "—" : rate.toFixed(0));
  const series = devices.map((name, at) => {
    const stroke = colour(`--device-${(at % DEVICES) + 1}`);
    const points = { show: true, size: 5 + 2 * (at % DEVICES), width: 1.5, fill: at % 2 ? colour("--panel") : stroke };
    return { label: name, stroke, width: 0, paths: () => null, points, value };
  });
  const line = { label: "Heart rate", stroke: colour("--edge"), width: 1, points: { show: false }, value };
  return {
    width: widthOf(box),
    height: HEIGHT,
    tzDate: (time) => uPlot.tzDate(new Date(time * 1000), "Etc/UTC"),
    scales: { x: { range: (_, low, high) => (low === null || low === high ? [begin, begin + DAY] : [low, high]) }, y: { range: (_, low, high) => [Math.floor(((low ?? 60) - 5) / 10) * 10, Math.ceil(((high ?? 100) + 5) / 10) * 10] } },
    axes: [{ ...axis, values: (_, ticks) => ticks.map((time) => new Date(time * 1000).toISOString().slice(11, 16)) }, axis],
    series: [{ label: "Time", value: (_, time) => (time ? new Date(time * 1000).toISOString().slice(11, 16) : "—") }, line, ...series],
  };
}

function drawTable(place, minutes, times) {
  const rows = times.toReversed().map((time) => {
    const { heart_rate: rate, device_id: device } = minutes.get(time);
    return h("tr", {}, h("th", { scope: "row" }, new Date(time * 1000).toISOString().slice(11, 16)), h("td", { class: "number" }, rate.toFixed(1)), h("td", {}, device));
  });
  const head = ["Minute (UTC)", "Beats a minute", "Device"].map((text, at) => h("th", { scope: "col", class: at === 1 ? "number" : null }, text));
  fill(place, h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Minutes" }, h("table", { class: "plain" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows))));
}
