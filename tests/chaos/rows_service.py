"""Rows: the clock, the configuration, and how the service is stopped and started."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from chaos.oracle import Limits
from chaos.rig import Rig
from chaos.row import Row
from support.roles import processes
from support.service import LIMIT_S, wait_for

DAY_S = 86_400.0
BUSY = 0xA700


def deferred(rig: Rig) -> bool:
    return any(path.relative_to(rig.service.spool).parts[0] == "deferred" for path in rig.service.left())


@contextmanager
def clock_jumps(by_s: float, rig: Rig, chance: random.Random) -> Iterator[None]:
    """There and back. Before each jump a destination says "later", so that objects wait for a time of day."""
    for ahead_s in (by_s, 0.0):
        rig.destinations["ASIS"].behave("status", status=BUSY)
        if not rig.source.loads:
            rig.load(24)
        wait_for(lambda: deferred(rig), why="objects that wait for a time of day")
        rig.clock.set(ahead_s)
        rig.destinations["ASIS"].behave()
        before = rig.promised
        if not rig.source.loads:
            rig.load(24)
        rig.wait_promised(before + 1)
        rig.service.wait_left(lambda left: not left, LIMIT_S, "everything to be delivered by the new time")
    yield


@contextmanager
def summer_time(rig: Rig, chance: random.Random) -> Iterator[None]:
    """The clock is set a second before it begins or ends, which passes under load."""
    rig.clock.set(chance.choice(rig.summer_s) - time.time() - 1.0)
    rig.load(60, per_s=20)
    rig.wait_promised(rig.promised + 50)
    yield
    rig.clock.set()


@contextmanager
def frozen(rig: Rig, chance: random.Random) -> Iterator[None]:
    """Minutes pass at once for all of them, as for a paused container or a virtual machine that is moved."""
    before = pids(rig)
    rig.clock.pass_by(all_s=chance.choice((100.0, 1000.0, 10_000.0)))
    yield
    rig.wait_promised(rig.promised + 1)
    rig.service.wait_left(lambda left: not left, LIMIT_S, "everything to be delivered")
    assert pids(rig) == before, rig.service.log[-2000:]


def pids(rig: Rig) -> dict[str, int]:
    return {name: process.pid for name, process in processes(rig.service).items()}


@contextmanager
def back_after_an_hour(rig: Rig, chance: random.Random) -> Iterator[None]:
    """The sender's own clock passes ten minutes at a time."""
    there = rig.destinations["ASIS"]
    there.die()
    wait_for(lambda: "ASIS: 127.0.0.1: Connection refused; next try in" in rig.service.log, why="the refusal")
    for _ in range(6):
        rig.clock.pass_by(sender_s=600.0)
        time.sleep(0.2)
    there.start()
    rig.clock.pass_by(sender_s=400.0)
    yield


_JUMP = 'a library before the others; a destination says "later" before each jump, and back'
ROWS = (
    Row("clock a day forward", "the clock is a day ahead, and then right again", _JUMP,
        partial(clock_jumps, DAY_S), "nobody waits for a day", mixes=False),
    Row("clock a day back", "the clock is a day behind, and then right again", _JUMP,
        partial(clock_jumps, -DAY_S), "nobody waits for a day", mixes=False),
    Row("summer time", "summer time begins or ends", "a clock that is set a second before", summer_time,
        mixes=False),
    Row("back after an hour", "a destination refuses connections, and is there again after an hour",
        "killed; the sender's clock passes ten minutes at a time, all else is real (its pauses are 2 s here)",
        back_after_an_hour, limits=Limits(doubts=1), mixes=False),
    Row("frozen", "the service stands still for minutes: a paused container, a virtual machine that is moved",
        "minutes pass at once on the clocks of all processes", frozen, "no process is ended for it",
        limits=Limits(doubts=1), mixes=False),
)  # fmt: skip
