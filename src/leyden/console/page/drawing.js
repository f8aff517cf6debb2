// The rules as a drawing: who is called, the rules in the order of the file, and where objects go.
import { $, count, draw, make, many, put } from "./words.js";

const ROW = 34, BOX = 26, TOP = 32;
const COLUMNS = { source: [8, 200], rule: [330, 450], destination: [902, 200] }; // x, width
const WIDTH = 1110;

/**
 * Where the nodes of a side column stand: each as near as possible to the first rule that it is tied to, none over
 * another. `wanted`: one y each, or null. Gives the y of each, in the order of `wanted`.
 */
export function spread(wanted, height) {
  const free = wanted.map((y, at) => [y ?? (height * (at + 0.5)) / wanted.length, at]).sort(([a, i], [b, j]) => a - b || i - j);
  const places = new Array(wanted.length);
  let least = 0;
  free.forEach(([y, at], rank) => {
    const most = height - (free.length - rank) * ROW;
    places[at] = least = Math.max(Math.min(y - ROW / 2, most), least);
    least += ROW;
  });
  return places;
}

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
const curve = (x1, y1, x2, y2) => `M${x1} ${y1}C${(x1 + x2) / 2} ${y1} ${(x1 + x2) / 2} ${y2} ${x2} ${y2}`;

function box(kind, y, label, words, most) {
  const [x, width] = COLUMNS[kind];
  const number = draw("text", { class: "count", x: x + width - 8, y: y + 18, "data-none": "" }, "0");
  const node = draw("g", { class: `node ${kind}` }, draw("title", {}, words),
    draw("rect", { x, y, width, height: BOX, rx: kind === "rule" ? 3 : 13 }),
    draw("text", { x: x + 10, y: y + 18 }, cut(label, most)), number);
  return { node, number, y: y + BOX / 2 };
}

let counters = [];

/** Draw it anew. `rules`: as GET /api/rules gives it. */
export function drawing(rules) {
  const height = Math.max(rules.sources.length, rules.rules.length, rules.destinations.length, 1) * ROW;
  const yOf = (at) => ((at + 0.5) * height) / Math.max(rules.rules.length, 1);
  const first = (ties) => {
    const at = rules.rules.findIndex(ties);
    return at < 0 ? null : yOf(at);
  };
  const sourceYs = spread(rules.sources.map((title) => first((rule) => rule.from.includes(title))), height);
  const destinationYs = spread(rules.destinations.map((title) => first((rule) => rule.to.includes(title))), height);
  const edges = draw("g"), nodes = draw("g");
  const svg = draw("svg", { width: WIDTH, height: height + TOP + 8, viewBox: `0 0 ${WIDTH} ${height + TOP + 8}`, "aria-hidden": "true" });
  for (const [kind, words] of [["source", "Sent to"], ["rule", "Rules, in their order"], ["destination", "Goes to"]]) {
    svg.append(draw("text", { class: "soft", x: COLUMNS[kind][0], y: 18 }, words));
  }
  svg.append(edges, nodes);
  counters = [];

  const sources = new Map(), destinations = new Map();
  const side = (kind, titles, ys, into, counted) => titles.forEach((title, at) => {
    const made = box(kind, TOP + ys[at], title, title, 20);
    into.set(title, { ...made, edges: [] });
    nodes.append(made.node);
    counters.push([made.number, (today) => today[counted][title] ?? 0]);
  });
  side("source", rules.sources, sourceYs, sources, "called");
  side("destination", rules.destinations, destinationYs, destinations, "delivered");

  rules.rules.forEach((rule, at) => {
    const made = box("rule", TOP + yOf(at) - BOX / 2, `${at + 1}  ${rule.label}`, `${rule.where}: ${rule.words}`, 50);
    nodes.append(made.node);
    counters.push([made.number, (today) => today.rules[rule.where] ?? 0]);
    const tied = [];
    const tie = (other, d, kind) => {
      const edge = draw("path", { class: `edge ${kind}`, d });
      edges.append(edge);
      tied.push(edge);
      other.edges.push(edge);
    };
    const [x, width] = COLUMNS.rule;
    for (const title of rule.from) {
      const other = sources.get(title);
      if (other) tie(other, curve(COLUMNS.source[0] + COLUMNS.source[1], other.y, x, made.y), rule.drops ? "cut-off" : "");
    }
    for (const title of rule.to) {
      const other = destinations.get(title);
      if (other) tie(other, curve(x + width, made.y, COLUMNS.destination[0], other.y), rule.kind === "change" ? "plain" : "");
    }
    const aside = (words, at, anchor) => nodes.append(draw("text", { class: "soft", x: at, y: made.y + 5, "text-anchor": anchor }, words));
    if (rule.kind === "change") aside("changes copies", x - 10, "end");
    else if (!rule.from.length) aside("all objects", x - 10, "end");
    if (rule.aside) aside(rule.aside, x + width + 10, "start");
    light(svg, made.node, tied);
  });
  for (const other of [...sources.values(), ...destinations.values()]) light(svg, other.node, other.edges);

  $("drawing").replaceChildren(svg);
  $("drawing").hidden = false;
  const items = rules.rules.map((rule) => {
    const number = make("b", {}, "0");
    counters.push([number, (today) => today.rules[rule.where] ?? 0]);
    return make("li", {}, number, ` today · ${rule.words} `, make("span", { class: "hint" }, rule.where));
  });
  $("rules-list").hidden = items.length === 0;
  $("rules-list").querySelector("ol").replaceChildren(...items);
  const none = rules.rules.length ? "" : "There are no rules. ";
  const rest = rules.dropsTheRest ? "What no rule matches is dropped." : "What no rule takes away goes to the node that was called.";
  put($("rules-hint"), `${none}${rest} ${many(rules.destinations.length, "destination")}, ${many(rules.rules.length, "rule")}.`);
}

/** What belongs to a node stands out while the pointer is over it. */
function light(svg, node, edges) {
  const mark = (on) => {
    for (const edge of edges) edge.classList.toggle("lit", on);
    svg.toggleAttribute("data-lit", on);
  };
  node.addEventListener("pointerenter", () => mark(true));
  node.addEventListener("pointerleave", () => mark(false));
}

/** What each matched today. */
export function counted(today) {
  for (const [place, of] of counters) {
    const n = of(today);
    put(place, count(n));
    place.toggleAttribute("data-none", n === 0);
  }
}
