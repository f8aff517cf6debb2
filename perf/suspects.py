"""What does a series at which an archive aborts cost the objects of all others?

    python perf/suspects.py [--bad 20,150,500] [--minutes 4] [--quick]

DCMTK's storescp parses what it gets, and aborts the association at an item that is longer than its sequence. --bad such
objects of one modality wait for it when the service starts. Then a good object of another modality comes every 8 s,
through the whole service. Measured: how long each good one took from its C-STORE-RSP to the archive, and when the last
bad one was in rejected/. Wanted: every good one within 30 s; every bad one in rejected/.
"""

import statistics
import struct
import time
from pathlib import Path

import objects
import peers
import rig
import source
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_LE
from leyden.spool.entry import Entry, key
from leyden.tune.load import Uids

EVERY_S = 8.0
REJECTED_WITHIN_S = 1800.0


def build(spool: Path, count: int) -> None:
    """`count` entries in prepared/PACS/ at which storescp aborts."""
    uids = Uids(1)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 200) + b"ab" * 10
    for n in range(count):
        uid = uids.next()
        entry = Entry(f"{int(time.time() * 1e6) + n:016d}00{n:04d}", key(uid), key("bad study"), key("US01"))
        place = spool / "prepared" / "PACS" / "00" / entry.bucket
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        (place / entry.name).write_bytes(
            encode_head(FileMeta(objects.CT, uid, EXPLICIT_LE, sending="US01"))
            + _element(0x0008, 0x0016, b"UI", objects.CT.encode() + b"\0")
            + _element(0x0008, 0x0018, b"UI", uid.encode())
            + _element(0x0040, 0x0275, b"SQ", item)
        )


def _element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    if vr == b"SQ":
        return struct.pack("<HH2sHL", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def measure(run: rig.Run, bad: int, minutes: float) -> list[str]:
    """A row of the table."""
    home = run.folder / f"{bad}"
    build(home / "cache", bad)
    archive = peers.Storescp(home / "archive", parses=True)
    service = peers.Service(home, peers.node("PACS", archive.port, Impersonate="true"), workers=1)
    waits_s: list[float] = []
    with peers.running(archive), peers.serving(service):
        begin_s = time.monotonic()
        rejected_s = 0.0
        good = 0
        while time.monotonic() - begin_s < minutes * 60 or not rejected_s:
            came_s = begin_s + good * EVERY_S
            load = source.Load(service.port, [objects.made("small")], called="PACS", objects=1)
            peers.must_be_whole(source.run(load).objects, 1)
            good += 1
            sent_s = time.monotonic()
            peers.wait_delivered(service, "PACS", good)
            if peers.delivered(service, "PACS") != good:
                raise peers.Failed("the archive took what it was to abort at")
            waits_s.append(time.monotonic() - sent_s)
            while time.monotonic() < came_s + EVERY_S:
                if not rejected_s and len(list(service.spool.glob("rejected/PACS/*.dcm"))) == bad:
                    rejected_s = time.monotonic() - begin_s
                time.sleep(0.1)
            if time.monotonic() - begin_s > REJECTED_WITHIN_S:
                raise peers.Failed(f"not all of {bad} in rejected/ within {REJECTED_WITHIN_S:.0f} s")
        service.stop()
    late = (statistics.median(waits_s), max(waits_s))
    return [str(bad), f"{good} of {good}", *(f"{each:.2f}" for each in late), f"{rejected_s:.0f}"]


def main() -> None:
    parser = rig.parser(__doc__)
    parser.add_argument("--bad", default="20,150,500", help="how many bad objects, one run for each number")
    parser.add_argument("--minutes", type=float, default=4.0, help="at least, for each run")
    asked = parser.parse_args()
    with rig.Run(asked) as run:
        bad = [20] if run.quick else [int(each) for each in asked.bad.split(",")]
        rows = [
            ["bad ones in front", "good ones delivered", "median wait, s", "longest, s", "all bad rejected after, s"]
        ]
        rows += [measure(run, each, 0.5 if run.quick else asked.minutes) for each in bad]
        run.table("a bad series", rows)


if __name__ == "__main__":
    main()
