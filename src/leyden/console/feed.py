"""What the console hears: it reads the journal as it grows, and hands what was told to those who show it."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Protocol

from leyden import log
from leyden.console.live import Live, midnight_s
from leyden.journal.tail import Positions, Tail, Told, before

logger = logging.getLogger("leyden.console")

READ_S = 0.5
RECALLED_BYTES = 256 << 20  # some 900,000 events, 3 s
_MORE = 2_000  # events in one go, some 10 ms


class Consumer(Protocol):
    """Who wants to know what was told."""

    def take(self, told: Sequence[Told]) -> None:
        """To be called in the event loop, with what is new."""


async def follow(tail: Tail, consumers: Sequence[Consumer]) -> None:
    """Until it is cancelled: read what is told, and hand it on."""
    try:
        while True:
            try:
                told = tail.read(_MORE)
            except OSError as error:
                log.once(logger, logging.WARNING, "journal", f"the journal can't be read: {error}")
                told = []
            if told:
                for consumer in consumers:
                    consumer.take(told)
            await asyncio.sleep(0 if len(told) >= _MORE else READ_S)
    finally:
        tail.close()


async def recall(folder: str, positions: Positions, live: Live) -> None:
    """Hand on what was told today up to these positions of a Tail. `folder`: that of the journal."""
    try:
        since_s, pieces = before(folder, positions, midnight_s(time.time()), RECALLED_BYTES)
        oldest_s = time.time()
        while (told := await asyncio.to_thread(next, pieces, None)) is not None:
            live.take(told)
            oldest_s = min([oldest_s, *(each.event.at_s for each in told)])
            live.whole_from(max(since_s, oldest_s))
    except OSError as error:
        log.once(logger, logging.WARNING, "journal", f"the journal can't be read: {error}")
