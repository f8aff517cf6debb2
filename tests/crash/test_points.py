"""Every named step of the trip, for every role that passes it: load, die there, go on, count.

Each round is a service with two archives (JPEG 2000, and as it comes) and objects for one of them, the other, and both.
Either the supervisor starts the dead role again, or everything is killed in that moment and started again. A point that
nobody passes fails its test. LEYDEN_CRASH_LONG=1 in the environment tries both ways, and several passes of each point.
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from leyden import crash
from support.proof import AS_IS, COMPRESSED, MAX_ASSOCIATIONS, NOT_DURABLE_MAX, Rig
from support.service import wait_for

OBJECTS = 36
JPEG_2000_LOSSLESS, EXPLICIT = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.1"
LONG = os.environ.get("LEYDEN_CRASH_LONG", "0") not in ("", "0")
OF_A_BATCH = ("new-synced", "rules-kept", "plan-written", "receipt-written", "receipt-synced")  # once for many objects
AT_THE_FIRST = (*OF_A_BATCH, "one-link")


@dataclass(frozen=True, slots=True)
class Round:
    role: str
    point: str
    number: int
    everything: bool  # is killed and started again, not the role alone

    def __str__(self) -> str:
        return f"{self.role}-{self.point}-{self.number}-{'everything' if self.everything else 'role'}"


def rounds() -> list[Round]:
    passed = [(role, point) for point, roles in crash.POINTS.items() for role in roles if role != "supervisor"]
    if LONG:
        return [
            Round(role, point, number, everything)
            for role, point in passed
            for number in ((1,) if point in OF_A_BATCH else (1, 2, 7))
            for everything in (False, True)
        ]
    return [Round(role, point, 1 if point in AT_THE_FIRST else 2, False) for role, point in passed] + [
        Round("receiver", "embryo-renamed", 2, True),
        Round("planner", "rules-kept", 1, True),
        Round("planner", "one-link", 1, True),
        Round("worker", "made-linked", 2, True),
        Round("sender", "receipt-written", 1, True),
    ]


@pytest.mark.parametrize("wanted", rounds(), ids=str)
def test_who_dies_at_any_step_loses_nothing(wanted: Round, tmp_path: Path) -> None:
    """Each process is killed at each named step (README.md), and what was answered arrives."""
    rig, mark = Rig(tmp_path), tmp_path / "died"
    try:
        rig.start_archives()
        rig.service.start(60, LEYDEN_CRASH_AT=f"{wanted.role}/{wanted.point}:{wanted.number}:{mark}")
        load = rig.load(OBJECTS, 2)
        wait_for(mark.exists, 60, f"somebody to pass {wanted}")
        if wanted.everything:
            rig.service.kill_all()
            rig.service.start(60)
        else:
            rig.service.wait_line(f"{wanted.role}-0 killed by SIGKILL")
        load.join()
        found = rig.settle()
    finally:
        rig.end()
    assert len(rig.promised) == OBJECTS
    assert set(found.syntaxes[COMPRESSED]) == {JPEG_2000_LOSSLESS}
    assert set(found.syntaxes[AS_IS]) == {EXPLICIT}
    # What the source had no answer to it sends again; of the rest nothing arrives twice unless the sender died between
    # the far end's answer and its receipt.
    sent_again = sum(n - 1 for n in load.sends.values())
    if wanted.role == "receiver" or wanted.everything:
        assert sent_again <= 2  # associations
    else:
        assert sent_again == 0
    if wanted.role != "sender" and not wanted.everything:
        assert found.again == 0
    else:
        assert found.again <= 2 * MAX_ASSOCIATIONS + NOT_DURABLE_MAX


def test_answered_means_that_the_source_has_the_answer(tmp_path: Path) -> None:
    """Who dies after the step `answered` has sent the answer: the source sends its object once only."""
    rig, mark = Rig(tmp_path), tmp_path / "died"
    try:
        rig.start_archives()
        rig.service.start(60, LEYDEN_CRASH_AT=f"answered:1:{mark}")
        load = rig.load(1, 1).join()
        assert mark.exists()
        assert load.sends.total() == 1
        assert rig.settle().again == 0
    finally:
        rig.end()


@pytest.mark.parametrize("point", [point for point, roles in crash.POINTS.items() if "supervisor" in roles])
def test_a_supervisor_that_dies_while_it_recovers_loses_nothing(point: str, tmp_path: Path) -> None:
    """Any process may be killed at any line; recovery is the same code as a start (ARCHITECTURE.md).
    A planner leaves a plan; the supervisor dies as it finishes it, and again as it recovers at the next start."""
    rig, marks = Rig(tmp_path), [tmp_path / name for name in ("planner", "supervisor", "recovery")]
    try:
        rig.start_archives()
        rig.service.start(60, LEYDEN_CRASH_AT=f"planner/plan-written:1:{marks[0]},supervisor/one-link:1:{marks[1]}")
        load = rig.load(OBJECTS, 2)
        died_of_it(rig)
        with pytest.raises(AssertionError, match="ended before"):
            rig.service.start(60, LEYDEN_CRASH_AT=f"supervisor/{point}:1:{marks[2]}")
        died_of_it(rig)
        assert all(mark.exists() for mark in marks)
        rig.service.start(60)
        load.join()
        found = rig.settle()
    finally:
        rig.end()
    assert len(rig.promised) == OBJECTS
    assert found.again <= 2 * MAX_ASSOCIATIONS + NOT_DURABLE_MAX


def died_of_it(rig: Rig) -> None:
    assert rig.service.process is not None
    assert rig.service.process.wait(60) == -signal.SIGKILL
