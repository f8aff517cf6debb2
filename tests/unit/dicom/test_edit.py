"""The rewrite of datasets: every file of the pydicom wheel to both little endian encodings, read back by pydicom."""

import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset as Peer

from leyden.dicom import edit
from leyden.dicom.edit import Copy, Piece, Pixels, element, element_header, rewrite, swapped
from leyden.dicom.elements import EXPLICIT, SEQUENCE_END, UNDEFINED, WORD_BYTES, Source, behind, encoding_of, level
from leyden.dicom.header import peek
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, JPEG2000_LOSSLESS, SYNTAXES, Syntax
from leyden.errors import Corrupt

FOLDER = Path(pydicom.data.__file__).parent
LEFT_OUT = {
    "meta_missing_tsyntax.dcm": "names no transfer syntax",
    "SC_rgb_jpeg.dcm": "implicit VR in an explicit syntax",
    "MR_truncated.dcm": "cut off, see below",
    "rtplan_truncated.dcm": "cut off, see below",
    "DICOMDIR-nooffset": "an item is longer than its sequence, see below",
}
FILES = sorted(
    path
    for path in FOLDER.rglob("*")
    if path.is_file() and path.read_bytes()[128:132] == b"DICM" and path.name not in LEFT_OUT
)


def dataset_of(path: Path) -> tuple[bytes, Syntax]:
    """The bytes of a file's dataset, inflated, and its syntax."""
    data = path.read_bytes()
    header = peek(lambda offset, length: data[offset : offset + length], len(data))
    dataset = data[header.offset :]
    return zlib.decompress(dataset, -15) if header.syntax.deflated else dataset, header.syntax


def pieces(data: bytes, syntax: Syntax, explicit: bool, replace: Mapping[int, tuple[str, bytes] | None]) -> list[Piece]:
    return list(rewrite(lambda offset, length: data[offset : offset + length], 0, len(data), syntax, explicit, replace))


def made(
    data: bytes, syntax: Syntax, explicit: bool, replace: Mapping[int, tuple[str, bytes] | None] | None = None
) -> bytes:
    """The rewritten dataset, its pixels put back as they were (in little endian)."""
    done = b""
    for piece in pieces(data, syntax, explicit, replace or {}):
        if isinstance(piece, bytes):
            done += piece
        elif isinstance(piece, Copy):
            done += swapped(data[piece.offset : piece.offset + piece.length], piece.swap)
        elif piece.length is None:
            source = Source(lambda offset, length: data[offset : offset + length], len(data))
            end = behind(source, piece.tag, piece.vr, piece.offset, len(data), EXPLICIT)
            done += element_header(piece.tag, piece.vr, UNDEFINED, explicit) + data[piece.offset : end]
        else:
            value = data[piece.offset : piece.offset + piece.length]
            value = swapped(value, WORD_BYTES.get(piece.vr, 1)) if syntax.big_endian else value
            done += element_header(piece.tag, piece.vr, piece.length, explicit) + value
    return done


def as_file(dataset: bytes, syntax: str) -> BytesIO:
    return BytesIO(encode_head(FileMeta("1.2", "1.3", syntax)) + dataset)


def leaves(ds: Peer, with_group_lengths: bool, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], object]]:
    """Every element of a dataset with the raw bytes of its value, sequences item by item."""
    for tag in ds.keys():  # noqa: SIM118
        tag = int(tag)
        if not with_group_lengths and tag & 0xFFFF == 0:
            continue
        raw = ds.get_item(tag)
        if raw.VR == "SQ" or (raw.VR is None and ds[tag].VR == "SQ"):
            items = ds[tag].value
            yield (*path, tag), len(items)
            for number, item in enumerate(items):
                yield from leaves(item, with_group_lengths, (*path, tag, number))
        else:
            # Pixel Representation is the one value that pydicom may have converted already.
            value = struct.pack("<H", raw.value) if isinstance(raw.value, int) else raw.value
            yield (*path, tag), value or b""


@pytest.mark.parametrize(
    ("path", "explicit"),
    # Encapsulated pixel data are explicit: nothing to convert as a whole.
    [
        (path, explicit)
        for path in FILES
        for explicit in (True, False)
        if explicit or not dataset_of(path)[1].encapsulated
    ],
    ids=lambda value: str(value.relative_to(FOLDER)) if isinstance(value, Path) else f"explicit={value}",
)
def test_values_stay_byte_for_byte(path: Path, explicit: bool) -> None:
    data, syntax = dataset_of(path)
    done = made(data, syntax, explicit)
    if syntax.explicit == explicit and not syntax.big_endian:
        assert done == without_group_length(data, syntax)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        target = syntax.uid if syntax.encapsulated else EXPLICIT_LE if explicit else IMPLICIT_LE
        after = pydicom.dcmread(as_file(done, target))
        before = pydicom.dcmread(path)
        same = explicit == syntax.explicit
        if not syntax.big_endian:
            group_7fe0 = {(0x7FE00000,)}
            expected = {key: value for key, value in leaves(before, same) if key not in group_7fe0}
            assert dict(leaves(after, same)) == expected
            return
        strip_group_lengths(before)
        strip_group_lengths(after)
        assert [e.tag for e in before.iterall()] == [e.tag for e in after.iterall()]
        for old, new in zip(before.iterall(), after.iterall(), strict=True):
            if old.VR in ("OW", "OB", "UN"):
                words = swapped(old.value, WORD_BYTES.get(old.VR, 1)) if old.value else old.value
                assert words == new.value, old
            elif old.VR != "SQ":
                assert old.value == new.value, old


def strip_group_lengths(ds: Peer) -> None:
    for item in ds:
        if item.VR == "SQ":
            for inner in item.value:
                strip_group_lengths(inner)
    for tag in [tag for tag in ds.keys() if tag.element == 0]:  # noqa: SIM118
        del ds[tag]


def without_group_length(data: bytes, syntax: Syntax) -> bytes:
    """The dataset as it is, less (7FE0,0000), which goes where pixel data may change."""
    source = Source(lambda offset, length: data[offset : offset + length], len(data))
    found = [item for item in level(source, 0, len(data), encoding_of(syntax)) if item[0] == 0x7FE00000]
    return data[: found[0][2]] + data[found[0][5] :] if found else data


@pytest.mark.parametrize("name", ["MR_small.dcm", "rtdose.dcm", "test-SR.dcm", "waveform_ecg.dcm", "reportsi.dcm"])
def test_there_and_back(name: str) -> None:
    """The first way round may drop group lengths and open sequences, the second one changes nothing any more."""
    data, syntax = dataset_of(Path(str(get_testdata_file(name))))
    explicit = made(data, syntax, True)
    implicit = made(explicit, SYNTAXES[EXPLICIT_LE], False)
    explicit = made(implicit, SYNTAXES[IMPLICIT_LE], True)
    assert made(explicit, SYNTAXES[EXPLICIT_LE], False) == implicit
    assert made(implicit, SYNTAXES[IMPLICIT_LE], False) == implicit


def test_big_endian_becomes_what_little_endian_was() -> None:
    """pydicom has the same image in both orders: only lengths of groups and the pixels' VR may differ."""
    big, syntax = dataset_of(Path(str(get_testdata_file("MR_small_bigendian.dcm"))))
    little, _ = dataset_of(Path(str(get_testdata_file("MR_small.dcm"))))
    assert made(big, syntax, True)[:1000] == little[:1000]
    one = dict(leaves(pydicom.dcmread(as_file(made(big, syntax, True), EXPLICIT_LE)), False))
    two = dict(leaves(pydicom.dcmread(as_file(little, EXPLICIT_LE)), False))
    assert {key: value for key, value in one.items() if two.get(key) != value} == {}


@pytest.mark.parametrize(
    ("name", "reason"),
    [("MR_truncated.dcm", "pixel data are cut off"), ("rtplan_truncated.dcm", r"\(300A,00B0\) runs past the end")],
)
@pytest.mark.parametrize("explicit", [True, False])
def test_what_is_cut_off_is_corrupt_before_the_first_piece(name: str, reason: str, explicit: bool) -> None:
    data, syntax = dataset_of(Path(str(get_testdata_file(name))))
    with pytest.raises(Corrupt, match=reason):
        next(rewrite(lambda offset, length: data[offset : offset + length], 0, len(data), syntax, explicit, {}))


def test_lengths_that_lie_are_corrupt_only_where_they_are_read() -> None:
    data, syntax = dataset_of(FOLDER / "test_files" / "dicomdirtests" / "DICOMDIR-nooffset")
    assert made(data, syntax, True) == data
    with pytest.raises(Corrupt, match="runs past the end"):
        made(data, syntax, False)


# Datasets written by hand


def el(tag: int, vr: str, value: bytes = b"", length: int | None = None, order: str = "<") -> bytes:
    size = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if not vr:
        return head + struct.pack(order + "L", size) + value
    if vr in ("OB", "OW", "OF", "OL", "OD", "SQ", "UN", "UT", "UC", "UR", "SV", "UV"):
        return head + vr.encode() + struct.pack(order + "HL", 0, size) + value
    return head + vr.encode() + struct.pack(order + "H", size) + value


LITTLE, IMPLICIT, BIG = SYNTAXES[EXPLICIT_LE], SYNTAXES[IMPLICIT_LE], SYNTAXES[EXPLICIT_BE]
PIXELS = 0x7FE00010
ITEM, ITEM_END = 0xFFFEE000, 0xFFFEE00D


def test_no_elements() -> None:
    for syntax in (LITTLE, IMPLICIT, BIG):
        for explicit in (True, False):
            assert pieces(b"", syntax, explicit, {}) == []
    assert pieces(b"", BIG, True, {0x00080060: ("CS", b"CT")}) == [el(0x00080060, "CS", b"CT")]


def test_what_stays_is_one_copy() -> None:
    data = el(0x00081030, "LO", b"x" * 60) * 200
    tail = el(0xFFFCFFFC, "OB", bytes(2000))
    assert pieces(data + tail, LITTLE, True, {}) == [Copy(0, len(data) + len(tail))]
    image = data + el(PIXELS, "OW", bytes(100)) + tail
    start = len(data) + 12
    assert pieces(image, LITTLE, True, {}) == [
        Copy(0, len(data)),
        Pixels(PIXELS, "OW", start, 100),
        Copy(start + 100, len(tail)),
    ]


def test_encapsulated_pixels_and_what_stands_behind() -> None:
    fragments = el(ITEM, "") + el(ITEM, "", b"\xff\x4f\xff\x51") + el(SEQUENCE_END, "")
    before, behind_it = el(0x00280010, "US", b"\2\0"), el(0xFFFCFFFC, "OB", bytes(6))
    data = before + el(PIXELS, "OB", fragments, UNDEFINED) + behind_it
    expected = [before, Pixels(PIXELS, "OB", len(before) + 12, None), behind_it]
    assert pieces(data, SYNTAXES[JPEG2000_LOSSLESS], True, {}) == expected
    as_implicit = pieces(data, SYNTAXES[JPEG2000_LOSSLESS], False, {})
    assert as_implicit == [
        el(0x00280010, "", b"\2\0"),
        Pixels(PIXELS, "OB", len(before) + 12, None),
        el(0xFFFCFFFC, "", bytes(6)),
    ]


@pytest.mark.parametrize("explicit", [True, False])
def test_pixel_data_stand_once(explicit: bool) -> None:
    data = el(PIXELS, "OW", b"1234")
    with pytest.raises(Corrupt, match="stands twice"):
        pieces(data + data, LITTLE, explicit, {})
    with pytest.raises(Corrupt, match="runs past the end"):
        pieces(data + data[:-1], LITTLE, explicit, {})


def test_cut_off_fragments_are_corrupt_behind_the_pixels() -> None:
    data = el(PIXELS, "OB", el(ITEM, "") + el(ITEM, "", b"", 1000), UNDEFINED)
    stream = rewrite(
        lambda offset, length: data[offset : offset + length], 0, len(data), SYNTAXES[JPEG2000_LOSSLESS], True, {}
    )
    assert next(stream) == Pixels(PIXELS, "OB", 12, None)
    with pytest.raises(Corrupt):
        next(stream)


@pytest.mark.parametrize("syntax", [LITTLE, IMPLICIT, BIG], ids=["explicit", "implicit", "big endian"])
@pytest.mark.parametrize("explicit", [True, False])
def test_replace(syntax: Syntax, explicit: bool) -> None:
    order = ">" if syntax.big_endian else "<"

    def old(tag: int, vr: str, value: bytes = b"") -> bytes:
        return el(tag, vr if syntax.explicit else "", value, order=order)

    def new(tag: int, vr: str, value: bytes = b"") -> bytes:
        return el(tag, vr if explicit else "", value)

    sequence = old(0x00081140, "SQ", el(ITEM, "", old(0x00081155, "UI", b"1.2\0"), order=order))
    data = (
        old(0x00080018, "UI", b"1.2\0") + old(0x00080060, "CS", b"CT") + sequence
        + old(0x00280004, "CS", b"RGB ") + old(0x00280006, "US", b"\0\0") + old(PIXELS, "OW", b"1234")
        + old(0xFFFCFFFC, "OB", b"\0\0")
    )  # fmt: skip
    replace = {
        0x00280004: ("CS", b"YBR_RCT"),
        0x00080005: ("CS", b"ISO_IR 192"),
        0x00281051: ("DS", b"1"),
        0x00081140: None,
        0x00280006: None,
        0x00990001: None,
        0xFFFCFFFD: ("OB", b"x"),
    }
    start = data.index(b"1234")
    assert pieces(data, syntax, explicit, replace) == [
        new(0x00080005, "CS", b"ISO_IR 192") + new(0x00080018, "UI", b"1.2\0") + new(0x00080060, "CS", b"CT")
        + new(0x00280004, "CS", b"YBR_RCT ") + new(0x00281051, "DS", b"1 "),
        Pixels(PIXELS, "OW", start, 4),
        new(0xFFFCFFFC, "OB", b"\0\0") + new(0xFFFCFFFD, "OB", b"x\0"),
    ]  # fmt: skip
    without = pieces(data, syntax, explicit, {PIXELS: None, 0x00081140: ("SQ", b"")})
    assert len(without) == 1
    assert b"1234" not in without[0]
    assert new(0x00081140, "SQ") in without[0]


def test_replace_in_unsorted_and_doubled_elements() -> None:
    data = el(0x00100010, "PN", b"A ") + el(0x00080060, "CS", b"CT") + el(0x00100010, "PN", b"B ")
    done = made(data, LITTLE, True, {0x00100010: ("PN", b"C"), 0x00080060: ("CS", b"MR")})
    assert done == el(0x00080060, "CS", b"MR") + el(0x00100010, "PN", b"C ")


@pytest.mark.parametrize("syntax", [LITTLE, BIG], ids=["explicit", "big endian"])
def test_group_lengths_that_stay_true_stay(syntax: Syntax) -> None:
    order = ">" if syntax.big_endian else "<"
    eight = el(0x00080000, "UL", struct.pack(order + "L", 10), order=order) + el(0x00080060, "CS", b"CT", order=order)
    ten = el(0x00100000, "UL", struct.pack(order + "L", 10), order=order) + el(0x00100020, "LO", b"1 ", order=order)
    pixel = el(0x7FE00000, "UL", bytes(4), order=order) + el(PIXELS, "OW", b"12", order=order)
    little = el(0x00080000, "UL", struct.pack("<L", 10)) + el(0x00080060, "CS", b"CT")
    assert made(eight + ten + pixel, syntax, True, {0x00100020: ("LO", b"12345")}) == (
        little + el(0x00100020, "LO", b"12345 ") + el(PIXELS, "OW", b"12" if order == "<" else b"21")
    )
    float_pixel = el(0x7FE00000, "UL", bytes(4), order=order) + el(0x7FE00008, "OF", bytes(4), order=order)
    assert made(float_pixel, syntax, True) == el(0x7FE00000, "UL", bytes(4)) + el(0x7FE00008, "OF", bytes(4))
    assert made(eight + ten, syntax, False) == el(0x00080060, "", b"CT") + el(0x00100020, "", b"1 ")


def test_big_endian_words() -> None:
    values = {
        "US": (b"\1\2\3\4", b"\2\1\4\3"), "AT": (b"\1\2\3\4", b"\2\1\4\3"), "OW": (b"\1\2\3\4", b"\2\1\4\3"),
        "UL": (b"\1\2\3\4", b"\4\3\2\1"), "FL": (b"\1\2\3\4", b"\4\3\2\1"), "OL": (b"\1\2\3\4", b"\4\3\2\1"),
        "FD": (b"12345678", b"87654321"), "OD": (b"12345678", b"87654321"), "SV": (b"12345678", b"87654321"),
        "OB": (b"1234", b"1234"), "UN": (b"1234", b"1234"), "LO": (b"1234", b"1234"),
    }  # fmt: skip
    for vr, (big, little) in values.items():
        assert made(el(0x00091001, vr, big, order=">"), BIG, True) == el(0x00091001, vr, little)
        assert made(el(0x00091001, vr, big, order=">"), BIG, False) == el(0x00091001, "", little)
    large = el(0x00091001, "OW", b"\1\2" * 1000, order=">")
    assert pieces(large, BIG, True, {}) == [el(0x00091001, "OW", b"", 2000), Copy(12, 2000, 2)]


def test_big_endian_lengths_stay() -> None:
    content = el(0x00280010, "US", b"\1\2", order=">")
    item = el(ITEM, "", content, order=">") + el(ITEM, "", order=">")
    open_item = el(ITEM, "", content, UNDEFINED, ">") + el(ITEM_END, "", order=">")
    data = el(0x00081140, "SQ", item, order=">") + el(0x00081199, "SQ", open_item + el(SEQUENCE_END, "", order=">"),
                                                      UNDEFINED, ">")  # fmt: skip
    little = el(0x00280010, "US", b"\2\1")
    assert made(data, BIG, True) == (
        el(0x00081140, "SQ", el(ITEM, "", little) + el(ITEM, ""))
        + el(0x00081199, "SQ", el(ITEM, "", little, UNDEFINED) + el(ITEM_END, "") + el(SEQUENCE_END, ""), UNDEFINED)
    )


def test_encapsulated_in_big_endian_is_corrupt() -> None:
    icon = el(PIXELS, "OB", el(ITEM, "", order=">") + el(SEQUENCE_END, "", order=">"), UNDEFINED, ">")
    with pytest.raises(Corrupt, match="encapsulated in big endian"):
        made(el(0x00880200, "SQ", el(ITEM, "", icon, order=">"), order=">"), BIG, True)


@pytest.mark.parametrize("defined", [True, False])
def test_sequences_get_undefined_lengths_where_sizes_change(defined: bool) -> None:
    def nest(vr: str, content: bytes, defined: bool) -> bytes:
        if defined:
            return el(0x00081140, vr, el(ITEM, "", content))
        item = el(ITEM, "", content, UNDEFINED) + el(ITEM_END, "")
        return el(0x00081140, vr, item, UNDEFINED) + el(SEQUENCE_END, "")

    data = nest("", nest("", el(0x00081155, "", b"1.2\0"), defined), defined) + el(0x00081199, "")
    explicit = nest("SQ", nest("SQ", el(0x00081155, "UI", b"1.2\0"), False), False) + el(0x00081199, "SQ")
    assert made(data, IMPLICIT, True) == explicit


def test_private_and_unknown_elements() -> None:
    implicit = (
        el(0x00090010, "", b"ME") + el(0x00091001, "", b"abc ") + el(0x00091002, "", b"x" * 70_000)
        + el(0x00080099, "", b"?1")
        + el(0x00091003, "", el(ITEM, "", el(0x00091004, "", b"in")), UNDEFINED) + el(SEQUENCE_END, "")
    )  # fmt: skip
    item = el(ITEM, "", el(0x00091004, "UN", b"in"), UNDEFINED) + el(ITEM_END, "")
    explicit = (
        el(0x00090010, "LO", b"ME") + el(0x00091001, "UN", b"abc ") + el(0x00091002, "UN", b"x" * 70_000)
        + el(0x00080099, "UN", b"?1") + el(0x00091003, "SQ", item, UNDEFINED) + el(SEQUENCE_END, "")
    )  # fmt: skip
    assert made(implicit, IMPLICIT, True) == explicit
    assert made(explicit, LITTLE, False) == (
        implicit[: -len(el(0x00091004, "", b"in")) - 24]
        + el(0x00091003, "", el(ITEM, "", el(0x00091004, "", b"in"), UNDEFINED) + el(ITEM_END, ""), UNDEFINED)
        + el(SEQUENCE_END, "")
    )


def test_un_of_undefined_length_is_kept_as_a_whole() -> None:
    item = el(ITEM, "", el(0x00080060, "", b"CT") + el(0x00081140, "", el(ITEM, "")), UNDEFINED) + el(ITEM_END, "")
    content = item + el(SEQUENCE_END, "")
    behind_it = el(0x00100020, "LO", b"1 ")
    explicit = el(0x00091001, "UN", content, UNDEFINED) + behind_it
    implicit = el(0x00091001, "", content, UNDEFINED) + el(0x00100020, "", b"1 ")
    big = el(0x00091001, "UN", content, UNDEFINED, ">") + el(0x00100020, "LO", b"1 ", order=">")
    assert len(content) < len(explicit)
    assert made(explicit, LITTLE, False) == implicit
    assert made(big, BIG, True) == explicit.replace(struct.pack("<L", len(explicit)), b"")
    assert made(big, BIG, False) == implicit


def test_a_value_too_long_for_its_vr_becomes_un() -> None:
    value = b"1\\" * 40_000
    assert made(el(0x30060050, "", value), IMPLICIT, True) == el(0x30060050, "UN", value)
    assert made(el(0x30060050, "", value[:65534]), IMPLICIT, True) == el(0x30060050, "DS", value[:65534])
    assert made(el(0x00081190, "", value), IMPLICIT, True) == el(0x00081190, "UR", value)


def vrs(data: bytes) -> dict[int, str]:
    """The VR of each element, at any depth, after the way from implicit to explicit."""
    found = pydicom.dcmread(as_file(made(data, IMPLICIT, True), EXPLICIT_LE))
    return {int(item.tag): str(item.VR) for item in found.iterall()}


@pytest.mark.parametrize(("representation", "vr"), [(b"\0\0", "US"), (b"\1\0", "SS"), (None, "US")])
def test_ambiguous_by_pixel_representation(representation: bytes | None, vr: str) -> None:
    lut = el(0x00283002, "", b"\0\1\0\0\x10\0") + el(0x00283006, "", b"12" * 256)
    data = (
        el(0x00189810, "", b"\0\0") + el(0x00221436, "", el(ITEM, "", el(0x00221452, "", b"\0\0")))
        + (el(0x00280103, "", representation) if representation else b"")
        + el(0x00280106, "", b"\0\0") + el(0x00280120, "", b"\0\0") + el(0x00281101, "", bytes(6))
        + el(0x00283000, "", el(ITEM, "", lut)) + el(0x00409096, "", el(ITEM, "", el(0x00409216, "", b"\0\0")))
    )  # fmt: skip
    found = vrs(data)
    for tag in (0x00189810, 0x00221452, 0x00280106, 0x00280120, 0x00281101, 0x00283002, 0x00409216):
        assert found[tag] == vr, hex(tag)
    assert found[0x00283006] == "OW"


def test_ambiguous_inside_an_item_that_says_otherwise() -> None:
    inner = el(0x00280103, "", b"\1\0") + el(0x00280106, "", b"\0\0")
    for item in (el(ITEM, "", inner), el(ITEM, "", inner, UNDEFINED) + el(ITEM_END, "")):
        data = el(0x00280103, "", b"\0\0") + el(0x52009230, "", item)
        assert vrs(data)[0x00280106] == "SS"


def test_ambiguous_of_one_lut_entry() -> None:
    data = el(0x00283002, "", b"\1\0\0\0\x10\0") + el(0x00283006, "", b"12")
    assert vrs(data)[0x00283006] == "US"


@pytest.mark.parametrize(("bits", "vr"), [(1, "OB"), (8, "OB"), (16, "OW"), (32, "OW"), (None, "OW")])
def test_pixel_data_by_bits_allocated(bits: int | None, vr: str) -> None:
    allocated = el(0x00280100, "", struct.pack("<H", bits)) if bits else b""
    icon = el(0x00880200, "", el(ITEM, "", el(0x00280100, "", b"\x08\0") + el(PIXELS, "", b"12")))
    made_of = pieces(allocated + icon + el(PIXELS, "", b"1234"), IMPLICIT, True, {})
    pixels = made_of[-1]
    assert isinstance(pixels, Pixels)
    assert pixels.vr == vr
    assert isinstance(made_of[0], bytes)
    assert el(PIXELS, "OB", b"12") in made_of[0]


def test_overlays_and_curves_are_ow() -> None:
    data = el(0x50003000, "", b"1234") + el(0x60003000, "", b"1234") + el(0x60023000, "", b"1234")
    assert set(vrs(data).values()) == {"OW"}


@pytest.mark.parametrize(("bits", "vr"), [(8, "OB"), (16, "OW"), (32, "OW"), (64, "OW")])
def test_waveforms_by_waveform_bits_allocated(bits: int, vr: str) -> None:
    """The channels' minimum stands before the bits that decide about it (PS3.5 section 8.3)."""
    channel = el(0x003A0200, "", el(ITEM, "", el(0x54000110, "", b"\0\0")))
    waveform = (
        channel + el(0x54001004, "", struct.pack("<H", bits)) + el(0x5400100A, "", b"12") + el(0x54001010, "", b"12")
    )
    undefined = el(ITEM, "", waveform, UNDEFINED) + el(ITEM_END, "")
    for item in (el(ITEM, "", waveform), undefined):
        found = vrs(el(0x54000100, "", item))
        assert {found[tag] for tag in (0x54000110, 0x5400100A, 0x54001010)} == {vr}


def test_float_pixel_data_are_elements() -> None:
    data = el(0x7FE00009, "OD", bytes(2000)) + el(0xFFFCFFFC, "OB", bytes(6))
    assert pieces(data, LITTLE, True, {}) == [Copy(0, len(data))]
    assert pieces(data, LITTLE, False, {})[1] == Copy(12, 2000)


def test_encapsulated_icon_goes_along() -> None:
    icon = el(PIXELS, "OB", el(ITEM, "") + el(ITEM, "", b"\xff\xd8") + el(SEQUENCE_END, ""), UNDEFINED)
    data = el(0x00880200, "SQ", el(ITEM, "", icon))
    assert made(data, SYNTAXES[JPEG2000_LOSSLESS], True) == data
    assert icon[12:] in made(data, SYNTAXES[JPEG2000_LOSSLESS], False)


def test_missing_vrs_stay_missing() -> None:
    data = el(0x00080060, "  ", b"CT") + el(0x00080061, "??", b"CT", order="<")
    assert made(data, LITTLE, True) == data
    assert made(data, LITTLE, False) == el(0x00080060, "", b"CT") + el(0x00080061, "", b"CT")
    big = el(0x00080060, "  ", b"CT", order=">")
    assert made(big, BIG, True) == el(0x00080060, "  ", b"CT")


@pytest.mark.parametrize("explicit", [True, False])
def test_memory_is_bounded(explicit: bool) -> None:
    """A gigabyte of values is planned without being read, and pieces of bytes stay small."""
    size = 1 << 30
    head = el(0x00420011, "OB", b"", size)
    small = el(0x00420012, "LO", b"x" * 60) * 20_000
    total = len(head) + size + len(small)
    reads: list[int] = []

    def read_at(offset: int, length: int) -> bytes:
        reads.append(length)
        if offset < len(head):
            return (head + bytes(length))[offset : offset + length]
        place = offset - len(head) - size
        assert place >= 0
        return small[place : place + length]

    stream = list(rewrite(read_at, 0, total, LITTLE, explicit, {0x00080060: ("CS", b"OT")}))
    assert max(reads) <= 65536
    assert sum(reads) < 10_000_000
    assert max(len(piece) for piece in stream if isinstance(piece, bytes)) < 70_000
    assert sum(piece.length for piece in stream if isinstance(piece, Copy)) >= size


def test_elements_one_by_one() -> None:
    assert element(0x00080018, "UI", b"1.2", True) == el(0x00080018, "UI", b"1.2\0")
    assert element(0x00080060, "CS", b"CT ", False) == el(0x00080060, "", b"CT  ")
    assert element_header(PIXELS, "OB", UNDEFINED, True) == el(PIXELS, "OB", b"", UNDEFINED)
    assert element_header(ITEM, "", 5, True) == el(ITEM, "", b"", 5)
    assert element_header(0x00091001, "ZZ", 5, True) == struct.pack("<HH2sHL", 9, 0x1001, b"ZZ", 0, 5)


def test_swapped() -> None:
    assert swapped(b"12345678", 2) == b"21436587"
    assert swapped(b"12345678", 4) == b"43218765"
    assert swapped(b"12345678", 8) == b"87654321"
    assert swapped(b"12345", 2) == b"21435"
    assert swapped(b"", 4) == b""
    assert swapped(b"123", 1) == b"123"


def test_a_source_that_shrinks_is_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edit, "_INLINE_BYTES", 100_000)
    data = el(0x00080060, "CS", b"CT") + el(0x00420011, "OB", bytes(90_000))

    def read_at(offset: int, length: int) -> bytes:
        return data[offset : min(offset + length, 70_000)]

    with pytest.raises(Corrupt, match="the source ends before"):
        list(rewrite(read_at, 0, len(data), LITTLE, False, {}))


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, JPEG2000_LOSSLESS])
@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("native", [False, True])
def test_whether_nested_pixel_data_are_encapsulated(syntax: str, depth: int, native: bool) -> None:
    fragments = b"\xe0\x7f\x10\x00OB\0\0" + b"\xff" * 4 + b"\xfe\xff\0\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    image = element(0x7FE00010, "OB", b"12", explicit=True) if native else fragments
    for _ in range(depth):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(image)) + image
        image = struct.pack("<HH2sHL", 0x0088, 0x0200, b"SQ", 0, len(item)) + item
    data = encode_head(FileMeta("1.2", "1.3", syntax)) + element(0x00080060, "CS", b"MR", explicit=True) + image
    header = peek(lambda at, length: data[at : at + length], len(data))
    assert edit.encapsulated_inside(header.dataset) == (depth > 0 and not native)
