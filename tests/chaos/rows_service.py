"""Rows: the clock, the configuration, and how the service is stopped and started."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from chaos.oracle import Limits
from chaos.rig import Rig
from chaos.row import Row
from chaos.rows_processes import dies_at
from leyden.supervisor import ROUND_S
from support.roles import processes
from support.service import LIMIT_S, wait_for

DAY_S, HOUR_S = 86_400.0, 3600.0
RELOADS = 2  # each good, and each followed by a bad one
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
        wait_for(lambda: not deferred(rig) and not deferred(rig), 2 * LIMIT_S, "nothing to wait for the old time")
    yield


@contextmanager
def dies_in_the_past(rig: Rig, chance: random.Random) -> Iterator[None]:
    """The sender dies over a receipt while there are receipts of two hours of the future."""
    for ahead_s in (DAY_S, DAY_S + HOUR_S):
        rig.clock.set(ahead_s)
        name = time.strftime("%Y%m%d%H-sender-0.log", time.gmtime(time.time() + ahead_s))
        wait_for((rig.service.spool / "receipts" / name).exists, why=f"a receipt of {name}")
    rig.clock.set()
    with dies_at("sender", "receipt-synced", rig, chance):
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
    time.sleep(2 * ROUND_S)  # the supervisor looks once a round; nothing tells that it has found nobody late
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
    yield
    there.start()
    rig.clock.pass_by(sender_s=400.0)


@contextmanager
def stopped(rig: Rig, chance: random.Random) -> Iterator[None]:
    """SIGTERM, and SIGKILL for whatever has not ended a moment later; started again."""
    assert rig.service.process is not None
    rig.service.process.send_signal(signal.SIGTERM)
    time.sleep(chance.random() * 0.5)
    rig.kill_all()
    rig.wait_dead()
    yield
    rig.restart()


@contextmanager
def reloaded(rig: Rig, chance: random.Random) -> Iterator[None]:
    """In turn settings that are good, others that are good, and some that cannot be read or hold mistakes."""
    nodes = rig.service.folder / "nodes.yml"
    routings = rig.service.folder / "routings.yml"
    good, rules = nodes.read_text(), routings.read_text()
    before = pids(rig)
    bad = "\0", "- AeTitle: [", good + "- HostName: 127.0.0.1\n", good.replace("Port:", "Port: x"), good + good, ""
    try:
        for turn in range(RELOADS):
            other = good.replace("NodeRole: Storage", f"NodeRole: Storage\n  BatchSize: {turn + 1}")
            nodes.write_text(other)
            routings.write_text(chance.choice((rules, rules + f"# {turn}\n")))
            assert rig.service.leyden("reload").returncode == 0
            wrong, text = chance.choice(((nodes, chance.choice(bad[:-1])), (routings, rules.replace("ASIS", "NOBODY"))))
            wrong.write_text(text)
            assert rig.service.leyden("reload").returncode != 0, text
            routings.write_text(rules)
    finally:
        nodes.write_text(good)
        routings.write_text(rules)
    assert rig.service.leyden("reload").returncode == 0
    assert pids(rig) == before
    yield


_JUMP = 'a library before the others; a destination says "later" before each jump, and back'
_CLOCK = "nothing was sent until the old time was reached"
ROWS = (
    Row("stopped", "the service is stopped under load",
        "SIGTERM, and SIGKILL for all at most half a second later; a start", stopped,
        limits=Limits(doubts=1), rounds=200),
    Row("reloaded", "the configuration changes under load, and is wrong each second time",
        "leyden reload: other settings, YAML that cannot be read, nodes without a title, rules for nobody", reloaded,
        "a bad one changes nothing; no process is ended",
        "each command left an open file of the journal, which watcher and console held for two days",
        mixes=False, rounds=50),
    Row("clock a day forward", "the clock is a day ahead, and then right again", _JUMP,
        partial(clock_jumps, DAY_S), "nobody waits for a day", _CLOCK, mixes=False),
    Row("clock a day back", "the clock is a day behind, and then right again", _JUMP,
        partial(clock_jumps, -DAY_S), "nobody waits for a day", _CLOCK, mixes=False),
    Row("dies in the past", "the clock was ahead for hours, and is right again; then the sender dies over a receipt",
        "a library before the others; SIGKILL at the step `receipt-synced`", dies_in_the_past,
        "what has a receipt is not sent again", "recovery looked for receipts in the future, and sent again",
        limits=Limits(doubts=1), mixes=False),
    Row("summer time", "summer time begins or ends", "a clock that is set a second before", summer_time,
        mixes=False),
    Row("back after an hour", "a destination refuses connections, and is there again after an hour",
        "killed; the sender's clock passes ten minutes at a time, all else is real (its pauses are 2 s here)",
        back_after_an_hour, limits=Limits(doubts=1), hits=frozenset(("ASIS",)), mixes=False),
    Row("frozen", "the service stands still for minutes: a paused container, a virtual machine that is moved",
        "minutes pass at once on the clocks of all processes", frozen, "no process is ended for it",
        "all roles were ended as stuck; a destination got nothing for four times as long", limits=Limits(doubts=1),
        mixes=False),
)  # fmt: skip
