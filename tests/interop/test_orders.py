"""An operator's orders: pause, resume, override a schedule; to a sender alone, and to a whole service."""

import json
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from leyden.operate import nodes, outboxes
from leyden.operate.nodes import Asked
from leyden.operate.outboxes import Outbox
from leyden.operate.queue import Filter, release
from leyden.spool.control import FLAGS, PREPARE, STORAGE_SCU
from leyden.spool.entry import Entry, key
from leyden.spool.stage import Stage
from support.objects import make_ct
from support.peers import Pacs
from support.sender import Sender, destination
from support.service import LIMIT_S, Service, free_port, node, wait_for

ALICE = Asked("alice", "command line", reason="the archive moves")


class HeldAnswer:
    """An answer that a peer holds back: `begun` when it has the object, Success after `go_on`."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, _: object) -> int:
        self.begun.set()
        assert self.go_on.wait(LIMIT_S)
        return 0x0000


def said(one: Sender, title: str = "PACS") -> Outbox:
    """What the sender says of a destination; here this process stands for the supervisor."""
    return outboxes.read(one.root, os.getpid()).get(title) or Outbox()


def closed_minutes() -> tuple[int, int]:
    """A window of ProcessSchedule that is not now."""
    minute = time.localtime().tm_hour * 60 + time.localtime().tm_min
    return (minute + 120) % 1440, (minute + 180) % 1440


def test_a_pause_lets_what_is_under_way_end_and_nothing_more_begin(
    sender: Callable[..., Sender], pacs: Callable[..., Pacs]
) -> None:
    """ "What is under way is finished, the rest waits" (docs/operate.md), and resume goes on with it."""
    slow = HeldAnswer()
    peer = pacs("PACS", answer=slow)
    one = sender(destination(peer.port, max_associations=1))
    for number in range(3):
        one.put(number)
    one.start()
    assert slow.begun.wait(LIMIT_S)
    nodes.pause(one.root, "PACS", ALICE)
    wait_for(lambda: said(one).closed_by == "alice: the archive moves")
    assert said(one).in_hand == 1
    assert not nodes.drained(one.root, "PACS")
    slow.go_on.set()
    wait_for(lambda: nodes.drained(one.root, "PACS"))
    wait_for(lambda: not said(one).in_hand and not said(one).associations)
    one.wait_counts(prepared=2)
    one.put(3)
    one.ring()
    one.wait_counts(prepared=3)
    assert len(peer.uids()) == 1
    nodes.resume(one.root, "PACS", ALICE)
    peer.wait(4)
    one.wait_line("PACS: deliveries paused by alice: the archive moves")
    one.wait_line("PACS: deliveries resumed")


def test_a_pause_ends_by_itself_when_its_time_is_over(sender: Callable[..., Sender], pacs: Callable[..., Pacs]) -> None:
    """`--for` and `--until` (docs/operate.md)."""
    peer = pacs("PACS")
    one = sender(destination(peer.port))
    one.start()
    wait_for(lambda: "PACS" in outboxes.read(one.root, os.getpid()))
    nodes.pause(one.root, "PACS", Asked("alice", "api", until_s=time.time() + 8.0))
    one.wait_line("PACS: deliveries paused by alice, until ")
    one.put(1)
    one.ring()
    peer.wait(1)
    one.wait_line("PACS: deliveries resumed")


def test_an_override_opens_a_closed_schedule_and_nothing_else(
    sender: Callable[..., Sender], pacs: Callable[..., Pacs]
) -> None:
    """An override beats ProcessSchedule, not ProcessNetworks, and a pause beats it (docs/operate.md)."""
    peer = pacs("NIGHT")
    networks = {"networks": ("203.0.113.0/24",)}
    one = sender(
        destination(peer.port, "NIGHT", schedule=(closed_minutes(),)),
        destination(peer.port, "ELSEWHERE", schedule=(closed_minutes(),), **networks),
        destination(peer.port, "PAUSED", schedule=(closed_minutes(),)),
    )
    for number, title in enumerate(("NIGHT", "ELSEWHERE", "PAUSED")):
        one.put(number, to=title)
    one.start()
    wait_for(lambda: said(one, "NIGHT").closed_by == "ProcessSchedule")
    nodes.pause(one.root, "PAUSED", ALICE)
    for title in ("NIGHT", "ELSEWHERE", "PAUSED"):
        nodes.override_schedule(one.root, title, ALICE)
    peer.wait(1)
    wait_for(lambda: said(one, "ELSEWHERE").closed_by == "ProcessNetworks")
    wait_for(lambda: said(one, "PAUSED").closed_by.startswith("alice"))
    nodes.end_override(one.root, "NIGHT", ALICE)
    wait_for(lambda: said(one, "NIGHT").closed_by == "ProcessSchedule")
    one.put(4, to="NIGHT")
    one.ring()
    one.wait_counts(prepared=3)
    assert len(peer.uids()) == 1


def test_a_broken_file_keeps_the_pause_and_never_stops_what_was_not_paused(
    sender: Callable[..., Sender], pacs: Callable[..., Pacs]
) -> None:
    """ "What was ordered before it holds", and a line says so (docs/troubleshoot.md)."""
    paused, other = pacs("PAUSED"), pacs("OTHER")
    one = sender(destination(paused.port, "PAUSED"), destination(other.port, "OTHER"))
    nodes.pause(one.root, "PAUSED", ALICE)
    one.start()
    wait_for(lambda: said(one, "PAUSED").closed_by.startswith("alice"))
    for name in ("PAUSED", "OTHER", "service.flags"):
        (one.root / "control" / f"{name}.json.new").write_bytes(b"{")
        os.rename(one.root / "control" / f"{name}.json.new", one.root / "control" / f"{name}.json")
    for name in ("PAUSED", "OTHER", "service.flags"):
        one.wait_line(f"control/{name}.json can't be read, what was ordered before it holds")
    one.put(1, to="PAUSED")
    one.put(2, to="OTHER")
    one.ring()
    other.wait(1)
    assert paused.uids() == []
    assert one.log.count("PAUSED.json can't be read") == 1
    nodes.resume(one.root, "PAUSED", ALICE)  # an order writes the file anew
    paused.wait(1)


def test_a_paused_destination_expires_what_is_too_old(sender: Callable[..., Sender], pacs: Callable[..., Pacs]) -> None:
    """ "A pause does not stop the clock of expiryThreshold" (docs/operate.md)."""
    one = sender(destination(pacs("PACS").port, expiry_threshold_s=3600.0))
    nodes.pause(one.root, "PACS", ALICE)
    one.put(1)
    fd, path = one.spool.embryo("0000001000000000010001")
    os.close(fd)
    old = Entry("0000001000000000010001", key("a"), key("b"), key("c"))
    one.spool.plan_one(path, old, Stage.PREPARED, "PACS", "00")
    one.start().wait_counts(expired=1, prepared=1)


def test_what_the_sender_says_of_a_destination(sender: Callable[..., Sender], pacs: Callable[..., Pacs]) -> None:
    """Back-off, the last error, and what was delivered: for `leyden status` and the console."""
    peer = pacs("PACS", answer=lambda arrival: 0xA700 if arrival.sop_instance_uid == "2.25.77.2" else 0)
    never = {"retry_delays_s": (3600.0,)}  # while we look
    one = sender(destination(peer.port, **never), destination(free_port(), "DOWN", **never))
    one.put(1)
    one.put(2)
    one.put(3, to="DOWN")
    one.start()
    wait_for(lambda: said(one).delivered == 1 and said(one).last_error.startswith("status 0xA700"))
    live = said(one)
    assert live.delivered_bytes > 200
    assert live.line_kb_per_s > 0
    assert abs(live.last_delivered_s - time.time()) < LIMIT_S
    seen: list[Outbox] = []

    def backed_off() -> bool:
        """While it is tried again there is no next try, and a look may fall into that."""
        seen.append(said(one, "DOWN"))
        return seen[-1].failures > 0 and seen[-1].next_try_s > 0

    wait_for(backed_off)
    down = seen[-1]
    assert "refused" in down.last_error
    assert down.next_try_s > time.time() - LIMIT_S
    assert (down.delivered, down.last_delivered_s) == (0, 0.0)


@pytest.fixture
def ct(tmp_path):
    return [str(make_ct(tmp_path / f"{number}.dcm", number, rows=16, columns=16)) for number in range(3)]


def test_a_pause_survives_the_death_of_the_service(
    service: Callable[..., Service], pacs: Callable[..., Pacs], ct: list[str]
) -> None:
    """It is ordered with the command, told to the journal, and holds over a SIGKILL until somebody resumes."""
    peer = pacs("PACS")
    leyden = service(node("PACS", peer.port, Aliases="[ARCHIVE]")).start()
    done = leyden.leyden("pause", "ARCHIVE", "--reason", "the archive moves", "--wait", "30")
    assert (done.returncode, done.stdout) == (0, "PACS is paused\nnothing is under way to it\n")
    leyden.kill_all()
    leyden.start()
    assert leyden.leyden("send", f"127.0.0.1:{leyden.port}", "--called", "PACS", *ct).returncode == 0
    wait_for(lambda: len(list((leyden.spool / "prepared").rglob("*.dcm"))) == 3)
    status = json.loads(leyden.leyden("status", "--json").stdout)
    (row,) = status["nodes"]
    assert (row["title"], row["waiting"], row["pause"]["reason"]) == ("PACS", 3, "the archive moves")
    assert row["why"].startswith("paused by ")
    assert {each["name"] for each in status["processes"]} >= {"planner-0", "sender-0", "receiver-0", "worker-0"}
    assert status["received"]["objects_per_s"] == pytest.approx(3 / 60, abs=0.001)
    assert peer.uids() == []
    assert leyden.leyden("resume", "PACS").stdout == "PACS is not paused any more\n"
    peer.wait(3)
    leyden.wait_empty()
    assert json.loads(leyden.leyden("reload", "--json").stdout)["result"] == "unchanged"
    lines = (path.read_text() for path in leyden.spool.glob("journal/*.jsonl"))
    told = [json.loads(line) for line in "".join(lines).splitlines()]
    operated = [(each["did"], each["through"]) for each in told if each["event"] == "operated"]
    wanted = [(did, "command line") for did in ("pause", "resume", "reload")] + [("reload", "signal")]
    assert sorted(each for each in operated if each in wanted) == sorted(wanted)


def test_the_whole_service_is_paused_and_goes_on_receiving(
    service: Callable[..., Service], pacs: Callable[..., Pacs], ct: list[str]
) -> None:
    """ "Receiving goes on": objects wait in new/ (prepare), then in prepared/ (storageScu), then they are sent."""
    peer = pacs("PACS")
    leyden = service(node("PACS", peer.port, TransferSyntax="JPEG2000Lossless")).start()
    assert leyden.leyden("pause", "--all").returncode == 0
    assert leyden.leyden("send", f"127.0.0.1:{leyden.port}", "--called", "PACS", *ct).returncode == 0
    leyden.wait_line("planning is paused by ")
    status = leyden.leyden("status").stdout
    assert "planning is paused by " in status
    assert "3 in new/" in status
    leyden.leyden("resume", "--flag", PREPARE)
    wait_for(lambda: len(list((leyden.spool / "prepared").rglob("*.dcm"))) == 3)
    assert peer.uids() == []
    assert STORAGE_SCU in json.loads(leyden.leyden("status", "--json").stdout)["paused"]
    leyden.leyden("resume", "--all")
    peer.wait(3)
    leyden.wait_empty()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["pause"], 2),
        (["pause", "PACS", "--all"], 2),
        (["pause", "NOBODY"], 2),
        (["pause", "PACS", "--for", "soon"], 2),
        (["pause", "PACS", "--until", "2020-01-01 10:00"], 2),
        (["resume"], 2),
        (["resume", "NOBODY"], 2),
        (["override-schedule", "NOBODY"], 2),
        (["override-schedule", "PACS", "--off", "--reason", "x"], 2),
        (["pause", "PACS", "--until", "23:59", "--reason", "x"], 0),
        (["override-schedule", "PACS", "--for", "2h"], 0),
        (["override-schedule", "PACS", "--off"], 0),
    ],
)
def test_orders_without_a_service(service: Callable[..., Service], words: list[str], code: int) -> None:
    """They are taken all the same, and wrong ones are refused with exit code 2 and a line."""
    leyden = service(node("PACS", 11104))
    done = leyden.leyden(*words)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert bool(done.stderr) == bool(code)


def test_what_is_ordered_is_said_to_programs(service: Callable[..., Service]) -> None:
    """`--json` (docs/operate.md): what holds now, and nothing whose time is over."""
    leyden = service(node("PACS", 11104))

    def ordered(*words: str) -> dict[str, Any]:
        return dict(json.loads(leyden.leyden(*words, "--json").stdout))

    nodes.override_schedule(leyden.spool, "PACS", Asked("bob", "command line", until_s=1.0))
    paused = ordered("pause", "PACS", "--reason", "the archive moves")
    assert (paused["node"], paused["pause"]["reason"], paused["override"]) == ("PACS", "the archive moves", None)
    assert ordered("override-schedule", "PACS", "--for", "1.5h")["override"]["until_s"] > time.time()
    assert ordered("resume", "PACS")["pause"] is None
    assert set(ordered("pause", "--all")["paused"]) == set(FLAGS)
    assert set(ordered("resume", "--flag", PREPARE)["paused"]) == set(FLAGS) - {PREPARE}
    assert ordered("resume", "--all") == {"paused": {}}


def test_the_order_of_a_node_that_is_gone_can_be_taken_back(service: Callable[..., Service]) -> None:
    """It holds "also if its node is removed meanwhile" (docs/operate.md)."""
    leyden = service(node("PACS", 11104) + node("OLD", 11105))
    assert leyden.leyden("pause", "OLD").returncode == 0
    (leyden.folder / "nodes.yml").write_text(node("PACS", 11104))
    assert leyden.leyden("override-schedule", "OLDER").returncode == 2
    assert leyden.leyden("resume", "OLD").stdout == "OLD is not paused any more\n"
    assert leyden.leyden("resume", "OLD").returncode == 2


def test_beside_files_with_errors_a_running_service_is_paused(service: Callable[..., Service]) -> None:
    """An emergency does not wait for a correct nodes.yml: the titles are those of the service that runs."""
    leyden = service(node("PACS", free_port())).start()
    (leyden.folder / "nodes.yml").write_text("- AeTitle: [")
    assert leyden.leyden("pause", "PACS").stdout == "PACS is paused\n"
    leyden.wait_line("PACS: deliveries paused by ")


def test_a_release_tries_a_destination_at_once_and_does_not_wait_for_the_rest_of_a_study(
    sender: Callable[..., Sender], pacs: Callable[..., Pacs]
) -> None:
    """ "The destination is tried at once, however long it has not answered ... no study waits for its ProcessDelay"
    (docs/operate.md)."""
    never = {"retry_delays_s": (3600.0,)}
    port = free_port()
    late = pacs("LATE")
    one = sender(destination(port, **never), destination(late.port, "LATE", process_delay_ms=3_600_000))
    one.put(1)
    one.put(2, to="LATE")
    one.start()
    wait_for(lambda: said(one).failures > 0)
    peer = pacs("PACS", port=port)
    release(one.root, Filter(destinations=frozenset({"PACS", "LATE"})), who="alice", through="command line")
    peer.wait(1)
    late.wait(1)
    assert not list((one.root / "control").glob("*.now"))
