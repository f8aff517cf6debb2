"""The audit log holds what the journal told, once and in order, whatever happens to the disk and to its files."""

import errno
import gzip
import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest

from leyden.audit import files, keeper
from leyden.audit.keeper import Keeper, note_path
from leyden.audit.settings import AuditSettings
from leyden.journal.events import Attempt, Deferred, Operated, Transformed
from leyden.journal.segments import segments
from leyden.journal.upkeep import Upkeep
from leyden.spool.secret import audit_key
from support.audited import SETTINGS, checked, delivered, keep, numbers, records, rewrite, tell

LOG = files.NAME


def test_records_have_the_fields_of_their_events_and_form_a_chain(tmp_path: Path) -> None:
    tell(tmp_path, [Operated("", at_s=5.0, who="alice", through="api", did="pause", destination="PACS")], "console-0")
    tell(tmp_path, [delivered(1)])
    keep(tmp_path)
    operated, sent = records(tmp_path)
    assert (operated["writer"], operated["who"], operated["did"]) == ("console-0", "alice", "pause")
    assert (sent["destination"], sent["sop_instance_uid"], sent["receipt"][-1]) == ("PACS", "2.25.1", "1")
    said = checked(tmp_path)
    assert (said.fault, said.records, said.first, said.last, said.to_the_end) == (None, 2, 1, 3, True)
    for path in (tmp_path / "log" / LOG, audit_key(tmp_path), note_path(tmp_path)):
        assert path.stat().st_mode & 0o777 == 0o600


def test_what_will_be_tried_again_and_what_changes_no_element_is_not_audited(tmp_path: Path) -> None:
    of: dict[str, Any] = {"sop_class_uid": "1.2", "sop_instance_uid": "2.25.1", "calling": "CT1", "destination": "PACS"}
    made: dict[str, Any] = {"came": "a", "made": "b", "came_bytes": 2, "made_bytes": 1, "took_s": 0.1, **of}
    tell(tmp_path, [
        Attempt("1", said="lost", **of), Deferred("2", said="busy", wait_s=1.0, **of), Transformed("3", **made),
        Transformed("4", changed_by=("mutations.yml:1",), **made),
    ])  # fmt: skip
    keep(tmp_path)
    assert numbers(tmp_path) == [4]


def test_each_event_is_kept_once_over_restarts(tmp_path: Path) -> None:
    for number in range(5):
        tell(tmp_path, [delivered(number)])
        keep(tmp_path)
    assert numbers(tmp_path) == list(range(5))
    assert checked(tmp_path).fault is None


def test_what_was_written_and_not_noted_is_not_written_again(tmp_path: Path) -> None:
    tell(tmp_path, [delivered(1)])
    keep(tmp_path)
    before = note_path(tmp_path).read_bytes()
    tell(tmp_path, [delivered(2), delivered(2), delivered(3)])
    keep(tmp_path)
    note_path(tmp_path).write_bytes(before)
    tell(tmp_path, [delivered(2), delivered(4)])
    keep(tmp_path)
    assert numbers(tmp_path) == [1, 2, 2, 3, 2, 4]
    assert checked(tmp_path).fault is None


@pytest.mark.parametrize("cut_bytes", [1, 100, 600])
def test_what_a_crash_has_cut_short_is_written_again(
    tmp_path: Path, cut_bytes: int, caplog: pytest.LogCaptureFixture
) -> None:
    tell(tmp_path, [delivered(1)])
    keep(tmp_path)
    before = note_path(tmp_path).read_bytes()
    tell(tmp_path, [delivered(2), delivered(3)])
    keep(tmp_path)
    note_path(tmp_path).write_bytes(before)
    os.truncate(tmp_path / "log" / LOG, (tmp_path / "log" / LOG).stat().st_size - cut_bytes)
    keep(tmp_path)
    assert "cut short by a crash" in caplog.text
    assert numbers(tmp_path) == [1, 2, 3]
    assert checked(tmp_path).fault is None


@pytest.mark.parametrize("writes", ["nothing", "a part"])
def test_a_full_disk_is_waited_for_and_nothing_is_lost(
    tmp_path: Path, writes: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeper, "PAUSE_S", 0.0)
    tell(tmp_path, [delivered(1)])
    kept = keep(tmp_path)
    tell(tmp_path, [delivered(2), delivered(3)])
    real = os.write

    def full(fd: int, data: bytes) -> int:
        if writes == "a part":
            return real(fd, data[: len(data) * 2 // 3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        assert not kept.turn()
        assert not kept.turn()
    assert checked(tmp_path).fault is None  # no half of a record meanwhile
    assert caplog.text.count("the audit log is not written, and waits") == 1
    tell(tmp_path, [delivered(4)])
    while kept.turn():
        pass
    kept.turn()
    assert numbers(tmp_path) == [1, 2, 3, 4]
    assert checked(tmp_path).fault is None


def test_a_disk_that_cannot_sync_gets_the_same_records_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "PAUSE_S", 0.0)
    tell(tmp_path, [delivered(1)])
    kept = Keeper(tmp_path, tmp_path / "log", SETTINGS)

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", broken)
        kept.turn()
    kept.turn()
    assert numbers(tmp_path) == [1]
    assert checked(tmp_path).fault is None


def test_full_files_are_archived_with_their_times_and_the_chain_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "ROTATE_BYTES", 1000)
    monkeypatch.setattr(keeper, "MORE", 4)
    for number in range(3):
        tell(tmp_path, map(delivered, range(4 * number, 4 * number + 4)), f"sender-{number}")
    keep(tmp_path)
    log = tmp_path / "log"
    assert sorted(path.name for path in (log / files.ARCHIVE).iterdir()) == [f"{LOG}.{n}.gz" for n in (1, 2, 3)]
    assert list(log.glob(f"{LOG}*")) == []
    archived = log / files.ARCHIVE / f"{LOG}.1.gz"
    with archived.open("rb") as file, gzip.GzipFile(fileobj=file) as zipped:
        zipped.read()
        assert abs(archived.stat().st_mtime - time.time()) < 60
    tell(tmp_path, [delivered(12)])
    keep(tmp_path)
    assert numbers(tmp_path) == list(range(13))
    said = checked(tmp_path)
    assert (said.fault, said.files, said.records) == (None, 4, 13)


def test_a_file_that_stands_in_both_places_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "ROTATE_BYTES", 1000)
    tell(tmp_path, map(delivered, range(4)))
    keep(tmp_path)
    archived = tmp_path / "log" / files.ARCHIVE / f"{LOG}.1.gz"
    (tmp_path / "log" / f"{LOG}.1").write_bytes(gzip.decompress(archived.read_bytes()))
    assert checked(tmp_path).records == 4
    keep(tmp_path)
    assert numbers(tmp_path) == [0, 1, 2, 3]
    assert not (tmp_path / "log" / f"{LOG}.1").exists()


def test_what_is_older_than_keepDays_is_removed_and_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "ROTATE_BYTES", 1000)
    settings = AuditSettings(keep_days=30)
    for number in range(3):
        tell(tmp_path, [delivered(10 * number + n) for n in range(4)])
        keep(tmp_path, settings)
    old = tmp_path / "log" / files.ARCHIVE / f"{LOG}.1.gz"
    os.utime(old, (0, time.time() - 31 * 86400))
    keep(tmp_path, settings)
    assert not old.exists()
    said = checked(tmp_path)
    assert (said.fault, said.records, said.first) == (None, 8, 6)
    (tmp_path / "log" / files.ARCHIVE / f"{LOG}.2.gz").unlink()
    fault = checked(tmp_path).fault
    assert fault is not None
    assert fault.what == "missing"


@pytest.mark.parametrize("content", [b"", b"no zip"], ids=["empty", "damaged"])
def test_what_is_too_old_and_can_not_be_read_stays_and_stops_nothing(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    settings = AuditSettings(keep_days=30)
    tell(tmp_path, [delivered(1)])
    keep(tmp_path, settings)
    old = tmp_path / "log" / files.ARCHIVE / f"{LOG}.1.gz"
    old.parent.mkdir()
    old.write_bytes(content)
    os.utime(old, (0, time.time() - 31 * 86400))
    tell(tmp_path, [delivered(2)])
    with caplog.at_level(logging.ERROR):
        keep(tmp_path, settings)
    assert [str(old) in record.getMessage() and "not removed" in record.getMessage() for record in caplog.records] == [
        True
    ]
    assert old.exists()


def test_the_next_file_that_a_crash_has_left_empty_is_no_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tell(tmp_path, [delivered(1)])
    keep(tmp_path)
    files.set_aside(tmp_path / "log")
    (tmp_path / "log" / LOG).touch()
    tell(tmp_path, [delivered(2)])
    with caplog.at_level(logging.WARNING):
        keep(tmp_path)
    assert not caplog.records
    assert (numbers(tmp_path), checked(tmp_path).fault) == ([1, 2], None)


def test_a_log_that_was_cut_off_goes_on_and_stays_broken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tell(tmp_path, [delivered(1), delivered(2)])
    keep(tmp_path)
    path = tmp_path / "log" / LOG
    rewrite(path, path.read_bytes().splitlines(keepends=True)[:-1])
    fault = checked(tmp_path).fault
    assert fault is not None
    assert fault.what == "cut off"
    tell(tmp_path, [delivered(3)])
    keep(tmp_path)
    assert "the audit log was cut off after" in caplog.text
    assert numbers(tmp_path) == [1, 3]
    fault = checked(tmp_path).fault
    assert fault is not None
    assert (fault.what, fault.line) == ("missing", 3)


def test_a_record_that_was_changed_stays_where_it_is(tmp_path: Path) -> None:
    tell(tmp_path, [delivered(1), delivered(2)])
    keep(tmp_path)
    path = tmp_path / "log" / LOG
    lines = path.read_bytes().splitlines(keepends=True)
    rewrite(path, [lines[0], b"nothing to see here\n", *lines[2:]])
    tell(tmp_path, [delivered(3)])
    keep(tmp_path)
    assert path.read_bytes().splitlines(keepends=True)[1:3] == [b"nothing to see here\n", lines[2]]
    fault = checked(tmp_path).fault
    assert fault is not None
    assert (fault.what, fault.line) == ("changed", 2)


def test_a_file_of_somebody_else_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tell(tmp_path, [delivered(1)])
    keep(tmp_path)
    path = tmp_path / "log" / LOG
    content = path.read_bytes()
    other = tmp_path / "restored"
    other.write_bytes(content)
    other.rename(path)
    tell(tmp_path, [delivered(2)])
    keep(tmp_path)
    assert "is another file than the one that was written" in caplog.text
    assert numbers(tmp_path) == [1, 2]
    assert checked(tmp_path).fault is None  # nothing is missing


def test_a_file_that_is_moved_away_while_it_is_written_is_missed(tmp_path: Path) -> None:
    tell(tmp_path, [delivered(1)])
    kept = keep(tmp_path)
    (tmp_path / "log" / LOG).rename(tmp_path / "taken")
    tell(tmp_path, [delivered(2)])
    kept.turn()
    assert numbers(tmp_path) == [2]
    fault = checked(tmp_path).fault
    assert fault is not None
    assert fault.what == "missing"
    (tmp_path / "taken").rename(tmp_path / "log" / f"{LOG}.1")
    assert checked(tmp_path).fault is None


def test_without_the_note_the_chain_goes_on_and_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tell(tmp_path, [delivered(1), delivered(5)])
    keep(tmp_path)
    note_path(tmp_path).unlink()
    tell(tmp_path, [delivered(9)])
    keep(tmp_path)
    assert "state/audit.json is gone" in caplog.text
    assert [number for number in numbers(tmp_path) if number != 5] == [
        1,
        9,
    ]  # 5 is as old as the end, and comes twice
    assert checked(tmp_path).fault is None


def test_another_key_begins_another_file_and_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tell(tmp_path, [delivered(1)])
    keep(tmp_path)
    audit_key(tmp_path).unlink()
    tell(tmp_path, [delivered(2)])
    keep(tmp_path)
    assert "goes on with another key" in caplog.text
    assert numbers(tmp_path) == [1, 2]
    fault = checked(tmp_path).fault
    assert fault is not None
    assert fault.what == "another key"


def test_the_key_may_be_elsewhere_and_one_that_is_none_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeper, "PAUSE_S", 0.0)
    elsewhere = tmp_path / "keys" / "audit.key"
    settings = AuditSettings(key_file=str(elsewhere))
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b"short")
    tell(tmp_path, [delivered(1)])
    kept = keep(tmp_path, settings)
    assert "is no key of 32 bytes" in caplog.text
    elsewhere.unlink()
    kept.turn()
    assert not audit_key(tmp_path).exists()
    assert checked(tmp_path, settings).records == 1


def test_a_quiet_journal_costs_no_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(tmp_path, [delivered(1)])
    kept = keep(tmp_path)
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("a file is opened"))
    kept.turn()
    assert logging.getLogger("leyden.watcher")


def test_what_was_removed_from_the_journal_before_it_was_read_is_audited_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An audit log whose disk is full for long loses what the journal has no room for (journalMib), and says so."""
    tell(tmp_path, [delivered(1)])
    keep(tmp_path)
    tell(tmp_path, [delivered(2)])  # each begins a segment, as what the one before holds is old
    tell(tmp_path, [delivered(3)])
    read, closed, _ = segments(str(tmp_path / "journal"))
    Upkeep(tmp_path, closed.bytes + 1, 0).turn()
    assert not Path(read.path).exists()
    assert not Path(closed.path).exists()
    keeper = keep(tmp_path)
    found = records(tmp_path)
    assert [record["event"] for record in found] == ["delivered", "missed", "delivered"]
    assert found[1]["bytes"] == closed.bytes
    assert f"{closed.bytes} bytes of the journal were gone before they were audited" in caplog.text
    tell(tmp_path, [delivered(4)])
    keeper.turn()
    assert [record["event"] for record in records(tmp_path)][3:] == ["delivered"]
    assert checked(tmp_path).fault is None
    keep(tmp_path)
    assert len(records(tmp_path)) == 4


def test_a_log_that_begins_late_misses_nothing(tmp_path: Path) -> None:
    """What was removed before there was an audit log was never to be in it."""
    tell(tmp_path, [delivered(1)])
    tell(tmp_path, [delivered(2)])
    Upkeep(tmp_path, 1, 0).turn()
    assert len(segments(str(tmp_path / "journal"))) == 1
    keep(tmp_path)
    assert numbers(tmp_path) == [2]
