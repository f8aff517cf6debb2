"""`leyden run` as a child process, with its own folder, port and log."""

import contextlib
import json
import os
import queue
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil

from leyden.heartbeat import ROW_BYTES

EXAMPLE_ROUTINGS = """\
- AeTitles:
    - IMAGEPACS
  Conditions:
    - Tag: 0008,0016
      MatchExpression: ^1\\.2\\.840\\.10008\\.5\\.1\\.4\\.1\\.1\\.88\\.[\\d]{1,2}$
  Actions:
    - Description: Re-route to REPORTPACS
      Type: add_destination
      Target: REPORTPACS
      RemoveOriginal: true
"""


def _ports() -> list[int]:
    """Ports for this process alone, in any order.

    They are below those that the kernel gives to outgoing connections: a port that a test holds closed for a while (a
    service that restarts, a destination that is off) is not taken by one of them meanwhile. Where tests run in several
    processes (pytest-xdist), each has a share of its own.
    """
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ports = list(range(10_000, min(32_768, first_outgoing)))[worker::workers]
    random.shuffle(ports)
    return ports


_PORTS = _ports()


def free_port() -> int:
    """A port of this machine on which nothing listens, given out once in this process."""
    while True:
        port = _PORTS.pop()
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            return port


def node(title: str, port: int, **keys: object) -> str:
    """One entry of nodes.yml for a peer on this machine."""
    lines = [f"- AeTitle: {title}", f"  Port: {port}", "  NodeRole: Storage"]
    return "\n".join(lines + [f"  {key}: {value}" for key, value in keys.items()]) + "\n"


# The limit of most waits: long, so that no test fails on a busy machine, but less than the minute after which the
# service looks for itself at what it was not told.
LIMIT_S = 45.0


def wait_for(what: Callable[[], object], limit_s: float = LIMIT_S, why: str = "") -> None:
    """Poll a condition that nothing announces (a file, a process) until it holds; raises if it does not."""
    deadline_s = time.monotonic() + limit_s
    while not what():
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not within {limit_s} s: {why or what}")
        time.sleep(0.01)


ENDS_WITHIN_S = 60.0  # a service, asked to or killed; far more than it takes
LAST_WORDS_S = 5.0  # of a service that has ended; a role that hangs in the kernel keeps the pipe open


def wait_ended(processes: Iterable[psutil.Process]) -> None:
    """Wait until none of them runs any more; the process that inherited them may take long to reap them."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(process.pid)
            try:
                assert select.select([fd], [], [], ENDS_WITHIN_S)[0], f"{process} does not end"
            finally:
                os.close(fd)


class Service:
    """A service on a folder of its own; start() returns when it says that it is ready."""

    def __init__(
        self, folder: Path, nodes: str, routings: str | None = None, mutations: str | None = None, **config: object
    ) -> None:
        self.folder = folder
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        keys = {"scpPort": self.port, "minFreeSpace": 1, "workers": 1, "arenaMib": 64, **config}
        if routings is not None:
            keys["filters"] = "route"
            (folder / "routings.yml").write_text(routings)
        if mutations is not None:
            keys["filters"] = ", ".join(filter(None, (str(keys.get("filters", "")), "mutate")))
            (folder / "mutations.yml").write_text(mutations)
        keys.setdefault("audit", "{enabled: false}")  # a process less: most tests ask for nothing that it does
        (folder / "config.yml").write_text("".join(f"{key}: {value}\n" for key, value in keys.items()))
        (folder / "nodes.yml").write_text(nodes)
        self.prefix: list[str] = []  # what starts it, if it is not to run as the test does (namespaces.py)
        self.process: subprocess.Popen[str] | None = None
        self.lines: list[str] = []
        self._said: queue.Queue[str | None] = queue.Queue()
        self._reader: threading.Thread | None = None

    @property
    def spool(self) -> Path:
        return self.folder / "cache"

    @property
    def log(self) -> str:
        return (self.folder / "log" / "leyden.log").read_text()

    def start(self, limit_s: float = 60.0, **environment: str) -> "Service":
        self.process = subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "leyden", "run", "--as-root", "--path", str(self.folder)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self._said = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(self.process, self._said), daemon=True)
        self._reader.start()
        self.wait_line("ready: port", limit_s)
        return self

    def _read(self, process: "subprocess.Popen[str]", said: "queue.Queue[str | None]") -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self.lines.append(line)
                said.put(line)
        said.put(None)

    def wait_line(self, text: str, limit_s: float = LIMIT_S) -> str:
        """The next line of the log that holds `text`."""
        deadline_s = time.monotonic() + limit_s
        while True:
            try:
                line = self._said.get(timeout=max(0.0, deadline_s - time.monotonic()))
            except queue.Empty:
                raise AssertionError(
                    f"no line with {text!r} within {limit_s} s; said: {''.join(self.lines[-20:])}"
                ) from None
            if line is None:
                raise AssertionError(f"the service ended before {text!r}; said: {''.join(self.lines[-20:])}")
            if text in line:
                return line

    def processes(self) -> list[psutil.Process]:
        """The supervisor and its roles."""
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def role(self, name: str) -> psutil.Process:
        """One role, by a name such as worker-0."""
        role, _, number = name.rpartition("-")
        for process in self.processes()[1:]:
            words = process.cmdline()
            if "role" in words and words[words.index("role") + 1 : words.index("role") + 3] == [role, number]:
                return process
        raise AssertionError(f"no role {name}")

    def kill_all(self, *, wait: bool = True) -> None:
        """SIGKILL for every process of the service, at once; returns when none runs any more.

        One that hangs in the kernel can't end: with `wait=False` only the supervisor has.
        """
        assert self.process is not None
        processes = self.processes()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(ENDS_WITHIN_S)
        if wait:
            wait_ended(processes)

    def stop(self) -> int:
        """Send SIGTERM. Returns the exit code; `lines` then has everything that was logged."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(ENDS_WITHIN_S)
        if self._reader is not None:
            self._reader.join(LAST_WORDS_S)
        return code

    def end(self) -> None:
        """End everything of the service, whatever state the test left it in."""
        if self.process is not None and self.process.poll() is None:
            self.kill_all()

    def leyden(self, *words: str, limit_s: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """Run another command on the same folder."""
        command = [sys.executable, "-m", "leyden", *words, "--path", str(self.folder)]
        return subprocess.run(command, capture_output=True, text=True, timeout=limit_s)

    def left(self) -> list[Path]:
        """Every object in the spool, wherever it stands. It may miss one that is just being moved: see wait_left."""
        return sorted(path for path in files_below(self.spool) if path.suffix == ".dcm")

    def wait_left(self, holds: Callable[[list[Path]], bool], limit_s: float = 60.0, why: str = "") -> None:
        """Wait until this holds for the objects in the spool at two looks: one look misses an object that moves from a
        folder that it has not walked yet to one that it has."""
        try:
            wait_for(lambda: holds(self.left()) and holds(self.left()), limit_s, why)
        except AssertionError as error:
            raise AssertionError(f"{error}; there stand {self.left()[:5]}; {''.join(self.lines[-10:])}") from None

    def wait_empty(self, limit_s: float = 60.0) -> None:
        self.wait_left(lambda left: not left, limit_s, "the spool to be empty")

    def wait_ended(self, count: int, stage: str, destination: str = "") -> list[dict[str, Any]]:
        """Wait until so many objects stand in rejected/, failed/ or expired/. Returns the notes beside them."""
        folder = self.spool / stage / destination
        wait_for(lambda: len(list(folder.glob("*.dcm"))) == count, why=f"{count} objects in {folder}")
        return [json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))]


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder; unlike Path.rglob it skips folders that are removed meanwhile."""
    return (Path(place, name) for place, _, names in os.walk(folder) for name in names)


def descriptors(process: psutil.Process) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def make_late(role: psutil.Process) -> None:
    """Change what a role has promised into a promise that it has broken: as if it had been silent for too long."""
    words = role.cmdline()
    row = int(words[words.index("--row") + 1])
    fds = dict(pair.split("=") for pair in words[words.index("--descriptors") + 1].split(","))
    with open(f"/proc/{role.pid}/fd/{fds['heartbeats']}", "r+b", buffering=0) as heartbeats:
        os.pwrite(heartbeats.fileno(), struct.pack("d", 1.0), row * ROW_BYTES)
