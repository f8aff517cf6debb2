"""What is told of a file that is not treated as expected: each difference, and nothing else."""

from pathlib import Path

import pytest

from leyden.dicom.uids import EXPLICIT_LE, JPEG2000_LOSSLESS
from leyden.operate.cases import Case, Difference, ExpectedDelivery, check
from leyden.plan.rules import Action, Condition, Kind, Place, Route
from support.objects import real
from unit.operate.test_operate_explain import ADD, DROP, SAVE, configured, route

TO_REPORTS = route(Action(ADD, "REPORTPACS"), when=(Condition("00080060", Kind.LITERAL, "CT"),))
MODALITY, PHYSICIANS = Place(0x00080060), Place(0x00081048)
IMAGES, REPORTS = ExpectedDelivery("IMAGEPACS"), ExpectedDelivery("REPORTPACS")


def differences(
    *routes: Route, called: str = "PACS", file: str = "CT_small.dcm", **expected: object
) -> list[Difference]:
    case = Case("cases.yml:1", real(file), "CT1", called, **expected)  # type: ignore[arg-type]
    (verdict,) = check(case, configured(*routes, syntax=JPEG2000_LOSSLESS))
    assert verdict.passed == (not verdict.differences)
    return list(verdict.differences)


def test_a_case_that_is_as_expected() -> None:
    values = {MODALITY: "CT", PHYSICIANS: None, Place(0x00080008): "ORIGINAL\\PRIMARY\\AXIAL"}
    images = ExpectedDelivery("IMAGEPACS", JPEG2000_LOSSLESS, "LEYDEN", values)
    assert differences(TO_REPORTS, deliveries=(images, REPORTS)) == []
    assert differences(file="test-SR.dcm", deliveries=(ExpectedDelivery("IMAGEPACS", ""),)) == []
    assert differences(file="test-SR.dcm", deliveries=(ExpectedDelivery("IMAGEPACS", EXPLICIT_LE),)) == []


def test_a_delivery_that_is_missing_and_one_too_many() -> None:
    assert differences(deliveries=(IMAGES, REPORTS)) == [Difference("delivered to REPORTPACS", "")]
    assert differences(TO_REPORTS, deliveries=(IMAGES,)) == [
        Difference("", "delivered to REPORTPACS (routings.yml:1 add_destination)")
    ]


def test_another_form_title_or_value() -> None:
    values = {MODALITY: "MR", Place(0x00100010): None, PHYSICIANS: "X"}
    wrong = ExpectedDelivery("IMAGEPACS", "", "CT1", values)
    assert differences(deliveries=(wrong,)) == [
        Difference("IMAGEPACS: As as it came", "IMAGEPACS: As JPEG2000Lossless"),
        Difference("IMAGEPACS: Calling CT1", "IMAGEPACS: Calling LEYDEN"),
        Difference("IMAGEPACS: Modality 'MR'", "IMAGEPACS: Modality 'CT'"),
        Difference("IMAGEPACS: PatientName absent", "IMAGEPACS: PatientName 'CompressedSamples^CT1'"),
        Difference("IMAGEPACS: PhysiciansOfRecord 'X'", "IMAGEPACS: PhysiciansOfRecord absent"),
    ]


@pytest.mark.parametrize("reason", ["", "drop", "routings.yml:1", "a rule"])
def test_a_drop_is_expected_as_such_or_by_its_rule(reason: str) -> None:
    assert differences(route(Action(DROP)), dropped=reason) == []


def test_ends_that_are_not_expected() -> None:
    dropped = "dropped: routings.yml:1 drop: a rule"
    assert differences(route(Action(DROP)), dropped="another") == [Difference("dropped: another", dropped)]
    assert differences(route(Action(DROP))) == [Difference("", dropped)]
    assert differences(deliveries=(IMAGES,), dropped="") == [Difference("dropped", "not dropped")]
    assert differences(called="LEYDEN", failed="no route added") == []
    (failed,) = differences(called="LEYDEN")
    assert failed.got.startswith("failed: no destination")
    assert differences(called="NOBODY", rejected="called AE title not recognized") == []
    assert differences(called="NOBODY", rejected="", deliveries=(IMAGES,)) == [Difference("delivered to IMAGEPACS", "")]


def test_copies_are_expected_by_their_path() -> None:
    save = route(Action(SAVE, "/a/#{8,60}.dcm"))
    assert differences(save, deliveries=(IMAGES,), saved=("/a/CT.dcm",)) == []
    assert differences(save, deliveries=(IMAGES,), saved=("/b.dcm",)) == [
        Difference("saved as /b.dcm", ""),
        Difference("", "saved as /a/CT.dcm (routings.yml:1 save_file)"),
    ]


def test_what_is_saved_and_sent_nowhere_is_not_dropped() -> None:
    save = route(Action(SAVE, "/a/#{8,60}.dcm", True))
    assert differences(save, saved=("/a/CT.dcm",)) == []
    assert differences(save, saved=("/a/CT.dcm",), dropped="") == [Difference("dropped", "not dropped")]
    drop = route(Action(DROP))
    assert differences(drop, save, saved=("/a/CT.dcm",), dropped="drop") == []


def test_each_file_of_a_folder_is_judged(tmp_path: Path) -> None:
    for name in ("CT_small.dcm", "MR_small.dcm"):
        (tmp_path / name).write_bytes(real(name).read_bytes())
    (tmp_path / "notes.txt").write_text("no DICOM")
    case = Case("cases.yml:1", tmp_path, "CT1", "PACS", deliveries=(IMAGES, REPORTS))
    verdicts = {Path(verdict.file).name: verdict for verdict in check(case, configured(TO_REPORTS))}
    assert [verdicts[name].passed for name in ("CT_small.dcm", "MR_small.dcm", "notes.txt")] == [True, False, False]
    assert verdicts["notes.txt"].differences[0].got.startswith("can't be read: not a Part 10 file")
