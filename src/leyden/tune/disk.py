"""How many objects a second this disk keeps durably: the spool's own group commit, without a network in front of it."""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

from leyden.spool.batch import GroupCommit, begin_writing
from leyden.spool.entry import ReceiptClock
from leyden.spool.store import Spool
from leyden.tune.model import Cost

PIECE_BYTES = 128 << 10  # after which a receiver asks the disk to begin
AT_ONCE = 4  # associations
BYTES_MAX = 512 << 20  # of each size
OBJECTS_MIN = 8  # of each size, however slow the disk is
FOLDER = "disk"


def measure(folder: Path, sizes: Sequence[int], seconds: float, *, sync: bool = True) -> dict[int, float]:
    """Objects a second by size, over AT_ONCE associations, each measured for `seconds`.

    `folder` is on the disk in question, and the caller removes it: what is written stays until then, because some file
    systems make the next files slowly after many were removed. Raises OSError, Transient.
    """
    spool = Spool(folder / FOLDER, sync=sync)
    spool.prepare(())
    return {size: asyncio.run(_rate(spool, size, seconds)) for size in sizes}


def cost(per_s: dict[int, float]) -> Cost:
    """What one object costs, of the rates of two sizes."""
    (small, small_per_s), *_, (large, large_per_s) = sorted(per_s.items())
    return Cost.through((small, 1 / small_per_s), (large, 1 / large_per_s))


async def _rate(spool: Spool, size_bytes: int, seconds: float) -> float:
    commits, receipts = GroupCommit(spool), ReceiptClock(0, 0)
    piece = memoryview(bytes(min(size_bytes, PIECE_BYTES)))
    begin_s = time.monotonic()
    count = 0

    async def association() -> None:
        nonlocal count
        while count < OBJECTS_MIN or (time.monotonic() - begin_s < seconds and count * size_bytes < BYTES_MAX):
            receipt = receipts.next(time.time_ns() // 1000)
            fd, path = spool.embryo(receipt)
            left = size_bytes
            while left > 0:
                left -= os.write(fd, piece[:left])
                if left > 0:
                    begin_writing(fd)
            count += 1
            await commits.commit(fd, path, receipt)

    try:
        await asyncio.gather(*(association() for _ in range(AT_ONCE)))
        return count / (time.monotonic() - begin_s)
    finally:
        commits.close()
