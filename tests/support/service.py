"""`leyden run` as a child process, with its own folder, port and log."""

import contextlib
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

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


# Below the ports that the kernel gives to outgoing connections: a port that a test holds closed for a while (a service
# that restarts, a destination that is off) is not taken by one of them meanwhile.
_PORTS = list(range(10_000, min(32_768, int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]))))
random.shuffle(_PORTS)


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


def wait_for(what: Callable[[], object], limit_s: float = 20.0, why: str = "") -> None:
    """Look at a condition that nothing announces (a file, a process) until it holds; fail loudly when it does not."""
    deadline_s = time.monotonic() + limit_s
    while not what():
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not within {limit_s} s: {why or what}")
        time.sleep(0.01)


class Service:
    """A service on a folder of its own; start() returns when it says that it is ready."""

    def __init__(self, folder: Path, nodes: str, routings: str | None = None, **config: object) -> None:
        self.folder = folder
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        keys = {"scpPort": self.port, "minFreeSpace": 1, "workers": 2, "arenaMib": 64, **config}
        if routings is not None:
            keys["filters"] = "route"
            (folder / "routings.yml").write_text(routings)
        (folder / "config.yml").write_text("".join(f"{key}: {value}\n" for key, value in keys.items()))
        (folder / "nodes.yml").write_text(nodes)
        self.prefix: list[str] = []  # what starts it, if it is not to run as the test does (namespaces.py)
        self.process: subprocess.Popen[str] | None = None
        self.lines: list[str] = []
        self._said: queue.Queue[str | None] = queue.Queue()

    @property
    def spool(self) -> Path:
        return self.folder / "cache"

    @property
    def log(self) -> str:
        return (self.folder / "log" / "leyden.log").read_text()

    def start(self, limit_s: float = 30.0, **environment: str) -> "Service":
        self.process = subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "leyden", "run", "--path", str(self.folder)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self._said = queue.Queue()
        threading.Thread(target=self._read, args=(self.process, self._said), daemon=True).start()
        self.wait_line(" ready: ", limit_s)
        return self

    def _read(self, process: "subprocess.Popen[str]", said: "queue.Queue[str | None]") -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self.lines.append(line)
                said.put(line)
        said.put(None)

    def wait_line(self, text: str, limit_s: float = 20.0) -> str:
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

    def kill_all(self) -> None:
        """SIGKILL for every process of the service, at once; returns when none is left."""
        assert self.process is not None
        processes = self.processes()
        for process in processes:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait(10)
        psutil.wait_procs(processes, timeout=10)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def end(self) -> None:
        """Whatever state the test left it in: nothing of the service runs after this."""
        if self.process is not None and self.process.poll() is None:
            self.kill_all()

    def leyden(self, *words: str, limit_s: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """Another command on the same folder."""
        command = [sys.executable, "-m", "leyden", *words, "--path", str(self.folder)]
        return subprocess.run(command, capture_output=True, text=True, timeout=limit_s)

    def left(self) -> list[Path]:
        """Every entry that stands anywhere in the spool."""
        # os.walk passes over folders that are removed meanwhile.
        found = (Path(folder, name) for folder, _, names in os.walk(self.spool) for name in names)
        return sorted(path for path in found if path.suffix == ".dcm")

    def wait_empty(self, limit_s: float = 60.0) -> None:
        # Twice: what is given back may move from a folder not yet walked to one that was.
        wait_for(
            lambda: not (self.left() or self.left()),
            limit_s,
            f"the spool to be empty; {self.left()[:5]}; {''.join(self.lines[-10:])}",
        )


def descriptors(process: psutil.Process) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))
