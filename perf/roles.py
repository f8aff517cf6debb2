"""What the roles of a running service use, seen from outside: memory and descriptors over time, processor time."""

import threading
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import psutil

import peers
from leyden.tune import processes as processes_of
from support.roles import Held, look, processes


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of one role since it began, or between two looks.

    `processor_s` is of all its threads, ended ones too; `ready_s` is how long its main thread could have run but got no
    core. For the rest of the time between two looks it slept.
    """

    processor_s: float
    ready_s: float


def spent(service: peers.Service) -> dict[str, Spent]:
    """What each role has spent so far."""
    found = {}
    for role, process in processes(service).items():
        with suppress(OSError, psutil.NoSuchProcess):
            with open(f"/proc/{process.pid}/schedstat") as file:
                _, ready_ns, _ = map(int, file.read().split())
            found[role] = Spent(processes_of.spent_s(process.pid), ready_ns / 1e9)
    return found


def between(before: dict[str, Spent], after: dict[str, Spent]) -> dict[str, Spent]:
    """What was spent between two looks, by the roles that are in both."""
    return {
        role: Spent(late.processor_s - before[role].processor_s, late.ready_s - before[role].ready_s)
        for role, late in after.items()
        if role in before
    }


@dataclass(slots=True)
class Watch:
    """Looks at the roles at intervals while its block runs; `seen[role]` are all looks at one."""

    service: peers.Service
    every_s: float = 0.05
    seen: dict[str, list[Held]] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._look()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        assert self._thread is not None
        self._thread.join()
        if error is None:
            self._look()

    def _run(self) -> None:
        while not self._over.wait(self.every_s):
            try:
                self._look()
            except psutil.NoSuchProcess:  # the service is dead, or being started again
                continue

    def _look(self) -> None:
        for role, held in look(self.service).items():
            self.seen.setdefault(role, []).append(held)

    def growth_bytes(self, role: str) -> int:
        """The most that the role held, less what it held at first."""
        looks = self.seen[role]
        return max(held.own_bytes for held in looks) - looks[0].own_bytes


def slope_per_hour(points: list[tuple[float, float]]) -> float:
    """Slope of the least-squares line through (seconds, value): value an hour."""
    mean_s, mean = (sum(column) / len(points) for column in zip(*points, strict=True))
    spread = sum((at_s - mean_s) ** 2 for at_s, _ in points)
    return 3600 * sum((at_s - mean_s) * (value - mean) for at_s, value in points) / spread if spread else 0.0
