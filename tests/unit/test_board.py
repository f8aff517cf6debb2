import os
import time
from collections.abc import Iterator

import pytest

from leyden import board
from leyden.board import CODECS, MEANINGS, RESPONSE_S, Board, Cell, read
from leyden.dicom.uids import syntax_name
from leyden.transcode import codecs

ROLES = [("receiver", 0), ("worker", 0), ("worker", 1)]


@pytest.fixture
def made() -> Iterator[Board]:
    """A board; at the end this process counts for itself again."""
    before = board._mine
    made = Board(ROLES)
    yield made
    board._mine = before
    os.close(made.fd)


def test_a_role_counts_in_its_own_row_alone(made: Board) -> None:
    board.use(made.fd, 1)
    board.add(Cell.MADE)
    board.add(Cell.BUSY_NS, 5)
    board.put(Cell.ARENA_BYTES, 7)
    rows = read(made.fd)
    assert [row.name for row in rows] == ["receiver-0", "worker-0", "worker-1"]
    assert [row[Cell.MADE] for row in rows] == [0, 1, 0]
    assert (rows[1][Cell.BUSY_NS], rows[1][Cell.ARENA_BYTES]) == (5, 7)
    assert {rows[2][cell] for cell in MEANINGS if MEANINGS[cell].role == "worker"} == {0}


def test_counts_go_on_over_a_restart_and_gauges_do_not(made: Board) -> None:
    made.started(1, 4711)
    board.use(made.fd, 1)
    board.add(Cell.MADE, 3)
    board.put(Cell.ARENA_BYTES, 7)
    made.ended(1)
    (_, row, _) = read(made.fd)
    assert (row[Cell.PID], row[Cell.ARENA_BYTES], row[Cell.MADE]) == (0, 0, 3)
    made.started(1, 4712)
    board.use(made.fd, 1)
    board.add(Cell.MADE)
    (other, row, _) = read(made.fd)
    assert (row[Cell.PID], row[Cell.RESTARTS], row[Cell.MADE]) == (4712, 1, 4)
    assert abs(row.since_s - time.time()) < 60
    assert other[Cell.RESTARTS] == 0


def test_a_response_counts_in_the_first_bucket_that_it_fits(made: Board) -> None:
    board.use(made.fd, 0)
    for took_s in (RESPONSE_S[0], RESPONSE_S[0] + 1e-6, RESPONSE_S[-1], RESPONSE_S[-1] + 1):
        board.answered(round(took_s * 1e9))
    row = read(made.fd)[0]
    assert row.responses == (1, 1, *[0] * (len(RESPONSE_S) - 3), 1, 1)
    assert row[Cell.RESPONSE_NS] == round((2 * RESPONSE_S[0] + 1e-6 + 2 * RESPONSE_S[-1] + 1) * 1e9)


def test_each_codec_has_its_words(made: Board) -> None:
    board.use(made.fd, 2)
    board.encoded(0, 10, 4, 3)
    board.encoded(len(CODECS) - 1, 20, 5, 6)
    board.encoded(len(CODECS) - 1, 20, 5, 6)
    of_codecs = read(made.fd)[2].codecs
    assert of_codecs[0] == (10, 4, 3)
    assert of_codecs[-1] == (40, 10, 12)
    assert set(of_codecs[1:-1]) == {(0, 0, 0)}
    assert read(made.fd)[2].responses == (0,) * (len(RESPONSE_S) + 1)


def test_a_loop_that_is_early_is_not_late(made: Board) -> None:
    board.use(made.fd, 0)
    board.late(-0.001)
    board.late(0.5)
    row = read(made.fd)[0]
    assert (row[Cell.LOOPS], row[Cell.LOOP_LAG_NS]) == (2, 500_000_000)


def test_every_cell_has_a_meaning_and_codecs_their_names() -> None:
    assert list(MEANINGS) == list(Cell)
    assert list(CODECS) == [syntax_name(codec.encodes) for codec in codecs.CODECS]
