"""Processor time of a service, by role, from /proc: from outside, and without touching it."""

import os
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def by_role(service: int) -> dict[str, float]:
    """Seconds that the processes of a service have spent, by role ("receiver", all of them together).

    `service`: the process id of the supervisor, which counts as "supervisor". Roles that have ended are not in it.
    """
    found: dict[str, float] = {}
    with suppress(FileNotFoundError, ProcessLookupError):
        children = (_PROC / f"{service}/task/{service}/children").read_text().split()
        for process in (service, *map(int, children)):
            with suppress(FileNotFoundError, ProcessLookupError):
                role = role_of(process) or ("supervisor" if process == service else "")
                found[role] = found.get(role, 0.0) + spent_s(process)
    return {role: seconds for role, seconds in found.items() if role}


def role_of(process: int) -> str:
    """What stands behind `role` in its command line; "" = it is no role."""
    words = (_PROC / f"{process}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    return words[words.index("role") + 1] if "role" in words[:-1] else ""


def spent_s(process: int) -> float:
    """Processor time of a process and all its threads, in seconds. FileNotFoundError: there is none.

    The scheduler counts the threads that live to the nanosecond, and the kernel the ended ones, too, but in ticks of
    10 ms. So the first figure counts as long as no thread has ended.
    """
    fields = (_PROC / f"{process}/stat").read_text().rpartition(")")[2].split()
    whole_s = (int(fields[11]) + int(fields[12])) / _TICKS
    exact_s = 0.0
    for thread in os.listdir(_PROC / f"{process}/task"):
        with suppress(FileNotFoundError, ProcessLookupError):
            exact_s += int((_PROC / f"{process}/task/{thread}/schedstat").read_text().split()[0]) / 1e9
    return exact_s if whole_s - exact_s < 2 / _TICKS else whole_s
