"""The story of an object in words: one line an event, and where the object stands now.

A line may hold a text that a peer has sent, as it came: whoever shows it on a terminal or a page has to escape it.
"""

import time
from collections.abc import Callable

from leyden.dicom.uids import syntax_name
from leyden.journal.index import Document
from leyden.operate.trace import GONE, Place, Story

Words = Callable[[Document], str]


def moment(at_s: float) -> str:
    """Local time, to the millisecond."""
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at_s))}.{int(at_s % 1 * 1000):03d}"


def _stands(place: Place) -> str:
    words = [f"{place.destination}: " if place.destination else "", f"in {place.stage}/"]
    if place.claimant:
        words = [words[0], f"{place.claimant} works on it (from {place.stage}/)"]
    if place.due_s:
        words.append(f", next try at {moment(place.due_s)} after {place.attempts}")
    if place.reason or place.why:
        words.append(f": {place.reason or place.why}")
    return "".join(words)


def now(story: Story) -> list[str]:
    """Where an object stands now, a line for each destination that has something to say."""
    lines = [_stands(place) for place in story.places]
    lines += [f"{title}: delivered, as its receipt proves" for title in story.proved]
    for title, (state, reason) in story.standings().items():
        if state == GONE:
            why = reason or "nothing says how it went"
            lines.append(f"{f'{title}: ' if title else ''}not in the spool; {why}")
    return lines


def told(event: Document) -> str:
    """One event in words. What a field says that is not in the words follows them, so that nothing is left out."""
    rest = dict(event)
    for name in ("event", "at_s", "receipt", "sop_class_uid", "sop_instance_uid", "source"):
        rest.pop(name, None)
    words = _WORDS[event["event"]](rest) if event["event"] in _WORDS else event["event"]
    title = rest.pop("destination", "")
    more = "".join(f"; {name.replace('_', ' ')}: {value}" for name, value in rest.items())
    return f"{f'{title}: ' if title else ''}{words}{more}"


def _received(rest: Document) -> str:
    peer = f" ({rest.pop('peer')})" if "peer" in rest else ""
    took = f"{rest.pop('bytes')} bytes as {syntax_name(rest.pop('syntax'))}"
    return f"received from {rest.pop('calling')}{peer}, called {rest.pop('called')}, {took}"


def _duplicate(rest: Document) -> str:
    answered = f"answered 0x{rest.pop('status'):04X}"
    return f"came again from {rest.pop('calling')}, called {rest.pop('called')}: not kept, {answered}"


def _planned(rest: Document) -> str:
    rules = ", ".join(rest.pop("rules", ())) or "no rule"
    ways = "; ".join(f"{d['destination']} {d['form']}{_changed(d)} ({d['reason']})" for d in rest.pop("deliveries", ()))
    dropped = rest.pop("dropped_by", "")
    by = rest.pop("saved_by", ())
    saved = f"; saved by {', '.join(by)}" if by else ""
    if dropped.endswith(" save_file"):  # nothing else was asked for
        dropped, saved = f"saved by {', '.join(by) or dropped}, and sent nowhere", ""
    else:
        dropped = f"dropped by {dropped}"
    for name in ("calling", "called", "series_instance_uid", "accession"):
        rest.pop(name, None)
    return f"planned by {rules}, generation {rest.pop('generation')}: {ways or dropped}{saved}{_study(rest)}"


def _failed(rest: Document) -> str:
    for name in ("calling", "accession"):
        rest.pop(name, None)
    return f"failed: {rest.pop('reason')}{_study(rest)}"


def _expired(rest: Document) -> str:
    rest.pop("calling", None)  # of who sent it to us
    return "expired: not delivered within expiryThreshold"


def _study(rest: Document) -> str:
    return f"; study {rest.pop('study_instance_uid')}" if "study_instance_uid" in rest else ""


def _transformed(rest: Document) -> str:
    rest.pop("calling", None)
    made, came, changed = rest.pop("made"), rest.pop("came"), _changed(rest)
    what = f"made {made} of {came}{changed}" if made != came or not changed else changed.removeprefix(", ")
    sizes = f"{rest.pop('came_bytes')} -> {rest.pop('made_bytes')} bytes"
    return f"{what}, {sizes} in {rest.pop('took_s') * 1000:.0f} ms"


def _changed(rest: Document) -> str:
    return f", changed by {', '.join(rules)}" if (rules := rest.pop("changed_by", ())) else ""


def _delivered(rest: Document) -> str:
    took = f"{rest.pop('bytes')} bytes as {syntax_name(rest.pop('syntax'))} in {rest.pop('took_s', 0) * 1000:.0f} ms"
    return f"delivered, status 0x{rest.pop('status'):04X}, {took}, calling as {rest.pop('calling')}"


def _deferred(rest: Document) -> str:
    rest.pop("lost", None)
    return f"deferred for {rest.pop('wait_s'):.3g} s: {rest.pop('said')}{_calling(rest)}"


def _calling(rest: Document) -> str:
    return f", calling as {title}" if (title := rest.pop("calling", "")) else ""


def _moved(rest: Document) -> str:
    stage, to_stage, to, who = (rest.pop(name) for name in ("stage", "to_stage", "to_destination", "who"))
    if to == rest.get("destination", ""):
        return f"moved from {stage}/ to {to_stage}/ by {who}"
    there = f"{to_stage}/ for {to}" if to_stage else f"{to}, which had it already"
    return f"moved from {stage}/ to {there} by {who}"


def _deleted(rest: Document) -> str:
    return f"deleted from {rest.pop('stage')}/ by {rest.pop('who')}"


def _operated(rest: Document) -> str:
    rest.pop("count", None)
    return f"{rest.pop('did')}, asked for by {rest.pop('who')} ({rest.pop('through')})"


def _by(text: str, name: str) -> Words:
    """The text, then one field."""
    return lambda rest: f"{text}{rest.pop(name, '')}{_calling(rest)}"


_WORDS: dict[str, Words] = {
    "received": _received,
    "duplicate": _duplicate,
    "planned": _planned,
    "putoff": _by("put off in new/, tried again each minute: ", "reason"),
    "transformed": _transformed,
    "delivered": _delivered,
    "deferred": _deferred,
    "attempt": _by("not answered: ", "said"),
    "remade": _by("back to a worker, to become ", "syntax"),
    "rejected": _by("rejected: ", "reason"),
    "failed": _failed,
    "expired": _expired,
    "retried": _by("brought back to ", "stage"),
    "byhand": _by("by hand it ", "what"),
    "moved": _moved,
    "deleted": _deleted,
    "operated": _operated,
}
