"""What the measuring instruments share: peers to measure against, load clients, alternating rounds, tables.

    parser = rig.parser(__doc__)
    with rig.Run(parser.parse_args()) as run:
        run.compare("receive, 1 association", "objects/s", {"leyden": ours, "storescp": theirs}, ours=("leyden",))

A way to do a thing is a function that gets an empty folder and returns a figure. compare() lets all of them take turns
(A B A B), prints a table of medians, least and most, and the median of the ratios of each round: the rounds' noise is
common to both sides of a ratio and drops out. Only ratios carry over to another machine. A peer that is not installed
is a row that says so. `--quick` stays below a minute, `--json FILE` keeps every figure of every round.
Deliberately absent: what is measured (one script a question), any threshold, any figure of an earlier run.
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
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import pytest

from support.peers import DCMTK_ENVIRONMENT, Storescp, dcmtk, listens
from support.service import Service, free_port, node, wait_for

__all__ = ["Service", "Storescp", "free_port", "listens", "node", "wait_for"]  # for the instruments

HERE = Path(__file__).resolve().parent
NATIVE_BENCH = HERE.parent / "native_bench"
T = TypeVar("T")
LIMIT_S = 120.0  # for one measurement


class Missing(Exception):
    """A peer is not installed; the text says how to get it."""


class Failed(Exception):
    """A measurement that was not answered as it must be is none."""


# -- the run


def parser(doc: str | None, *, rounds: int = 5, svg: bool = False) -> argparse.ArgumentParser:
    """The options that all instruments have; their help is the docstring."""
    words = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--rounds", type=int, help=f"of each way, in turn (default {rounds}; 2 with --quick)")
    words.add_argument("--quick", action="store_true", help="below a minute: fewer rounds, fewer objects, fewer cases")
    words.add_argument("--json", type=Path, metavar="FILE", help="every figure of every round")
    words.add_argument("--folder", type=Path, help="where spools and files go: the disk that is measured")
    if svg:
        words.add_argument("--svg", type=Path, metavar="FILE", help="a plot")
    words.set_defaults(usual_rounds=rounds)
    return words


@dataclass(slots=True)
class Run:
    """One run of one instrument: prints the machine's line and each table when it is there; writes the JSON at its end.

    `folder` is empty at the beginning and is removed at the end.
    """

    asked: argparse.Namespace
    folder: Path = field(init=False)
    tables: list["Comparison"] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)  # for the JSON

    def __enter__(self) -> Self:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the peers are ended too
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
        """Print and keep a table of what was measured by alternate() or otherwise."""
        self.tables.append(table)
        print(table.markdown() + "\n", flush=True)
        return table

    def table(self, title: str, rows: Sequence[Sequence[str]]) -> None:
        """Print and keep a table that is no comparison; the first row is its head."""
        print(table(rows) + "\n", flush=True)
        self.more.setdefault("other tables", []).append({"title": title, "rows": [list(row) for row in rows]})

    def note(self, text: str) -> None:
        """A line below the table, such as what the load client was."""
        print(text + "\n", flush=True)


Ways = Mapping[str, Callable[[Path], T]]
"""Name of the row -> what measures it once, given an empty folder. It may raise Missing."""


def alternate(ways: Ways[T], rounds: int, folder: Path) -> tuple[dict[str, list[T]], dict[str, str]]:
    """Every way once a round, in turn: the figures by name, and why a way has none.

    What a way left is removed at the end of all: ext4 without a journal looks at each inode that was deleted in the
    last minutes before it makes a file, which whoever comes next would pay for.
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
                except Missing as why:
                    missing[name] = str(why)
                    figures.pop(name, None)
                settle()
    return figures, missing


def settle() -> None:
    """Let the disk finish what the last measurement left to it, so that it is not paid for by the next."""
    os.sync()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures of several ways of the same thing, one a round each; `figures[way][n]` were all measured in round n.

    `ours`: the rows that are divided by every other one. `limits`: row -> the row that is its native limit.
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
    """Three digits that count."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _ratio(ratios: Sequence[float]) -> str:
    """Median, and the least and most of the rounds."""
    if not ratios:
        return ""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


# -- the machine


@cache
def machine(folder: Path) -> str:
    """One line: what it ran on and with which versions."""
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
    for name, find in (("DCMTK", partial(dcmtk_tool, "storescp")), ("Orthanc", orthanc_program)):
        try:
            said = subprocess.run([find(), "--version"], capture_output=True, text=True).stdout
            yield f"{name} {next(word for word in said.split() if word.lstrip('v')[:1].isdigit()).lstrip('v')}"
        except Missing:
            yield f"no {name}"


def _commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(HERE), *words], capture_output=True, text=True)
        return done.stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "?") + (" and changes" if git("status", "--porcelain") else "")


# -- peers: start() returns when they listen


class Peer(Protocol):
    """What can be started and stopped; Storescp is one too."""

    port: int

    def start(self) -> Any: ...

    def stop(self) -> object: ...


P = TypeVar("P", bound=Peer)


@contextmanager
def running(peer: P) -> Iterator[P]:
    """The peer, from when it listens until the block ends."""
    try:
        peer.start()
        yield peer
    finally:
        peer.stop()


def dcmtk_tool(name: str) -> str:
    """The path of one of DCMTK's tools. Raises Missing."""
    try:
        return dcmtk(name)
    except (pytest.skip.Exception, pytest.fail.Exception) as why:
        raise Missing(str(why)) from None


def orthanc_program() -> str:
    """Its path (the package's binary, never its service). Raises Missing."""
    found = shutil.which("Orthanc")
    if found is None:
        raise Missing("Orthanc is missing: apt-get install orthanc orthanc-gdcm")
    return found


def storescp(folder: Path, *options: str, port: int | None = None) -> Storescp:
    """DCMTK's SCP, bit-preserving: one association at a time, or `--fork`; `--ignore` keeps nothing. Raises Missing."""
    dcmtk_tool("storescp")
    return Storescp(folder, "--max-pdu", "131072", *options, port=port)


class CountingStorescp:
    """storescp that keeps nothing and tells of each object, so that forwards of any router end at the same meter.

    It is one line of its log an object; the object has begun to come in then.
    """

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        words = ["-ll", "info", "--ignore", "--bit-preserving", "--max-pdu", "131072", *options, str(self.port)]
        self._command = [dcmtk_tool("storescp"), *words]
        self._process: subprocess.Popen[bytes] | None = None
        self._news = threading.Condition()
        self._at_s: list[float] = []

    def start(self) -> Self:
        self._process = subprocess.Popen(
            self._command, env=DCMTK_ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        wait_for(lambda: listens(self.port), 10, f"storescp on port {self.port}")
        threading.Thread(target=self._count, args=(self._process,), daemon=True).start()
        return self

    def _count(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:  # of forked ones mixed: two may share a line
                if count := line.count(b"Received Store Request"):
                    with self._news:
                        self._at_s += [time.monotonic()] * count
                        self._news.notify_all()

    def wait(self, count: int, limit_s: float = LIMIT_S) -> list[float]:
        """When each object came (CLOCK_MONOTONIC), once `count` have. Raises Failed."""
        with self._news:
            if not self._news.wait_for(lambda: len(self._at_s) >= count, limit_s):
                raise Failed(f"{len(self._at_s)} of {count} objects within {limit_s:.0f} s")
            return list(self._at_s)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Child:
    """A peer that is another process and listens on `port`."""

    def __init__(
        self, name: str, command: Sequence[str | Path], port: int, *, last_signal: int = signal.SIGTERM
    ) -> None:
        self.port = port
        self.process: subprocess.Popen[str] | None = None
        self._name, self._command, self._last_signal = name, [str(word) for word in command], last_signal

    def start(self) -> Self:
        self.process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=DCMTK_ENVIRONMENT,
        )  # fmt: skip
        wait_for(lambda: listens(self.port) or self._ended(), LIMIT_S, f"{self._name} on port {self.port}")
        if self._ended():
            raise Failed(f"{self._name} ended at once: {' '.join(self._command)}")
        return self

    def _ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def stop(self) -> str:
        """Its last signal; what it said on stdout."""
        if self.process is None:
            return ""
        if not self._ended():
            self.process.send_signal(self._last_signal)
        try:
            said, _ = self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            said, _ = self.process.communicate()
        return said

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


def pynetdicom_scp(folder: Path, port: int | None = None) -> Child:
    """pynetdicom's SCP; it writes each object to `folder` as it came."""
    port = port or free_port()
    return Child("pynetdicom's SCP", [sys.executable, HERE / "pynetdicom_peer.py", "scp", str(port), folder], port)


def sink(*options: str, port: int | None = None) -> Child:
    """Our own SCP that keeps nothing (sink.py); stop() returns its counts as a line of JSON."""
    port = port or free_port()
    return Child("sink.py", [sys.executable, HERE / "sink.py", "--port", str(port), *options], port)


def orthanc(folder: Path, *, lua: str = "", modalities: Mapping[str, int] | None = None) -> Child:
    """Orthanc with its storage in `folder`, any caller welcome; `modalities`: title -> port, for `lua`. Or Missing."""
    program = orthanc_program()
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "rule.lua"
    script.write_text(lua)
    settings: dict[str, Any] = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "DicomPort": port,
        "DicomAet": "ORTHANC",
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "DicomModalities": {title: [title, "127.0.0.1", at] for title, at in (modalities or {}).items()},
        "MaximumPduLength": 131072,
        "HttpPort": free_port(),
        "RemoteAccessAllowed": False,
        "Plugins": [str(path) for path in _gdcm()],
        "LuaScripts": [str(script)] if lua else [],
    }
    settings_path = folder / "orthanc.json"
    settings_path.write_text(json.dumps(settings))
    return Child("Orthanc", [program, settings_path], port, last_signal=signal.SIGKILL)  # it takes 10 s to say farewell


LUA_FORWARD = """\
function OnStoredInstance(instance, tags, metadata, origin)
  Delete(SendToModality(instance, '{title}'))
end
"""
"""The rule of a router: each instance to one modality, then forgotten."""


def _gdcm() -> list[Path]:
    return sorted(Path("/usr/share/orthanc/plugins").glob("libOrthancGdcm*.so"))


def must_be_whole(objects: int, wanted: int) -> None:
    """Raises Failed unless every object was answered Success: a load that lost some is no measurement."""
    if objects != wanted:
        raise Failed(f"{objects} of {wanted} objects were answered Success")


@contextmanager
def leyden(
    folder: Path, destinations: Mapping[str, int], routings: str | None = None, **config: object
) -> Iterator[Service]:
    """The service as a child, ready; `destinations`: AE title -> port. Further keys are those of config.yml."""
    nodes = "".join(node(title, port) for title, port in destinations.items())
    with serving(Service(folder, nodes, routings, **{"workers": 1, "arenaMib": 64, **config})) as service:
        yield service


@contextmanager
def serving(service: Service) -> Iterator[Service]:
    """A Service of the caller's own making, from ready to gone."""
    try:
        yield service.start(LIMIT_S)
    except Failed:
        waiting = [str(path.relative_to(service.spool)) for path in service.left()]
        print(f"left in the spool: {waiting[:5]} of {len(waiting)}\n", *service.lines[-40:], file=sys.stderr)
        raise
    finally:
        service.end()


def delivered(service: Service, destination: str) -> int:
    """How many deliveries to `destination` the receipts prove."""
    wanted = f'"destination":"{destination}"'.encode()
    return sum(path.read_bytes().count(wanted) for path in (service.spool / "receipts").glob("*.log"))


def wait_delivered(service: Service, destination: str, count: int, limit_s: float = LIMIT_S) -> None:
    """Until `count` deliveries are proved; looks seldom, so as not to be what is measured."""
    deadline_s = time.monotonic() + limit_s
    while delivered(service, destination) < count:
        if time.monotonic() > deadline_s:
            raise Failed(f"{delivered(service, destination)} of {count} delivered within {limit_s:.0f} s")
        time.sleep(0.05)


# -- load clients of others: seconds from start to exit, everything answered Success


def dcmsend(port: int, called: str, files: Sequence[Path], *, associations: int = 1, calling: str = "CT01") -> float:
    """DCMTK's, a process an association, the files dealt out among them; its start and its look at each file included.

    Raises Failed if an object was not answered Success.
    """
    program = dcmtk_tool("dcmsend")
    shares = [files[n::associations] for n in range(associations)]
    words = ["-q", "-dn", "--max-pdu", "131072", "-aet", calling, "-aec", called, "127.0.0.1", str(port)]
    return all_done([[program, *words, *map(str, share)] for share in shares if share])


def storescu(port: int, called: str, files: Sequence[Path], *options: str, calling: str = "CT01") -> float:
    """DCMTK's storescu, one association; seconds."""
    words = ["-R", "--max-pdu", "131072", *options, "-aet", calling, "-aec", called, "127.0.0.1", str(port)]
    return all_done([[dcmtk_tool("storescu"), *words, *map(str, files)]])


def pynetdicom_scu(port: int, called: str, folder: Path, *, associations: int = 1) -> float:
    """pynetdicom's SCU sends every file of `folder`: seconds from the first request to the last release, no imports."""
    words = [str(HERE / "pynetdicom_peer.py"), "scu", str(port), called, str(folder), str(associations)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode:
        raise Failed(done.stderr[-500:])
    return float(done.stdout)


def all_done(commands: Sequence[Sequence[str]]) -> float:
    """Seconds until all of these, started together, have ended well. Raises Failed."""
    begin_s = time.monotonic()
    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=DCMTK_ENVIRONMENT, text=True)
        for command in commands
    ]
    try:
        said = [process.communicate(timeout=LIMIT_S)[1] for process in processes]
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                process.kill()
    spent_s = time.monotonic() - begin_s
    for process, words in zip(processes, said, strict=True):
        if process.returncode:
            raise Failed(f"{Path(str(process.args[0])).name}: exit {process.returncode}: {words[-500:]}")  # type: ignore[index]
    return spent_s


# -- native limits


def native(program: str, figure: str, folder: Path, *, objects: int, size_bytes: int, connections: int = 1) -> float:
    """One figure of a program of native_bench/, run once in `folder`: a row like any other. Raises Missing."""
    path = NATIVE_BENCH / "build" / program
    if not path.exists():
        raise Missing(f"{program} is missing: make -C native_bench")
    words = ["--json", "--objects", objects, "--bytes", size_bytes, "--connections", connections, folder]
    done = subprocess.run([str(path), *map(str, words)], capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode:
        raise Failed(f"{program}: {done.stderr}")
    return float(json.loads(done.stdout)[figure])
