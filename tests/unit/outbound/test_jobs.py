"""What the tasks of an outbox raise harms nobody else, and all of them end."""

import asyncio

from leyden.outbound.jobs import Jobs
from support.outbound import on_a_loop


@on_a_loop
async def test_a_fault_is_logged_and_the_others_go_on(caplog):
    jobs = Jobs("PACS")
    ended = asyncio.Event()

    async def faulty():
        raise ValueError("that was wrong")

    async def good():
        await asyncio.sleep(0)
        ended.set()

    jobs.start(faulty())
    jobs.start(good())
    await jobs.drain(5)
    assert ended.is_set()
    assert "PACS: a fault of ours" in caplog.text
    assert "that was wrong" in caplog.text


@on_a_loop
async def test_what_does_not_end_in_time_is_cancelled_and_may_clean_up(caplog):
    jobs = Jobs("PACS")
    cleaned = []

    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    jobs.start(forever())
    await jobs.drain(0.01)
    assert cleaned
    assert not caplog.text
    await jobs.drain(0)
