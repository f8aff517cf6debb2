"""Who has more than its share of the disk, by what the watcher has found and a receiver has taken in since."""

import logging
import os
import time
from pathlib import Path

import msgspec
import pytest

from leyden import shares
from leyden.shares import LATE_S, Measurer, Share, Shares, ShareSettings, Walk, limits
from leyden.spool.entry import NO_UID, Entry, key
from leyden.spool.moves import write_whole

SERVICE = 4711
MIB = 1 << 20
CT01 = key("CT01")
SETTINGS = ShareSettings(caller_percent=10.0)


def walked(root: Path, began_s: float, callers: tuple[Share, ...] = (), nodes: tuple[Share, ...] = ()) -> None:
    (root / "state").mkdir(exist_ok=True)
    walk = Walk(SERVICE, began_s, began_s + 2, 1.7e9, 100 * MIB, callers, nodes)
    write_whole(os.fspath(root / "state/shares.json"), msgspec.json.encode(walk))


@pytest.fixture
def here(tmp_path: Path) -> Shares:
    found = Shares(tmp_path)
    found.go_by(SETTINGS)
    return found


def test_associations_are_rejected_first_then_objects_and_taken_again_later():
    low, full = limits(False, 0.89)
    assert (low, full) == (False, False)
    low, full = limits(low, 0.95)
    assert (low, full) == (True, False)
    assert limits(low, 1.0) == (True, True)
    assert limits(low, 0.85) == (True, False)
    assert limits(low, 0.79) == (False, False)


def test_who_has_more_than_its_share_is_refused_and_nobody_else(tmp_path: Path, here: Shares, caplog):
    now_s = time.monotonic()
    walked(
        tmp_path, now_s, (Share("CT01", CT01, 11 * MIB, 10 * MIB), Share("MR02", key("MR02"), 5 * MIB, 10 * MIB)),
        (Share("PACS", "", 20 * MIB, 21 * MIB), Share("ARCHIVE", "", 90 * MIB, 0.0)),
    )  # fmt: skip
    with caplog.at_level(logging.INFO):
        here.look(now_s, SERVICE)
        here.look(now_s + 1, SERVICE)
    assert "CT01 has its share of the disk" in here.full(CT01, "")
    assert here.low(CT01, "")
    assert not here.low(key("MR02"), "ARCHIVE")  # no limit for that one
    assert here.low(key("MR02"), "PACS")
    assert not here.full(key("MR02"), "PACS")
    assert not here.low(key("MR02"), "")
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]  # each once
    walked(tmp_path, now_s + 2, (Share("CT01", CT01, 7 * MIB, 10 * MIB),))
    with caplog.at_level(logging.INFO):
        here.look(now_s + 3, SERVICE)
    assert not here.low(CT01, "PACS")
    assert "CT01 has less than its share of the disk again" in caplog.text


def test_what_came_since_the_walk_counts_until_the_next_walk_has_seen_it(tmp_path: Path, here: Shares):
    now_s = time.monotonic()
    walked(tmp_path, now_s, (Share("CT01", CT01, 1 * MIB, 10 * MIB),), (Share("PACS", "", 1 * MIB, 10 * MIB),))
    here.look(now_s, SERVICE)
    here.took(CT01, "PACS", 9 * MIB)
    here.look(now_s + 1, SERVICE)
    here.look(now_s + 2, SERVICE)
    assert here.full(CT01, "")
    assert here.full("other", "PACS")
    walked(tmp_path, now_s + 3, (Share("CT01", CT01, 2 * MIB, 10 * MIB),))
    here.look(now_s + 4, SERVICE)
    assert not here.low(CT01, "PACS")


def test_if_nobody_has_walked_for_long_nobody_is_refused(tmp_path: Path, here: Shares, caplog):
    now_s = time.monotonic()
    walked(tmp_path, now_s, (Share("CT01", CT01, 11 * MIB, 10 * MIB),))
    here.look(now_s, SERVICE + 1)  # of an earlier service
    assert not here.full(CT01, "")
    here.look(now_s, SERVICE)
    assert here.full(CT01, "")
    here.look(now_s + LATE_S + 3, SERVICE)
    assert not here.full(CT01, "")
    assert "nobody knows who takes how much of the disk" in caplog.text


def test_a_walk_from_before_the_machine_was_started_anew_counts_for_nothing():
    """In a container the service often has the same process id; the monotonic clock begins anew."""
    walk = Walk(SERVICE, 9000.0, 9002.0, 1.7e9, 100 * MIB, (), ())
    assert walk.valid(SERVICE, 9003.0)
    assert not walk.valid(SERVICE, 60.0)


def test_without_shares_nothing_is_counted(tmp_path: Path, here: Shares):
    now_s = time.monotonic()
    walked(tmp_path, now_s, (Share("CT01", CT01, 11 * MIB, 10 * MIB),))
    here.look(now_s, SERVICE)
    here.go_by(shares.NO_SHARES)
    assert not here.full(CT01, "")
    here.took(CT01, "", MIB)
    here.look(now_s, SERVICE)
    assert not here.low(CT01, "")


def test_the_measurer_says_who_has_how_much_by_title_and_what_each_may(tmp_path: Path):
    for number, caller in enumerate(("CT01", "CT01", "MR02")):
        entry = Entry(f"{1_764_000_000_000_000 + number:016d}000000", key(str(number)), NO_UID, key(caller))
        place = tmp_path / "prepared/PACS/50" / entry.bucket
        place.mkdir(parents=True, exist_ok=True)
        (place / entry.name).write_bytes(bytes(MIB))
        (place / entry.name).chmod(0o600)
    (tmp_path / "state").mkdir()
    titles = {key("CT01"): "CT01", key("MR02"): "MR02"}
    settings = ShareSettings(10.0, 0.0, {"MR02": 20.0}, {"PACS": 5.0})
    measurer = Measurer(tmp_path, settings, SERVICE, lambda path: titles[Path(path).name[41:49]])
    assert measurer.turn() >= shares.LEAST_S
    walk = shares.read(tmp_path)
    assert walk is not None
    assert walk.valid(SERVICE, time.monotonic())
    assert [(each.title, each.share_bytes / walk.volume_bytes) for each in walk.callers] == [
        ("CT01", pytest.approx(0.1)), ("MR02", pytest.approx(0.2)),
    ]  # fmt: skip
    assert [(each.title, each.share_bytes / walk.volume_bytes) for each in walk.destinations] == [
        ("PACS", pytest.approx(0.05))
    ]
    assert walk.callers[0].bytes == pytest.approx(2 * walk.callers[1].bytes)


def test_an_entry_for_all_titles_is_for_those_that_are_not_named():
    settings = ShareSettings(10.0, 0.0, {"MR02": 0.0, "*": 5.0})
    assert [settings.of_caller(title) for title in ("MR02", "CT01")] == [0.0, 5.0]
