"""How long does an object take to its destination when nothing else is to do? 0.5 MB CT, one at a time, idle service.

    python perf/latency.py [--rounds 5] [--quick]

From the C-STORE-RSP at the modality to the last byte of the data set at the destination; both ends are in this
process and use one clock. The next object is sent 5 to 50 ms after the last one arrived. The time holds: the planner's
look at the header, a rename, the sender's claim, and 0.5 MB over the loopback. In the last rows nothing has happened
for 2.5 s before each object, so that the sender has released its association and opens a new one. A second table shows
how many objects took how long.
Wanted: p50 <= 5 ms, p99 <= 25 ms.
"""

import argparse
import asyncio
import itertools
import random
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

import objects
import peers
import rig
import sink
import source
from leyden.dicom.association import Event, StoreEnded
from leyden.net.link import Link
from leyden.net.scu import Association
from leyden.tune.load import Stock, Uids

IDLE_S = 2.5
EDGES_MS = (1, 2, 3, 4, 5, 7, 10, 15, 25, 50, 100)


class Clocked(sink.Visit):
    """A visit that records when each data set was complete."""

    def __init__(self, far: "Far") -> None:
        super().__init__(far)
        self._far = far

    def handle(self, event: Event) -> None:
        if isinstance(event, StoreEnded):
            self._far.arrived.put_nowait((event.store.command.sop_instance, time.monotonic()))
        super().handle(event)


class Far(sink.Sink):
    """The destination; `arrived`: (UID, CLOCK_MONOTONIC of its last byte) of each object."""

    def __init__(self, asked: argparse.Namespace) -> None:
        super().__init__(asked)
        self.arrived: asyncio.Queue[tuple[str, float]] = asyncio.Queue()

    def connection(self) -> Link:
        return Clocked(self).link


@dataclass(frozen=True, slots=True)
class Trip:
    """When an object's request began, its answer came, its last byte was at the destination (CLOCK_MONOTONIC)."""

    sent_s: float
    answered_s: float
    arrived_s: float


async def trips(port: int, far_port: int, gaps_s: list[float]) -> list[Trip]:
    """Send one CT after each gap, each when the last one has arrived; two before them are not counted."""
    ct = objects.made("ct")
    stock, far = Stock([ct], Uids(random.randrange(10**10))), Far(sink.parse(["--port", str(far_port)]))
    server = await asyncio.get_running_loop().create_server(far.connection, "127.0.0.1", far_port)
    link = await Association.open(
        "127.0.0.1", port, calling="CT01", called="PACS", contexts=[(ct.sop_class, ct.syntax)]
    )
    found = []
    for gap_s in [0.0, 0.0, *gaps_s]:
        await asyncio.sleep(gap_s)
        _, uid, fd = stock.take()
        sent_s = time.monotonic()
        said = await link.store(link.accepted[ct.sop_class, ct.syntax], ct.sop_class, uid, fd, 0, ct.size_bytes)
        answered_s = time.monotonic()
        arrived_uid, arrived_s = await asyncio.wait_for(far.arrived.get(), 30)
        if said.status or arrived_uid != uid:
            raise peers.Failed(f"status 0x{said.status:04X}, sent {uid}, arrived {arrived_uid}")
        stock.give_back(ct, fd)
        found.append(Trip(sent_s, answered_s, arrived_s))
    await link.release()
    server.close()
    stock.close()
    return found[2:]


def histogram(times_ms: list[float]) -> str:
    """One line: how many took how long."""
    bounds = [float("-inf"), *EDGES_MS, float("inf")]
    counts = [(high, sum(low < t <= high for t in times_ms)) for low, high in itertools.pairwise(bounds)]
    words = [f"<= {high:g}: {count}" if high < float("inf") else f"more: {count}" for high, count in counts if count]
    return f"{len(times_ms)} objects, ms: " + "  ".join(words)


def main() -> None:
    with rig.Run(rig.parser(__doc__).parse_args()) as run:

        def through(folder: Path, gaps_s: list[float]) -> list[float]:
            far_port = peers.free_port()
            with (
                peers.leyden(folder, {"PACS": far_port}) as leyden,
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop,
            ):
                found = loop.run(trips(leyden.port, far_port, gaps_s))
                return [(trip.arrived_s - trip.answered_s) * 1e3 for trip in found]

        def busy(folder: Path) -> list[float]:
            return through(folder, [random.uniform(0.005, 0.050) for _ in range(300)])

        def idle(folder: Path) -> list[float]:
            return through(folder, [IDLE_S] * (3 if run.quick else 8))

        found, _ = rig.alternate(
            {"one after the other": busy, f"after {IDLE_S} s of nothing": idle}, run.rounds, run.folder
        )
        table = {
            f"{way}, {name}": [source.percentile(sorted(times), percent) for times in rounds]
            for way, rounds in found.items()
            for name, percent in (("p50", 50), ("p95", 95), ("p99", 99), ("most", 100))
        }
        run.add(rig.Comparison("answered at the modality -> last byte at the destination", "ms", table))
        for way, rounds in found.items():
            line = histogram(list(itertools.chain(*rounds)))
            run.note(f"{way}: {line}")
            run.more[way] = line


if __name__ == "__main__":
    main()
