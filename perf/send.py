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

--tls compares plain and TLS 1.3 instead, to the sink with four associations, both ends on this machine: objects a
second, and the processor time of the sender.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import objects
import peers
import rig
import roles
import source
from leyden.operate import trial

DURABLE, UNSYNCED, SORTED, LIMIT = "Leyden durable", "Leyden, syncSpool: false", "Leyden durable, sorted", "native"
SORTINGS = "- Actions:\n    - {SortTag: SOPInstanceUID, SortType: string, SortDirection: desc}\n"
PLAIN, TLS = "Leyden durable, plain", "Leyden durable, TLS 1.3"
WANTED = 0.7  # of plain, over TLS
KIND = "ct"


class Filled:
    """A service with `count` objects waiting for a destination that is off."""

    def __init__(
        self, folder: Path, count: int, associations: int, sync: str, sortings: str = "", tls: str = "false"
    ) -> None:
        self.count, self.port = count, peers.free_port()
        nodes = peers.node("DEST", self.port, MaxAssociations=associations, RetryDelays="[0.5]", Tls=tls)
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


def by_tls_to_sink(count: int, certificates: Path | None, spent: list[float], folder: Path) -> float:
    """Plain without `certificates`. Adds the milliseconds of the sender's processor time an object to `spent`."""
    tls, options = "false", ()
    if certificates is not None:
        tls = f"{{Authorities: {certificates / 'ca.pem'}}}"
        options = ("--tls", *(str(certificates / f"{trial.OURS}.{ending}") for ending in ("pem", "key")))
    filled = Filled(folder, count, 4, "true", tls=tls)
    with peers.serving(filled.service):
        filled.fill()
        before = roles.spent(filled.service)
        sink = peers.sink(*options, port=filled.port).start()
        try:
            peers.wait_delivered(filled.service, "DEST", count)
        finally:
            said = sink.stop()
        took = roles.between(before, roles.spent(filled.service))
        spent.append(1000 * sum(each.processor_s for role, each in took.items() if role.startswith("sender")) / count)
    return between(said, count)


def compare_tls(run: rig.Run, count: int) -> None:
    certificates = run.folder / "certificates"
    trial.make(certificates, (), 2, datetime.now(UTC))
    spent: dict[str, list[float]] = defaultdict(list)
    ways = {
        PLAIN: partial(by_tls_to_sink, count, None, spent[PLAIN]),
        TLS: partial(by_tls_to_sink, count, certificates, spent[TLS]),
    }
    found = run.compare(f"send {count} {KIND} to sink, 4 associations", "objects/s", ways, limits={TLS: PLAIN})
    rows = [[name, f"{statistics.median(each):.2f}"] for name, each in spent.items()]
    run.table("processor time", [["sender, processor ms an object, median", "ms"], *rows])
    share = found.median(TLS) / found.median(PLAIN)
    run.note(f"TLS ÷ plain: {share:.2f}; wanted {WANTED}{'' if share >= WANTED else ': short'}")


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
    parser.add_argument("--tls", action="store_true", help="plain and TLS instead of other senders")
    parser.add_argument("--tables", default="storescp:1,sink:1,sink:4", help="default %(default)s; quick: the first")
    with rig.Run(parser.parse_args()) as run:
        count = 200 if run.quick else 600
        if run.asked.tls:
            compare_tls(run, count)
            return
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
