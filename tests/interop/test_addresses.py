"""A destination whose name has several addresses: whichever answers gets the objects, whatever the others do."""

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.namespaces import silent, with_etc
from support.objects import make_cts
from support.peers import Pacs, run_dcmtk
from support.service import Service, free_port, node

# In this order they are tried: the system puts first what is nearest to the address that we would call from.
FIRST, SECOND, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"
ARCHIVE = [f"{address} archive.test" for address in (FIRST, SECOND, THIRD)]


@contextmanager
def closing(host: str, port: int) -> Iterator[None]:
    """A balancer without an archive behind it: it takes each connection and closes it."""

    def serve() -> None:
        while True:
            try:
                listener.accept()[0].close()
            except OSError:
                return

    with socket.create_server((host, port)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def send(leyden: Service, files: list[Path], called: str = "ARCHIVE") -> None:
    done = run_dcmtk("dcmsend", "-dn", "-aec", called, "127.0.0.1", str(leyden.port), *map(str, files))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("first", [silent, closing])
def test_an_address_that_is_of_no_use_does_not_hinder_the_others(
    first: Callable[..., Iterator[None]], service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """Objects go to "whichever address of a host answers" (ARCHITECTURE.md)."""
    archive = pacs("ARCHIVE", host=THIRD)
    leyden = service(node("ARCHIVE", archive.port, HostName="archive.test"), connectTimeoutSeconds=5)
    leyden.prefix = with_etc(tmp_path, hosts=ARCHIVE)
    with first(FIRST, archive.port):
        leyden.start()
        send(leyden, make_cts(tmp_path / "cts", 3, rows=64, columns=64))
        archive.wait(3, 60)
        leyden.wait_empty()
    assert f"ARCHIVE: connected to {THIRD}" in leyden.log
    assert "WARNING" not in leyden.log


def test_a_failure_says_what_is_wrong_with_each_address(service: Callable[..., Service], tmp_path: Path) -> None:
    """The destination cannot be reached or rejects the association; the text says how (docs/troubleshoot.md)."""
    port = free_port()
    leyden = service(node("ARCHIVE", port, HostName="archive.test"), connectTimeoutSeconds=1)
    leyden.prefix = with_etc(tmp_path, hosts=ARCHIVE)
    with silent(FIRST, port):
        leyden.start()
        send(leyden, make_cts(tmp_path / "cts", 1, rows=64, columns=64))
        line = leyden.wait_line("no connection within")
    silent_one, *others = line.partition("ARCHIVE: ")[2].partition(";")[0].split(", ")
    assert re.fullmatch(rf"{FIRST}: no connection within [\d.]+ s", silent_one)  # what the look-up left of the second
    assert others == [f"{SECOND}: Connection refused", f"{THIRD}: Connection refused"]


def test_an_address_that_takes_connections_and_never_answers_is_skipped(
    pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """An address that "does not answer the request ... is skipped in favour of the others" (DECISIONS.md 69)."""
    archive = pacs("ARCHIVE", host=THIRD)
    prefix = with_etc(tmp_path, hosts=ARCHIVE)
    echo = [sys.executable, "-m", "leyden", "echo", f"archive.test:{archive.port}", "--called", "ARCHIVE"]
    with socket.create_server((FIRST, archive.port)):
        done = subprocess.run([*prefix, *echo, "--timeout", "5"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_name_server_that_says_nothing_holds_up_nothing_else(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """A destination whose name cannot be looked up: "other destinations are not affected" (docs/operate.md)."""
    archive = pacs("ARCHIVE", host=THIRD)
    nodes = node("ARCHIVE", archive.port, HostName="archive.test")
    nodes += node("LOST", 104, HostName="lost.test", RetryDelays="[600]")  # one look-up, and two may wait at a time
    leyden = service(nodes, connectTimeoutSeconds=1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:  # a name server that says nothing
        server.bind(("127.0.0.9", 53))
        leyden.prefix = with_etc(
            tmp_path,
            hosts=ARCHIVE,
            resolv_conf=["nameserver 127.0.0.9", "options timeout:30 attempts:4"],
            nsswitch_conf=["hosts: files dns"],
        )
        leyden.start()
        send(leyden, make_cts(tmp_path / "lost", 1, rows=64, columns=64), "LOST")
        leyden.wait_line("LOST: no address of lost.test within 1 s")
        send(leyden, make_cts(tmp_path / "cts", 3, rows=64, columns=64))
        archive.wait(3)
