"""What the journal says of the past: arrivals by the minute and by size, and what the destinations took."""

from pathlib import Path

import pytest

from leyden.journal import segments
from leyden.journal.events import Delivered, Dropped, Received
from leyden.journal.segments import FOLDER, Journal
from leyden.tune import history
from leyden.tune.history import DAY_S, Deliveries, read
from leyden.tune.model import Line

NOON_S = 1_800_000_000.0 - 1_800_000_000 % 60


def received(at_s: float, size_bytes: int) -> Received:
    names = {"sop_class_uid": "1.2", "sop_instance_uid": "1.2.3", "calling": "CT", "called": "US", "syntax": "1.2"}
    return Received("r", at_s=at_s, bytes=size_bytes, **names)


def delivered(at_s: float, size_bytes: int, took_s: float, destination: str = "PACS") -> Delivered:
    names = {"sop_class_uid": "1.2", "sop_instance_uid": "1.2.3", "calling": "CT", "syntax": "1.2"}
    return Delivered("r", at_s=at_s, destination=destination, status=0, bytes=size_bytes, took_s=took_s, **names)


def write(root: Path, *events: Received | Delivered | Dropped) -> str:
    journal = Journal(root, "receiver-0", 1 << 30)
    for event in events:
        journal.write(event)
    journal.close()
    return str(root / FOLDER)


def test_arrivals_by_the_minute_and_by_size(tmp_path: Path) -> None:
    busy = [received(NOON_S + n, 500_000) for n in range(30)]
    quiet = [received(NOON_S + 2 * DAY_S, 5_000), received(NOON_S + 2 * DAY_S + 60, 20_000_000)]
    found = read(write(tmp_path, *busy, *quiet))
    assert found.received.objects == 32
    assert found.sizes == {"100 KB to 1 MB": 30, "below 100 KB": 1, "above 10 MB": 1}
    assert found.arrivals is not None
    assert found.arrivals.peak_per_s == 0.5
    assert found.received.peak_bytes_per_s == 20_000_000 / 60
    assert found.arrivals.average_bytes_per_s == pytest.approx(35_005_000 / (2 * DAY_S + 60))
    assert found.object_bytes == 35_005_000 / 32


def test_an_hour_counts_as_a_day(tmp_path: Path) -> None:
    found = read(write(tmp_path, received(NOON_S, 1000), received(NOON_S + 3600, 1000)))
    assert found.arrivals is not None
    assert found.arrivals.average_bytes_per_s == 2000 / DAY_S


def test_nothing_came(tmp_path: Path) -> None:
    found = read(str(tmp_path / FOLDER))
    assert found.arrivals is None
    assert found.object_bytes is None
    assert found.share("PACS") == 1.0


def test_each_destination_has_its_share(tmp_path: Path) -> None:
    events = [received(NOON_S, 1000) for _ in range(4)]
    sent = [delivered(NOON_S, 500, 0.1) for _ in range(3)] + [delivered(NOON_S, 500, 0.1, "OTHER")]
    found = read(write(tmp_path, *events, *sent))
    assert (found.share("PACS"), found.share("OTHER"), found.share("NEW")) == (0.75, 0.25, 1.0)
    assert found.deliveries["PACS"].flow.bytes == 1500


def test_the_newest_segments_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_MIN_BYTES", 2000)
    monkeypatch.setattr(segments, "SEGMENT_MAX_BYTES", 2000)
    write(tmp_path, *(received(NOON_S + n, 1000 + n) for n in range(100)))
    folder = str(tmp_path / FOLDER)
    assert read(folder).received.objects == 100
    some = read(folder, 4000)
    assert 0 < some.received.objects < 50
    assert some.last_s == NOON_S + 99


def test_lines_of_others_and_cut_ones_are_passed_over(tmp_path: Path) -> None:
    folder = write(tmp_path, received(NOON_S, 1000), Dropped("r", sop_class_uid="1", sop_instance_uid="1", calling="C",
                                                             called="U", dropped_by="x"))  # fmt: skip
    with (tmp_path / FOLDER / "receiver-0.jsonl").open("ab") as file:
        file.write(b'{"event":"received","bytes":"x"}\n{"event":"received","at_s":1,"bytes":\n{"event":"received"')
    assert read(folder).received.objects == 1


def test_the_wait_and_the_speed_are_told_apart_by_size() -> None:
    """40 ms and 12.5 MB/s, with some that took much longer."""
    found = Deliveries()
    for n in range(200):
        size_bytes = 100_000 if n % 2 else 1_000_000
        found.add(NOON_S + 60 * n, size_bytes, 0.04 + size_bytes / 12.5e6 + (1.0 if n % 20 == 0 else 0.0))
    assert found.line == Line(pytest.approx(0.04), None, pytest.approx(12.5))


def test_of_one_size_all_counts_as_speed() -> None:
    found = Deliveries()
    for n in range(10):
        found.add(NOON_S + 60 * n, 1_000_000, 0.1)
    assert found.line == Line(None, None, pytest.approx(10.0))
    assert Deliveries().line == Line()


def test_the_busiest_minute_shows_what_the_line_carried_together() -> None:
    found = Deliveries()
    for n in range(1800):
        found.add(NOON_S + 60 * (n % 2), 1_000_000, 0.1)
    assert found.flow.peak_bytes_per_s == 15e6


def test_samples_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "SAMPLES_MAX", 50)
    found = Deliveries()
    for n in range(1000):
        found.add(NOON_S, n, 0.1)
    assert len(found.samples) == 50
    assert max(size for size, _ in found.samples) > 500
    assert found.flow.objects == 1000
