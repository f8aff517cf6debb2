"""The journal on disk: lines, rotation by size and age, bounds, and disks that refuse."""

import errno
import logging
import os
import threading
import time
from pathlib import Path

import msgspec
import orjson
import pytest

from leyden.journal import segments
from leyden.journal.append import open_lines
from leyden.journal.events import ByHand
from leyden.journal.segments import ORDERS, Journal
from leyden.journal.tail import Tail

RECEIPT = "1764000000123456000001"


def event(n: int = 0, text: str = "was moved") -> ByHand:
    return ByHand(f"{int(RECEIPT) + n}", what=text)


def lines(root: Path) -> list[bytes]:
    """Of all segments, in their order."""
    found = segments.segments(str(root / "journal"))
    return [line for segment in found for line in Path(segment.path).read_bytes().splitlines()]


def receipts(root: Path) -> list[int]:
    """Of the lines that are whole, as numbers from 0."""
    return [int(orjson.loads(line)["receipt"]) - int(RECEIPT) for line in lines(root)]


def test_an_event_is_one_line_with_the_kernel_at_once_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "sender-0", 1 << 30)
    journal.write(event())
    path = tmp_path / "journal" / "sender-0.jsonl"
    assert msgspec.json.decode(path.read_bytes(), type=ByHand).what == "was moved"
    assert path.read_bytes().count(b"\n") == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    journal.close()


def test_events_that_are_gathered_are_written_at_the_end_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "planner-0", 1 << 30)
    with journal.together():
        for n in range(3):
            journal.write(event(n))
        assert not (tmp_path / "journal").exists()
    journal.write(event(3))
    assert receipts(tmp_path) == [0, 1, 2, 3]


def test_a_full_segment_is_closed_and_no_event_is_lost_or_moved(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "receiver-0", 0)
    for n in range(600):
        journal.write(event(n, "x" * 1000))
    found = segments.segments(str(tmp_path / "journal"))
    assert len(found) >= 9
    assert all(each.bytes < segments.SEGMENT_MIN_BYTES + 2000 for each in found)
    assert [each.closed_s for each in found[-2:]] == [pytest.approx(time.time(), abs=60), float("inf")]
    assert receipts(tmp_path) == list(range(600))


def test_orders_share_a_segment_and_none_is_closed_under_another(tmp_path: Path) -> None:
    """All processes of the command line write one file; a reader keeps one descriptor, however many there were."""
    tail = Tail(str(tmp_path / "journal"))
    first, second = (Journal(tmp_path, ORDERS, 0) for _ in range(2))
    for n in range(0, 300, 2):
        first.write(event(n, "x" * 1000))
        second.write(event(n + 1, "x" * 1000))
    (found,) = segments.segments(str(tmp_path / "journal"))
    assert found.bytes > 4 * segments.SEGMENT_MIN_BYTES
    first.close()
    second.write(event(300))
    closed, _open = segments.segments(str(tmp_path / "journal"))
    assert closed.inode == found.inode
    assert receipts(tmp_path) == list(range(301))
    assert [told.event.receipt for told in tail.read()] == [event(n).receipt for n in range(301)]
    second.close()
    tail.close()


def test_what_is_still_written_is_not_closed_as_unused(tmp_path: Path) -> None:
    journal, path = Journal(tmp_path, ORDERS, 1 << 30), tmp_path / "journal" / "order.jsonl"
    journal.write(event(0))
    segments.close_unused(path, 1764000000.0)
    journal.write(event(1))
    assert path.read_bytes().count(b"\n") == 2
    journal.close()
    segments.close_unused(path, 1764000000.0)
    segments.close_unused(path, 1764000000.0)
    assert not path.exists()
    assert receipts(tmp_path) == [0, 1]


def test_an_old_segment_is_closed_before_the_next_event_also_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = time.time()
    journal = Journal(tmp_path, "receiver-0", 1 << 30)
    journal.write(ByHand(RECEIPT, at_s=now_s, what="a"))
    monkeypatch.setattr(time, "time", lambda: now_s + segments.SEGMENT_S - 1)
    journal.write(event(1))
    journal.close()
    monkeypatch.setattr(time, "time", lambda: now_s + segments.SEGMENT_S + 1)
    again = Journal(tmp_path, "receiver-0", 1 << 30)
    again.write(event(2))
    found = [Path(each.path).read_bytes().count(b"\n") for each in segments.segments(str(tmp_path / "journal"))]
    assert found == [2, 1]


def test_a_process_that_starts_again_goes_on_in_its_segment_and_a_line_that_was_cut_off_stays_alone(
    tmp_path: Path,
) -> None:
    for n in range(2):
        journal = Journal(tmp_path, "worker-3", 1 << 30)
        journal.write(event(n))
        journal.close()
        (segment,) = segments.segments(str(tmp_path / "journal"))
        os.truncate(segment.path, segment.bytes - 5)
    journal = Journal(tmp_path, "worker-3", 1 << 30)
    journal.write(event(2))
    found = lines(tmp_path)
    assert len(found) == 3
    assert orjson.loads(found[2])["receipt"] == str(int(RECEIPT) + 2)


def test_a_line_that_is_whole_gets_no_empty_line_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    for _ in range(2):
        fd = open_lines(path)
        os.write(fd, b"a\n")
        os.close(fd)
    assert path.read_bytes() == b"a\na\n"


@pytest.mark.parametrize("how", ["error", "part"])
def test_a_disk_that_refuses_costs_events_for_a_while_and_nothing_else(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path, "sender-0", 1 << 30)
    journal.write(event(0))
    write = os.write

    def full(fd: int, data: bytes) -> int:
        if how == "error":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data[:10])

    monkeypatch.setattr(os, "write", full)
    with caplog.at_level(logging.WARNING):
        for n in range(1, 4):
            journal.write(event(n))
    assert len(caplog.records) == 1
    assert "the journal is not written, next try in 60 s" in caplog.text
    monkeypatch.setattr(os, "write", write)
    journal.write(event(4))  # it is still given up
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s + segments.PAUSE_S + 1)
    journal.write(event(5))
    whole = [line for line in lines(tmp_path) if line.endswith(b"}")]
    assert [int(orjson.loads(line)["receipt"]) - int(RECEIPT) for line in whole] == [0, 5]


def test_a_folder_that_cannot_be_made_costs_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "journal").write_text("not a folder")
    Journal(tmp_path, "sender-0", 1 << 30).write(event())
    assert "the journal is not written" in caplog.text


def test_several_threads_lose_no_event_while_another_one_gathers_and_segments_change(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "sender-0", 0)

    def tell(first: int) -> None:
        for n in range(first, first + 500):
            journal.write(event(n, "x" * 500))

    threads = [threading.Thread(target=tell, args=(first,)) for first in (0, 500)]
    for thread in threads:
        thread.start()
    for first in range(1000, 1500, 10):
        with journal.together():
            for n in range(first, first + 10):
                journal.write(event(n, "x" * 500))
    for thread in threads:
        thread.join()
    assert sorted(receipts(tmp_path)) == list(range(1500))


def test_other_files_in_the_folder_are_no_segments(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    for name in ("notes.txt", "sender-0.jsonl.index", "..jsonl", "20261399-999999-000-sender-0.jsonl"):
        (folder / name).write_text("{}\n")
    assert [(Path(each.path).name, each.closed_s) for each in segments.segments(str(folder))] == [
        ("20261399-999999-000-sender-0.jsonl", 0.0)
    ]
    assert segments.segments(str(tmp_path / "none")) == []


def test_a_title_that_is_no_unicode_is_written_all_the_same(tmp_path: Path) -> None:
    """A folder of the spool that somebody has made by hand may stand for such a title."""
    Journal(tmp_path, "sender-0", 1 << 30).write(ByHand(RECEIPT, what="was moved", destination="\udcff"))
    (line,) = lines(tmp_path)
    assert orjson.loads(line) | {"at_s": 0} == {
        "event": "byhand", "receipt": RECEIPT, "at_s": 0, "what": "was moved", "destination": "\\udcff",
    }  # fmt: skip
