"""What the rows of the fault matrix run on: a service, a source, two destinations, and a disk that can be made to fail.

A rig is set up once for a Site and serves many rows. Between two of them it settles: it waits until everything is
delivered or has ended, judges all that was seen (oracle.py), and forgets it.
"""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson
import psutil

from chaos import oracle
from chaos.objects import AS_IS, CANARY, COMPRESSED, MUTATIONS, ROUTINGS, called_by, make, number_of
from chaos.oracle import Arrival, Limits, Seen, Standing
from leyden import crash
from leyden.journal.index import Document
from leyden.journal.segments import PAUSE_S
from leyden.plan.memory import POSTPONED_S
from support import canary
from support.clock import Clock
from support.codec_faults import CodecFaults
from support.faults import Faults
from support.peers import listens
from support.roles import look, processes
from support.service import ENDS_WITHIN_S, Service, files_below, free_port, node, wait_for
from support.volume import Volume

LONG = os.environ.get("LEYDEN_LONG") == "1"  # perf/chaos.py
HERE = Path(__file__).resolve().parent
ALONE_SHOWS_S, MIXED_SHOWS_S = 60.0, 5.0
GOES_ON_S = 120.0
SETTLES_WITHIN_S = 150.0
PLANS_WITHIN_S = 2.0
TOLD_WITHIN_S = 10.0
NO_LIMITS = Limits()
STRANGERS = 8_000_000  # numbers from here on are of objects that no source sends
SUMMER_S = 10_000.0, 20_000.0  # from the start of the rig: when summer time begins and ends
_UID = re.compile(rb"2\.25\.1001\.1\d{6}")
_ENDED = re.compile(r"ended with exit code|killed by SIG(?!KILL|TERM)|, as it was stuck")
_NO_OBJECTS = {"journal", "logs", "receipts", "recent", "state", "lost+found"}  # folders of the spool


@dataclass(frozen=True, slots=True)
class Site:
    """What a rig is set up on. `disk`: the file system of the spool, in an image whose power can be cut; "" = the
    machine's. `config`: keys of config.yml beside the usual ones."""

    disk: str = ""
    config: tuple[tuple[str, object], ...] = ()

    def __str__(self) -> str:
        return "-".join([self.disk or "folder", *(f"{key}={value}" for key, value in self.config)])


FOLDER = Site()


class Source:
    """source.py as a process; its ledger is kept here."""

    def __init__(self, port: int, calling: str = "CT01") -> None:
        words = [sys.executable, HERE / "source.py", str(port), calling]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.news = threading.Condition()
        self.sends: Counter[str] = Counter()
        self.promised: set[str] = set()
        self.refused = 0  # objects answered with anything else, and associations that ended badly
        self.loads = 0  # that are being sent
        self.hears = True  # else an answer promises nothing
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                words = line.split()
                with self.news:
                    match words:
                        case [">", uid]:
                            self.sends[uid] += 1
                        case ["<", uid, "0000"]:
                            if self.hears:
                                self.promised.add(uid)
                        case ["done"]:
                            self.loads -= 1
                        case _:
                            self.refused += 1
                    self.news.notify_all()

    def ask(self, **words: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()

    def wait(self, holds: Callable[[], bool], limit_s: float, why: str) -> None:
        with self.news:
            if not self.news.wait_for(holds, limit_s):
                raise AssertionError(f"not within {limit_s} s: {why}; {len(self.promised)} promised")

    def forget(self) -> None:
        self.sends, self.promised, self.refused = Counter(), set(), 0

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


class Destination:
    """destination.py as a process that may die and come back; its books outlive it."""

    def __init__(self, title: str, folder: Path) -> None:
        self.title, self.folder, self.port = title, folder, free_port()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        """Nothing happens if it has not died."""
        if self._process is not None:
            return self
        words = [sys.executable, HERE / "destination.py", str(self.port), self.folder]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        wait_for(lambda: listens(self.port), why=f"{self.title} to listen")
        return self

    def behave(self, do: str = "good", **words: object) -> None:
        """From now on, for each object that comes as a whole: see BEHAVIOURS in destination.py."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **words}) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "ok\n"

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def die(self) -> None:
        """SIGKILL, with every association that it serves."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None

    def arrivals(self) -> list[Arrival]:
        with suppress(FileNotFoundError):
            data = (self.folder / "data").read_bytes()
            found: dict[int, Arrival] = {}
            waiting: dict[str, list[int]] = {}
            for line in (self.folder / "ledger").read_bytes().splitlines():
                entry: dict[str, Any] = orjson.loads(line)
                uid = entry["uid"]
                if "status" not in entry:
                    piece = data[entry["at"] : entry["at"] + entry["size"]]
                    waiting.setdefault(uid, []).append(len(found))
                    found[len(found)] = Arrival(uid, entry["syntax"], piece, -1)
                elif waiting.get(uid):
                    at = waiting[uid].pop(0)
                    found[at] = Arrival(uid, found[at].syntax, found[at].data, entry["status"])
            return list(found.values())
        return []

    def forget(self) -> None:
        for name in ("ledger", "data"):
            os.truncate(self.folder / name, 0)

    def node(self, **keys: object) -> str:
        return node(self.title, self.port, RetryDelays="0.2, 0.5, 1, 2", **keys)


class Rig:
    """A service with a source and two destinations; `start()` returns when it is ready for its first row."""

    def __init__(self, folder: Path, site: Site = FOLDER) -> None:
        self.folder, self.site = folder, site
        self.destinations = {title: Destination(title, folder / title) for title in (COMPRESSED, AS_IS)}
        self.nodes = self.destinations[COMPRESSED].node(TransferSyntax="JPEG2000Lossless")
        self.nodes += self.destinations[AS_IS].node()
        self.api_port = free_port()
        keys: dict[str, object] = {
            "workers": 1,
            "arenaMib": 32,
            "api": f"{{enabled: true, port: {self.api_port}}}",
            "audit": "{enabled: true}",
            **dict(site.config),
        }
        self.service = Service(folder / "leyden", self.nodes, ROUTINGS, MUTATIONS, **keys)
        self.volume = Volume(folder / "image", self.service.spool, kind=site.disk) if site.disk else None
        self.faults = Faults(folder)
        self.clock = Clock(folder)
        self.orders = self.service.folder / "log"  # where all roles may read and write
        self.orders.mkdir(mode=0o700)
        self.codec = CodecFaults(folder, self.orders)
        self.crash_at = self.orders / "crash-at"  # what each process reads about where it is to die
        self.crash_at.write_text("")
        self.environment = {
            **self.faults.environment,
            **self.codec.environment,
            **self.clock.environment,
            "TZ": self._time_zone(),
            crash.ENVIRONMENT: f"@{self.crash_at}",
        }
        self.mixed = False  # another fault may be there too, and keep one from showing
        self._source: Source | None = None
        self._next = 0
        self.strange: list[Path] = []  # files that somebody has put into the spool by hand, and may stay there
        self._strangers = itertools.count(STRANGERS)

    def _time_zone(self) -> str:
        """One in which summer time begins and ends soon (POSIX, TZ): in UTC, and then an hour more."""
        self.summer_s = tuple(time.time() + from_now_s for from_now_s in SUMMER_S)
        begins, ends = (time.gmtime(at_s + local_s) for at_s, local_s in zip(self.summer_s, (0, 3600), strict=True))
        rules = (f"{at.tm_yday - 1}/{at.tm_hour}:{at.tm_min}:{at.tm_sec}" for at in (begins, ends))
        return f"NORMAL0SUMMER,{','.join(rules)}"

    @property
    def promised(self) -> int:
        """Objects answered with Success since the rig has settled."""
        return len(self.source.promised)

    @property
    def source(self) -> Source:
        assert self._source is not None
        return self._source

    def start(self) -> Self:
        for destination in self.destinations.values():
            destination.start()
        self._source = Source(self.service.port)
        self.service.start(60, **self.environment)
        return self

    def restart(self) -> None:
        """Start the service again, whose processes have all ended. Where another fault has started it again already,
        nothing happens."""
        assert self.service.process is not None
        if self.service.process.poll() is not None:
            self.service.start(60, **self.environment)
        self.source.hears = True

    def cut_power(self) -> None:
        """Cut the power of the disk, end all processes, and mount the disk anew.

        btrfs knows no such order: its disk is copied as it is at that moment, and goes on. So what is answered there
        until the next start promises nothing.
        """
        assert self.volume is not None
        self.source.hears = self.volume.kind != "btrfs"
        self.volume.cut()
        self.kill_all()
        self.volume.remount()

    def kill_all(self) -> None:
        """SIGKILL for every process at once."""
        assert self.service.process is not None
        if self.service.process.poll() is None:
            self.service.kill_all()

    def signal(self, number: int) -> None:
        """To the supervisor."""
        assert self.service.process is not None
        self.service.process.send_signal(number)

    def kill(self, role: str) -> bool:
        """SIGKILL for a role ("worker-0", "supervisor"); False if it is dead, because another fault is there too."""
        with suppress(psutil.NoSuchProcess, KeyError):
            self.processes()[role].kill()
            return True
        return False

    def processes(self) -> dict[str, psutil.Process]:
        """By their roles, the supervisor among them; none while another fault has ended them all."""
        assert self.service.process is not None
        if self.service.process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                return processes(self.service)
        return {}

    def wait_killed(self, role: str) -> None:
        """Until the supervisor has seen that. Where it would wait long before it starts a role that dies so often, the
        service is stopped in good order and started."""
        line = self.service.wait_line(f"{role} killed by SIGKILL")
        if int(line.rpartition("starts again in ")[2].split()[0]) > 2:
            assert self.service.stop() == 0 or self.mixed
            self.restart()

    def wait_dead(self) -> None:
        """Until the supervisor has ended, and its roles with it."""
        assert self.service.process is not None
        self.service.process.wait(ENDS_WITHIN_S)

    def end(self) -> None:
        if self._source is not None:
            self._source.end()
        for destination in self.destinations.values():
            with suppress(AssertionError, ProcessLookupError):
                destination.signal(signal.SIGCONT)
            destination.die()
        self.service.end()
        if self.volume is not None:
            self.volume.end()

    # -- load

    def load(self, objects: int = 5000, associations: int = 4, per_s: float = 0.0) -> None:
        """Begin to send so many new objects, each until it is promised, or stop_load()."""
        with self.source.news:
            self.source.loads += 1
        self.source.ask(first=self._next, count=objects, associations=associations, per_s=per_s)
        self._next += objects

    def coming(self, called: str) -> int:
        """The number of an object that will be sent soon, to this title."""
        last = max((number_of(uid) for uid in self.source.sends), default=self._next)
        return next(number for number in itertools.count(last + 12) if called_by(number) == called)

    def stop_load(self) -> None:
        self.source.ask(stop=True)

    def wait_promised(self, count: int, limit_s: float = 60.0) -> None:
        """Until so many objects were answered with Success since the rig has settled."""
        self.source.wait(lambda: len(self.source.promised) >= count, limit_s, f"{count} objects promised")

    def wait_refused(self, more: int = 1) -> None:
        """Until so many more objects were refused than now, or associations have ended badly."""
        before = self.source.refused
        self.wait_shown(lambda: self.source.refused >= before + more, "objects to be refused")

    def wait_shown(self, holds: Callable[[], bool], why: str) -> None:
        """Until a fault has shown. Beside another one it may never show, so that is not waited for long."""
        try:
            wait_for(holds, MIXED_SHOWS_S if self.mixed else ALONE_SHOWS_S, why)
        except AssertionError:
            if not self.mixed:
                raise

    def others_go_on(self, hit: set[str], share: float = 0.8, at_least: int = 30) -> None:
        """Destinations that the fault does not hit keep this share: of the first `at_least` objects that are promised
        to each of them from now on, so much arrives while the fault lasts. A count and no time: beside this load a slow
        machine is always behind with what is compressed."""
        healthy = set(self.destinations) - hit
        if not healthy:
            return
        before = set(self.source.promised)

        def due(title: str) -> list[str]:
            new = sorted(set(self.source.promised) - before)
            return [uid for uid in new if title in make(number_of(uid)).destinations]

        names = ", ".join(sorted(healthy))
        wait_for(lambda: all(len(due(title)) >= at_least for title in healthy), GOES_ON_S, f"objects for {names}")
        first = {title: set(due(title)[:at_least]) for title in healthy}

        def kept() -> bool:
            arrived = {title: {each.uid for each in self.destinations[title].arrivals()} for title in healthy}
            return all(len(first[title] & arrived[title]) >= share * at_least for title in healthy)

        wait_for(kept, GOES_ON_S, f"{share:.0%} of what was promised meanwhile to arrive at {names}")

    # -- the end of a row

    def settle(self, limits: Limits = NO_LIMITS, limit_s: float = SETTLES_WITHIN_S) -> Seen:
        """Wait until all is promised and nothing is on its way any more; judge, and forget. Raises AssertionError."""
        self._wait_ended(limits, limit_s)
        self._wait_empty(limits)
        if limits.embryos and self._left(limits):
            assert self.service.stop() == 0
            self.restart()
            self._wait_empty(limits)
        with suppress(AssertionError):  # the journal is written a moment later
            wait_for(lambda: not limits.journal or all(each.told for each in self._standing()), TOLD_WITHIN_S)
        seen = self.seen(limits)
        faults = oracle.faults(seen, limits)
        said = [line.rstrip() for line in self.service.lines if " INFO " not in line]
        assert not faults, "\n".join([*faults[:20], *said[-20:]])
        if not limits.journal:
            self.clock.pass_by(all_s=PAUSE_S)  # else it would not be written for the next row either
        self.forget()
        return seen

    def seen(self, limits: Limits) -> Seen:
        source = self.source
        seen = Seen({uid: make(number_of(uid)) for uid in source.sends}, Counter(source.sends), set(source.promised))
        for title, destination in self.destinations.items():
            seen.arrivals[title], seen.receipts[title] = destination.arrivals(), Counter()
        proofs: Counter[tuple[str, str]] = Counter()
        for line in lines(self.service.spool / "receipts", "*.log"):
            if line["sop_instance_uid"] in seen.objects and "destination" in line:
                seen.receipts[line["destination"]][line["sop_instance_uid"]] += 1
                proofs[line["receipt"], line["destination"]] += 1
        seen.twice_proved = [f"{pair}" for pair, times in proofs.items() if times > 1]
        seen.standing = self._standing()
        seen.left = self._left(limits)
        seen.held = look(self.service)
        seen.canary = self._canary()
        said = [line.rstrip() for line in self.service.lines]
        seen.exits = [line for line in said if _ENDED.search(line)]
        seen.ours = [line for line in said if "Traceback" in line or "fault of ours" in line]
        return seen

    def _standing(self) -> list[Standing]:
        told = {
            (line["receipt"], line["event"])
            for line in lines(self.service.spool / "journal", "*.jsonl")
            if line["event"] in ("rejected", "failed", "expired")
        }
        found = []
        for path in self.service.left():
            stage = path.relative_to(self.service.spool).parts[0]
            if stage not in ("rejected", "failed", "expired") or not path.is_file():
                continue
            why: Document = {}
            with suppress(OSError, orjson.JSONDecodeError):
                why = orjson.loads(path.with_name(f"{path.name}.json").read_bytes())
            receipt = re.search(r"\d{22}", path.name)
            uid = _UID.search(path.read_bytes())
            told_of = (receipt[0] if receipt else "", stage) in told
            title = str(why.get("origin", {}).get("destination", ""))
            found.append(Standing(uid[0].decode() if uid else "", stage, title, str(why.get("reason", "")), told_of))
        return found

    def _wait_ended(self, limits: Limits, limit_s: float) -> None:
        self.source.wait(lambda: not self.source.loads, limit_s, "all sources to end")
        ends_in = [*limits.ends_in, *["embryo"] * limits.embryos]

        def none_but(left: list[Path], stages: list[str]) -> bool:
            folders = tuple(f"{self.service.spool}/{stage}/" for stage in stages)
            return all(str(path).startswith(folders) or path in self.strange for path in left)

        self.service.wait_left(
            lambda left: none_but(left, [*ends_in, "new"]), limit_s, "everything to be delivered, to end or to wait"
        )
        try:
            self.service.wait_left(lambda left: none_but(left, ends_in), PLANS_WITHIN_S)
        except AssertionError:  # what could not be planned: it is tried again after a minute, which passes here
            self.clock.pass_by(all_s=POSTPONED_S)
            self.load(objects=2)  # new ones have the planner look
            self.source.wait(lambda: not self.source.loads, limit_s, "the last two to be promised")
            self.service.wait_left(
                lambda left: none_but(left, ends_in), limit_s, "everything to be delivered or to end"
            )

    def _wait_empty(self, limits: Limits) -> None:
        """Wait for claims and plans that are being finished; what stays is for the judge."""
        with suppress(AssertionError):
            wait_for(lambda: not self._left(limits), 5 if limits.embryos else 20)

    def is_empty(self) -> bool:
        """Whether nothing is on its way, nor has ended in the spool."""
        return not self._left(NO_LIMITS)

    def _left(self, limits: Limits) -> list[str]:
        """Files that an empty spool does not have."""
        found = []
        for path in files_below(self.service.spool):
            place = path.relative_to(self.service.spool)
            if place.parts[0] in _NO_OBJECTS or place.parts[0] in limits.ends_in or not path.is_file():
                continue  # a doorbell is no file
            if path in self.strange:
                continue
            if place.name not in ("lock", "format", "ballast"):
                found.append(str(place))
        return found

    def _canary(self) -> list[str]:
        """Where the patient stands who may stand nowhere but in objects."""
        places = [self.service.folder / "log", *(self.service.spool / name for name in _NO_OBJECTS)]
        contents = []
        for path in (path for place in places for path in files_below(place)):
            with suppress(FileNotFoundError):  # it was renamed or removed meanwhile
                contents.append((str(path), path.read_bytes()))
        contents.append(("names of files", "\n".join(map(str, files_below(self.service.folder))).encode()))
        contents.append(("standard error", "".join(self.service.lines).encode()))
        contents.append(("metrics", self._metrics()))
        return [f"{what} in {where}" for where, content in contents for what in canary.found(content, CANARY)]

    def _metrics(self) -> bytes:
        """What the console says, as soon as it is back."""
        said = b""

        def asked() -> bytes:
            nonlocal said
            with (
                suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{self.api_port}/metrics", timeout=20) as got,
            ):
                said = got.read()
            return said

        wait_for(asked, why="the metrics")
        return said

    def stranger(self) -> int:
        """The number of an object that no source sends."""
        return next(self._strangers)

    def forget(self) -> None:
        self.source.forget()
        for path in self.strange:
            path.unlink(missing_ok=True)
        self.strange = []
        for destination in self.destinations.values():
            destination.forget()
        for stage in ("rejected", "failed", "expired"):
            for path in files_below(self.service.spool / stage):
                path.unlink()
        self.service.lines.clear()


def lines(folder: Path, pattern: str) -> list[Document]:
    """The complete lines of files of JSON lines."""
    found = []
    for path in sorted(folder.glob(pattern)):
        for line in path.read_bytes().splitlines():
            with suppress(orjson.JSONDecodeError):  # torn by a fault
                found.append(orjson.loads(line))
    return found
