"""Whose turn it is in a queue."""

import time
from pathlib import Path

import pytest

from leyden.spool import store, turns
from leyden.spool.entry import NO_UID, Entry, key
from leyden.spool.stage import Stage
from leyden.spool.store import Spool


def name(at: int, caller: str, instance: str = "") -> str:
    entry = Entry(f"{1_764_000_000_000_000 + at:016d}000000", key(instance or str(at)), NO_UID, key(caller))
    return entry.name


def test_callers_take_turns_each_with_its_oldest_first():
    flood = [name(at, "FLOOD") for at in range(4)]
    quiet = [name(at, "QUIET") for at in (10, 11)]
    assert turns.in_turn([*flood, *quiet]) == [flood[0], quiet[0], flood[1], quiet[1], flood[2], flood[3]]


def test_one_caller_is_served_in_its_order():
    flood = [name(at, "FLOOD") for at in range(4)]
    assert turns.in_turn(flood) == flood


def test_an_instance_does_not_overtake_an_older_one_that_another_caller_has_sent():
    older = [name(at, "A", f"1.{at}") for at in range(3)]
    younger = name(9, "B", "1.2")
    assert turns.in_turn([*older, younger]) == [*older, younger]


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    monkeypatch.setattr(store, "NEAR", 4)
    monkeypatch.setattr(turns, "FEW", 2)
    spool = Spool(tmp_path)
    spool.prepare(["PACS"])
    return spool


def put(spool: Spool, queue: str, *names: str) -> None:
    for each in names:
        place = spool.root / queue / each[:8]
        place.mkdir(parents=True, exist_ok=True)
        (place / each).touch()


BUCKET_US = 100_000_000


def test_who_has_sent_little_is_found_beyond_a_long_queue_in_its_bucket_and_in_later_ones(spool: Spool):
    flood = [name(at, "FLOOD") for at in range(8)]
    quiet = [name(9, "QUIET"), name(BUCKET_US, "QUIET"), name(BUCKET_US + 1, "QUIET")]
    put(spool, "new", *flood, *quiet)
    expected = [flood[0], quiet[0], flood[1], quiet[1], *flood[2:], quiet[2]]
    assert [path.name for path in spool.newcomers(100)] == expected
    put(spool, "prepared/PACS/50", *flood, *quiet)
    assert [waiting.path.name for waiting in spool.waiting(Stage.PREPARED, "PACS", 100)] == expected
    assert [waiting.path.name for waiting in spool.waiting(Stage.PREPARED, "PACS", 3)] == expected[:3]


def test_a_lower_rank_goes_first_whoever_has_sent_it(spool: Spool):
    put(spool, "prepared/PACS/51", name(0, "QUIET"))
    put(spool, "prepared/PACS/50", *(name(at, "FLOOD") for at in range(1, 6)))
    assert [waiting.rank for waiting in spool.waiting(Stage.PREPARED, "PACS", 100)] == ["50"] * 5 + ["51"]


def test_from_far_behind_nothing_overtakes_an_older_entry_of_its_instance(spool: Spool):
    flood = [name(at, "FLOOD", f"1.{at}") for at in range(8)]
    put(spool, "new", *flood, name(9, "QUIET", "1.7"), name(10, "QUIET", "1.8"))
    assert [path.name for path in spool.newcomers(100)] == [
        flood[0], name(10, "QUIET", "1.8"), *flood[1:], name(9, "QUIET", "1.7"),
    ]  # fmt: skip


def test_while_something_put_there_by_hand_waits_to_be_planned_the_oldest_goes_first(spool: Spool):
    by_hand = Entry(f"{1_764_000_000_000_001:016d}990000").name
    flood = [name(at, "FLOOD") for at in (0, 2, 3)]
    put(spool, "new", *flood, by_hand, name(9, "QUIET"))
    assert [path.name for path in spool.newcomers(100)] == sorted([*flood, by_hand, name(9, "QUIET")])


def test_files_by_hand_far_behind_are_found(spool: Spool):
    flood = [name(at, "FLOOD") for at in range(8)]
    put(spool, "new", *flood)
    (spool.root / "new" / flood[0][:8] / "by-hand.dcm").touch()
    deadline_s = time.monotonic() + 30
    while len(list(spool.newcomers(100))) < 9:
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
