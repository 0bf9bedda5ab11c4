// The page: which view is shown, by the part of the address behind #. Each view gets a signal that ends it.

import { json } from "./api.js";
import { failure, fill, h } from "./dom.js";
import { showExport, showExports } from "./exports.js";

const views = {
  "": { title: "Exports", show: showExports },
  export: { title: "Export", show: showExport },
  run: { title: "Run", show: async (...given) => (await import("./run.js")).showRun(...given) },
  "heart-rate": { title: "Heart rate", show: async (...given) => (await import("./heart.js")).showHeartRate(...given) },
  service: { title: "Service", show: async (...given) => (await import("./service.js")).showService(...given) },
};
let ending = new AbortController();
let about = null;

function place() {
  const [, name = "", ...rest] = location.hash.split("/");
  try {
    return { name: Object.hasOwn(views, name) ? name : "", argument: decodeURIComponent(rest.join("/")) };
  } catch {
    return { name: "", argument: "" }; // not an address of ours
  }
}

async function show(first) {
  ending.abort();
  ending = new AbortController();
  const { signal } = ending;
  const { name, argument } = place();
  const main = document.getElementById("main");
  document.title = `${argument && name === "export" ? argument : views[name].title} · mockexport`;
  drawNavigation(name);
  const view = h("div", {}, h("p", { class: "faint" }, "Loading …")); // of its own: what comes late is not seen
  fill(main, view);
  if (!first) main.focus({ preventScroll: true });
  window.scrollTo(0, 0);
  try {
    await views[name].show({ main: view, argument, about, signal });
  } catch (error) {
    if (!signal.aborted) fill(view, failure(error.message), h("p", {}, h("a", { href: "#/" }, "All exports")));
  }
}

function drawNavigation(name) {
  const shown = [["", "Exports"], ...(about.heart_rate ? [["heart-rate", "Heart rate"], ["service", "Service"]] : [])];
  const here = name === "export" || name === "run" ? "" : name;
  const link = ([to, text]) => h("a", { href: `#/${to}`, "aria-current": to === here ? "page" : null }, text);
  fill(document.getElementById("nav"), shown.map(link));
}

async function begin() {
  try {
    about = await json("/page/about");
  } catch (error) {
    fill(document.getElementById("main"), failure(error.message));
    return;
  }
  fill(document.getElementById("source"), "source ", h("b", {}, about.source), ` · ${about.version}`);
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // what stands behind # is the view
    document.getElementById("main").focus();
  });
  window.addEventListener("hashchange", () => show(false));
  await show(true);
}

begin();
