// A row for each destination. Rows stay where they are, and keep the focus, while their numbers change.
import { $, bytes, count, make, many, put, rate, sign, span, when } from "./words.js";

const STATES = { open: "open", paused: "paused", closed: "closed", backedoff: "backed off" };
const rows = new Map();

function row(title, act) {
  const cell = (label, ...kinds) => make("td", { class: kinds.join(" "), "data-label": label });
  const cells = {
    state: cell("State"), sent: cell("Sent", "n"), waiting: cell("Waiting", "n"), oldest: cell("Oldest", "n"),
    deferred: cell("Deferred", "n"), rejected: cell("Rejected", "n"), failed: cell("Failed", "n"), line: cell("Line", "n"),
    why: cell("", "why"), act: cell("", "do"),
  };
  const state = make("span", { class: "state" }, sign("state-open"), make("span"));
  const stateMore = make("small");
  cells.state.append(state, stateMore);
  cells.why.append(make("span"), make("small"));
  const buttons = {};
  for (const [verb, text] of [["pause", "Pause"], ["echo", "Echo"], ["retry", "Retry"]]) {
    buttons[verb] = make("button", { type: "button" }, text, make("span", { class: "unseen" }, ` ${title}`));
    buttons[verb].addEventListener("click", () => act(buttons[verb].dataset.verb || verb, title, buttons[verb], cells));
    cells.act.append(buttons[verb]);
  }
  cells.act.append(make("p"));
  const head = make("th", { scope: "row" }, title, make("small"));
  const line = make("tr", { id: `to-${title}` }, head, ...Object.values(cells));
  return { line, head, cells, state, stateMore, buttons };
}

function number(cell, n, kind) {
  put(cell, count(n));
  cell.classList.toggle("zero", n === 0);
  cell.classList.toggle(kind, n > 0);
}

export function destinations(live, act) {
  const body = $("rows");
  const titles = live.destinations.map((each) => each.title);
  for (const [title, { line }] of rows) {
    if (!titles.includes(title)) {
      line.remove();
      rows.delete(title);
    }
  }
  live.destinations.forEach((now, at) => {
    if (!rows.has(now.title)) rows.set(now.title, row(now.title, act));
    const { line, head, cells, state, stateMore, buttons } = rows.get(now.title);
    if (body.children[at] !== line) body.insertBefore(line, body.children[at] ?? null);
    put(head.lastChild, now.where);
    if (state.dataset.state !== now.state) {
      state.dataset.state = now.state;
      state.querySelector("use").setAttribute("href", `#state-${now.state}`);
      put(state.lastChild, STATES[now.state]);
      const verb = now.state === "paused" ? "resume" : "pause";
      buttons.pause.dataset.verb = verb;
      put(buttons.pause.lastChild, ` ${now.title}`);
      buttons.pause.firstChild.data = verb === "pause" ? "Pause" : "Resume";
    }
    put(stateMore, now.why);
    put(cells.sent, now.objects > 0 ? `${rate(now.objects)}/s` : count(now.today));
    cells.sent.title = "objects a second; while none are sent: those of today";
    cells.sent.classList.toggle("zero", now.objects === 0);
    put(cells.waiting, count(now.waiting));
    cells.waiting.classList.toggle("zero", now.waiting === 0);
    put(cells.oldest, now.oldestAt === null ? "–" : span(live.at - now.oldestAt));
    cells.oldest.classList.toggle("late", now.oldestAt !== null && live.at - now.oldestAt > LATE_S);
    cells.oldest.classList.toggle("zero", now.oldestAt === null);
    number(cells.deferred, now.deferred, "late");
    number(cells.rejected, now.rejected, "bad");
    number(cells.failed, now.failed, "bad");
    put(cells.line, now.line ? `${bytes(now.line)}/s` : "–");
    cells.line.classList.toggle("zero", !now.line);
    put(cells.why.firstChild, now.said ? `${now.said} (${when(now.saidAt)})` : "");
    put(cells.why.lastChild, now.nextTryAt ? nextTry(now.nextTryAt - live.at) : "");
    const kept = now.rejected + now.failed + now.expired;
    if (document.activeElement !== buttons.retry) buttons.retry.hidden = kept === 0;
    buttons.retry.firstChild.data = kept ? `Retry ${count(kept)}` : "Retry";
    buttons.retry.dataset.kept = kept;
  });
  $("no-destinations").hidden = titles.length > 0;
  body.parentElement.hidden = titles.length === 0;
}

const nextTry = (s) => (s > 0 ? `next try in ${span(s)}` : "is being tried now");

export const LATE_S = 900;

/** What is not as it should be, the worst first: [how bad, words, the destination or ""]. */
export function causes(live) {
  const found = live.problems.map((words) => ["act", words, ""]);
  for (const each of live.destinations) {
    const age = each.oldestAt === null ? 0 : live.at - each.oldestAt;
    const kept = [[each.rejected, "rejected"], [each.failed, "failed"], [each.expired, "expired"]].filter(([n]) => n > 0);
    const waits = each.waiting ? `${many(each.waiting, "object waits", "objects wait")}, the oldest for ${span(age)}` : "nothing waits for it";
    if (each.state === "backedoff") found.push([age > LATE_S ? "act" : "look", `can't be reached; ${waits}`, each.title]);
    else if (each.state === "paused") found.push(["look", `is paused; ${waits}`, each.title]);
    else if (each.state === "closed" && age > 86400) found.push(["look", `is closed; ${waits}`, each.title]);
    else if (each.state === "open" && age > LATE_S) found.push(["look", `is slow; ${waits}`, each.title]);
    const inAll = kept.reduce((sum, [n]) => sum + n, 0);
    if (inAll) found.push(["act", `has ${kept.map(([n, word]) => `${count(n)} ${word}`).join(", ")} ${inAll === 1 ? "object" : "objects"}`, each.title]);
  }
  if (live.stands.failed) found.push(["act", `${many(live.stands.failed, "object")} could not be planned, and went to failed/`, ""]);
  return found.sort(([a], [b]) => (a === "look") - (b === "look"));
}
