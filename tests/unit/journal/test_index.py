"""Events are found by each of their keys, with an index, without one, and with one that is damaged."""

import os
from pathlib import Path

import pytest

from leyden.journal import index, segments
from leyden.journal.events import ByHand, Event, Planned, Received
from leyden.journal.segments import Journal

FIRST = 1764000000_123456_00_0001


def story(n: int) -> tuple[Event, ...]:
    """The events of object `n`: it belongs to study n // 10."""
    receipt = f"{FIRST + n:022d}"
    of = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2", "sop_instance_uid": f"1.2.3.{n}", "calling": "CT1"}
    return (
        Received(receipt, called="PACS", syntax="1.2.840.10008.1.2", bytes=n, **of),  # type: ignore[arg-type]
        Planned(
            receipt, called="PACS", generation=1, study_instance_uid=f"1.2.{n // 10}", accession=f"{n // 10:016x}", **of  # type: ignore[arg-type]
        ),
        ByHand(receipt, what='was put "there"'),
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Some closed segments, and one that is written."""
    journal = Journal(tmp_path, "planner-0", 0)
    for n in range(400):
        for event in story(n):
            journal.write(event)
    journal.close()
    found = segments.segments(str(tmp_path / "journal"))
    assert len(found) >= 3
    return str(tmp_path / "journal")


def indexed(folder: str) -> None:
    for segment in segments.segments(folder):
        if segment.closed_s < float("inf"):
            index.build(segment.path)


def of(folder: str, key: str, *values: str) -> list[tuple[str, str]]:
    found = index.find(folder, key, values)
    return sorted((document["event"], document["receipt"]) for document in found)


@pytest.mark.parametrize("state", ["no index", "indexed", "all indexed", "empty", "cut off", "of zeros"])
def test_every_event_of_an_object_is_found_and_no_other(folder: str, state: str) -> None:
    if state != "no index":
        indexed(folder)
    for segment in segments.segments(folder):
        path = index.index_path(segment.path)
        if state == "all indexed":
            index.build(segment.path)
        elif state == "empty" and os.path.exists(path):
            os.truncate(path, 0)
        elif state == "cut off" and os.path.exists(path):
            os.truncate(path, 21)
        elif state == "of zeros" and os.path.exists(path):
            Path(path).write_bytes(bytes(os.stat(path).st_size))
    for n in (0, 123, 399):
        receipt = f"{FIRST + n:022d}"
        assert of(folder, index.RECEIPT, receipt) == [("byhand", receipt), ("planned", receipt), ("received", receipt)]
        assert of(folder, index.INSTANCE, f"1.2.3.{n}") == [("planned", receipt), ("received", receipt)]
    study = [("planned", f"{FIRST + n:022d}") for n in range(120, 130)]
    assert of(folder, index.STUDY, "1.2.12") == study
    assert of(folder, index.ACCESSION, f"{12:016x}") == study
    assert of(folder, index.RECEIPT, "1764000000123456999999") == []
    assert of(folder, index.INSTANCE, "1.2.3") == []
    many = [f"{FIRST + n:022d}" for n in range(0, 400, 3)]
    assert len(of(folder, index.RECEIPT, *many)) == 3 * len(many)
    uids = [f"1.2.3.{n}" for n in range(0, 400, 3)]
    assert len(of(folder, index.INSTANCE, *uids)) == 2 * len(many)


def test_what_was_written_behind_an_index_is_found_too(folder: str) -> None:
    """A process may write its last lines to a segment that somebody else has closed meanwhile."""
    indexed(folder)
    segment = segments.segments(folder)[0]
    receipt = f"{FIRST + 5000:022d}"
    with open(segment.path, "ab") as file:
        file.write(b'{"event":"byhand","receipt":"%s","at_s":1.0,"what":"x"}\n' % receipt.encode())
    assert of(folder, index.RECEIPT, receipt) == [("byhand", receipt)]


def test_older_segments_are_passed_over(folder: str) -> None:
    receipt = f"{FIRST:022d}"
    assert len(index.find(folder, index.RECEIPT, [receipt], since_s=1.0)) == 3
    assert index.find(folder, index.RECEIPT, [receipt], since_s=4e9) == []


def test_a_damaged_line_hides_no_other(folder: str) -> None:
    segment = segments.segments(folder)[0]
    data = Path(segment.path).read_bytes()
    at = data.index(b"\n") + 1
    damage = b'{"event":"planned","receipt":"17\n[1]\n\xff\n\n'
    Path(segment.path).write_bytes(data[:at] + damage + data[at:])
    receipt = f"{FIRST:022d}"
    for build in (False, True):
        if build:
            index.build(segment.path)
        assert len(of(folder, index.RECEIPT, receipt)) == 3


def test_a_segment_that_is_closed_while_we_look_is_found_once(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is listed, and then the open segment gets its new name."""
    found = segments.segments(folder)
    (still_open,) = [segment for segment in found if segment.closed_s == float("inf")]
    last = f"{FIRST + 399:022d}"
    answers = [found]

    def list_once_before(folder: str) -> list[segments.Segment]:
        if answers:
            listed = answers.pop()
            segments.close_segment(Path(still_open.path), 1764000100.0)
            return listed
        return segments.segments(folder)

    monkeypatch.setattr(index, "segments", list_once_before)
    assert len(of(folder, index.RECEIPT, last)) == 3


def test_a_long_line_is_read_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "planner-0", 1 << 30)
    journal.write(ByHand(f"{FIRST:022d}", what="x" * 300_000))
    (segment,) = segments.segments(str(tmp_path / "journal"))
    index.build(segment.path)
    (found,) = index.find(str(tmp_path / "journal"), index.RECEIPT, [f"{FIRST:022d}"])
    assert len(found["what"]) == 300_000
