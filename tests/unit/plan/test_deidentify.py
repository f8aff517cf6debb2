"""De-identification, row by row and VR by VR, with pydicom as the one who reads what came out."""

import datetime
import re
import uuid
from io import BytesIO

import pydicom
import pytest
from pydicom.config import RAISE
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.valuerep import validate_value

from leyden.dicom.draft import Draft
from leyden.dicom.edit import rewrite
from leyden.dicom.uids import Syntax
from leyden.plan.deidentify import anonymize, deidentify, dummy, shifted_date
from leyden.plan.profile import Act, Actions, Option, actions
from leyden.plan.pseudonym import Keyed, Patient, Unsafe, patient_of
from leyden.plan.rules import BurnedIn, Profile
from support import canary
from support.datasets import BIG, IMPLICIT, LITTLE, as_file, el, joined, whole
from support.headers import encode

KEYED = Keyed(b"a key of thirty-two bytes, no less")
VRS = (
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "OB", "OD", "OF", "OL", "OV", "OW", "PN",
    "SH", "SL", "SQ", "SS", "ST", "SV", "TM", "UC", "UI", "UL", "UN", "UR", "US", "UT", "UV",
)  # fmt: skip
WORD = "QZ001234"
ALL_ENCODINGS = pytest.mark.parametrize("syntax", [LITTLE, IMPLICIT, BIG], ids=["explicit", "implicit", "big endian"])


def raw(dataset: Dataset, syntax: Syntax = LITTLE) -> bytes:
    if syntax is not BIG:
        return encode(dataset, syntax.uid)
    stream = BytesIO()
    opened = pydicom.filebase.DicomIO(stream)
    opened.is_implicit_VR, opened.is_little_endian = False, False
    pydicom.filewriter.write_dataset(opened, dataset)
    return stream.getvalue()


def treated(dataset: Dataset, *options: str, syntax: Syntax = LITTLE, **profile: object) -> Dataset:
    """What pydicom reads of a dataset after de-identification."""
    return read(treated_bytes(raw(dataset, syntax), *options, syntax=syntax, **profile), syntax)


def treated_bytes(data: bytes, *options: str, syntax: Syntax = LITTLE, pseudonym: str = "", **profile: object) -> bytes:
    """The bytes after de-identification. An object without a SOP Instance UID gets one first."""
    draft = Draft(whole(data, syntax))
    if not draft.texts(0x00080018):
        draft.set_texts(0x00080018, "UI", ("1.2.3",))
    deidentify(draft, Profile(options, **profile), KEYED, pseudonym)  # type: ignore[arg-type]
    return rewritten(data, syntax, draft)


def rewritten(data: bytes, syntax: Syntax, draft: Draft) -> bytes:
    return joined(data, list(rewrite(whole(data, syntax), syntax, draft.replacements())), syntax, syntax)


def read(data: bytes, syntax: Syntax = LITTLE) -> Dataset:
    return pydicom.dcmread(as_file(data, syntax.uid))


def element(tag: int, vr: str, word: str = WORD) -> Dataset:
    """A dataset with one element; a sequence holds a patient's name and a UID."""
    dataset = Dataset()
    if vr == "SQ":
        inner = Dataset()
        inner.PatientName = word
        inner.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        inner.ReferencedSOPInstanceUID = canary.value("UI", word)
        dataset.add_new(tag, "SQ", Sequence([inner]))
    else:
        dataset.add_new(tag, vr, canary.value(vr, word))
    return dataset


def told(vr: str, word: str = WORD) -> bytes:
    """The bytes that would tell the value of an element()."""
    given = canary.value(vr, word)
    if vr == "SQ":
        return word.encode()
    return given if isinstance(given, bytes) else str(given).encode()


# -- each row of the table, and each action on each VR


def test_each_row_is_obeyed() -> None:
    """The Basic Profile for each attribute, at the top and in a sequence that stays."""
    for tag, vr, basic in canary.phi_rows():
        _obeyed(tag, vr, basic)


def _obeyed(tag: int, vr: str, basic: str) -> None:
    dataset = element(tag, vr)
    outer = Dataset()
    outer.PatientName = "QZ000001"
    outer.AnatomicRegionSequence = Sequence([element(tag, vr)])
    if tag != 0x00082218:
        outer.update(dataset)
    after = treated(outer)
    for place in (after, after.AnatomicRegionSequence[0]):
        obeyed(place, tag, vr, basic)


def obeyed(place: Dataset, tag: int, vr: str, basic: str) -> None:
    assert told(vr) not in raw(place) or vr in ("AS", "US")  # too short to be told from others
    if basic == "X":
        assert tag not in place
    elif basic in ("Z", "X/Z"):
        assert place[tag].value in ("", None, b"", []) or len(place[tag].value) == 0
    elif basic in ("U", "X/Z/U*") and vr == "UI":
        assert place[tag].value == KEYED.uid(str(canary.value("UI", WORD)))
    elif vr == "SQ":
        assert len(place[tag].value) == 1
    else:
        assert len(place[tag].value) > 0
        assert vr == place[tag].VR


@pytest.mark.parametrize("vr", VRS)
@pytest.mark.parametrize("basic", ["X", "Z", "D", "U"])
def test_each_action_on_each_vr(basic: str, vr: str) -> None:
    """The VR is the file's, not that of PS3.6: devices write what they like."""
    tag = {"X": 0x00184000, "Z": 0x00080050, "D": 0x00120010, "U": 0x00080014}[basic]
    data = el(tag, "UN", WORD.encode()) if vr == "UN" else raw(element(tag, vr))  # pydicom would give a known VR
    after = read(treated_bytes(data))
    if vr not in ("AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV", "AS"):
        assert told(vr) not in raw(after)
    if basic == "X" or (basic == "U" and tag not in after):
        assert tag not in after
        return
    found = after[tag]
    if basic == "Z":
        assert not found.value
    elif basic == "D":
        written = "LO" if vr == "UN" else vr
        assert str(found.VR) == written
        assert found.value is not None
        valid(found)
    elif vr == "SQ":
        assert found.value[0].ReferencedSOPInstanceUID == KEYED.uid(str(canary.value("UI", WORD)))
    else:
        assert found.VR == "UI"
        valid(found)


@pytest.mark.parametrize("vr", VRS)
def test_what_an_option_keeps_is_kept_on_each_vr(vr: str) -> None:
    """K: unchanged, and in a sequence the rules hold for each item (PS3.15 E.1.1)."""
    tag = 0x00181000
    if vr == "UN":
        data = el(tag, "UN", WORD.encode())
        assert data in treated_bytes(data, Option.RETAIN_DEVICE_IDENTITY)
        return
    before = element(tag, vr)
    after = treated(before, Option.RETAIN_DEVICE_IDENTITY)
    if vr == "SQ":
        assert after[tag].value[0].PatientName == ""
    else:
        assert after[tag].value == before[tag].value


@pytest.mark.parametrize("vr", [vr for vr in VRS if vr not in ("SQ", "UI")])
def test_a_dummy_is_valid(vr: str) -> None:
    dataset = Dataset()
    data = dummy(vr)
    dataset[0x00120010] = convert_raw_data_element(
        RawDataElement(pydicom.tag.Tag(0x00120010), vr, len(data), data, 0, False, True)
    )
    valid(dataset[0x00120010])


def valid(found: pydicom.DataElement) -> None:
    if found.VR != "SQ" and isinstance(found.value, str):
        validate_value(found.VR, found.value, RAISE)


# -- what the table does not name


def test_text_and_names_that_the_table_does_not_name_become_dummies() -> None:
    before = Dataset()
    before.add_new(0x00142006, "PN", "QZ^Evaluator")
    before.add_new(0x00080108, "LT", "QZ extended meaning")
    before.add_new(0x0062000A, "ST", "QZ")
    before.add_new(0x300A0016, "LO", "QZ in the table")
    before.add_new(0x00081190, "UR", "http://qz.example/")
    before.add_new(0x00080070, "LO", "ACME")
    after = raw(treated(before))
    assert b"QZ" not in after
    assert b"qz" not in after
    assert b"ACME" in after


def test_dates_that_the_table_does_not_name_follow_the_options() -> None:
    before = Dataset()
    before.PatientID = "1"
    before.add_new(0x00140102, "DA", "20200131")
    assert treated(before)[0x00140102].value == "19000101"
    assert treated(before, Option.RETAIN_FULL_DATES)[0x00140102].value == "20200131"
    shifted = treated(before, Option.RETAIN_MODIFIED_DATES)[0x00140102].value
    assert shifted not in ("20200131", "19000101")


@ALL_ENCODINGS
def test_private_elements_and_unknown_ones_are_removed(syntax: Syntax) -> None:
    before = Dataset()
    before.add_new(0x00090010, "LO", "ACME 1.0")
    before.add_new(0x00091001, "LO", "QZ")
    before.add_new(0x00081119, "LT", "QZ")
    before.add_new(0x60000010, "US", 2)
    before.add_new(0x60003000, "OW", b"QZ")
    before.add_new(0x50000010, "US", 2)
    before.Rows = 4
    after = treated(before, syntax=syntax)
    assert [each.tag for each in after if each.tag.group not in (0x0012, 0x0028)] == [0x00080018]
    assert after.Rows == 4


def test_uids_of_the_standard_stay_and_others_are_replaced_everywhere() -> None:
    before = Dataset()
    before.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    before.SOPInstanceUID = "1.2.3.4"
    before.FrameOfReferenceUID = "1.2.840.10008.1.4.1.1"
    before.add_new(0x00081167, "UI", "1.2.3.4")  # not in the table
    before.CodingSchemeIdentificationSequence = Sequence([Dataset()])
    before.CodingSchemeIdentificationSequence[0].CodingSchemeUID = "1.2.3.5"
    after = treated(before)
    assert after.SOPClassUID == before.SOPClassUID
    assert after.FrameOfReferenceUID == before.FrameOfReferenceUID
    assert after.SOPInstanceUID == after[0x00081167].value == KEYED.uid("1.2.3.4")
    assert after.CodingSchemeIdentificationSequence[0].CodingSchemeUID == "1.2.3.5"
    assert treated(before, Option.RETAIN_UIDS).SOPInstanceUID == "1.2.3.4"


def test_a_new_uid_is_a_valid_uuid_below_2_25() -> None:
    uid = KEYED.uid("1.2.3.4")
    assert re.fullmatch(r"2\.25\.[1-9][0-9]*", uid)
    assert len(uid) <= 64
    assert uuid.UUID(int=int(uid[5:])).version == 8
    assert uid == Keyed(b"a key of thirty-two bytes, no less").uid("1.2.3.4")
    assert uid != KEYED.uid("1.2.3.5")
    assert uid != Keyed(b"another key").uid("1.2.3.4")


# -- patients


def test_an_object_without_an_instance_uid_is_refused() -> None:
    """The file meta may still name it, and that UID would leave."""
    for data in (b"", el(0x00080018, "UI", b"")):
        draft = Draft(whole(data, LITTLE))
        with pytest.raises(Unsafe, match=r"\(0008,0018\)"):
            deidentify(draft, Profile(), KEYED)


def test_what_does_not_belong_into_a_dataset_does_not_leave() -> None:
    uid, stray = el(0x00080018, "UI", b"1.2.3\0"), el(0x00020016, "AE", b"QZ")
    assert b"QZ" not in treated_bytes(uid + stray)
    with pytest.raises(Unsafe, match=r"\(0000,1000\)"):
        treated_bytes(uid + el(0x00001000, "UI", b"1.2.3\0"))


def test_a_patient_gets_one_pseudonym_and_so_does_nobody_else() -> None:
    before = Dataset()
    before.PatientName, before.PatientID, before.IssuerOfPatientID = "QZ^Jane", "4711", "HOSPITAL"
    after = treated(before)
    assert after.PatientID == after.PatientName == KEYED.pseudonym(Patient("4711", "HOSPITAL"))
    assert "IssuerOfPatientID" not in after
    before.IssuerOfPatientID = "ELSEWHERE"
    assert treated(before).PatientID != after.PatientID


def test_a_given_pseudonym_is_taken() -> None:
    before = Dataset()
    before.PatientName, before.PatientID = "QZ^Jane", "4711"
    after = read(treated_bytes(raw(before), pseudonym="TRIAL-7"))
    assert (after.PatientID, after.PatientName) == ("TRIAL-7", "TRIAL-7")


def test_another_patient_in_a_sequence_does_not_get_the_pseudonym() -> None:
    before = Dataset()
    before.PatientName, before.PatientID = "QZ^Jane", "4711"
    before.GroupOfPatientsIdentificationSequence = Sequence([Dataset(), Dataset()])
    before.GroupOfPatientsIdentificationSequence[0].PatientID = "4711"
    before.GroupOfPatientsIdentificationSequence[1].PatientID = "4712"
    after = treated(before)
    same, other = (inner.PatientID for inner in after.GroupOfPatientsIdentificationSequence)
    assert same == after.PatientID
    assert other == "ANONYMIZED"


def test_without_a_patient_id_it_stays_empty() -> None:
    before = Dataset()
    before.PatientName, before.PatientID = "QZ^Jane", ""
    after = treated(before)
    assert (after.PatientID, after.PatientName) == ("", "")


def test_a_patient_id_that_can_not_be_read_is_refused() -> None:
    """Two that both can't be read would become one patient."""
    data = b"\x10\x00\x20\x00LO\x04\x00\xff\xfe12" + b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 192"
    data = data[12:] + data[:12]
    with pytest.raises(Unsafe, match=r"\(0010,0020\)"):
        treated_bytes(data)
    control = b"\x10\x00\x20\x00LO\x04\x0012\n4"
    with pytest.raises(Unsafe):
        patient_of(whole(control, LITTLE))


def test_anonymize_changes_the_patient_and_nothing_else() -> None:
    before = Dataset()
    before.PatientName, before.PatientID, before.PatientBirthDate = "QZ^Jane", "4711", "19700101"
    before.PatientSex, before.PatientWeight, before.OtherPatientIDs = "F", "70", "QZ1"
    before.add_new(0x00100033, "LO", "QZ of an other calendar")
    before.StudyDescription, before.StudyDate, before.SOPInstanceUID = "HEAD", "20200131", "1.2.3"
    before.RequestAttributesSequence = Sequence([Dataset()])
    before.RequestAttributesSequence[0].PatientBirthName = "QZ^Born"
    data = raw(before)
    draft = Draft(whole(data, LITTLE))
    anonymize(draft, "TRIAL-7")
    out = rewritten(data, LITTLE, draft)
    after = read(out)
    assert b"QZ" not in out
    assert (after.PatientID, after.PatientName, after.PatientBirthDate) == ("TRIAL-7", "TRIAL-7", "")
    assert (after.PatientSex, after.PatientWeight) == ("F", 70)
    assert (after.StudyDescription, after.StudyDate, after.SOPInstanceUID) == ("HEAD", "20200131", "1.2.3")


# -- dates


@pytest.mark.parametrize(
    ("given", "after"),
    [
        ("20200131", "20200130"),
        ("20200301", "20200229"),
        ("2020.01.31", "20200130"),
        ("20200131235959.123456+0100", "20200130235959.123456+0100"),
        ("202001311200", "202001301200"),
        ("", ""),
        ("202001", None),
        ("2020", None),
        ("20200231", None),
        ("00010101", None),
        ("yesterday", None),
        ("20200131-20200201", None),
    ],
)
def test_a_date_is_shifted_or_refused(given: str, after: str | None) -> None:
    assert shifted_date(given, datetime.timedelta(days=-1)) == after


def test_shifted_dates_keep_intervals_and_times() -> None:
    """PS3.15 E.3.6: one shift for a patient, whatever the study."""
    first, second = Dataset(), Dataset()
    for dataset, day, study in ((first, "20191231", "1.2.1"), (second, "20200302", "1.2.2")):
        dataset.PatientID, dataset.StudyInstanceUID = "4711", study
        dataset.StudyDate, dataset.StudyTime, dataset.AcquisitionDateTime = day, "235959", f"{day}235959.5"
    dates = []
    for dataset in (first, second):
        after = treated(dataset, Option.RETAIN_MODIFIED_DATES)
        assert after.StudyTime == "235959"
        assert after.AcquisitionDateTime == f"{after.StudyDate}235959.5"
        assert after.LongitudinalTemporalInformationModified == "MODIFIED"
        dates.append(datetime.datetime.strptime(after.StudyDate, "%Y%m%d"))
    assert (dates[1] - dates[0]).days == 62
    assert dates[0] < datetime.datetime(2019, 12, 31)
    other = Dataset()
    other.PatientID, other.StudyDate = "4712", "20191231"
    assert treated(other, Option.RETAIN_MODIFIED_DATES).StudyDate != dates[0].strftime("%Y%m%d")


def test_a_date_that_can_not_be_shifted_is_treated_as_without_the_option() -> None:
    before = Dataset()
    before.PatientID = "1"
    with pydicom.config.disable_value_validation():
        before.StudyDate, before.ContentDate = "QZ last year", "20209999"
        after = treated(before, Option.RETAIN_MODIFIED_DATES)
    assert (after.StudyDate, after.ContentDate) == ("", "19000101")


# -- cleaning


def test_cleaning_leaves_the_listed_texts_only() -> None:
    before = Dataset()
    before.StudyDescription, before.SeriesDescription = "CT Chest", "CT Chest Dr. QZ"
    before.AdmittingDiagnosesCodeSequence = Sequence([Dataset(), Dataset()])
    for inner, meaning in zip(before.AdmittingDiagnosesCodeSequence, ("Pneumonia", "QZ"), strict=True):
        inner.CodeValue, inner.CodingSchemeDesignator, inner.CodeMeaning = "1", "99X", meaning
    after = treated(before, Option.CLEAN_DESCRIPTORS, words=("ct chest", "pneumonia"))
    assert after.StudyDescription == "CT Chest"
    assert "SeriesDescription" not in after
    assert [inner.CodeMeaning for inner in after.AdmittingDiagnosesCodeSequence] == ["Pneumonia"]
    assert "StudyDescription" not in treated(before, words=("ct chest",))


def test_safe_private_elements_stay_with_their_creators() -> None:
    before = Dataset()
    before.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
    before.add_new(0x0019100C, "IS", "1000")
    before.add_new(0x00191008, "CS", "QZ")
    before.add_new(0x00190011, "LO", "ACME")
    before.add_new(0x00191101, "LO", "MINE")
    before.add_new(0x00191102, "LO", "QZ")
    before.add_new(0x00210010, "LO", "OTHER")
    before.add_new(0x00211001, "LO", "QZ")
    after = treated(before, Option.RETAIN_SAFE_PRIVATE, private=((0x0019, 1, "ACME"),))
    assert [int(each.tag) for each in after if each.tag.is_private] == [
        0x00190010, 0x00190011, 0x0019100C, 0x00191101,
    ]  # fmt: skip
    every = treated(before, Option.RETAIN_SAFE_PRIVATE, private=((0x0019, -1, "ACME"),))
    assert 0x00191102 in every
    assert 0x00211001 not in every


def test_graphics_stay_without_their_texts() -> None:
    before = Dataset()
    annotation, text = Dataset(), Dataset()
    annotation.GraphicLayer = "LAYER1"
    text.UnformattedTextValue = "QZ was here"
    text.AnchorPoint = [1.0, 2.0]
    annotation.TextObjectSequence = Sequence([text])
    before.GraphicAnnotationSequence = Sequence([annotation])
    after = treated(before, Option.CLEAN_GRAPHICS)
    found = after.GraphicAnnotationSequence[0]
    assert found.GraphicLayer == "LAYER1"
    assert list(found.TextObjectSequence[0].AnchorPoint) == [1.0, 2.0]
    assert found.TextObjectSequence[0].UnformattedTextValue == "ANONYMIZED"


# -- structured content


def content(value_type: str, code: str, meaning: str = "", **values: object) -> Dataset:
    item, name = Dataset(), Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = code, "DCM", meaning or code
    item.RelationshipType, item.ValueType = "CONTAINS", value_type
    item.ConceptNameCodeSequence = Sequence([name])
    for keyword, given in values.items():
        setattr(item, keyword, given)
    return item


def report() -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"
    measured = Dataset()
    measured.NumericValue = "12.5"
    inner = content("CONTAINER", "111", ContentSequence=Sequence([content("TEXT", "999999", TextValue="QZ free text")]))
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    dataset.ContentSequence = Sequence([
        content("PNAME", "121008", PersonName="QZ^Observer"),
        content("TEXT", "121106", TextValue="QZ comment"),
        content("TEXT", "121071", TextValue="normal"),
        content("IMAGE", "121112", ReferencedSOPSequence=Sequence([reference])),
        content("NUM", "222", MeasuredValueSequence=Sequence([measured])),
        content("DATETIME", "113809", DateTime="20200131120000"),
        inner,
    ])  # fmt: skip
    return dataset


def test_without_the_option_the_content_becomes_one_dummy() -> None:
    after = treated(report())
    (item,) = after.ContentSequence
    assert (item.ValueType, item.TextValue) == ("TEXT", "ANONYMIZED")


def test_content_is_cleaned_by_concept_and_type() -> None:
    """PS3.15 table E.3.4-1; what it does not name goes by its value type."""
    after = treated(report(), Option.CLEAN_STRUCTURED_CONTENT, Option.CLEAN_DESCRIPTORS, words=("Normal",))
    assert b"QZ" not in raw(after)
    name, finding, image, number, when, inner = after.ContentSequence
    assert name.PersonName == "ANONYMIZED"
    assert finding.TextValue == "normal"
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == KEYED.uid("1.2.3.4")
    assert image.ReferencedSOPSequence[0].ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert number.MeasuredValueSequence[0].NumericValue == "12.5"
    assert when.DateTime == "19000101000000"
    assert inner.ContentSequence[0].TextValue == "ANONYMIZED"
    kept = treated(report(), Option.CLEAN_STRUCTURED_CONTENT, Option.RETAIN_UIDS, Option.RETAIN_FULL_DATES)
    references = [item.ReferencedSOPSequence[0] for item in kept.ContentSequence if item.ValueType == "IMAGE"]
    assert [each.ReferencedSOPInstanceUID for each in references] == ["1.2.3.4"]
    assert [item.DateTime for item in kept.ContentSequence if item.ValueType == "DATETIME"] == ["20200131120000"]


def test_no_item_is_taken_out_where_items_are_referred_to_by_position() -> None:
    before = report()
    reference = Dataset()
    reference.RelationshipType, reference.ReferencedContentItemIdentifier = "INFERRED FROM", [1, 4]
    before.ContentSequence[6].ContentSequence.append(reference)
    after = treated(before, Option.CLEAN_STRUCTURED_CONTENT)
    assert len(after.ContentSequence) == 7
    assert after.ContentSequence[1].TextValue == "ANONYMIZED"
    assert after.ContentSequence[6].ContentSequence[1].ReferencedContentItemIdentifier == [1, 4]
    assert b"QZ" not in raw(after)


# -- what is said of it, and what must not leave


def test_what_was_done_is_said() -> None:
    after = treated(Dataset(), Option.RETAIN_UIDS, Option.RETAIN_FULL_DATES)
    assert after.PatientIdentityRemoved == "YES"
    assert after.DeidentificationMethod[0] == "Leyden, DICOM PS3.15 2026d Annex E"
    assert [each.CodeValue for each in after.DeidentificationMethodCodeSequence] == ["113100", "113110", "113106"]
    assert after.LongitudinalTemporalInformationModified == "UNMODIFIED"
    assert treated(Dataset()).LongitudinalTemporalInformationModified == "REMOVED"


@pytest.mark.parametrize(
    ("declared", "modality", "how", "leaves"),
    [
        ("YES", "CT", BurnedIn.REFUSE, False),
        ("YES", "CT", BurnedIn.STRICT, False),
        ("YES", "CT", BurnedIn.PASS, True),
        ("NO\\YES", "CT", BurnedIn.REFUSE, False),
        ("NO\\NO", "US", BurnedIn.STRICT, False),
        ("NO", "US", BurnedIn.STRICT, True),
        ("", "US", BurnedIn.REFUSE, True),
        ("", "US", BurnedIn.STRICT, False),
        ("", "CT", BurnedIn.STRICT, True),
    ],
)
def test_burned_in_annotation(declared: str, modality: str, how: BurnedIn, leaves: bool) -> None:
    before = Dataset()
    before.Modality = modality
    if declared:
        before.BurnedInAnnotation = declared
    if leaves:
        treated(before, burned_in=how)
    else:
        with pytest.raises(Unsafe, match="Burned In Annotation"):
            treated(before, burned_in=how)


def test_burned_in_annotation_in_small_letters_counts_too() -> None:
    with pytest.raises(Unsafe, match="Burned In Annotation"):
        treated_bytes(el(0x00280301, "CS", b"yes "))


SEVERAL = (
    (),
    (
        Option.RETAIN_UIDS,
        Option.RETAIN_FULL_DATES,
        Option.RETAIN_PATIENT_CHARACTERISTICS,
        Option.RETAIN_DEVICE_IDENTITY,
    ),
    (Option.RETAIN_MODIFIED_DATES, Option.CLEAN_DESCRIPTORS, Option.CLEAN_STRUCTURED_CONTENT, Option.CLEAN_GRAPHICS),
)


@pytest.fixture(scope="module")
def canary_patient() -> tuple[Dataset, dict[str, str]]:
    return canary.patient()


@ALL_ENCODINGS
@pytest.mark.parametrize("options", SEVERAL, ids=["basic", "retain", "clean"])
def test_the_canary_is_nowhere(
    syntax: Syntax, options: tuple[str, ...], canary_patient: tuple[Dataset, dict[str, str]]
) -> None:
    """Every value of the table, of free text and of private elements, at all depths and behind the pixels."""
    before, words = canary_patient
    data = raw(before, syntax)
    assert canary.found(data, words) == set(words.values())
    out = treated_bytes(data, *options, syntax=syntax)
    table = actions(options)
    assert {where for where in canary.found(out, words) if not kept(table, where)} == set()
    assert b"\1\2\3\4" in out


def kept(table: Actions, where: str) -> bool:
    """Whether an option keeps an element and all around it. Where dates are shifted, times stay (E.3.6)."""
    steps = [int(step, 16) for step in where.split(" > ")]
    acts = {found.act for tag in steps if (found := table.get(tag))}
    if acts & {Act.REMOVE, Act.EMPTY, Act.DUMMY}:
        return False
    if canary.vr_of(steps[-1]) == "TM" and Option.RETAIN_MODIFIED_DATES in table.options:
        return True
    named = table.get(steps[-1]) is not None or Option.RETAIN_FULL_DATES in table.options
    return named and acts <= {Act.KEEP, Act.UID}
