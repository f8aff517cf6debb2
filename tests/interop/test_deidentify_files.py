"""Real files of many kinds after de-identification: as valid as before, consistent, and without a patient."""

import re
from collections import Counter
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from leyden.dicom.draft import Draft
from leyden.dicom.edit import rewrite
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.plan.deidentify import deidentify
from leyden.plan.profile import Option
from leyden.plan.pseudonym import Keyed
from leyden.plan.rules import BurnedIn, Profile
from support.datasets import FILES, dataset_of, joined, whole
from support.readers import new_errors

KEYED = Keyed(b"a key of thirty-two bytes, no less")
NAMES = (
    "chrArab.dcm", "chrJapMulti.dcm", "MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm",
    "hotiron.dcm", "CT_small.dcm", "693_J2KI.dcm", "ExplVR_BigEnd.dcm", "examples_palette.dcm",
    "examples_ybr_color.dcm", "rtdose_1frame.dcm", "rtplan.dcm", "liver_1frame.dcm",
    "reportsi.dcm", "test-SR.dcm", "waveform_ecg.dcm",
)  # fmt: skip
REAL = {path.name: path for path in FILES}
OPTIONS = {
    "basic": (),
    "retain": tuple(each for each in Option if each.startswith("retain") and each is not Option.RETAIN_MODIFIED_DATES),
    "clean": (*(each for each in Option if each.startswith("clean")), Option.RETAIN_MODIFIED_DATES),
}
OF_A_PATIENT = (
    "PatientName", "PatientID", "PatientBirthDate", "OtherPatientIDs", "PatientAddress", "AccessionNumber",
    "ReferringPhysicianName", "OperatorsName", "PerformingPhysicianName", "StudyDescription", "StationName",
    "InstitutionName", "InstitutionAddress", "DeviceSerialNumber", "RequestingPhysician", "StudyID", "ProtocolName",
)  # fmt: skip


def deidentified(path: Path, *options: str) -> bytes:
    data, syntax = dataset_of(path)
    draft = Draft(whole(data, syntax))
    deidentify(draft, Profile(options, burned_in=BurnedIn.PASS), KEYED)
    out = joined(data, list(rewrite(whole(data, syntax), syntax, draft.replacements())), syntax, syntax)
    sop_class, sop_instance = (draft.texts(tag) for tag in (0x00080016, 0x00080018))
    assert sop_class
    assert sop_instance
    return encode_head(FileMeta(sop_class[0], sop_instance[0], syntax.uid)) + out


def alike(errors: Counter[str]) -> Counter[str]:
    """The messages without the UIDs in them, which are others now."""
    return Counter(re.sub(r"(?<=UID )[0-9.]+", "", message) for message in errors.elements())


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_dciodvfy_finds_no_new_error(name: str, options: tuple[str, ...], tmp_path: Path) -> None:
    """De-identification keeps an object valid, whatever its SOP class (PS3.15 E.1.1)."""
    data, syntax = dataset_of(REAL[name])
    before, after = tmp_path / "before.dcm", tmp_path / "after.dcm"
    before.write_bytes(encode_head(FileMeta("1.2", "1.3", syntax.uid)) + data)
    made = deidentified(REAL[name], *options)
    after.write_bytes(encode_head(FileMeta("1.2", "1.3", syntax.uid)) + made[pydicom_offset(made) :])
    new = alike(new_errors(before, after, tmp_path)) - alike(new_errors(after, before, tmp_path))
    assert not new


def pydicom_offset(data: bytes) -> int:
    """Where the dataset of a file begins."""
    length = int.from_bytes(data[140:144], "little")
    return 144 + length


@pytest.mark.parametrize("name", NAMES)
def test_no_text_of_a_patient_is_left(name: str) -> None:
    """Of real files, with what pydicom reads in them as the words to look for."""
    with pydicom.config.disable_value_validation():
        before = pydicom.dcmread(REAL[name], force=True)
        words = {str(before.get(keyword, "")) for keyword in OF_A_PATIENT}
    words = {
        word.encode("utf-8", "replace")
        for word in words
        if len(word) > 3 and word not in str(before.get("Manufacturer"))
    }
    out = deidentified(REAL[name])
    assert [word for word in words if word in out] == []


def test_uids_stay_consistent_over_objects_that_refer_to_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report and the images that it names, a plan and its structures: each UID becomes the same one everywhere."""
    mapping: dict[str, str] = {}
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)
    for name in ("test-SR.dcm", "reportsi.dcm", "rtplan.dcm", "rtdose_1frame.dcm", "CT_small.dcm", "liver_1frame.dcm"):
        before = pydicom.dcmread(REAL[name])
        after = pydicom.dcmread(
            pydicom.filebase.DicomBytesIO(deidentified(REAL[name], Option.CLEAN_STRUCTURED_CONTENT))
        )
        assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
        pairs(before, after, mapping)
    assert len(mapping) > 25
    assert len(set(mapping.values())) == len(mapping)
    assert all(new == KEYED.uid(old) or old.startswith("1.2.840.10008.") for old, new in mapping.items())
    assert any(not old.startswith("1.2.840.10008.") for old in mapping)


def pairs(before: Dataset, after: Dataset, mapping: dict[str, str]) -> None:
    """Collect what became of each UID in elements and items that are in both, and hold it against what is known."""
    for element in after:
        if element.tag not in before:
            continue
        old = before[element.tag]
        names_an_object = element.VR == "UI" and not re.search("Class|Scheme|Context|Syntax", element.keyword)
        if names_an_object and element.value and old.value:
            olds = [old.value] if isinstance(old.value, str) else list(old.value)
            news = [element.value] if isinstance(element.value, str) else list(element.value)
            for one, other in zip(olds, news, strict=True):
                assert mapping.setdefault(str(one), str(other)) == str(other), element
        elif element.VR == "SQ" and len(element.value) == len(old.value):
            for one, other in zip(old.value, element.value, strict=True):
                pairs(one, other, mapping)
