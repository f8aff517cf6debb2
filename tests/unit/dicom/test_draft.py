"""Drafts: edits laid over a dataset are read back at once, and what is rewritten says the same to pydicom."""

import struct
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from leyden.dicom.draft import Draft
from leyden.dicom.edit import rewrite
from leyden.dicom.elements import tag_name
from leyden.dicom.uids import Syntax
from leyden.dicom.values import Unwritable
from support.datasets import BIG, IMPLICIT, ITEM, LITTLE, as_file, dataset_of, el, joined, whole

IDS = ["explicit", "implicit", "big endian"]
sources = pytest.mark.parametrize("syntax", [LITTLE, IMPLICIT, BIG], ids=IDS)
targets = pytest.mark.parametrize("target", [LITTLE, IMPLICIT, BIG], ids=IDS)
NAME, ID, SETS = 0x00100010, 0x00100020, 0x00080005
REQUEST, STEP_ID, CODES, CODE = 0x00400275, 0x00400009, 0x00400008, 0x00080100
ROWS, INCREMENT = 0x00280010, 0x00280009


def encoded(syntax: Syntax) -> bytes:
    """A dataset with a sequence of two items, the first one with a sequence of its own."""

    def element(tag: int, vr: str, value: bytes = b"") -> bytes:
        return el(tag, vr if syntax.explicit else "", value, None, ">" if syntax.big_endian else "<")

    order = ">" if syntax.big_endian else "<"
    code = element(ITEM, "", element(CODE, "SH", b"OLD "))
    first = element(ITEM, "", element(CODES, "SQ", code) + element(STEP_ID, "SH", b"STEP"))
    second = element(ITEM, "", element(STEP_ID, "SH", b"LAST"))
    return (
        element(NAME, "PN", b"Doe^Jane")
        + element(ID, "LO", b"4711")
        + element(ROWS, "US", struct.pack(order + "H", 512))
        + element(REQUEST, "SQ", first + second)
        + element(0x00410010, "LO", b"ACME")
        + element(0x00411001, "SH", b"old ")
    )


def written(data: bytes, syntax: Syntax, target: Syntax, draft: Draft) -> pydicom.FileDataset:
    stream = list(rewrite(whole(data, syntax), target, draft.replacements()))
    return pydicom.dcmread(as_file(joined(data, stream, syntax, target), target.uid))


@sources
@targets
def test_what_was_edited_is_read_back_and_written(syntax: Syntax, target: Syntax) -> None:
    data = encoded(syntax)
    draft = Draft(whole(data, syntax))
    draft.set_texts(NAME, "", ("Roe^Richard",))
    draft.set_texts(ROWS, "", ("258",))
    draft.set_texts(INCREMENT, "", ("(0018,1063)",))
    draft.set(0x00080008, *draft.value_of(0x00080008, "", "DERIVED\\PRIMARY"))
    draft.remove(ID)
    assert draft.texts(NAME) == ("Roe^Richard",)
    assert (draft.integer(ROWS), draft.raw(ROWS)) == (258, b"\1\2" if syntax.big_endian else b"\2\1")
    assert draft.texts(INCREMENT) == ("(0018,1063)",)
    assert draft.texts(0x00080008) == ("DERIVED", "PRIMARY")
    assert draft.texts(ID) is None
    assert ID not in draft
    peer = written(data, syntax, target, draft)
    assert (peer.PatientName, peer.Rows, peer.FrameIncrementPointer) == ("Roe^Richard", 258, 0x00181063)
    assert list(peer.ImageType) == ["DERIVED", "PRIMARY"]
    assert "PatientID" not in peer
    tags = [int(element.tag) for element in peer]
    assert tags == sorted(tags)


@sources
@targets
def test_items_are_edited_at_any_depth_and_their_neighbours_stay(syntax: Syntax, target: Syntax) -> None:
    data = encoded(syntax)
    draft = Draft(whole(data, syntax))
    first, second = draft.items(REQUEST)
    assert not draft.changed
    first.items(CODES)[0].set_texts(CODE, "", ("NEW",))
    second.remove(STEP_ID)
    second.set_texts(0x00400007, "", ("described",))
    assert draft.changed
    assert [item.texts(STEP_ID) for item in draft.items(REQUEST)] == [("STEP",), None]
    assert list(draft.find(CODE)) == [("NEW",)]
    peer = written(data, syntax, target, draft)
    assert peer.RequestAttributesSequence[0].ScheduledProtocolCodeSequence[0].CodeValue == "NEW"
    assert peer.RequestAttributesSequence[0].ScheduledProcedureStepID == "STEP"
    assert "ScheduledProcedureStepID" not in peer.RequestAttributesSequence[1]
    assert peer.RequestAttributesSequence[1].ScheduledProcedureStepDescription == "described"
    assert peer.PatientID == "4711"


@sources
def test_new_items_and_emptied_sequences(syntax: Syntax) -> None:
    data = encoded(syntax)
    draft = Draft(whole(data, syntax))
    item = draft.new_item()
    item.set_texts(STEP_ID, "", ("THIRD",))
    draft.set_items(REQUEST, (*draft.items(REQUEST)[1:], item))
    draft.set(0x00081140, "SQ", b"")
    assert list(draft.find(STEP_ID)) == [("LAST",), ("THIRD",)]
    assert (draft.items(0x00081140), 0x00081140 in draft) == ((), True)
    peer = written(data, syntax, syntax, draft)
    assert [each.ScheduledProcedureStepID for each in peer.RequestAttributesSequence] == ["LAST", "THIRD"]
    assert len(peer.ReferencedImageSequence) == 0


def test_a_value_that_is_there_already_is_no_edit() -> None:
    draft = Draft(whole(encoded(LITTLE), LITTLE))
    draft.set_texts(NAME, "", ("Doe^Jane",))
    draft.set_texts(ROWS, "", ("512",))
    draft.remove(0x00101010)
    assert not draft.changed
    assert draft.replacements() == {}


def test_all_that_was_not_edited_stays_byte_for_byte() -> None:
    path = get_testdata_file("CT_small.dcm")
    data, syntax = dataset_of(Path(str(path)))
    draft = Draft(whole(data, syntax))
    new = b"Roe^Richard".ljust(len(draft.raw(NAME) or b""))
    draft.set(NAME, "PN", new)
    done = joined(data, list(rewrite(whole(data, syntax), syntax, draft.replacements())), syntax, syntax)
    _, _, _, value, length, _ = whole(data, syntax).read()[NAME]
    assert done == data[:value] + new + data[value + length :]


def test_private_elements_are_found_in_their_block_and_a_new_block_is_reserved() -> None:
    data = encoded(LITTLE)
    draft = Draft(whole(data, LITTLE))
    assert draft.private_place(0x0041, 0x01, "ACME") == 0x00411001
    assert draft.private_place(0x0041, 0x02, "OTHER") == 0x00411102
    assert draft.texts(0x00410011) == ("OTHER",)
    draft.set_texts(0x00411102, "DS", ("1.5",))
    draft.set_texts(0x00411001, "", ("new",))
    peer = written(data, LITTLE, LITTLE, draft)
    assert peer.private_block(0x0041, "OTHER")[0x02].value == 1.5
    assert (peer[0x00411001].VR, peer[0x00411001].value) == ("SH", "new")


def test_a_private_element_without_a_vr_is_lo_and_an_unknown_public_one_is_refused() -> None:
    draft = Draft(whole(encoded(IMPLICIT), IMPLICIT))
    assert draft.writing_vr(0x00411001) == "LO"
    with pytest.raises(Unwritable, match=r"\(0018,9999\) is not in PS3.6"):
        draft.writing_vr(0x00189999)


@pytest.mark.parametrize("tag", [0x00000010, 0x7FE00010, 0xFFFEE000, 0x00100000], ids=tag_name)
def test_what_nobody_may_set(tag: int) -> None:
    draft = Draft(whole(encoded(LITTLE), LITTLE))
    with pytest.raises(ValueError, match="can't be set"):
        draft.set(tag, "UI", b"1.2")
    with pytest.raises(ValueError, match="can't be set"):
        draft.remove(tag)


def test_the_character_set_of_the_dataset_holds_in_its_items_too() -> None:
    data = el(SETS, "CS", b"ISO_IR 192") + encoded(LITTLE)
    draft = Draft(whole(data, LITTLE))
    item = draft.items(REQUEST)[0]
    item.set_texts(0x00400007, "", ("Schädel",))
    assert item.raw(0x00400007) == "Schädel".encode()
    assert item.texts(0x00400007) == ("Schädel",)
    plain = Draft(whole(encoded(LITTLE), LITTLE))
    with pytest.raises(Unwritable, match=r"\(0010,0010\) can't be written in the character set"):
        plain.set_texts(NAME, "", ("Müller",))


def test_an_element_behind_pixel_data_can_be_left_out() -> None:
    data = encoded(LITTLE) + el(0x7FE00010, "OW", b"1234") + el(0xFFFCFFFC, "OB", b"\0\0")
    draft = Draft(whole(data, LITTLE))
    draft.remove(0xFFFCFFFC)
    done = joined(data, list(rewrite(whole(data, LITTLE), LITTLE, draft.replacements())), LITTLE, LITTLE)
    assert done == data[: -len(el(0xFFFCFFFC, "OB", b"\0\0"))]
