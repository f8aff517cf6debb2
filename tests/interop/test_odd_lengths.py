"""Values of odd length, as devices write them: the archive gets them padded, whether it is told to or not."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import SecondaryCaptureImageStorage as CAPTURE

from leyden.dicom.uids import (
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG2000_LOSSLESS,
    RLE_LOSSLESS,
)
from support.datasets import ITEM, PIXELS, SEQUENCE_END, el
from support.objects import decode, make_cts
from support.peers import Pacs, Storescp, run_dcmtk, store
from support.service import Service, node, wait_for

UNDEFINED = 0xFFFFFFFF
NINE = bytes(range(10, 19))
RLE_OF_NINE = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x08" + NINE  # one segment, of one literal run


@dataclass(frozen=True, slots=True)
class Odd:
    """A dataset as its device writes it, and as it is with all its padding."""

    uid: str
    syntax: str
    sent: bytes
    even: bytes


def capture(
    uid: str, syntax: str, *, padded: bool, text: bytes = b"", nested: bytes = b"", pixels: bytes = b""
) -> bytes:
    """A 3 x 3 image of 8 bits; what is empty is left out."""
    order = ">" if syntax == EXPLICIT_BE else "<"

    def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
        value += (b"\0" if vr in ("UI", "OB") else b" ") * (padded and len(value) % 2)
        return el(tag, "" if syntax == IMPLICIT_LE else vr, value, length, order)

    def item(data: bytes) -> bytes:
        return el(ITEM, "", data + b"\0" * (padded and len(data) % 2), None, order)

    def number(tag: int, value: int) -> bytes:
        return element(tag, "US", struct.pack(order + "H", value))

    even_uid = (uid + "\0" * (len(uid) % 2)).encode()
    data = (
        element(0x00080016, "UI", CAPTURE.encode() + b"\0" * (len(CAPTURE) % 2))
        + element(0x00080018, "UI", even_uid)
        + element(0x00080060, "CS", b"OT")
    )
    data += element(0x00080070, "LO", text) if text else b""
    data += element(0x00081140, "SQ", item(element(0x00081155, "UI", nested))) if nested else b""
    data += element(0x0020000D, "UI", b"2.25.30\0") + element(0x0020000E, "UI", b"2.25.31\0")
    data += number(0x00280002, 1) + element(0x00280004, "CS", b"MONOCHROME2 ") + number(0x00280010, 3)
    data += number(0x00280011, 3) + number(0x00280100, 8) + number(0x00280101, 8) + number(0x00280102, 7)
    data += number(0x00280103, 0)
    if syntax == RLE_LOSSLESS:
        fragments = item(b"") + item(pixels) + el(SEQUENCE_END, "")
        return data + el(PIXELS, "OB", fragments, UNDEFINED)
    return data + element(PIXELS, "OB", pixels)


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


def odd_deflated(uid: str) -> Odd:
    """A whole one whose stream is of odd length."""
    datasets = (capture(uid, EXPLICIT_LE, padded=True, pixels=bytes([n] * 9)) for n in range(256))
    stream = next(stream for data in datasets if len(stream := deflated(data)) % 2)
    return Odd(uid, DEFLATED_LE, stream, stream + b"\0")


def odd_objects() -> dict[str, Odd]:
    kinds: dict[str, tuple[str, dict[str, bytes]]] = {
        "pixels": (EXPLICIT_LE, {"pixels": NINE}),
        "pixels, implicit": (IMPLICIT_LE, {"pixels": NINE}),
        "pixels, big endian": (EXPLICIT_BE, {"pixels": NINE}),
        "fragment": (RLE_LOSSLESS, {"pixels": RLE_OF_NINE + b"\x80\x80"[: len(RLE_OF_NINE) % 2 + 1]}),
        "text": (EXPLICIT_LE, {"text": b"ACM", "pixels": NINE + b"\0"}),
        "text, implicit": (IMPLICIT_LE, {"text": b"ACM", "pixels": NINE + b"\0"}),
        "UID in an item": (EXPLICIT_LE, {"nested": b"2.25.91", "pixels": NINE + b"\0"}),
        "UID in an item, implicit": (IMPLICIT_LE, {"nested": b"2.25.91", "pixels": NINE + b"\0"}),
        "three of them": (EXPLICIT_LE, {"text": b"ACM", "nested": b"2.25.91", "pixels": NINE}),
        "two of them": (EXPLICIT_LE, {"text": b"ACM", "pixels": NINE}),
    }
    found = {}
    for place, (name, (syntax, values)) in enumerate(kinds.items(), 1):
        uid = f"2.25.4{place:03}"
        odd, even = (capture(uid, syntax, padded=padded, **values) for padded in (False, True))
        assert odd != even
        found[name] = Odd(uid, syntax, odd, even)
    return found | {"deflated": odd_deflated("2.25.4999")}


def send(leyden: Service, odd: Odd, called: str = "IMAGEPACS") -> None:
    status = store(
        leyden.port, odd.sent, called=called, calling="SC01", syntax=odd.syntax,
        context=CAPTURE, sop_class=CAPTURE, sop_instance=odd.uid,
    )  # fmt: skip
    assert status == 0x0000


def test_an_archive_that_aborts_on_an_odd_end_gets_it_all(
    service: Callable[..., Service], storescp: Callable[..., Storescp], tmp_path: Path
) -> None:
    """Odd values are "padded in what is sent (PS3.5 section 7.1.1), which the log says once" (README.md)."""
    archive = storescp("+xa", parses=True)
    leyden = service(node("IMAGEPACS", archive.port, RetryDelays="[1, 1, 2]")).start()
    objects = odd_objects()
    for odd in objects.values():
        send(leyden, odd)
    (ct,) = make_cts(tmp_path / "cts", 1, rows=64, columns=64)
    done = run_dcmtk("dcmsend", "-dn", "-aec", "IMAGEPACS", "127.0.0.1", str(leyden.port), str(ct))
    assert done.returncode == 0, done.stderr
    leyden.wait_empty()
    found = {str(read.SOPInstanceUID): read for read in map(pydicom.dcmread, archive.folder.iterdir())}
    assert found.keys() == {odd.uid for odd in objects.values()} | {"2.25.1001.1"}
    for name, odd in objects.items():
        assert np.array_equal(found[odd.uid].pixel_array, decode(odd.syntax, odd.even).pixel_array), name
    assert leyden.log.count("values of odd length") <= 2  # once a worker
    assert "will be tried again" not in leyden.log


@pytest.mark.parametrize("wanted", ["", "JPEG2000Lossless"])
def test_odd_values_are_padded_and_all_else_stays(
    service: Callable[..., Service], pacs: Callable[..., Pacs], wanted: str
) -> None:
    """What came "leaves byte for byte as it came, but for the padding of values of odd length" (ARCHITECTURE.md)."""
    archive = pacs("IMAGEPACS")
    keys: dict[str, Any] = {"TransferSyntax": wanted} if wanted else {}
    leyden = service(node("IMAGEPACS", archive.port, **keys)).start()
    objects = odd_objects()
    for odd in objects.values():
        send(leyden, odd)
    by_uid = {arrival.sop_instance_uid: arrival for arrival in archive.wait(len(objects), 60)}
    assert by_uid.keys() == {odd.uid for odd in objects.values()}
    for name, odd in objects.items():
        arrival = by_uid[odd.uid]
        if not wanted:
            assert (arrival.syntax, arrival.data) == (odd.syntax, odd.even), name
            continue
        assert arrival.syntax == JPEG2000_LOSSLESS
        assert len(arrival.data) % 2 == 0
        before, after = decode(odd.syntax, odd.even), decode(arrival.syntax, arrival.data)
        assert np.array_equal(after.pixel_array, before.pixel_array), name
        assert after.get("Manufacturer") == before.get("Manufacturer"), name
        assert after.get("ReferencedImageSequence") == before.get("ReferencedImageSequence")
    leyden.wait_empty()


def in_fragments(uid: str, frames: int, *fragments: bytes, table: bytes = b"") -> bytes:
    """An image of 3 x 3 pixels a frame in RLE, in these fragments."""
    data = capture(uid, RLE_LOSSLESS, padded=True)
    data = data[: data.index(el(PIXELS, "OB", b"", UNDEFINED)[:4])]
    if frames > 1:  # in its place, before Rows
        at = data.index(el(0x00280010, "US", b"\3\0"))
        data = data[:at] + el(0x00280008, "IS", f"{frames} ".encode()) + data[at:]
    items = b"".join(el(ITEM, "", fragment) for fragment in (table, *fragments))
    return data + el(PIXELS, "OB", items + el(SEQUENCE_END, ""), UNDEFINED)


def test_odd_fragments_within_a_frame_leave_its_codestream_whole(
    service: Callable[..., Service], pacs: Callable[..., Pacs], storescp: Callable[..., Storescp]
) -> None:
    """An odd fragment takes the first byte of the next one, and only the last is padded (DECISIONS.md 64)."""
    first, second = RLE_OF_NINE + b"\x80", RLE_OF_NINE.replace(NINE, bytes(range(30, 39))) + b"\x80"
    cut = first[:21], first[21:64], first[64:], second[:65], second[65:]
    divided = struct.pack("<2L", 0, 3 * 8 + len(first))
    objects = {
        "2.25.6001": (in_fragments("2.25.6001", 1, first[:33], first[33:]), 1),
        "2.25.6002": (in_fragments("2.25.6002", 1, first[:21], first[21:64], first[64:]), 1),
        "2.25.6003": (in_fragments("2.25.6003", 2, *cut[:4], cut[4] + b"\0", table=divided), 2),
        "2.25.6004": (in_fragments("2.25.6004", 2, *cut[:4], cut[4] + b"\0"), 2),  # nothing divides them
    }
    archive, aborting = pacs("IMAGEPACS"), storescp("+xa", parses=True)
    leyden = service(node("IMAGEPACS", archive.port) + node("OTHER", aborting.port, RetryDelays="[1, 1, 2]")).start()
    for uid, (data, _) in objects.items():
        assert len(data) % 2 == 1
        send(leyden, Odd(uid, RLE_LOSSLESS, data, b""))
        if uid != "2.25.6004":
            send(leyden, Odd(uid, RLE_LOSSLESS, data, b""), called="OTHER")
    by_uid = {arrival.sop_instance_uid: arrival for arrival in archive.wait(len(objects), 60)}
    leyden.wait_empty()
    assert by_uid.pop("2.25.6004").data == objects.pop("2.25.6004")[0]
    wait_for(lambda: "can't be divided into frames for sure" in leyden.log, why="the reason in the log")
    stored = {str(read.SOPInstanceUID): read for read in map(pydicom.dcmread, aborting.folder.iterdir())}
    assert stored.keys() == by_uid.keys() == objects.keys()
    frames = np.concatenate([np.arange(10, 19), np.arange(30, 39)]).reshape(2, 3, 3)
    for uid, (_, number) in objects.items():
        assert len(by_uid[uid].data) % 2 == 0
        for read in (decode(RLE_LOSSLESS, by_uid[uid].data), stored[uid]):
            assert np.array_equal(read.pixel_array, frames if number == 2 else frames[0]), uid


@pytest.mark.parametrize("nuls", [1, 3])
def test_nuls_behind_the_last_element_make_nothing_odd(
    service: Callable[..., Service], pacs: Callable[..., Pacs], storescp: Callable[..., Storescp], nuls: int
) -> None:
    """An odd NUL behind the last element is left out (DECISIONS.md 64)."""
    archive, aborting = pacs("IMAGEPACS"), storescp("+xa", parses=True)
    leyden = service(node("IMAGEPACS", archive.port) + node("OTHER", aborting.port, RetryDelays="[1, 1, 2]")).start()
    even = capture("2.25.7001", EXPLICIT_LE, padded=True, pixels=NINE)
    trailed = Odd("2.25.7001", EXPLICIT_LE, even + bytes(nuls), even + bytes(nuls - 1))
    send(leyden, trailed)
    send(leyden, trailed, called="OTHER")
    assert archive.wait(1)[0].data == trailed.even
    leyden.wait_empty()
    assert len(list(aborting.folder.iterdir())) == 1
    assert "will be tried again" not in leyden.log


def test_what_does_not_parse_goes_on_byte_for_byte(service: Callable[..., Service], pacs: Callable[..., Pacs]) -> None:
    """What cannot be parsed goes on byte for byte (README.md)."""
    archive = pacs("IMAGEPACS")
    leyden = service(node("IMAGEPACS", archive.port)).start()
    first, second = (
        capture(uid, EXPLICIT_LE, padded=True, text=b"ACME", pixels=NINE + b"\0") for uid in ("2.25.5001", "2.25.5002")
    )
    cut = Odd("2.25.5001", EXPLICIT_LE, first[:-3], first[:-3])
    nested = el(0xFFFA0010, "SQ", el(ITEM, "", b"\x08\0\x55\x11UI\x09\x00"))
    broken = Odd("2.25.5002", EXPLICIT_LE, second + el(0xFFFA0001, "OB", b"x") + nested, b"")
    for odd in (cut, broken):
        send(leyden, odd)
    by_uid = {arrival.sop_instance_uid: arrival for arrival in archive.wait(2)}
    assert by_uid[cut.uid].data == cut.sent
    assert by_uid[broken.uid].data == broken.sent
    wait_for(lambda: "its values of odd length can't be parsed" in leyden.log, why="the reason in the log")
