"""What does a backlog for a dead destination cost the other destination, a restart, and memory?

    python perf/backlog.py [--rounds 5] [--quick] [--million]

100,000 deliveries of 10 KB wait for DEAD, on whose port nobody listens. They are written into prepared/DEAD/ of a
stopped service under the spool's own names (100 a second over the time before the start; 20 names share one file, as
deliveries of one object to several destinations do). Through the service this would take minutes, and a backlog is
nothing but names. Then, in turn with a service without a backlog: objects of 10 KB over four associations, each bound
for LIVING and for DEAD, so the backlog grows meanwhile. Measured is from the first to the last delivery at LIVING.
Wanted: LIVING at most 10 % slower; ready within 10 s after a start; memory as without the backlog. `--million` adds a
backlog ten times as large: the time to be ready and the memory may grow in proportion, the rate must stay.
Memory is each role's own (perf/roles.py), the most that was seen from ready to the end of the load.
"""

import os
import time
from functools import partial
from pathlib import Path

import objects
import peers
import rig
import roles
import source
from leyden.spool.entry import Entry, key
from leyden.tune.load import Uids

LINKS = 20
A_SECOND = 100
BOTH = "- Actions:\n    - Target: LIVING\n    - Target: DEAD\n"
AGE_S = 600
AFTER_START_S = 3.0  # the start is over by then, so the rate is that of a running service


def build(spool: Path, count: int, example: Path) -> None:
    """`count` entries in prepared/DEAD/, the youngest ten minutes old."""
    content = example.read_bytes()
    first_us = int((time.time() - AGE_S - count / A_SECOND) * 1e6)
    inode = made = ""
    for n in range(count):
        at_us = first_us + n * 1_000_000 // A_SECOND
        sop, study = key(f"2.25.77.{n}"), key(f"2.25.77.{n // 300}")
        entry = Entry(f"{at_us:016d}00{n % 10_000:04d}", sop, study, key("CT01"))
        place = f"{spool}/prepared/DEAD/00/{entry.bucket}"
        path = f"{place}/{entry.name}"
        if place != made:
            os.makedirs(place, mode=0o700, exist_ok=True)
            made = place
        if n % LINKS:
            os.link(inode, path)
        else:
            Path(path).write_bytes(content)
            inode = path
    os.sync()


def main() -> None:
    parser = rig.parser(__doc__, rounds=5)
    parser.add_argument("--million", action="store_true", help="a million beside the hundred thousand")
    asked = parser.parse_args()
    with rig.Run(asked) as run:
        small, count = objects.made("small"), 1000 if run.quick else 3000
        example = small.write(run.folder / "example.dcm", Uids(0).next())
        sizes = [0, 20_000 if run.quick else 100_000] + [1_000_000] * asked.million
        ready_s: dict[str, list[float]] = {}
        memory: dict[str, dict[str, list[float]]] = {}

        def living(folder: Path, backlog: int, name: str) -> float:
            """Objects a second at LIVING; records the time to be ready and each role's memory."""
            home = run.folder / f"with-{backlog}" if backlog else folder
            with peers.running(peers.sink()) as pacs:
                nodes = peers.node("LIVING", pacs.port) + peers.node("DEAD", peers.free_port())
                service = peers.Service(home, nodes, BOTH, workers=1)
                begin_s = time.monotonic()
                with peers.serving(service):
                    ready_s.setdefault(name, []).append(time.monotonic() - begin_s)
                    time.sleep(AFTER_START_S)
                    with roles.Watch(service) as watch:
                        done = peers.delivered(service, "LIVING")
                        begin_s = time.monotonic()
                        load = source.Load(service.port, [small], called="LIVING", associations=4, objects=count)
                        peers.must_be_whole(source.run(load).objects, count)
                        peers.wait_delivered(service, "LIVING", done + count)
                        rate = count / (time.monotonic() - begin_s)
                    for role, looks in watch.seen.items():
                        most = max(held.own_bytes for held in looks) / 1e6
                        memory.setdefault(role, {}).setdefault(name, []).append(most)
                    service.stop()
            return rate

        ways = {}
        for backlog in sizes:
            name = f"{backlog:,} waiting for DEAD" if backlog else "nothing waiting"
            begin_s = time.monotonic()
            if backlog:
                build(run.folder / f"with-{backlog}" / "cache", backlog, example)
                run.note(f"{name}: written within {time.monotonic() - begin_s:.0f} s")
            ways[name] = partial(living, backlog=backlog, name=name)
        names = list(ways)
        run.compare(f"{count} objects of 10 KB to LIVING", "objects/s", ways, ours=names[1:])
        run.add(rig.Comparison("ready after a start", "s", ready_s))
        for role, figures in sorted(memory.items()):
            run.add(rig.Comparison(f"most memory of {role}", "MB", figures))


if __name__ == "__main__":
    main()
