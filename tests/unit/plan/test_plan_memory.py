"""What the planner remembers is bounded; entries are postponed, and messages silenced, for a minute."""

import pytest

from leyden.plan import memory
from leyden.plan.memory import POSTPONED_S, PlannedLately, Postponed


def test_a_second_entry_is_one_of_the_same_instance_and_destination() -> None:
    lately = PlannedLately([("PACS", "aa")])
    assert lately.add("PACS", "aa")
    assert not lately.add("REPORTS", "aa")
    assert not lately.add("PACS", "bb")
    assert lately.add("PACS", "bb")


def test_each_entry_is_postponed_for_a_minute_with_its_instance() -> None:
    postponed = Postponed()
    postponed.put("a", "11", 0.0)
    postponed.put("b", "11", 10.0)
    postponed.put("c", "", 20.0)
    assert ("a" in postponed, "x" in postponed, len(postponed)) == (True, False, 3)
    assert [postponed.has_older("d", key) for key in ("11", "22", "")] == [True, False, False]
    assert not postponed.has_older("a", "11"), "b is younger"
    postponed.put("a", "11", 30.0)
    postponed.release_due(POSTPONED_S + 10.0)
    assert ("a" in postponed, "b" in postponed, "c" in postponed) == (True, False, True)
    assert postponed.has_older("d", "11")
    postponed.release_due(POSTPONED_S + 30.0)
    assert not postponed.has_older("d", "11")
    assert len(postponed) == 0


def test_a_held_entry_waits_until_its_release_which_frees_those_behind_it() -> None:
    postponed = Postponed()
    postponed.hold("a", "11")
    postponed.put("b", "11", 0.0)
    postponed.put("c", "22", 0.0)
    postponed.release_due(POSTPONED_S - 1.0)
    assert ("a" in postponed, "b" in postponed, len(postponed)) == (True, True, 3)
    assert postponed.has_older("b", "11")
    postponed.release("a")
    assert ["a" in postponed, "b" in postponed, "c" in postponed] == [False, False, True]
    assert not postponed.has_older("d", "11")
    postponed.hold("c", "22")
    postponed.hold("d", "22")
    postponed.release_due(10 * POSTPONED_S)
    postponed.release("c")
    assert ("c" in postponed, "d" in postponed, len(postponed)) == (False, True, 1)


def test_the_oldest_is_forgotten_where_too_many_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "POSTPONED_MAX", 2)
    postponed = Postponed()
    for n, path in enumerate("abc"):
        postponed.put(path, path, float(n))
    assert [path in postponed for path in "abc"] == [False, True, True]
    assert not postponed.has_older("b", "a")


def test_one_kind_of_trouble_is_told_once_a_minute() -> None:
    postponed = Postponed()
    assert [postponed.to_tell("rule", now_s) for now_s in (5.0, 6.0, 64.9, 65.0, 66.0)] == [
        True,
        False,
        False,
        True,
        False,
    ]
    assert postponed.to_tell("another", 6.0)
