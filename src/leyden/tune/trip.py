"""What an object costs each role: a service of its own in a folder of its own, with both ends in this process.

Objects of two sizes pass as they came, and the same are made into RLE Lossless, whose codec costs next to nothing: what
a worker spends then is what it spends besides any codec. Nothing is sent beyond the loopback interface.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from leyden.dicom import uids
from leyden.errors import LeydenError
from leyden.tune import codec, images
from leyden.tune.ends import Scp, send
from leyden.tune.load import Template
from leyden.tune.model import MB, Codec, Cost
from leyden.tune.processes import by_role

ASSOCIATIONS = 4
START_LIMIT_S, TRIP_LIMIT_S, STOP_LIMIT_S = 30.0, 120.0, 20.0
CHEAP = uids.RLE_LOSSLESS
ALL_THE_TIME = 0.85  # of a core
PASSED, MADE = "PASSED", "MADE"  # the destinations' titles
BYTES_MAX, OBJECT_MAX_BYTES = 512 << 20, 16 << 20  # of one trip
ROLES = ("receiver", "planner", "sender", "worker")
_NODE = "- AeTitle: {title}\n  HostName: 127.0.0.1\n  Port: {port}\n  NodeRole: Storage\n  TransferSyntax: {syntax}\n"
_DIES_WITH_US = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM: it outlasts the exec
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
_NO_SETTINGS = ("LEYDEN_", "CAPACITOR_")  # of the environment, which are for another service


class Trip(msgspec.Struct, frozen=True):
    """`count` objects of one size: seconds from the first request to the last arrival, and processor time by role.

    "beside" is what both ends spent. `sent_s`: from the first request to the last answer.
    """

    object_bytes: int
    count: int
    seconds: float
    sent_s: float
    spent_s: Mapping[str, float]

    @property
    def per_s(self) -> float:
        return self.count / self.seconds

    @property
    def sending_s(self) -> float:
        """Of one object."""
        return self.sent_s / self.count

    def cost(self, role: str) -> tuple[float, float]:
        """Bytes of an object, and seconds of the role for it."""
        return self.object_bytes, self.spent_s.get(role, 0.0) / self.count


class Costs(msgspec.Struct, frozen=True):
    """What the trips say: processor time by role, of both ends, and how many cores were busy while objects passed."""

    roles: Mapping[str, Cost]
    beside: Cost
    passing_cores: float | None  # None: one process was busy all the time, so others could not be
    lone: Cost  # seconds of an object over one association, until the next one may begin


def large_bytes(object_bytes: float) -> float:
    """The size of the larger objects: about the usual one, but not so near to the smaller ones that noise decides, and
    not so large that a few of them take all the time."""
    return min(max(object_bytes, 8 * images.CT_BYTES), OBJECT_MAX_BYTES)


def measure(folder: Path, object_bytes: float, seconds: float, *, sync: bool = True) -> Costs:
    """Pass small objects and such of about `object_bytes` through a service in an empty `folder`, `seconds` each or so.

    Raises LeydenError, OSError.
    """
    small, large = images.ct_of(0), images.ct_of(large_bytes(object_bytes))
    cheap = _cheap()
    with service(folder, 1, {PASSED: "", MADE: uids.syntax_name(CHEAP)}, sync=sync) as running:
        for title in (PASSED, MADE):  # the first objects pay for imports and associations
            running.trip(title, [small], 20, ASSOCIATIONS)
        passed, made = ([running.paced(title, [each], seconds) for each in (small, large)] for title in (PASSED, MADE))
        lone = [running.paced(PASSED, [each], seconds, associations=1) for each in (small, large)]
    roles = {role: Cost.through(*(each.cost(role) for each in passed)) for role in ROLES[:3]}
    besides = []
    for each in made:
        size_bytes, worker_s = each.cost("worker")
        besides.append((size_bytes, max(0.0, worker_s - cheap.alone_mb_s * size_bytes / MB)))
    roles["worker"] = Cost.through(*besides)
    large_trip = passed[1]
    busy = {role: spent_s / large_trip.seconds for role, spent_s in large_trip.spent_s.items()}
    passing_cores = None if max(busy.values()) > ALL_THE_TIME else sum(busy.values())
    beside = Cost.through(*(each.cost("beside") for each in passed))
    return Costs(roles, beside, passing_cores, Cost.through(*((each.object_bytes, each.sending_s) for each in lone)))


def _cheap() -> Codec:
    found = codec.measure(images.bundled(), {CHEAP: 0.0}, 1, 0.2)[CHEAP]
    assert found is not None
    return found.codec


class Running:
    """A service that is ready, and the SCP behind it."""

    def __init__(self, process: "subprocess.Popen[str]", port: int, scp: Scp, runner: asyncio.Runner) -> None:
        self._process, self._port, self._scp, self._runner = process, port, scp, runner

    def trip(self, title: str, templates: Sequence[Template], count: int, associations: int) -> Trip:
        """Send so many to one of the destinations, and wait until they are there. Raises LeydenError."""
        return self._runner.run(self._trip(title, templates, count, associations))

    def paced(
        self, title: str, templates: Sequence[Template], seconds: float, *, associations: int = ASSOCIATIONS
    ) -> Trip:
        """Send for about so long: as many as the rate of a few lets expect."""
        few = self.trip(title, templates, 20, associations)
        most = max(40, BYTES_MAX // few.object_bytes)
        return self.trip(title, templates, min(most, max(40, int(few.per_s * seconds))), associations)

    async def _trip(self, title: str, templates: Sequence[Template], count: int, associations: int) -> Trip:
        there = self._scp.arrived.get(title, 0)
        before, begin_s, own_s = by_role(self._process.pid), time.monotonic(), time.process_time()
        await send(self._port, title, templates, count, associations)
        sent_s = time.monotonic() - begin_s
        seconds = await self._scp.wait(title, there + count, TRIP_LIMIT_S) - begin_s
        spent_s = {role: all_s - before.get(role, 0.0) for role, all_s in by_role(self._process.pid).items()}
        object_bytes = sum(each.size_bytes for each in templates) // len(templates)
        return Trip(object_bytes, count, seconds, sent_s, {**spent_s, "beside": time.process_time() - own_s})


@contextmanager
def service(folder: Path, workers: int, destinations: Mapping[str, str], *, sync: bool = True) -> Iterator[Running]:
    """A service in an empty folder, ready, with destinations in this process: title -> name of the syntax, or "".

    Raises LeydenError if it does not start.
    """
    with asyncio.Runner() as runner:
        scp = _make_scp(runner)
        server, far_port = runner.run(scp.serve())
        with socket.create_server(("", 0)) as probe:
            port = int(probe.getsockname()[1])
        keys: dict[str, object] = {"scpPort": port, "workers": workers, "minFreeSpace": 0, "journalMib": 0}
        keys["syncSpool"] = str(sync).lower()
        (folder / "config.yml").write_text("".join(f"{key}: {value}\n" for key, value in keys.items()))
        nodes = [_NODE.format(title=title, port=far_port, syntax=syntax) for title, syntax in destinations.items()]
        (folder / "nodes.yml").write_text("".join(nodes))
        environment = {k: v for k, v in os.environ.items() if not k.upper().startswith(_NO_SETTINGS)}
        process = subprocess.Popen(
            [sys.executable, "-c", _DIES_WITH_US, "-m", "leyden", "run", "--as-root", "--path", str(folder)],
            stderr=subprocess.DEVNULL, env=environment, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            _wait_ready(process, folder / "log" / "leyden.log")
            yield Running(process, port, scp, runner)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            server.close()


def _make_scp(runner: asyncio.Runner) -> Scp:
    async def make() -> Scp:
        return Scp()

    return runner.run(make())


def _wait_ready(process: "subprocess.Popen[str]", log: Path) -> None:
    deadline_s = time.monotonic() + START_LIMIT_S
    text = ""
    while process.poll() is None and time.monotonic() < deadline_s:
        with suppress(FileNotFoundError):
            text = log.read_text()
        if " ready: " in text:
            return
        time.sleep(0.02)
    raise LeydenError(f"the service that is to be measured does not start: {text[-300:]}")
