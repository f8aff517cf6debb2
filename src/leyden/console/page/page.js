// The page as a whole: it listens to the console, shows what it says, and sends what is asked for.
import { counted, drawing } from "./drawing.js";
import { chart, pipeline } from "./flow.js";
import { causes, destinations } from "./rows.js";
import { show } from "./story.js";
import { $, count, make, many, put, span, time, when } from "./words.js";

const SILENT_MS = 5000; // the console sends each second
const AGAIN_MS = 2000;
const HIDDEN_MS = 60000; // a tab that nobody sees looks once a minute: a browser opens six connections to a site at most
const DENIED = "This needs a log-in with the right to operate. On the machine, `leyden token new` makes a token.";

let live = null; // the last document
let may = "nothing"; // what this log-in allows: nothing, read, operate
let generation = null; // of the rules that are drawn
let lookedFor = null;

// -- the console

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Ask the console. Throws Refused with words for the reader. */
async function ask(method, path, body) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["Content-Type"] = "application/json";
  let answer, said;
  try {
    answer = await fetch(path, { method, headers, credentials: "same-origin", body: body === undefined ? undefined : JSON.stringify(body), redirect: "error", signal: AbortSignal.timeout(30000) });
    said = await answer.json();
  } catch {
    throw new Refused(0, answer ? `The console answered ${answer.status}, without a word that can be read.` : "The console does not answer.");
  }
  if (answer.ok && said.ok) return said.data;
  if (answer.status === 403) throw new Refused(403, DENIED);
  throw new Refused(answer.status, said.error?.message ?? `The console answered ${answer.status}.`);
}

let source = null, heard = 0, retry = 0, asking = 0;

function connected(state, words) {
  document.body.dataset.link = state;
  if ($("link").dataset.state !== state) $("link").dataset.state = state;
  put($("link"), words);
}

/** Begin anew: who are we, and what is told now. */
async function listen() {
  clearTimeout(retry);
  source?.close();
  source = null;
  const mine = (asking += 1);
  let session;
  try {
    session = await ask("GET", "/api/session");
  } catch (refused) {
    if (mine === asking) lost(refused.status ? refused.message : "no connection");
    return;
  }
  if (mine !== asking) return;
  changed(session);
  if (!session.open && may === "nothing") {
    connected("shut", "log in to see it");
    verdict("none", "Log in to see it");
    return;
  }
  heard = performance.now();
  const stream = (source = new EventSource("/api/live"));
  let opened = false;
  stream.onopen = () => (opened = true);
  stream.onmessage = (event) => {
    heard = performance.now();
    connected("live", "live");
    render(JSON.parse(event.data));
    if (document.hidden) rest();
  };
  stream.onerror = () => {
    if (stream === source) lost(opened ? "connection lost" : "too many pages are open");
  };
}

/** Until somebody looks, or for a minute. */
function rest() {
  source?.close();
  source = null;
  clearTimeout(retry);
  retry = setTimeout(listen, HIDDEN_MS);
}

/** Say so at once, and try again. */
function lost(why) {
  source?.close();
  source = null;
  clearTimeout(retry);
  retry = setTimeout(listen, AGAIN_MS);
  connected("lost", `${why}; trying again`);
  verdict("none", live ? `Not seen since ${when(live.at)}` : "Not known yet");
}

setInterval(() => {
  if (source && performance.now() - heard > SILENT_MS) lost("connection lost");
}, 1000);
addEventListener("online", listen);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !source) listen();
});

// -- what it shows

function render(now) {
  live = now;
  put($("title"), live.service.title);
  pipeline(live);
  chart(live);
  destinations(live, act);
  judge();
  errors();
  if (may !== "nothing" && generation !== live.service.generation) rules(live.service.generation);
  counted(live.today);
  today();
  put($("about"), `Leyden ${live.service.version}, configuration ${count(live.service.generation)}${live.service.since ? `, running since ${when(live.service.since)}` : ""}. The spool was looked at ${live.lookedAt ? `${span(live.at - live.lookedAt)} ago` : "not yet"}.`);
}

const SIGNS = { well: "sign-well", look: "sign-look", act: "sign-act", none: "sign-none" };

function verdict(sign, words) {
  const box = $("verdict");
  if (box.dataset.sign !== sign) {
    box.dataset.sign = sign;
    box.querySelector("use").setAttribute("href", `#${SIGNS[sign]}`);
  }
  put($("verdict-words"), words);
  document.title = `${{ well: "✓", look: "△", act: "✕", none: "?" }[sign]} ${words} · ${live?.service.title ?? "Leyden"}`;
}

const SHOWN = 8;

function judge() {
  if (live.lookedAt === null) return verdict("none", "Looking at the spool …");
  const found = causes(live);
  const grave = found.filter(([how]) => how === "act").length;
  const light = found.length - grave;
  const looks = light ? [`${grave ? count(light) : many(light, "thing")} to look at`] : [];
  if (!found.length) verdict("well", "All is well");
  else if (grave) verdict("act", [`${many(grave, "thing needs", "things need")} you`, ...looks].join(", "));
  else verdict("look", looks[0]);
  const lines = found.slice(0, SHOWN).map(([, words, title]) => [title, words]);
  if (found.length > SHOWN) lines.push(["", `and ${count(found.length - SHOWN)} more`]);
  const list = $("causes");
  while (list.children.length > lines.length) list.lastChild.remove();
  lines.forEach(([title, words], at) => {
    const line = list.children[at] ?? list.appendChild(make("li", {}, make("a"), make("span")));
    put(line.firstChild, title);
    if (title) line.firstChild.setAttribute("href", `#to-${encodeURIComponent(title)}`);
    else line.firstChild.removeAttribute("href");
    put(line.lastChild, `${title ? " " : ""}${words}`);
  });
  return undefined;
}

const keyOf = (each) => `${each.at} ${each.receipt} ${each.kind} ${each.destination}`;

function errors() {
  const list = live.errors ?? [];
  const none = live.journal ? "No object was deferred, rejected or failed lately." : "The journal is off (journalMib: 0), so errors and rates are not known.";
  put($("no-errors"), list.length ? "" : live.errors ? none : "Log in to see the last errors with their reasons.");
  const place = $("error-list");
  const wanted = new Set(list.map(keyOf));
  for (const line of [...place.children]) if (!wanted.has(line.dataset.key)) line.remove();
  list.forEach((each, at) => { // what stands there stays, with the focus that it may have
    if (place.children[at]?.dataset.key !== keyOf(each)) place.insertBefore(error(each), place.children[at] ?? null);
  });
}

function error(each) {
  const line = make("li", { "data-key": keyOf(each) }, time(each.at), " ", make("span", { class: "kind", "data-kind": each.kind }, each.kind), " ", each.destination ? make("b", {}, `${each.destination}: `) : "", each.reason, " ");
  const button = make("button", { type: "button", "aria-label": `Story of the object of ${when(each.at)}` }, "Story");
  button.addEventListener("click", () => {
    $("search-text").value = each.receipt;
    $("search-text").focus();
    find(each.receipt);
  });
  line.append(button);
  return line;
}

const KINDS = [["received", "received"], ["delivered", "delivered"], ["dropped", "dropped by rules"], ["duplicate", "came again"], ["rejected", "rejected"], ["failed", "failed"], ["expired", "expired"]];

function today() {
  const { kinds, since } = live.today;
  const parts = KINDS.filter(([kind]) => kinds[kind]).map(([kind, words]) => `${count(kinds[kind])} ${words}`);
  const { since: of, rulesSince } = live.today;
  put($("rules-since"), rulesSince > of + 60 ? `Matches are counted since ${when(rulesSince)}, when the rules were new.` : "");
  const senders = Object.entries(live.today.senders).sort(([, a], [, b]) => b - a).slice(0, 12);
  put($("senders"), senders.length ? `Sent today by ${senders.map(([title, n]) => `${title || "others"}: ${count(n)}`).join(", ")}` : "");
  put($("today"), `Today${new Date(since * 1000).getHours() + new Date(since * 1000).getMinutes() ? `, since ${when(since)}` : ""}: ${parts.join(", ") || "nothing yet"}`);
}

async function rules(of) {
  generation = of;
  try {
    drawing(await ask("GET", "/api/rules"));
    if (live) counted(live.today);
  } catch (refused) {
    generation = null;
    put($("rules-hint"), refused.message);
  }
}

// -- what is asked for

let quiet = 0;

function say(words) {
  $("said").hidden = false;
  put($("said"), words);
  clearTimeout(quiet);
  quiet = setTimeout(() => ($("said").hidden = true), 8000);
}

function confirmed(words, more, yes) {
  put($("confirm-words"), words);
  put($("confirm-more"), more);
  put($("confirm-yes"), yes);
  const dialog = $("confirm-dialog");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

const VERBS = {
  pause: (title) => ask("POST", `/api/nodes/${encodeURIComponent(title)}/pause`).then(() => `${title} is paused: nothing more is sent to it until it is resumed.`),
  resume: (title) => ask("POST", `/api/nodes/${encodeURIComponent(title)}/resume`).then(() => `${title} is resumed.`),
  echo: (title) => ask("POST", `/api/nodes/${encodeURIComponent(title)}/echo`).then(echoed),
  retry: async (title) => {
    let done = 0;
    const where = new URLSearchParams({ destination: title });
    for (const kind of ["rejected", "failed"]) done += (await ask("POST", `/api/queue/actions/retry-${kind}?${where}`)).count;
    return `${title}: ${many(done, "object is", "objects are")} on the way again.`;
  },
};

function echoed({ success, latency, message }) {
  return success ? `answers C-ECHO in ${count(latency)} ms` : `does not answer C-ECHO: ${message}`;
}

async function act(verb, title, button, cells) {
  if (button.getAttribute("aria-busy") === "true") return;
  if (may !== "operate") return logIn(DENIED);
  if (verb === "retry" && !(await confirmed(`Put ${many(Number(button.dataset.kept), "object")} back into the queue of ${title}?`, "Those that it rejected or that failed on the way to it are tried again, from the first try on.", "Retry"))) return;
  button.setAttribute("aria-busy", "true");
  try {
    const words = await VERBS[verb](title);
    if (verb === "echo") put(cells.act.lastChild, words);
    say(words.startsWith(title) ? words : `${title} ${words}`);
  } catch (refused) {
    say(`${title}: ${refused.message}`);
    if (refused.status === 403) logIn(refused.message);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

async function find(text) {
  text = text.trim();
  if (!text) return;
  if (may === "nothing") {
    lookedFor = text;
    logIn("Stories are shown after a log-in only.");
    return;
  }
  put($("found-words"), "looking …");
  try {
    show(text, await ask("GET", `/api/search?${new URLSearchParams({ text, ...($("names").checked ? { names: "true" } : {}) })}`));
  } catch (refused) {
    $("found").replaceChildren();
    put($("found-words"), refused.message);
  }
}

$("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  find($("search-text").value);
});
$("names").addEventListener("change", () => {
  if ($("names").checked && may !== "operate") {
    $("names").checked = false;
    logIn(DENIED);
  } else if ($("found").childElementCount) find($("search-text").value);
});

// -- log-in

function logIn(why) {
  put($("login-why"), why ?? "To see errors with their reasons, rules and stories, and to change something.");
  put($("login-error"), "");
  if (!$("login-dialog").open) $("login-dialog").showModal();
}

function changed(session) {
  $("no-secret").hidden = session.possible;
  if (session.may === may) return;
  may = session.may;
  put($("log-in"), may === "nothing" ? "Log in" : "Log out");
  $("log-in").title = session.name && `logged in: ${session.name}`;
  generation = null;
  if (may === "nothing") {
    $("found").replaceChildren();
    put($("found-words"), "");
    $("drawing").hidden = $("rules-list").hidden = true;
    put($("rules-hint"), "Log in to see the rules.");
  } else if (lookedFor !== null) find(lookedFor);
  if (may !== "operate") $("names").checked = false;
  lookedFor = null;
}

$("log-in").addEventListener("click", async () => {
  if (may === "nothing") return logIn();
  try {
    await ask("POST", "/api/logout");
  } catch (refused) {
    say(refused.message);
  }
  listen();
});
$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const secret = $("secret").value;
  try {
    await ask("POST", "/api/login", { secret });
    $("secret").value = "";
    $("login-dialog").close();
    say("Logged in.");
    listen();
  } catch (refused) {
    put($("login-error"), refused.status === 403 ? "Neither a token nor the service password. On the machine, `leyden token new` makes a token." : refused.message);
    $("secret").select();
  }
});
for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
$("login-dialog").addEventListener("close", () => ($("secret").value = ""));

// -- look

const LOOKS = { "": "as the system", light: "light", dark: "dark" };

function look(now) {
  if (now) document.documentElement.dataset.look = now;
  else delete document.documentElement.dataset.look;
  put($("look"), `Look: ${LOOKS[now]}`);
}

look(document.documentElement.dataset.look ?? "");
$("look").addEventListener("click", () => {
  const names = Object.keys(LOOKS);
  const next = names[(names.indexOf(document.documentElement.dataset.look ?? "") + 1) % names.length];
  look(next);
  try {
    if (next) localStorage.setItem("leyden-look", next);
    else localStorage.removeItem("leyden-look");
  } catch {
    // storage is blocked: until the page is closed
  }
});
for (const choice of document.querySelectorAll("input[name=unit]")) choice.addEventListener("change", () => live && chart(live));

put($("rules-hint"), "Log in to see the rules.");
listen();
