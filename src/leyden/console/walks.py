"""Slow looks at the disk, in a few threads beside the event loop, so that none of them holds up an answer.

A look can't be ended from outside; so there are few at a time, few wait, and more are refused.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from leyden.console.call import Refused

AT_ONCE = 2
WAITING_MAX = 16

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
