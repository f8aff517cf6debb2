"""What the planner remembers: bounded, and each hold and each message for a minute."""

import pytest

from leyden.plan import memory
from leyden.plan.memory import ASIDE_S, Aside, Twins


def test_a_twin_is_one_of_the_same_instance_and_destination() -> None:
    twins = Twins([("PACS", "aa")])
    assert twins.seen("PACS", "aa")
    assert not twins.seen("REPORTS", "aa")
    assert not twins.seen("PACS", "bb")
    assert twins.seen("PACS", "bb")


def test_each_entry_is_held_for_a_minute_with_its_instance() -> None:
    aside = Aside()
    aside.put("a", "11", 0.0)
    aside.put("b", "11", 10.0)
    aside.put("c", "", 20.0)
    assert ("a" in aside, "x" in aside, len(aside)) == (True, False, 3)
    assert [aside.holds_elder("d", key) for key in ("11", "22", "")] == [True, False, False]
    assert not aside.holds_elder("a", "11"), "b is younger"
    aside.put("a", "11", 30.0)
    aside.release(ASIDE_S + 10.0)
    assert ("a" in aside, "b" in aside, "c" in aside) == (True, False, True)
    assert aside.holds_elder("d", "11")
    aside.release(ASIDE_S + 30.0)
    assert not aside.holds_elder("d", "11")
    assert len(aside) == 0


def test_what_is_kept_stays_until_it_is_let_go_and_frees_what_waits_behind_it() -> None:
    aside = Aside()
    aside.keep("a", "11")
    aside.put("b", "11", 0.0)
    aside.put("c", "22", 0.0)
    aside.release(ASIDE_S - 1.0)
    assert ("a" in aside, "b" in aside, len(aside)) == (True, True, 3)
    assert aside.holds_elder("b", "11")
    aside.let_go("a")
    assert ["a" in aside, "b" in aside, "c" in aside] == [False, False, True]
    assert not aside.holds_elder("d", "11")
    aside.keep("c", "22")
    aside.keep("d", "22")
    aside.release(10 * ASIDE_S)
    aside.let_go("c")
    assert ("c" in aside, "d" in aside, len(aside)) == (False, True, 1)


def test_the_oldest_is_forgotten_where_too_many_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ASIDE_MAX", 2)
    aside = Aside()
    for n, path in enumerate("abc"):
        aside.put(path, path, float(n))
    assert [path in aside for path in "abc"] == [False, True, True]
    assert not aside.holds_elder("b", "a")


def test_one_kind_of_trouble_is_told_once_a_minute() -> None:
    aside = Aside()
    assert [aside.to_tell("rule", now_s) for now_s in (5.0, 6.0, 64.9, 65.0, 66.0)] == [True, False, False, True, False]
    assert aside.to_tell("another", 6.0)
