from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from leyden.alerts.causes import (
    AGAIN_S,
    CALM_S,
    CRASHES_CALM_S,
    LOST,
    LOST_FOR_S,
    LOST_MAX,
    Clock,
    Facts,
    Line,
    Memory,
    Message,
    hear,
    step,
)
from leyden.alerts.settings import AlertSettings
from leyden.journal import events
from leyden.journal.tail import Told
from leyden.net.certificates import Ending

LIMITS = AlertSettings(destination_down_s=600.0, queue_older_s=1000.0, disk_below_percent=15.0)
TO_PACS = {"destination": "PACS", "sop_class_uid": "1.2", "sop_instance_uid": "2.25.1", "calling": "CT1"}
NOW_S = 1.7e9


class World:
    """Looks at facts that change; `said` is what the last look had to say."""

    def __init__(self, limits: AlertSettings = LIMITS) -> None:
        self.memory = Memory()
        self.limits = limits
        self.facts = Facts(NOW_S)
        self.messages: list[Message] = []

    def look(self, after_s: float = 1.0, *told: events.Event, **facts: Any) -> list[tuple[str, str, str]]:
        self.facts = replace(self.facts, now_s=self.facts.now_s + after_s, **facts)
        hear(self.memory, [Told("sender-0", event) for event in told])
        self.memory = msgspec.json.decode(msgspec.json.encode(self.memory), type=Memory)  # as over a restart
        self.messages = step(self.memory, self.facts, self.limits)
        return [(message.cause, message.of, message.state) for message in self.messages]

    @property
    def now_s(self) -> float:
        return self.facts.now_s


def attempt(receipt: str = "1", **more: Any) -> events.Event:
    return events.Attempt(receipt, **TO_PACS, said="reset by peer", at_s=more.pop("at_s", NOW_S))


def rejected(receipt: str = "1", at_s: float = NOW_S) -> events.Event:
    return events.Rejected(receipt, at_s=at_s, **TO_PACS, reason="DOE^JOHN is unknown")


def test_nothing_is_said_when_all_is_well() -> None:
    world = World()
    world.facts = Facts(
        NOW_S, {"PACS": Line(False)}, {"PACS": NOW_S - 5}, {("rejected", "PACS"): 3}, 50.0, {"worker-0": 2},
        {"api": Ending("", NOW_S + 1e7, NOW_S + 1e6)},
    )  # fmt: skip
    assert world.look() == []


def test_what_waits_to_be_planned_gets_old_too() -> None:
    """A copy that can't be saved, for instance, keeps an object in new/; a pause of the planner does not count."""
    world = World()
    assert world.look(999, lines={"": Line()}, oldest={"": NOW_S}) == []
    assert world.look(1) == [("queue old", "", "begins")]
    assert "an object waits to be planned since 2023-11-" in world.messages[0].text
    assert world.look(lines={"": Line(closed=True)}) == []
    assert world.look(oldest={}) == [("queue old", "", "over")]


def test_a_destination_is_down_when_it_has_failed_for_long_enough_and_told_once() -> None:
    world = World()
    down = {"lines": {"PACS": Line(True)}, "oldest": {"PACS": NOW_S}}
    assert world.look(**down) == []
    assert world.look(599) == []
    assert world.look(1) == [("destination down", "PACS", "begins")]
    assert "2026" not in world.messages[0].text
    assert "PACS has not taken anything since 2023-11-" in world.messages[0].text
    assert world.look(AGAIN_S * 2, oldest={"PACS": world.now_s + AGAIN_S * 2}) == []
    assert world.look(lines={"PACS": Line(False)}) == [("destination down", "PACS", "over")]
    assert world.look(lines={"PACS": Line(True)}) == []
    assert world.look(599) == []


@pytest.mark.parametrize("by_s", [86400.0, -86400.0])
def test_a_clock_that_is_set_makes_no_destination_down_or_up(by_s: float) -> None:
    """How long it has been down is not the difference of two times of day."""
    world = World()
    down = {"lines": {"PACS": Line(True)}, "oldest": {"PACS": NOW_S}, "clock": Clock("boot", 1000.0)}
    assert world.look(**down) == []
    assert world.look(by_s + 300, clock=Clock("boot", 1000.0 + by_s), oldest={"PACS": NOW_S + by_s}) == []
    assert world.look(299) == []
    assert world.look(1) == [("destination down", "PACS", "begins")]


def test_a_boot_is_no_clock_that_was_set() -> None:
    """The time since the boot begins anew, and a destination that was down is down."""
    world = World()
    world.look(lines={"PACS": Line(True)}, oldest={"PACS": NOW_S}, clock=Clock("boot", 1000.0))
    assert world.look(600, clock=Clock("another", 5000.0)) == [("destination down", "PACS", "begins")]


def test_a_caller_that_has_its_share_of_the_disk_is_told_of_until_it_has_clearly_less() -> None:
    world = World()
    assert world.look(shares={"caller CT01": 0.89}) == []
    assert world.look(shares={"caller CT01": 0.9}) == [("share", "caller CT01", "begins")]
    assert world.look(shares={"caller CT01": 0.8}) == []
    assert world.look(shares={"caller CT01": 0.79}) == [("share", "caller CT01", "over")]


def test_a_destination_for_which_nothing_waits_is_not_down() -> None:
    world = World()
    assert world.look(lines={"PACS": Line(True)}) == []
    assert world.look(6000) == []


def test_what_nobody_knows_changes_nothing() -> None:
    """A sender that has just been started has said nothing of a destination yet; one that is closed is not tried."""
    world = World()
    world.look(lines={"PACS": Line(True)}, oldest={"PACS": NOW_S})
    assert world.look(600) == [("destination down", "PACS", "begins")]
    assert world.look(lines={"PACS": Line()}) == []
    assert world.look(lines={"PACS": Line(True, closed=True)}) == []
    assert world.look(lines={"PACS": Line(False)}) == [("destination down", "PACS", "over")]


def test_a_queue_is_old_until_it_is_clearly_younger_again() -> None:
    world = World()
    assert world.look(lines={"PACS": Line(False)}, oldest={"PACS": NOW_S + 1 - 999}) == []
    assert world.look(1) == [("queue old", "PACS", "begins")]
    assert world.look(oldest={"PACS": world.now_s - 900}) == []
    assert world.look(oldest={"PACS": world.now_s - 1100}) == []
    assert world.look(oldest={"PACS": world.now_s - 700}) == [("queue old", "PACS", "over")]
    assert world.look(oldest={"PACS": world.now_s - 900}) == []


def test_a_queue_that_may_not_be_sent_now_is_no_cause() -> None:
    world = World()
    assert world.look(lines={"PACS": Line(False, closed=True)}, oldest={"PACS": NOW_S - 5000}) == []
    assert world.look(lines={"PACS": Line(False)}) == [("queue old", "PACS", "begins")]


def test_a_node_that_is_gone_is_no_cause_any_more() -> None:
    world = World()
    world.look(lines={"PACS": Line(False)}, oldest={"PACS": NOW_S - 5000})
    assert world.look(lines={}) == [("queue old", "PACS", "over")]


def test_a_disk_is_well_only_above_a_margin() -> None:
    world = World()
    assert world.look(free_percent=15.0) == []
    assert world.look(free_percent=14.9) == [("disk", "spool", "begins")]
    assert world.look(free_percent=16.9) == []
    assert world.look(free_percent=14.0) == []
    assert world.look(free_percent=17.0) == [("disk", "spool", "over")]
    assert World(replace(LIMITS, disk_below_percent=0.0)).look(free_percent=0.0) == []


def test_rejected_objects_are_told_once_a_day_as_long_as_more_come() -> None:
    world = World()
    assert world.look(1, rejected(), standing={("rejected", "PACS"): 1}) == [("rejected", "PACS", "begins")]
    assert world.messages[0].text == "1 objects for PACS were rejected; 1 stand in rejected/"
    assert world.look(60, rejected("2", world.now_s + 60)) == []
    assert world.look(AGAIN_S) == [("rejected", "PACS", "again")]
    assert world.look(AGAIN_S) == [], "nothing new has come since"
    assert world.look(1, standing={}) == [("rejected", "PACS", "over")]
    assert world.look(1, rejected("3", world.now_s)) == [("rejected", "PACS", "begins")]
    assert world.messages[0].text.startswith("1 objects")


def test_rejected_objects_that_do_not_stay_are_over_after_a_while() -> None:
    """moveRejectedCachedFiles: false removes them at once."""
    world = World()
    assert world.look(0, rejected()) == [("rejected", "PACS", "begins")]
    assert world.look(CALM_S - 1) == []
    assert world.look(1) == [("rejected", "PACS", "over")]


@pytest.mark.parametrize(
    ("event", "cause", "of"),
    [
        (events.Failed("1", at_s=NOW_S, reason="no DICOM"), "failed", ""),
        (events.Failed("1", at_s=NOW_S, reason="unfit", destination="PACS"), "failed", "PACS"),
        (events.Expired("1", at_s=NOW_S, destination="PACS"), "expired", "PACS"),
    ],
)
def test_what_fails_or_expires_is_told(event: events.Event, cause: str, of: str) -> None:
    assert World().look(1, event) == [(cause, of, "begins")]
    assert World(replace(LIMITS, objects=False)).look(1, event) == []


def test_an_object_is_a_suspect_after_it_was_lost_several_times() -> None:
    world = World()
    other = attempt("2"), events.Delivered("2", **TO_PACS, status=0, syntax="1.2", bytes=1)
    for _ in range(LOST - 1):
        assert world.look(1, attempt(), *other) == []
    assert world.look(1, attempt()) == [("suspects", "PACS", "begins")]
    assert "1 objects" in world.messages[0].text
    delivered = events.Delivered("1", **TO_PACS, status=0, syntax="1.2", bytes=1)
    assert world.look(1, delivered) == [("suspects", "PACS", "over")]


def test_a_suspect_of_which_nothing_is_heard_is_forgotten() -> None:
    world = World()
    assert world.look(0, *[attempt()] * LOST) == [("suspects", "PACS", "begins")]
    assert world.look(LOST_FOR_S + 1) == [("suspects", "PACS", "over")]
    assert not world.memory.lost


def test_what_is_remembered_of_objects_is_bounded() -> None:
    world = World()
    world.look(0, *(attempt(str(number)) for number in range(LOST_MAX + 5)))
    assert len(world.memory.lost) == LOST_MAX


def test_a_role_that_ends_again_and_again_is_told() -> None:
    world = World()
    assert world.look(restarts={"worker-0": 1, "sender-0": 0}) == []
    assert world.look(300, restarts={"worker-0": 2, "sender-0": 0}) == []
    assert world.look(200, restarts={"worker-0": 3, "sender-0": 0}) == [("crashes", "worker-0", "begins")]
    assert world.look(CRASHES_CALM_S - 1) == []
    assert world.look(1) == [("crashes", "worker-0", "over")]
    assert world.look(restarts={"worker-0": 0}) == [], "another service has begun"


def test_slow_restarts_are_no_loop() -> None:
    world = World()
    for restarts in range(1, 10):
        assert world.look(301, restarts={"worker-0": restarts}) == []


def test_a_certificate_is_told_before_it_ends_and_when_it_cannot_be_read() -> None:
    world = World()
    what = "the certificate for api"
    assert world.look(certificates={"api": Ending(what, NOW_S + 99, NOW_S + 10)}) == []
    assert world.look(10) == [("certificate", "api", "begins")]
    assert world.look(certificates={"api": Ending(what, NOW_S + 999, NOW_S + 900)}) == [("certificate", "api", "over")]
    assert world.look(certificates={"api": Ending(what)}) == [("certificate", "api", "begins")]
    assert "can't be read" in world.messages[0].text


def test_files_of_tls_that_cannot_be_taken_are_told() -> None:
    world = World()
    assert world.look(stale=True) == [("certificate", "tls files", "begins")]
    assert world.look(stale=False) == [("certificate", "tls files", "over")]


def test_no_message_holds_what_a_peer_said() -> None:
    world = World()
    world.look(1, rejected(), *[attempt("2")] * LOST, standing={("rejected", "PACS"): 1})
    assert len(world.messages) == 2
    assert not [message for message in world.messages if any(x in message.text for x in ("DOE", "reset", "2.25"))]
