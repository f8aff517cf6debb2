"""The service on a spool, seen from outside: whether it runs, by which settings, what waits where; reload and stop."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from leyden.operate import reading
from leyden.operate.reading import Reading
from leyden.spool.doorbell import Bell
from leyden.spool.listing import Count
from leyden.spool.lock import holder
from leyden.spool.store import Spool

_POLL_S = 0.1
_LOOK_S = 1.0  # without the bell, which another one who waits may have heard first


@dataclass(frozen=True, slots=True)
class Status:
    """What stands in the spool, in the order of an object's trip; without a service, `pid` and `reading` are None."""

    pid: int | None
    counts: tuple[Count, ...]
    reading: Reading | None = None


def status(root: Path) -> Status:
    """Count what stands in the spool under `root`, with or without a service. Raises OSError."""
    pid = holder(root)
    return Status(pid, tuple(Spool(root).counts()), _said_by(root, pid))


def _said_by(root: Path, pid: int | None) -> Reading | None:
    """What this service says of its configuration, and not an earlier one."""
    said = reading.read(root)
    return said if said is not None and said.pid == pid else None


@dataclass(frozen=True, slots=True)
class Reloading:
    """Which service was asked to reload (None: none runs), and what came of it (None: it has not said so in time)."""

    pid: int | None
    reading: Reading | None = None


def reload(root: Path, within_s: float) -> Reloading:
    """Have the service on the spool under `root` read its files again, and wait for the result of just that reading.

    Raises OSError.
    """
    pid = holder(root)
    if pid is None:
        return Reloading(None)
    bell = Bell(root, "reload")
    try:
        asked_ns = time.monotonic_ns()  # a reading that began earlier may have missed what was changed since
        deadline_s = time.monotonic() + within_s
        os.kill(pid, signal.SIGHUP)
        while (left_s := deadline_s - time.monotonic()) > 0 and holder(root) == pid:
            said = _said_by(root, pid)
            if said is not None and said.begun_ns >= asked_ns:
                return Reloading(pid, said)
            bell.wait(min(_LOOK_S, left_s))
        return Reloading(pid)
    finally:
        bell.close()


@dataclass(frozen=True, slots=True)
class Stopped:
    """Which process was asked to end (None: no service runs), and whether it did in time."""

    pid: int | None
    ended: bool


def stop(root: Path, within_s: float) -> Stopped:
    """Ask the service on the spool under `root` to stop, and wait until it has. Raises OSError."""
    pid = holder(root)
    if pid is None:
        return Stopped(None, False)
    os.kill(pid, signal.SIGTERM)
    deadline_s = time.monotonic() + within_s
    while holder(root) is not None:
        if time.monotonic() > deadline_s:
            return Stopped(pid, False)
        time.sleep(_POLL_S)
    return Stopped(pid, True)
