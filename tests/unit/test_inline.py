"""Work on the disk is done in the event loop while it is quick, and else in a thread."""

import asyncio
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from leyden.inline import Inline, begun
from support.service import wait_for


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


def test_threads_are_begun_at_once_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may begin no more threads finds out at its start."""
    threads = begun(3, "here")
    assert sum(each.name.startswith("here") for each in threading.enumerate()) == 3
    threads.shutdown()
    start = threading.Thread.start
    left = [2]

    def limited(thread: threading.Thread) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RuntimeError):
        begun(3, "nowhere")
    monkeypatch.undo()
    wait_for(lambda: not [each for each in threading.enumerate() if each.name.startswith("nowhere")])
