"""Work on the disk is done in the event loop while it is quick, and else in a thread."""

import asyncio
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from leyden.inline import Inline


@pytest.mark.parametrize(("limit_s", "second_is_inline"), [(math.inf, True), (0.0, False)])
def test_what_was_quick_the_last_time_is_done_in_the_loop(limit_s, second_is_inline):
    async def run():
        inline = Inline(limit_s)
        with ThreadPoolExecutor(1) as threads:
            return [await inline.run(threads, threading.current_thread) for _ in range(2)]

    first, second = asyncio.run(run())
    assert first is not threading.current_thread()
    assert (second is threading.current_thread()) is second_is_inline


def test_what_the_work_raises_comes_out_of_either_and_its_time_counts():
    def fails(error):
        raise error

    async def run():
        inline = Inline(math.inf)
        with ThreadPoolExecutor(1) as threads:
            for error in (OSError(28, "No space left on device"), ValueError("again")):
                with pytest.raises(type(error)):
                    await inline.run(threads, fails, error)
        return inline.quick

    assert asyncio.run(run())
