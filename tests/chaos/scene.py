"""A scene of the fault matrix: rows that need peers of their own, played together on a service of their own."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Scene:
    """`play(folder, chance)` plays it once, and raises AssertionError for what does not hold.

    `rows` are those of the table in docs/reliability.md: the fault, how it is made, what holds besides, and
    what it has shown to be wrong and was mended.
    `rounds`: in the long form.
    """

    name: str
    play: Callable[[Path, random.Random], object]
    rows: tuple[tuple[str, str, str, str], ...]
    rounds: int = 20

    def __str__(self) -> str:
        return self.name
