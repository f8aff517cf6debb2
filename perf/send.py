"""How fast are waiting objects sent, beside dcmsend and pynetdicom's SCU? Receiving is not included.

    python perf/send.py [--quick] [--rounds 5]

Leyden is filled while its destination is off. Once everything is planned and on the disk, the destination is started.
Measured is the time between the first and the last receipt: N - 1 objects, without opening, negotiating and waiting for
the next try. For the others the same is left out by subtraction: (N - 1) / (seconds for N - seconds for 1).
The destination of the first table is storescp --ignore, with one association. That of the second is our own sink.py,
with one association and with four; it takes the time itself, for all three alike, from the first byte of the first
object to the last answer. Leyden writes a receipt for each object and, unless syncSpool is false, syncs it before it
removes the object; dcmsend and the SCU keep nothing. "sorted": with a rule of sortings.yml that turns the one series
round. The native limit sends files over a plain socket, with an answer to each.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import objects
import peers
import rig
import source

DURABLE, UNSYNCED, SORTED, LIMIT = "Leyden durable", "Leyden, syncSpool: false", "Leyden durable, sorted", "native"
SORTINGS = "- Actions:\n    - {SortTag: SOPInstanceUID, SortType: string, SortDirection: desc}\n"
KIND = "ct"


class Filled:
    """A service with `count` objects waiting for a destination that is off."""

    def __init__(self, folder: Path, count: int, associations: int, sync: str, sortings: str = "") -> None:
        self.count, self.port = count, peers.free_port()
        nodes = peers.node("DEST", self.port, MaxAssociations=associations, RetryDelays="[0.5]")
        filters = {"filters": "sort"} if sortings else {}
        self.service = peers.Service(folder / "leyden", nodes, workers=1, arenaMib=64, syncSpool=sync, **filters)
        if sortings:
            (self.service.folder / "sortings.yml").write_text(sortings)

    def fill(self) -> None:
        load = source.Load(self.service.port, [objects.made(KIND)], called="DEST", associations=4, objects=self.count)
        peers.must_be_whole(source.run(load).objects, self.count)
        prepared = self.service.spool / "prepared" / "DEST"
        peers.wait_for(lambda: len(list(prepared.rglob("*.dcm"))) == self.count, peers.LIMIT_S, "all to be planned")
        rig.settle()

    def receipts_per_s(self) -> float:
        """Objects a second between the first and the last receipt."""
        times_s = peers.receipts_s(self.service)
        return (len(times_s) - 1) / (times_s[-1] - times_s[0])


def by_leyden(count: int, sync: str, folder: Path) -> float:
    """Send to storescp, timed by the receipts."""
    filled = Filled(folder, count, 1, sync)
    with peers.serving(filled.service):
        filled.fill()
        with peers.running(peers.storescp(folder / "scp", "--ignore", port=filled.port)):
            peers.wait_delivered(filled.service, "DEST", count)
        return filled.receipts_per_s()


def by_leyden_to_sink(count: int, associations: int, sync: str, sortings: str, folder: Path) -> float:
    filled = Filled(folder, count, associations, sync, sortings)
    with peers.serving(filled.service):
        filled.fill()
        sink = peers.sink(port=filled.port).start()
        try:
            peers.wait_delivered(filled.service, "DEST", count)
        finally:
            said = sink.stop()
        return between(said, count)


def between(said: str, count: int) -> float:
    """Objects a second as the sink saw them."""
    counts = json.loads(said)
    peers.must_be_whole(counts["objects"], count)
    return float(counts["per_s"])


def by_dcmsend(files: list[Path], folder: Path) -> float:
    with peers.running(peers.storescp(folder / "scp", "--ignore")) as scp:
        one_s, all_s = (peers.dcmsend(scp.port, "DEST", these) for these in (files[:1], files))
    return (len(files) - 1) / (all_s - one_s)


def by_pynetdicom(files: list[Path], folder: Path) -> float:
    alone = folder / "one"
    alone.mkdir()
    (alone / files[0].name).symlink_to(files[0])
    with peers.running(peers.storescp(folder / "scp", "--ignore")) as scp:
        one_s, all_s = (peers.pynetdicom_scu(scp.port, "DEST", at) for at in (alone, files[0].parent))
    return (len(files) - 1) / (all_s - one_s)


def others_to_sink(files: list[Path], associations: int, who: str, folder: Path) -> float:
    sink = peers.sink().start()
    try:
        if who == "dcmsend":
            peers.dcmsend(sink.port, "DEST", files, associations=associations)
        else:
            peers.pynetdicom_scu(sink.port, "DEST", files[0].parent, associations=associations)
    finally:
        said = sink.stop()
    return between(said, len(files))


def limit(count: int, associations: int, folder: Path) -> float:
    size_bytes = objects.made(KIND).size_bytes
    return peers.native(
        "send_files", "objects_per_s", folder, objects=count, size_bytes=size_bytes, connections=associations
    )


LIMITS: Mapping[str, str] = {
    DURABLE: LIMIT,
    SORTED: LIMIT,
    UNSYNCED: LIMIT,
    "dcmsend": LIMIT,
    "pynetdicom's SCU": LIMIT,
}


def main() -> None:
    parser = rig.parser(__doc__)
    parser.add_argument("--tables", default="storescp:1,sink:1,sink:4", help="default %(default)s; quick: the first")
    with rig.Run(parser.parse_args()) as run:
        count = 200 if run.quick else 600
        files = objects.write_files(run.folder / "files", KIND, count)
        for word in run.asked.tables.split(",")[: 1 if run.quick else None]:
            where, _, associations = word.partition(":")
            ways = to_storescp if where == "storescp" else partial(to_sink, int(associations))
            run.compare(
                f"send {count} {KIND} to {where}, {associations} associations",
                "objects/s",
                {**ways(files), LIMIT: partial(limit, count, int(associations))},
                ours=(DURABLE, UNSYNCED),
                limits=LIMITS,
            )


def to_storescp(files: list[Path]) -> rig.Ways[float]:
    return {
        DURABLE: partial(by_leyden, len(files), "true"),
        UNSYNCED: partial(by_leyden, len(files), "false"),
        "dcmsend": partial(by_dcmsend, files),
        "pynetdicom's SCU": partial(by_pynetdicom, files),
    }


def to_sink(associations: int, files: list[Path]) -> rig.Ways[float]:
    return {
        DURABLE: partial(by_leyden_to_sink, len(files), associations, "true", ""),
        SORTED: partial(by_leyden_to_sink, len(files), associations, "true", SORTINGS),
        UNSYNCED: partial(by_leyden_to_sink, len(files), associations, "false", ""),
        "dcmsend": partial(others_to_sink, files, associations, "dcmsend"),
        "pynetdicom's SCU": partial(others_to_sink, files, associations, "pynetdicom"),
    }


if __name__ == "__main__":
    main()
