"""The network as a process sees it: files in /etc of its own, networks of its own, addresses that never answer."""

import ctypes
import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x40000000


def with_etc(folder: Path, **files: Iterable[str]) -> list[str]:
    """The beginning of a command that shall see other files in /etc: hosts=["127.0.0.2 archive"]. It ends with an exec.

    Skips the test where that is not allowed.
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare here (util-linux)")
    steps = ['exec "$@"']
    for name, lines in files.items():
        file = folder / name
        file.write_text("".join(f"{line}\n" for line in lines))
        steps.insert(0, shlex.join(["mount", "--bind", str(file), os.path.realpath(f"/etc/{name.replace('_', '.')}")]))
    for options in (["--mount"], ["--map-root-user", "--mount"]):
        prefix = [unshare, *options, "sh", "-c", " && ".join(steps), "sh"]
        tried = subprocess.run([*prefix, "true"], capture_output=True, text=True)
        if tried.returncode == 0:
            return prefix
    pytest.skip(f"no mount namespaces here: {tried.stderr.strip()}")


@contextmanager
def own_network() -> Iterator[None]:
    """A network of its own for this thread and what it starts. Skips the test where that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or shutil.which("ip") is None:
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing("no network namespaces here: that takes root and ip (iproute2)")
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(_CLONE_NEWNET):
            pytest.skip(f"no network namespaces here: {os.strerror(ctypes.get_errno())}")
        try:
            _ip("link", "set", "lo", "up")
            yield
        finally:
            assert libc.setns(before, _CLONE_NEWNET) == 0
    finally:
        os.close(before)


def appear(address: str) -> None:
    """A host of this network."""
    _ip("address", "add", f"{address}/32", "dev", "lo")


def vanish(address: str) -> None:
    """Take it away, as if its power failed: nothing reaches it, and nothing reports that."""
    _ip("address", "del", f"{address}/32", "dev", "lo")
    _ip("route", "add", "blackhole", f"{address}/32")


def come_back(address: str) -> None:
    """One that has vanished."""
    _ip("route", "del", "blackhole", f"{address}/32")
    appear(address)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def silent(host: str, port: int) -> Iterator[None]:
    """An address that answers no SYN: its listener accepts no connection, and the backlog is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((host, port), backlog=0))
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield
