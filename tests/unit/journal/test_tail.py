"""The tail of the journal: what is told now, over the end of a segment and of a process."""

import os
from pathlib import Path

import pytest

from leyden.journal import segments
from leyden.journal import tail as tail_module
from leyden.journal.events import ByHand
from leyden.journal.segments import SEGMENT_MIN_BYTES, Journal, Segment, close_segment
from leyden.journal.tail import Tail, Told, before


def event(n: int) -> ByHand:
    return ByHand(f"{n:022d}", at_s=1.0, what="was moved")


def numbers(told: list[Told]) -> list[int]:
    return [int(each.event.receipt) for each in told]


def journal(root: Path, writer: str = "sender-0") -> Journal:
    return Journal(root, writer, segments.SEGMENTS * SEGMENT_MIN_BYTES)


def tail(root: Path, tail: Tail | None = None) -> Tail:
    return Tail(os.fspath(root / "journal"), tail.positions if tail else None)


def test_what_was_told_before_is_not_read_and_what_is_told_then_is_once(tmp_path: Path) -> None:
    writer = journal(tmp_path)
    writer.write(event(1))
    reader = tail(tmp_path)
    assert reader.read() == []
    writer.write(event(2))
    writer.write(event(3))
    assert reader.read() == [Told("sender-0", event(2)), Told("sender-0", event(3))]
    assert reader.read() == []


def test_a_journal_that_is_not_there_yet_is_read_from_its_beginning(tmp_path: Path) -> None:
    reader = tail(tmp_path)
    assert reader.read() == []
    journal(tmp_path).write(event(1))
    journal(tmp_path, "queue-77").write(event(2))
    assert sorted(numbers(reader.read())) == [1, 2]


def test_a_writer_is_followed_over_the_end_of_its_segments(tmp_path: Path) -> None:
    writer, reader = journal(tmp_path), tail(tmp_path)
    seen = []
    for n in range(3000):  # some five segments
        writer.write(event(n))
        if n % 700 == 0:
            seen += numbers(reader.read())
    while new := numbers(reader.read(100)):
        seen += new
    assert seen == list(range(3000))
    assert len(segments.segments(os.fspath(tmp_path / "journal"))) > 3


def test_another_reader_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    writer, reader = journal(tmp_path), tail(tmp_path)
    seen = []
    for n in range(2000):
        writer.write(event(n))
        if n % 300 == 0:
            seen += numbers(reader.read(50))
            reader.close()
            reader = tail(tmp_path, reader)
    while new := numbers(reader.read()):
        seen += new
    assert seen == list(range(2000))


def test_what_was_removed_before_it_was_read_is_skipped(tmp_path: Path) -> None:
    writer, reader = journal(tmp_path), tail(tmp_path)
    path = tmp_path / "journal" / "sender-0.jsonl"
    writer.write(event(1))
    assert numbers(reader.read()) == [1]
    for n in (2, 3):
        writer.write(event(n))
        close_segment(path, 1e9 + n)
        writer.close()
    for segment in segments.segments(os.fspath(path.parent)):
        if segment.closed_s < 1e9 + 3:
            os.unlink(segment.path)
    writer.write(event(4))
    assert numbers(reader.read()) == [3, 4]
    assert reader.read() == []


def test_half_a_line_waits_for_the_other_half_and_a_line_that_is_no_event_is_skipped(tmp_path: Path) -> None:
    writer = journal(tmp_path)
    writer.write(event(1))
    reader = tail(tmp_path)
    path = tmp_path / "journal" / "sender-0.jsonl"
    line = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"event":"tomorrow"}\nnothing\n' + line[:20])
        file.flush()
        assert reader.read() == []
        file.write(line[20:])
    assert numbers(reader.read()) == [1]


def earlier(root: Path, reader: Tail, since_s: float = 0.0, most_bytes: int = 1 << 30) -> list[int]:
    _, pieces = before(os.fspath(root / "journal"), reader.positions, since_s, most_bytes)
    return [n for told in pieces for n in numbers(told)]


def test_what_was_told_before_a_tail_began_and_what_it_reads_are_all_and_nothing_twice(tmp_path: Path) -> None:
    writer, other = journal(tmp_path), journal(tmp_path, "receiver-0")
    for n in range(0, 4000, 2):  # some segments, of which the last one is open
        writer.write(event(n))
        other.write(event(n + 1))
    reader = tail(tmp_path)
    for n in range(4000, 8000, 2):  # the one that was open is closed meanwhile
        writer.write(event(n))
        other.write(event(n + 1))
    found = earlier(tmp_path, reader)
    assert sorted(found) == list(range(4000))
    assert [n for n in found if n % 2 == 0] == list(range(0, 4000, 2)), "in the order of each writer"
    assert sorted(numbers(reader.read(10_000))) == list(range(4000, 8000))


def test_a_look_back_is_bounded_by_time_and_by_bytes_and_says_since_when_it_is_whole(tmp_path: Path) -> None:
    writer = journal(tmp_path)
    for n in range(4000):
        writer.write(event(n))
    reader, folder = tail(tmp_path), os.fspath(tmp_path / "journal")
    closed = [segment for segment in segments.segments(folder) if segment.closed_s < float("inf")]
    of_the_open_one = earlier(tmp_path, reader, since_s=closed[-1].closed_s + 0.0005)
    assert of_the_open_one == list(range(of_the_open_one[0], 4000))
    assert of_the_open_one[0] > 3000
    whole_s, pieces = before(folder, reader.positions, 1.0, 2 * closed[-1].bytes)
    latest = [n for told in pieces for n in numbers(told)]
    assert latest == list(range(latest[0], 4000))
    assert 0 < latest[0] < of_the_open_one[0]
    assert whole_s == closed[-2].closed_s


def test_a_segment_that_is_closed_during_a_look_back_is_found_under_its_new_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = journal(tmp_path)
    writer.write(event(1))
    reader = tail(tmp_path)
    writer.close()
    looks = tail_module.segments
    monkeypatch.setattr(tail_module, "segments", lambda folder: _then_close(looks(folder), tmp_path))
    assert earlier(tmp_path, reader) == [1]


def _then_close(found: list[Segment], root: Path) -> list[Segment]:
    """What is closed after a look at the folder, and the next one is begun under its name."""
    if (path := root / "journal" / "sender-0.jsonl").read_bytes():
        close_segment(path, 5.0)
        path.touch()
    return found
