"""What the supervisor does for the journal: an index for each closed segment, a bound, and no old logs."""

import logging
import os
import time
from pathlib import Path

import pytest

from leyden.journal import index, upkeep
from leyden.journal.events import ByHand
from leyden.journal.segments import SEGMENT_S, Journal, Segment, removed, segments
from leyden.journal.upkeep import Upkeep

RECEIPT = "1764000000123456000001"


def fill(root: Path, count: int = 700, writer: str = "sender-0") -> list[Segment]:
    journal = Journal(root, writer, 0)
    for _ in range(count):
        journal.write(ByHand(RECEIPT, what="x" * 1000))
    journal.close()
    return segments(str(root / "journal"))


def total(root: Path) -> int:
    return sum(path.stat().st_size for path in (root / "journal").iterdir())


def until_idle(keep: Upkeep, now_s: float | None = None) -> int:
    turns = 0
    while keep.index_next(time.time() if now_s is None else now_s):
        turns += 1
    return turns


def test_each_closed_segment_gets_its_index_one_at_a_turn(tmp_path: Path) -> None:
    closed = [each.path for each in fill(tmp_path) if each.closed_s < float("inf")]
    keep = Upkeep(tmp_path, 1 << 30, 0)
    assert until_idle(keep) == len(closed)
    there = sorted(str(path) for path in (tmp_path / "journal").glob("*.index"))
    assert there == sorted(map(index.index_path, closed))
    assert all(os.stat(path).st_mode & 0o777 == 0o600 for path in there)
    os.truncate(there[0], 0)
    assert until_idle(keep) == 1


def test_the_oldest_segments_go_when_all_together_are_beyond_the_limit(tmp_path: Path) -> None:
    before = fill(tmp_path)
    limit_bytes = 3 * before[0].bytes
    until_idle(Upkeep(tmp_path, limit_bytes, 0))
    left = segments(str(tmp_path / "journal"))
    assert [each.path for each in left] == [each.path for each in before[-len(left) :]]
    assert 2 <= len(left) < len(before)
    assert total(tmp_path) <= limit_bytes + 2 * before[0].bytes // 10  # the index of one is made after the count
    until_idle(Upkeep(tmp_path, limit_bytes, 0))
    assert total(tmp_path) <= limit_bytes
    left_names = {Path(each.path).name for each in segments(str(tmp_path / "journal"))}
    there = {path.name.removesuffix(".index") for path in (tmp_path / "journal").iterdir()}
    assert there == {*left_names, "removed"}
    gone = removed(str(tmp_path / "journal"))
    assert {each.inode for each in gone} == {each.inode for each in before[: len(gone)]}


def test_a_journal_that_is_off_is_left_alone(tmp_path: Path) -> None:
    before = fill(tmp_path)
    assert not Upkeep(tmp_path, 0, 0).index_next(time.time())
    assert segments(str(tmp_path / "journal")) == before


def test_the_segment_of_a_process_that_is_no_more_is_closed_after_two_days(tmp_path: Path) -> None:
    fill(tmp_path, 3, "worker-7")
    keep = Upkeep(tmp_path, 1 << 30, 0)
    until_idle(keep, time.time() + 2 * SEGMENT_S - 60)
    assert [each.closed_s for each in segments(str(tmp_path / "journal"))] == [float("inf")]
    until_idle(keep, time.time() + 2 * SEGMENT_S + 60)
    (segment,) = segments(str(tmp_path / "journal"))
    assert segment.closed_s < float("inf")
    journal = Journal(tmp_path, "worker-7", 0)  # and if it comes back after all, nothing is lost
    journal.write(ByHand(RECEIPT, what="x"))
    assert len(index.find(str(tmp_path / "journal"), index.RECEIPT, [RECEIPT])) == 4


def logs(root: Path, *dates: str, files: int = 3) -> None:
    for date in dates:
        place = root / "logs" / date / "PACS" / "CT1"
        place.mkdir(parents=True)
        for n in range(files):
            (place / f"1.2.{n}.log").touch()


def dates(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "logs").iterdir())


NOON_S = time.mktime((2026, 3, 10, 12, 0, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("days", "left"),
    [(1, ["2026-03-10"]), (2, ["2026-03-09", "2026-03-10"]), (30, ["2026-02-09", "2026-03-09", "2026-03-10"]), (0, [])],
)
def test_logs_of_instances_are_kept_for_so_many_days(tmp_path: Path, days: int, left: list[str]) -> None:
    logs(tmp_path, "2026-03-10", "2026-03-09", "2026-02-09")
    (tmp_path / "logs" / "notes").mkdir()
    keep = Upkeep(tmp_path, 0, days)
    while keep.remove_old_logs(NOON_S):
        pass
    assert dates(tmp_path) == [*left, "notes"]


def test_a_turn_removes_a_part_of_the_old_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "REMOVED_MAX", 10)
    logs(tmp_path, "2026-03-01", files=25)
    keep = Upkeep(tmp_path, 0, 1)
    assert keep.remove_old_logs(NOON_S)
    assert len(list((tmp_path / "logs").rglob("*.log"))) == 15
    assert keep.remove_old_logs(NOON_S)
    assert not keep.remove_old_logs(NOON_S)
    assert dates(tmp_path) == []


def test_a_disk_that_refuses_is_logged_once_and_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs").write_text("no folder")
    keep = Upkeep(tmp_path, 1 << 30, 3)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            monkeypatch.setattr(keep, "_next_s", 0.0)
            keep.turn()
    assert len(caplog.records) == 1
    assert "are not kept up" in caplog.text
