"""What the measuring scripts share: alternating rounds, tables, the line about the machine.

    parser = rig.parser(__doc__)
    with rig.Run(parser.parse_args()) as run:
        run.compare("receive, 1 association", "objects/s", {"leyden": ours, "storescp": theirs}, ours=("leyden",))

A way to do a thing is a function that gets an empty folder and returns a figure. compare() lets all ways take turns
(A B A B). It prints a table of medians, least and most, and the median of the ratios within each round: the noise of a
round is common to both sides of a ratio and cancels out. Only ratios carry over to another machine. A peer that is not
installed is a row that says so. `--quick` stays below a minute, `--json FILE` keeps every figure of every round.
Deliberately absent: what is measured (one script a question), the peers (peers.py), any threshold, any figure of an
earlier run.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import peers

T = TypeVar("T")


# -- the run


def parser(doc: str | None, *, rounds: int = 5, svg: bool = False) -> argparse.ArgumentParser:
    """The options that all scripts have; their help text is `doc`, the docstring."""
    words = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--rounds", type=int, help=f"of each way, in turn (default {rounds}; 2 with --quick)")
    words.add_argument("--quick", action="store_true", help="below a minute: fewer rounds, fewer objects, fewer cases")
    words.add_argument("--json", type=Path, metavar="FILE", help="every figure of every round")
    words.add_argument("--folder", type=Path, help="where spools and files are put: the disk that is measured")
    if svg:
        words.add_argument("--svg", type=Path, metavar="FILE", help="a plot")
    words.set_defaults(usual_rounds=rounds)
    return words


@dataclass(slots=True)
class Run:
    """One run of one script: prints the machine's line, then each table when it is ready; writes the JSON at the end.

    `folder` is empty at the beginning and is removed at the end.
    """

    asked: argparse.Namespace
    folder: Path = field(init=False)
    tables: list["Comparison"] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)  # for the JSON

    def __enter__(self) -> Self:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the peers are stopped too
        self.folder = Path(tempfile.mkdtemp(prefix="leyden-perf-", dir=self.asked.folder))
        print(f"{Path(sys.argv[0]).name}, {time.strftime('%Y-%m-%d')}: {machine(self.folder)}\n", flush=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.asked.json is not None:
            tables = [table.as_json() for table in self.tables]
            whole = {
                "script": Path(sys.argv[0]).name,
                "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "machine": machine(self.folder.parent),
                "tables": tables,
                **self.more,
            }
            self.asked.json.write_text(json.dumps(whole, indent=1) + "\n")

    @property
    def quick(self) -> bool:
        return bool(self.asked.quick)

    @property
    def rounds(self) -> int:
        return int(self.asked.rounds or (2 if self.quick else self.asked.usual_rounds))

    def compare(
        self,
        title: str,
        unit: str,
        ways: "Ways[float]",
        *,
        ours: Sequence[str] = (),
        limits: Mapping[str, str] | None = None,
    ) -> "Comparison":
        """Measure, print and keep one table. See Comparison for `ours` and `limits`."""
        figures, missing = alternate(ways, self.rounds, self.folder)
        return self.add(Comparison(title, unit, figures, missing, tuple(ours), limits or {}))

    def add(self, table: "Comparison") -> "Comparison":
        """Print and keep a table of figures from alternate() or elsewhere."""
        self.tables.append(table)
        print(table.markdown() + "\n", flush=True)
        return table

    def table(self, title: str, rows: Sequence[Sequence[str]]) -> None:
        """Print and keep a table that is no comparison; the first row is its head."""
        print(table(rows) + "\n", flush=True)
        self.more.setdefault("other tables", []).append({"title": title, "rows": [list(row) for row in rows]})

    def note(self, text: str) -> None:
        """Print a line below the table, such as what the load client was."""
        print(text + "\n", flush=True)


Ways = Mapping[str, Callable[[Path], T]]
"""Name of the row -> what measures it once, given an empty folder. It may raise peers.Missing."""


def alternate(ways: Ways[T], rounds: int, folder: Path) -> tuple[dict[str, list[T]], dict[str, str]]:
    """Run every way once a round, in turn. Returns the figures by name, and why a way has none.

    Files are removed only at the very end: before ext4 without a journal makes a file, it looks at each inode that was
    deleted in the last minutes, and the next way would pay for that.
    """
    figures: dict[str, list[T]] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(dir=folder) as top:
        for number in range(rounds):
            for place, (name, way) in enumerate(ways.items()):
                if name in missing:
                    continue
                at = Path(top) / f"{number}-{place}"
                at.mkdir()
                try:
                    figures.setdefault(name, []).append(way(at))
                except peers.Missing as why:
                    missing[name] = str(why)
                    figures.pop(name, None)
                settle()
    return figures, missing


def settle() -> None:
    """Let the disk finish what the last measurement left to write, so that the next one does not pay for it."""
    os.sync()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures of several ways to do the same thing, one for each round; `figures[way][n]` were measured in round n.

    `ours`: the rows that are divided by every other row. `limits`: row -> the row that is its native limit.
    """

    title: str
    unit: str
    figures: Mapping[str, Sequence[float]]
    missing: Mapping[str, str] = field(default_factory=dict)
    ours: Sequence[str] = ()
    limits: Mapping[str, str] = field(default_factory=dict)

    def ratios(self, over: str, under: str) -> list[float]:
        """over / under, round by round; empty where one of them is missing."""
        pairs = zip(self.figures.get(over, ()), self.figures.get(under, ()), strict=False)
        return [a / b for a, b in pairs if b]

    def median(self, way: str) -> float:
        return statistics.median(self.figures[way])

    def markdown(self) -> str:
        ours = [name for name in self.ours if name in self.figures]
        limited = any(row in self.figures and limit in self.figures for row, limit in self.limits.items())
        heads = [f"{self.title}, {self.unit}", "median", "least", "most", *(f"{name} ÷ it" for name in ours)]
        rows = [heads + ["of its limit"] * limited]
        for way, figures in self.figures.items():
            row = [way, *map(number, (statistics.median(figures), min(figures), max(figures)))]
            row += ["" if way == name else _ratio(self.ratios(name, way)) for name in ours]
            rows.append(row + [_ratio(self.ratios(way, self.limits.get(way, "")))] * limited)
        width = len(rows[0])
        rows += [[way, why, *[""] * (width - 2)] for way, why in self.missing.items()]
        return table(rows)

    def as_json(self) -> dict[str, Any]:
        rows = [
            {
                "way": way,
                "figures": list(figures),
                "median": statistics.median(figures),
                "ratios": {name: statistics.median(r) for name in self.ours if (r := self.ratios(name, way))},
                "of_limit": statistics.median(r) if (r := self.ratios(way, self.limits.get(way, ""))) else None,
            }
            for way, figures in self.figures.items()
        ]
        return {"title": self.title, "unit": self.unit, "rows": rows, "missing": dict(self.missing)}


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first row is the head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def number(value: float) -> str:
    """With three significant digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _ratio(ratios: Sequence[float]) -> str:
    """Median, and the least and most of the rounds."""
    if not ratios:
        return ""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


# -- the machine


@cache
def machine(folder: Path) -> str:
    """One line: the machine and the versions."""
    processor = Path("/proc/cpuinfo").read_text()
    kind = "virtual machine" if " hypervisor" in processor else "machine"
    model = next((line.partition(":")[2].strip() for line in processor.splitlines() if "model name" in line), "?")
    system = subprocess.run(
        ["findmnt", "-no", "FSTYPE", "--target", folder], capture_output=True, text=True
    ).stdout.strip()
    kernel = platform.release().partition("-")[0]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{kind}, {os.cpu_count()} cores ({model}), {memory_gib:.0f} GiB, {system}, Linux {kernel}, "
        f"Python {platform.python_version()}, {', '.join(_versions())}, TCP_NODELAY=1 for DCMTK, commit {_commit()}"
    )


def _versions() -> Iterator[str]:
    import pynetdicom

    yield f"pynetdicom {pynetdicom.__version__}"
    for name, find in (("DCMTK", partial(peers.dcmtk_tool, "storescp")), ("Orthanc", peers.orthanc_program)):
        try:
            said = subprocess.run([find(), "--version"], capture_output=True, text=True).stdout
            yield f"{name} {next(word for word in said.split() if word.lstrip('v')[:1].isdigit()).lstrip('v')}"
        except peers.Missing:
            yield f"no {name}"


def _commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(peers.HERE), *words], capture_output=True, text=True)
        return done.stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "?") + (" and changes" if git("status", "--porcelain") else "")
