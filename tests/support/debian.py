"""Debian in a folder: commands in it, with a /proc of their own, and systemd as its process 1."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from support.service import wait_for

TOP = Path(__file__).resolve().parents[2]  # of the repository
RELEASE, PYTHON = "bookworm", "3.11"  # Debian 12
_SOURCES = (*Path("/etc/apt").glob("sources.list.d/*"), Path("/etc/apt/sources.list"))
_BOOT_LIMIT_S = 90.0


def mirror() -> str:
    """Where apt of this machine gets Debian from."""
    texts = [path.read_text(errors="replace") for path in _SOURCES if path.is_file()]
    found = [url for text in texts for url in re.findall(r"https?://\S+", text) if url.rstrip("/").endswith("/debian")]
    return found[0] if found else "http://deb.debian.org/debian"


def bootstrap(root: Path, release: str, packages: Sequence[str]) -> None:
    """A small Debian in `root`. Skips the test where that is not allowed."""
    tool = shutil.which("debootstrap", path=f"{os.environ['PATH']}:/usr/sbin")
    if tool is None or os.geteuid() != 0:
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing("no Debian in a folder here: that takes root and debootstrap")
    include = f"--include={','.join(packages)}"
    run([tool, "--variant=minbase", include, release, str(root), mirror()])
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")


def run(words: Sequence[str], limit_s: float = 550.0, **more: object) -> str:
    """Run a command to its good end; returns what it said."""
    done = subprocess.run(  # type: ignore[call-overload]
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit_s, **more
    )
    assert done.returncode == 0, f"{shlex.join(words)}:\n{done.stdout[-5000:]}"
    return str(done.stdout)


def inside(root: Path, words: Sequence[str], *, user: str = "0", writes: Sequence[str] = ()) -> list[str]:
    """The command that runs `words` in `root`, by a user; given `writes`, all else is read-only, and it may gain no
    privileges."""
    there = shlex.quote(str(root))
    steps = [f"mount --bind {there} {there}"]
    steps += [f"mount --bind {there}{folder} {there}{folder}" for folder in writes]
    steps += [f"mount -o remount,bind,ro {there}"] if writes else []
    steps += [f"mount -t proc proc {there}/proc", f"mount -t tmpfs tmpfs {there}/tmp"]
    bounds = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"] if writes else []
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *bounds]
    steps.append(f"exec chroot {there} {shlex.join([*become, *words])}")
    namespaces = ["--mount", "--pid", "--fork", "--kill-child"]
    return ["unshare", *namespaces, "sh", "-ec", "\n".join(steps)]


_BOOT = """\
mount --bind $R $R
mount -t proc proc $R/proc
mount -t sysfs sysfs $R/sys
mount -t cgroup2 cgroup2 $R/sys/fs/cgroup
for place in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs $R/$place; done
chmod 1777 $R/tmp
for name in null zero full random urandom tty; do touch $R/dev/$name; mount --bind /dev/$name $R/dev/$name; done
mkdir $R/dev/pts $R/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts $R/dev/pts
ln -s pts/ptmx $R/dev/ptmx
mount -t tmpfs tmpfs $R/dev/shm
ip link set lo up
cd $R
pivot_root . mnt
umount -l /mnt
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --log-target=journal
"""


class Machine:
    """A Debian that runs: systemd as process 1, in namespaces and a control group of its own."""

    def __init__(self, root: Path, pid: int) -> None:
        self.root = root
        self._pid = pid

    def run(self, *words: str, good: bool = True, limit_s: float = 120.0) -> str:
        """What a command in it says, if it ends well; with `good=False`, however it ends."""
        command = ["nsenter", f"--target={self._pid}", *("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")]
        done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=limit_s)
        assert not good or done.returncode == 0, f"{shlex.join(words)}: {done.stdout[-3000:]} {done.stderr[-3000:]}"
        return done.stdout + done.stderr


@contextlib.contextmanager
def booted(root: Path) -> Iterator[Machine]:
    """Boot the Debian in `root`. Skips the test where no control group or namespace may be made."""
    top = next((each for each in map(Path, ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")) if _is_v2(each)), None)
    if top is None:
        pytest.skip("no systemd here: there are no control groups of version 2")
    group = top / f"leyden-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no systemd here: {error}")
    namespaces = ["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork", "--kill-child"]
    script = f"echo 0 > {group}/cgroup.procs; exec unshare {' '.join(namespaces)} sh -ec '{_BOOT}'"
    with subprocess.Popen(["sh", "-ec", script], env={**os.environ, "R": str(root)}, stderr=subprocess.PIPE) as process:
        try:
            wait_for(lambda: _systemd_of(process), _BOOT_LIMIT_S, "systemd to run")
            machine = Machine(root, _systemd_of(process))
            wait_for(
                lambda: machine.run("systemctl", "is-system-running", good=False).strip() in ("running", "degraded"),
                _BOOT_LIMIT_S,
                "the machine to be up",
            )
            yield machine
        finally:
            process.kill()
            process.wait()
            wait_for(lambda: _removed(group), why="the control group to end")


def _is_v2(folder: Path) -> bool:
    return (folder / "cgroup.controllers").exists()


def _systemd_of(process: "subprocess.Popen[bytes]") -> int:
    """Its process id, 0 = it does not run yet."""
    assert process.poll() is None, f"systemd did not start: {process.stderr.read() if process.stderr else b''!r}"
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children():
            if child.name() == "systemd":
                return child.pid
    return 0


def _removed(group: Path) -> bool:
    """Remove it and all below, unless one of its processes still ends."""
    with contextlib.suppress(OSError):
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)
    return not group.exists()
