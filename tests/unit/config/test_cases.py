"""cases.yml to cases: every mistake at once, each with its line."""

from pathlib import Path

import pytest

from leyden.config.cases import cases
from leyden.dicom.uids import JPEG2000_LOSSLESS
from leyden.errors import ConfigError
from leyden.operate.cases import Case, ExpectedDelivery
from leyden.plan.rules import Place, Step

TITLES = {"IMAGEPACS": "IMAGEPACS", "PACS": "IMAGEPACS", "LEYDEN": ""}


def read(folder: Path, text: str) -> tuple[Case, ...]:
    (folder / "cases.yml").write_text(text)
    (folder / "ct.dcm").write_bytes(b"")
    return cases(folder / "cases.yml", TITLES, Path("/etc/leyden"))


def problems(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return caught.value.problems


def test_all_of_a_case(tmp_path: Path) -> None:
    text = r"""
- Description: CT
  File: ct.dcm
  From: CT1
  To: PACS
  Expect:
    Deliveries:
      - To: PACS
        As: jpeg2000lossless
        Calling: CT1
        Values:
          PatientName: DOE^JOHN
          8,8: ORIGINAL\PRIMARY
          0010,0020: ''
          PatientBirthDate:
          0040,0275[1].CodeValue: X
    Saved: [kept/a.dcm, /b.dcm]
    Dropped: true
    Failed: no destination
    Rejected: false
"""
    values = {
        Place(0x00100010): "DOE^JOHN",
        Place(0x00080008): "ORIGINAL\\PRIMARY",
        Place(0x00100020): "",
        Place(0x00100030): None,
        Place(0x00080100, (Step(0x00400275, 1),)): "X",
    }
    assert read(tmp_path, text) == (
        Case(
            where="cases.yml:2",
            path=tmp_path / "ct.dcm",
            calling="CT1",
            called="PACS",
            description="CT",
            deliveries=(ExpectedDelivery("IMAGEPACS", JPEG2000_LOSSLESS, "CT1", values),),
            saved=("/etc/leyden/kept/a.dcm", "/b.dcm"),
            dropped="",
            failed="no destination",
            rejected=None,
        ),
    )


def test_what_is_left_out_may_be_anything(tmp_path: Path) -> None:
    (case,) = read(
        tmp_path, "- File: ct.dcm\n  Expect:\n    Deliveries:\n      - To: IMAGEPACS\n        As: as it came\n"
    )
    assert (case.calling, case.called, case.dropped) == ("", "", None)
    assert case.deliveries == (ExpectedDelivery("IMAGEPACS", ""),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "cases.yml: holds no case"),
        ("File: ct.dcm\n", "cases.yml:1: must be a list: each case begins with a dash (- File: ...)"),
        ("- File: ct.dcm\n", "cases.yml:1: Expect: is missing"),
        ("- File: ct.dcm\n  Expect:\n", "cases.yml:1: Expect: is missing"),
        ("- File: ct.dcm\n  Expect: {}\n", "cases.yml:2: Expect: is empty; name what must happen"),
        ("- File: mr.dcm\n  Expect:\n    Dropped: true\n", "cases.yml:1: File: /"),
        (
            "- File: ct.dcm\n  Form: X\n  Expect:\n    Dropped: true\n",
            "cases.yml:2: Form: unknown key (did you",
        ),
        ("- File: ct.dcm\n  Expect:\n    Xyz: true\n    Dropped: true\n", "cases.yml:3: Xyz: unknown key"),
        (
            "- File: ct.dcm\n  Expect:\n    Deliveries:\n      - To: IMAGEPAC\n",
            "cases.yml:4: Expect.Deliveries[0].To: no node named IMAGEPAC (did you mean IMAGEPACS?)",
        ),
        (
            "- File: ct.dcm\n  Expect:\n    Deliveries:\n      - To: LEYDEN\n",
            "cases.yml:4: Expect.Deliveries[0].To: no node named LEYDEN",
        ),
        (
            "- File: ct.dcm\n  Expect:\n    Deliveries:\n      - To: PACS\n        As: JPEG2000Loseless\n",
            "cases.yml:5: Expect.Deliveries[0].As: there is no transfer syntax JPEG2000Loseless (did you mean",
        ),
        (
            "- File: ct.dcm\n  Expect:\n    Deliveries:\n      - To: PACS\n        Values:\n          PatientNam: X\n",
            "cases.yml:6: Expect.Deliveries[0].Values: 'PatientNam' is no tag",
        ),
        (
            "- File: ct.dcm\n  Expect:\n    Deliveries:\n      - To: PACS\n        Values:\n          Source: X\n",
            "cases.yml:6: Expect.Deliveries[0].Values: Source is no element",
        ),
        (
            "- File: ct.dcm\n  Expect:\n    Deliveries:\n      - To: PACS\n        Values:\n          8,6[*].8,1: X\n",
            "cases.yml:6: Expect.Deliveries[0].Values: 8,6[*].8,1: name one item, such as [1]",
        ),
    ],
)
def test_one_mistake(tmp_path: Path, text: str, told: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(told)


def test_every_mistake_at_once_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    found = problems(tmp_path, "- File: ct.dcm\n  To: 'x\n- File: mr.dcm\n  Expect:\n    Dropp: true\n")
    assert [line.split(":")[1] for line in found] == ["2", "3", "5"]
    with pytest.raises(ConfigError, match="No such file"):
        cases(tmp_path / "absent.yml", TITLES, tmp_path)
