"""A load generator on our own DICOM core: it sends over many associations, and measures how the peer answers.

    python perf/source.py 127.0.0.1:1040 --called IMAGEPACS --associations 4 --objects 2000 ct
    python perf/source.py 127.0.0.1:1040 --associations 200 --per-s 200 --seconds 60 --ramp 10 'ct*20' cr
    python perf/source.py 127.0.0.1:1040 --per-association 1 --contexts 64 --objects 500 folder/of/files

It sends generated kinds (small 10 KB, ct 0.5 MB, cr 7.5 MB, tomo 262 MB; `ct*20` is twenty in a row) and folders of
files, one after the other, over and over. Each object gets a SOP Instance UID of its own: a few bytes of it are
overwritten in memory. Without --per-s each association sends its next object as soon as the last one is answered. With
--per-s each has a timetable, and `behind` is how late an object was begun at worst: a load that is behind is not the
load that was asked for. The response time of an object is from the first byte of its request to its answer.
An association that fails is opened anew; what it was sending counts as failed, by kind. --uids writes the UIDs that
were answered Success, one a line.
"""

import argparse
import asyncio
import itertools
import json
import random
import subprocess
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import uvloop
from pynetdicom import StoragePresentationContexts

sys.path.insert(0, str(Path(__file__).resolve().parent))

from leyden.dicom.uids import IMPLICIT_LE
from leyden.errors import LeydenError
from leyden.net.scu import Association
from leyden.net.tls import Session
from leyden.net.trust import Files, client_context
from leyden.tune.load import Stock, Template, Uids
from objects import templates

AGAIN_S = 0.2  # after an association that failed
STALL_S = 120.0


@dataclass(frozen=True, slots=True)
class Load:
    """What to send where. `objects` 0 = until `seconds` are over; `per_s` 0 = as fast as possible, in all."""

    port: int
    templates: Sequence[Template]
    host: str = "127.0.0.1"
    called: str = "ANY-SCP"
    calling: str = "SOURCE"
    associations: int = 1
    objects: int = 0
    seconds: float = 0.0
    per_s: float = 0.0
    ramp_s: float = 0.0
    per_association: int = 0  # objects; 0 = all over one
    contexts: int = 0  # proposed at least
    uids: Path | None = None
    process: int = 0
    authorities: Path | None = None  # over TLS, to a peer that they vouch for


@dataclass(slots=True)
class Report:
    """The result of a load. Times in us; `failures` by kind."""

    objects: int = 0
    bytes: int = 0
    seconds: float = 0.0
    opened: int = 0
    behind_s: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)
    response_us: "array[int]" = field(default_factory=lambda: array("I"))
    opening_us: "array[int]" = field(default_factory=lambda: array("I"))

    @property
    def per_s(self) -> float:
        return self.objects / self.seconds if self.seconds else 0.0

    @property
    def mb_per_s(self) -> float:
        return self.bytes / 1e6 / self.seconds if self.seconds else 0.0

    def response_ms(self, percent: float) -> float:
        """A percentile of the response times."""
        return percentile(sorted(self.response_us), percent) / 1000

    def as_json(self) -> dict[str, Any]:
        """Everything but the single times."""
        return {
            "objects": self.objects,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "per_s": self.per_s,
            "mb_per_s": self.mb_per_s,
            "opened": self.opened,
            "behind_s": self.behind_s,
            "failures": dict(self.failures),
            "response_ms": _percentiles_ms(self.response_us),
            "opening_ms": _percentiles_ms(self.opening_us),
        }

    def __str__(self) -> str:
        times = "  ".join(f"{name} {value:.1f}" for name, value in _percentiles_ms(self.response_us).items())
        failures = ", ".join(f"{count} x {kind}" for kind, count in self.failures.most_common()) or "none"
        return (
            f"{self.objects} objects, {self.bytes / 1e6:.1f} MB in {self.seconds:.2f} s: "
            f"{self.per_s:.1f} objects/s, {self.mb_per_s:.1f} MB/s\n"
            f"response, ms: {times}\n"
            f"associations opened: {self.opened}, p50 {_percentiles_ms(self.opening_us).get('p50', 0):.1f} ms; "
            f"behind by {self.behind_s * 1000:.1f} ms at most; failures: {failures}"
        )


def percentile(ascending: Sequence[float], percent: float) -> float:
    """The value that `percent` % are not above; 0 for none."""
    return ascending[min(len(ascending) - 1, int(len(ascending) * percent / 100))] if ascending else 0.0


def _percentiles_ms(times_us: Sequence[int]) -> dict[str, float]:
    ascending = sorted(times_us)
    if not ascending:
        return {}
    marks = {f"p{percent}": percentile(ascending, percent) / 1000 for percent in (50, 95, 99)}
    return {**marks, "max": ascending[-1] / 1000}


class Source:
    """The associations of one process."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.report = Report()
        self._stock = Stock(load.templates, Uids(random.randrange(10**10), load.process))
        self._tickets: Iterator[int] = iter(range(load.objects)) if load.objects else itertools.count()
        self._ledger: TextIO | None = load.uids.open("w") if load.uids else None
        self._contexts = contexts(load.templates, load.contexts)
        self._tls = client_context(Files(str(load.authorities))) if load.authorities else None
        self._begin_s = 0.0
        self._end_s = float("inf")

    async def run(self) -> Report:
        self._begin_s = time.monotonic()
        if self.load.seconds:
            self._end_s = self._begin_s + self.load.seconds
        await asyncio.gather(*(self._one(n) for n in range(self.load.associations)))
        self.report.seconds = time.monotonic() - self._begin_s
        self._stock.close()
        if self._ledger is not None:
            self._ledger.close()
        return self.report

    async def _one(self, number: int) -> None:
        """One association and its successors."""
        await asyncio.sleep(self.load.ramp_s * number / self.load.associations)
        link: Association | None = None
        for sent, due_s in enumerate(self._timetable(number)):
            wait_s = due_s - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            if time.monotonic() >= self._end_s or next(self._tickets, None) is None:
                break
            if due_s:
                self.report.behind_s = max(self.report.behind_s, time.monotonic() - due_s)
            if link is not None and (
                link.closed or (self.load.per_association and not sent % self.load.per_association)
            ):
                await link.release()
                link = None
            link = link or await self._open()
            if link is not None:
                await self._send(link)
        if link is not None:
            await link.release()

    def _timetable(self, number: int) -> Iterator[float]:
        """When each object of an association is due (CLOCK_MONOTONIC); 0 = at once."""
        if not self.load.per_s:
            yield from itertools.repeat(0.0)
        first_s = time.monotonic() + (number / self.load.per_s if not self.load.ramp_s else 0.0)
        for count in itertools.count():
            yield first_s + count * self.load.associations / self.load.per_s

    async def _open(self) -> Association | None:
        load, begin_ns = self.load, time.monotonic_ns()
        try:
            link = await Association.open(
                load.host,
                load.port,
                calling=load.calling,
                called=load.called,
                contexts=self._contexts,
                sessions=self._session if self._tls else None,
            )
        except LeydenError as error:
            self.report.failures[type(error).__name__] += 1
            await asyncio.sleep(AGAIN_S)
            return None
        self.report.opened += 1
        self.report.opening_us.append((time.monotonic_ns() - begin_ns) // 1000)
        return link

    def _session(self) -> Session:
        assert self._tls is not None
        return Session(self._tls, server_side=False, server_name=self.load.host)

    async def _send(self, link: Association) -> None:
        template, uid, fd = self._stock.take()
        try:
            context_id = link.accepted.get((template.sop_class, template.syntax))
            if context_id is None:
                self.report.failures["no presentation context"] += 1
                return
            begin_ns = time.monotonic_ns()
            size = template.size_bytes
            said = await link.store(context_id, template.sop_class, uid, fd, 0, size, stall_s=STALL_S)
            if said.status:
                self.report.failures[f"status 0x{said.status:04X}"] += 1
                return
            self.report.response_us.append((time.monotonic_ns() - begin_ns) // 1000)
            self.report.objects += 1
            self.report.bytes += size
            if self._ledger is not None:
                self._ledger.write(uid + "\n")
        except LeydenError as error:
            self.report.failures[type(error).__name__] += 1
            with suppress(LeydenError):
                await asyncio.sleep(AGAIN_S)
        finally:
            self._stock.give_back(template, fd)


def contexts(these: Sequence[Template], at_least: int = 0) -> list[tuple[str, str]]:
    """The contexts that the templates need, filled up with other storage SOP classes to the number asked for."""
    needed = list(dict.fromkeys((template.sop_class, template.syntax) for template in these))
    taken = {sop_class for sop_class, _ in needed}
    others = [
        (str(cx.abstract_syntax), IMPLICIT_LE) for cx in StoragePresentationContexts if cx.abstract_syntax not in taken
    ]
    return needed + others[: max(0, at_least - len(needed))]


def run(load: Load) -> Report:
    """Send the load from this process, and report."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Source(load).run())


# -- the command line, also used to start several processes


def several(words: list[str], asked: argparse.Namespace) -> Report:
    """Start as many child processes as asked for at one moment, each with its share of the load; returns one report."""
    count = asked.processes
    children = []
    for n in range(count):
        share = {
            "associations": _share(asked.associations, n, count),
            "objects": _share(asked.objects, n, count),
            "per-s": asked.per_s / count,
        }
        options = [word for key, value in share.items() for word in (f"--{key}", str(value))]
        uids = ["--uids", f"{asked.uids}.{n}"] if asked.uids else []
        command = [sys.executable, __file__, *words, *options, *uids, "--processes", "1", "--as-child", str(n)]
        children.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()  # ready
    whole = Report()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        said, _ = child.communicate()
        part = json.loads(said)
        whole.seconds = max(whole.seconds, part["seconds"])
        whole.behind_s = max(whole.behind_s, part["behind_s"])
        whole.objects += part["objects"]
        whole.bytes += part["bytes"]
        whole.opened += part["opened"]
        whole.failures.update(part["failures"])
        whole.response_us.extend(part["response_us"])
        whole.opening_us.extend(part["opening_us"])
    return whole


def _share(whole: int, number: int, count: int) -> int:
    return whole // count + (number < whole % count)


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", help="HOST:PORT")
    parser.add_argument("what", nargs="*", default=["ct"], help="kinds and folders (default: ct)")
    parser.add_argument("--called", default="ANY-SCP")
    parser.add_argument("--calling", default="SOURCE")
    parser.add_argument("--associations", type=int, default=1)
    parser.add_argument("--objects", type=int, default=0, help="in all (default 1000 if --seconds is not given)")
    parser.add_argument("--seconds", type=float, default=0.0, help="begin no object after this time")
    parser.add_argument("--per-s", type=float, default=0.0, help="objects a second (default: as fast as possible)")
    parser.add_argument(
        "--ramp", type=float, default=0.0, metavar="S", help="time over which the associations are opened"
    )
    parser.add_argument("--per-association", type=int, default=0, metavar="N", help="objects; 1 = as many devices do")
    parser.add_argument("--contexts", type=int, default=0, metavar="N", help="propose at least this many, up to 128")
    parser.add_argument("--uids", type=Path, metavar="FILE", help="UIDs answered Success (of processes: FILE.0, ...)")
    parser.add_argument("--tls", type=Path, metavar="FILE", help="over TLS; the authorities that vouch for the peer")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--as-child", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_intermixed_args(words)
    if not asked.objects and not asked.seconds:
        asked.objects = 1000
    return asked


def load_of(asked: argparse.Namespace) -> Load:
    host, _, port = asked.peer.rpartition(":")
    return Load(
        host=host or "127.0.0.1",
        port=int(port),
        templates=templates(asked.what),
        called=asked.called,
        calling=asked.calling,
        associations=asked.associations,
        objects=asked.objects,
        seconds=asked.seconds,
        per_s=asked.per_s,
        ramp_s=asked.ramp,
        per_association=asked.per_association,
        contexts=asked.contexts,
        uids=asked.uids,
        authorities=asked.tls,
    )


def main() -> None:
    asked = parse()
    if asked.processes > 1:
        report = several(sys.argv[1:], asked)
    elif asked.as_child is not None:
        load = replace(load_of(asked), process=asked.as_child)
        print("ready", flush=True)
        sys.stdin.readline()
        report = run(load)
        times = {"response_us": list(report.response_us), "opening_us": list(report.opening_us)}
        print(json.dumps({**report.as_json(), **times}))
        return
    else:
        report = run(load_of(asked))
    print(json.dumps(report.as_json()) if asked.json else report)
    if report.failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
