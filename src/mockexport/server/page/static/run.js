// A run: watched live, cancelled, and its answer.

import { events, json, pause, request } from "./api.js";
import { announce, failure, fill, h, heading, number, save, say, short, trouble } from "./dom.js";
import { certificate } from "./certificate.js";
import { heatMap } from "./heatmap.js";
import { csvTable } from "./csv.js";

const ANNOUNCED = 25; // per cent: a screen reader is told at each quarter
const answers = { heatmap: heatMap, certificate, table: csvTable };

export async function showRun({ main, argument, signal }) {
  const path = `/page/runs/${encodeURIComponent(argument)}`;
  const run = await json(path, { signal });
  const state = h("span", { class: `state ${run.state}` }, run.state);
  const body = h("div", {});
  fill(
    main,
    h("p", { class: "back" }, h("a", { href: `#/export/${encodeURIComponent(run.export)}` }, `← ${run.export}`)),
    heading(`${run.title} ${run.export}`, state),
    body,
  );
  const watched = watching(path);
  if (run.state === "running") fill(body, watched.element);
  let latest = run;
  const take = (told) => {
    latest = told;
    say(state, told.state);
    state.className = `state ${told.state}`;
    watched.show(told);
  };
  take(run);
  while (latest.state === "running" && !signal.aborted) {
    try {
      await events(`${path}/events`, signal, take);
    } catch (error) {
      if (error.status && error.status < 500) throw error;
      watched.lost(error.message);
    }
    if (latest.state === "running") await pause(1000, signal);
  }
  if (signal.aborted) return;
  if (latest.state === "done") await showAnswer(body, path, latest, signal);
  else if (latest.state === "failed") fill(body, failure(latest.error), command(latest));
  else fill(body, h("p", {}, `It was cancelled after ${number(latest.rows)} rows.`), command(latest));
  announce(latest.state === "failed" ? `Failed: ${latest.error}` : `${latest.title} of ${latest.export}: ${latest.state}`);
}

/** What is shown while a run is under way. */
function watching(path) {
  const bar = h("progress", { "aria-label": "Progress", max: 1 });
  const figures = h("dl", { class: "facts" });
  const values = {};
  for (const name of ["Progress", "Rows", "Rows a second", "Time left", "Read"]) {
    values[name] = h("dd", {}, "—");
    figures.append(h("div", {}, h("dt", {}, name), values[name]));
  }
  const waiting = h("p", { class: "faint" });
  const steps = h("ul", { class: "steps", "aria-label": "Downloads that are being read" });
  const cancel = h("button", { click: () => stop() }, "Cancel");
  let announced = 0;

  async function stop() {
    cancel.disabled = true;
    say(cancel, "Cancelling …");
    try {
      await request(path, { method: "DELETE" });
    } catch (error) {
      cancel.disabled = false;
      say(cancel, "Cancel");
      say(waiting, error.message);
    }
  }

  function show(run) {
    const share = run.total ? Math.min(1, run.done / run.total) : null;
    if (share === null) bar.removeAttribute("value");
    else bar.value = share;
    say(values.Progress, share === null ? "—" : `${Math.floor(share * 100)} %`);
    say(values.Rows, number(run.rows));
    say(values["Rows a second"], run.rows_per_second ? short(run.rows_per_second) : "—");
    say(values["Time left"], run.left || "—");
    say(values.Read, run.parts ? `${number(run.finished)} of ${number(run.parts)}` : "—");
    say(waiting, run.text);
    const quarter = Math.floor(((share ?? 0) * 100) / ANNOUNCED);
    if (quarter > announced && share < 1) announce(`${quarter * ANNOUNCED} %`);
    announced = Math.max(announced, quarter);
    drawSteps(steps, run);
  }

  return {
    element: h("div", { class: "panel" }, bar, figures, waiting, steps, h("p", {}, cancel)),
    show,
    lost: (text) => say(waiting, `${text} Trying again …`),
  };
}

function drawSteps(list, run) {
  while (list.children.length > run.steps.length) list.lastChild.remove();
  while (list.children.length < run.steps.length) {
    list.append(h("li", {}, h("span", { class: "id" }), h("progress", { max: 1, "aria-hidden": "true" }), h("span", { class: "rate" })));
  }
  run.steps.forEach((step, at) => {
    const [id, bar, rate] = list.children[at].children;
    say(id, step.id);
    if (step.total) bar.value = Math.min(1, step.done / step.total);
    else bar.removeAttribute("value");
    const pace = step.rows_per_second ? `, ${short(step.rows_per_second)}/s` : "";
    say(rate, step.note || `${number(step.rows)} rows${pace}`);
  });
  list.hidden = !run.steps.length;
}

async function showAnswer(body, path, run, signal) {
  const result = h("div", {}, h("p", { class: "faint" }, "Loading the answer …"));
  const name = `${run.kind}-${run.export}`;
  const problem = h("div", {});
  async function download(suffix) {
    try {
      save(await (await request(`${path}/result.${suffix}`)).blob(), `${name}.${suffix}`);
      trouble(problem, "");
    } catch (error) {
      trouble(problem, error.message);
    }
  }
  const button = (suffix) => h("button", { click: () => download(suffix) }, suffix.toUpperCase());
  fill(
    body,
    h("p", { class: "faint" }, `${number(run.rows)} rows in ${run.seconds.toFixed(1)} s`),
    h("div", { class: "actions", role: "group", "aria-label": "Take the answer with you" }, button("json"), button("csv")),
    problem,
    command(run),
    result,
  );
  const show = answers[run.view] ?? csvTable;
  fill(result, await show({ path, run, signal }));
}

/** The shell command that gives the same answer, with a button that copies it. */
function command(run) {
  const button = h("button", { click: copy }, "Copy");
  const code = h("code", { tabindex: 0 }, run.command);
  async function copy() {
    try {
      await navigator.clipboard.writeText(run.command);
      say(button, "Copied");
      announce("Copied");
    } catch {
      getSelection().selectAllChildren(code); // browsers let pages copy from this machine and over HTTPS alone
      say(button, "Press Ctrl+C");
      announce("The command is selected: press Ctrl+C");
    }
  }
  return h("div", { class: "command" }, h("span", { class: "faint" }, "The same in a shell"), code, button);
}
