"""save_file paths: placeholders, masks, and values that try to leave their folder."""

import pydicom
import pytest
from msgspec.structs import replace

from leyden.dicom.part10 import FileMeta
from leyden.plan.placeholders import COMPONENT_LIMIT_BYTES, expand, filled, flaw, is_shared, masked, split
from support.headers import header_from, header_of


def header(**values: object) -> object:
    dataset = pydicom.Dataset()
    dataset.SOPInstanceUID = "2.25.7"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return header_of(dataset)


@pytest.mark.parametrize(
    ("value", "mask", "result"),
    [
        ("123456", "0000-00", "1234-56"),
        ("20240131", "0000/00/00", "2024/01/31"),
        ("smith", "Aaaaa", "Smith"),
        ("SMITH", "Aaa", "Smi"),
        ("A12B3", "000", "123"),
        ("a-b", "???", "a-b"),
        ("123456", "!!00", "34"),
        ("1234", "00`000", "12034"),
        ("1234", "(00)", "(12)"),
        ("12", "0000-00", "12"),
        ("1234", "0000-00", "1234"),
        ("", "00", ""),
        ("ab", "`A-a", "A-a"),
        ("x", "", ""),
        ("x", "?`", "x"),
    ],
)
def test_a_mask_puts_the_value_into_its_places(value: str, mask: str, result: str) -> None:
    assert masked(value, mask) == result


def test_values_names_and_masks_in_a_path() -> None:
    seen = header(PatientID="123456", StudyDate="20240131", Modality="CT", ImageType=["A", "B"])
    assert expand("/a/#{10,20:0000-00}/#{0008,0060}_#{8,20:0000/00}.dcm", seen) == "/a/1234-56/CT_2024/01.dcm"
    assert expand("/a/#{10,10}/#{0009,1001}/#{ 8 , 8 }", seen) == "/a/PatientName/0009,1001/A_B"
    assert expand("/a/#{2,10}.dcm", seen) == "/a/1.2.840.10008.1.2.1.dcm"
    assert expand("/a/", seen) == "/a/2.25.7.dcm"
    assert expand("/plain.dcm", seen) == "/plain.dcm"


def test_a_file_without_a_sop_instance_uid_is_named_by_its_envelope() -> None:
    meta = FileMeta("1.2.840.10008.5.1.4.1.1.7", "2.25.99", "1.2.840.10008.1.2.1")
    for data in (b"\x08\x00\x60\x00CS\x02\x00CT", b"\x08\x00\x18\x00UI\x00\x00"):
        assert expand("/a/", header_from(meta, data)) == "/a/2.25.99.dcm"
        assert expand("/a/", header_from(replace(meta, sop_instance_uid=""), data)) == "/a/SOPInstanceUID.dcm"


@pytest.mark.parametrize(
    ("target", "shared"),
    [
        ("/a/", False),
        ("/a/#{10,20}/#{8,18}.dcm", False),
        ("/a/#{0008,0018:????}", False),
        ("/a/#{2,3}", False),
        ("/a/#{10,20}/#{8,60}.dcm", True),
        ("/a/b.dcm", True),
    ],
)
def test_a_target_that_several_instances_share(target: str, shared: bool) -> None:
    assert is_shared(target) is shared


@pytest.mark.parametrize(
    ("value", "component"),
    [
        ("../../etc/passwd", "___.._etc_passwd"),
        ("..", "__"),
        (".", "_"),
        ("/etc", "_etc"),
        ("a\\b", "a_b"),
        ("a\x00b", "a_b"),
        ("a\x07[31m", "a_[31m"),
        (".hidden", "_hidden"),
        ("  ", "_"),
        ("", "_"),
    ],
)
def test_no_value_leaves_its_folder(value: str, component: str) -> None:
    seen = header_of(pydicom.Dataset())
    raw = value.encode().ljust(len(value) + len(value) % 2)
    meta = FileMeta("1.2.840.10008.5.1.4.1.1.7", "2.25.99", "1.2.840.10008.1.2.1")
    seen = header_from(meta, b"\x10\x00\x20\x00LO" + len(raw).to_bytes(2, "little") + raw)
    assert expand("/archive/#{10,20}/x.dcm", seen) == f"/archive/{component}/x.dcm"
    assert expand("/archive/#{10,20}/x.dcm", seen).count("/") == 3


def test_masks_do_not_lead_out_of_the_folder_and_names_stay_short() -> None:
    seen = header(PatientID=".", PatientName="ä" * 60)
    assert expand("/archive/#{10,20:../??}/x", seen).split("/")[:2] == ["", "archive"]
    assert ".." not in expand("/archive/#{10,20:../../?}/x", seen).split("/")
    long = expand("/a/" + "#{10,10}" * 5, seen).split("/")[-1]
    assert len(long.encode()) <= COMPONENT_LIMIT_BYTES


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("/a/#{10,20}/", ""),
        ("/a/#{10,20:0000-`}0}/#{8,18}", ""),
        ("/a..b/..c", ""),
        ("/a/#{10}/", "is not a placeholder"),
        ("/a/#{PatientID}", "is not a placeholder"),
        ("/a/#{10,20", "is not a placeholder"),
        ("../a", "must not hold .."),
        ("/a/..", "must not hold .."),
        (r"D:\archive", "Windows"),
        ("D:/archive", "Windows"),
        ("~/archive/", "write the absolute path"),
        ("/a\x07b", "control characters"),
        ("/a/#{10,20:0\x000}", "control characters"),
    ],
)
def test_flaws_of_a_target(target: str, problem: str) -> None:
    assert (problem in flaw(target)) if problem else flaw(target) == ""


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        ("#{2,3}", (0x00020003,)),
        ("#{2,2}-#{8,50}-#{10,20}", (0x00020002, "-", 0x00080050, "-", 0x00100020)),
        ("id #{0010,0020} ", ("id ", 0x00100020, " ")),
        ("#{ 8 , 50 }#{7FE0,10}", (0x00080050, 0x7FE00010)),
        ("plain", ("plain",)),
        ("", ()),
    ],
)
def test_a_template_is_split_into_texts_and_tags(template: str, parts: tuple[str | int, ...]) -> None:
    assert split(template) == parts


@pytest.mark.parametrize("template", ["#{2,3", "#{8,20:0000-00}", "#{PatientID}", "a#{}b", "#{8,18}#{x}"])
def test_what_is_no_placeholder_of_a_template_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"is not a placeholder here; these look like #\{10,20\}"):
        split(template)


def test_a_template_is_filled_with_values_of_the_dataset_and_the_file_meta() -> None:
    found = header(AccessionNumber="A1 ", ImageType=["ORIGINAL", "PRIMARY"], PatientComments="x" * 100)
    assert filled(split("#{2,3}/#{8,50}/#{8,8}/#{10,10}/"), found) == "2.25.7/A1/ORIGINAL\\PRIMARY//"
    assert filled(split("#{10,4000}"), found) == "x" * 64
