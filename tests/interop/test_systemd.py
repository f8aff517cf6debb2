"""What the service tells systemd, at a socket as systemd has one: sd_notify(3)."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.notified import Notified
from support.service import Service, free_port, make_late, node


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Notified]:
    with closing(Notified(str(tmp_path / "notify"))) as notified:
        yield notified


def test_it_is_ready_when_all_roles_are_up_and_says_when_it_stops(
    service: Callable[..., Service], systemd: Notified
) -> None:
    """READY=1 once all roles are up, STOPPING=1 at a stop; no role could speak in the place of the service."""
    leyden = service(node("PACS", free_port())).start(NOTIFY_SOCKET=systemd.address)
    *before, ready = systemd.until("READY")
    assert before == [{"STATUS": "looks through the spool"}]
    assert ready == {"READY": "1", "STATUS": f"port {leyden.port}, 1 destinations, generation 1 in force"}
    roles = leyden.processes()[1:]
    assert len(roles) >= 4
    assert all("NOTIFY_SOCKET" not in role.environ() for role in roles)
    assert leyden.stop() == 0
    (stopping,) = systemd.until("STOPPING")
    assert stopping == {"STOPPING": "1", "STATUS": "stopping"}


def test_a_reload_is_told_before_and_after(service: Callable[..., Service], systemd: Notified) -> None:
    """RELOADING=1 with the time, as Type=notify-reload wants it, then READY=1; also where the reload was refused."""
    leyden = service(node("PACS", free_port())).start(NOTIFY_SOCKET=systemd.address)
    systemd.until("READY")
    for nodes, status in (
        (node("PACS", 1) + node("OTHER", 2), "2 destinations, generation 2 in force"),
        ("- AeTitle", "2 destinations, generation 2 in force"),
    ):
        (leyden.folder / "nodes.yml").write_text(nodes)
        asked_usec = time.monotonic_ns() // 1000
        assert leyden.process is not None
        leyden.process.send_signal(signal.SIGHUP)
        reloading, ready = systemd.until("READY")
        assert reloading["RELOADING"] == "1"
        assert asked_usec <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert ready == {"READY": "1", "STATUS": f"port {leyden.port}, {status}"}


def test_a_start_that_fails_says_why(service: Callable[..., Service], systemd: Notified) -> None:
    """`systemctl status` names what the start failed for, though the log may be elsewhere."""
    leyden = service(node("PACS", free_port()))
    with socket.create_server(("", leyden.port)), pytest.raises(AssertionError, match="the service ended before"):
        leyden.start(NOTIFY_SOCKET=systemd.address)
    (*_, failed) = systemd.until("STATUS", "not started")
    assert f"port {leyden.port} (scpPort) cannot be opened: Address already in use" in failed["STATUS"]


def test_a_role_that_hangs_is_ended_and_the_watchdog_is_fed_again(service: Callable[..., Service]) -> None:
    """The supervisor ends a role that is late, so that systemd need not end the service. The address is abstract."""
    with closing(Notified(f"@leyden-{os.getpid()}-{free_port()}")) as systemd:
        leyden = service(node("PACS", free_port())).start(NOTIFY_SOCKET=systemd.address, WATCHDOG_USEC="200000")
        systemd.until("WATCHDOG")
        receiver = leyden.role("receiver-0")
        receiver.suspend()
        make_late(receiver)
        leyden.wait_line("receiver-0 killed by SIGKILL, as it was stuck")
        assert "WATCHDOG" in systemd.until("WATCHDOG")[-1]
