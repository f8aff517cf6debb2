"""The table of transfer syntaxes against pydicom's, and what counts as storage against pynetdicom's."""

import pynetdicom.sop_class
import pytest
from pydicom.uid import UID, UID_dictionary

from leyden.dicom import uids
from leyden.dicom.uids import SYNTAXES, clean_uid, is_storage, is_well_formed, syntax_by_name, syntax_name
from leyden.errors import Corrupt

STANDARD = sorted(uid for uid, row in UID_dictionary.items() if row[1] == "Transfer Syntax")
NAMES_OF_THE_CONFIGURATION = {
    "ImplicitVRLittleEndian": "1.2.840.10008.1.2",
    "ExplicitVRLittleEndian": "1.2.840.10008.1.2.1",
    "ExplicitVRBigEndian": "1.2.840.10008.1.2.2",
    "DeflatedExplicitVRLittleEndian": "1.2.840.10008.1.2.1.99",
    "JPEGProcess14SV1": "1.2.840.10008.1.2.4.70",
    "JPEGLossless": "1.2.840.10008.1.2.4.70",
    "JPEGProcess14": "1.2.840.10008.1.2.4.57",
    "JPEG2000Lossless": "1.2.840.10008.1.2.4.90",
    "JPEG2000Lossy": "1.2.840.10008.1.2.4.91",
    "RLELossless": "1.2.840.10008.1.2.5",
    "DeflatedImageFrame": "1.2.840.10008.1.2.8.1",
    "DeflatedImageFrameCompression": "1.2.840.10008.1.2.8.1",
    "JPEGLSLossless": "1.2.840.10008.1.2.4.80",
    "JPEGLSNearLossless": "1.2.840.10008.1.2.4.81",
    "JPEGProcess1": "1.2.840.10008.1.2.4.50",
    "JPEGProcess2_4": "1.2.840.10008.1.2.4.51",
    "HTJ2KLossless": "1.2.840.10008.1.2.4.201",
    "HTJ2KLosslessRPCL": "1.2.840.10008.1.2.4.202",
    "HTJ2K": "1.2.840.10008.1.2.4.203",
    "JPEGXLLossless": "1.2.840.10008.1.2.4.110",
    "JPEGXLJPEGRecompression": "1.2.840.10008.1.2.4.111",
    "JPEGXL": "1.2.840.10008.1.2.4.112",
}


@pytest.mark.parametrize("uid", STANDARD)
def test_every_syntax_of_the_standard_is_a_row(uid: str) -> None:
    row, peer = SYNTAXES[uid], UID(uid)
    if not row.name.startswith(("JPIP", "Papyrus", "RFC2557", "SMPTE", "XML")):  # pydicom gives its default for these
        assert row.explicit is not peer.is_implicit_VR
        assert row.big_endian is not peer.is_little_endian
        assert row.deflated is peer.is_deflated
        assert row.encapsulated is peer.is_encapsulated


def test_what_pydicom_does_not_tell() -> None:
    assert not SYNTAXES["1.2.840.10008.1.20"].explicit
    assert not SYNTAXES["1.2.840.10008.1.2.4.94"].encapsulated
    assert SYNTAXES["1.2.840.10008.1.2.4.205"].deflated


def test_each_syntax_of_the_configuration_can_be_made_and_read_and_no_other() -> None:
    assert set(NAMES_OF_THE_CONFIGURATION.values()) == uids.MADE


def test_lossless_syntaxes_are_not_lossy() -> None:
    lossless = {row.name for row in SYNTAXES.values() if row.encapsulated and not row.lossy}
    assert lossless == {
        "EncapsulatedUncompressedExplicitVRLittleEndian",
        "JPEGProcess14",
        "JPEGLosslessNonHierarchical15",
        "JPEGLosslessHierarchical28",
        "JPEGLosslessHierarchical29",
        "JPEGProcess14SV1",
        "JPEGLSLossless",
        "JPEG2000Lossless",
        "JPEG2000MCLossless",
        "JPEGXLLossless",
        "HTJ2KLossless",
        "HTJ2KLosslessRPCL",
        "RLELossless",
        "DeflatedImageFrameCompression",
    }
    assert {SYNTAXES[uid].name for uid in uids.MADE if SYNTAXES[uid].lossy} == {
        "JPEGProcess1", "JPEGProcess2_4", "JPEGLSNearLossless", "JPEG2000Lossy", "HTJ2K",
        "JPEGXL", "JPEGXLJPEGRecompression",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "uid"), NAMES_OF_THE_CONFIGURATION.items())
def test_names_of_the_configuration(name: str, uid: str) -> None:
    for text in (name, name.upper(), name.lower(), f" {uid} "):
        found = syntax_by_name(text)
        assert found is SYNTAXES[uid]
    assert syntax_by_name(syntax_name(uid)) is SYNTAXES[uid]


def test_names_are_unique_and_fit_into_a_file_name() -> None:
    names = [row.name for row in SYNTAXES.values()]
    assert len({name.lower() for name in names}) == len(names)
    assert all(name.replace("_", "").isalnum() for name in names)


def test_unknown_syntaxes() -> None:
    assert syntax_by_name("JPEG3000") is None
    assert syntax_by_name("") is None
    assert syntax_name("1.2.3") == "1.2.3"


def test_every_storage_class_is_known_as_one_private_and_future_ones_too() -> None:
    storage = {str(uid) for uid in pynetdicom.sop_class._STORAGE_CLASSES.values()}
    storage |= {str(uid) for uid in pynetdicom.sop_class._NON_PATIENT_OBJECT_CLASSES.values()}
    assert len(storage) > 150
    assert [uid for uid in storage if not is_storage(uid)] == []
    assert is_storage("1.3.12.2.1107.5.9.1")  # Siemens CSA, a private class
    assert is_storage("1.2.840.10008.5.1.4.1.1.999")  # one that does not exist yet
    for uid, (name, kind, *_) in UID_dictionary.items():
        if kind in ("SOP Class", "Meta SOP Class") and "Storage" in name and "Directory" not in name:
            assert is_storage(uid) == ("Storage Commitment" not in name), name


@pytest.mark.parametrize(
    "family",
    [
        "_APPLICATION_EVENT_CLASSES",
        "_BASIC_WORKLIST_CLASSES",
        "_DEFINED_PROCEDURE_CLASSES",
        "_DISPLAY_SYSTEM_CLASSES",
        "_COLOR_PALETTE_CLASSES",
        "_HANGING_PROTOCOL_CLASSES",
        "_IMPLANT_TEMPLATE_CLASSES",
        "_INSTANCE_AVAILABILITY_CLASSES",
        "_INVENTORY_CLASSES",
        "_MEDIA_CREATION_CLASSES",
        "_MEDIA_STORAGE_CLASSES",
        "_PRINT_MANAGEMENT_CLASSES",
        "_PROCEDURE_STEP_CLASSES",
        "_PROTOCOL_APPROVAL_CLASSES",
        "_QR_CLASSES",
        "_RELEVANT_PATIENT_QUERY_CLASSES",
        "_RT_MACHINE_VERIFICATION_CLASSES",
        "_STORAGE_COMMITMENT_CLASSES",
        "_STORAGE_MANAGEMENT_CLASSES",
        "_SUBSTANCE_ADMINISTRATION_CLASSES",
        "_UNIFIED_PROCEDURE_STEP_CLASSES",
        "_VERIFICATION_CLASSES",
    ],
)
def test_services_are_not_storage(family: str) -> None:
    classes = getattr(pynetdicom.sop_class, family)
    assert classes
    assert [name for name, uid in classes.items() if is_storage(str(uid))] == []


def test_our_own_uids() -> None:
    assert is_well_formed(uids.IMPLEMENTATION_CLASS_UID)
    assert len(uids.IMPLEMENTATION_VERSION) <= 16
    assert uids.VERIFICATION == "1.2.840.10008.1.1"


@pytest.mark.parametrize(("text", "good"), [
    ("1.2.840.10008.1.2", True), ("0.0", True), ("1." + "2" * 62, True), ("1." + "2" * 63, False), ("", False),
    ("1..2", False), (".1", False), ("1.", False), ("1.02", False), ("1.2a", False), ("1.2\n", False), ("1.٢", False),
])  # fmt: skip
def test_a_well_formed_uid_is_told_from_others(text: str, good: bool) -> None:
    assert is_well_formed(text) is good


@pytest.mark.parametrize(("raw", "text"), [
    (b"1.2.3\0", "1.2.3"), (b"1.2.3 ", "1.2.3"), (b" 1.2.3\0\0", "1.2.3"), (b"", ""), (b"\0\0", ""),
    (b"1.2.ABC", "1.2.ABC"), (b"1.2\n.3", "1.2?.3"), (b"1.2\xff", "1.2?"), (b"../../etc", "../../etc"),
])  # fmt: skip
def test_clean_uid(raw: bytes, text: str) -> None:
    assert clean_uid(raw) == text


def test_a_uid_is_bounded() -> None:
    assert clean_uid(b"1" * 64 + b"\0\0") == "1" * 64
    with pytest.raises(Corrupt, match="65 characters"):
        clean_uid(b"1" * 65)
