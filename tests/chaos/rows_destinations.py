"""Rows: what happens to one of two destinations; the other one goes on."""

import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from chaos.objects import AS_IS
from chaos.oracle import Limits
from chaos.rig import Rig
from chaos.row import Row

ANSWER_S = 1.0


@contextmanager
def dead(rig: Rig, chance: random.Random) -> Iterator[None]:
    rig.destinations[AS_IS].die()
    yield
    rig.destinations[AS_IS].start()


@contextmanager
def halted(rig: Rig, chance: random.Random) -> Iterator[None]:
    there = rig.destinations[AS_IS]
    with suppress(AssertionError):  # another fault has ended it
        there.signal(signal.SIGSTOP)
    yield
    with suppress(AssertionError):
        there.signal(signal.SIGCONT)


@contextmanager
def late(rig: Rig, chance: random.Random) -> Iterator[None]:
    rig.destinations[AS_IS].behave("late", delay_s=ANSWER_S)
    yield
    rig.destinations[AS_IS].behave()


_HIT = frozenset((AS_IS,))
ROWS = (
    Row("destination dead", "a destination dies under load", "SIGKILL, and nobody listens", dead,
        limits=Limits(doubts=1), hits=_HIT, rounds=100),
    Row("destination halted", "a destination stops under load", "SIGSTOP, and later SIGCONT", halted,
        limits=Limits(doubts=1), hits=_HIT, rounds=100),
    Row("destination late", "a destination answers late", f"{ANSWER_S:g} s after each object", late, hits=_HIT,
        mixes=False),
)  # fmt: skip
