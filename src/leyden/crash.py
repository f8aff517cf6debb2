"""Named points at which a process kills itself when a test asks for it, to prove that nothing is lost.

LEYDEN_CRASH_AT=[role/]point[:n[:file]] makes the process that passes the point for the n-th time (the first time, if
there is no n) send itself SIGKILL; several points are separated by commas. The file, if there is one, is made at that
moment, and a process that starts while it exists ignores that point: so the role that is restarted lives on. @FILE
instead of all this means what FILE holds when a point is passed. Without the variable a point is a call of an empty
function (30 ns). Deliberately absent: any other way to end, any effect on a process that did not call arm().
"""

import itertools
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator

ENVIRONMENT = "LEYDEN_CRASH_AT"

# In the order in which an object passes them: each point, and the roles that pass it. tests/chaos kills each of these
# roles at its points, and fails at a point that no role passes any more.
POINTS: dict[str, tuple[str, ...]] = {
    "embryo-written": ("receiver",),
    "embryo-synced": ("receiver",),
    "embryo-renamed": ("receiver",),
    "new-synced": ("receiver",),
    "answered": ("receiver",),  # Success is in the kernel's hands
    "rules-kept": ("planner",),  # those that change copies, before the first entry names them
    "planned-one": ("planner",),  # one delivery: its rename
    "plan-written": ("planner",),  # several: the plan file and its name are durable
    "one-placed": ("planner", "supervisor"),  # the first of them, and each one after it
    "last-placed": ("planner", "supervisor"),  # nothing is in new/ any more
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

# The same for a reload.
RELOAD_POINTS: dict[str, tuple[str, ...]] = {
    "folders-made": ("supervisor",),  # those of new destinations
    "published": ("supervisor",),  # the roles may adopt the new generation
    "adopted": ("planner", "sender", "worker", "receiver"),
    "reload-told": ("supervisor",),  # to those who asked for it
}

# The same for `leyden queue`, a process of its own: tests/crash/test_queue_crash.py.
QUEUE_POINTS: dict[str, tuple[str, ...]] = {
    "note-written": ("queue",),  # the reason stands in rejected/, the object not yet
    "put-away": ("queue",),  # both do, and nothing is told
    "brought-back": ("queue",),  # the object is in the queue again, its note still there
    "released": ("queue",),
    "copy-renamed": ("queue",),
    "deleted": ("queue",),
}

# The same for the audit log: tests/crash/test_audit_crash.py.
AUDIT_POINTS: dict[str, tuple[str, ...]] = {
    "audit-written": ("watcher",),
    "audit-synced": ("watcher",),
    "audit-noted": ("watcher",),
    "audit-rotated": ("watcher",),
    "audit-archived": ("watcher",),  # and not removed yet from where it was
}

_FILE_BYTES = 4096  # of FILE, at most


def _pass(name: str) -> None:
    """Do nothing: what a point is while no crash is asked for."""


point: Callable[[str], None] = _pass  # to be called as crash.point, since arm() replaces it
soon: Callable[[str], None] = _pass  # the same, after the event loop has handed to the kernel what was written before


def arm(role: str) -> None:
    """Apply what LEYDEN_CRASH_AT says about this role. ValueError: an unknown point, or not a number."""
    global point, soon
    words = os.environ.get(ENVIRONMENT, "")
    # Opened once: a point must not fail where the process may open nothing more.
    in_file = os.open(words[1:], os.O_RDONLY | os.O_CLOEXEC) if words.startswith("@") else -1
    due = _due(words, role) if in_file < 0 else {}
    if not due and in_file < 0:
        return
    passes: dict[tuple[str, int, str], Iterator[int]] = defaultdict(lambda: itertools.count(1))

    def asked() -> dict[str, tuple[int, str]]:
        return due if in_file < 0 else _due(os.pread(in_file, _FILE_BYTES, 0).decode(), role)

    def die(name: str) -> None:
        due_now = asked()
        if name in due_now and next(passes[name, *due_now[name]]) == due_now[name][0]:  # several threads may pass
            if mark := due_now[name][1]:
                os.close(os.open(mark, os.O_WRONLY | os.O_CREAT, 0o600))
            os.kill(os.getpid(), signal.SIGKILL)

    def die_soon(name: str) -> None:
        if name in asked():
            import asyncio

            asyncio.get_running_loop().call_soon(die, name)

    point, soon = die, die_soon


def places() -> tuple[str, ...]:
    """The folders in which this process, if a crash is asked for, reads what it is to do and makes its marks."""
    words = os.environ.get(ENVIRONMENT, "")
    files = [words[1:]] if words.startswith("@") else [asked.split(":", 2)[-1] for asked in words.split(",")]
    return tuple(os.path.dirname(file) for file in files if os.path.isabs(file))


def _due(words: str, role: str) -> dict[str, tuple[int, str]]:
    """Point -> at which pass of it the role is to die, and the mark that it then makes."""
    due = {}
    for asked in filter(None, words.split(",")):
        where, _, rest = asked.partition(":")
        times, _, mark = rest.partition(":")
        wanted_role, _, wanted = where.rpartition("/")
        if wanted not in (known := POINTS | RELOAD_POINTS | QUEUE_POINTS | AUDIT_POINTS):
            raise ValueError(f"{ENVIRONMENT}: there is no point {wanted!r}; there are {', '.join(known)}")
        if wanted_role in ("", role) and not (mark and os.path.exists(mark)):
            due[wanted] = int(times or 1), mark
    return due
