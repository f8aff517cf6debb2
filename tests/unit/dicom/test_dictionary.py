"""The data dictionary, against pydicom's own reading of it."""

import subprocess
import sys

import pydicom.datadict
from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary

from leyden.dicom import dictionary


def test_every_row_is_there() -> None:
    assert [dictionary.entry(tag) for tag in DicomDictionary] == list(DicomDictionary.values())
    theirs = {keyword: tag for keyword, tag in pydicom.datadict.keyword_dict.items() if keyword}
    assert dictionary.keywords() == theirs


def test_repeating_groups() -> None:
    tags = [int(mask.replace("x", digit), 16) for mask in RepeatersDictionary for digit in "02e"]
    known = [tag for tag in tags if tag not in DicomDictionary]
    assert len(known) > 100
    for tag in known:
        assert dictionary.entry(tag) == pydicom.datadict.get_entry(tag), hex(tag)


def test_an_unknown_tag_has_no_entry_and_no_keyword() -> None:
    for tag in (0x00090010, 0x60033000, 0x00080099, 0x00110000):
        assert dictionary.entry(tag) is None
        assert dictionary.keyword_of(tag) == ""


def test_keywords() -> None:
    assert dictionary.keyword_of(0x00100020) == "PatientID"
    assert dictionary.keyword_of(0x60023000) == "OverlayData"


def test_pydicom_itself_is_not_loaded() -> None:
    code = "import sys, leyden.dicom.dictionary; print([m for m in ('pydicom', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
