"""The parent: starts the roles by exec, then reaps the dead, kills the stuck, keeps the count and drains, in one loop.

It binds the port once, so that a receiver's death or restart refuses nobody; it holds the lock of the spool and hands
it on, so that no second service starts while a role of the first still lives; it recovers the spool before any role
runs. It never opens a dataset.
"""

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from leyden import __version__, log
from leyden.boot import BOARD_ROWS, Board
from leyden.config.settings import Settings
from leyden.deliver.destination import Destination
from leyden.dicom.uids import syntax_name
from leyden.errors import Transient
from leyden.spool import recover
from leyden.spool.lock import SpoolLock
from leyden.spool.store import Spool

logger = logging.getLogger("leyden.supervisor")

START_LIMIT_S = 60.0
DRAIN_LIMIT_S = 9.0
RESTART_DELAY_S = 1.0
RESTART_DELAY_MAX_S = 30.0
LISTEN_BACKLOG = 1024


@dataclass(slots=True)
class _Role:
    """One child and what is known of it. `restart_at_s` is set while it is dead."""

    role: str
    number: int
    board: Board
    row: int
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    restart_at_s: float = 0.0
    quick_deaths: int = 0
    killed_as_stuck: bool = False

    @property
    def name(self) -> str:
        return f"{self.role}-{self.number}"


@dataclass(slots=True)
class _Shared:
    """The descriptors that children inherit."""

    settings_fd: int
    lifeline_read_fd: int
    lifeline_write_fd: int
    board_fd: int
    arena_fd: int
    listener: socket.socket | None
    lock_fd: int
    roles: list[_Role] = field(default_factory=list)


def run(settings: Settings, warnings: tuple[str, ...]) -> int:
    """Serve until SIGTERM or SIGINT; the exit code: 0 after a drain, 2 when it could not start."""
    log_dir = Path(settings.log_dir)
    log.set_up("leyden", log_dir)
    logger.info("Leyden %s starts; configuration %s, spool %s", __version__, settings.path, settings.cache_path)
    for warning in warnings:
        logger.warning("%s", warning)
    try:
        lock = SpoolLock(settings.spool_root)
        listener = _bind(settings.scp_port)
        shared = _share(settings, lock.fd, listener)
    except (Transient, OSError) as error:
        logger.error("not started: %s", error)
        return 2
    spool = Spool(settings.spool_root, sync=settings.sync_spool)
    spool.prepare(tuple(d.ae_title for d in settings.destinations))
    recover.recover(spool, retry_rejected=settings.retry_rejected_at_start)
    with _signals() as (wake_fd, received):
        for role in shared.roles:
            _start(role, shared)
        if _await_ready(shared, spool, wake_fd, received):
            _announce(settings, listener)
        while signal.SIGTERM not in received and signal.SIGINT not in received:
            select.select([wake_fd], [], [], 0.5)
            _drain_pipe(wake_fd)
            if signal.SIGHUP in received:
                received.discard(signal.SIGHUP)
                logger.warning("SIGHUP: this version does not reload; restart to take a changed configuration")
            _reap(shared, spool)
            _kill_stuck(shared)
            _keep_count(shared)
            log.rotate(log_dir)
        _drain(shared, listener)
    logger.info("stopped; what was not delivered waits in the spool")
    return 0


def _bind(port: int) -> socket.socket | None:
    """The listening socket on all addresses, IPv4 and IPv6 where the system has it; None for port 0 (off)."""
    if port == 0:
        logger.warning("scpPort is 0: nothing is received")
        return None
    try:
        if socket.has_dualstack_ipv6():
            with contextlib.suppress(OSError):
                return socket.create_server(
                    ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=LISTEN_BACKLOG
                )
        return socket.create_server(("", port), backlog=LISTEN_BACKLOG)
    except OSError as error:
        remedy = (
            "choose another scpPort, or stop what listens there"
            if port > 1023
            else "is another service there, or are you not root?"
        )
        raise OSError(f"port {port} (scpPort) cannot be opened: {error.strerror}; {remedy}") from error


def _share(settings: Settings, lock_fd: int, listener: socket.socket | None) -> _Shared:
    settings_fd = os.memfd_create("leyden-settings", os.MFD_CLOEXEC)
    os.write(settings_fd, settings.to_json())
    board_fd = os.memfd_create("leyden-board", os.MFD_CLOEXEC)
    os.ftruncate(board_fd, BOARD_ROWS * 8)
    arena_fd = os.memfd_create("leyden-arena", os.MFD_CLOEXEC)
    try:
        os.posix_fallocate(arena_fd, 0, settings.arena_mib << 20)  # touched here, not by the first image
    except OSError as error:
        raise OSError(
            f"no memory for the arena of {settings.arena_mib} MiB ({error.strerror}); lower arenaMib"
        ) from error
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    shared = _Shared(settings_fd, read_fd, write_fd, board_fd, arena_fd, listener, lock_fd)
    wanted = [("planner", 0), ("sender", 0)]
    wanted += [("worker", n) for n in range(settings.workers)]
    wanted += [("receiver", n) for n in range(settings.receivers if listener is not None else 0)]
    for row, (role, number) in enumerate(wanted):
        shared.roles.append(_Role(role, number, Board(board_fd, row), row))
    return shared


@contextlib.contextmanager
def _signals() -> Iterator[tuple[int, set[int]]]:
    """Signals become bytes on a pipe and members of a set; nothing runs in a handler."""
    received: set[int] = set()
    read_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda n, _frame: received.add(n))
    try:
        yield read_fd, received
    finally:
        signal.set_wakeup_fd(-1)
        os.close(read_fd)
        os.close(write_fd)


def _drain_pipe(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.read(fd, 4096)


def _start(role: _Role, shared: _Shared) -> None:
    fds = {"settings": shared.settings_fd, "lifeline": shared.lifeline_read_fd, "board": shared.board_fd}
    if role.role == "receiver" and shared.listener is not None:
        fds["listen"] = shared.listener.fileno()
    if role.role == "worker":
        fds["arena"] = shared.arena_fd
    command = [sys.executable, "-m", "leyden", "role", role.role, str(role.number), "--row", str(role.row)]
    for name, fd in fds.items():
        command += [f"--{name}-fd", str(fd)]
    role.board.clear()
    role.started_s, role.restart_at_s, role.killed_as_stuck = time.monotonic(), 0.0, False
    role.process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, pass_fds=(*fds.values(), shared.lock_fd), close_fds=True
    )


def _await_ready(shared: _Shared, spool: Spool, wake_fd: int, received: set[int]) -> bool:
    """Wait until every role has begun its work; False when a signal came first."""
    while any(role.board.deadline_s() == 0.0 for role in shared.roles):
        select.select([wake_fd], [], [], 0.02)
        _drain_pipe(wake_fd)
        if signal.SIGTERM in received or signal.SIGINT in received:
            return False
        _reap(shared, spool)
        _kill_stuck(shared)
        _keep_count(shared)
    return True


def _announce(settings: Settings, listener: socket.socket | None) -> None:
    for destination in settings.destinations:
        logger.info("%s", describe(destination))
    port = listener.getsockname()[1] if listener is not None else 0
    logger.info("ready: port %d, our title %s, %d workers", port, settings.my_ae_title, settings.workers)


def describe(destination: Destination) -> str:
    """One line for an administrator: what a destination is called, where it is and what it gets."""
    aliases = f" (also {', '.join(destination.aliases)})" if destination.aliases else ""
    syntax = syntax_name(destination.syntax) if destination.syntax else "as received"
    caller = "the modality's title" if destination.impersonate else "our title"
    address = f"{destination.host}:{destination.port}"
    return f"destination {destination.ae_title}{aliases} -> {address}, {syntax}, calling with {caller}"


def _reap(shared: _Shared, spool: Spool) -> None:
    for role in shared.roles:
        if role.process is None or role.process.poll() is None:
            continue
        code, role.process = role.process.returncode, None
        lived_s = time.monotonic() - role.started_s
        role.quick_deaths = role.quick_deaths + 1 if lived_s < 10.0 else 0
        delay_s = min(RESTART_DELAY_S * 2**role.quick_deaths, RESTART_DELAY_MAX_S) if role.quick_deaths else 0.0
        role.restart_at_s = time.monotonic() + delay_s
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        stuck = ", as it was stuck" if role.killed_as_stuck else ""
        given_back = recover.reclaim(spool, role.name)
        logger.error(
            "%s %s%s after %.1f s; %d claims given back; starts again in %.0f s",
            role.name, how, stuck, lived_s, given_back, delay_s,
        )  # fmt: skip


def _kill_stuck(shared: _Shared) -> None:
    now_s = time.monotonic()
    for role in shared.roles:
        if role.process is None:
            continue
        deadline_s = role.board.deadline_s() or role.started_s + START_LIMIT_S
        if now_s > deadline_s and not role.killed_as_stuck:
            role.killed_as_stuck = True
            role.process.kill()


def _keep_count(shared: _Shared) -> None:
    for role in shared.roles:
        if role.process is None and time.monotonic() >= role.restart_at_s:
            _start(role, shared)


def _drain(shared: _Shared, listener: socket.socket | None) -> None:
    """Stop accepting, let every role finish what it has in hand, and end whoever takes too long."""
    logger.info("stopping: no new associations; what is being received is finished")
    if listener is not None:
        listener.close()
    running = [role.process for role in shared.roles if role.process is not None]
    for process in running:
        process.terminate()
    deadline_s = time.monotonic() + DRAIN_LIMIT_S
    for process in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline_s - time.monotonic()))
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()
