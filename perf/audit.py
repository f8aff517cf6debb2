"""What does the audit log cost: processor time of the watcher an object, and to verify a million records?

    python perf/audit.py [--quick] [--rounds 3]

A journal holds what three processes tell of so many objects (received, planned, delivered: three records each). The
keeper chains them to its log, 1,000 objects at a time, as it finds them in a second; each time it syncs. Then the whole
log is verified, and grouped to ATNA messages as for a collector, but not sent.
"""

import time
from pathlib import Path

import orjson

import rig
from leyden.audit import files
from leyden.audit.atna import Grouping, Us, xml
from leyden.audit.keeper import Keeper, read_note
from leyden.audit.settings import AuditSettings
from leyden.audit.verify import verify
from leyden.journal.events import Delivered, Event, Planned, PlannedDelivery, Received
from leyden.journal.segments import Journal
from leyden.spool.secret import audit_key, read_secret

A_SECOND = 1_000
CT = "1.2.840.10008.5.1.4.1.1.2"


def told(number: int) -> tuple[Event, Event, Event]:
    receipt = f"{1_795_944_593_000_000 + number}000000"
    uid = f"1.2.826.0.1.3680043.8.498.4578784190518811424981178781284256312.{number}"
    study = f"1.2.826.0.1.3680043.8.498.4578784190518811424981178781284256.{number // 500}"
    return (
        Received(receipt, sop_class_uid=CT, sop_instance_uid=uid, calling="CT1", called="PACS",
                 syntax="1.2.840.10008.1.2.1", bytes=525_312, peer="10.0.0.7"),
        Planned(receipt, sop_class_uid=CT, sop_instance_uid=uid, calling="CT1", called="PACS", generation=1,
                study_instance_uid=study, series_instance_uid=f"{study}.1", accession="0123456789abcdef",
                deliveries=(PlannedDelivery("PACS", "as JPEG2000Lossless", "called title PACS"),)),
        Delivered(receipt, sop_class_uid=CT, sop_instance_uid=uid, calling="LEYDEN", source="CT1", destination="PACS",
                  status=0, syntax="1.2.840.10008.1.2.4.90", bytes=210_018, took_s=0.025),
    )  # fmt: skip


def kept(root: Path, objects: int) -> float:
    """Milliseconds of processor time for a second of 1,000 objects: the keeper's alone."""
    journals = [Journal(root, writer, 2048 << 20) for writer in ("receiver-0", "planner-0", "sender-0")]
    keeper = Keeper(root, root / "log", AuditSettings(enabled=True))
    spent_ns = 0
    for first in range(0, objects, A_SECOND):
        for number in range(first, first + A_SECOND):
            for journal, event in zip(journals, told(number), strict=True):
                journal.write(event)
        begin_ns = time.process_time_ns()
        while keeper.turn():
            pass
        spent_ns += time.process_time_ns() - begin_ns
    return spent_ns / 1e6 / (objects / A_SECOND)


def verified(root: Path, objects: int) -> float:
    """Seconds of processor time for a million records."""
    kept(root, objects)
    note = read_note(root)
    assert note is not None
    begin_s = time.process_time()
    said = verify(read_secret(audit_key(root)), files.files(root / "log"), end=note.end)
    took_s = time.process_time() - begin_s
    assert said.fault is None
    assert said.to_the_end
    return took_s * 1e6 / said.records


def grouped(root: Path, objects: int) -> float:
    """Milliseconds of processor time for the messages of 1,000 objects."""
    kept(root, objects)
    grouping, us = Grouping(Us("box", "LEYDEN")), Us("box", "LEYDEN")
    begin_ns = time.process_time_ns()
    for path in files.files(root / "log"):
        for line in files.lines(path):
            record = orjson.loads(line)
            for message in grouping.take(record):
                xml(message, us)
    return (time.process_time_ns() - begin_ns) / 1e6 / (objects / A_SECOND)


def main() -> None:
    with rig.Run(rig.parser(__doc__, rounds=3).parse_args()) as run:
        objects = A_SECOND * (20 if run.quick else 120)
        for title, unit, measured in (
            ("the keeper, 1,000 objects", "ms", kept),
            ("verify a million records", "s", verified),
            ("ATNA messages of 1,000 objects", "ms", grouped),
        ):
            run.compare(title, unit, {"audit": lambda root, measured=measured: measured(root, objects)})


if __name__ == "__main__":
    main()
