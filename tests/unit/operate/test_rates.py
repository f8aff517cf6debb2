"""What came and went in the last minute, by the ends of the journal's segments."""

from pathlib import Path

import pytest

from leyden.journal.events import Attempt, Delivered, Received
from leyden.journal.segments import Journal
from leyden.operate import rates as module
from leyden.operate.rates import rates

OF = {"sop_class_uid": "1.2", "sop_instance_uid": "1.2.3", "calling": "CT1"}
NOW_S = 2_000_000_000.0  # of the events: the segments are younger than any minute before that


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "segments", lambda folder: [s._replace(changed_s=NOW_S) for s in _segments(folder)])


_segments = module.segments


def received(at_s: float, size: int = 100) -> Received:
    return Received("1" * 22, at_s, called="PACS", syntax="1.2", bytes=size, **OF)


def delivered(at_s: float, size: int = 100, to: str = "PACS") -> Delivered:
    return Delivered("1" * 22, at_s, destination=to, status=0, syntax="1.2", bytes=size, **OF)


def test_only_the_last_minute_counts(tmp_path: Path) -> None:
    receiver, sender = (Journal(tmp_path, writer, 1 << 30) for writer in ("receiver-0", "sender-0"))
    for at_s in (NOW_S - 61, NOW_S - 60, NOW_S - 1):
        receiver.write(received(at_s))
        sender.write(delivered(at_s, 50))
    sender.write(delivered(NOW_S, 7, "OTHER"))
    sender.write(Attempt("1" * 22, NOW_S, destination="PACS", said="it ended", **OF))
    found = rates(tmp_path, NOW_S)
    assert (found.received.objects, found.received.bytes) == (2, 200)
    assert (found.delivered.objects, found.delivered.bytes) == (3, 107)
    assert {title: (flow.objects, flow.bytes) for title, flow in found.by_destination.items()} == {
        "PACS": (2, 100),
        "OTHER": (1, 7),
    }
    assert found.received.objects_per_s == pytest.approx(2 / 60)


@pytest.mark.parametrize("chunk_bytes", [1, 64, 1000, 1 << 20])
def test_the_size_of_what_is_read_at_once_does_not_matter(
    tmp_path: Path, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK_BYTES", chunk_bytes)
    journal = Journal(tmp_path, "receiver-0", 1 << 30)
    for n in range(30):
        journal.write(received(NOW_S - 70 + n, n))
    with (tmp_path / "journal" / "receiver-0.jsonl").open("ab") as file:
        file.write(b'{"event":"received","at_s":')  # cut off
    found = rates(tmp_path, NOW_S)
    assert (found.received.objects, found.received.bytes) == (20, sum(range(10, 30)))


def test_lines_that_are_no_events_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    path = tmp_path / "journal" / "sender-0.jsonl"
    path.write_bytes(b'\xff\n{}\n[]\n{"event":"delivered","at_s":"x"}\n{"event":"later","at_s":%d}\n' % NOW_S)
    Journal(tmp_path, "sender-0", 1 << 30).write(delivered(NOW_S))
    assert rates(tmp_path, NOW_S).delivered.objects == 1


def test_without_a_journal_there_is_nothing(tmp_path: Path) -> None:
    assert rates(tmp_path, NOW_S).received.objects == 0
