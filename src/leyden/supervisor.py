"""The parent: starts the roles by exec, then reaps the dead, kills the stuck, keeps the count and drains, in one loop.

It binds the port once, so that a receiver's death or restart refuses nobody; it holds the lock of the spool and hands
it on, so that no second service starts while a role of the first still lives; it recovers the spool before any role
runs. It never opens a dataset.
"""

import contextlib
import errno
import logging
import math
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from leyden import __version__, crash, log
from leyden.boot import BOARD_ROW_BYTES, LISTEN_BACKLOG, Board
from leyden.config.settings import Settings
from leyden.deliver.destination import Destination
from leyden.dicom.uids import syntax_name
from leyden.errors import Transient
from leyden.spool import recover
from leyden.spool.entry import Queued
from leyden.spool.listing import names
from leyden.spool.lock import SpoolLock
from leyden.spool.store import Spool

logger = logging.getLogger("leyden.supervisor")

START_LIMIT_S = 60.0
DRAIN_LIMIT_S = 9.0
DEATH_LIMIT_S = 0.5  # of the killed, all together: one that waits for a disk ends when the disk answers
RESTART_DELAY_S = 1.0
RESTART_DELAY_MAX_S = 30.0
QUICK_S = 10.0
RETRY_LEFT_S = 30.0
_STOP = {signal.SIGTERM, signal.SIGINT}


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
    delay_s: float = 0.0  # what it waited last before it was started again
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
    lock: SpoolLock
    spool: Spool
    roles: list[_Role] = field(default_factory=list)
    left: dict[str, list[Queued]] = field(default_factory=dict)  # claims of the dead that the disk does not let go
    retry_left_at_s: float = field(default_factory=lambda: time.monotonic() + RETRY_LEFT_S)


def run(settings: Settings, warnings: tuple[str, ...]) -> int:
    """Serve until SIGTERM or SIGINT; the exit code: 0 after a drain, 2 when it could not start."""
    crash.arm("supervisor")
    log_dir = Path(settings.log_dir)
    with _signals() as (wake_fd, received):
        try:
            log.set_up("leyden", log_dir)
            shared = _prepare(settings, warnings)
        except (Transient, OSError) as error:
            logger.error("not started: %s", error)
            return 2
        if _await_ready(shared, wake_fd, received):
            _announce(settings, shared.listener)
        while received.isdisjoint(_STOP):
            select.select([wake_fd], [], [], 0.5)
            _drain_pipe(wake_fd)
            if signal.SIGHUP in received:
                received.discard(signal.SIGHUP)
                logger.warning("SIGHUP: this version does not reload; restart to take a changed configuration")
            _tend(shared)
            log.rotate(log_dir)
        _drain(shared)
        shared.lock.take_back()
    logger.info("stopped; what was not delivered waits in the spool")
    return 0


def _prepare(settings: Settings, warnings: tuple[str, ...]) -> _Shared:
    """Everything that comes before the first role. Transient, OSError: the service can't start; the text says why."""
    logger.info("Leyden %s starts; configuration %s, spool %s", __version__, settings.path, settings.cache_path)
    for warning in warnings:
        logger.warning("%s", warning)
    lock = SpoolLock(settings.spool_root)
    shared = _share(settings, lock, _bind(settings.scp_port))
    spool, known = shared.spool, tuple(d.ae_title for d in settings.destinations)
    spool.prepare(known)
    recover.recover(spool, retry_rejected=settings.retry_rejected_at_start, known=known)
    shared.left = {name: spool.claims(name) for name in names(f"{spool.root}/active")}
    return shared


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


def _share(settings: Settings, lock: SpoolLock, listener: socket.socket | None) -> _Shared:
    settings_fd = os.memfd_create("leyden-settings", os.MFD_CLOEXEC)
    os.write(settings_fd, settings.to_json())
    wanted = [("planner", 0), ("sender", 0)]
    wanted += [("worker", n) for n in range(settings.workers)]
    wanted += [("receiver", n) for n in range(settings.receivers if listener is not None else 0)]
    board_fd = os.memfd_create("leyden-board", os.MFD_CLOEXEC)
    os.ftruncate(board_fd, len(wanted) * BOARD_ROW_BYTES)
    arena_fd = os.memfd_create("leyden-arena", os.MFD_CLOEXEC)
    try:
        if settings.arena_mib << 20 > _memory_bytes():
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))  # the kernel would not say so, but kill somebody
        os.posix_fallocate(arena_fd, 0, settings.arena_mib << 20)  # touched here, not by the first image
    except OSError as error:
        raise OSError(
            f"no memory for the arena of {settings.arena_mib} MiB ({error.strerror}); lower arenaMib"
        ) from error
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    spool = Spool(settings.spool_root, sync=settings.sync_spool)
    shared = _Shared(settings_fd, read_fd, write_fd, board_fd, arena_fd, listener, lock, spool)
    for row, (role, number) in enumerate(wanted):
        shared.roles.append(_Role(role, number, Board(board_fd, row), row))
    return shared


def _memory_bytes() -> float:
    """What this machine has to spare, or the limit of our control group if that is less."""
    with open("/proc/meminfo", encoding="ascii") as file:
        spare = next((int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable:")), math.inf)
    with contextlib.suppress(OSError, ValueError):  # no control groups, or no limit ("max")
        return min(spare, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return spare


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
        command, stdin=subprocess.DEVNULL, pass_fds=(*fds.values(), shared.lock.fd), close_fds=True
    )


def _await_ready(shared: _Shared, wake_fd: int, received: set[int]) -> bool:
    """Start the roles and wait until every one has begun its work; False when a signal came first."""
    while any(role.board.deadline_s() == 0.0 for role in shared.roles):
        if not received.isdisjoint(_STOP):
            return False
        _tend(shared)
        select.select([wake_fd], [], [], 0.02)
        _drain_pipe(wake_fd)
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


def _tend(shared: _Shared) -> None:
    """One round over all roles."""
    _reap(shared)
    _kill_stuck(shared)
    _keep_count(shared)
    _give_back_left(shared)


def _reap(shared: _Shared) -> None:
    for role in shared.roles:
        if role.process is None or role.process.poll() is None:
            continue
        code, role.process = role.process.returncode, None
        lived_s = time.monotonic() - role.started_s
        given_back = _reclaim(role, shared)
        if lived_s >= QUICK_S or (role.role == "worker" and given_back):
            role.delay_s = 0.0  # what killed a worker is counted with the object, and that bounds it
        else:
            _postpone(role)
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        stuck = ", as it was stuck" if role.killed_as_stuck else ""
        logger.error(
            "%s %s%s after %.1f s; %d claims given back; starts again in %.0f s",
            role.name, how, stuck, lived_s, given_back, role.delay_s,
        )  # fmt: skip


def _reclaim(role: _Role, shared: _Shared) -> int:
    try:
        return recover.reclaim(
            shared.spool,
            role.name,
            crashed=role.role == "worker",  # nobody else runs foreign code over the data
            receiver=role.number if role.role == "receiver" else None,
        )
    except OSError as error:
        logger.error("what %s left can't be given back yet: %s", role.name, error)
        return 0


def _postpone(role: _Role) -> None:
    """A role that does not come to live is started again each time later."""
    role.delay_s = min(2.0 * max(role.delay_s, RESTART_DELAY_S), RESTART_DELAY_MAX_S)
    role.restart_at_s = time.monotonic() + role.delay_s


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
        if role.process is not None or time.monotonic() < role.restart_at_s:
            continue
        try:
            # Once more: what could not be read or finished after its death. No plan is made beside one half done.
            recover.reclaim(shared.spool, role.name)
            shared.left[role.name] = shared.spool.claims(role.name)
            _start(role, shared)
        except OSError as error:
            _postpone(role)
            logger.error("%s can't be started: %s; tried again in %.0f s", role.name, error, role.delay_s)


def _give_back_left(shared: _Shared) -> None:
    """Try again what the disk did not let go when its role died; a role that lives has never seen these claims."""
    if time.monotonic() >= shared.retry_left_at_s:
        shared.retry_left_at_s = time.monotonic() + RETRY_LEFT_S
        for name, claims in shared.left.items():
            if claims:
                shared.left[name] = recover.give_back(shared.spool, claims)


def _drain(shared: _Shared) -> None:
    """Stop accepting, let every role finish what it has in hand, and end whoever takes too long."""
    logger.info("stopping: no new associations; what is being received is finished")
    if shared.listener is not None:
        shared.listener.close()
    running = {role.name: role.process for role in shared.roles if role.process is not None}
    for process in running.values():
        process.terminate()
    _await_end(running.values(), DRAIN_LIMIT_S)
    late = {name: process for name, process in running.items() if process.poll() is None}
    for process in late.values():
        process.kill()
    _await_end(late.values(), DEATH_LIMIT_S)
    for name, process in late.items():
        if process.poll() is None:
            logger.error("%s was killed and ends when the disk or share that it waits for answers", name)


def _await_end(processes: Iterable[subprocess.Popen[bytes]], limit_s: float) -> None:
    deadline_s = time.monotonic() + limit_s
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline_s - time.monotonic()))
