"""The service on a spool, seen from outside: whether it runs, by which settings, what waits where and why; reload and
stop.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from leyden import shares
from leyden.board import Cell
from leyden.form import ladder
from leyden.net.certificates import ending
from leyden.operate import outboxes, reading, waiting
from leyden.operate.nodes import Asked, tell_operated
from leyden.operate.outboxes import Outbox
from leyden.operate.rates import Flow, Rates, rates
from leyden.operate.reading import Reading
from leyden.operate.vital import vital
from leyden.shares import Share
from leyden.spool import control
from leyden.spool.control import Control, Controls, Flags
from leyden.spool.doorbell import Bell
from leyden.spool.entry import folder, parse
from leyden.spool.listing import Count, names
from leyden.spool.lock import holder
from leyden.spool.stage import Stage
from leyden.spool.store import Spool

_POLL_S = 0.1
_LOOK_S = 1.0  # without the bell, which another one who waits may have heard first
_UNSEEN = Outbox()


class Role(msgspec.Struct, frozen=True):
    """A process of the service; `pid` 0: it does not run just now. `restarts` since the start of the service."""

    name: str
    pid: int
    since_s: float
    restarts: int


class Disk(msgspec.Struct, frozen=True):
    """That of the spool; `free_bytes` is what the service's user may have of it."""

    free_bytes: int
    total_bytes: int


class Seen(msgspec.Struct, frozen=True):
    """Which transfer syntaxes (UIDs) a destination accepted and refused for one SOP class within the last day."""

    sop_class: str
    accepted: tuple[str, ...]
    refused: tuple[str, ...]


class Node(msgspec.Struct, frozen=True):
    """One destination. `served`: it is a node of the running service; without a service nothing is said against it.

    `waiting` counts what stands in prepared/, transform/ and asking/, `under_way` what a process works on.
    `oldest_s`: when the oldest of these and of `deferred` was received. `why`: why nothing is sent to it just now, in
    words; "" = it is served, or nothing is known against it. `live`: what the sender says (operate/outboxes.py).
    `next_due_s`: when the first of the deferred may be sent again; 0 = nothing is deferred.
    """

    title: str
    served: bool
    waiting: int = 0
    under_way: int = 0
    deferred: int = 0
    rejected: int = 0
    failed: int = 0
    expired: int = 0
    oldest_s: float | None = None
    control: Control = msgspec.field(default_factory=Control)
    why: str = ""
    live: Outbox = _UNSEEN
    next_due_s: float = 0.0
    delivered: Flow = msgspec.field(default_factory=Flow)
    seen: tuple[Seen, ...] = ()


class Status(msgspec.Struct, frozen=True):
    """Everything at one moment, `at_s` (seconds since 1970, as all times here).

    `counts`: what stands in the spool, in the order of an object's trip. Without a service `pid` and `reading` are
    None; `roles` and the associations are None if we may not look into it. `flags`: what is paused for all nodes.
    `disk`: None if there is no spool yet. `rates`: of the last minute, by the journal. `problems`: what in control/
    can't be read, and certificates that end. `shares`: the callers, and then the
    destinations, whose share of the disk has a limit.
    """

    at_s: float
    pid: int | None
    counts: tuple[Count, ...]
    reading: Reading | None
    nodes: tuple[Node, ...]
    roles: tuple[Role, ...] | None
    inbound: int | None
    outbound: int | None
    flags: Flags
    rates: Rates
    disk: Disk | None
    problems: tuple[str, ...] = ()
    shares: tuple[Share, ...] = ()


def _nothing_seen(_destination: str) -> ladder.Knowledge:
    return {}


def status(root: Path, nodes: Iterable[str] = (), seen: Callable[[str], ladder.Knowledge] = _nothing_seen) -> Status:
    """How the service on the spool under `root` does, with or without a running one. Raises OSError.

    About 0.5 us an object in the spool, and 1 us an event of the last minute. `nodes`: further titles that are to be
    listed; those of the running service, and those for which anything stands in the spool or is ordered, always are.
    `seen` knows what a destination was seen to accept.
    """
    now_s = time.time()
    pid = holder(root)
    counts = tuple(Spool(root).counts())
    said = _said_by(root, pid)
    live = outboxes.read(root, pid) if pid is not None else {}
    controls = Controls(root)
    flags = control.flags_at(controls.flags(), now_s)
    found = rates(root, now_s)
    by_title: dict[str, dict[Stage, Count]] = {}
    for title in (*(said.nodes if said else ()), *nodes, *controls.titles()):
        by_title.setdefault(title, {})
    for count in counts:
        if count.destination:
            by_title.setdefault(count.destination, {})[count.stage] = count
    listed = []
    for title, stages in by_title.items():
        ordered = controls.of(title).at(now_s)
        outbox = live.get(title, _UNSEEN)
        listed.append(
            Node(
                title,
                said is None or title in said.nodes,
                *_numbers(stages),
                ordered,
                waiting.why_not_sent(ordered, flags, outbox, running=pid is not None, now_s=now_s),
                outbox,
                _next_due_s(root, title) if Stage.DEFERRED in stages else 0.0,
                found.by_destination.get(title) or Flow(),
                _seen(seen(title), now_s),
            )
        )
    alive = vital(root)
    return Status(
        now_s,
        pid,
        counts,
        said,
        tuple(listed),
        tuple(Role(row.name, row[Cell.PID], row.since_s, row[Cell.RESTARTS]) for row in alive.rows) if alive else None,
        alive[Cell.ASSOCIATIONS] if alive else None,
        alive[Cell.OUTBOUND] if alive else None,
        flags,
        found,
        _disk(root),
        controls.errors() + (_ending(said, now_s) if said else ()),
        _shares(root, pid),
    )


def _ending(said: Reading, now_s: float) -> tuple[str, ...]:
    """The certificates and revocation lists that end soon, or have ended, as far as this user can read them."""
    found = [ending(of, path, said.certificate_ends_s) for of, path in said.certificates.items()]
    return tuple(
        f"{each.what} {'ends' if each.ends_s > now_s else 'has ended'} at {waiting.moment(each.ends_s)}"
        for each in found
        if each.ends_s and each.told_s <= now_s
    )


def _shares(root: Path, pid: int | None) -> tuple[Share, ...]:
    walk = shares.read(root)
    if walk is None or pid is None or not walk.valid(pid, time.monotonic()):
        return ()
    return tuple(share for share in (*walk.callers, *walk.destinations) if share.share_bytes)


def _disk(root: Path) -> Disk | None:
    try:
        space = os.statvfs(root)
    except FileNotFoundError:
        return None
    return Disk(space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize)


def _next_due_s(root: Path, title: str) -> float:
    """When the first of what is deferred may be sent again; 0 = nothing is."""
    place = f"{root}/{Stage.DEFERRED}/{folder(title)}"
    first = (f"{place}/{rank}/{bucket}" for rank in names(place) for bucket in names(f"{place}/{rank}")[:1])
    entries = (parse(name) for each in first for name in names(each))
    return float(min((entry.due_s for entry in entries if entry is not None), default=0))


def _numbers(stages: Mapping[Stage, Count]) -> tuple[int, int, int, int, int, int, float | None]:
    """Waiting, under way, deferred, rejected, failed, expired; and when the oldest of the first three was received."""

    def files(*of: Stage) -> int:
        return sum(stages[stage].files for stage in of if stage in stages)

    to_go = (Stage.PREPARED, Stage.TRANSFORM, Stage.ASKING, Stage.ACTIVE, Stage.DEFERRED)
    ages = [age for stage in to_go if stage in stages and (age := stages[stage].oldest_received_s) is not None]
    return (
        files(*to_go[:3]),
        files(Stage.ACTIVE),
        files(Stage.DEFERRED),
        files(Stage.REJECTED),
        files(Stage.FAILED),
        files(Stage.EXPIRED),
        min(ages, default=None),
    )


def _seen(knowledge: ladder.Knowledge, now_s: float) -> tuple[Seen, ...]:
    known = ((sop_class, ladder.fresh(knowledge, sop_class, now_s)) for sop_class in knowledge)
    return tuple(Seen(sop_class, each.accepted, each.refused) for sop_class, each in known if each is not None)


def _said_by(root: Path, pid: int | None) -> Reading | None:
    """What this service says of its configuration, and not an earlier one."""
    said = reading.read(root)
    return said if said is not None and said.pid == pid else None


class Reloading(msgspec.Struct, frozen=True):
    """Which service was asked to reload (None: none runs), and what came of it (None: it has not said so in time)."""

    pid: int | None
    reading: Reading | None = None


def reload(root: Path, within_s: float, asked: Asked | None = None) -> Reloading:
    """Have the service on the spool under `root` read its files again, and wait for the result of just that reading.

    `asked`: by whom, for the journal. Raises OSError.
    """
    pid = holder(root)
    if pid is None:
        return Reloading(None)
    bell = Bell(root, "reload")
    try:
        asked_ns = time.monotonic_ns()  # a reading that began earlier may have missed what was changed since
        deadline_s = time.monotonic() + within_s
        os.kill(pid, signal.SIGHUP)
        if asked is not None:
            tell_operated(asked, "reload")
        while (left_s := deadline_s - time.monotonic()) > 0 and holder(root) == pid:
            said = _said_by(root, pid)
            if said is not None and said.begun_ns >= asked_ns:
                return Reloading(pid, said)
            bell.wait(min(_LOOK_S, left_s))
        return Reloading(pid)
    finally:
        bell.close()


class Stopped(msgspec.Struct, frozen=True):
    """Which process was asked to end (None: no service runs), and whether it did in time."""

    pid: int | None
    ended: bool


def stop(root: Path, within_s: float, asked: Asked | None = None) -> Stopped:
    """Ask the service on the spool under `root` to stop, and wait until it has. `asked`: by whom. Raises OSError."""
    pid = holder(root)
    if pid is None:
        return Stopped(None, False)
    os.kill(pid, signal.SIGTERM)
    if asked is not None:
        tell_operated(asked, "stop")
    deadline_s = time.monotonic() + within_s
    while holder(root) is not None:
        if time.monotonic() > deadline_s:
            return Stopped(pid, False)
        time.sleep(_POLL_S)
    return Stopped(pid, True)
