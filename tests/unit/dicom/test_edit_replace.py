"""What is put into a dataset on its rewrite: values, holes to be filled in later, sequences of old and new items."""

import struct

import pydicom
import pytest

from leyden.dicom.edit import Hole, Pixels, Replacements, rewrite
from leyden.dicom.elements import UNDEFINED
from leyden.dicom.uids import Syntax
from support.datasets import (
    BIG,
    FOLDER,
    IMPLICIT,
    ITEM,
    ITEM_END,
    LITTLE,
    PIXELS,
    SEQUENCE_END,
    as_file,
    dataset_of,
    el,
    joined,
    made,
    pieces,
    whole,
)

IDS = ["explicit", "implicit", "big endian"]
sources = pytest.mark.parametrize("syntax", [LITTLE, IMPLICIT, BIG], ids=IDS)
targets = pytest.mark.parametrize("target", [LITTLE, IMPLICIT, BIG], ids=IDS)
CODE, SCHEME, PURPOSE, SOURCE_IMAGES = 0x00080100, 0x00080102, 0x0040A170, 0x00082112


def write(syntax: Syntax, tag: int, vr: str, value: bytes = b"", length: int | None = None) -> bytes:
    """An element in the encoding of a syntax, its value as it is given."""
    return el(tag, vr if syntax.explicit else "", value, length, ">" if syntax.big_endian else "<")


@sources
@targets
def test_elements_are_replaced_added_and_removed_in_their_order(syntax: Syntax, target: Syntax) -> None:
    def old(tag: int, vr: str, value: bytes = b"") -> bytes:
        return write(syntax, tag, vr, value)

    def new(tag: int, vr: str, value: bytes = b"") -> bytes:
        return write(target, tag, vr, value)

    data = (
        old(0x00080018, "UI", b"1.2\0") + old(0x00080060, "CS", b"CT")
        + old(0x00081140, "SQ", old(ITEM, "", old(0x00081155, "UI", b"1.2\0")))
        + old(0x00280004, "CS", b"RGB ") + old(0x00280006, "US", b"\0\0") + old(PIXELS, "OW", b"1234")
        + old(0xFFFCFFFC, "OB", b"\0\0")
    )  # fmt: skip
    replace: Replacements = {
        0x00280004: ("CS", b"YBR_RCT"),
        0x00080005: ("CS", b"ISO_IR 192"),
        0x00281051: ("DS", b"1"),
        0x00081140: None,
        0x00280006: None,
        0x00990001: None,
        0xFFFCFFFD: ("OB", b"x"),
    }
    start = data.index(b"1234")
    assert pieces(data, syntax, target, replace) == [
        new(0x00080005, "CS", b"ISO_IR 192") + new(0x00080018, "UI", b"1.2\0") + new(0x00080060, "CS", b"CT")
        + new(0x00280004, "CS", b"YBR_RCT ") + new(0x00281051, "DS", b"1 "),
        Pixels(PIXELS, "OW", start, 4),
        new(0xFFFCFFFC, "OB", b"\0\0") + new(0xFFFCFFFD, "OB", b"x\0"),
    ]  # fmt: skip
    without = pieces(data, syntax, target, {PIXELS: None, 0x00081140: ("SQ", b"")})
    assert len(without) == 1
    assert isinstance(without[0], bytes)
    assert b"1234" not in without[0]
    assert new(0x00081140, "SQ") in without[0]


@targets
def test_what_is_left_out_need_not_parse(target: Syntax) -> None:
    broken = el(0x00081140, "SQ", el(ITEM, "", b"no element"))
    data = el(0x00080060, "CS", b"CT") + broken + el(0x00100020, "LO", b"ID")
    kept = write(target, 0x00080060, "CS", b"CT") + write(target, 0x00100020, "LO", b"ID")
    assert made(data, LITTLE, target, {0x00081140: None}) == kept


def test_replace_in_unsorted_and_doubled_elements() -> None:
    data = el(0x00100010, "PN", b"A ") + el(0x00080060, "CS", b"CT") + el(0x00100010, "PN", b"B ")
    for target in (LITTLE, IMPLICIT, BIG):
        assert made(data, LITTLE, target, {0x00100010: ("PN", b"C"), 0x00080060: ("CS", b"MR")}) == (
            write(target, 0x00080060, "CS", b"MR") + write(target, 0x00100010, "PN", b"C ")
        )


@targets
def test_words_of_replacements_are_turned(target: Syntax) -> None:
    given: Replacements = {
        0x00189219: ("SS", b"\xfe\xff"),
        0x00209165: ("AT", b"\x20\x00\x56\x90"),
        0x00280010: ("US", b"\1\2"),
        0x00460044: ("FD", b"12345678"),
    }
    found = pydicom.dcmread(as_file(made(b"", LITTLE, target, given), target.uid))
    assert found[0x00189219].value == -2
    assert found.DimensionIndexPointer == 0x00209056
    assert found.Rows == 0x201
    assert found.PupilSize == struct.unpack("<d", b"12345678")[0]


@sources
@targets
@pytest.mark.parametrize(("before", "length"), [(b"", 14), (b"", 15), (b"10.5\\", 15), (b"10.5\\", 14)])
def test_a_hole_is_a_piece_at_its_place(syntax: Syntax, target: Syntax, before: bytes, length: int) -> None:
    data = write(syntax, 0x00282110, "CS", b"01") + write(syntax, 0x00282114, "CS", b"ISO_15444_1 ")
    hole = Hole(length, before)
    odd = (len(before) + length) % 2
    assert pieces(data, syntax, target, {0x00282112: ("DS", hole)}) == [
        write(target, 0x00282110, "CS", b"01")
        + write(target, 0x00282112, "DS", before, len(before) + length + odd),
        hole,
        b" " * odd + write(target, 0x00282114, "CS", b"ISO_15444_1 "),
    ]  # fmt: skip


def test_a_hole_in_the_place_of_a_value() -> None:
    behind = el(0x00282114, "CS", b"ISO_15444_1 ")
    hole = Hole(2, b"4\\")
    done = pieces(el(0x00282112, "DS", b"4 ") + behind, LITTLE, LITTLE, {0x00282112: ("DS", hole)})
    assert done == [el(0x00282112, "DS", b"4\\", 4), hole, behind]


@targets
def test_a_new_sequence_is_written_with_its_nested_items(target: Syntax) -> None:
    def nest(tag: int, *items: bytes) -> bytes:
        end = write(target, ITEM_END, "")
        content = b"".join(write(target, ITEM, "", item + end, UNDEFINED) for item in items)
        return write(target, tag, "SQ", content + write(target, SEQUENCE_END, ""), UNDEFINED)

    purpose: Replacements = {CODE: ("SH", b"121320"), SCHEME: ("SH", b"DCM"), 0x00080103: None}
    item: Replacements = {0x00081155: ("UI", b"1.2"), 0x00280010: ("US", b"\1\2"), PURPOSE: ("SQ", (purpose,))}
    rows = write(target, 0x00280010, "US", b"\2\1" if target.big_endian else b"\1\2")
    inner = nest(PURPOSE, write(target, CODE, "SH", b"121320") + write(target, SCHEME, "SH", b"DCM "))
    outer = nest(SOURCE_IMAGES, write(target, 0x00081155, "UI", b"1.2\0") + rows + inner, b"")
    assert made(b"", LITTLE, target, {SOURCE_IMAGES: ("SQ", (item, {}))}) == outer
    assert made(b"", LITTLE, target, {SOURCE_IMAGES: ("SQ", ())}) == nest(SOURCE_IMAGES)


@targets
@pytest.mark.parametrize("name", ["rtplan.dcm", "test-SR.dcm", "waveform_ecg.dcm"])
def test_items_that_stand_there_already(name: str, target: Syntax) -> None:
    """Every sequence of a real file is put in anew, item by item and out of any encoding: nothing changes by that."""
    data, syntax = dataset_of(FOLDER / "test_files" / name)
    for start in (LITTLE, IMPLICIT, BIG):
        there = made(data, syntax, start)
        dataset = whole(there, start)
        again: Replacements = {tag: ("SQ", dataset.items(tag)) for tag in dataset.read() if dataset.vr(tag) == "SQ"}
        assert again
        done = joined(there, list(rewrite(dataset, target, again)), start, target)
        straight = made(there, start, target)
        assert pydicom.dcmread(as_file(done, target.uid)) == pydicom.dcmread(as_file(straight, target.uid))


@sources
@targets
def test_pixel_data_in_items_go_along(syntax: Syntax, target: Syntax) -> None:
    """They are not the image's own, wherever they stand in an item."""
    allocated = el(0x00280100, "US", b"\x08\0")
    icon = el(ITEM, "", allocated + el(PIXELS, "OB", b"12"))
    item = el(ITEM, "", el(0x00880200, "SQ", icon) + el(PIXELS, "OB", b"34"))
    data = made(el(SOURCE_IMAGES, "SQ", item) + allocated, LITTLE, syntax)
    dataset = whole(data, syntax)
    again: Replacements = {SOURCE_IMAGES: ("SQ", (*dataset.items(SOURCE_IMAGES), {CODE: ("SH", b"1")}))}
    (done,) = rewrite(dataset, target, again)
    assert isinstance(done, bytes)
    first, second = pydicom.dcmread(as_file(done, target.uid)).SourceImageSequence
    assert first.PixelData == b"34"
    assert first.IconImageSequence[0].PixelData == b"12"
    assert second.CodeValue == "1"


def test_very_many_items_are_put_in_by_and_by() -> None:
    data = el(SOURCE_IMAGES, "SQ", el(ITEM, "", el(0x00081155, "UI", b"1.2\0")) * 20_000)
    dataset = whole(data, LITTLE)
    stream = list(rewrite(dataset, IMPLICIT, {SOURCE_IMAGES: ("SQ", dataset.items(SOURCE_IMAGES))}))
    assert max(len(piece) for piece in stream if isinstance(piece, bytes)) < 70_000
