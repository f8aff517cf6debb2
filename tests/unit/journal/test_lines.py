"""Events, and what the log says about them."""

import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from leyden.dicom.uids import JPEG2000_LOSSLESS
from leyden.journal import events, lines
from leyden.journal.events import (
    ByHand,
    Delivered,
    Event,
    Failed,
    Planned,
    PlannedDelivery,
    Received,
    Transformed,
)

RECEIPT = "1795932984360192000001"
CT = "1.2.840.10008.5.1.4.1.1.2"
INSTANCE = {"sop_class_uid": CT, "sop_instance_uid": "1.2.3", "calling": "CT1"}
WAYS = (PlannedDelivery("PACS", "as RLELossless", "called title PACS"), PlannedDelivery("SR", "as it came", "r:1"))


@pytest.mark.parametrize(
    ("event", "level", "line"),
    [
        (
            Received(RECEIPT, called="PACS", syntax="1.2", bytes=525_312, **INSTANCE),
            "DEBUG", f"{RECEIPT}: received 1.2.3, 525312 bytes, CT1 -> PACS",
        ),
        (
            Planned(RECEIPT, called="PACS", generation=1, deliveries=WAYS, **INSTANCE),
            "INFO",
            f"{RECEIPT}: 1.2.3, class 2, CT1 -> PACS: PACS as RLELossless (called title PACS); SR as it came (r:1)",
        ),
        (
            Planned(RECEIPT, called="", generation=1, dropped_by="routings.yml:3 drop", flag="lies", **INSTANCE),
            "INFO", f"{RECEIPT}: 1.2.3 (though lies), class 2, CT1 -> -: nowhere (routings.yml:3 drop)",
        ),
        (
            Transformed(
                RECEIPT, destination="PACS", came="A", made="B", came_bytes=200, made_bytes=50, took_s=0.04, **INSTANCE
            ),
            "INFO", f"{RECEIPT} for PACS: A -> B, 0.25 of the bytes, 40 ms",
        ),
        (
            Delivered(RECEIPT, destination="PACS", status=0, syntax=JPEG2000_LOSSLESS, bytes=9, took_s=0.1, **INSTANCE),
            "INFO", "PACS: delivered 1.2.3 as JPEG2000Lossless, 9 bytes in 100 ms, calling as CT1",
        ),
        (
            Delivered(RECEIPT, destination="PACS", status=0xB000, syntax=JPEG2000_LOSSLESS, bytes=9, **INSTANCE),
            "INFO", "PACS: delivered 1.2.3 as JPEG2000Lossless, 9 bytes in 0 ms, calling as CT1, with status 0xB000",
        ),
        (Failed(RECEIPT, reason="broken"), "WARNING", f"{RECEIPT}: to failed/: broken"),
        (Failed(RECEIPT, reason="broken", destination="PACS"), "WARNING", f"{RECEIPT} for PACS: to failed/: broken"),
        (ByHand(RECEIPT, what="was put into new"), "INFO", f"{RECEIPT} was put into new by hand"),
    ],
)  # fmt: skip
def test_the_line_of_an_event(event: Event, level: str, line: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    lines.tell(event)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [(level, line)]


@pytest.fixture
def _as_before() -> Iterator[None]:
    yield
    lines.set_up(Path("/nonexistent"), "test", lines.NO_JOURNAL)


MADE = Transformed(
    RECEIPT, destination="PACS", came="A", made="B", came_bytes=200, made_bytes=50, took_s=0.04, **INSTANCE
)
MADE_LINE = f"{RECEIPT} for PACS: A -> B, 0.25 of the bytes, 40 ms"


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize(
    ("suffix", "event", "line"),
    [
        ((0x00020003,), MADE, f"{MADE_LINE} [1.2.3]"),
        ((0x00080018,), MADE, f"{MADE_LINE} [1.2.3]"),
        ((0x00020002, "/", 0x00020003), MADE, f"{MADE_LINE} [{CT}/1.2.3]"),
        (("seen ", 0x00100020), MADE, f"{MADE_LINE} [1.2.3]"),  # an event does not know it
        ((0x00020003,), Failed(RECEIPT, reason="1.2.3 is broken", sop_instance_uid="1.2.3"), None),
        ((0x00020003,), Failed(RECEIPT, reason="broken"), None),  # the instance is not known
        ((0x00100020,), Failed(RECEIPT, reason="broken"), None),
        ((), MADE, MADE_LINE),
    ],
)
def test_the_suffix_of_a_line(
    suffix: lines.Parts, event: Event, line: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    lines.set_up(tmp_path, "test-0", lines.JournalSettings(suffix=suffix))
    lines.tell(event)
    assert caplog.messages == [line or f"{RECEIPT}: to failed/: {event.reason}"]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("_as_before")
def test_a_suffix_with_patient_data_is_in_the_log_and_not_in_the_journal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    lines.set_up(tmp_path, "test-0", lines.JournalSettings(mib=1, suffix=(0x00100020,)))
    lines.tell(MADE, suffix="Doe^John")
    assert caplog.messages == [f"{MADE_LINE} [Doe^John]"]
    assert (tmp_path / "journal" / "test-0.jsonl").read_bytes() == msgspec.json.encode(MADE) + b"\n"


@pytest.mark.usefixtures("_as_before")
def test_what_is_not_to_be_logged_is_in_the_journal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    lines.set_up(tmp_path, "test-0", lines.JournalSettings(mib=1))
    lines.tell(MADE, logged=False)
    caplog.set_level(logging.ERROR)
    lines.tell(MADE)
    assert caplog.messages == []
    assert (tmp_path / "journal" / "test-0.jsonl").read_bytes().count(b"\n") == 2


@pytest.mark.usefixtures("_as_before")
def test_events_are_gathered_with_their_lines_and_set_up_may_come_again(tmp_path: Path) -> None:
    lines.set_up(tmp_path / "a", "test-0", lines.JournalSettings(mib=1))
    (tmp_path / "a").mkdir()
    with lines.together():
        lines.tell(MADE)
        assert not list((tmp_path / "a").rglob("*.jsonl"))
    lines.set_up(tmp_path / "b", "test-0", lines.JournalSettings(mib=1))
    (tmp_path / "b").mkdir()
    lines.tell(MADE)
    lines.set_up(tmp_path / "a", "test-0", lines.NO_JOURNAL)
    lines.tell(MADE)
    assert [(tmp_path / name / "journal" / "test-0.jsonl").read_bytes().count(b"\n") for name in "ab"] == [1, 1]


def concrete() -> list[type[Event]]:
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)]
    return [kind for kind in kinds if not kind.__subclasses__()]


def test_every_event_has_a_name_of_its_own_in_the_schema() -> None:
    """An event that was written is read back as the same event, by its name alone."""
    kinds = concrete()
    assert len(kinds) >= 10
    names = {msgspec.json.decode(msgspec.json.encode(made(kind)))["event"] for kind in kinds}
    assert names == {kind.__name__.lower() for kind in kinds}
    for kind in kinds:
        assert msgspec.json.decode(msgspec.json.encode(made(kind)), type=kind) == made(kind)


def made(kind: type[Event]) -> Event:
    blanks = {str: "x", int: 1, float: 0.5}
    fields = {field.name: blanks[field.type] for field in msgspec.structs.fields(kind) if field.type in blanks}
    return kind(**fields)
