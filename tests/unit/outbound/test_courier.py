"""How the claim of one object ends, on a real spool; the far end is a script of answers."""

import asyncio
import contextlib
import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

import pytest

from leyden.deliver.destination import Destination
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, JPEG2000_LOSSLESS
from leyden.form.ladder import Acceptance
from leyden.net.scu import ConnectionLost, StoreAnswer, TooSlow
from leyden.outbound.courier import SLOW_ABORTS, Courier, Fate
from leyden.outbound.window import Window
from leyden.spool.entry import Entry, key
from leyden.spool.stage import Stage
from leyden.spool.store import Spool

CT = "1.2.840.10008.5.1.4.1.1.2"
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


class Receipts:
    """What GroupReceipts does, at once."""

    def __init__(self, spool) -> None:
        self.spool = spool
        self.lines: list[dict] = []

    def add(self, claim, line, done) -> None:
        self.lines.append(line)
        self.spool.delivered(claim)
        done()

    async def room(self) -> None:
        await asyncio.sleep(0)


class Desk:
    """One entry in prepared/, and a courier for it."""

    def __init__(self, root, destination=PACS, syntax=EXPLICIT_LE) -> None:
        self.destination = destination
        self.spool = Spool(root, sync=False)
        self.spool.prepare(["PACS"])
        self.threads = ThreadPoolExecutor(1)
        self.receipts = Receipts(self.spool)
        self.ended: list[tuple[str, bool]] = []
        self.courier = Courier(
            destination, self.spool, "sender-0", self.receipts, self.threads, 0, lambda *how: self.ended.append(how)
        )
        receipt = f"{1795560000000000:016d}000001"
        fd, path = self.spool.embryo(receipt)
        os.write(fd, encode_head(FileMeta(CT, "2.25.1", syntax, sending="CT1")) + b"the data set")
        os.close(fd)
        self.spool.plan_one(path, Entry(receipt, key("2.25.1"), key("s"), key("CT1")), Stage.PREPARED, "PACS", "05")

    def parcel(self):
        (parcel,) = Window(self.spool, self.destination, "sender-0", "LEYDEN").look({}, (), 1795560001.0).parcels
        return parcel

    async def send(self, link, taken=None, sharing=1):
        sent = await self.courier.send(link, self.parcel(), taken, sharing)
        await asyncio.sleep(0)
        return sent

    def counts(self):
        return {count.stage: count.files for count in self.spool.counts() if count.files}


def on_a_loop(test):
    def run(tmp_path):
        asyncio.run(test(tmp_path))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@on_a_loop
async def test_delivered(tmp_path):
    desk, link = Desk(tmp_path), Link(0)
    assert await desk.send(link) == (Fate.ANSWERED, "")
    assert link.asked[0]["data"] == b"the data set"
    assert desk.counts() == {}
    (line,) = desk.receipts.lines
    assert line["destination"] == "PACS"
    assert line["bytes"] == 12
    assert len(desk.ended) == 1


@on_a_loop
async def test_what_was_taken_away_by_hand_is_not_sent(tmp_path):
    desk, link = Desk(tmp_path), Link()
    parcel = desk.parcel()
    parcel.waiting.path.unlink()
    assert await desk.courier.send(link, parcel, None, 1) == (Fate.UNTRIED, "")
    assert link.asked == []
    assert desk.ended == [(parcel.receipt, False)]


@on_a_loop
async def test_what_was_lost_waits_with_an_attempt_in_its_name_each_time(tmp_path):
    desk = Desk(tmp_path)
    for n in range(1, 4):
        assert await desk.send(Link(ConnectionLost("gone"))) == (Fate.LOST, "gone")
        assert desk.counts() == {"deferred": 1}
        desk.spool.due("PACS", 4e9)
        parcel = desk.parcel()
        entry = parcel.waiting.entry
        assert (entry.attempt, entry.unanswered, parcel.losses) == (n, n, n)


@on_a_loop
async def test_a_transient_answer_is_no_loss(tmp_path):
    desk = Desk(tmp_path)
    await desk.send(Link(0xA700))
    desk.spool.due("PACS", 4e9)
    parcel = desk.parcel()
    assert (parcel.waiting.entry.attempt, parcel.losses) == (1, 0)


@on_a_loop
async def test_giving_up_a_suspect_says_how_often_it_was_tried_and_the_last_words(tmp_path):
    desk = Desk(tmp_path)
    for _ in range(2):
        await desk.send(Link(ConnectionLost("gone")))
        desk.spool.due("PACS", 4e9)
    await desk.courier.give_up(desk.parcel(), "gone")
    assert desk.counts() == {"rejected": 1}
    (path,) = (tmp_path / "rejected").rglob("*.json")
    why = json.loads(path.read_bytes())
    assert (why["tries"], why["last_words"]) == (2, "gone")


@on_a_loop
async def test_what_was_cancelled_may_have_arrived(tmp_path):
    desk = Desk(tmp_path)
    with contextlib.suppress(asyncio.CancelledError):
        await desk.send(Link(asyncio.CancelledError()))
    parcel = desk.parcel()
    assert (parcel.waiting.entry.unanswered, parcel.losses) == (1, 0)
    await desk.send(Link(0x0111))
    assert [line["status"] for line in desk.receipts.lines] == [0x0111]


@on_a_loop
async def test_a_line_that_is_too_slow_three_times_has_to_do(tmp_path):
    desk = Desk(tmp_path)
    for _ in range(SLOW_ABORTS):
        link = Link(TooSlow("slow"))
        assert await desk.send(link) == (Fate.SLOW, "slow")
        assert link.asked[0]["minimum_bytes_per_s"] == 500_000
        assert link.asked[0]["deadline_s"] > 900
        assert desk.counts() == {"prepared": 1}
    link = Link(0)
    await desk.send(link)
    assert link.asked[0]["minimum_bytes_per_s"] == 0
    assert link.asked[0]["deadline_s"] == 0
    assert desk.counts() == {}


@on_a_loop
async def test_the_minimum_is_shared_by_the_associations(tmp_path):
    desk, link = Desk(tmp_path), Link(0)
    await desk.send(link, sharing=4)
    assert link.asked[0]["minimum_bytes_per_s"] == 125_000


@on_a_loop
async def test_our_own_limit_is_not_the_lines_fault(tmp_path):
    slow = Destination("PACS", "127.0.0.1", 104, maximum_line_speed_kb_per_s=100)
    desk, link = Desk(tmp_path, slow), Link(0)
    await desk.send(link)
    assert link.asked[0]["minimum_bytes_per_s"] == 50_000
    assert link.asked[0]["throttle"].permit(1, 0.0) == 0


@on_a_loop
async def test_a_transient_answer_defers(tmp_path):
    desk = Desk(tmp_path)
    assert await desk.send(Link(0xA700)) == (Fate.CONGESTED, "status 0xA700")
    assert desk.counts() == {"deferred": 1}
    (path,) = (tmp_path / "deferred").rglob("*.dcm")
    assert ".1." in path.name
    assert path.parent.parent.name == "05"


@on_a_loop
async def test_a_permanent_answer_rejects_after_a_few_tries(tmp_path):
    desk = Desk(tmp_path)
    for n in range(3):
        assert desk.counts() == {"prepared": 1}, n
        await desk.send(Link(0xC123))
        desk.spool.due("PACS", 4e9)
    assert desk.counts() == {"rejected": 1}
    (path,) = (tmp_path / "rejected").rglob("*.json")
    why = json.loads(path.read_bytes())
    assert why["reason"] == "status 0xC123"
    assert why["tries"] == 3


@on_a_loop
async def test_a_class_that_is_not_supported_after_all_gets_one_other_syntax_and_is_rejected_then(tmp_path):
    desk = Desk(tmp_path, syntax=JPEG2000_LOSSLESS)
    taken = Acceptance((JPEG2000_LOSSLESS, EXPLICIT_LE, IMPLICIT_LE))
    await desk.send(Link(0x0122), taken)
    (path,) = (tmp_path / "transform").rglob("*.dcm")
    assert ".ExplicitVRLittleEndian." in path.name
    (waiting,) = desk.spool.waiting(Stage.TRANSFORM, "PACS", 9)
    desk.spool.passed_on(desk.spool.claim(waiting, "worker-0"))
    await desk.send(Link(0x0122), taken)
    assert desk.counts() == {"rejected": 1}


@on_a_loop
async def test_a_duplicate_is_a_delivery_only_after_an_unanswered_send(tmp_path):
    desk = Desk(tmp_path)
    await desk.send(Link(ConnectionLost("gone")))
    desk.spool.due("PACS", 4e9)
    await desk.send(Link(0x0111))
    assert desk.counts() == {}
    desk = Desk(tmp_path / "second")
    await desk.send(Link(0x0111))
    assert desk.counts() == {"deferred": 1}


@on_a_loop
async def test_a_cancelled_send_gives_it_back(tmp_path):
    desk = Desk(tmp_path)
    with pytest.raises(asyncio.CancelledError):
        await desk.send(Link(asyncio.CancelledError()))
    assert desk.counts() == {"prepared": 1}


@on_a_loop
async def test_a_file_that_ends_early_fails(tmp_path):
    from leyden.errors import Corrupt

    desk = Desk(tmp_path)
    assert await desk.send(Link(Corrupt("the file ends 5 bytes early"))) == (Fate.UNTRIED, "")
    assert desk.counts() == {"failed": 1}


@on_a_loop
async def test_a_machine_without_descriptors_is_not_the_files_fault(tmp_path):
    desk = Desk(tmp_path)
    assert await desk.send(Link(OSError(errno.EMFILE, "Too many open files"))) == (Fate.UNTRIED, "")
    assert desk.counts() == {"prepared": 1}
    assert await desk.send(Link(OSError(errno.EIO, "Input/output error"))) == (Fate.UNTRIED, "")
    assert desk.counts() == {"failed": 1}


@on_a_loop
async def test_refused_in_negotiation_turned_as_long_as_there_is_another_syntax_then_rejected(tmp_path):
    desk = Desk(tmp_path, syntax=JPEG2000_LOSSLESS)
    taken = {CT: Acceptance((EXPLICIT_LE, IMPLICIT_LE), (JPEG2000_LOSSLESS,))}
    for name in ("ExplicitVRLittleEndian", "ImplicitVRLittleEndian"):
        await desk.courier.settle([desk.parcel()], taken)
        (waiting,) = desk.spool.waiting(Stage.TRANSFORM, "PACS", 9)
        assert waiting.entry.syntax == name
        desk.spool.passed_on(desk.spool.claim(waiting, "worker-0"))
    await desk.courier.settle([desk.parcel()], taken)
    assert desk.counts() == {"rejected": 1}
    assert desk.courier.statistics.turned == 2


@on_a_loop
async def test_only_the_first_transient_answer_to_an_object_says_something_of_the_destination(tmp_path):
    desk = Desk(tmp_path)
    assert (await desk.send(Link(0xA700)))[0] is Fate.CONGESTED
    for _ in range(3):
        desk.spool.due("PACS", 4e9)
        assert (await desk.send(Link(0xA700)))[0] is Fate.DEFERRED


@on_a_loop
async def test_transient_answers_and_losses_are_no_tries_of_a_permanent_one(tmp_path):
    desk = Desk(tmp_path)
    for said in (0xA700, 0x0110, ConnectionLost("gone"), ConnectionLost("gone"), 0xC001, 0xA700, 0xC001):
        await desk.send(Link(said))
        assert desk.counts() in ({"deferred": 1}, {"prepared": 1}), said
        desk.spool.due("PACS", 4e9)
    await desk.send(Link(0xC001))
    assert desk.counts() == {"rejected": 1}
    (path,) = (tmp_path / "rejected").rglob("*.json")
    assert json.loads(path.read_bytes())["tries"] == 3


@pytest.mark.parametrize("said", [TooSlow("slow"), asyncio.CancelledError(), OSError(errno.EMFILE, "files")])
def test_an_object_that_a_full_disk_does_not_let_back_is_not_held_on_to(tmp_path, monkeypatch, said):
    @on_a_loop
    async def run(tmp_path):
        desk = Desk(tmp_path)

        def full(claim, **how):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(desk.spool, "give_back", full)
        with contextlib.suppress(asyncio.CancelledError):
            await desk.send(Link(said))
        assert [moved for _, moved in desk.ended] == [True]
        monkeypatch.undo()
        assert desk.counts() == {"active": 1}
        desk.parcel()  # a look finds it, since nobody holds it
        assert desk.counts() == {"prepared": 1}

    run(tmp_path)
