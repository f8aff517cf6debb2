"""How large must a box be? Throughput and latency for workers x receivers x MaxAssociations x sources x destinations.

    python perf/scale.py [--quick] [--rounds 3] [--svg FILE] [--page docs/size.md]
    python perf/scale.py --workers 1,2,4 --sources 1,16,64 --destinations 1,4 --syntax HTJ2KLossless --whole

Each row is one configuration of a durable service. source.py sends CT of 0.5 MB over as many associations as there are
sources; a rule gives each object to every destination, all of them sink.py. From the second destination on the last one
is slow: it reads 1 MB/s, and figures are those of the others, which it must not hold up.
  objects/s    as fast as the sources can, from the first request until the last object is at each quick destination
  p50 p95 p99  ms from the answer to the sender until the delivery, at half of that rate, as the journal tells
  ms           processor time of an object, by role, at full rate; what is left to 1000 x cores / rate went to senders,
               destinations and waiting
One dimension is varied at a time, around a base; --whole measures every combination of what is given. --page puts the
table between the markers of a page. Senders and destinations share the cores with the service, so this machine with
nothing else on it would do more.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path

import objects
import peers
import rig
import roles
import source
from leyden.tune import plot

KIND, QUICK_KIND = "ct", "small"
SLOW_MB_PER_S, LIMIT_S = 1.0, 300.0
SECONDS, OBJECTS_MIN, OBJECTS_MAX = 3.0, 60, 4000  # of each load
PERCENTS = (50, 95, 99)
ROLES = ("receiver", "planner", "worker", "sender")
MARKS = ("<!-- scale -->", "<!-- end of scale -->")


@dataclass(frozen=True, slots=True)
class Cell:
    """One configuration; `syntax` "" = objects pass as they came."""

    syntax: str = ""
    workers: int = 1
    receivers: int = 1
    associations: int = 4  # MaxAssociations
    sources: int = 4
    destinations: int = 1


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run of a cell. `latency_ms` ascending; `role_ms`: processor time of an object."""

    per_s: float
    latency_ms: Sequence[float]
    role_ms: Mapping[str, float]


VARIED: Mapping[str, Sequence[Cell]] = {
    "sources": [Cell(sources=n) for n in (1, 4, 16)],
    "destinations": [Cell(destinations=n) for n in (1, 2, 4)],
    "receivers": [Cell(receivers=n, sources=16) for n in (1, 2)],
    "associations": [Cell(associations=n) for n in (1, 4)],
    "workers": [Cell(syntax, n) for syntax in ("HTJ2KLossless", "JPEG2000Lossless") for n in (1, 2)],
}
"""Dimension -> the cells that a chart has, in the order of its x."""

QUICK = {"sources": [Cell(sources=1), Cell(sources=4)], "destinations": [Cell(), Cell(destinations=2)]}


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = rig.parser(__doc__, rounds=3, svg=True)
    for name in _names():
        kind = str if name == "syntax" else int
        parser.add_argument(f"--{name}", type=lambda text, kind=kind: [kind(word) for word in text.split(",")])
    parser.add_argument("--whole", action="store_true", help="every combination")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the table between its markers")
    return parser.parse_args(words)


def cells(asked: argparse.Namespace) -> Mapping[str, Sequence[Cell]]:
    """What is to be measured, by dimension; with --whole under one name."""
    given = {name: values for name in _names() if (values := getattr(asked, name))}
    if asked.whole:
        every = itertools.product(*given.values())
        return {"whole": [replace(Cell(), **dict(zip(given, each, strict=True))) for each in every]}
    if given:
        base = replace(Cell(), syntax=given.pop("syntax", [""])[0])
        return {name: [replace(base, **{name: value}) for value in values] for name, values in given.items()}
    return QUICK if asked.quick else VARIED


def _names() -> list[str]:
    return [each.name for each in fields(Cell)]


# -- one cell


def titles(cell: Cell) -> list[str]:
    return [f"DEST{n}" for n in range(cell.destinations)]


def configuration(cell: Cell, ports: Sequence[int]) -> tuple[str, str]:
    """nodes.yml, and routings.yml, which gives what comes for the first destination to all of them."""
    keys: dict[str, object] = {"MaxAssociations": cell.associations}
    if cell.syntax:
        keys["TransferSyntax"] = cell.syntax
    names = titles(cell)
    nodes = "".join(peers.node(name, port, **keys) for name, port in zip(names, ports, strict=True))
    actions = "".join(f"    - Type: add_destination\n      Target: {name}\n" for name in names[1:])
    return nodes, f"- AeTitles: [{names[0]}]\n  Actions:\n{actions}" if actions else ""


def measure(cell: Cell, kind: str, seconds: float, folder: Path) -> Figures:
    """At full rate, and then at half of it. Raises peers.Failed."""
    slow = [cell.destinations > 1 and n == cell.destinations - 1 for n in range(cell.destinations)]
    with ExitStack() as stack:
        sinks = [peers.sink(*(("--mb-per-s", str(SLOW_MB_PER_S)) if each else ())) for each in slow]
        for each in sinks:
            stack.enter_context(peers.running(each))
        nodes, routings = configuration(cell, [each.port for each in sinks])
        keys = {"workers": cell.workers, "receivers": cell.receivers, "arenaMib": 256}
        service = peers.Service(folder, nodes, routings or None, **keys)  # type: ignore[arg-type]
        stack.enter_context(peers.serving(service))
        quick = [title for title, is_slow in zip(titles(cell), slow, strict=True) if not is_slow]
        few = _load(service, cell, kind, quick, OBJECTS_MIN // 3, 0.0, 0)
        count = int(min(OBJECTS_MAX, max(OBJECTS_MIN, few.per_s * seconds)))
        before = roles.spent(service)
        full = _load(service, cell, kind, quick, count, 0.0, few.after)
        spent = roles.between(before, roles.spent(service))
        role_ms = {
            role: sum(each.processor_s for name, each in spent.items() if name.startswith(role)) / count * 1e3
            for role in ROLES
        }
        half = _load(service, cell, kind, quick, max(OBJECTS_MIN, count // 2), full.per_s / 2, full.after)
        return Figures(full.per_s, half.latency_ms, role_ms)


@dataclass(frozen=True, slots=True)
class _Passed:
    per_s: float
    latency_ms: Sequence[float]
    after: int  # how many objects have been delivered to each quick destination by now


def _load(
    service: peers.Service, cell: Cell, kind: str, quick: Sequence[str], count: int, per_s: float, before: int
) -> _Passed:
    """Send so many, and wait until they are at the quick destinations."""
    begin_s = time.time()
    load = source.Load(
        service.port, [objects.made(kind)], called="DEST0", associations=cell.sources, objects=count, per_s=per_s
    )
    peers.must_be_whole(source.run(load).objects, count)
    for title in quick:
        peers.wait_delivered(service, title, before + count, LIMIT_S)
    last_s, latency_ms = told(service.spool / "journal", quick, begin_s)
    return _Passed(count / (last_s - begin_s), latency_ms, before + count)


def told(journal: Path, quick: Sequence[str], since_s: float) -> tuple[float, list[float]]:
    """When the last delivery to one of these was, and ms from each answer to the delivery (ascending), since a time."""
    received: dict[str, float] = {}
    delivered: list[tuple[str, float]] = []
    for path in journal.glob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            event = json.loads(line)
            if event["at_s"] < since_s - 0.002:
                continue
            if event["event"] == "received":
                received[event["receipt"]] = event["at_s"]
            elif event["event"] == "delivered" and event["destination"] in quick:
                delivered.append((event["receipt"], event["at_s"]))
    times_ms = sorted(max(0.0, at_s - received[receipt]) * 1e3 for receipt, at_s in delivered if receipt in received)
    return max(at_s for _, at_s in delivered), times_ms


# -- the table and the plot

HEAD = [
    "made into", "workers", "receivers", "MaxAssociations", "sources", "destinations", "objects/s", "MB/s",
    *(f"p{percent}, ms" for percent in PERCENTS), *(f"{role}, ms" for role in ROLES),
]  # fmt: skip


def row(cell: Cell, runs: Sequence[Figures], kind: str) -> list[str]:
    """Medians of the rounds."""
    per_s = statistics.median(each.per_s for each in runs)
    marks = [statistics.median(source.percentile(each.latency_ms, percent) for each in runs) for percent in PERCENTS]
    spent = [statistics.median(each.role_ms[role] for each in runs) for role in ROLES]
    ends = f"{cell.destinations}, one slow" if cell.destinations > 1 else "1"
    words = [cell.syntax or "as it came", *map(str, (cell.workers, cell.receivers, cell.associations, cell.sources))]
    mb_per_s = per_s * objects.made(kind).size_bytes / 1e6
    return [*words, ends, *map(rig.number, (per_s, mb_per_s, *marks, *spent))]


def charts(varied: Mapping[str, Sequence[Cell]], measured: Mapping[Cell, Sequence[Figures]]) -> list[plot.Chart]:
    """Objects a second and the 95th percentile of the latency, against each dimension."""
    found = []
    for name, chosen in varied.items():
        if name not in _names() or name == "syntax":
            continue
        xs = sorted({getattr(cell, name) for cell in chosen})
        rates: dict[str, list[float | None]] = {}
        latencies: dict[str, list[float | None]] = {}
        for cell in chosen:
            made, place = cell.syntax or "as it came", xs.index(getattr(cell, name))
            rates.setdefault(made, [None] * len(xs))[place] = statistics.median(each.per_s for each in measured[cell])
            marks = (source.percentile(each.latency_ms, 95) for each in measured[cell])
            latencies.setdefault(made, [None] * len(xs))[place] = statistics.median(marks)
        found.append(plot.Chart(f"Throughput: {name}", name, "objects/s", xs, rates))
        found.append(plot.Chart(f"Latency, p95: {name}", name, "ms", xs, latencies))
    return found


def on_page(text: str, table: str) -> str:
    """The page with the table between its markers. ValueError: it has none."""
    begin, end = (text.find(mark) for mark in MARKS)
    if not 0 <= begin < end:
        raise ValueError(f"no {MARKS[0]} ... {MARKS[1]} on the page")
    return f"{text[: begin + len(MARKS[0])]}\n{table}\n{text[end:]}"


def main() -> None:
    with rig.Run(parse()) as run:
        kind, seconds = (QUICK_KIND, 0.5) if run.quick else (KIND, SECONDS)
        varied = cells(run.asked)
        measured: dict[Cell, list[Figures]] = {}
        for number in range(run.rounds):
            for n, cell in enumerate(dict.fromkeys(itertools.chain.from_iterable(varied.values()))):
                folder = run.folder / f"{number}-{n}"
                folder.mkdir()
                measured.setdefault(cell, []).append(measure(cell, kind, seconds, folder))
                rig.settle()
        rows = [HEAD, *(row(cell, runs, kind) for cell, runs in measured.items())]
        run.table(f"{kind}, medians of {run.rounds} rounds", rows)
        if run.asked.svg:
            plot.write(run.asked.svg, charts(varied, measured))
        if run.asked.page:
            size_mb = objects.made(kind).size_bytes / 1e6
            head = f"{size_mb:.2f} MB an object, medians of {run.rounds}; {rig.machine(run.folder)}."
            run.asked.page.write_text(on_page(run.asked.page.read_text(), f"\n{head}\n\n{rig.table(rows)}\n"))


if __name__ == "__main__":
    main()
