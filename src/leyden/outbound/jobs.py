"""The tasks of an outbox. What one of them raises is a fault of ours: it is logged, and the others go on."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger("leyden.sender")


class Jobs:
    """Tasks that are started and not awaited."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, job: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s: a fault of ours", self._title, exc_info=error)

    async def drain(self, for_s: float) -> None:
        """Wait for what is under way, for so long; then cancel it, and wait until it has ended."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=for_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
