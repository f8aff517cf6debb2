from pathlib import Path

import pytest

from leyden.operate import counted
from leyden.operate.counted import Counted
from leyden.spool.listing import Count
from leyden.spool.stage import Stage


class Walks:
    """Counts walks; each takes as long as it is told."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.made = 0
        self.takes_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def walk(self, _root: str) -> list[Count]:
        self.made += 1
        self.now_s += self.takes_s
        return [Count(Stage.NEW, "", self.made, None)]


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> Walks:
    walks = Walks()
    monkeypatch.setattr(counted.time, "monotonic", walks.monotonic)
    monkeypatch.setattr(counted, "counts", walks.walk)
    return walks


def test_a_walk_is_kept_for_as_long_as_makes_it_cheap(walks: Walks) -> None:
    """A walk that takes a second is not repeated within fifty."""
    one = Counted(Path("/spool"))
    walks.takes_s = 1.0
    assert one.now()[0][0].files == 1
    walks.now_s += counted.TIMES_COST - 1.0
    assert one.now()[0][0].files == 1
    walks.now_s += 1.0
    assert one.now()[0][0].files == 2


def test_a_walk_that_costs_nothing_is_repeated_soon(walks: Walks) -> None:
    one = Counted(Path("/spool"))
    one.now()
    walks.now_s += counted.LEAST_S
    assert one.now()[0][0].files == 2


def test_who_comes_during_a_walk_gets_the_last_counts(walks: Walks) -> None:
    one = Counted(Path("/spool"))
    one.now()
    walks.now_s += counted.LEAST_S
    with one._walking:
        assert one.now()[0][0].files == 1
    assert one.now()[0][0].files == 2
