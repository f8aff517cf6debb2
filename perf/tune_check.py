"""Is what `leyden tune` predicts what happens? Predicted and measured rates, in one run and in turn.

    python perf/tune_check.py [--quick] [--rounds 5] [--seconds 1.0]

Each round measures the machine as `leyden tune` does, predicts, and then measures the same ways as forward.py (CT of
0.5 MB as they came, source.py over four associations to storescp --ignore) and compress.py (the same CT made into three
syntaxes by one and by two workers, dcmsend to sink.py). In the product, senders and archives are elsewhere; here they
take the same cores, so what they cost is measured too (client straight to server) and given to the model.
Wanted: the median of the predictions within 20 % of the median of the measured rates, in every row. The last column
says so, and the exit code is 1 if one is not.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
from msgspec.structs import replace

import codec
import compress
import forward
import objects
import peers
import rig
import roles
from leyden.dicom import uids
from leyden.tune import images, machine
from leyden.tune.model import AS_IT_CAME, Cost, Load, Machine, predict

KIND, PASSED, WITHIN = "ct", 800, 0.20
COUNTS = {uids.JPEG2000_LOSSLESS: 200, uids.HTJ2K_LOSSLESS: 800, uids.JPEGLS_LOSSLESS: 600}
WORKERS = (1, 2)
QUICK = 10  # times fewer objects


@dataclass(frozen=True, slots=True)
class Row:
    """One way: what is predicted, and how it is measured. `client`: which of the two."""

    load: Load
    client: str
    measure: Callable[[Path], "Seen"]

    @property
    def name(self) -> str:
        made = self.load.syntax or "as it came"
        return made if self.load.syntax == AS_IT_CAME else f"{made}, {self.load.workers} workers"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was measured, or predicted: objects a second, and processor time of an object in all roles together."""

    per_s: float
    roles_ms: float


def passed(count: int, folder: Path) -> Seen:
    """forward.py's row "Leyden durable"."""
    far = peers.CountingStorescp()
    with peers.running(far), peers.leyden(folder, {"DEST": far.port}) as service:
        before = roles.spent(service)
        per_s = forward.passed(count, far, partial(forward.with_source, count, 4), service.port)
        peers.wait_delivered(service, "DEST", count)
        return Seen(per_s, _roles_ms(before, service, count))


def made(files: Sequence[Path], syntax: str, workers: int, folder: Path) -> Seen:
    """compress.py's case htj2k, for any syntax and number of workers."""
    with peers.running(peers.sink()) as far, codec.leyden(folder, far.port, syntax, workers) as service:
        before = roles.spent(service)
        seconds = compress.one_trip_s(service, files)
        if "as it came" in service.log:
            raise peers.Failed(f"not everything was made into {syntax}")
        return Seen(len(files) / seconds, _roles_ms(before, service, len(files)))


def _roles_ms(before: dict[str, roles.Spent], service: peers.Service, count: int) -> float:
    spent = roles.between(before, roles.spent(service))
    return sum(each.processor_s for role, each in spent.items() if role != "supervisor") / count * 1e3


def rows(files: Sequence[Path], factor: int) -> list[Row]:
    size_bytes = objects.made(KIND).size_bytes
    found = [Row(Load(size_bytes), "source", partial(passed, PASSED // factor))]
    for uid, count in COUNTS.items():
        for workers in WORKERS:
            syntax, some = uids.syntax_name(uid), files[: count // factor]
            load = Load(size_bytes, syntax, workers=workers, sources=1)
            found.append(Row(load, "dcmsend", partial(made, some, syntax, workers)))
    return found


# -- what both ends cost


def by_source(count: int) -> float:
    """Processor time of source.py and storescp, seconds an object."""
    far = peers.CountingStorescp()
    with peers.running(far):
        process, own_s = psutil.Process(far.pid), time.process_time()
        before_s = _spent_s(process)
        forward.with_source(count, 1, far.port)
        far.wait(count)
        return (time.process_time() - own_s + _spent_s(process) - before_s) / count


def by_dcmsend(files: Sequence[Path]) -> float:
    """Processor time of dcmsend and sink.py, seconds an object."""
    with peers.running(peers.sink()) as far:
        assert far.process is not None
        process = psutil.Process(far.process.pid)
        before_s, children_s = _spent_s(process), _children_s()
        peers.dcmsend(far.port, "ANY-SCP", files)
        return (_children_s() - children_s + _spent_s(process) - before_s) / len(files)


def _spent_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


# -- the rounds


def machine_of(chosen: Sequence[images.Image], seconds: float, folder: Path) -> machine.Found:
    wanted = machine.Wanted(folder, chosen, dict.fromkeys(COUNTS, 0.0), objects.made(KIND).size_bytes, seconds)
    return machine.measure(wanted)


def predicted(found: Machine, beside_s: Mapping[str, float], row: Row) -> tuple[Seen, str]:
    """What is to be seen, and the bottleneck."""
    said = predict(replace(found, beside=Cost(beside_s[row.client])), row.load)
    return Seen(said.per_s, sum(said.role_ms.values())), said.bottleneck


@dataclass(slots=True)
class Compared:
    """All rounds of a row."""

    said: list[Seen] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    bottlenecks: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Predicted by measured rate, of the medians."""
        return statistics.median(each.per_s for each in self.said) / statistics.median(each.per_s for each in self.seen)

    @property
    def good(self) -> bool:
        return abs(self.ratio - 1) <= WITHIN

    def cells(self) -> list[str]:
        ratios = [said.per_s / seen.per_s for said, seen in zip(self.said, self.seen, strict=True)]
        figures = (self.said, self.seen)
        rates = [rig.number(statistics.median(each.per_s for each in those)) for those in figures]
        spent = [rig.number(statistics.median(each.roles_ms for each in those)) for those in figures]
        ratio = f"{self.ratio:.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        return [*rates, ratio, "yes" if self.good else "NO", statistics.mode(self.bottlenecks), *spent]


HEAD = [
    "CT of 0.5 MB", "predicted, objects/s", "measured", "predicted ÷ measured", f"within {WITHIN:.0%}", "bottleneck",
    "ms of all roles, predicted", "measured",
]  # fmt: skip


def main() -> None:
    parser = rig.parser(__doc__)
    parser.add_argument("--seconds", type=float, help="for each figure of `leyden tune` (default 1.0; --quick 0.2)")
    with rig.Run(parser.parse_args()) as run:
        factor, seconds = (QUICK, 0.2) if run.quick else (1, 1.0)
        files = objects.write_files(run.folder / "files", KIND, max(COUNTS.values()) // factor)
        chosen, ways = images.of_files(files[:1]), rows(files, factor)
        found_of = {row.name: Compared() for row in ways}
        for number in range(run.rounds):
            folder = run.folder / f"round-{number}"
            folder.mkdir()
            found = machine_of(chosen, run.asked.seconds or seconds, folder)
            beside_s = {"source": by_source(PASSED // factor), "dcmsend": by_dcmsend(files)}
            run.note(_facts(number, found, beside_s))
            for place, row in enumerate(ways):
                at, compared = folder / f"way-{place}", found_of[row.name]
                at.mkdir()
                said, bottleneck = predicted(found.machine, beside_s, row)
                compared.said.append(said)
                compared.bottlenecks.append(bottleneck)
                compared.seen.append(row.measure(at))
                rig.settle()
        run.table("predicted and measured", [HEAD, *([name, *each.cells()] for name, each in found_of.items())])
    sys.exit(0 if all(each.good for each in found_of.values()) else 1)


def _facts(number: int, found: machine.Found, beside_s: Mapping[str, float]) -> str:
    roles = ", ".join(f"{role} {1e3 * cost.of(objects.made(KIND).size_bytes):.2f}"
                      for role, cost in found.machine.roles.items())  # fmt: skip
    ends = ", ".join(f"{client} {1e3 * spent_s:.2f}" for client, spent_s in beside_s.items())
    codecs = ", ".join(f"{name} {each.codec.alone_mb_s * 1e3:.1f}/{each.codec.crowd_mb_s * 1e3:.1f}"
                       for name, each in found.codecs.items())  # fmt: skip
    cores = f"cores {found.machine.cores:.2f}, passing {found.machine.passing_cores:.2f}"
    return f"round {number + 1}: {cores}; ms an object: {roles}; both ends: {ends}; ms a MB, alone/crowd: {codecs}"


if __name__ == "__main__":
    main()
