"""The ladder of transfer syntaxes: what a destination was seen to accept, what to propose, and which is tried next.

The wanted syntax is proposed at every negotiation, so that it is noticed when a peer accepts it at last. A lossy syntax
is never chosen unless the node names it. The content of state/<DEST>.json is encoded and decoded here; the sender
writes that file, the workers and the planner only read it.
"""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from leyden.dicom.negotiate import MAX_CONTEXTS
from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, JPEG_BASELINE, JPEG_EXTENDED, JPEGXL_JPEG, SYNTAXES
from leyden.documents import decoded
from leyden.errors import Corrupt

KNOWN_FOR_S = 24 * 3600.0
MAX_CLASSES = 512  # SOP classes in the state file of a destination; the standard has far fewer

Pair = tuple[str, str]  # (SOP class UID, transfer syntax UID)


class Acceptance(msgspec.Struct, frozen=True):
    """The transfer syntaxes (UIDs) that a destination was seen to accept and to refuse for one SOP class.

    `seen_s` is the time of the oldest of these answers, in seconds since 1970.
    """

    accepted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    seen_s: float = 0.0


Knowledge = Mapping[str, Acceptance]  # by SOP class UID


def fresh(knowledge: Knowledge, sop_class: str, now_s: float) -> Acceptance | None:
    """What is known of a SOP class; None if nothing is, or if the answers are too old."""
    acceptance = knowledge.get(sop_class)
    return acceptance if acceptance is not None and now_s - acceptance.seen_s < KNOWN_FOR_S else None


def learn(
    knowledge: Knowledge, proposed: Iterable[Pair], accepted: Collection[Pair], now_s: float
) -> dict[str, Acceptance]:
    """The knowledge after a negotiation. Answers to what was not proposed this time stay, unless they are too old.

    If an older answer of a SOP class stays, so does the time of the class. So an answer that is never renewed becomes
    too old in the end.
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
    """Whether the state file must be written: `after` has other answers, or the same ones but much newer."""
    return before.keys() != after.keys() or any(
        (acceptance.accepted, acceptance.refused) != (before[sop_class].accepted, before[sop_class].refused)
        or acceptance.seen_s - before[sop_class].seen_s > KNOWN_FOR_S / 24
        for sop_class, acceptance in after.items()
    )


def rungs(wanted: str, source: str, acceptance: Acceptance | None) -> list[str]:
    """The transfer syntaxes (UIDs) in which an object of syntax `source` may go, the best first, without refused ones.

    `wanted` is the node's syntax, "" = as received. The ladder: the wanted syntax; the source's own; the original JPEG
    of a recompressed one, which needs no decoding; explicit, then implicit little endian. A syntax that was not refused
    counts as possible. A lossy `wanted` does so only if it was accepted, or if nothing is known yet (then the peer is
    asked first).
    """
    known = acceptance or Acceptance()
    found = [source, *(uid for uid in _original_jpegs(source) if uid in known.accepted), EXPLICIT_LE, IMPLICIT_LE]
    if wanted and (acceptance is None or not is_lossy(wanted) or wanted in known.accepted):
        found.insert(0, wanted)
    return [uid for uid in found if uid not in known.refused]


def _original_jpegs(source: str) -> tuple[str, ...]:
    """The syntaxes that a recompressed JPEG may have had before, the usual one first."""
    return (JPEG_BASELINE, JPEG_EXTENDED) if source == JPEGXL_JPEG else ()


def is_lossy(uid: str) -> bool:
    """Whether a syntax may lose information; one that is not in the table of known syntaxes may."""
    syntax = SYNTAXES.get(uid)
    return syntax is None or syntax.lossy


def proposals(pairs: Iterable[Pair], wanted: str) -> tuple[Pair, ...]:
    """The presentation contexts to propose for an association: at most 128, each with one syntax.

    `pairs` are those of the entries at hand, first that of the entry for which the association is opened. For each SOP
    class these are proposed: the syntaxes at hand, the original JPEG of a recompressed one, the wanted syntax, explicit
    and implicit little endian. A class for which there is no room is left to another association.
    """
    classes: dict[str, dict[str, None]] = {}
    for sop_class, syntax in pairs:
        classes.setdefault(sop_class, {})[syntax] = None
    chosen: list[Pair] = []
    for sop_class, syntaxes in classes.items():
        at_hand = list(syntaxes)[: MAX_CONTEXTS - 5]
        originals = [uid for syntax in at_hand for uid in _original_jpegs(syntax)]
        ladder = dict.fromkeys((*at_hand, *originals, wanted or EXPLICIT_LE, EXPLICIT_LE, IMPLICIT_LE))
        if len(chosen) + len(ladder) <= MAX_CONTEXTS:
            chosen += [(sop_class, syntax) for syntax in ladder]
    return tuple(chosen)


def serialize(knowledge: Knowledge) -> bytes:
    """The content of state/<DEST>.json."""
    return msgspec.json.encode(dict(knowledge))


def parse(document: bytes) -> dict[str, Acceptance]:
    """The inverse of serialize(). Corrupt if `document` is not such a content."""
    try:
        return decoded(document, dict[str, Acceptance])
    except msgspec.DecodeError as error:
        raise Corrupt(f"not a table of accepted syntaxes: {error}") from error
