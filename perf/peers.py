"""What the measuring scripts use: peers to compare with, the service itself, load clients, native limits.

    with peers.running(peers.storescp(folder)) as scp: ...
    with peers.leyden(folder, {"DEST": scp.port}) as service:
        seconds = peers.dcmsend(service.port, "DEST", files)

Peers are child processes. A peer listens when its block begins, and ends with the block. Missing is raised for a peer
that is not installed, Failed for a load that was not answered as it must be: that is no measurement.
Deliberately absent: tables, and the order of turns (rig.py).
"""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import pytest

from support.peers import DCMTK_ENVIRONMENT, Storescp, dcmtk, listens
from support.service import Service, free_port, node, wait_for

__all__ = ["Service", "Storescp", "free_port", "listens", "node", "wait_for"]  # for the instruments

HERE = Path(__file__).resolve().parent
NATIVE_BENCH = HERE.parent / "native_bench"
LIMIT_S = 120.0  # for one measurement


class Missing(Exception):
    """A peer is not installed; the text says how to get it."""


class Failed(Exception):
    """The load was not answered as it must be, so the measurement is not valid."""


# -- peers: they listen when start() returns


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
    """storescp that keeps nothing and logs each object, so that all routers are measured at the same end.

    It logs one line for each object, when the object begins to come in.
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
            for line in process.stderr:  # forked processes mix their output: two may share a line
                if count := line.count(b"Received Store Request"):
                    with self._news:
                        self._at_s += [time.monotonic()] * count
                        self._news.notify_all()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

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
        """Send its last signal; returns what it printed on stdout."""
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


def takes_only(folder: Path, syntax_uid: str, sop_classes: Sequence[str]) -> tuple[str, ...]:
    """Options for a storescp that takes one transfer syntax and nothing else, so what arrives is known to be in it."""
    lines = ["[[TransferSyntaxes]]", "[S]", f"TransferSyntax1 = {syntax_uid}", "[[PresentationContexts]]", "[C]"]
    lines += [f"PresentationContext{n} = {uid}\\S" for n, uid in enumerate(sop_classes, 1)]
    path = folder / "storescp.cfg"
    path.write_text("\n".join([*lines, "[[Profiles]]", "[ONLY]", "PresentationContexts = C", ""]))
    return ("-xf", str(path), "ONLY")


def orthanc(
    folder: Path, *, lua: str = "", modalities: Mapping[str, int] | None = None, transcode: str | None = None
) -> Child:
    """Orthanc with its storage in `folder`; it accepts any caller. Raises Missing.

    `modalities`: title -> port, for `lua`; `transcode`: the UID of the syntax that it converts everything to, which
    needs the plug-in with GDCM.
    """
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
    if transcode is not None:
        if not _gdcm():
            raise Missing("Orthanc's plug-in with GDCM is missing: apt-get install orthanc-gdcm")
        settings["IngestTranscoding"] = transcode
    settings_path = folder / "orthanc.json"
    settings_path.write_text(json.dumps(settings))
    return Child("Orthanc", [program, settings_path], port, last_signal=signal.SIGKILL)  # it takes 10 s to end


LUA_FORWARD = """\
function OnStoredInstance(instance, tags, metadata, origin)
  Delete(SendToModality(instance, '{title}'))
end
"""
"""The rule of a router: send each instance to one modality, then delete it."""


def _gdcm() -> list[Path]:
    return sorted(Path("/usr/share/orthanc/plugins").glob("libOrthancGdcm*.so"))


def must_be_whole(objects: int, wanted: int) -> None:
    """Raises Failed unless every object was answered Success."""
    if objects != wanted:
        raise Failed(f"{objects} of {wanted} objects were answered Success")


@contextmanager
def leyden(
    folder: Path, destinations: Mapping[str, int], routings: str | None = None, **config: object
) -> Iterator[Service]:
    """The service as a child process, ready; `destinations`: AE title -> port. Further keys are those of config.yml."""
    nodes = "".join(node(title, port) for title, port in destinations.items())
    with serving(Service(folder, nodes, routings, **{"workers": 1, "arenaMib": 64, **config})) as service:
        yield service


@contextmanager
def serving(service: Service) -> Iterator[Service]:
    """Start a Service that the caller made, wait until it is ready, and stop it at the end of the block."""
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
    """Wait until `count` deliveries are proved; looks seldom, so that the looks are not what is measured."""
    deadline_s = time.monotonic() + limit_s
    while delivered(service, destination) < count:
        if time.monotonic() > deadline_s:
            raise Failed(f"{delivered(service, destination)} of {count} delivered within {limit_s:.0f} s")
        time.sleep(0.05)


def receipts_s(service: Service) -> list[float]:
    """When each delivery was proved (time.time()), ascending."""
    logs = (path.read_bytes() for path in (service.spool / "receipts").glob("*.log"))
    return sorted(float(json.loads(line)["at_s"]) for log in logs for line in log.splitlines())


# -- load clients of others: seconds from start to exit, everything answered Success


def dcmsend(port: int, called: str, files: Sequence[Path], *, associations: int = 1, calling: str = "CT01") -> float:
    """DCMTK's, one process an association, with the files divided among them; its start and its reading included.

    Raises Failed if an object was not answered Success.
    """
    program = dcmtk_tool("dcmsend")
    shares = [files[n::associations] for n in range(associations)]
    words = ["-ll", "error", "-dn", "--max-pdu", "131072", "-aet", calling, "-aec", called, "127.0.0.1", str(port)]
    return all_done([[program, *words, *map(str, share)] for share in shares if share])


def pynetdicom_scu(port: int, called: str, folder: Path, *, associations: int = 1) -> float:
    """pynetdicom's SCU sends every file of `folder`: seconds from the first request to the last release, no imports."""
    words = [str(HERE / "pynetdicom_peer.py"), "scu", str(port), called, str(folder), str(associations)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode:
        raise Failed(done.stderr[-500:])
    return float(done.stdout)


def all_done(commands: Sequence[Sequence[str]]) -> float:
    """Seconds until all of these commands, started together, have succeeded. Raises Failed.

    An error line counts as a failure, because dcmsend ends with 0 if nothing that it proposed was accepted.
    """
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
        if process.returncode or words.startswith("E: ") or "\nE: " in words:
            raise Failed(f"{Path(str(process.args[0])).name}: exit {process.returncode}: {words[-500:]}")  # type: ignore[index]
    return spent_s


# -- native limits


def native(program: str, figure: str, folder: Path, *, objects: int, size_bytes: int, connections: int = 1) -> float:
    """One figure of a program of native_bench/, run once in `folder`: a row like any other. Raises Missing."""
    words = ["--objects", objects, "--bytes", size_bytes, "--connections", connections, folder]
    return native_figures(program, *words)[figure]


def native_figures(program: str, *words: object) -> dict[str, float]:
    """All figures of a program of native_bench/, run once. Raises Missing."""
    path = NATIVE_BENCH / "build" / program
    if not path.exists():
        raise Missing(f"{program} is missing: make -C native_bench")
    done = subprocess.run([str(path), "--json", *map(str, words)], capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode:
        raise Failed(f"{program}: {done.stderr}")
    return {name: float(value) for name, value in json.loads(done.stdout).items() if name != "limit"}
