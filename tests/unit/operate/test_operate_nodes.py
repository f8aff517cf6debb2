"""Pause, resume and override, as verbs: what they order, and what the journal is told."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from leyden.errors import UnknownNode
from leyden.journal import lines
from leyden.journal.events import Operated
from leyden.journal.lines import NO_JOURNAL, JournalSettings, set_up
from leyden.journal.tail import Tail
from leyden.operate import nodes
from leyden.operate.nodes import Asked
from leyden.spool.control import FLAGS, PREPARE, STORAGE_SCU, Control

ALICE = Asked("alice", "command line")


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Tail]:
    """What these verbs tell the journal."""
    set_up(tmp_path, "nodes-1", JournalSettings(mib=16))
    tail = Tail(str(tmp_path / "journal"))
    yield tail
    tail.close()
    set_up(tmp_path, "nodes-1", NO_JOURNAL)
    assert lines._views.journal is None


def operated(tail: Tail) -> list[tuple[str, str, str, str, str]]:
    events = [each.event for each in tail.read()]
    assert all(isinstance(event, Operated) for event in events)
    return [(e.who, e.through, e.did, e.destination, e.detail) for e in events if isinstance(e, Operated)]


def test_pause_and_resume(tmp_path: Path, told: Tail) -> None:
    before_s = time.time()
    nodes.pause(tmp_path, "PACS", Asked("alice", "command line", reason="moved\nto another rack"))
    pause = nodes.controls(tmp_path, ("PACS", "OTHER"))["PACS"].pause
    assert pause is not None
    assert (pause.who, pause.until_s, pause.reason) == ("alice", 0.0, "movedto another rack")
    assert before_s - 1 <= pause.since_s <= time.time() + 1
    assert nodes.resume(tmp_path, "PACS", ALICE) == Control()
    assert operated(told) == [
        ("alice", "command line", "pause", "PACS", "movedto another rack"),
        ("alice", "command line", "resume", "PACS", ""),
    ]


def test_an_override_leaves_the_pause_and_the_other_way_round(tmp_path: Path) -> None:
    nodes.pause(tmp_path, "PACS", ALICE)
    both = nodes.override_schedule(tmp_path, "PACS", Asked("bob", "api", until_s=time.time() + 60))
    assert both.pause
    assert both.override
    assert nodes.end_override(tmp_path, "PACS", ALICE) == Control(pause=both.pause)


def test_what_is_over_is_not_shown(tmp_path: Path) -> None:
    nodes.pause(tmp_path, "PACS", Asked("alice", "api", until_s=time.time() - 1))
    nodes.pause_service(tmp_path, Asked("alice", "api", until_s=time.time() - 1))
    assert nodes.controls(tmp_path, ("PACS",)) == {"PACS": Control()}
    assert nodes.flags(tmp_path) == {}


def test_the_whole_service(tmp_path: Path, told: Tail) -> None:
    nodes.pause_service(tmp_path, ALICE)
    assert tuple(nodes.flags(tmp_path)) == FLAGS
    nodes.resume_service(tmp_path, ALICE, (STORAGE_SCU,))
    assert PREPARE in nodes.flags(tmp_path)
    assert STORAGE_SCU not in nodes.flags(tmp_path)
    nodes.resume_service(tmp_path, ALICE)
    assert nodes.flags(tmp_path) == {}
    with pytest.raises(ValueError, match="no flag cooking"):
        nodes.pause_service(tmp_path, ALICE, ("cooking",))
    assert [did for _, _, did, _, _ in operated(told)] == ["pause the service", *2 * ["resume the service"]]


def test_a_node_is_found_by_its_aliases(tmp_path: Path) -> None:
    titles = {"PACS": "PACS", "DCP_PACS": "PACS", "LEYDEN": ""}
    assert [nodes.resolved(name, titles) for name in ("PACS", "DCP_PACS")] == ["PACS", "PACS"]
    with pytest.raises(UnknownNode, match="no destination PCAS; there are: PACS"):
        nodes.resolved("PCAS", titles)
    with pytest.raises(UnknownNode):
        nodes.resolved("LEYDEN", titles)


def test_without_a_service_a_paused_node_is_drained_when_nothing_is_claimed(tmp_path: Path) -> None:
    assert not nodes.drained(tmp_path, "PACS")
    nodes.pause(tmp_path, "PACS", ALICE)
    assert nodes.drained(tmp_path, "PACS")
    claim = tmp_path / "active" / "sender-0" / "prepared~PACS~50~1795944593477352005351.dcm"
    claim.parent.mkdir(parents=True)
    claim.write_bytes(b"")
    assert nodes.under_way(tmp_path, "PACS") == 1
    assert not nodes.drained(tmp_path, "PACS")
