"""Slow looks at the disk, in a few threads beside the event loop, so that none of them holds up an answer.

A look can't be ended from outside; so there are few at a time, few wait, and more are refused.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, ParamSpec, TypeVar

from leyden.console.call import Refused

AT_ONCE = 2
WAITING_MAX = 16
GOOD_S = 1.0
SHARE = 10  # what is found out again and again takes a tenth of the time at most

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Walks:
    """The threads."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, "walk")
        self._under_way = 0

    async def do(self, what: Callable[_P, _T], *given: _P.args, **named: _P.kwargs) -> _T:
        """Call it in a thread. Raises what it raises; Refused (503): too many wait already."""
        if self._under_way >= AT_ONCE + WAITING_MAX:
            raise Refused(503, "busy", "too much is asked of the spool at once", wait_s=5)
        self._under_way += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, partial(what, *given, **named))
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def _done(self, future: "asyncio.Future[_T]") -> None:
        self._under_way -= 1
        if not future.cancelled():
            future.exception()  # nobody may wait for it any more

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Shared(Generic[_T]):
    """What many ask for and is the same for all: found out once, and good for GOOD_S, or longer if it took long."""

    def __init__(self, walks: Walks, what: Callable[[], _T]) -> None:
        self._walks, self._what = walks, what
        self._found: tuple[_T] | None = None
        self._until_s = 0.0
        self._finding: asyncio.Task[_T] | None = None

    async def get(self) -> _T:
        """Raises what it raises."""
        if self._found is not None and time.monotonic() < self._until_s:
            return self._found[0]
        if self._finding is None:
            self._finding = asyncio.create_task(self._find())
            self._finding.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._finding)

    def forget(self) -> None:
        """It has changed."""
        self._until_s = 0.0

    async def _find(self) -> _T:
        begun_s = time.monotonic()
        try:
            found = await self._walks.do(self._what)
            ended_s = time.monotonic()
            self._found, self._until_s = (found,), ended_s + max(GOOD_S, SHARE * (ended_s - begun_s))
            return found
        finally:
            self._finding = None
