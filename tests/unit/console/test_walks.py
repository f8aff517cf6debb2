"""Slow looks at the disk: few at a time, few that wait, and never in the event loop."""

import asyncio
import threading

import pytest

from leyden.console.call import Refused
from leyden.console.walks import AT_ONCE, WAITING_MAX, Walks


def test_few_at_a_time_and_more_are_refused() -> None:
    async def ask() -> None:
        walks, going = Walks(), threading.Event()
        at_once, most, lock = 0, 0, threading.Lock()

        def walk() -> str:
            nonlocal at_once, most
            with lock:
                at_once += 1
                most = max(most, at_once)
            going.wait(30)
            with lock:
                at_once -= 1
            return threading.current_thread().name

        under_way = [asyncio.create_task(walks.do(walk)) for _ in range(AT_ONCE + WAITING_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(Refused) as refused:
            await walks.do(walk)
        assert (refused.value.status, refused.value.wait_s > 0) == (503, True)
        under_way[0].cancel()
        going.set()
        done = await asyncio.gather(*under_way, return_exceptions=True)
        assert isinstance(done[0], asyncio.CancelledError)
        assert all(str(name).startswith("walk") for name in done[1:])
        assert most == AT_ONCE
        assert await walks.do(lambda: 1) == 1, "there is room again"
        walks.close()

    asyncio.run(ask())


def test_what_a_walk_raises_is_raised() -> None:
    def walk() -> None:
        raise FileNotFoundError("gone")

    async def ask() -> None:
        walks = Walks()
        with pytest.raises(FileNotFoundError):
            await walks.do(walk)
        walks.close()

    asyncio.run(ask())
