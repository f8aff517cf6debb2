// Search: an instance's story, and how far a study is.
import { $, count, make, many, put, time, when } from "./words.js";

const mark = (complete) => (complete ? "✓ " : "✕ ");

function study(found) {
  const rows = found.destinations.map((each) => {
    const states = Object.entries(each.states).map(([state, n]) => `${count(n)} ${state}`).join(", ");
    return make("li", {}, make("b", {}, `${mark(each.complete)}${each.title}: `), `${each.complete ? "has all of it" : "is not complete"} (${states})`);
  });
  const missing = found.missing.map((each) =>
    make("li", {}, `${each.instance}: ${each.state === "gone" ? "not in the spool" : `in ${each.state}`}${each.destination ? ` for ${each.destination}` : ""}${each.reason ? `: ${each.reason}` : ""}`));
  const dropped = found.dropped ? `, ${count(found.dropped)} dropped by a rule` : "";
  return make("section", { "aria-label": `Study ${found.uid}` },
    make("h3", {}, `${mark(found.complete)}Study ${found.uid}`),
    make("p", { class: "hint" }, `${many(found.received, "instance")} received${dropped}`),
    make("ul", {}, ...rows),
    missing.length ? make("details", {}, make("summary", {}, `What is missing (${count(found.missingInAll)})`), make("ul", { class: "story" }, ...missing)) : null);
}

function story(found, open) {
  const lines = found.events.map((each) => make("li", {}, time(each.at), each.words));
  const now = found.now.map((words) => make("li", { class: "now" }, `now: ${words}`));
  return make("details", { open },
    make("summary", {}, found.patient ? make("b", {}, `${found.patient} `) : null, found.instance || "an instance that the journal does not name", ` · ${when(found.receivedAt)}`),
    make("p", { class: "hint" }, `receipt ${found.receipt}`),
    make("ol", { class: "story" }, ...lines, ...now));
}

/** Show what was found. `text`: what was looked for. */
export function show(text, { studies, stories, inAll }) {
  const none = !stories.length && !studies.length;
  const more = inAll > stories.length ? `; the first ${count(stories.length)} are shown` : "";
  put($("found-words"), none
    ? `Nothing is known of ${text}, neither in the journal nor in the spool. A UID is written with all its digits, an accession number as the modality sent it.`
    : `${many(inAll, "object")} found for ${text}${more}`);
  $("found").replaceChildren(...studies.map(study), ...stories.map((each) => story(each, stories.length === 1)));
}
