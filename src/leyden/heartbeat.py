"""How a role shows that it still works: one row of a page of shared memory, which the supervisor reads.

A role writes until when it may be silent. The supervisor kills a role that is late.
"""

import mmap
import time

ROW_BYTES = 8


class Heartbeat:
    """The row of one role: the time (CLOCK_MONOTONIC, in seconds) until which it may be silent; 0.0 = not begun yet.

    `fd` is shared memory of ROW_BYTES a role. A row is one aligned machine word and is written as one: struct would
    write zeros first, and a supervisor that reads in between would kill a role that works.
    """

    def __init__(self, fd: int, row: int) -> None:
        self._rows = memoryview(mmap.mmap(fd, 0)).cast("d")
        self._row = row

    def alive(self, for_s: float) -> None:
        """Promise to call this again within `for_s` seconds; a role that does not is stuck and gets killed."""
        self._rows[self._row] = time.monotonic() + for_s

    def clear(self) -> None:
        self._rows[self._row] = 0.0

    def deadline_s(self) -> float:
        return self._rows[self._row]
