"""What differs between a dataset and what mutations made of it."""

import pydicom
from pydicom.sequence import Sequence

from leyden.dicom.draft import Draft
from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE
from leyden.plan.changes import Change, changes
from support.headers import header_of


def dataset() -> pydicom.Dataset:
    found = pydicom.Dataset()
    found.Modality = "CT"
    found.PatientName = "DOE^JOHN"
    found.PatientID = "1"
    found.OtherPatientIDsSequence = Sequence([pydicom.Dataset(), pydicom.Dataset()])
    for n, item in enumerate(found.OtherPatientIDsSequence):
        item.PatientID = str(n)
    found.Rows = 512
    return found


def draft(syntax: str = EXPLICIT_LE) -> tuple[Draft, Draft]:
    """A dataset, and a draft of it to be edited."""
    header = header_of(dataset(), syntax=syntax)
    return Draft(header.dataset), Draft(header.dataset)


def test_an_untouched_draft_has_no_change() -> None:
    for syntax in (EXPLICIT_LE, IMPLICIT_LE):
        assert list(changes(*draft(syntax))) == []


def test_values_that_were_set_added_and_removed() -> None:
    before, after = draft()
    after.set_texts(0x00100010, "", ("X",))
    after.remove(0x00080060)
    after.set_texts(0x00081030, "", ("Thorax",))
    after.set_texts(0x00280010, "US", ("256",))
    after.set_texts(0x00100020, "", ("",))
    assert list(changes(before, after)) == [
        Change("Modality", "CT", None),
        Change("StudyDescription", None, "Thorax"),
        Change("PatientName", "DOE^JOHN", "X"),
        Change("PatientID", "1", ""),
        Change("Rows", "512", "256"),
    ]


def test_items_are_compared_one_by_one() -> None:
    before, after = draft()
    items = after.items(0x00101002)
    items[1].set_texts(0x00100020, "", ("Y",))
    assert list(changes(before, after)) == [Change("OtherPatientIDsSequence[2].PatientID", "1", "Y")]
    after.set_items(0x00101002, items[:1])
    assert list(changes(before, after)) == [Change("OtherPatientIDsSequence[2].PatientID", "1", None)]
    after.remove(0x00101002)
    assert list(changes(before, after)) == [
        Change("OtherPatientIDsSequence", "(2 items)", None),
        Change("OtherPatientIDsSequence[1].PatientID", "0", None),
        Change("OtherPatientIDsSequence[2].PatientID", "1", None),
    ]


def test_what_is_no_text_is_told_by_its_length() -> None:
    before, after = draft()
    after.set(0x00091001, "OB", b"\1\2\3\4")
    assert list(changes(before, after)) == [Change("(0009,1001)", None, "(OB, 4 bytes)")]
