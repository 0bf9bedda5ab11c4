// Elements, and text in them. Whatever comes from a source becomes text here, never markup.

/** Make an element. Of `given`, functions become listeners, true an empty attribute; null and false are left out. */
export function h(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replace what is in an element. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Set an element's text only if it differs, so that nothing is drawn or read out without need. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Have a screen reader say something once. */
export function announce(text) {
  say(document.getElementById("said"), text);
}

const whole = new Intl.NumberFormat("en-US");
export const number = (value) => (value === null || value === undefined ? "—" : whole.format(value));

/** A number in three digits or so, such as 1.5 M. */
export function short(value) {
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= size) return `${(value / size).toFixed(value >= 100 * size ? 0 : 1)} ${unit}`;
  }
  return value >= 10 || Number.isInteger(value) ? whole.format(Math.round(value)) : value.toFixed(1);
}

export function bytes(value) {
  return value === null || value === undefined ? "—" : value < 1000 ? `${value} B` : `${short(value)}B`;
}

/** A UTC time as `2025-08-26 17:31`. */
export const time = (text) => (text ? text.slice(0, 16).replace("T", " ") : "—");

/** A window of time: the second day is left out if it is the first one. */
export function span(from, to) {
  if (!from && !to) return "—";
  const [one, two] = [time(from), time(to)];
  return `${one} – ${one.slice(0, 10) === two.slice(0, 10) ? two.slice(11) : two} UTC`;
}

/** Some names, and how many more there are. */
export function names(found, shown = 6) {
  if (!found) return "—";
  const more = found.all - Math.min(shown, found.first.length);
  return found.first.slice(0, shown).join(", ") + (more > 0 ? ` and ${number(more)} more` : "") || "none";
}

/** Save bytes as a file, by the browser's own means. */
export function save(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A view's heading, with what stands beside it. */
export const heading = (title, ...beside) => h("div", { class: "heading" }, h("h1", {}, title), ...beside);

/** Say what went wrong in a place of its own, and no second time; nothing if all is well. */
export function trouble(place, text) {
  if (place.textContent !== text) fill(place, text ? failure(text) : null);
}

/** A message that something went wrong. */
export const failure = (text) => h("p", { class: "note bad", role: "alert" }, text);
