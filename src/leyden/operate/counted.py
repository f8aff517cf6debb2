"""What waits where, for those who ask often: a walk over the spool, kept for a while that grows with what it cost."""

import threading
import time
from pathlib import Path

from leyden.spool.listing import Count, counts

LEAST_S = 2.0
TIMES_COST = 50  # of one core, the walks take at most a fiftieth


class Counted:
    """The counts of one spool. Any thread may ask; one walks, and the others have the last counts meanwhile."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._walking = threading.Lock()
        self._counts: tuple[Count, ...] = ()
        self._at_s = 0.0
        self._due_s = 0.0

    def now(self) -> tuple[tuple[Count, ...], float]:
        """The counts, and when they were made (seconds since 1970); 0.0 = never. OSError.

        A million entries take half a second, and are counted again after half a minute.
        """
        first = not self._at_s
        if time.monotonic() >= self._due_s and self._walking.acquire(blocking=first):
            try:
                if time.monotonic() >= self._due_s:
                    self._walk()
            finally:
                self._walking.release()
        return self._counts, self._at_s

    def _walk(self) -> None:
        start_s = time.monotonic()
        self._counts, self._at_s = tuple(counts(self._root)), time.time()
        end_s = time.monotonic()
        self._due_s = end_s + max(LEAST_S, TIMES_COST * (end_s - start_s))
