"""An outbox as the sender uses it: it is rung, told that time passes, asked for its counts, and drained."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from leyden.deliver.destination import Destination
from leyden.dicom.association import AssociationRequested, ReleaseRequested, StoreEnded
from leyden.outbound.outbox import Outbox
from support.acceptor import listening
from support.outbound import DATA, Parts, on_a_loop


@asynccontextmanager
async def outbox_to(root, port, **keys):
    destination = Destination("PACS", "127.0.0.1", port, **keys)
    parts = Parts(root, destination)
    with ThreadPoolExecutor(2) as threads:
        outbox = Outbox(destination, parts.spool, "sender-0", "LEYDEN", parts.receipts, threads)
        try:
            yield outbox, parts
        finally:
            await outbox.drain(5)
            await parts.close()


async def until(outbox, holds):
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)
            outbox.tick()


@on_a_loop
async def test_what_comes_is_delivered_and_counted(tmp_path):
    async with listening() as (port, peers), outbox_to(tmp_path, port) as (outbox, parts):
        parts.put(1)
        outbox.ring()
        await until(outbox, lambda: outbox.statistics().delivered == 1)
        parts.put(2)
        outbox.ring()
        await until(outbox, lambda: outbox.statistics().delivered == 2)
        assert outbox.statistics().delivered_bytes == 2 * len(DATA)
        assert sum(len(peer.received) for peer in peers) == 2 * len(DATA)
        assert parts.counts() == {}


@on_a_loop
async def test_outside_its_schedule_it_sends_nothing_and_says_what_waits(tmp_path):
    async with listening() as (port, peers), outbox_to(tmp_path, port) as (outbox, parts):
        outbox.serving = False
        parts.put(1)
        outbox.ring()
        await until(outbox, lambda: "waiting=1" in repr(outbox))
        assert not peers
        outbox.serving = True
        await until(outbox, lambda: outbox.statistics().delivered == 1)


@on_a_loop
async def test_what_is_too_old_expires_even_while_nothing_can_be_sent(tmp_path):
    async with listening() as (port, peers), outbox_to(tmp_path, port, expiry_threshold_s=60.0) as (outbox, parts):
        outbox.serving = False
        parts.put(1, age_s=61.0)
        await until(outbox, lambda: parts.counts() == {"expired": 1})
        assert not peers


@on_a_loop
async def test_a_drained_outbox_claims_nothing_more(tmp_path):
    async with listening() as (port, peers):
        before = asyncio.all_tasks()
        async with outbox_to(tmp_path, port) as (outbox, parts):
            outbox.serving = False
            parts.put(1)
            outbox.ring()
            await until(outbox, lambda: "waiting=1" in repr(outbox))
            await outbox.drain(5)
            outbox.serving = True
            parts.put(2)
            outbox.ring()
            outbox.tick()
            assert asyncio.all_tasks() == before, "nothing is under way that could claim"
            assert parts.counts() == {"prepared": 2}
            assert not peers


def held(begun, let_go):
    """An acceptor that answers no object before it is let go."""

    def act(peer, event):
        if isinstance(event, StoreEnded) and not let_go.is_set():
            peer.store = event.store
            begun.set()
            return True
        return None

    return act


def answer(peer):
    peer.connection.store_answer(peer.store, 0)
    peer.say()


@on_a_loop
async def test_a_changed_destination_goes_on_and_its_association_ends_after_the_object(tmp_path):
    begun, let_go = asyncio.Event(), asyncio.Event()
    async with (
        listening(held(begun, let_go)) as (port, peers),
        listening() as (new_port, new_peers),
        outbox_to(tmp_path, port, max_associations=1) as (outbox, parts),
    ):
        for number in range(3):
            parts.put(number)
        outbox.ring()
        await begun.wait()
        outbox.go_by(Destination("PACS", "127.0.0.1", new_port, impersonate=True), "OTHER", ())
        let_go.set()
        answer(peers[0])
        await until(outbox, lambda: outbox.statistics().delivered == 3)
        assert [event.store.command.sop_instance for event in peers[0].events if isinstance(event, StoreEnded)] == [
            "2.25.0"
        ]
        await until(outbox, lambda: any(isinstance(event, ReleaseRequested) for event in peers[0].events))
        (request,) = [each.request for each in new_peers[0].events if isinstance(each, AssociationRequested)]
        assert request.calling == "CT1"  # impersonated: what waited is looked at anew
        assert parts.counts() == {}


@on_a_loop
async def test_one_that_was_backed_off_is_tried_at_once_when_it_is_changed(tmp_path):
    async with listening() as (port, _), outbox_to(tmp_path, 1, retry_delays_s=(600.0,)) as (outbox, parts):
        parts.put(1)
        outbox.ring()
        await until(outbox, lambda: outbox._health.in_trouble)
        outbox.go_by(Destination("PACS", "127.0.0.1", port, retry_delays_s=(600.0,)), "LEYDEN", ())
        await until(outbox, lambda: outbox.statistics().delivered == 1)


@on_a_loop
async def test_an_association_that_opens_to_an_address_that_is_no_more_its_own_is_given_up(tmp_path):
    asked = asyncio.Event()

    def says_nothing(peer, event):
        asked.set()
        return True

    async with (
        listening(says_nothing) as (port, _),
        listening() as (new_port, _),
        outbox_to(tmp_path, port) as (outbox, parts),
    ):
        parts.put(1)
        outbox.ring()
        await asked.wait()
        outbox.go_by(Destination("PACS", "127.0.0.1", new_port), "LEYDEN", ())
        await until(outbox, lambda: outbox.statistics().delivered == 1)


@on_a_loop
async def test_one_that_leaves_finishes_what_is_under_way_and_has_nothing_in_hand_then(tmp_path):
    begun, let_go = asyncio.Event(), asyncio.Event()
    async with (
        listening(held(begun, let_go)) as (port, peers),
        outbox_to(tmp_path, port, max_associations=1) as (outbox, parts),
    ):
        for number in range(3):
            parts.put(number)
        outbox.ring()
        await begun.wait()
        leaving = asyncio.create_task(outbox.leave())
        for _ in range(20):
            await asyncio.sleep(0.005)
            outbox.tick()
        assert not leaving.done()
        let_go.set()
        answer(peers[0])
        await until(outbox, leaving.done)
        assert "in_hand=0" in repr(outbox)
        assert parts.counts() == {"prepared": 2}
        assert [line["sop_instance_uid"] for line in await parts.proved()] == ["2.25.0"]
