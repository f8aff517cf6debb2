import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from leyden import board
from leyden.board import CODECS, Board, Cell, use
from leyden.config.settings import ConsoleSettings, Settings
from leyden.console.metrics import KINDS, LATENCY_S, OTHER, SOURCES_MAX, Metrics
from leyden.dicom.uids import EXPLICIT_LE, JPEG2000_LOSSLESS
from leyden.journal import events
from leyden.journal.tail import Told
from leyden.operate import reading
from leyden.operate.reading import Reading, Result
from leyden.shares import Share, ShareSettings, Walk
from leyden.spool.entry import key
from leyden.spool.lock import SpoolLock
from leyden.spool.moves import write_whole
from leyden.spool.store import Spool
from support.promtool import promtool
from support.settings import settings_of

CT = "1.2.840.10008.5.1.4.1.1.2"
RECEIPT = "1700000000000000000001"  # received at 1.7e9 s
INSTANCE = {"sop_class_uid": CT, "sop_instance_uid": "2.25.4711", "calling": "CT1"}
TO_PACS = {**INSTANCE, "destination": "PACS"}


def received(calling: str = "CT1", syntax: str = EXPLICIT_LE, size_bytes: int = 100) -> events.Event:
    of_instance = {**INSTANCE, "calling": calling}
    return events.Received(RECEIPT, **of_instance, called="PACS", syntax=syntax, bytes=size_bytes, peer="10.0.0.9")


def delivered(destination: str = "PACS", after_s: float = 2.0, **more: Any) -> events.Event:
    to = {**TO_PACS, "destination": destination}
    kept = {"status": 0, "syntax": JPEG2000_LOSSLESS, "bytes": 40, **more}
    return events.Delivered(RECEIPT, at_s=1.7e9 + after_s, **to, **kept)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Spool(tmp_path / "cache").prepare(["PACS"])
    return tmp_path / "cache"


@pytest.fixture
def metrics(tmp_path: Path, root: Path) -> Metrics:
    return Metrics(root, settings_of(tmp_path, "PACS"))


def values(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """The samples of this name: the values of the labels, by their names -> the value, as any Prometheus reads them."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if sample.name == f"leyden_{name}"
    }


def tell(metrics: Metrics, *told: events.Event) -> None:
    metrics.take([Told("sender-0", event) for event in told])


def test_what_comes_and_goes_is_counted_by_source_destination_and_syntax(metrics: Metrics) -> None:
    tell(metrics, received(), received(), received("MR1", JPEG2000_LOSSLESS, 7), delivered(), delivered(status=0xB007))
    assert values(metrics, "received_objects_total") == {
        ("CT1", "ExplicitVRLittleEndian"): 2, ("MR1", "JPEG2000Lossless"): 1,
    }  # fmt: skip
    assert values(metrics, "received_bytes_total")["CT1", "ExplicitVRLittleEndian"] == 200
    assert values(metrics, "delivered_objects_total") == {("PACS", "JPEG2000Lossless"): 2}
    assert values(metrics, "delivered_bytes_total") == {("PACS", "JPEG2000Lossless"): 80}
    assert values(metrics, "delivery_warnings_total") == {("PACS",): 1}


def test_the_latency_is_that_from_the_reception_to_the_delivery(metrics: Metrics) -> None:
    tell(metrics, delivered(after_s=0.3), delivered(after_s=20.0), delivered(after_s=-5.0))
    assert values(metrics, "delivery_latency_seconds_sum") == {("PACS",): pytest.approx(20.3)}
    buckets = values(metrics, "delivery_latency_seconds_bucket")
    assert [buckets["PACS", bound] for bound in ("0.25", "0.5", "10.0", "30.0", "+Inf")] == [1, 2, 2, 3, 3]
    assert len(buckets) == len(LATENCY_S) + 1


def test_each_kind_of_error_is_counted_once_and_a_retry_too(metrics: Metrics) -> None:
    tell(
        metrics,
        events.Attempt(RECEIPT, **TO_PACS, said="the line"),
        events.Deferred(RECEIPT, **TO_PACS, said="the line", wait_s=1.0, lost=True),
        events.Deferred(RECEIPT, **TO_PACS, said="0xA700", wait_s=1.0),
        events.Remade(RECEIPT, **TO_PACS, syntax=EXPLICIT_LE),
        events.Rejected(RECEIPT, **TO_PACS, reason="0xC000", tries=3),
        events.Rejected(RECEIPT, **TO_PACS, reason="it ends associations", last_words="reset"),
        events.Failed(RECEIPT, reason="no DICOM"),
        events.Expired(RECEIPT, destination="PACS"),
        events.Retried(RECEIPT, destination="PACS", stage="prepared"),
    )
    assert values(metrics, "delivery_errors_total") == {
        ("" if kind == "failed" else "PACS", kind): 1.0 for kind in KINDS
    }  # fmt: skip
    assert values(metrics, "retries_total") == {("PACS",): 3}


def test_what_was_planned_made_and_dropped_is_counted(metrics: Metrics) -> None:
    to = events.PlannedDelivery("PACS", "as it came", "PACS")
    tell(
        metrics,
        events.Planned(RECEIPT, **INSTANCE, called="PACS", generation=1, deliveries=(to, to)),
        events.Transformed(
            RECEIPT, **TO_PACS, came="ExplicitVRLittleEndian", made="HTJ2KLossless", came_bytes=100, made_bytes=30,
            took_s=0.5,
        ),
        events.Dropped(RECEIPT, **INSTANCE, called="PACS", dropped_by="routings.yml:3"),
        events.Duplicate(RECEIPT, **INSTANCE, called="PACS", status=0),
        events.TurnedAway("", calling="X", called="PACS", peer="10.9.9.9", why="address"),
        events.TurnedAway("", calling="X", called="PACS", peer="10.9.9.9", why="address", count=41),
    )  # fmt: skip
    assert values(metrics, "planned_deliveries_total") == {("PACS",): 2}
    assert values(metrics, "made_objects_total") == {("HTJ2KLossless",): 1}
    assert values(metrics, "made_from_bytes_total") == {("HTJ2KLossless",): 100}
    assert values(metrics, "made_bytes_total") == {("HTJ2KLossless",): 30}
    assert values(metrics, "dropped_objects_total") == {(): 1}
    assert values(metrics, "duplicate_objects_total") == {("CT1",): 1}
    assert values(metrics, "turned_away_total") == {("address",): 42}


def test_what_comes_from_outside_makes_no_labels_without_end(metrics: Metrics) -> None:
    for number in range(SOURCES_MAX + 50):
        tell(metrics, received(f"CT{number}", f"1.2.3.{number}"), delivered(f"BY HAND {number}"))
    sources = values(metrics, "received_objects_total")
    assert len(sources) == SOURCES_MAX + 1
    assert sources[OTHER, OTHER] == 50
    assert values(metrics, "delivered_objects_total") == {(OTHER, "JPEG2000Lossless"): SOURCES_MAX + 50}


def test_folders_that_no_node_has_are_counted_together(metrics: Metrics, root: Path) -> None:
    for number in range(3):
        place = root / "prepared" / f"BYHAND{number}" / "99"
        place.mkdir(parents=True)
        (place / "a.dcm").touch()
    assert values(metrics, "queue_objects")[OTHER, "prepared"] == 3


def test_a_node_that_a_reload_adds_has_its_name(metrics: Metrics, tmp_path: Path) -> None:
    metrics.go_by(settings_of(tmp_path, "NEW"))
    tell(metrics, delivered("NEW"), delivered("PACS"))
    assert set(values(metrics, "delivered_objects_total")) == {
        ("NEW", "JPEG2000Lossless"), ("PACS", "JPEG2000Lossless"),
    }  # fmt: skip


def test_what_waits_is_counted_with_the_age_of_the_oldest(metrics: Metrics, root: Path) -> None:
    received_s = time.time() - 500
    for number in range(3):
        place = root / "prepared" / "PACS" / "50"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{int(received_s * 1e6) + number:016d}000001.dcm").touch()
    assert values(metrics, "queue_objects")["PACS", "prepared"] == 3
    assert values(metrics, "queue_objects")["PACS", "rejected"] == 0
    age = values(metrics, "queue_oldest_age_seconds")
    assert list(age) == [("PACS", "prepared")]
    assert 500 <= age["PACS", "prepared"] < 600
    assert values(metrics, "spool_size_bytes")[()] >= values(metrics, "spool_free_bytes")[()] > 0


@pytest.fixture
def service(root: Path) -> Iterator[Board]:
    """This process is the service, and it is its receiver and its worker, too."""
    gc.collect()  # the memory of another test's board counts as an open file until then
    lock = SpoolLock(root)
    made = Board([("receiver", 0), ("worker", 0), ("worker", 1)])
    before = board._mine
    yield made
    board._mine = before
    os.close(made.fd)
    lock.release()


def test_the_board_is_told_as_it_is(metrics: Metrics, service: Board) -> None:
    service.started(0, 11)
    service.started(1, 12)
    service.started(2, 13)
    service.ended(2)
    use(service.fd, 0)
    board.put(Cell.ASSOCIATIONS, 4)
    board.add(Cell.ACCEPTED, 9)
    board.add(Cell.REFUSED, 2)
    for took_ns in (2_000_000, 3_000_000, 20_000_000_000):
        board.answered(took_ns)
    board.late(0.25)
    use(service.fd, 1)
    board.add(Cell.BUSY_NS, 1_500_000_000)
    board.encoded(CODECS.index("HTJ2KLossless"), 1000, 300, 500_000_000)
    use(service.fd, 2)
    board.encoded(CODECS.index("HTJ2KLossless"), 1000, 300, 500_000_000)
    assert values(metrics, "up") == {(): 1}
    assert values(metrics, "role_up") == {("receiver-0",): 1, ("worker-0",): 1, ("worker-1",): 0}
    assert values(metrics, "associations") == {("inbound",): 4, ("outbound",): 0}
    assert values(metrics, "association_attempts_total")["inbound", "accepted"] == 9
    assert values(metrics, "reception_errors_total") == {("refused",): 2, ("cut off",): 0}
    buckets = values(metrics, "response_seconds_bucket")
    assert [buckets[bound,] for bound in ("0.001", "0.0025", "0.005", "10.0", "+Inf")] == [0, 1, 2, 2, 3]
    assert values(metrics, "response_seconds_sum") == {(): pytest.approx(20.005)}
    assert values(metrics, "event_loop_lag_seconds_total") == {("receiver-0",): 0.25}
    assert values(metrics, "worker_busy_seconds_total") == {("worker-0",): 1.5, ("worker-1",): 0}
    assert values(metrics, "codec_pixel_bytes_total") == {("HTJ2KLossless",): 2000}
    assert values(metrics, "codec_encoded_bytes_total") == {("HTJ2KLossless",): 600}
    assert values(metrics, "codec_seconds_total") == {("HTJ2KLossless",): 1.0}


def test_a_service_that_is_down_is_told_as_down(metrics: Metrics) -> None:
    assert values(metrics, "up") == {(): 0}
    assert values(metrics, "role_up") == {}


@pytest.mark.parametrize(("result", "good"), [(Result.CHANGED, 1), (Result.UNCHANGED, 1), (Result.WRONG, 0)])
def test_the_last_reload_is_told(metrics: Metrics, root: Path, result: Result, good: int) -> None:
    reading.write(root, Reading(1, 7, 1.0, ("PACS",), result, 1, 99.5))
    assert values(metrics, "config_generation") == {(): 7}
    assert values(metrics, "config_last_reload_successful") == {(): good}
    assert values(metrics, "config_last_reload_timestamp_seconds") == {(): 99.5}


def test_a_certificate_that_cannot_be_read_has_ended(tmp_path: Path, root: Path) -> None:
    (tmp_path / "a.pem").write_text("no certificate")
    metrics = Metrics(root, settings_of(tmp_path, console=ConsoleSettings(certificate=str(tmp_path / "a.pem"))))
    assert values(metrics, "certificate_expiry_timestamp_seconds") == {("api",): 0}


def share(metrics: Metrics, root: Path, settings: Settings) -> None:
    """The watcher has measured just now who takes how much of the disk."""
    metrics.go_by(replace(settings, receiver=replace(settings.receiver, shares=ShareSettings(caller_percent=1.0))))
    now_s = time.monotonic()
    callers = Share("CT1", key("CT1"), 3e9, 1e10), Share("MR2", key("MR2"), 1e9, 0.0)
    nodes = Share("PACS", "", 4e9, 2e10), Share("GONE", "", 1e9, 2e10)
    write_whole(
        os.fspath(root / "state/shares.json"),
        msgspec.json.encode(Walk(os.getpid(), now_s, now_s + 2, time.time(), 10**12, callers, nodes)),
    )


def test_what_callers_and_destinations_take_of_the_disk_is_told_while_it_has_a_limit(
    metrics: Metrics, tmp_path: Path, root: Path
) -> None:
    assert values(metrics, "spool_taken_bytes") == {}
    share(metrics, root, settings_of(tmp_path, "PACS"))
    assert values(metrics, "spool_taken_bytes") == {
        ("caller", "CT1"): 3e9, ("caller", "MR2"): 1e9, ("destination", "PACS"): 4e9,
    }  # fmt: skip
    assert values(metrics, "spool_share_bytes") == {("caller", "CT1"): 1e10, ("destination", "PACS"): 2e10}


def test_promtool_finds_nothing_to_say_against_it(metrics: Metrics, service: Board, root: Path, tmp_path: Path) -> None:
    """Every metric that there is, with a sample: names, units and types follow the rules of Prometheus."""
    reading.write(root, Reading(1, 7, 1.0, ("PACS",), Result.CHANGED, 1, 99.5))
    share(metrics, root, settings_of(tmp_path, "PACS"))
    tell(metrics, received('A"\\\n'), delivered())
    assert promtool("check", "metrics", given=metrics.text()) == ""


def test_nothing_that_could_name_a_patient_is_told(metrics: Metrics) -> None:
    tell(metrics, received(), delivered(), events.Rejected(RECEIPT, **TO_PACS, reason="DOE^JOHN is not known"))
    said = metrics.text().decode()
    assert not any(text in said for text in ("2.25.4711", RECEIPT, "DOE", "10.0.0.9"))
