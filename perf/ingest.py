"""How fast are objects received and kept, beside other SCPs? Durable (syncSpool: true) and not.

    python perf/ingest.py [--quick] [--cases ct:1,cr:4] [--clients source,dcmsend] [--rounds 5] [--svg FILE]

A case is a kind of object (ct 0.5 MB, cr 7.5 MB, small 10 KB), a number of associations, and optionally `:each`: one
association for each object, with 64 proposed contexts, as many devices do. There are two load clients: source.py
(objects a second from the first request to the last release, and response times) and dcmsend (one process an
association, its start included). Leyden's destination is off, so that nothing is sent on, but its planner works beside
the receiver. The other SCPs, each with 128 KiB PDUs: storescp --bit-preserving (one association at a time; it never
syncs), the same with --fork, pynetdicom's SCP, Orthanc (which syncs). The native limit is a C program that only reads
from a socket and writes files; for the durable row with fdatasync, rename and fsync of the folder.
--tls compares plain and TLS 1.3 instead, durable, with source.py on this machine: objects a second, and the processor
time of the receiver, which does not depend on what the client takes of the same cores.
A column `÷ it` is Leyden's rate divided by that of the row, round by round.
"""

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from operator import methodcaller
from pathlib import Path

import objects
import peers
import rig
import roles
import source
from leyden.operate import trial
from leyden.tune import plot

DURABLE, UNSYNCED = "Leyden durable", "Leyden, syncSpool: false"
LIMIT, DURABLE_LIMIT = "native, no sync", "native, durable"
STORESCP, FORK = "storescp", "storescp --fork"
CASES = "ct:1,ct:4,ct:16,cr:1,cr:4,cr:16,ct:1:each"
QUICK_CASES = "ct:1,ct:4"
PLAIN, TLS = "Leyden durable, plain", "Leyden durable, TLS 1.3"
WANTED = 0.7  # of plain, over TLS
COUNTS = {"ct": 400, "cr": 40, "small": 1500}
CONTEXTS = 64
PERCENTS = (50, 95, 99)

Deliver = Callable[[int], source.Report]
"""Sends the load of a case to a port."""


@dataclass(frozen=True, slots=True)
class Case:
    kind: str
    associations: int
    each: bool  # one association an object
    count: int

    @classmethod
    def parse(cls, word: str, *, quick: bool) -> "Case":
        kind, number, *more = word.split(":")
        count = COUNTS[kind] // (2 if quick or more else 1)
        return cls(kind, int(number), more == ["each"], count)

    @property
    def title(self) -> str:
        over = f"an association an object, {CONTEXTS} contexts, {self.associations} at once"
        return f"receive {self.kind}, " + (over if self.each else f"{self.associations} associations")

    def by_source(self, port: int, authorities: Path | None = None) -> source.Report:
        report = source.run(
            source.Load(
                port,
                [objects.made(self.kind)],
                called="DEST",
                associations=self.associations,
                objects=self.count,
                per_association=1 if self.each else 0,
                contexts=CONTEXTS if self.each else 0,
                authorities=authorities,
            )
        )
        peers.must_be_whole(report.objects, self.count)
        return report

    def by_dcmsend(self, files: list[Path], port: int) -> source.Report:
        seconds = peers.dcmsend(port, "DEST", files, associations=self.associations)
        return source.Report(objects=len(files), seconds=seconds)


def into_leyden(sync: str, deliver: Deliver, folder: Path) -> source.Report:
    with peers.leyden(folder, {"DEST": peers.free_port()}, syncSpool=sync) as service:
        return deliver(service.port)


def into(peer: Callable[[Path], peers.Peer], deliver: Deliver, folder: Path) -> source.Report:
    with peers.running(peer(folder)) as far:
        return deliver(far.port)


def natively(case: Case, figure: str, folder: Path) -> source.Report:
    size_bytes = objects.made(case.kind).size_bytes
    per_s = peers.native(
        "receive_files", figure, folder, objects=case.count, size_bytes=size_bytes, connections=case.associations
    )
    return source.Report(objects=case.count, seconds=case.count / per_s)


def ways(case: Case, deliver: Deliver) -> Mapping[str, Callable[[Path], source.Report]]:
    return {
        DURABLE: partial(into_leyden, "true", deliver),
        UNSYNCED: partial(into_leyden, "false", deliver),
        STORESCP: partial(into, peers.storescp, deliver),
        FORK: partial(into, lambda folder: peers.storescp(folder, "--fork"), deliver),
        "pynetdicom": partial(into, peers.pynetdicom_scp, deliver),
        "Orthanc": partial(into, peers.orthanc, deliver),
        LIMIT: partial(natively, case, "objects_per_s"),
        DURABLE_LIMIT: partial(natively, case, "durable_objects_per_s"),
    }


def measure(run: rig.Run, case: Case, client: str) -> dict[str, list[source.Report]]:
    """Measure all ways in turn, and print their table."""
    deliver: Deliver = case.by_source
    if client == "dcmsend":
        deliver = partial(case.by_dcmsend, objects.write_files(run.folder / "files", case.kind, case.count))
    reports, missing = rig.alternate(ways(case, deliver), run.rounds, run.folder)
    run.add(
        rig.Comparison(
            f"{case.title}, by {client}",
            "objects/s",
            {way: [report.per_s for report in each] for way, each in reports.items()},
            missing,
            (DURABLE, UNSYNCED),
            {DURABLE: DURABLE_LIMIT, UNSYNCED: LIMIT, STORESCP: LIMIT, FORK: LIMIT, "Orthanc": DURABLE_LIMIT},
        )
    )
    if client == "source":
        run.table(f"response times, {case.title}", response_table(case, reports))
    return reports


def by_tls(case: Case, certificates: Path | None, spent: list[float], folder: Path) -> float:
    """Plain without `certificates`. Adds the milliseconds of the receiver's processor time an object to `spent`."""
    port = peers.free_port()
    own = certificates / trial.OURS if certificates else Path()
    tls = f"{{port: {port}, certificate: {own}.pem, key: {own}.key, clientAuth: off}}" if certificates else "off"
    with peers.leyden(folder, {"DEST": peers.free_port()}, tls=tls) as service:
        before = roles.spent(service)
        authorities = certificates / f"{trial.AUTHORITY}.pem" if certificates else None
        report = case.by_source(port if certificates else service.port, authorities)
        took = roles.between(before, roles.spent(service))
        spent.append(
            1000 * sum(each.processor_s for role, each in took.items() if role.startswith("receiver")) / case.count
        )
    return report.per_s


def compare_tls(run: rig.Run, case: Case) -> None:
    certificates = run.folder / "certificates"
    trial.make(certificates, (), 2, datetime.now(UTC))
    spent: dict[str, list[float]] = defaultdict(list)
    ways = {
        PLAIN: partial(by_tls, case, None, spent[PLAIN]),
        TLS: partial(by_tls, case, certificates, spent[TLS]),
    }
    found = run.compare(f"{case.title}, by source", "objects/s", ways, limits={TLS: PLAIN})
    rows = [[name, f"{statistics.median(each):.2f}"] for name, each in spent.items()]
    run.table("processor time", [["receiver, processor ms an object, median", "ms"], *rows])
    share = statistics.median(found.ratios(TLS, PLAIN))
    run.note(f"TLS ÷ plain, round by round: {share:.2f}; wanted {WANTED}{'' if share >= WANTED else ': short'}")


def response_table(case: Case, reports: Mapping[str, list[source.Report]]) -> list[list[str]]:
    """The response times of one case: medians of the percentiles of each round."""
    rows = [[f"response, {case.title}, ms", *(f"p{percent}" for percent in PERCENTS), "max"]]
    for way, each in reports.items():
        if each[0].response_us:
            marks = [statistics.median(report.response_ms(percent) for report in each) for percent in (*PERCENTS, 100)]
            rows.append([way, *map(rig.number, marks)])
    return rows


def charts(measured: Mapping[Case, Mapping[str, list[source.Report]]]) -> list[plot.Chart]:
    """For each kind: objects/s and our response times against associations."""
    found = []
    for kind in dict.fromkeys(case.kind for case in measured):
        cases = sorted((c for c in measured if c.kind == kind and not c.each), key=lambda case: case.associations)
        xs = [case.associations for case in cases]
        names = dict.fromkeys(way for case in cases for way in measured[case])
        rates = {name: [_median(measured[case].get(name), lambda r: r.per_s) for case in cases] for name in names}
        times = {
            f"{name}, p{percent}": [
                _median(measured[case].get(name), methodcaller("response_ms", percent)) for case in cases
            ]
            for name in (DURABLE, FORK)
            for percent in PERCENTS
        }
        found.append(plot.Chart(f"Receive, {kind}", "associations", "objects/s", xs, rates))
        found.append(plot.Chart(f"Response time, {kind}", "associations", "ms", xs, times))
    return found


def _median(reports: list[source.Report] | None, of: Callable[[source.Report], float]) -> float | None:
    return statistics.median(map(of, reports)) if reports else None


def main() -> None:
    parser = rig.parser(__doc__, svg=True)
    parser.add_argument("--cases", help=f"default {CASES}; with --quick {QUICK_CASES}")
    parser.add_argument("--tls", action="store_true", help="plain and TLS instead of other SCPs; 4 associations of ct")
    parser.add_argument("--clients", help="source, dcmsend or both (default: both; with --quick source)")
    with rig.Run(parser.parse_args()) as run:
        if run.asked.tls:
            for word in (run.asked.cases or "ct:4").split(","):
                compare_tls(run, Case.parse(word, quick=run.quick))
            return
        words = run.asked.cases or (QUICK_CASES if run.quick else CASES)
        clients = (run.asked.clients or ("source" if run.quick else "source,dcmsend")).split(",")
        measured = {}
        for case in [Case.parse(word, quick=run.quick) for word in words.split(",")]:
            for client in clients:
                if client == "source":
                    measured[case] = measure(run, case, client)
                elif not case.each:  # dcmsend has no option for it
                    measure(run, case, client)
        if run.asked.svg:
            plot.write(run.asked.svg, charts(measured))


if __name__ == "__main__":
    main()
