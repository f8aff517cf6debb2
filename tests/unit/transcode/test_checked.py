"""The compared series, in words of memory that several processes share."""

import os
from collections.abc import Iterator

import pytest

from leyden.transcode.arena import Arena
from leyden.transcode.checked import CheckedSeries


@pytest.fixture
def two() -> Iterator[tuple[CheckedSeries, CheckedSeries]]:
    """Two workers' views of one arena."""
    fd = os.memfd_create("compared")
    os.truncate(fd, 16 << 20)
    arenas = [Arena(fd, number, 2) for number in range(2)]
    yield CheckedSeries(arenas[0].words), CheckedSeries(arenas[1].words)
    for arena in arenas:
        arena.close()
    os.close(fd)


def test_one_worker_compares_for_all(two: tuple[CheckedSeries, CheckedSeries]) -> None:
    one, other = two
    assert one.begin("1.2", "a")
    assert not other.begin("1.2", "a")
    assert not one.begin("1.2", "a")
    assert other.begin("1.2", "b"), "another syntax"
    assert other.begin("1.3", "a"), "another series"


def test_a_forgotten_series_is_compared_by_the_next_worker(two: tuple[CheckedSeries, CheckedSeries]) -> None:
    one, other = two
    assert one.begin("1.2")
    one.forget("1.2")
    assert other.begin("1.2")
    assert not one.begin("1.2")


def test_a_difference_is_never_forgotten(two: tuple[CheckedSeries, CheckedSeries]) -> None:
    one, other = two
    assert one.begin("1.2")
    one.forget("1.2")
    one.differed("1.2")
    assert other.begin("1.2")
    assert other.begin("1.2")
    assert one.begin("1.2")
    other.forget("1.2")
    assert one.begin("1.2")


def test_a_series_that_lost_its_word_is_compared_once_more() -> None:
    tiny = CheckedSeries(memoryview(bytearray(8)).cast("Q"))
    assert tiny.begin("1.2")
    assert not tiny.begin("1.2")
    assert tiny.begin("1.3")
    assert tiny.begin("1.2")


def test_many_series_are_kept_apart(two: tuple[CheckedSeries, CheckedSeries]) -> None:
    one, other = two
    assert all(one.begin(str(number)) for number in range(200))
    again = sum(other.begin(str(number)) for number in range(200))
    assert again <= 20, "4096 words: few of 200 meet"
