"""What does the journal cost an event, and how fast is one object of a day found in it?

    python perf/trace.py [--quick] [--rounds 5] [--objects 1000000] [--sqlite]

First the processor time of an event that is told, with the journal off and on, one at a time and 128 together. Then a
day of objects is written as the roles write it, four events each, a tenth of the objects deferred once more, 250
objects a study; nothing is left out when segments are passed over by time, because all are closed after the objects
came. Segments are indexed as the supervisor does it. `leyden trace` is timed as a process, from its start to its end,
with the journal in the page cache and, "cold", without; by the clock and, as other work on the machine counts less
there, in processor time. Beside it: the search alone within a process that runs already, and a search of all bytes
(bytes.find, grep). --sqlite: one table of SQLite with the same keys, filled segment by segment.
"""

import os
import random
import sqlite3
import statistics
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import orjson

import peers
import rig
from leyden.journal import accession, index, lines
from leyden.journal.events import Deferred, Delivered, Event, Planned, PlannedDelivery, Received, Transformed
from leyden.journal.lines import JournalSettings
from leyden.journal.segments import Journal, segments
from leyden.journal.upkeep import Upkeep
from leyden.operate.trace import by_instance
from leyden.spool.secret import journal_key

ROOT = "1.2.826.0.1.3680043.8.498"
STUDY_OBJECTS = 250
TOGETHER = 128
LIMIT_BYTES = 1 << 40
KEY = bytes(32)
DAY_S = 86400
Clock = Callable[[], float]


def uid(kind: int, number: int) -> str:
    """64 characters, as generated ones have; the digits differ early and late."""
    digits = random.Random(kind << 40 | number).randrange(10**37, 10**38)
    return f"{ROOT}.{digits}"[:64]


def receipt(number: int, count: int, begin_s: float) -> str:
    return f"{int((begin_s + number * DAY_S / count) * 1e6):016d}01{number % 10000:04d}"


def story(number: int, count: int, begin_s: float) -> Iterator[tuple[str, Event]]:
    """(who writes it, event) of one object."""
    study = number // STUDY_OBJECTS
    name = receipt(number, count, begin_s)
    at_s = round(int(name[:16]) / 1e6, 3)
    of = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2", "sop_instance_uid": uid(0, number), "at_s": at_s}
    caller = f"CT{study % 9}"
    yield (
        "receiver-0",
        Received(
            name, called="IMAGEPACS", calling=caller, syntax="1.2.840.10008.1.2.1", bytes=525312, peer="10.1.2.3", **of
        ),
    )
    yield "planner-0", Planned(
        name, called="IMAGEPACS", calling=caller, generation=1,
        deliveries=(PlannedDelivery("IMAGEPACS", "as JPEG2000Lossless", "called title IMAGEPACS"),),
        rules=("routings.yml:3",), study_instance_uid=uid(1, study), series_instance_uid=uid(2, number // 100),
        accession=accession.keyed(f"A{study}", KEY), **of,
    )  # fmt: skip
    yield f"worker-{number % 2}", Transformed(
        name, destination="IMAGEPACS", calling=caller, came="ExplicitVRLittleEndian", made="JPEG2000Lossless",
        came_bytes=525700, made_bytes=210018, took_s=0.024, **of,
    )  # fmt: skip
    to = {"destination": "IMAGEPACS", "calling": "LEYDEN", "source": caller, **of}
    if number % 10 == 0:
        yield "sender-0", Deferred(name, said="10.0.0.5: answered 0xA700: Out of resources", wait_s=1.1, **to)
    yield "sender-0", Delivered(name, status=0, syntax="1.2.840.10008.1.2.4.90", bytes=210000, took_s=0.011, **to)


def tell(settings: JournalSettings, together: bool, count: int, folder: Path) -> float:
    """Processor time of an event, without making it, in microseconds."""
    events = [event for number in range(TOGETHER) for _, event in story(number, 1000, 1.7e9)][:TOGETHER]
    lines.set_up(folder, "sender-0", settings)
    begin_ns = time.process_time_ns()
    for _ in range(count // TOGETHER):
        if together:
            with lines.together():
                for event in events:
                    lines.tell(event)
        else:
            for event in events:
                lines.tell(event)
    took_ns = time.process_time_ns() - begin_ns
    lines.set_up(folder, "sender-0", JournalSettings())
    return took_ns / 1000 / count


def write_day(root: Path, count: int, begin_s: float) -> int:
    """Returns the number of events."""
    (root / "state").mkdir(parents=True)
    journal_key(root).write_bytes(KEY)
    writers: dict[str, Journal] = {}
    events = 0
    for number in range(count):
        for who, event in story(number, count, begin_s):
            if who not in writers:
                writers[who] = Journal(root, who, LIMIT_BYTES)
            writers[who].write(event)
            events += 1
    return events


def index_all(root: Path) -> list[float]:
    """The milliseconds of processor time of each turn of the supervisor that made an index."""
    keep = Upkeep(root, LIMIT_BYTES, 0)
    took_ms = []
    while True:
        begin_s = time.process_time()
        if not keep.index_next(time.time()):
            return took_ms
        took_ms.append(1000 * (time.process_time() - begin_s))


def forget(root: Path) -> None:
    """Take the journal out of the page cache."""
    os.sync()
    for path in (root / "journal").iterdir():
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def seconds(act: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    begin_s = clock()
    act()
    return clock() - begin_s


def processor() -> float:
    """Seconds of processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def trace(path: Path, root: Path, cold: bool, words: tuple[str, ...], objects: int, clock: Clock) -> float:
    """Seconds of `leyden trace` as a process; Failed if it does not find all."""
    if cold:
        forget(root)
    begin_s = clock()
    said = subprocess.run(
        [sys.executable, "-m", "leyden", "trace", *words, "--path", str(path), "--json"], capture_output=True
    )
    took_s = clock() - begin_s
    found = orjson.loads(said.stdout)["objects"] if said.returncode == 0 else []
    if len(found) != objects or any(len(each["events"]) < 4 for each in found):
        raise peers.Failed(f"leyden trace {words}: {len(found)} of {objects} objects: {said.stderr.decode()[-300:]}")
    return took_s


def every_byte(root: Path, wanted: str, clock: Clock) -> float:
    """bytes.find over all segments, once."""

    def search() -> None:
        for segment in segments(str(root / "journal")):
            Path(segment.path).read_bytes().find(wanted.encode())

    return seconds(search, clock)


def grep(root: Path, wanted: str, clock: Clock) -> float:
    files = [segment.path for segment in segments(str(root / "journal"))]
    return seconds(lambda: subprocess.run(["grep", "-hF", wanted, *files], stdout=subprocess.DEVNULL), clock)


def version(clock: Clock) -> float:
    return seconds(lambda: subprocess.run([sys.executable, "-m", "leyden", "--version"], capture_output=True), clock)


def sqlite(root: Path, table: Path) -> list[float]:
    """Put the keys of all closed segments into one table; the milliseconds of each segment."""
    took_ms = []
    with sqlite3.connect(table) as database:
        database.execute("pragma journal_mode=wal")
        database.execute(
            "create table keys (hash int, segment int, at int, primary key (hash, segment, at)) without rowid"
        )
    for number, segment in enumerate(segments(str(root / "journal"))):
        if segment.closed_s == float("inf"):
            continue

        def rows(path: str = segment.path, number: int = number) -> Iterator[tuple[int, int, int]]:
            at = 0
            for line in Path(path).read_bytes().splitlines(keepends=True):
                document = orjson.loads(line)
                for key in (index.RECEIPT, index.INSTANCE, index.STUDY, index.ACCESSION):
                    if key in document:
                        yield zlib.crc32(document[key].encode()), number, at
                at += len(line)

        def insert(rows: Callable[[], Iterator[tuple[int, int, int]]] = rows) -> None:
            with database:
                database.executemany("insert or ignore into keys values (?,?,?)", rows())

        took_ms.append(1000 * seconds(insert, time.process_time))
    database.close()
    return took_ms


def main() -> None:
    parser = rig.parser(__doc__)
    parser.add_argument("--sqlite", action="store_true", help="also fill a table of SQLite; takes minutes")
    parser.add_argument("--objects", type=int, help="of the day (default 1,000,000; 50,000 with --quick)")
    with rig.Run(parser.parse_args()) as run:
        told = 128 * (100 if run.quick else 800)
        on = JournalSettings(mib=1 << 20)
        run.compare("an event that is told, its line not logged", "us", {
            "journal off": partial(tell, JournalSettings(), False, told),
            "journal on": partial(tell, on, False, told),
            f"journal on, {TOGETHER} together": partial(tell, on, True, told),
        })  # fmt: skip
        count = run.asked.objects or (50_000 if run.quick else 1_000_000)
        path = run.folder / "site"
        root = path / "cache"
        begin_s = time.time() - DAY_S
        events = write_day(root, count, begin_s)
        journal_bytes = sum(segment.bytes for segment in segments(str(root / "journal")))
        took_ms = index_all(root)
        index_bytes = sum(each.stat().st_size for each in (root / "journal").glob("*.index"))
        head = [
            "objects",
            "events",
            "bytes an event",
            "MB",
            "segments",
            "index MB",
            "ms to index one (processor)",
        ]
        row = [
            f"{count:,}", f"{events:,}", f"{journal_bytes / events:.0f}", f"{journal_bytes / 1e6:.0f}",
            str(len(segments(str(root / "journal")))), f"{index_bytes / 1e6:.0f}",
            f"{statistics.median(took_ms):.0f}, {max(took_ms):.0f}",
        ]  # fmt: skip
        if run.asked.sqlite:
            filled_ms = sqlite(root, run.folder / "keys.sqlite")
            sqlite_bytes = (run.folder / "keys.sqlite").stat().st_size
            head += ["SQLite: MB", "ms a segment (processor)"]
            row += [f"{sqlite_bytes / 1e6:.0f}", f"{statistics.median(filled_ms):.0f}, {max(filled_ms):.0f}"]
        run.table("the journal of a day", [head, row])
        wanted = count // 3
        asked = {
            "UID": ((uid(0, wanted),), 1),
            "accession": (("--accession", f"A{wanted // STUDY_OBJECTS}"), STUDY_OBJECTS),
            "study": (("--study", uid(1, wanted // STUDY_OBJECTS)), STUDY_OBJECTS),
            "receipt": (("--receipt", receipt(wanted, count, begin_s)), 1),
            "UID of the last object": ((uid(0, count - 1),), 1),
        }
        ways = {
            "leyden --version": version,
            **{f"leyden trace, {name}": partial(trace, path, root, False, *what) for name, what in asked.items()},
            "leyden trace, UID, cold": partial(trace, path, root, True, *asked["UID"]),
            "within a process, UID": partial(seconds, lambda: by_instance(root, uid(0, wanted))),
            "bytes.find over all, once": partial(every_byte, root, uid(0, wanted)),
            "grep -F": partial(grep, root, uid(0, wanted)),
        }
        for title, clock in (("to find, by the clock", time.perf_counter), ("to find, processor time", processor)):
            run.compare(title, "s", {name: lambda _, way=way, clock=clock: way(clock) for name, way in ways.items()})


if __name__ == "__main__":
    main()
