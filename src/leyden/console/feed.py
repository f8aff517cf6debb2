"""What the console hears: it reads the journal as it grows, and hands what was told to those who show it."""

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from leyden import log
from leyden.journal.segments import FOLDER
from leyden.journal.tail import Tail, Told

logger = logging.getLogger("leyden.console")

READ_S = 0.5
_MORE = 2_000  # events in one go, some 10 ms


class Consumer(Protocol):
    """Who wants to know what was told."""

    def take(self, told: Sequence[Told]) -> None:
        """To be called in the event loop, with what is new."""


async def follow(root: Path, consumers: Sequence[Consumer]) -> None:
    """Until it is cancelled: read the journal of a spool, and hand it on."""
    tail = Tail(os.fspath(root / FOLDER))
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
