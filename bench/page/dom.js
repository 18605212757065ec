// Elements, numbers, chance and keys. Nothing is ever parsed as HTML: a text stays a text.

const MINUS = "\u2212", DASH = "\u2013";

/** An element: properties "on..." listen, "class" and the rest are attributes; null and false leave one out. */
function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A button that is on or off. */
function toggle(label, on, act, properties = {}) {
  return h("button", { type: "button", "aria-pressed": String(on), onclick: act, ...properties }, label);
}

/** Of a row of such buttons, the one at `index` is on. */
function press(row, index) {
  [...row.children].forEach((button, at) => button.setAttribute("aria-pressed", String(at === index)));
}

/** A value to two decimals, more where it is small and fewer where it is large, or to `digits`; a true minus. */
function number(value, digits = decimals(value)) {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? MINUS + text : text;
}

function decimals(value) {
  const size = Math.abs(value);
  if (size >= 1000) return 0;
  if (size >= 100) return 1;
  return size >= 0.1 || size === 0 ? 2 : Math.min(6, 1 - Math.floor(Math.log10(size)));
}

/** Hz as kHz, without zeros that say nothing. */
function kilohertz(hz) {
  return `${Number((hz / 1000).toFixed(2))} kHz`;
}

/** Seconds as m:ss.s. */
function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  return `${Math.floor(tenths / 600)}:${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
}

/** A source of numbers in [0, 1): the browser's cryptographic one, or repeatable where the address ends in #seed=... */
function chance() {
  const seed = new URLSearchParams(location.hash.slice(1)).get("seed");
  if (seed === null) return () => crypto.getRandomValues(new Uint32Array(1))[0] / 2 ** 32;
  let state = [...seed].reduce((hash, c) => Math.imul(hash ^ c.codePointAt(0), 0x01000193), 0x811c9dc5); // FNV-1a
  return () => { // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The items in an order of chance (Fisher and Yates). */
function shuffled(items, random) {
  const order = [...items];
  for (let last = order.length - 1; last > 0; last--) {
    const pick = Math.floor(random() * (last + 1));
    [order[last], order[pick]] = [order[pick], order[last]];
  }
  return order;
}

// What is on show owns the keys: a function from event.key to whether it was used.
let onKey = () => false;

document.addEventListener("keydown", (event) => {
  const at = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || at.closest("textarea, select, input:not([type=range])")) return;
  const slides = at.closest("input.score") && event.key.startsWith("Arrow"); // a score moves by its own keys
  const presses = event.key === " " && at.closest("button, summary") && !at.closest("[data-player]");
  if (!slides && !presses && onKey(event.key.length === 1 ? event.key.toLowerCase() : event.key)) event.preventDefault();
});

// Firefox presses a button when Space comes up; near a player Space belongs to play and pause.
document.addEventListener("keyup", (event) => {
  if (event.key === " " && event.target.closest("[data-player] button")) event.preventDefault();
});
