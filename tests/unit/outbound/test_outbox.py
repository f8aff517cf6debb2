"""An outbox as the sender uses it: it is rung, told that time passes, asked for its counts, and drained."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from leyden.deliver.destination import Destination
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
