"""Work on the disk from an event loop: where it is, while that is quick, else in a thread."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple

QUICK_S = 0.002  # the way to a thread and back costs as much

_A = TypeVarTuple("_A")
_T = TypeVar("_T")


class Quick:
    """Runs one kind of work, in the event loop if it took no longer than QUICK_S the last time, else in `threads`."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._is_quick = False

    async def run(self, work: Callable[[*_A], _T], *arguments: *_A) -> _T:
        """The result of `work`, or what it raises."""
        begin_s = time.monotonic()
        try:
            if self._is_quick:
                return work(*arguments)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, work, *arguments)
        finally:
            self._is_quick = time.monotonic() - begin_s < QUICK_S
