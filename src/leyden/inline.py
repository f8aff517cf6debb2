"""Work on the disk for an event loop: done in the loop while it is quick, else in a thread.

The way to a thread and back costs more than a quick piece of work. What was quick the last time is taken for quick the
next time, too; one piece that is slow after all holds the loop up once.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

QUICK_S = 0.002  # the way to a thread and back costs as much

_A = TypeVarTuple("_A")
_T = TypeVar("_T")


def begun(count: int, name: str) -> ThreadPoolExecutor:
    """So many threads, which are begun at once: what runs later can't fail for the want of one. RuntimeError."""
    threads = ThreadPoolExecutor(count, name)
    all_there = threading.Barrier(count)
    try:
        for there in [threads.submit(all_there.wait) for _ in range(count)]:
            there.result()
    except RuntimeError:
        all_there.abort()
        threads.shutdown(wait=False)
        raise
    return threads


class Inline:
    """One kind of work. `quick`: it is to be done in the event loop, since the last piece took less than `limit_s`.

    `at_first`: whether the first piece is taken for quick.
    """

    def __init__(self, limit_s: float = QUICK_S, *, at_first: bool = False) -> None:
        self.quick = at_first
        self._limit_s = limit_s

    def took(self, for_s: float) -> None:
        """How long the last piece took, wherever it was done. From any thread."""
        self.quick = for_s < self._limit_s

    async def run(self, threads: Executor, work: Callable[[*_A], _T], *arguments: *_A) -> _T:
        """The result of `work`, which is done here or in `threads`; or what it raises."""
        start_s = time.monotonic()
        try:
            if self.quick:
                return work(*arguments)
            return await asyncio.get_running_loop().run_in_executor(threads, work, *arguments)
        finally:
            self.took(time.monotonic() - start_s)
