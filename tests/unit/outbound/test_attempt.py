"""What comes of one instance that is sent, and how its claim ends; the far end is a script of answers."""

import asyncio
import contextlib
import errno
import json
import os
from types import MappingProxyType

import pytest

from leyden.deliver.destination import Destination
from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, JPEG2000_LOSSLESS
from leyden.errors import Corrupt
from leyden.form.ladder import Acceptance
from leyden.net.scu import ConnectionLost, Stalled, StoreAnswer, TooSlow
from leyden.outbound import claims
from leyden.outbound.attempt import Attempts
from leyden.outbound.claims import SLOW_ABORTS
from leyden.outbound.outcome import Ending, Response, given_up
from leyden.spool.stage import Stage
from support.outbound import CT, DATA, Parts, on_a_loop

PACS = Destination("PACS", "127.0.0.1", 104, syntax=JPEG2000_LOSSLESS, retry_delays_s=(60.0,))


class Link:
    """Answers (or raises) one after the other; remembers with which limits it was asked."""

    accepted = MappingProxyType({(CT, EXPLICIT_LE): 1, (CT, JPEG2000_LOSSLESS): 3})

    def __init__(self, *script) -> None:
        self.script = list(script)
        self.asked: list[dict] = []

    async def store(self, context_id, sop_class, sop_instance, fd, offset, size, **limits):
        self.asked.append({**limits, "size": size, "data": os.pread(fd, size, offset)})
        said = self.script.pop(0)
        if isinstance(said, BaseException):
            raise said
        return StoreAnswer(said)


class Sent(Parts):
    """One instance that waits, and who tries to send it."""

    def __init__(self, root, destination=PACS, syntax=EXPLICIT_LE) -> None:
        super().__init__(root, destination)
        self.attempts = Attempts(destination, self.claims)
        self.put(syntax=syntax)

    async def send(self, association, taken=None, sharing=1):
        outcome = await self.attempts.make(association, self.take(), taken, sharing)
        await self.claims.end(outcome)
        return outcome

    def why(self):
        (path,) = (self.root / "rejected").rglob("*.json")
        return json.loads(path.read_bytes())


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """Nothing is gained by the pause after a fault of this machine."""
    monkeypatch.setattr(claims, "DISK_PAUSE_S", 0.0)


def told(outcome):
    return outcome.ending, outcome.response, outcome.reason


@on_a_loop
async def test_what_is_answered_with_success_is_delivered_and_proved(tmp_path):
    sent, association = Sent(tmp_path), Link(0)
    outcome = await sent.send(association)
    assert told(outcome) == (Ending.DELIVERED, Response.ANSWERED, "status 0x0000")
    assert association.asked[0]["data"] == DATA
    (line,) = await sent.proved()
    assert line["destination"] == "PACS"
    assert line["bytes"] == outcome.size_bytes == len(DATA)
    assert sent.counts() == {}
    assert sent.claims.statistics.delivered == 1


@on_a_loop
async def test_a_delivery_is_written_down_only_when_the_next_object_can_be_on_its_way(tmp_path):
    sent = Sent(tmp_path)
    await sent.send(Link(0))
    assert list(sent.window.in_hand)
    assert sent.counts() == {"active": 1}
    assert len(await sent.proved()) == 1


@on_a_loop
async def test_what_was_taken_away_by_hand_is_not_sent(tmp_path):
    sent, association = Sent(tmp_path), Link()
    instance = sent.take()
    instance.queued.path.unlink()
    outcome = await sent.attempts.make(association, instance, None)
    assert told(outcome) == (Ending.GONE, Response.NONE, "")
    await sent.claims.end(outcome)
    assert association.asked == []
    assert not sent.window.in_hand


@on_a_loop
async def test_what_was_lost_waits_with_an_attempt_in_its_name_each_time(tmp_path):
    sent = Sent(tmp_path)
    for n, error in enumerate((ConnectionLost("gone"), Stalled("gone"), ConnectionLost("gone")), 1):
        response = Response.STALLED if isinstance(error, Stalled) else Response.LOST
        assert told(await sent.send(Link(error))) == (Ending.DEFERRED, response, "gone")
        assert sent.counts() == {"deferred": 1}
        (instance,) = sent.look()
        entry = instance.queued.entry
        assert (entry.attempt, entry.unanswered, instance.losses) == (n, n, n)


@on_a_loop
async def test_a_transient_answer_is_no_loss(tmp_path):
    sent = Sent(tmp_path)
    await sent.send(Link(0xA700))
    (instance,) = sent.look()
    assert (instance.queued.entry.attempt, instance.losses) == (1, 0)


@on_a_loop
async def test_what_was_cancelled_may_have_arrived(tmp_path):
    sent = Sent(tmp_path)
    with contextlib.suppress(asyncio.CancelledError):
        await sent.send(Link(asyncio.CancelledError()))
    (instance,) = sent.look()
    assert (instance.queued.entry.unanswered, instance.losses) == (1, 0)
    await sent.send(Link(0x0111))
    assert [line["status"] for line in await sent.proved()] == [0x0111]


@on_a_loop
async def test_a_line_that_is_too_slow_three_times_has_to_do(tmp_path, caplog):
    sent = Sent(tmp_path)
    for _ in range(SLOW_ABORTS):
        association = Link(TooSlow("slow"))
        assert told(await sent.send(association)) == (Ending.RETURNED, Response.TOO_SLOW, "slow")
        assert association.asked[0]["minimum_bytes_per_s"] == 500_000
        assert association.asked[0]["deadline_s"] > 900
        assert sent.counts() == {"prepared": 1}
    assert caplog.text.count("goes without that limit now") == 1
    association = Link(0)
    await sent.send(association)
    assert association.asked[0]["minimum_bytes_per_s"] == 0
    assert association.asked[0]["deadline_s"] == 0
    await sent.proved()
    assert sent.counts() == {}


@on_a_loop
async def test_the_minimum_is_shared_by_the_associations(tmp_path):
    sent, association = Sent(tmp_path), Link(0)
    await sent.send(association, sharing=4)
    assert association.asked[0]["minimum_bytes_per_s"] == 125_000


@on_a_loop
async def test_our_own_limit_is_not_the_lines_fault(tmp_path):
    slow = Destination("PACS", "127.0.0.1", 104, maximum_line_speed_kb_per_s=100)
    sent, association = Sent(tmp_path, slow), Link(0)
    await sent.send(association)
    assert association.asked[0]["minimum_bytes_per_s"] == 50_000
    assert association.asked[0]["throttle"].permit(1, 0.0) == 0


@on_a_loop
async def test_a_transient_answer_defers(tmp_path):
    sent = Sent(tmp_path)
    assert told(await sent.send(Link(0xA700))) == (Ending.DEFERRED, Response.CONGESTED, "status 0xA700")
    assert sent.counts() == {"deferred": 1}
    (path,) = (tmp_path / "deferred").rglob("*.dcm")
    assert ".1." in path.name
    assert path.parent.parent.name == "05"


@on_a_loop
async def test_a_permanent_answer_rejects_after_a_few_tries(tmp_path):
    sent = Sent(tmp_path)
    for n in range(3):
        sent.look()
        assert sent.counts() == {"prepared": 1}, n
        await sent.send(Link(0xC123))
    assert sent.counts() == {"rejected": 1}
    assert sent.why()["reason"] == "status 0xC123"
    assert sent.why()["tries"] == 3


@on_a_loop
async def test_a_class_that_is_not_supported_after_all_gets_one_other_syntax_and_is_rejected_then(tmp_path):
    sent = Sent(tmp_path, syntax=JPEG2000_LOSSLESS)
    taken = Acceptance((JPEG2000_LOSSLESS, EXPLICIT_LE, IMPLICIT_LE))
    await sent.send(Link(0x0122), taken)
    (path,) = (tmp_path / "transform").rglob("*.dcm")
    assert ".ExplicitVRLittleEndian." in path.name
    (queued,) = sent.spool.waiting(Stage.TRANSFORM, "PACS", 9)
    sent.spool.passed_on(sent.spool.claim(queued, "worker-0"))
    outcome = await sent.send(Link(0x0122), taken)
    assert outcome.response is Response.UNSUPPORTED
    assert sent.counts() == {"rejected": 1}


@on_a_loop
async def test_a_duplicate_is_a_delivery_only_after_an_unanswered_send(tmp_path):
    sent = Sent(tmp_path)
    await sent.send(Link(ConnectionLost("gone")))
    await sent.send(Link(0x0111))
    await sent.proved()
    assert sent.counts() == {}
    sent = Sent(tmp_path / "second")
    await sent.send(Link(0x0111))
    assert sent.counts() == {"deferred": 1}


@on_a_loop
async def test_a_cancelled_send_gives_it_back(tmp_path):
    sent = Sent(tmp_path)
    with pytest.raises(asyncio.CancelledError):
        await sent.send(Link(asyncio.CancelledError()))
    assert sent.counts() == {"prepared": 1}
    assert not sent.window.in_hand


@on_a_loop
async def test_a_file_that_ends_early_fails(tmp_path):
    sent = Sent(tmp_path)
    outcome = await sent.send(Link(Corrupt("the file ends 5 bytes early")))
    assert told(outcome) == (Ending.FAILED, Response.NONE, "the file ends 5 bytes early")
    assert sent.counts() == {"failed": 1}


@on_a_loop
async def test_a_machine_without_descriptors_is_not_the_files_fault(tmp_path):
    sent = Sent(tmp_path)
    outcome = await sent.send(Link(OSError(errno.EMFILE, "Too many open files")))
    assert told(outcome)[:2] == (Ending.KEPT, Response.NONE)
    assert sent.counts() == {"prepared": 1}
    outcome = await sent.send(Link(OSError(errno.EIO, "Input/output error")))
    assert told(outcome)[:2] == (Ending.FAILED, Response.NONE)
    assert sent.counts() == {"failed": 1}


@on_a_loop
async def test_only_the_first_transient_answer_to_an_object_says_something_of_the_destination(tmp_path):
    sent = Sent(tmp_path)
    assert (await sent.send(Link(0xA700))).response is Response.CONGESTED
    for _ in range(3):
        assert (await sent.send(Link(0xA700))).response is Response.CONGESTED_AGAIN


@on_a_loop
async def test_transient_answers_and_losses_are_no_tries_of_a_permanent_one(tmp_path):
    sent = Sent(tmp_path)
    for said in (0xA700, 0x0110, ConnectionLost("gone"), ConnectionLost("gone"), 0xC001, 0xA700, 0xC001):
        await sent.send(Link(said))
        assert sent.counts() in ({"deferred": 1}, {"prepared": 1}), said
    await sent.send(Link(0xC001))
    assert sent.counts() == {"rejected": 1}
    assert sent.why()["tries"] == 3


@pytest.mark.parametrize("said", [TooSlow("slow"), asyncio.CancelledError(), OSError(errno.EMFILE, "files")])
def test_an_object_that_a_full_disk_does_not_let_back_is_not_held_on_to(tmp_path, monkeypatch, said):
    @on_a_loop
    async def run():
        sent = Sent(tmp_path)

        def full(claim, **how):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(sent.spool, "give_back", full)
        with contextlib.suppress(asyncio.CancelledError):
            await sent.send(Link(said))
        assert not sent.window.in_hand
        monkeypatch.undo()
        assert sent.counts() == {"active": 1}
        sent.look()  # finds it, since nobody holds it
        assert sent.counts() == {"prepared": 1}

    run()


@on_a_loop
async def test_what_the_disk_does_not_let_move_stays_in_the_queue(tmp_path, monkeypatch, caplog):
    sent = Sent(tmp_path)

    def full(claim, due_s, **how):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sent.spool, "defer", full)
    await sent.send(Link(0xA700))
    assert "stays in the queue: [Errno 28] No space left on device" in caplog.text
    assert sent.counts() == {"prepared": 1}
    assert not sent.window.in_hand


@on_a_loop
async def test_giving_up_a_suspect_says_how_often_it_was_tried_and_the_last_words(tmp_path):
    sent = Sent(tmp_path)
    for _ in range(2):
        await sent.send(Link(ConnectionLost("gone")))
    instance = sent.take()
    await sent.claims.end(given_up(instance, sent.claims.take(instance), "gone"))
    assert sent.counts() == {"rejected": 1}
    assert (sent.why()["tries"], sent.why()["last_words"]) == (2, "gone")
