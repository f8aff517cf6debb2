"""Data sets that break the rules in ways that really occur: one image each, and how readers understand it.

All have the same elements and pixels; the name says what is wrong. tests/interop/test_flawed.py asks DCMTK, pydicom and
gdcm what they read.
"""

import struct

import numpy as np
from numpy.typing import NDArray

from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, RLE_LOSSLESS
from support.datasets import ITEM, ITEM_END, SEQUENCE_END, el

UNDEFINED = 0xFFFFFFFF
ROWS, COLUMNS = 16, 20
PIXELS: NDArray[np.uint16] = (np.arange(ROWS * COLUMNS, dtype=np.uint16) * 7 % 4096).reshape(1, ROWS, COLUMNS, 1)
MEANT = ("CT", "1.2.3", "ID42", "2.25.9", ROWS)  # Modality, a referenced instance, Patient ID, study, Rows
UID = b"2.25.77\0"

_REFERENCED = 0x00081140
_NATIVE = PIXELS.astype("<u2").tobytes()
_EXPLICIT_HEADER = struct.Struct("<HH2sH")


def _dataset(implicit: bool = False, frames: int = 1, **parts: bytes) -> bytes:
    """The image, with `parts` instead of its modality, references, patient, icon, pixels or tail."""

    def vr(name: str) -> str:
        return "" if implicit else name

    def us(tag: int, value: int) -> bytes:
        return el(tag, vr("US"), struct.pack("<H", value))

    referenced = el(0x00081155, vr("UI"), b"1.2.3\0")
    return b"".join((
        el(0x00080016, vr("UI"), b"1.2.840.10008.5.1.4.1.1.7\0"),
        el(0x00080018, vr("UI"), UID),
        parts.get("modality", el(0x00080060, vr("CS"), b"CT")),
        parts.get("references", el(_REFERENCED, vr("SQ"), el(ITEM, "", referenced))),
        parts.get("patient", el(0x00100020, vr("LO"), b"ID42")),
        el(0x0020000D, vr("UI"), b"2.25.9"),
        us(0x00280002, 1),
        el(0x00280004, vr("CS"), b"MONOCHROME2 "),
        el(0x00280008, vr("IS"), b"%d " % frames),
        us(0x00280010, ROWS),
        us(0x00280011, COLUMNS),
        *(us(tag, value) for tag, value in ((0x00280100, 16), (0x00280101, 12), (0x00280102, 11), (0x00280103, 0))),
        parts.get("icon", b""),
        parts.get("pixels", el(0x7FE00010, vr("OW"), _NATIVE)),
        parts.get("tail", b""),
    ))  # fmt: skip


def _icon(implicit: bool) -> bytes:
    numbers = ((0x00280010, 8), (0x00280011, 8), (0x00280100, 8), (0x00280101, 8), (0x00280102, 7), (0x00280103, 0))
    shape = b"".join(el(tag, "" if implicit else "US", struct.pack("<H", value)) for tag, value in numbers)
    return shape + el(0x7FE00010, "" if implicit else "OB", bytes(range(64)))


def _icon_sequence(implicit: bool, item: bytes, item_length: int | None = None) -> bytes:
    return el(0x00880200, "" if implicit else "SQ", el(ITEM, "", item, item_length))


def _with_vr(tag: int, vr: bytes, value: bytes) -> bytes:
    """An explicit element of 16-bit length, with any two bytes as its VR."""
    return _EXPLICIT_HEADER.pack(tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def _rle_frame() -> bytes:
    """One frame in RLE: each row of each byte plane is one literal run (PS3.5 Annex G)."""
    high, low = (
        b"".join(bytes([COLUMNS - 1]) + row.tobytes() for row in PIXELS[0, :, :, 0].view(np.uint8)[:, byte::2])
        for byte in (1, 0)
    )
    return struct.pack("<16L", 2, 64, 64 + len(high), *[0] * 13) + high + low


def _rle(frames: int, fragment_bytes: int = 1 << 20, *, table: bool = False) -> bytes:
    frame = _rle_frame()
    pieces = [frame[at : at + fragment_bytes] for at in range(0, len(frame), fragment_bytes)]
    one = b"".join(el(ITEM, "", piece) for piece in pieces)
    offsets = struct.pack(f"<{frames}L", *(len(one) * number for number in range(frames))) if table else b""
    items = el(ITEM, "", offsets) + one * frames
    return el(0x7FE00010, "OB", items, UNDEFINED) + el(SEQUENCE_END, "")


def _of_both_encodings(implicit: bool) -> dict[str, bytes]:
    vr = "" if implicit else "SQ"
    inner = el(0x00081155, "" if implicit else "UI", b"1.2.3\0")
    item, open_item = el(ITEM, "", inner), el(ITEM, "", inner, UNDEFINED)
    item_end, sequence_end = el(ITEM_END, ""), el(SEQUENCE_END, "")
    patient = el(0x00100020, "" if implicit else "LO", b"ID42")
    trailing = el(0xFFFCFFFC, "" if implicit else "OB", b"\1\2\3\4")
    icon = _icon(implicit)

    def references(content: bytes, length: int | None = None, behind: bytes = b"") -> bytes:
        return _dataset(implicit, references=el(_REFERENCED, vr, content, length) + behind)

    return {
        **{f"{count} NULs behind the pixels": _dataset(implicit, tail=bytes(count)) for count in (1, 2, 6, 8, 12, 512)},
        "100 NULs behind trailing padding": _dataset(implicit, tail=trailing + bytes(100)),
        "8 NULs in the middle": _dataset(implicit, patient=bytes(8) + patient),
        "item delimiter at the end": _dataset(implicit, tail=item_end),
        "item delimiter behind a sequence": references(item, behind=item_end),
        "item delimiter in an item of defined length": references(el(ITEM, "", inner + item_end)),
        "item delimiter behind an item of defined length": references(item + item_end),
        "sequence delimiter in a sequence of defined length": references(item + sequence_end),
        "sequence delimiter twice": references(open_item + item_end + sequence_end, UNDEFINED, sequence_end),
        "no item delimiter, sequence of defined length": references(open_item),
        "no item delimiter, sequence of undefined length": references(open_item + sequence_end, UNDEFINED),
        "icon cut short": _dataset(implicit, icon=_icon_sequence(implicit, icon[:-30])),
        "icon cut short in a header": _dataset(implicit, icon=_icon_sequence(implicit, icon[:25])),
        "icon item longer than its sequence": _dataset(implicit, icon=_icon_sequence(implicit, icon, len(icon) + 30)),
    }


def _explicit_only() -> dict[str, bytes]:
    patient, value = 0x00100020, b"ID42"
    explicit, implicit = el(0x00081155, "UI", b"1.2.3\0"), el(0x00081155, "", b"1.2.3\0")
    private = el(patient, "LO", value) + el(0x00110010, "LO", b"LEYDEN") + el(0x00111001, "", b"abcd")

    def items(inner: bytes) -> bytes:
        return el(ITEM, "", inner, UNDEFINED) + el(ITEM_END, "")

    def references(vr: str, inner: bytes) -> bytes:
        return _dataset(references=el(_REFERENCED, vr, items(inner), UNDEFINED) + el(SEQUENCE_END, ""))

    return {
        "VR of NULs": _dataset(patient=_with_vr(patient, b"\0\0", value)),
        "VR of rubbish": _dataset(patient=_with_vr(patient, b"\2\x80", value)),
        "VR cut short": _dataset(patient=_with_vr(patient, b"L\0", value)),
        "VR in small letters": _dataset(patient=_with_vr(patient, b"lo", value)),
        "VR of question marks": _dataset(patient=_with_vr(patient, b"??", value)),
        "VR unknown, 32-bit length": _dataset(patient=_with_vr(patient, b"OX", b"") + struct.pack("<L", 4) + value),
        "VR unknown, 16-bit length": _dataset(patient=_with_vr(patient, b"OX", value)),
        "16-bit length in UN": _dataset(patient=_with_vr(patient, b"UN", value)),
        "32-bit length in LO": _dataset(patient=_with_vr(patient, b"LO", b"") + struct.pack("<L", 4) + value),
        "UN for pixels": _dataset(pixels=el(0x7FE00010, "UN", _NATIVE)),
        "one implicit element": _dataset(patient=el(patient, "", value)),
        "an implicit private element": _dataset(patient=private),
        "implicit pixels": _dataset(pixels=el(0x7FE00010, "", _NATIVE)),
        "an implicit sequence": _dataset(references=el(_REFERENCED, "", el(ITEM, "", implicit))),
        "an implicit sequence of explicit items": _dataset(references=el(_REFERENCED, "", el(ITEM, "", explicit))),
        "implicit items": references("SQ", implicit),
        "explicit items in UN": references("UN", explicit),
        "implicit throughout": _dataset(implicit=True),
    }


def _compressed() -> dict[str, bytes]:
    return {
        "RLE in small fragments, a table": _dataset(frames=3, pixels=_rle(3, 100, table=True)),
        "RLE in small fragments, no table": _dataset(frames=3, pixels=_rle(3, 100)),
        "RLE of one frame in small fragments": _dataset(pixels=_rle(1, 100)),
        "RLE and 2 NULs": _dataset(pixels=_rle(1), tail=bytes(2)),
        "RLE and a cut icon": _dataset(pixels=_rle(1), icon=_icon_sequence(False, _icon(False)[:-30])),
        "RLE and an implicit element": _dataset(pixels=_rle(1), patient=el(0x00100020, "", b"ID42")),
    }


FLAWED: dict[str, tuple[str, bytes]] = {
    **{
        f"explicit: {name}": (EXPLICIT_LE, data)
        for name, data in (_of_both_encodings(False) | _explicit_only()).items()
    },
    **{f"implicit: {name}": (IMPLICIT_LE, data) for name, data in _of_both_encodings(True).items()},
    "implicit: explicit throughout": (IMPLICIT_LE, _dataset()),
    **{name: (RLE_LOSSLESS, data) for name, data in _compressed().items()},
}


def as_file(name: str, number: int = 77) -> bytes:
    """One of them as a Part 10 file; `number`: two digits of its SOP Instance UID."""
    syntax, data = FLAWED[name]
    uid = b"2.25.%02d\0" % number
    return encode_head(FileMeta("1.2.840.10008.5.1.4.1.1.7", uid.decode()[:-1], syntax)) + data.replace(UID, uid)
