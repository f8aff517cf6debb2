"""Rows: what happens to the processes of the service."""

import random
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

from chaos.objects import COMPRESSED, ROUTINGS
from chaos.oracle import Limits
from chaos.rig import Rig
from chaos.row import Row
from leyden import crash
from support import codec_faults
from support.service import make_late, wait_for

PASSES = (1, 2, 5)  # at which of its passes a point may be the end; of those that are passed once for many objects:
ONCE = ("new-synced", "rules-kept", "plan-written", "one-placed", "receipt-written", "receipt-synced")
WORKER_BYTES = 120 << 20  # of address space: too little for one


@contextmanager
def killed(role: str, rig: Rig, chance: random.Random) -> Iterator[None]:
    if rig.kill(role):
        rig.wait_killed(role)
    yield


@contextmanager
def supervisor_killed(rig: Rig, chance: random.Random) -> Iterator[None]:
    if rig.kill("supervisor"):
        rig.wait_dead()
    yield
    rig.restart()


@contextmanager
def all_killed(rig: Rig, chance: random.Random) -> Iterator[None]:
    rig.kill_all()
    yield
    rig.restart()


@contextmanager
def anybody_killed(rig: Rig, chance: random.Random) -> Iterator[None]:
    for _ in range(chance.randint(2, 4)):
        victim = chance.choice([*sorted(rig.processes()), *rig.destinations])
        if victim in rig.destinations:
            rig.destinations[victim].die()
        elif rig.kill(victim) and victim == "supervisor":
            rig.wait_dead()
            rig.restart()
        time.sleep(chance.random() * 0.3)
    yield
    for destination in rig.destinations.values():
        destination.start()


@contextmanager
def dies_at(role: str, point: str, rig: Rig, chance: random.Random) -> Iterator[None]:
    """It comes back; or everything is killed in that moment."""
    mark = rig.orders / "died"
    number = 1 if point in ONCE else chance.choice(PASSES)
    rig.crash_at.write_text(f"{role}/{point}:{number}:{mark}")
    if point == "rules-kept":  # once in the life of a planner
        rig.kill("planner-0")
    wait_for(mark.exists, 60, f"the {role} to pass {point}")
    if chance.random() < 0.25:
        rig.kill_all()
    else:
        rig.wait_killed(f"{role}-0")
    yield
    rig.crash_at.write_text("")
    mark.unlink()
    rig.restart()


@contextmanager
def supervisor_dies_recovering(point: str, rig: Rig, chance: random.Random) -> Iterator[None]:
    """A planner leaves a plan; the supervisor dies as it finishes it, and again as it recovers at the next start."""
    marks = [rig.orders / name for name in ("died-planner", "died-finishing", "died-recovering")]
    rig.kill_all()
    for asked, mark in (
        (f"planner/plan-written:1:{marks[0]},supervisor/one-placed:1:{marks[1]}", marks[1]),
        (f"supervisor/{point}:1:{marks[2]}", marks[2]),
    ):
        rig.crash_at.write_text(asked)
        with suppress(AssertionError):  # it may die before it says that it is ready
            rig.restart()
        wait_for(mark.exists, 60, f"the supervisor to pass {mark.name}")
        rig.wait_dead()
    yield
    rig.crash_at.write_text("")
    for mark in marks:
        mark.unlink(missing_ok=True)  # the supervisor may have found a plan at its start, before a planner left one
    rig.restart()


@contextmanager
def dies_in_reload(role: str, point: str, rig: Rig, chance: random.Random) -> Iterator[None]:
    """The reload adds a node and turns the order of the rules round, which changes no delivery."""
    mark, title = rig.orders / "died", f"NEW{chance.randrange(10**6)}"
    rig.crash_at.write_text(f"{role}/{point}:1:{mark}")
    (rig.service.folder / "nodes.yml").write_text(f"{rig.nodes}- AeTitle: {title}\n  Port: 1\n")
    first = f"- AeTitles: {title}\n  Actions:\n    - Target: {title}\n"
    (rig.service.folder / "routings.yml").write_text(first + ROUTINGS)
    rig.signal(signal.SIGHUP)
    wait_for(mark.exists, 60, f"the {role} to pass {point}")
    if role == "supervisor":
        rig.wait_dead()
    else:
        rig.wait_killed(f"{role}-0")
    yield
    rig.crash_at.write_text("")
    mark.unlink()
    rig.restart()


@contextmanager
def no_room_for_a_worker(rig: Rig, chance: random.Random) -> Iterator[None]:
    """The supervisor, and so each worker that it starts, may have no more address space than that."""
    assert rig.service.process is not None
    limits = (WORKER_BYTES, resource.RLIM_INFINITY)
    before = resource.prlimit(rig.service.process.pid, resource.RLIMIT_AS, limits)
    rig.kill("worker-0")
    rig.service.wait_line("worker-0 ended with exit code", 60)
    yield
    resource.prlimit(rig.service.process.pid, resource.RLIMIT_AS, before)


@contextmanager
def hung(role: str, rig: Rig, chance: random.Random) -> Iterator[None]:
    """It is stopped, and what it has promised to the supervisor is over (support/service.py)."""
    process = rig.processes().get(role)
    if process is not None:
        process.send_signal(signal.SIGSTOP)
        make_late(process)
        rig.wait_killed(role)
    yield


@contextmanager
def codec_dies(what: str, rig: Rig, chance: random.Random) -> Iterator[None]:
    """One of the objects that have not been sent yet is the end of each worker that compresses it."""
    with rig.codec.during(what, b"QZ000003%07d" % rig.coming(COMPRESSED)):
        for _ in range(2):
            rig.service.wait_line("MemoryError" if what == codec_faults.NO_MEMORY else "worker-0 killed by")
        yield


_LIMITS = {"sender": Limits(doubts=1)}
_ROLES = ("receiver", "planner", "worker", "sender", "console", "watcher")
ROWS = (
    *(
        Row(
            f"{role} killed",
            f"the {role} dies",
            "SIGKILL at a random moment",
            partial(killed, f"{role}-0"),
            limits=_LIMITS.get(role, Limits()),
            rounds=200,
        )
        for role in _ROLES
    ),
    Row("supervisor killed", "the supervisor dies", "SIGKILL at a random moment, then a start", supervisor_killed,
        limits=Limits(doubts=1), rounds=200),
    Row("all killed", "every process dies at once", "SIGKILL for all at a random moment, then a start", all_killed,
        limits=Limits(doubts=1), rounds=1000),
    Row("anybody killed", "two to four of them, or of the destinations, die one after the other",
        "SIGKILL for random ones at random moments", anybody_killed, limits=Limits(doubts=4, as_it_came=2), rounds=200),
    *(
        Row(
            f"{role} hangs",
            f"the {role} hangs",
            "SIGSTOP, and its heartbeat is over",
            partial(hung, f"{role}-0"),
            limits=replace(_LIMITS.get(role, Limits()), exits=True),
        )
        for role in _ROLES
    ),
    *(
        Row(
            f"codec: {what}",
            f"an object that kills the codec: {words}",
            "the encoder of the worker does that to one object",
            partial(codec_dies, what),
            "it is tried twice and goes on as it came; all others are compressed",
            limits=Limits(as_it_came=1, exits=what == codec_faults.SEGFAULT),
            mixes=False,
        )
        for what, words in {
            codec_faults.SEGFAULT: "a segmentation fault",
            codec_faults.KILLED: "the kernel's answer to too much memory (SIGKILL)",
            codec_faults.NO_MEMORY: "no memory left",
        }.items()
    ),
    Row(
        "no room for a worker",
        "there is no memory for a worker that starts",
        "a small RLIMIT_AS of the supervisor, and the worker killed",
        no_room_for_a_worker,
        "nothing is compressed meanwhile, and nothing goes uncompressed",
        limits=Limits(exits=True),
        mixes=False,
    ),
)  # fmt: skip
STEPS = (
    *(
        Row(
            f"{role} dies at {point}",
            f"the {role} dies at the step `{point}`",
            "SIGKILL there; every fourth time all processes die with it",
            partial(dies_at, role, point),
            limits=Limits(doubts=2),
            mixes=False,
        )
        for point, roles in crash.POINTS.items()
        for role in roles
        if role != "supervisor"
    ),
    *(
        Row(
            f"supervisor dies at {point}",
            f"the supervisor dies at the step `{point}` of a recovery",
            "SIGKILL there, after one as it finished the plan of a dead planner",
            partial(supervisor_dies_recovering, point),
            limits=Limits(doubts=2),
            mixes=False,
        )
        for point, roles in crash.POINTS.items()
        if "supervisor" in roles
    ),
    *(
        Row(
            f"{role} dies at {point}",
            f"the {role} dies at the step `{point}` of a reload",
            "SIGKILL there, as a reload adds a node and changes the order of the rules",
            partial(dies_in_reload, role, point),
            limits=Limits(doubts=1),
            mixes=False,
        )
        for point, roles in crash.RELOAD_POINTS.items()
        for role in roles
    ),
)
