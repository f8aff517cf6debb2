"""What must hold after any fault, as one pure function over what was seen: the ledgers, the receipts and the spool.

What was answered with Success has arrived at each of its destinations, with a receipt, or stands in the spool with a
reason that the journal knows; nothing arrives changed, where it does not belong, or again more often than answers
could have been lost; no role holds more than it may; and the canary patient stands nowhere but in objects.
"""

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from chaos.objects import AS_IS, COMPRESSED, Object
from leyden.dicom.uids import EXPLICIT_LE, JPEG2000_LOSSLESS
from support.roles import Held
from support.wire import el

ANY = 10**6
IN_FLIGHT = 4 + 4 + 256  # of one sender: on the associations of both destinations, and receipts not written yet
PATIENT_NAME, PIXEL_DATA = 0x00100010, 0x7FE00010
_LONG = (b"OB", b"OW", b"OF", b"SQ", b"UN", b"UT")
# What a role may hold: descriptors, and MB of its own memory. A quarter above what the rows were seen to take.
CAPS = {
    "supervisor": (64, 64), "receiver": (96, 96), "planner": (64, 96), "worker": (64, 192), "sender": (96, 96),
    "console": (96, 160), "watcher": (64, 96),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """By how much a fault may move what holds without one.

    `doubts`: how many times the fault may have taken answers that were on their way from destinations; `as_it_came`:
    objects that may arrive uncompressed; `ends_in`: stages in which objects may end; `journal`: False if the journal
    cannot be written, and so need not know the reasons; `receipts`: False if they cannot be written (what is delivered
    is delivered all the same); `strangers`: somebody has put objects into the spool by hand; `exits`: True if a role
    may end by itself, or is ended as stuck; `embryos`: True if files that were half received may stay until the next
    start.
    """

    doubts: int = 0
    as_it_came: int = 0
    ends_in: tuple[str, ...] = ()
    journal: bool = True
    receipts: bool = True
    strangers: bool = False
    exits: bool = False
    embryos: bool = False

    def __add__(self, other: "Limits") -> "Limits":
        return Limits(
            self.doubts + other.doubts,
            self.as_it_came + other.as_it_came,
            tuple({*self.ends_in, *other.ends_in}),
            self.journal and other.journal,
            self.receipts and other.receipts,
            self.strangers or other.strangers,
            self.exits or other.exits,
            self.embryos or other.embryos,
        )


@dataclass(frozen=True, slots=True)
class Arrival:
    """One object as a destination kept it; `status`: what it answered (-1: it did not)."""

    uid: str
    syntax: str
    data: bytes
    status: int


@dataclass(frozen=True, slots=True)
class Standing:
    """One that stands in a stage of ended ones; `told`: the journal knows it."""

    uid: str
    stage: str
    destination: str
    reason: str
    told: bool


@dataclass(slots=True)
class Seen:
    """Everything that the oracle judges by."""

    objects: dict[str, Object] = field(default_factory=dict)
    sends: Counter[str] = field(default_factory=Counter)
    promised: set[str] = field(default_factory=set)
    arrivals: dict[str, list[Arrival]] = field(default_factory=dict)
    receipts: dict[str, Counter[str]] = field(default_factory=dict)
    twice_proved: list[str] = field(default_factory=list)  # deliveries with more than one receipt
    standing: list[Standing] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # files that are neither delivered nor ended
    held: dict[str, Held] = field(default_factory=dict)
    canary: list[str] = field(default_factory=list)  # where it was found
    exits: list[str] = field(default_factory=list)  # lines about roles that have ended by themselves, or were stuck
    ours: list[str] = field(default_factory=list)  # lines about what nobody has thought of


def again(seen: Seen, receipts: bool = True) -> int:
    """Arrivals beyond those that a receipt proves: the answer was lost, or its receipt not written. Without receipts,
    those beyond what the source has sent."""
    return sum(
        (
            Counter(each.uid for each in arrivals if each.status == 0)
            - (seen.receipts.get(title, Counter()) if receipts else seen.sends)
        ).total()
        for title, arrivals in seen.arrivals.items()
    )


def faults(seen: Seen, limits: Limits) -> list[str]:
    """What does not hold; [] = everything does."""
    return [
        *_lost(seen, limits),
        *_wrong(seen, limits),
        *_again(seen, limits),
        *_left(seen, limits),
        *_beyond(seen, limits),
    ]


def _lost(seen: Seen, limits: Limits) -> Iterator[str]:
    there = {title: {each.uid for each in arrivals} for title, arrivals in seen.arrivals.items()}
    standing = {(each.uid, each.destination) for each in seen.standing}
    for uid in sorted(seen.promised):
        for title in sorted(seen.objects[uid].destinations):
            if (uid, title) in standing or (uid, "") in standing:
                continue
            if uid not in there.get(title, ()):
                yield f"lost: {uid} for {title}"
            elif limits.receipts and not seen.receipts.get(title, Counter())[uid]:
                yield f"no receipt: {uid} for {title}"


def _wrong(seen: Seen, limits: Limits) -> Iterator[str]:
    as_it_came = 0
    for title, arrivals in seen.arrivals.items():
        for arrival in arrivals:
            wanted = seen.objects.get(arrival.uid)
            if wanted is None and limits.strangers:
                continue
            if wanted is None:
                yield f"{title}: {arrival.uid} was never sent"
            elif title not in wanted.destinations:
                yield f"{title}: {arrival.uid} was not planned for it"
            elif why := difference(wanted, title, arrival):
                yield f"{title}: {arrival.uid}: {why}"
            else:
                as_it_came += title == COMPRESSED and arrival.syntax == EXPLICIT_LE
    if as_it_came > limits.as_it_came:
        yield f"{as_it_came} objects were not compressed"


def difference(wanted: Object, title: str, arrival: Arrival) -> str:
    """How an arrival differs from what its destination must get; "" = it does not."""
    must = dict(parsed(wanted.data))
    if len(wanted.destinations) > 1:
        must[PATIENT_NAME] = title.encode() + b" " * (len(title) % 2)
    if arrival.syntax == EXPLICIT_LE:
        pass
    elif arrival.syntax == JPEG2000_LOSSLESS and title != AS_IS:
        del must[PIXEL_DATA]
        if decoded(arrival.data) != wanted.pixels:
            return "other pixels"
    else:
        return f"in {arrival.syntax}"
    is_there = dict(parsed(arrival.data))
    other = [f"{tag:08X}" for tag, value in must.items() if is_there.get(tag) != value]
    other += [f"{tag:08X}" for tag in is_there if tag not in must and tag != PIXEL_DATA]
    return f"other elements: {', '.join(other)}" if other else ""


def parsed(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(tag, value) of each element of a flat data set in explicit little endian."""
    at = 0
    while at + 8 <= len(data):
        group, element, vr, length = struct.unpack_from("<HH2sH", data, at)
        at += 8
        if vr in _LONG:
            (length,) = struct.unpack_from("<L", data, at)
            at += 4
        length = len(data) - at if length == 0xFFFFFFFF else length
        yield group << 16 | element, data[at : at + length]
        at += length


def decoded(data: bytes) -> bytes:
    """The pixels of an image in JPEG 2000, one frame of 16 bits, by another decoder than ours."""
    import openjpeg

    codestream = b"".join(_fragments(data[data.index(el(PIXEL_DATA, "OB", length=0xFFFFFFFF)) + 12 :]))
    return bytes(openjpeg.decode(codestream).astype("<u2").tobytes())


def _fragments(items: bytes) -> Iterator[bytes]:
    """All but the first, the offset table."""
    at, first = 0, True
    while items[at : at + 4] == b"\xfe\xff\x00\xe0":
        (length,) = struct.unpack_from("<L", items, at + 4)
        if not first:
            yield items[at + 8 : at + 8 + length]
        at, first = at + 8 + length, False


def _again(seen: Seen, limits: Limits) -> Iterator[str]:
    if (times := again(seen, limits.receipts)) > limits.doubts * IN_FLIGHT:
        yield f"{times} arrived again, with {limits.doubts} faults that may have taken answers"
    yield from (f"delivered again though its receipt was there: {each}" for each in seen.twice_proved)
    for title, proved in seen.receipts.items():
        yield from (f"{title}: {n} receipts of {uid}" for uid, n in proved.items() if n > seen.sends[uid])


def _left(seen: Seen, limits: Limits) -> Iterator[str]:
    yield from (f"left behind: {path}" for path in seen.left)
    for each in seen.standing:
        if each.stage not in limits.ends_in:
            yield f"{each.uid} for {each.destination} ended in {each.stage}: {each.reason}"
        if not each.reason:
            yield f"{each.uid} stands in {each.stage} without a reason"
        if limits.journal and not each.told:
            yield f"the journal does not know that {each.uid} stands in {each.stage}"


def _beyond(seen: Seen, limits: Limits) -> Iterator[str]:
    for name, held in seen.held.items():
        descriptors, mb = CAPS[name.rpartition("-")[0] or name]
        if held.descriptors > descriptors:
            yield f"{name} holds {held.descriptors} descriptors, more than {descriptors}"
        if held.own_bytes > mb * 1_000_000:
            yield f"{name} holds {held.own_bytes / 1e6:.0f} MB, more than {mb}"
    yield from (f"patient data: {where}" for where in seen.canary)
    yield from (f"a fault of ours: {line}" for line in seen.ours)
    if not limits.exits:
        yield from (f"ended by itself: {line}" for line in seen.exits)
