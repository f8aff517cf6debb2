"""Rows: what happens to the processes of the service."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from chaos.oracle import Limits
from chaos.rig import Rig
from chaos.row import Row


@contextmanager
def killed(name: str, rig: Rig, chance: random.Random) -> Iterator[None]:
    if rig.kill(name):
        rig.service.wait_line(f"{name} killed by SIGKILL")
    yield


@contextmanager
def supervisor_killed(rig: Rig, chance: random.Random) -> Iterator[None]:
    if rig.kill("supervisor"):
        rig.wait_dead()
    yield
    rig.restart()


@contextmanager
def all_killed(rig: Rig, chance: random.Random) -> Iterator[None]:
    rig.service.kill_all()
    yield
    rig.restart()


_LIMITS = {"sender": Limits(doubts=1), "worker": Limits(as_it_came=0)}
ROWS = (
    *(
        Row(
            f"{role} killed",
            f"the {role} dies (SIGKILL)",
            "kill -9 at a random moment under load",
            partial(killed, f"{role}-0"),
            limits=_LIMITS.get(role, Limits()),
            rounds=200,
        )
        for role in ("receiver", "planner", "worker", "sender", "console", "watcher")
    ),
    Row(
        "supervisor killed",
        "the supervisor dies (SIGKILL)",
        "kill -9 at a random moment under load; started again",
        supervisor_killed,
        limits=Limits(doubts=1),
        rounds=200,
    ),
    Row(
        "all killed",
        "every process dies at once (SIGKILL)",
        "kill -9 of all at a random moment under load; started again",
        all_killed,
        limits=Limits(doubts=1),
        rounds=1000,
    ),
)
