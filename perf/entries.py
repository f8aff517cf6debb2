"""How long does `leyden queue` take for a spool of a million entries?

    python perf/entries.py [--quick] [--rounds 5] [--entries 1000000] [--folder /dev/shm]

The spool is made of names that a planner would give: three days of arrivals, two destinations, nine sources, 250
instances a study and 100 a series, one entry in twenty deferred and one in a hundred rejected. The files are links of
a Part 10 head without a data set, since only names are looked at; on a disk the folders are in the page cache. Each way
is timed within a process, in processor time, then `leyden queue` as a process, by the clock from its start to its end.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import peers
import rig
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_LE
from leyden.operate.queue import RELEASE, Filter, count, page, release, shape
from leyden.spool.entry import Entry, bucket_of, key
from leyden.spool.listing import counts
from leyden.spool.stage import Stage

DAYS_S = 3 * 86400
LINKS_MAX = 60_000  # ext4 allows 65,000
NOW_S = 1_764_000_000.0
HEAD = encode_head(FileMeta("1.2.840.10008.5.1.4.1.1.2", "1.2.3", EXPLICIT_LE, "10.0.0.7", "CT1", "PACS"))


def make(root: Path, entries: int) -> None:
    """Fill a spool. The files are links of a small Part 10 file, and of copies of it."""
    folders: set[str] = set()
    seed = ""
    for number in range(entries):
        if number % LINKS_MAX == 0:
            seed = f"{root}/seed-{number}"
            root.mkdir(parents=True, exist_ok=True)
            Path(seed).write_bytes(HEAD)
        at_us = int((NOW_S - DAYS_S + number * DAYS_S / entries) * 1e6)
        study = number // 250
        entry = Entry(
            f"{at_us:016d}01{number % 10000:04d}",
            key(f"1.{number}"), key(f"2.{study}"), key(f"CT{study % 9}"), key(f"3.{number // 100}"),
        )  # fmt: skip
        title = "ARCHIVE" if number % 3 == 0 else "PACS"
        if number % 100 == 0:
            place, name = f"{root}/rejected/{title}", entry.name
        elif number % 20 == 0:
            due_s = int(NOW_S) + number % 3600
            deferred = entry.name.replace(".dcm", f".1.{due_s}.dcm")
            place, name = f"{root}/deferred/{title}/10/{bucket_of(due_s)}", deferred
        else:
            place, name = f"{root}/prepared/{title}/10/{entry.bucket}", entry.name
        if place not in folders:
            os.makedirs(place, mode=0o700, exist_ok=True)
            folders.add(place)
        os.link(seed, f"{place}/{name}")


def seconds(act: Callable[[], object], _folder: Path | None = None) -> float:
    """Of processor time."""
    begin_s = time.process_time()
    act()
    return time.process_time() - begin_s


def command(path: Path, words: tuple[str, ...], _folder: Path | None = None) -> float:
    """Seconds of a command as a process; Failed if it does not end well."""
    begin_s = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "leyden", *words, "--path", str(path)], capture_output=True, text=True)
    if done.returncode:
        raise peers.Failed(f"leyden {words}: {done.stderr[-300:]}")
    return time.perf_counter() - begin_s


def ways(root: Path) -> dict[str, Callable[[Path], float]]:
    """What is asked of the spool, by name."""
    some = frozenset
    asked: dict[str, Callable[[], object]] = {
        "counts, as leyden status has them": partial(counts, str(root)),
        "the oldest 100, and how many there are": partial(page, root, Filter()),
        "the same of one destination": partial(page, root, Filter(destinations=some({"PACS"}))),
        "one study": partial(page, root, Filter(studies=some({"2.1"}))),
        "one source": partial(page, root, Filter(sources=some({"CT1"}))),
        "rejected": partial(page, root, Filter(stages=some({Stage.REJECTED}))),
        "the first hour": partial(page, root, Filter(received_before_s=NOW_S - DAYS_S + 3600)),
        "the shape, by destination": partial(shape, root, Filter(), NOW_S),
        "the shape, by source": partial(shape, root, Filter(), NOW_S, True),
        "how many a release would be": partial(count, root, Filter(), RELEASE),
    }
    return {name: partial(seconds, act) for name, act in asked.items()}


def main() -> None:
    parser = rig.parser(__doc__)
    parser.add_argument("--entries", type=int, help="in the spool (default 1,000,000; 100,000 with --quick)")
    with rig.Run(parser.parse_args()) as run:
        entries = run.asked.entries or (100_000 if run.quick else 1_000_000)
        path = run.folder / "site"
        root = path / "cache"
        run.note(f"{entries:,} entries, made in {seconds(partial(make, root, entries)):.0f} s")
        run.compare("within a process", "s", ways(root))
        run.compare("as a process", "s", {
            f"leyden {' '.join(words)}": partial(command, path, words)
            for words in (("--version",), ("queue", "list"), ("queue", "--shape"), ("status",))
        })  # fmt: skip
        deferred = count(root, Filter(), RELEASE).count
        took_s = seconds(partial(release, root, Filter(), who="perf", through="command line"))
        run.note(f"{deferred:,} deferred entries released in {took_s:.1f} s, {1e6 * took_s / deferred:.0f} us each")


if __name__ == "__main__":
    main()
