"""Does the service endure? Hours of mixed load at 70 % of its maximum: flat memory, nothing lost, nothing twice.

    python perf/soak.py [--minutes 2] [--quick]            without kills
    python perf/soak.py --kill [--every 5] [--minutes 60]  with kill -9 of a random process, the supervisor included

There are three modalities, each with associations and objects of its own, and four destinations: STEADY; FLICKER, which
is off a third of the time; SLOW, which takes 30 ms for each answer; ARCHIVE, which gets JPEG 2000 Lossless. What CT01
sends goes to STEADY and to FLICKER. First the maximum is measured: a portion of the mix as fast as possible, until all
of it is delivered. Then comes the load, each source at 70 % of that. Then the sources stop, all destinations are on,
and the spool must become empty. What was answered Success at the sources is compared with what the destinations
recorded, UID by UID: `lost` and `twice` must be 0.
Memory and descriptors of each role are shown as the last look found them, with the slope per hour over the last three
quarters. In a short run the slope shows warming up, not leaks.
An object may arrive twice only if the answer to it was lost: when FLICKER goes off with an object on each of its
associations, and, with --kill, when the sender dies with answers whose receipts are not written yet. So `twice` is
compared with how often that happened. With --kill, an object that the source got no answer for may be there or not.
"""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

import peers
import rig
import roles
from support.objects import real

SHARE = 0.7
EMPTY_WITHIN_S = 120.0
ASSOCIATIONS = 4  # of a destination, the default of a node: as many answers are lost when it goes off
RECEIPTS = 16  # of a destination, which a sender may have held when it died
ROUTINGS = "- AeTitles:\n    - STEADY\n  Actions:\n    - Target: STEADY\n    - Target: FLICKER\n"
SINKS = {"STEADY": [], "FLICKER": [], "SLOW": ["--delay", "0.03"], "ARCHIVE": []}
FLICKER_ON_S, FLICKER_OFF_S = 10.0, 5.0


@dataclass(frozen=True, slots=True)
class Modality:
    """Sends `what` (words of source.py) to `called`, whose objects go to `destinations`."""

    calling: str
    called: str
    destinations: tuple[str, ...]
    associations: int
    portion: int  # objects of one portion of the mix
    what: tuple[str, ...]


def modalities(reports: Path) -> list[Modality]:
    """`reports`: a folder with a structured report."""
    return [
        Modality("CT01", "STEADY", ("STEADY", "FLICKER"), 3, 210, ("ct*20", "cr")),
        Modality("SR01", "SLOW", ("SLOW",), 2, 60, (str(reports), "small*4")),
        Modality("MG01", "ARCHIVE", ("ARCHIVE",), 1, 9, ("ct*8", "cine")),
    ]


@dataclass(slots=True)
class Destination:
    """A sink that can be stopped and started; each run of it has a list of UIDs of its own."""

    title: str
    folder: Path
    port: int = field(default_factory=peers.free_port)
    lives: int = 0
    _sink: peers.Child | None = None

    @property
    def on(self) -> bool:
        return self._sink is not None

    def start(self) -> None:
        self.lives += 1
        ledger = self.folder / f"{self.title}-{self.lives}.uids"
        self._sink = peers.sink("--uids", str(ledger), *SINKS[self.title], port=self.port).start()

    def stop(self) -> None:
        if self._sink is not None:
            self._sink.stop()
            self._sink = None

    def seen(self) -> Counter[str]:
        """How often each UID was answered Success; complete once it is stopped."""
        paths = self.folder.glob(f"{self.title}-*.uids")
        return Counter(line.split()[0] for path in paths for line in path.read_text().splitlines())


class Load:
    """The modalities at work, each a process."""

    def __init__(self, port: int, folder: Path, these: Iterable[Modality], options: dict[str, list[str]]) -> None:
        self._ledgers = {m: folder / f"{m.calling}.uids" for m in these}
        self._processes = {
            m: subprocess.Popen(
                [
                    sys.executable, peers.HERE / "source.py", f"127.0.0.1:{port}", *m.what, "--json", "--uids", ledger,
                    "--calling", m.calling, "--called", m.called, "--associations", str(m.associations),
                    *options[m.calling],
                ],
                stdout=subprocess.PIPE, text=True,
            )
            for m, ledger in self._ledgers.items()
        }  # fmt: skip

    def busy(self) -> bool:
        return any(process.poll() is None for process in self._processes.values())

    def stop(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()

    def reports(self) -> dict[str, dict[str, object]]:
        """What each one reported at its end."""
        return {m.calling: json.loads(process.communicate()[0]) for m, process in self._processes.items()}

    def answered(self) -> dict[str, set[str]]:
        """Destination -> the UIDs bound for it that were answered Success."""
        found: dict[str, set[str]] = {}
        for m, ledger in self._ledgers.items():
            for destination in m.destinations:
                found.setdefault(destination, set()).update(ledger.read_text().split())
        return found


@contextmanager
def site(folder: Path) -> Iterator[tuple[peers.Service, dict[str, Destination]]]:
    """The service and its destinations, all ready."""
    with ExitStack() as stack:
        found = {}
        for title in SINKS:
            found[title] = Destination(title, folder)
            stack.callback(found[title].stop)
            found[title].start()
        nodes = "".join(
            peers.node(title, each.port, **({"TransferSyntax": "JPEG2000Lossless"} if title == "ARCHIVE" else {}))
            for title, each in found.items()
        )
        service = peers.Service(folder / "leyden", nodes, ROUTINGS)
        yield stack.enter_context(peers.serving(service)), found


@contextmanager
def load(port: int, folder: Path, these: list[Modality], options: dict[str, list[str]]) -> Iterator[Load]:
    at_work = Load(port, folder, these, options)
    try:
        yield at_work
    finally:
        at_work.stop()


def maximum(folder: Path, these: list[Modality], portions: int) -> float:
    """Portions of the mix a second, received and delivered."""
    options = {m.calling: ["--objects", str(m.portion * portions)] for m in these}
    with site(folder) as (service, _), load(service.port, folder, these, options) as at_work:
        begin_s = time.monotonic()
        for calling, report in at_work.reports().items():
            if report["failures"]:
                raise peers.Failed(f"{calling}: {report['failures']}")
        service.wait_empty(peers.LIMIT_S)
        return portions / (time.monotonic() - begin_s)


@dataclass(slots=True)
class Killer:
    """Kill a random process of the service at intervals; if it was the supervisor, start the service again."""

    service: peers.Service
    every_s: float
    killed: Counter[str] = field(default_factory=Counter)
    next_s: float = field(default_factory=time.monotonic)

    def act(self) -> None:
        if time.monotonic() < self.next_s:
            return
        self.next_s = time.monotonic() + self.every_s * random.uniform(0.5, 1.5)
        alive = roles.processes(self.service)
        if not alive:
            return
        name = random.choice(sorted(alive))
        with suppress(psutil.NoSuchProcess):
            alive[name].kill()
        self.killed[name] += 1
        if name == "supervisor":
            assert self.service.process is not None
            self.service.process.wait()
            psutil.wait_procs([process for role, process in alive.items() if role != name], timeout=30)
            self.service.start(60)


def run_load(service: peers.Service, flicker: Destination, at_work: Load, killer: Killer | None) -> None:
    """Until the sources end, switch FLICKER off and on, and kill processes if asked for."""
    change_s = time.monotonic() + FLICKER_ON_S
    while at_work.busy():
        time.sleep(0.1)
        if time.monotonic() >= change_s:
            (flicker.stop if flicker.on else flicker.start)()
            change_s = time.monotonic() + (FLICKER_ON_S if flicker.on else FLICKER_OFF_S)
        if killer is not None:
            killer.act()
    if not flicker.on:
        flicker.start()


def account(answered: dict[str, set[str]], seen: dict[str, Counter[str]]) -> dict[str, dict[str, int]]:
    """Destination -> what became of the answered objects. `unanswered`: delivered, though the source got no answer."""
    return {
        title: {
            "answered at the source": len(uids),
            "delivered": len(seen[title]),
            "lost": len(uids - seen[title].keys()),
            "twice": sum(times - 1 for times in seen[title].values()),
            "unanswered": len(seen[title].keys() - uids),
        }
        for title, uids in answered.items()
    }


def flatness(seen: dict[str, list[roles.Held]]) -> str:
    """A table: what each role held at the end, and how it changed over the last three quarters."""
    rows = [
        "| role | MB at the end | MB an hour | descriptors at the end | descriptors an hour |",
        "|---|---|---|---|---|",
    ]
    for role, looks in sorted(seen.items()):
        late = looks[len(looks) // 4 :]
        memory = roles.slope_per_hour([(held.at_s, held.own_bytes / 1e6) for held in late])
        descriptors = roles.slope_per_hour([(held.at_s, held.descriptors) for held in late])
        last = late[-1]
        rows.append(
            f"| {role} | {last.own_bytes / 1e6:.1f} | {memory:+.1f} | {last.descriptors} | {descriptors:+.1f} |"
        )
    return "\n".join(rows)


def soak(run: rig.Run, these: list[Modality], portions_per_s: float, seconds: float, every_s: float) -> bool:
    """Run the load; print and keep the results. `every_s` 0 = nothing is killed."""
    folder = run.folder / "soak"
    folder.mkdir()
    options = {
        m.calling: ["--per-s", str(portions_per_s * m.portion), "--seconds", str(seconds), "--ramp", "1"] for m in these
    }
    with site(folder) as (service, destinations):
        with load(service.port, folder, these, options) as at_work, roles.Watch(service, every_s=1.0) as watch:
            killer = Killer(service, every_s, next_s=time.monotonic() + every_s) if every_s else None
            run_load(service, destinations["FLICKER"], at_work, killer)
            reports = at_work.reports()
        begin_s = time.monotonic()
        try:
            service.wait_empty(EMPTY_WITHIN_S)
            empty = f"the spool was empty {time.monotonic() - begin_s:.1f} s after the last object"
        except AssertionError as why:
            empty = f"NOT EMPTY: {why}"
        for each in destinations.values():
            each.stop()
        seen = {title: each.seen() for title, each in destinations.items()}
        found = account(at_work.answered(), seen)
        exit_code = service.stop()
    heads = list(next(iter(found.values())))
    lines = [f"| destination | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    lines += [f"| {title} | {' | '.join(str(row[head]) for head in heads)} |" for title, row in found.items()]
    run.note("\n".join(lines))
    for calling, report in reports.items():
        run.note(
            f"{calling}: {report['objects']} objects, {report['per_s']:.1f} a second, ms {report['response_ms']}, "
            f"begun late by {report['behind_s']:.2f} s at worst, failures {report['failures'] or 'none'}"
        )
    run.note(f"{empty}; the service ended with {exit_code}")
    run.more.update(found=found, reports=reports)
    lost, twice = (sum(row[what] for row in found.values()) for what in ("lost", "twice"))
    if killer is None:
        run.note(flatness(watch.seen))
    else:
        run.note("killed: " + ", ".join(f"{name} {count}" for name, count in sorted(killer.killed.items())))
        run.more["killed"] = dict(killer.killed)
    offs = destinations["FLICKER"].lives - 1
    deaths = killer.killed["sender-0"] + killer.killed["supervisor"] if killer else 0
    allowed = offs * ASSOCIATIONS + deaths * len(SINKS) * (ASSOCIATIONS + RECEIPTS)
    run.note(f"lost {lost}; twice {twice}: FLICKER went away {offs} times, the sender died {deaths} times")
    return not lost and twice <= allowed and empty.startswith("the")


def main() -> None:
    parser = rig.parser(__doc__, rounds=1)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--every", type=float, default=5.0, metavar="S", help="with --kill, on average")
    asked = parser.parse_args()
    asked.rounds = asked.rounds or 1  # of the maximum
    with rig.Run(asked) as run:
        reports = run.folder / "reports"
        reports.mkdir()
        (reports / "sr.dcm").write_bytes(real("test-SR.dcm").read_bytes())
        these = modalities(reports)
        table = run.compare(
            f"the mix ({sum(m.portion for m in these)} objects a portion), received and delivered",
            "portions/s",
            {"as fast as it goes": lambda folder: maximum(folder, these, 2 if run.quick else 5)},
        )
        rate = SHARE * table.median("as fast as it goes")
        well = soak(run, these, rate, 15 if run.quick else asked.minutes * 60, asked.every if asked.kill else 0.0)
    raise SystemExit(0 if well else 1)


if __name__ == "__main__":
    main()
