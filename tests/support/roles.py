"""The roles of a running service, seen from outside: their processes, memory and descriptors.

Memory is RssAnon of /proc: what the process itself has written to. Pages of files (the page cache, the interpreter) and
shared pages (the arena) are not counted, because the role cannot give them back.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass

import psutil

from support.service import Service


@dataclass(frozen=True, slots=True)
class Held:
    """What one role held at a time of CLOCK_MONOTONIC."""

    at_s: float
    own_bytes: int
    descriptors: int


def processes(service: Service) -> dict[str, psutil.Process]:
    """By role ("receiver-0", "supervisor"); a role that is just being restarted is left out."""
    found = {}
    for process in service.processes():
        with suppress(psutil.NoSuchProcess):
            words = process.cmdline()
            if "role" in words:
                role, number = words[words.index("role") + 1 :][:2]
                found[f"{role}-{number}"] = process
            elif "run" in words:
                found["supervisor"] = process
    return found


def look(service: Service) -> dict[str, Held]:
    """What each one holds now."""
    found = {}
    for role, process in processes(service).items():
        with suppress(OSError, StopIteration):  # it has just ended
            found[role] = Held(time.monotonic(), _own_bytes(process.pid), len(os.listdir(f"/proc/{process.pid}/fd")))
    return found


def _own_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/status") as rows:
        return next(int(row.split()[1]) * 1024 for row in rows if row.startswith("RssAnon"))
