"""The negotiation ladder: what a destination was seen to accept, what to propose to it, and what comes after what.

The wanted syntax is proposed at every negotiation, so that a peer that learns better is noticed. Nothing here ever
chooses a lossy syntax that nobody asked for. The document of state/<DEST>.json is read and written here as bytes; the
file is the sender's, workers and the planner only read it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from leyden.dicom.negotiate import MAX_CONTEXTS
from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, JPEG_BASELINE, JPEG_EXTENDED, JPEGXL_JPEG, SYNTAXES
from leyden.errors import Corrupt

KNOWN_FOR_S = 24 * 3600.0
MAX_CLASSES = 512  # of one destination in its state file; far more than the standard has

Pair = tuple[str, str]  # (SOP class UID, transfer syntax UID)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What a destination was seen to accept and to refuse for one SOP class: transfer syntax UIDs, and when.

    `seen_s` is the time of the oldest of these answers.
    """

    accepted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    seen_s: float = 0.0


Knowledge = Mapping[str, Acceptance]  # by SOP class UID


def fresh(knowledge: Knowledge, sop_class: str, now_s: float) -> Acceptance | None:
    """What is known of a SOP class; None when it was never seen or too long ago."""
    acceptance = knowledge.get(sop_class)
    return acceptance if acceptance is not None and now_s - acceptance.seen_s < KNOWN_FOR_S else None


def learn(
    knowledge: Knowledge, proposed: Iterable[Pair], accepted: Collection[Pair], now_s: float
) -> dict[str, Acceptance]:
    """The knowledge after a negotiation. What was not proposed this time stays as it was, unless that is too old.

    While anything stays, so does its time: an answer that is never asked for again ends with its own age.
    """
    answers: dict[str, dict[str, bool]] = {}
    for pair in proposed:
        answers.setdefault(pair[0], {})[pair[1]] = pair in accepted
    learned = {sop_class: known for sop_class, known in knowledge.items() if now_s - known.seen_s < KNOWN_FOR_S}
    for sop_class, answer in answers.items():
        before = learned.pop(sop_class, Acceptance())
        stays = not answer.keys() >= {*before.accepted, *before.refused}
        now = {**dict.fromkeys(before.accepted, True), **dict.fromkeys(before.refused, False), **answer}
        learned[sop_class] = Acceptance(
            tuple(sorted(uid for uid, yes in now.items() if yes)),
            tuple(sorted(uid for uid, yes in now.items() if not yes)),
            before.seen_s if stays else now_s,
        )
    return dict(list(learned.items())[-MAX_CLASSES:])


def differ(before: Knowledge, after: Knowledge) -> bool:
    """Whether `after` says something new, or something old anew (worth a write of the state file)."""
    return before.keys() != after.keys() or any(
        (acceptance.accepted, acceptance.refused) != (before[sop_class].accepted, before[sop_class].refused)
        or acceptance.seen_s - before[sop_class].seen_s > KNOWN_FOR_S / 24
        for sop_class, acceptance in after.items()
    )


def rungs(wanted: str, source: str, acceptance: Acceptance | None) -> list[str]:
    """The transfer syntaxes in which an object of syntax `source` may go, the best first; UIDs, without the refused.

    `wanted` is the node's syntax, "" = as received. The ladder: wanted, as it is, what it becomes without being decoded
    (a recompressed JPEG the JPEG that it was), explicit, implicit little endian. What was not refused counts as
    possible; a lossy one only where it was accepted, or nothing is known yet (then it is to be asked for).
    """
    known = acceptance or Acceptance()
    found = [source, *(uid for uid in _before(source) if uid in known.accepted), EXPLICIT_LE, IMPLICIT_LE]
    if wanted and (acceptance is None or not is_lossy(wanted) or wanted in known.accepted):
        found.insert(0, wanted)
    return [uid for uid in found if uid not in known.refused]


def _before(source: str) -> tuple[str, ...]:
    """What a recompressed JPEG may have been, the usual one first."""
    return (JPEG_BASELINE, JPEG_EXTENDED) if source == JPEGXL_JPEG else ()


def is_lossy(uid: str) -> bool:
    """Whether a syntax may lose something; one that the standard does not know may."""
    syntax = SYNTAXES.get(uid)
    return syntax is None or syntax.lossy


def proposals(pairs: Iterable[Pair], wanted: str) -> tuple[Pair, ...]:
    """The presentation contexts of an association, one syntax each: at most 128.

    `pairs` are those of the entries at hand, the one that the association is opened for first. For each SOP class:
    the syntaxes at hand, what a recompressed JPEG among them was, the wanted one, explicit and implicit little endian;
    a class that no longer fits is left to another association.
    """
    classes: dict[str, dict[str, None]] = {}
    for sop_class, syntax in pairs:
        classes.setdefault(sop_class, {})[syntax] = None
    chosen: list[Pair] = []
    for sop_class, syntaxes in classes.items():
        at_hand = list(syntaxes)[: MAX_CONTEXTS - 5]
        was = [uid for syntax in at_hand for uid in _before(syntax)]
        ladder = dict.fromkeys((*at_hand, *was, wanted or EXPLICIT_LE, EXPLICIT_LE, IMPLICIT_LE))
        if len(chosen) + len(ladder) <= MAX_CONTEXTS:
            chosen += [(sop_class, syntax) for syntax in ladder]
    return tuple(chosen)


def serialize(knowledge: Knowledge) -> bytes:
    """The document of state/<DEST>.json."""
    return msgspec.json.encode(dict(knowledge))


def parse(document: bytes) -> dict[str, Acceptance]:
    """The inverse of serialize(). Corrupt if it is not such a document."""
    try:
        return msgspec.json.decode(document, type=dict[str, Acceptance])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"not a table of accepted syntaxes: {error}") from error
