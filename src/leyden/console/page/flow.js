// The pipeline and the chart of the last minutes.
import { $, bytes, count, draw, put, rate } from "./words.js";

const HEIGHT = 120;
const MIDDLE = HEIGHT / 2;

/** The least of 1, 2, 3, 5, 7, 10, 20 … that is not below n. */
function ceiling(n) {
  const power = 10 ** Math.floor(Math.log10(Math.max(n, 1)));
  return [1, 2, 3, 5, 7, 10].map((step) => step * power).find((limit) => limit >= n);
}

/** The outline of a series as steps, from the axis away. `way`: -1 upwards, 1 downwards. */
export function outline(series, limit, way) {
  const steps = series.map((amount, at) => {
    const y = (MIDDLE + (way * (MIDDLE - 2) * amount) / limit).toFixed(1);
    return `V${y}H${((at + 1) * 300) / series.length}`;
  });
  return `M0 ${MIDDLE}${steps.join("")}V${MIDDLE}Z`;
}

const unit = () => document.querySelector("input[name=unit]:checked").value;
const shown = (n) => (unit() === "bytes" ? `${bytes(n)}/s` : `${count(n)}/s`);

/** Means of a few seconds each: single seconds only flicker. */
function coarse(series, seconds) {
  const means = [];
  for (let at = 0; at < series.length; at += seconds) {
    means.push(series.slice(at, at + seconds).reduce((sum, n) => sum + n, 0) / seconds);
  }
  return means;
}

let told = 0;

export function chart(live) {
  const came = coarse(live.flow.received[unit()], 3);
  const went = coarse(live.flow.sent[unit()], 3);
  const limit = ceiling(Math.max(...came, ...went));
  const svg = $("chart");
  svg.querySelector(".in").setAttribute("d", outline(came, limit, -1));
  svg.querySelector(".out").setAttribute("d", outline(went, limit, 1));
  put($("chart-in"), shown(limit));
  put($("chart-out"), shown(limit));
  if (live.at - told > 30) {
    told = live.at;
    const [into, out] = [live.rates.received[unit()], live.rates.sent[unit()]];
    svg.setAttribute("aria-label", `The last 5 minutes. Now received ${shown(into)}, sent ${shown(out)}`);
  }
}

for (const x of [60, 120, 180, 240]) document.querySelector("#chart .grid").append(draw("path", { d: `M${x} 0V${HEIGHT}` }));

const per_second = (step, n) => {
  const place = step.querySelector(".rate");
  if (!place.firstChild) place.append("", document.createElement("small"));
  if (place.firstChild.data !== rate(n)) place.firstChild.data = rate(n);
  put(place.lastChild, " a second");
};

export function pipeline(live) {
  const { rates, stands } = live;
  const steps = {
    receiving: [rates.received.objects, `${bytes(rates.received.bytes)}/s`, stands.receiving, "being received"],
    waiting: [rates.planned.objects, "planned by the rules", stands.waiting, "to be planned"],
    compressing: [rates.made.objects, `${bytes(rates.made.bytes)}/s`, stands.compressing, "to be compressed or changed"],
    sending: [rates.sent.objects, `${bytes(rates.sent.bytes)}/s`, stands.sending, "to be sent"],
  };
  for (const [name, [objects, more, standing, words]] of Object.entries(steps)) {
    const step = document.querySelector(`[data-step=${name}]`);
    per_second(step, objects);
    put(step.querySelector(".more"), more);
    put(step.querySelector(".stands"), standing === null ? "" : `${count(standing)} ${words}`);
    step.dataset.busy = objects > 0 || standing > 0;
  }
}
