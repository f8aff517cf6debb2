// Elements and words. A text of a peer or of a file becomes textContent, never markup.

const READER = navigator.languages;
const whole = new Intl.NumberFormat(READER, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(READER, { maximumFractionDigits: 1, minimumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(READER, { timeStyle: "medium" });
const moment = new Intl.DateTimeFormat(READER, { dateStyle: "medium", timeStyle: "medium" });

export const $ = (id) => document.getElementById(id);

/** An element: make("p", { class: "hint" }, "text", child). Attributes that are null or false are left out. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false && value !== undefined) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";
export function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** A sign of the page's own sprite. */
export const sign = (id) => draw("svg", { "aria-hidden": "true", viewBox: "0 0 16 16" }, draw("use", { href: `#${id}` }));

/** Change a text only if it differs, so that nothing is read out or painted for nothing. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const count = (n) => whole.format(n);
export const rate = (n) => (n > 0 && n < 10 ? tenths.format(n) : whole.format(n));

export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (n >= 999.5 && unit < units.length - 1) [n, unit] = [n / 1000, unit + 1];
  return `${n < 10 && unit > 0 ? tenths.format(n) : whole.format(n)} ${units[unit]}`;
}

/** A span of time in words: 40 s, 12 min, 3 h 20 min, 5 d. */
export function span(s) {
  s = Math.max(0, s);
  if (s < 100) return `${count(s)} s`;
  if (s < 5400) return `${count(s / 60)} min`;
  if (s < 2 * 86400) return `${count(Math.floor(s / 3600))} h ${count(Math.floor((s % 3600) / 60))} min`;
  return `${count(s / 86400)} d`;
}

export const many = (n, one, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;

/** A moment: only the time if it is of today. */
export function when(atS) {
  const at = new Date(atS * 1000);
  const today = at.toDateString() === new Date().toDateString();
  return (today ? clock : moment).format(at);
}

export const time = (atS) => make("time", { datetime: new Date(atS * 1000).toISOString() }, when(atS));
