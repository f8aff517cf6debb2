"""What rules.py measures: rules that fail or hold where it says so, and a planner that plans every object."""

import itertools
import sys
from pathlib import Path

import pytest

from leyden.dicom.header import Header, peek
from leyden.plan.match import plan

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "perf"))

import rules


def headers(count: int) -> list[Header]:
    def look(content: bytes) -> Header:
        return peek(lambda offset, length: content[offset : offset + length], len(content))

    return [look(content) for content in itertools.islice(rules.files(), count)]


@pytest.mark.parametrize(
    ("conditions_of", "failing"), [("last_fails", 2), ("first_fails", 0), ("own_fails", 2), ("all_hold", None)]
)
def test_conditions_fail_where_the_row_says(tmp_path: Path, conditions_of: str, failing: int | None) -> None:
    settings = rules.settings(tmp_path, 30, getattr(rules, conditions_of))
    for header in headers(2):
        ran = plan(settings, header, every=True).ran
        assert len(ran) == 30
        for each in ran:
            assert len(each.route.conditions) == 3
            assert each.failed is (None if failing is None else each.route.conditions[failing])
            assert not each.unsure


def test_each_object_is_an_instance_of_its_own() -> None:
    assert len({header.texts(0x00080018) for header in headers(5)}) == 5


def test_the_planner_plans_every_object(tmp_path: Path) -> None:
    spent_us: list[float] = []
    assert rules.planned(tmp_path, spent_us, rules=3, count=150) > 0
    assert len(list((tmp_path / "cache" / "prepared" / "PACS").rglob("*.dcm"))) == 150
    assert "PACS" in (tmp_path / "leyden.log").read_text()
    assert spent_us[0] > 0
