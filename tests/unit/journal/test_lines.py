"""Events, and what the log says about them."""

import logging

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
