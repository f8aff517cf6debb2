"""Why something waits: what an operator has ordered comes before what the sender says."""

import pytest

from leyden.operate.outboxes import Outbox
from leyden.operate.waiting import why_not_planned, why_not_sent
from leyden.spool.control import PREPARE, STORAGE_SCU, Control, Flags, Order

ALICE = Order("alice", 1000.0, reason="the archive moves")
CLOSED = Outbox(closed_by="ProcessSchedule")
DOWN = Outbox(next_try_s=2000.0, last_error="connection refused")
REFUSES = Outbox(callers={"CT1": 2000.0, "CT2": 500.0})


@pytest.mark.parametrize(
    ("control", "flags", "outbox", "why"),
    [
        (Control(), {}, Outbox(), ""),
        (Control(override=ALICE), {}, Outbox(), ""),
        (Control(pause=ALICE), {}, CLOSED, "paused by alice since "),
        (Control(pause=ALICE), {STORAGE_SCU: Order("bob", 1.0)}, CLOSED, "the whole service is paused by bob since "),
        (Control(), {PREPARE: ALICE}, Outbox(), ""),
        (Control(), {}, CLOSED, "closed by ProcessSchedule"),
        (Control(), {}, DOWN, "next try at "),
        (Control(), {}, REFUSES, "it refuses CT1 as a caller; next try at "),
    ],
)
def test_why_nothing_is_sent(control: Control, flags: Flags, outbox: Outbox, why: str) -> None:
    said = why_not_sent(control, flags, outbox, running=True, now_s=1500.0)
    assert said.startswith(why)
    assert bool(said) == bool(why)


def test_a_reason_and_an_error_are_named() -> None:
    assert why_not_sent(Control(pause=ALICE), {}, CLOSED, running=False, now_s=1500.0).endswith(": the archive moves")
    assert why_not_sent(Control(), {}, DOWN, running=True, now_s=1500.0).endswith(": connection refused")
    assert why_not_sent(Control(), {}, DOWN, running=True, now_s=2500.0) == ""


def test_what_a_sender_said_that_is_gone_does_not_count() -> None:
    assert why_not_sent(Control(), {}, CLOSED, running=False, now_s=1500.0) == ""


def test_why_nothing_is_planned() -> None:
    assert why_not_planned({STORAGE_SCU: ALICE}) == ""
    assert why_not_planned({PREPARE: ALICE}).startswith("planning is paused by alice")
