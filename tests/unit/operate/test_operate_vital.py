import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from leyden.board import Board, Cell
from leyden.operate.vital import vital
from leyden.spool.lock import SpoolLock


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A spool on which this process is the service."""
    gc.collect()  # the memory of another test's board counts as an open file until then
    lock = SpoolLock(tmp_path)
    yield tmp_path
    lock.release()


def test_without_a_service_there_is_nothing_to_see(tmp_path: Path) -> None:
    assert vital(tmp_path) is None


def test_a_service_that_has_only_begun_has_no_board(held: Path) -> None:
    assert vital(held) is None


def test_the_board_of_a_service_is_found_among_its_files(held: Path) -> None:
    board = Board([("planner", 0), ("worker", 0), ("worker", 1)])
    board.started(1, 11)
    board.started(2, 12)
    seen = vital(held)
    os.close(board.fd)
    assert seen is not None
    assert seen.pid == os.getpid()
    assert [(row.name, row[Cell.PID]) for row in seen.rows] == [("worker-0", 11), ("worker-1", 12)]
    assert [row.name for row in seen.of("worker")] == ["worker-0", "worker-1"]
    assert seen[Cell.PID] == 23
