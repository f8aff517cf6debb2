import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from leyden.alerts import alerts as alerts_module
from leyden.alerts.alerts import Alerts, open_causes, read
from leyden.alerts.causes import Message
from leyden.alerts.channels import Channel, Unreachable
from leyden.alerts.settings import AlertSettings
from leyden.journal.events import Rejected
from leyden.journal.segments import Journal
from leyden.spool.store import Spool
from support.service import wait_for

LIMITS = AlertSettings(disk_below_percent=0.0)


class Told:
    """A channel that keeps what it gets; while `down`, it takes nothing."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.down = False

    def send(self, message: Message) -> None:
        if self.down:
            raise Unreachable("down")
        self.got.append(message)

    def states(self) -> list[tuple[str, str]]:
        return [(message.cause, message.state) for message in self.got]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    told = Told()
    monkeypatch.setattr(alerts_module, "channels", lambda _settings, _whose: (Channel("webhook", told.send),))
    return told


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Spool(tmp_path).prepare(["PACS"])
    return tmp_path


@pytest.fixture
def start(root: Path, told: Told) -> Iterator[Callable[..., Alerts]]:
    made: list[Alerts] = []

    def start(service: int = 4711, **keys: Any) -> Alerts:
        given = {"titles": ["PACS"], "certificates": {}, **keys}
        made.append(Alerts(root, LIMITS, service=service, whose="ROUTER", **given))
        return made[-1]

    yield start
    for each in made:
        each._post.stop()


@pytest.fixture
def journal(root: Path) -> Iterator[Journal]:
    journal = Journal(root, "sender-0", 1 << 20)
    yield journal
    journal.close()


def rejected(receipt: str = "1") -> Rejected:
    return Rejected(
        receipt, destination="PACS", sop_class_uid="1.2", sop_instance_uid="2.25.1", calling="CT1", reason="0xC000"
    )


def test_what_the_journal_tells_is_told_once_over_restarts(
    start: Callable[..., Alerts], told: Told, journal: Journal, root: Path
) -> None:
    first = start()
    journal.write(rejected())
    first.look()
    wait_for(lambda: told.states() == [("rejected", "begins")])
    assert [(cause.cause, cause.of) for cause in open_causes(root)] == [("rejected", "PACS")]
    first.close()
    journal.write(rejected("2"))
    second = start()
    second.look()
    assert [cause.text for cause in open_causes(root)] == ["2 objects for PACS were rejected; 0 stand in rejected/"]
    second.close()
    assert told.states() == [("rejected", "begins")]


def test_what_could_not_be_sent_is_sent_after_the_next_start(
    start: Callable[..., Alerts], told: Told, journal: Journal
) -> None:
    told.down = True
    first = start()
    journal.write(rejected())
    first.look()
    first.close()
    told.down = False
    start()
    wait_for(lambda: told.states() == [("rejected", "begins")])


def test_a_service_that_was_not_asked_to_end_is_told_by_the_next_one(start: Callable[..., Alerts], told: Told) -> None:
    first = start(service=1)
    first.look()
    first._post.stop()
    assert start(service=1).look() is None
    assert told.states() == [], "it was only this process that ended"
    start(service=2).look()
    wait_for(lambda: told.states() == [("interrupted", "once")])


def test_what_was_sent_is_not_sent_again_after_a_crash(
    start: Callable[..., Alerts], told: Told, journal: Journal, root: Path
) -> None:
    first = start()
    journal.write(rejected())
    first.look()
    wait_for(lambda: told.states() == [("rejected", "begins")] and not first._post.waiting())
    first.note()
    first._post.stop()
    start().look()
    assert read(root).waiting == {}
    assert told.states() == [("rejected", "begins")]


def test_another_service_may_have_the_same_number(
    start: Callable[..., Alerts], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container, where it is 1 at each start."""
    monkeypatch.setattr(alerts_module, "begun_ticks", {1: 100}.__getitem__)
    first = start(service=1)
    first.look()
    first._post.stop()
    monkeypatch.setattr(alerts_module, "begun_ticks", {1: 200}.__getitem__)
    start(service=1).look()
    wait_for(lambda: told.states() == [("interrupted", "once")])


def test_a_service_that_was_stopped_is_no_cause(start: Callable[..., Alerts], told: Told, root: Path) -> None:
    first = start(service=1)
    first.look()
    first.close()
    second = start(service=2)
    second.look()
    assert read(root).waiting == {}
    assert told.states() == []


def test_a_state_that_cannot_be_understood_is_none(start: Callable[..., Alerts], root: Path) -> None:
    (root / "state").mkdir(exist_ok=True)
    (root / "state" / "alerts.json").write_text('{"service": "x"}')
    start().look()
    assert json.loads((root / "state" / "alerts.json").read_text())["service"] == 4711
    assert os.stat(root / "state" / "alerts.json").st_mode & 0o777 == 0o600


def test_a_certificate_that_is_missing_is_told(start: Callable[..., Alerts], told: Told) -> None:
    start(certificates={"api": "/nowhere/certificate.pem"}).look()
    wait_for(lambda: told.states() == [("certificate", "begins")])
