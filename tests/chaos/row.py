"""A row of the fault matrix, and how it is played: alone, or mixed with others in one running service."""

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace

from chaos.oracle import Limits, Seen
from chaos.rig import LONG, Rig, Site

PER_S = 150.0 if LONG else 60.0  # objects that the source offers
BEFORE = (4, 30)  # objects that are promised before a fault
AFTER = 8  # that are promised after one: the service is back
BACK_S = 120.0
MIXED_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One fault. `fault`, `injection` and `holds` are the words of the table in docs/reliability.md.

    `inject` is a context manager that is entered under load: once its block begins the fault is there, and once it has
    ended the fault is over and the service is about to recover. `hits`: destinations that need not go on meanwhile.
    `mixes`: False if it cannot be there beside another one. `rounds`: in the long form.
    """

    name: str
    fault: str
    injection: str
    inject: Callable[[Rig, random.Random], AbstractContextManager[None]]
    holds: str = ""  # beside what the oracle holds for all
    found: str = ""  # what it has shown to be wrong, and was mended
    limits: Limits = field(default_factory=Limits)
    hits: frozenset[str] = frozenset(("COMPRESSED", "ASIS"))
    site: Site = field(default_factory=Site)
    mixes: bool = True
    rounds: int = 20

    def __str__(self) -> str:
        return self.name


def play(row: Row, rig: Rig, chance: random.Random) -> Seen:
    """One round of a row alone. Raises AssertionError for what does not hold."""
    rig.load(per_s=PER_S)
    rig.wait_promised(chance.randint(*BEFORE))
    with row.inject(rig, chance):
        rig.others_go_on(set(row.hits))
    return _over(rig, row.limits)


def mix(rows: Sequence[Row], rig: Rig, chance: random.Random, count: int) -> Seen:
    """`count` times one or two faults of these rows under one load. Raises AssertionError."""
    limits, rig.mixed = Limits(), True
    rig.load(per_s=PER_S)
    rig.wait_promised(chance.randint(*BEFORE))
    for _ in range(count):
        with ExitStack() as stack:
            for row in chance.sample(rows, min(len(rows), chance.randint(1, MIXED_AT_ONCE))):
                # Where two faults kill the worker over one object, that goes as it came.
                limits += replace(row.limits, as_it_came=max(row.limits.as_it_came, 1))
                stack.enter_context(row.inject(rig, chance))
    rig.mixed = False
    return _over(rig, limits)


def _over(rig: Rig, limits: Limits) -> Seen:
    rig.wait_promised(rig.promised + AFTER, BACK_S)
    rig.stop_load()
    return rig.settle(limits)
