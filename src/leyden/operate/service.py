"""The service on a spool, seen from outside: whether it runs, what waits where, and how to stop it."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from leyden.spool.listing import Count
from leyden.spool.lock import holder
from leyden.spool.store import Spool

_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Status:
    """What stands in the spool, in the order of an object's trip; `pid` is None while no service runs on it."""

    pid: int | None
    counts: tuple[Count, ...]


def status(root: Path) -> Status:
    """Count what stands in the spool under `root`, with or without a service. Raises OSError."""
    return Status(holder(root), tuple(Spool(root).counts()))


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
