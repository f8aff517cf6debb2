"""Named points of the trip at which a process kills itself when it is told to: for the proof that nothing is lost.

LEYDEN_CRASH_AT=[role/]point[:n[:file]] makes the process that passes the point for the n-th time (first, if no n is
given) send itself SIGKILL; several are separated by commas. With a file, it is created at that moment, and nobody that
starts once it is there dies of that point: the role that is started again lives on. Unset, a point is a call of an
empty function (30 ns). Deliberately absent: any other way to end, any effect on a process that did not call arm().
"""

import itertools
import os
import signal
from collections.abc import Callable

ENVIRONMENT = "LEYDEN_CRASH_AT"

# Each point in the order of the trip, and the roles that pass it. tests/crash kills each of them there, so that a point
# that nobody passes any more is seen.
POINTS: dict[str, tuple[str, ...]] = {
    "embryo-written": ("receiver",),
    "embryo-synced": ("receiver",),
    "embryo-renamed": ("receiver",),
    "new-synced": ("receiver",),
    "answered": ("receiver",),  # Success is in the kernel's hands
    "planned-one": ("planner",),  # one delivery: its rename
    "plan-written": ("planner",),  # several: the plan file and its name are durable
    "one-link": ("planner", "supervisor"),  # the first of them, and each one after it
    "last-link": ("planner", "supervisor"),
    "newcomer-unlinked": ("planner", "supervisor"),
    "claimed": ("worker", "sender"),
    "encoded": ("worker",),
    "made-synced": ("worker",),
    "made-linked": ("worker",),
    "prepared-synced": ("worker",),
    "claim-unlinked": ("worker",),
    "sent": ("sender",),  # the last byte is in the transport's hands
    "peer-answered": ("sender",),
    "receipt-written": ("sender",),
    "receipt-synced": ("sender",),
    "delivered-unlinked": ("sender",),
}


def _pass(name: str) -> None:
    """Nothing: what a point is unless the process was told to die at one."""


point: Callable[[str], None] = _pass  # call it as crash.point: arm() replaces it
soon: Callable[[str], None] = _pass  # the same, once the event loop has given the kernel what was written before


def arm(role: str) -> None:
    """Take LEYDEN_CRASH_AT for this process, as far as it is meant. ValueError: it names no point or no number."""
    global point, soon
    due: dict[str, tuple[int, str]] = {}
    for asked in filter(None, os.environ.get(ENVIRONMENT, "").split(",")):
        where, _, rest = asked.partition(":")
        times, _, mark = rest.partition(":")
        wanted_role, _, wanted = where.rpartition("/")
        if wanted not in POINTS:
            raise ValueError(f"{ENVIRONMENT}: there is no point {wanted!r}; there are {', '.join(POINTS)}")
        if wanted_role in ("", role) and not (mark and os.path.exists(mark)):
            due[wanted] = int(times or 1), mark
    if not due:
        return
    passes = {name: itertools.count(1) for name in due}  # several threads may pass

    def die(name: str) -> None:
        if name in due and next(passes[name]) == due[name][0]:
            if mark := due[name][1]:
                os.close(os.open(mark, os.O_WRONLY | os.O_CREAT, 0o600))
            os.kill(os.getpid(), signal.SIGKILL)

    def die_soon(name: str) -> None:
        if name in due:
            import asyncio

            asyncio.get_running_loop().call_soon(die, name)

    point, soon = die, die_soon
