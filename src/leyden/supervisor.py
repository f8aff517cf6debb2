"""The parent: starts the roles by exec, and in one loop reaps, restarts and kills them, until it is told to stop.

It binds the port once, so that no connection is refused while a receiver is restarted. It holds the lock of the spool
and every role inherits it, so that no second service starts while a role of the first one still lives. It recovers the
spool before any role runs. It never opens a dataset.
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
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from leyden import __version__, confine, crash, log
from leyden.admission.callers import who_may_call
from leyden.board import Board
from leyden.config.settings import Settings
from leyden.deliver.destination import Destination
from leyden.dicom.uids import syntax_name
from leyden.errors import Transient, Unsafe, WrongFormat
from leyden.generations import Generations, Load
from leyden.heartbeat import ROW_BYTES, Heartbeat
from leyden.inherited import BEGINS_ANEW, DESCRIPTORS, LISTEN_BACKLOG, descriptors_as_text
from leyden.journal.events import Operated
from leyden.journal.lines import set_up, tell
from leyden.journal.upkeep import Upkeep
from leyden.kept_rules import KeptRules
from leyden.operate.who import who
from leyden.spool import format as formats
from leyden.spool import listing, recover
from leyden.spool.entry import Queued
from leyden.spool.guarded import check_owner, check_rights, user_name
from leyden.spool.listing import names
from leyden.spool.lock import SpoolLock
from leyden.spool.store import Spool
from leyden.systemd import Systemd

logger = logging.getLogger("leyden.supervisor")

START_LIMIT_S = 60.0  # from the start of a role to its first heartbeat
DRAIN_LIMIT_S = 8.5
WATCHER_LIMIT_S = 1.0  # what it does not see of the end, it reads at the next start
DEATH_LIMIT_S = 0.5  # for all that are killed, together: one that waits for a disk ends when the disk answers
RESTART_DELAY_S = 1.0
RESTART_DELAY_MAX_S = 30.0
SHORT_LIFE_S = 10.0  # a role that ends sooner waits before it is started again
RETRY_LEFT_S = 30.0
CONSOLE, WATCHER = "console", "watcher"  # no object needs them: the service is ready without
ROUND_S = 0.5  # of the loop, if no signal comes
STARTING_ROUND_S = 0.02
FROZEN_S = 10.0  # a round that took so long: this process stood still, and so did the roles
THAWED_S = 10.0  # so long after that they need not have shown that they live


class _Child(msgspec.Struct):
    """A role and its process. Without one (it ended, or was not started yet), the role is started at `restart_at_s`."""

    role: str
    number: int
    row: int
    heartbeat: Heartbeat
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    restart_at_s: float = 0.0
    delay_s: float = 0.0  # how long the latest restart waited
    killed_as_stuck: bool = False

    @property
    def name(self) -> str:
        return f"{self.role}-{self.number}"

    def is_late(self, now_s: float) -> bool:
        """Whether its process has been silent for longer than it may be."""
        return self.process is not None and now_s > (self.heartbeat.deadline_s() or self.started_s + START_LIMIT_S)

    def postpone(self) -> None:
        """Start it later, and after a longer delay each time."""
        self.delay_s = min(2.0 * max(self.delay_s, RESTART_DELAY_S), RESTART_DELAY_MAX_S)
        self.restart_at_s = time.monotonic() + self.delay_s


def run(settings: Settings, warnings: tuple[str, ...], load: Load) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code: 0 after a drain, 2 if the service could not start.

    `load` reads the configuration again, for a reload.
    """
    confine.no_core_dumps()
    os.umask(0o077)  # before anything is made; the roles inherit it
    crash.arm("supervisor")
    systemd = Systemd(os.environ)
    with _signals() as signals_fd:
        try:
            log.set_up("leyden", Path(settings.log_dir), settings.log)
            systemd.tell(STATUS="looks through the spool")
            supervisor = _prepare(settings, warnings, load, systemd)
        except (Transient, Unsafe, WrongFormat, OSError) as error:
            logger.error("not started: %s", error)
            systemd.tell(STATUS=f"not started: {error}")
            return 2
        tell(_by_the_service("start", settings), logged=False)
        supervisor.serve(signals_fd)
        supervisor.drain()
    logger.info("stopped; what was not delivered waits in the spool")
    return 0


def _prepare(settings: Settings, warnings: tuple[str, ...], load: Load, systemd: Systemd) -> "Supervisor":
    """Do all that comes before the first role. Transient, WrongFormat, Unsafe, OSError: the service cannot start; the
    text says why."""
    logger.info("Leyden %s starts; configuration %s, spool %s", __version__, settings.path, settings.cache_path)
    for warning in warnings:
        logger.warning("%s", warning)
    if os.geteuid() == 0:
        logger.info(
            "runs as %s, as --as-root asked for: a fault in it would be one in all of this machine", user_name(0)
        )
    if not confine.has_seccomp():
        logger.warning("no role gives up calls of the system: libseccomp.so.2 is not there (Debian: libseccomp2)")
    if not confine.has_landlock():
        logger.info("no role gives up files: this kernel has no Landlock, or an old one")
    check_rights(settings.spool_root, Path(settings.path), Path(settings.log_dir))
    check_owner(settings.spool_root)
    formats.check(settings.spool_root)  # before the lock, which is a file too
    lock = SpoolLock(settings.spool_root)
    formats.mark(settings.spool_root)
    set_up(settings.spool_root, "leyden", settings.journal)
    supervisor = Supervisor(settings, lock, _listeners(settings), load, systemd)
    supervisor.recover_spool()
    supervisor.generations.started(warnings)
    return supervisor


class Supervisor:
    """What the parent holds, its loop, and what it does at each signal.

    `descriptors` are handed to the processes that start next, by name.
    """

    def __init__(
        self,
        settings: Settings,
        lock: SpoolLock,
        listeners: Mapping[str, socket.socket],
        load: Load,
        systemd: Systemd,
    ) -> None:
        self.lock = lock
        self.listeners = listeners
        self.spool = Spool(settings.spool_root, sync=settings.sync_spool)
        self.generations = Generations(settings, self.spool, load)
        self._systemd = systemd
        self._ready, self._stopping = False, False
        self._upkeep = _upkeep(settings)
        self._leftovers: dict[str, list[Queued]] = {}  # of ended roles: the disk failed to give them back
        self._judged_s = self._judge_from_s = time.monotonic()
        self._retry_leftovers_at_s = time.monotonic() + RETRY_LEFT_S
        roles = [("planner", 0), ("sender", 0)]
        roles += [("worker", number) for number in range(settings.workers)]
        roles += [("receiver", number) for number in range(settings.receivers if listeners else 0)]
        roles += [(CONSOLE, 0)] if settings.console.enabled else []
        roles += [(WATCHER, 0)]  # started as soon as a generation asks for it
        heartbeats_fd = os.memfd_create("leyden-heartbeats", os.MFD_CLOEXEC)
        os.ftruncate(heartbeats_fd, len(roles) * ROW_BYTES)
        self._board = Board(roles)
        lifeline_fd, self._lifeline_end_fd = os.pipe2(os.O_CLOEXEC)  # the kernel closes this end with this process
        self.descriptors = {
            "lifeline": lifeline_fd,
            "heartbeats": heartbeats_fd,
            "board": self._board.fd,
            "arena": _arena(settings.arena_mib),
            **{name: listener.fileno() for name, listener in listeners.items()},
        }
        self.children = [
            _Child(role, number, row, Heartbeat(heartbeats_fd, row)) for row, (role, number) in enumerate(roles)
        ]

    @property
    def settings(self) -> Settings:
        """Those of the generation that is in force."""
        return self.generations.settings

    def recover_spool(self) -> None:
        """Make the spool's folders and finish what an earlier service left. OSError: the disk refuses."""
        known = tuple(destination.ae_title for destination in self.settings.destinations)
        self.spool.prepare(known)
        kept_rules = KeptRules(self.spool.root, self.spool.sync)
        renewed = kept_rules.renewing(self.settings.plan)
        recover.recover(self.spool, retry_rejected=self.settings.retry_rejected_at_start, known=known, renewed=renewed)
        try:
            kept_rules.remove_unnamed(lambda: listing.edits(str(self.spool.root)))
        except OSError as error:
            logger.warning("rules that nothing needs any more stay in state/rules/: %s", error)
        self._leftovers = {name: self.spool.claims(name) for name in names(f"{self.spool.root}/active")}

    def serve(self, signals_fd: int) -> None:
        """The loop, until SIGTERM or SIGINT."""
        wait_s = 0.0
        while True:
            for number in _arrived(signals_fd, wait_s):
                _HANDLERS[number](self)
            if self._stopping:
                return
            self._reap_ended()
            self._kill_stuck()
            self._start_due()
            self._give_back_leftovers()
            log.rotate(Path(self.settings.log_dir))
            self._upkeep.turn()
            if not self._ready and all(child.heartbeat.deadline_s() for child in self._needed()):
                self._ready = True
                self._announce()
            self._ping()
            wait_s = ROUND_S if self._ready else STARTING_ROUND_S

    def _needed(self) -> list[_Child]:
        """The roles without which no object makes its trip."""
        return [child for child in self.children if child.role not in (CONSOLE, WATCHER)]

    def handle_sigterm(self) -> None:
        self._stopping = True

    def handle_sighup(self) -> None:
        before = self.generations.settings
        if self._ready:
            self._systemd.tell_reloading()
        self.generations.reload()
        if self._ready:
            self._systemd.tell(READY=1, STATUS=self._status())
        settings = self.generations.settings
        if settings.log != before.log:
            log.adopt(settings.log)
        if settings.journal != before.journal:
            set_up(settings.spool_root, "leyden", settings.journal)
            self._upkeep = _upkeep(settings)

    def handle_sigchld(self) -> None:
        """It only wakes the loop: every round reaps, for a process may be started with this signal blocked."""

    def _reap_ended(self) -> None:
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                self._reap(child, child.process.returncode)

    def _reap(self, child: _Child, code: int) -> None:
        """Give back what an ended process had claimed, and decide when the next one starts."""
        child.process = None
        self._board.ended(child.row)
        if code == BEGINS_ANEW:
            logger.info("%s begins anew, as the new settings name a folder that it gave up", child.name)
            child.restart_at_s = 0.0
            return
        lived_s = time.monotonic() - child.started_s
        try:
            given_back = self._reclaim(child, crashed=child.role == "worker")  # only workers run native code over data
        except OSError as error:
            logger.error("the claims of %s can't be given back yet: %s", child.name, error)
            given_back = 0
        if lived_s >= SHORT_LIFE_S or (child.role == "worker" and given_back):
            child.delay_s = 0.0  # a worker's crashes are counted with the object, which bounds them
        else:
            child.postpone()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        stuck = ", as it was stuck" if child.killed_as_stuck else ""
        logger.error(
            "%s %s%s after %.1f s; %d claims given back; starts again in %.0f s",
            child.name, how, stuck, lived_s, given_back, child.delay_s,
        )  # fmt: skip

    def _reclaim(self, child: _Child, *, crashed: bool) -> int:
        receiver = child.number if child.role == "receiver" else None
        return recover.reclaim(self.spool, child.name, crashed=crashed, receiver=receiver)

    def _late(self, now_s: float) -> list[_Child]:
        """The roles that have been silent for longer than they may be; none after a time in which all stood still: a
        container that was paused, a virtual machine that was moved."""
        if now_s - self._judged_s > FROZEN_S:
            self._judge_from_s = now_s + THAWED_S
        self._judged_s = now_s
        return [child for child in self.children if child.is_late(now_s)] if now_s >= self._judge_from_s else []

    def _kill_stuck(self) -> None:
        for child in self._late(time.monotonic()):
            if child.process is not None and not child.killed_as_stuck:
                child.killed_as_stuck = True
                child.process.kill()

    def _start_due(self) -> None:
        for child in self.children:
            if child.process is not None or time.monotonic() < child.restart_at_s:
                continue
            if child.role == WATCHER and not self.settings.watched:
                continue
            try:
                # Again, for what failed when it ended: a planner must not plan beside a plan that is half carried out.
                self._reclaim(child, crashed=False)
                self._leftovers[child.name] = self.spool.claims(child.name)
                self._start(child)
            except OSError as error:
                child.postpone()
                logger.error("%s can't be started: %s; tried again in %.0f s", child.name, error, child.delay_s)

    def _start(self, child: _Child) -> None:
        given = {**self.descriptors, "settings": self.generations.fd(child.role)}
        descriptors = {name: given[name] for name in DESCRIPTORS[child.role] if name in given}
        child.heartbeat.clear()
        child.started_s, child.restart_at_s, child.killed_as_stuck = time.monotonic(), 0.0, False
        child.process = subprocess.Popen(
            [
                # -P: no module is taken from the current folder, which may be anybody's.
                *(sys.executable, "-P", "-m", "leyden", "role", child.role, str(child.number)),
                *("--row", str(child.row), "--descriptors", descriptors_as_text(descriptors)),
            ],
            stdin=subprocess.DEVNULL,
            pass_fds=(*descriptors.values(), self.lock.fd),
            close_fds=True,
        )
        self._board.started(child.row, child.process.pid)

    def _give_back_leftovers(self) -> None:
        """Try again to give back claims of ended roles. The role that runs now does not know of them."""
        if time.monotonic() >= self._retry_leftovers_at_s:
            self._retry_leftovers_at_s = time.monotonic() + RETRY_LEFT_S
            for name, claims in self._leftovers.items():
                if claims:
                    self._leftovers[name] = recover.give_back(self.spool, claims)

    def _announce(self) -> None:
        for destination in self.settings.destinations:
            logger.info("%s", describe(destination))
        if self.listeners:
            receiver = self.settings.receiver
            logger.info("%s", who_may_call(receiver.callers, receiver.acceptor.allowed_calling))
        title, workers = self.settings.my_ae_title, self.settings.workers
        logger.info("ready: %s, our title %s, %d workers", self._ports, title, workers)
        self._systemd.tell(READY=1, STATUS=self._status())

    @property
    def _ports(self) -> str:
        ports = {name: listener.getsockname()[1] for name, listener in self.listeners.items()}
        return f"port {ports.get('listen', 0)}" + (f", TLS port {ports['listen-tls']}" if "listen-tls" in ports else "")

    def _status(self) -> str:
        """One line for `systemctl status`."""
        generation = self.settings.generation
        return f"{self._ports}, {len(self.settings.destinations)} destinations, generation {generation} in force"

    def _ping(self) -> None:
        """Feed systemd's watchdog, unless a role hangs that even SIGKILL does not end: then the service is ended."""
        if self._ready and self._systemd.ping_due():
            late = [child.name for child in self._late(time.monotonic()) if child in self._needed()]
            if late:
                self._systemd.tell(STATUS=f"stuck: {', '.join(late)}")
            else:
                self._systemd.tell(WATCHDOG=1, STATUS=self._status())

    def drain(self) -> None:
        """Stop accepting, let every role finish what it is doing, kill those that take too long, free the lock."""
        logger.info("stopping: no new associations; what is being received is finished")
        self._systemd.tell(STOPPING=1, STATUS="stopping")
        for listener in self.listeners.values():
            listener.close()
        running = {child.name: child.process for child in self.children if child.process is not None}
        watchers = [process for name, process in running.items() if name.startswith(WATCHER)]
        others = [process for process in running.values() if process not in watchers]
        for process in others:
            process.terminate()
        _await_end(others, DRAIN_LIMIT_S)
        tell(_by_the_service("stop", self.settings), logged=False)
        for process in watchers:  # it sees how the others end
            process.terminate()
        _await_end(watchers, WATCHER_LIMIT_S)
        late = {name: process for name, process in running.items() if process.poll() is None}
        for process in late.values():
            process.kill()
        _await_end(late.values(), DEATH_LIMIT_S)
        for name, process in late.items():
            if process.poll() is None:
                logger.error("%s was killed and ends when the disk or share that it waits for answers", name)
        self.lock.take_back()


_HANDLERS: dict[int, Callable[[Supervisor], None]] = {
    signal.SIGTERM: Supervisor.handle_sigterm,
    signal.SIGINT: Supervisor.handle_sigterm,
    signal.SIGHUP: Supervisor.handle_sighup,
    signal.SIGCHLD: Supervisor.handle_sigchld,
}


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """A pipe on which each signal is one byte, its number; yields the end to read. Nothing happens in a handler."""
    read_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    for number in _HANDLERS:
        signal.signal(number, lambda _number, _frame: None)
    try:
        yield read_fd
    finally:
        signal.set_wakeup_fd(-1)
        os.close(read_fd)
        os.close(write_fd)


def _arrived(signals_fd: int, wait_s: float) -> list[int]:
    """The signals that have come, each once. Waits for the first one, but at most `wait_s`."""
    select.select([signals_fd], [], [], wait_s)
    with contextlib.suppress(BlockingIOError):
        return sorted(set(os.read(signals_fd, 65536)))
    return []


def _by_the_service(did: str, settings: Settings) -> Operated:
    """For the audit log: the service starts or stops, with which version and which settings."""
    detail = f"Leyden {__version__}, configuration {settings.fingerprint}"
    return Operated("", who=who(), through="service", did=did, detail=detail)


def _upkeep(settings: Settings) -> Upkeep:
    """What keeps the journal of these settings."""
    return Upkeep(settings.spool_root, settings.journal.mib << 20, settings.journal.log_days)


def _listeners(settings: Settings) -> dict[str, socket.socket]:
    """The listening sockets, by the names of their descriptors. OSError: a port cannot be opened; the text says why."""
    listeners = {}
    if settings.scp_port:
        listeners["listen"] = _bind(settings.scp_port, "scpPort")
    if settings.tls.port:
        listeners["listen-tls"] = _bind(settings.tls.port, "tls.port")
    if not listeners:
        logger.warning("scpPort is 0: nothing is received")
    return listeners


def _bind(port: int, key: str) -> socket.socket:
    """A socket that listens on all addresses, IPv4 and IPv6 where the system has it."""
    try:
        if socket.has_dualstack_ipv6():
            with contextlib.suppress(OSError):
                return socket.create_server(
                    ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=LISTEN_BACKLOG
                )
        return socket.create_server(("", port), backlog=LISTEN_BACKLOG)
    except OSError as error:
        remedy = (
            f"choose another {key}, or stop the program that listens there"
            if port > 1023
            else "another program listens there, or this user may not open ports below 1024"
        )
        raise OSError(f"port {port} ({key}) cannot be opened: {error.strerror}; {remedy}") from error


def _arena(size_mib: int) -> int:
    """A descriptor of the memory that the workers share. OSError: the machine has not so much to spare."""
    fd = os.memfd_create("leyden-arena", os.MFD_CLOEXEC)
    try:
        if size_mib << 20 > _memory_bytes():
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))  # the kernel would kill a process later
        os.posix_fallocate(fd, 0, size_mib << 20)  # allocated now, not by the first image
    except OSError as error:
        raise OSError(f"no memory for the arena of {size_mib} MiB ({error.strerror}); lower arenaMib") from error
    return fd


def _memory_bytes() -> float:
    """What this machine has to spare, or the limit of this control group if that is less."""
    with open("/proc/meminfo", encoding="ascii") as file:
        spare = next((int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable:")), math.inf)
    with contextlib.suppress(OSError, ValueError):  # there are no control groups, or no limit ("max")
        return min(spare, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return spare


def describe(destination: Destination) -> str:
    """One line for an administrator: what a destination is called, where it is and what it gets."""
    aliases = f" (also {', '.join(destination.aliases)})" if destination.aliases else ""
    syntax = syntax_name(destination.syntax) if destination.syntax else "as received"
    caller = "the modality's title" if destination.impersonate else "our title"
    address = f"{destination.host}:{destination.port}" + (" over TLS" if destination.tls is not None else "")
    return f"destination {destination.ae_title}{aliases} -> {address}, {syntax}, calling with {caller}"


def _await_end(processes: Iterable[subprocess.Popen[bytes]], limit_s: float) -> None:
    deadline_s = time.monotonic() + limit_s
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline_s - time.monotonic()))
