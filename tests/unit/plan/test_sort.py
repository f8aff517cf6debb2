"""The filter sort: what orders an instance, and the order."""

import pydicom
import pytest

from leyden.dicom.header import Header
from leyden.plan.rules import Condition, Kind, SortAction, Sorting, SortType
from leyden.plan.sort import Value, Values, look, ordered, remarks
from support.headers import header_of

NUMBER, SLICE, LABEL = "00200013", "00200012", "00080050"
CT = Condition("00080060", Kind.LITERAL, "CT")


def header(modality: str = "CT", **values: object) -> Header:
    dataset = pydicom.Dataset()
    dataset.Modality = modality
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return header_of(dataset)


def by(tag: str, kind: SortType = SortType.INTEGER, *, descending: bool = False) -> Sorting:
    return Sorting("sortings.yml:1", actions=(SortAction(tag, kind, descending),))


def order(sorting: Sorting, *seen: Value) -> list[Value]:
    return [value for (value,) in ordered([sorting], [(each,) for each in seen], lambda values: values)]


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        (SortType.INTEGER, "7", 7),
        (SortType.INTEGER, "-12", -12),
        (SortType.INTEGER, "007", 7),
        (SortType.INTEGER, "", 0),
        (SortType.STRING, "A7", "A7"),
        (SortType.STRING, "", ""),
    ],
)
def test_what_an_action_sees(kind: SortType, written: str, value: Value) -> None:
    tag, keyword = (NUMBER, "InstanceNumber") if kind is SortType.INTEGER else (LABEL, "AccessionNumber")
    assert look([by(tag, kind)], header(**{keyword: written or None})).values == (value,)


@pytest.mark.parametrize("written", ["1.5", "A", "1e3", "12 a", "--1"])
def test_what_is_no_whole_number_counts_as_0(written: str) -> None:
    assert look([by("00081030")], header(StudyDescription=written)).values == (0,)


def test_an_absent_element_is_none_and_group_0002_is_read() -> None:
    assert look([by(NUMBER)], header()).values == (None,)
    assert look([by("00020003", SortType.STRING)], header()).values == ("2.25.7",)


def test_without_a_sorting_that_applies_there_is_no_order() -> None:
    only_ct = Sorting("sortings.yml:1", conditions=(CT,), actions=(SortAction(NUMBER),))
    assert look([only_ct], header("MR", InstanceNumber=3)).values is None
    assert look([only_ct], header("CT", InstanceNumber=3)).values == (3,)
    assert look([only_ct, by(SLICE)], header("MR", InstanceNumber=3, AcquisitionNumber=5)).values == (None, 5)


def test_ascending_and_descending_put_what_has_no_value_last() -> None:
    assert order(by(NUMBER), 3, None, -1, 20, 0) == [-1, 0, 3, 20, None]
    assert order(by(NUMBER, descending=True), 3, None, -1, 20, 0) == [20, 3, 0, -1, None]


def test_strings_compare_by_code_point() -> None:
    kind = SortType.STRING
    assert order(by(LABEL, kind), "a", "B", "é", "", "10", "9") == ["", "10", "9", "B", "a", "é"]
    assert order(by(LABEL, kind, descending=True), "a", "B", None, "9") == ["a", "B", "9", None]


@pytest.mark.parametrize("descending", [False, True])
def test_equal_ones_stay_as_they_came(descending: bool) -> None:
    items: list[tuple[Values, str]] = [((1,), "first"), ((2,), "x"), ((1,), "second"), ((1,), "third")]
    found = [name for _, name in ordered([by(NUMBER, descending=descending)], items, lambda item: item[0])]
    assert [name for name in found if name != "x"] == ["first", "second", "third"]


def test_the_last_action_decides_and_the_one_before_where_it_sees_no_difference() -> None:
    both = Sorting("", actions=(SortAction(NUMBER), SortAction(SLICE, descending=True)))
    seen: list[Values] = [(2, 1), (1, 1), (5, 9), (4, None), (3, None)]
    assert ordered([both], seen, lambda values: values) == [(5, 9), (1, 1), (2, 1), (3, None), (4, None)]


def test_the_last_sorting_decides_too() -> None:
    assert ordered([by(NUMBER), by(SLICE)], [(1, 2), (2, 1)], lambda values: values) == [(2, 1), (1, 2)]


def test_the_log_is_told_of_conditions_that_ask_for_it() -> None:
    quiet, loud = (Condition("00080060", Kind.LITERAL, "CT", log_info=info) for info in (False, True))
    found = look([Sorting("sortings.yml:4", conditions=(quiet, loud), actions=(SortAction(NUMBER),))], header())
    assert list(remarks(found)) == ["sortings.yml:4: condition on Modality holds"]
