"""What each role of a running service can do, tried from inside: only what the table in confine.py keeps."""

import errno
import json
import os
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leyden import confine
from support.objects import make_ct
from support.peers import Pacs, run_dcmtk
from support.service import Service, free_port, node, wait_for

ROLES = ("receiver", "planner", "worker", "sender", "console", "watcher")

# Runs in each process of the service, when a role first says that it is alive: it has begun by then.
PROBE = """
import ctypes, json, os, socket, subprocess, sys, threading
from pathlib import Path
from leyden import heartbeat

libc = ctypes.CDLL(None, use_errno=True)
folder = Path(os.environ["PROBED"])
me = sys.orig_argv[sys.orig_argv.index("role") + 1] if "role" in sys.orig_argv else ""
mine = ("active", "prepared") if me == "worker" else ("embryo", "new")

def call(*words):
    if libc.syscall(*words) < 0:
        raise OSError(ctypes.get_errno(), "")

def fork():
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)

def serve():
    with socket.create_server(("127.0.0.1", 0)):
        pass

def dial():
    with socket.create_connection(("127.0.0.1", int(os.environ["DIALLED"]))):
        pass

def thread():
    begun = threading.Thread(target=int)
    begun.start()
    begun.join()

ACTS = {
    "execve": lambda: subprocess.run(["/bin/true"], check=True),
    "fork": fork,
    "signal another": lambda: os.kill(os.getppid(), 0),
    "signal itself": lambda: os.kill(os.getpid(), 0),
    "start a thread": thread,
    "dial": dial,
    "serve": serve,
    "socketpair": lambda: [end.close() for end in socket.socketpair()],
    "ptrace": lambda: call(101, 16, os.getppid(), 0, 0),
    "unshare": lambda: call(272, 0x10000000),
    "mount": lambda: call(165, b"none", b"/mnt", b"tmpfs", 0, 0),
    "bpf": lambda: call(321, 0, 0, 0),
    "io_uring": lambda: call(425, 1, 0),
    "read a key": lambda: (folder / "tls.key").read_bytes(),
    "read the configuration": lambda: (folder / "config.yml").read_bytes(),
    "change the configuration": lambda: (folder / "nodes.yml").open("ab").close(),
    "write elsewhere": lambda: Path(os.environ["ELSEWHERE"], f"probe-{me}").touch(),
    "write to the spool": lambda: (folder / "cache" / mine[0] / f"probe-{me}").touch(),
    "move in the spool": lambda: os.rename(*(folder / "cache" / each / f"probe-{me}" for each in mine)),
    "write to state": lambda: (folder / "cache" / "state" / f"probe-{me}").touch(),
    "give an order": lambda: (folder / "cache" / "control" / f"probe-{me}").touch(),
    "read the memory of another": lambda: open(f"/proc/{os.getppid()}/mem", "rb").close(),
}

def outcome(act):
    try:
        act()
    except OSError as error:
        return error.errno
    return 0

def probe():
    said = {name: outcome(act) for name, act in ACTS.items()}
    path = folder / "log" / f"{me}.probed"
    path.with_suffix(".new").write_text(json.dumps(said))
    os.replace(path.with_suffix(".new"), path)

real = heartbeat.Heartbeat.alive
def alive(self, within_s):
    if me and not (folder / "log" / f"{me}.probed").exists():
        probe()
    real(self, within_s)
heartbeat.Heartbeat.alive = alive
"""


def send(leyden: Service, path: Path) -> None:
    done = run_dcmtk("dcmsend", "-aec", "PACS", "127.0.0.1", str(leyden.port), str(path))
    assert done.returncode == 0, done.stderr


MAY = {"signal itself", "start a thread", "socketpair", "write to the spool", "move in the spool"}
READS = {"read a key", "read the configuration"}
WRITES = {"change the configuration", "write elsewhere"}
ORDERS = {"write to state", "give an order"}
MAY_ALSO = {
    "receiver": READS,
    "planner": READS | WRITES | ORDERS,
    "worker": set[str](),
    "sender": READS | ORDERS | {"dial"},
    "console": READS | WRITES | ORDERS | {"dial", "serve", "execve", "fork", "signal another"},
    "watcher": READS | WRITES | ORDERS | {"dial"},
}


@pytest.fixture(scope="module")
def leyden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    if not (confine.has_seccomp() and confine.has_landlock()):
        missing("no seccomp or no Landlock here")
    folder = tmp_path_factory.mktemp("confined")
    (folder / "code").mkdir()
    (folder / "code" / "sitecustomize.py").write_text(PROBE)
    api = f"{{enabled: true, port: {free_port()}}}"
    made = Service(folder / "leyden", node("PACS", free_port()), api=api, audit="{enabled: true}", workers=1)
    (made.folder / "tls.key").touch(0o600)
    path = os.pathsep.join(filter(None, (str(folder / "code"), os.environ.get("PYTHONPATH"))))
    with socket.create_server(("127.0.0.1", 0)) as dialled:
        try:
            places = {"PROBED": str(made.folder), "ELSEWHERE": str(folder), "DIALLED": str(dialled.getsockname()[1])}
            made.start(PYTHONPATH=path, **places)
            wait_for(lambda: len(list(made.folder.glob("log/*.probed"))) == len(ROLES), why="every role to be probed")
            yield made
        finally:
            made.end()


@pytest.mark.parametrize("role", ROLES)
def test_a_role_can_do_what_it_has_to_and_no_more(leyden: Service, role: str) -> None:
    """What it gave up ends in EPERM or EACCES, an error that it lives on after."""
    said = json.loads((leyden.folder / "log" / f"{role}.probed").read_text())
    assert {name for name, error in said.items() if error == 0} == MAY | MAY_ALSO[role], said
    assert {error for error in said.values() if error} <= {errno.EPERM, errno.EACCES}, said


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_no_capabilities_and_leaves_no_core_dump(leyden: Service, role: str) -> None:
    """As the kernel says in /proc, of the thread that began last too."""
    process = leyden.role(f"{role}-0")
    for thread in process.threads():
        rows = Path(f"/proc/{process.pid}/task/{thread.id}/status").read_text().splitlines()
        status = {key: value.strip() for key, _, value in (row.partition(":") for row in rows)}
        kept = 1 << confine.CAP_NET_BIND_SERVICE if role == "console" else 0
        assert all(int(status[f"Cap{kind}"], 16) & ~kept == 0 for kind in ("Eff", "Prm", "Amb", "Inh"))
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert max(process.rlimit(resource.RLIMIT_CORE)) <= 1


def test_roles_that_gave_up_rights_make_the_whole_trip_and_take_a_reload(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """A reload that names a mapping file in a folder that the workers gave up has them begin anew; nothing is lost."""
    images = pacs("PACS")
    leyden = service(node("PACS", images.port, TransferSyntax="JPEG2000Lossless"), mutations="[]", workers=1).start()
    send(leyden, make_ct(tmp_path / "first.dcm", 1))
    images.wait_until(lambda arrivals: len(arrivals) == 1, 60, "the first")
    (tmp_path / "elsewhere").mkdir()
    mapping = tmp_path / "elsewhere" / "patients.csv"
    anonymize = f"- Actions:\n    - {{Type: anonymize, Destination: {{Value: {mapping}}}}}\n"
    (leyden.folder / "mutations.yml").write_text(anonymize)
    assert leyden.leyden("reload").returncode == 0
    send(leyden, make_ct(tmp_path / "second.dcm", 2))
    leyden.wait_line("worker-0 begins anew, as the new settings name a folder that it gave up")
    images.wait_until(lambda arrivals: len(arrivals) == 2, 60, "the second")
    leyden.wait_empty()
    assert "PermissionError" not in leyden.log
