"""sortings.yml: each sentence of the reference. What the destination sees, at length: tests/interop/test_order.py."""

from pathlib import Path

import pydicom
import pytest

from leyden.config.load import load
from leyden.errors import ConfigError
from leyden.plan.rules import SortAction, Sorting, SortType
from leyden.plan.sort import look, ordered
from support.headers import header_of
from support.sender import CT, dataset, destination
from support.service import node

NODES = node("IMAGEPACS", 11112) + node("REPORTPACS", 11113)
BY_NUMBER = "    - SortTag: 0020,0013\n      SortType: integer\n      SortDirection: asc\n"


def sortings(folder: Path, text: str | None, filters: str = "sort") -> tuple[Sorting, ...] | None:
    (folder / "config.yml").write_text(f"filters: {filters}\n")
    (folder / "nodes.yml").write_text(NODES)
    if text is not None:
        (folder / "sortings.yml").write_text(text)
    return load(folder, {}, {})[0].plan.sortings


def in_order(folder: Path, actions: str, *instances: dict[str, object]) -> list[int]:
    """The numbers of the instances (from 0, as they came) in the order of sending."""
    rules = sortings(folder, f"- Actions:\n{actions}")
    assert rules is not None
    seen = []
    for number, values in enumerate(instances):
        image = pydicom.Dataset()
        for keyword, value in values.items():
            setattr(image, keyword, value)
        seen.append((number, look(rules, header_of(image)).values or ()))
    return [number for number, _ in ordered(rules, seen, lambda each: each[1])]


def action(tag: str, kind: str, direction: str) -> str:
    return f"    - SortTag: {tag}\n      SortType: {kind}\n      SortDirection: {direction}\n"


def test_sortings_a_missing_file_means_the_filter_is_off(tmp_path: Path) -> None:
    """A file that is missing means: this filter is off."""
    assert sortings(tmp_path, None) is None


def test_sortings_an_invalid_file_stops_the_start(tmp_path: Path) -> None:
    """A file that is there and invalid: the service does not start, and the error names file and line."""
    with pytest.raises(ConfigError, match=r"^sortings.yml:3: Actions\[0\].SortType: "):
        sortings(tmp_path, f"- Actions:\n{BY_NUMBER.replace('integer', 'number')}")


def test_filters_run_in_the_order_written(tmp_path: Path) -> None:
    """filters: route, mutate, sort; they run in the order written."""
    sortings(tmp_path, f"- Actions:\n{BY_NUMBER}", "route, sort")
    assert load(tmp_path, {}, {})[0].plan.filters == ("route", "sort")


def test_Description_and_Type_may_be_given(tmp_path: Path) -> None:
    """A list of Description, AeTitles, Conditions, Actions of Type (sort, the default), Description."""
    described = f"{BY_NUMBER}      Type: sort\n      Description: by number\n"
    (rule,) = sortings(tmp_path, f"- Description: slices\n  Actions:\n{described}") or ()
    assert (rule.description, rule.actions[0].description) == ("slices", "by number")
    (without,) = sortings(tmp_path, f"- Actions:\n{BY_NUMBER}") or ()
    assert (without.actions[0].tag, without.actions[0].type) == (rule.actions[0].tag, SortType.INTEGER)


def test_AeTitles_name_the_destinations_that_are_sorted(sender, sink) -> None:
    """AeTitles: a sorting orders what leaves for these nodes, and for no other."""
    one_peer, other_peer = sink(), sink()
    rule = Sorting("", ("PACS",), actions=(SortAction("00200013"),))
    one = sender(
        destination(one_peer.port), destination(other_peer.port, "OTHER", max_associations=1), sortings=(rule,)
    )
    for title in ("PACS", "OTHER"):
        for place, number in enumerate((2, 1)):
            one.put(place, dataset(CT, f"2.25.77.{place}", series="2.25.1", number=number), to=title, series="2.25.1")
    one.start()
    assert [each.number for each in one_peer.wait(2)] == ["1", "2"]
    assert [each.number for each in other_peer.wait(2)] == ["2", "1"]


def test_Conditions_say_what_is_sorted(tmp_path: Path) -> None:
    """Conditions: all of a list must hold, as for the other files."""
    rules = sortings(
        tmp_path,
        "- Conditions:\n    - Tag: 8,60\n      MatchExpression: CT\n    - Tag: 0018,0015\n  Actions:\n" + BY_NUMBER,
    )
    assert rules is not None
    image = pydicom.Dataset()
    image.Modality, image.InstanceNumber = "CT", 4
    assert look(rules, header_of(image)).values is None
    image.BodyPartExamined = "HEAD"
    assert look(rules, header_of(image)).values == (4,)


@pytest.mark.parametrize("kind", ["integer", "string"])
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_SortType_and_SortDirection_are_written_in_lower_case(tmp_path: Path, kind: str, direction: str) -> None:
    """SortType integer|string, SortDirection asc|desc (lower case)."""
    assert sortings(tmp_path, f"- Actions:\n{action('20,13', kind, direction)}")
    for wrong in (action("20,13", kind.upper(), direction), action("20,13", kind, direction.title())):
        with pytest.raises(ConfigError, match="in lower case"):
            sortings(tmp_path, f"- Actions:\n{wrong}")


def test_SortTag_gives_the_order_within_a_series(sender, sink) -> None:
    """Orders the instances of one series that wait together."""
    peer = sink()
    one = sender(destination(peer.port), sortings=(Sorting("", actions=(SortAction("00200013"),)),))
    for place, (series, number) in enumerate([("2.25.1", 3), ("2.25.2", 1), ("2.25.1", 2), ("2.25.2", 0)]):
        one.put(place, dataset(CT, f"2.25.77.{place}", series=series, number=number), series=series)
    one.start()
    seen = peer.wait(4)
    for series, numbers in (("2.25.1", ["2", "3"]), ("2.25.2", ["0", "1"])):
        assert [each.number for each in seen if each.series == series] == numbers


def test_each_action_sorts_again_and_the_last_one_decides(tmp_path: Path) -> None:
    """Each action re-sorts, the last one decides."""
    both = action("InstanceNumber", "integer", "asc") + action("AcquisitionNumber", "integer", "asc")
    instances = ({"InstanceNumber": 1, "AcquisitionNumber": 2}, {"InstanceNumber": 2, "AcquisitionNumber": 1})
    assert in_order(tmp_path, both, *instances) == [1, 0]


def test_each_action_is_stable(tmp_path: Path) -> None:
    """Stable: where the last action sees no difference, the order of the one before stays, and at last the arrival."""
    both = action("InstanceNumber", "integer", "desc") + action("AcquisitionNumber", "integer", "desc")
    numbers = [(1, 7), (2, 7), (3, 8), (2, 7)]
    instances = [{"InstanceNumber": number, "AcquisitionNumber": other} for number, other in numbers]
    assert in_order(tmp_path, both, *instances) == [2, 1, 3, 0]


@pytest.mark.parametrize(("direction", "expected"), [("asc", [2, 1, 0]), ("desc", [1, 2, 0])])
def test_SortTag_an_instance_without_it_goes_last_in_either_direction(
    tmp_path: Path, direction: str, expected: list[int]
) -> None:
    """An instance without the tag goes last in either direction."""
    instances: tuple[dict[str, object], ...] = ({}, {"InstanceNumber": 5}, {"InstanceNumber": -5})
    assert in_order(tmp_path, action("InstanceNumber", "integer", direction), *instances) == expected


def test_SortType_integer_what_cannot_be_parsed_counts_as_0(tmp_path: Path) -> None:
    """An integer that can't be parsed counts as 0."""
    texts = ("1", "first", "-1", "", "1.5")
    instances = [{"StudyDescription": text} for text in texts]
    assert in_order(tmp_path, action("StudyDescription", "integer", "asc"), *instances) == [2, 1, 3, 4, 0]


def test_SortType_string_compares_by_code_point(tmp_path: Path) -> None:
    """Strings compare by code point."""
    instances = [
        {"SpecificCharacterSet": "ISO_IR 192", "StudyDescription": text} for text in ("a", "Z", "é", "10", "9")
    ]
    assert in_order(tmp_path, action("StudyDescription", "string", "asc"), *instances) == [3, 4, 1, 0, 2]
