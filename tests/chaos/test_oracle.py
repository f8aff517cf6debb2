"""The judge of the fault matrix sees each thing that must not be; and nothing where all is well."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import openjpeg
import pytest

from chaos.objects import AS_IS, COMPRESSED, SIDE, Object, make
from chaos.oracle import IN_FLIGHT, Arrival, Limits, Seen, Standing, faults
from leyden.dicom.uids import EXPLICIT_LE, JPEG2000_LOSSLESS
from support.roles import Held
from support.wire import el

NAME = 0x00100010


def arrival(wanted: Object, title: str, pixels: bytes) -> Arrival:
    """As a destination keeps it, with these pixels."""
    data = wanted.data
    if len(wanted.destinations) > 1:
        came = el(NAME, "PN", b"QZ000001^CANARY ")
        assert came in data
        data = data.replace(came, el(NAME, "PN", title.encode() + b" " * (len(title) % 2)))
    if title == AS_IS:
        return Arrival(wanted.uid, EXPLICIT_LE, data[: -len(pixels)] + pixels, 0)
    image = np.frombuffer(pixels, "<u2").reshape(SIDE, SIDE)
    codestream = bytes(openjpeg.encode(image, codec_format=0, use_mct=False))
    codestream += b"\0" * (len(codestream) % 2)
    items = b"\xfe\xff\0\xe0\0\0\0\0\xfe\xff\0\xe0" + len(codestream).to_bytes(4, "little") + codestream
    head = data[: -len(el(0x7FE00010, "OW", wanted.pixels))]
    return Arrival(wanted.uid, JPEG2000_LOSSLESS, head + el(0x7FE00010, "OB", length=0xFFFFFFFF) + items, 0)


def well() -> Seen:
    """Three objects, of each kind one, that have arrived."""
    objects = {each.uid: each for each in map(make, range(3))}
    titles = COMPRESSED, AS_IS
    seen = Seen(objects, Counter(list(objects)), set(objects), {t: [] for t in titles}, {t: Counter() for t in titles})
    for each in objects.values():
        for title in each.destinations:
            seen.arrivals[title].append(arrival(each, title, each.pixels))
            seen.receipts[title][each.uid] += 1
    return seen


def other_pixels(seen: Seen, title: str) -> None:
    """One arrives with those of another one."""
    first, second = (seen.objects[each.uid] for each in seen.arrivals[title][:2])
    seen.arrivals[title][0] = arrival(first, title, second.pixels)


def other_mutation(seen: Seen) -> None:
    """One arrives without its mutation."""
    seen.arrivals[AS_IS][-1] = replace(arrival(make(2), AS_IS, make(2).pixels), data=make(2).data)


def one_more_element(seen: Seen) -> None:
    first = seen.arrivals[AS_IS][0]
    seen.arrivals[AS_IS][0] = replace(first, data=el(0x00080005, "CS", b"ISO_IR 100") + first.data)


def not_compressed(seen: Seen) -> None:
    seen.arrivals[COMPRESSED][0] = Arrival(make(0).uid, EXPLICIT_LE, make(0).data, 0)


def stands(seen: Seen, *, reason: str = "why", told: bool = True, stage: str = "failed") -> None:
    """One that has not arrived, as it should have, stands in a stage of ended ones."""
    gone = seen.arrivals[AS_IS].pop(0)
    del seen.receipts[AS_IS][gone.uid]
    seen.standing.append(Standing(gone.uid, stage, AS_IS, reason, told))


def lost_receipt(seen: Seen) -> None:
    seen.receipts[AS_IS].clear()


MAY_FAIL = Limits(ends_in=("failed",))
ONCE_IN_DOUBT = Limits(doubts=1)
WRONG: list[tuple[str, Callable[[Seen], object], Limits]] = [
    ("lost", lambda seen: seen.arrivals[AS_IS].pop(0), Limits()),
    ("lost", lambda seen: seen.arrivals[COMPRESSED].clear(), ONCE_IN_DOUBT),
    ("no receipt", lost_receipt, ONCE_IN_DOUBT),
    ("other elements: 7FE00010", lambda seen: other_pixels(seen, AS_IS), Limits()),
    ("other pixels", lambda seen: other_pixels(seen, COMPRESSED), Limits()),
    ("other elements: 00100010", other_mutation, Limits()),
    ("other elements: 00080005", one_more_element, Limits()),
    ("not compressed", not_compressed, Limits()),
    ("not planned for it", lambda seen: seen.arrivals[AS_IS].append(seen.arrivals[COMPRESSED][0]), Limits()),
    ("never sent", lambda seen: seen.objects.pop(make(1).uid) and seen.promised.clear(), Limits()),
    ("arrived again", lambda seen: seen.arrivals[AS_IS].append(seen.arrivals[AS_IS][0]), Limits()),
    ("arrived again", lambda seen: seen.arrivals[AS_IS].extend(seen.arrivals[AS_IS][:1] * (IN_FLIGHT + 1)),
     ONCE_IN_DOUBT),
    ("receipt was there", lambda seen: seen.twice_proved.append("17"), ONCE_IN_DOUBT),
    ("left behind", lambda seen: seen.left.append("active/sender-0/17.dcm"), ONCE_IN_DOUBT),
    ("ended in failed", stands, Limits()),
    ("without a reason", lambda seen: stands(seen, reason=""), MAY_FAIL),
    ("the journal does not know", lambda seen: stands(seen, told=False), MAY_FAIL),
    ("descriptors", lambda seen: seen.held.update({"sender-0": Held(0.0, 1, 10_000)}), Limits()),
    ("MB", lambda seen: seen.held.update({"worker-1": Held(0.0, 10**9, 1)}), Limits()),
    ("patient data", lambda seen: seen.canary.append("name in leyden.log"), Limits()),
    ("ended by itself", lambda seen: seen.exits.append("worker-0 killed by SIGSEGV"), Limits()),
    ("a fault of ours", lambda seen: seen.ours.append("Traceback"), Limits()),
]  # fmt: skip


def test_nothing_is_wrong_where_all_is_well() -> None:
    assert faults(well(), Limits()) == []


def test_what_stands_with_a_reason_is_not_lost() -> None:
    seen = well()
    stands(seen)
    assert faults(seen, MAY_FAIL) == []


@pytest.mark.parametrize(("what", "spoil", "limits"), WRONG)
def test_each_thing_that_must_not_be_is_seen(what: str, spoil: Callable[[Seen], object], limits: Limits) -> None:
    seen = well()
    spoil(seen)
    found = faults(seen, limits)
    assert any(what in each for each in found), found
