"""What a role is born with: its name, the settings, and descriptors that the supervisor opened before it.

The lifeline is a pipe whose other end only the supervisor holds: its end of file means that the supervisor is gone,
and the role ends at once, in whatever line it is (recovery is the same code as a clean start). The board is one shared
page on which each role writes until when it wants to be believed alive; the supervisor kills whoever is late.
"""

import contextlib
import mmap
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from leyden import crash, log
from leyden.config.settings import Settings
from leyden.spool.store import Spool

LISTEN_BACKLOG = 1024  # told again by each role that listens: it would set another one
BOARD_ROW_BYTES = 8


class Board:
    """One row of the shared page: the CLOCK_MONOTONIC time, in seconds, up to which a role vouches for itself.

    0.0 means that the role has not begun its work yet. `fd` is as many rows long as there are roles. A row is one
    aligned machine word and is stored as such: struct writes zeros first, and a look in between kills a living role.
    """

    def __init__(self, fd: int, row: int) -> None:
        self._rows = memoryview(mmap.mmap(fd, 0)).cast("d")
        self._row = row

    def alive(self, for_s: float) -> None:
        """Promise to write again within `for_s` seconds; a role that does not is stuck and gets killed."""
        self._rows[self._row] = time.monotonic() + for_s

    def clear(self) -> None:
        self._rows[self._row] = 0.0

    def deadline_s(self) -> float:
        return self._rows[self._row]


@dataclass(frozen=True, slots=True)
class Boot:
    """Everything a role may know at its start. Descriptors that a role has no use for are -1."""

    role: str
    number: int
    settings: Settings
    board: Board
    lifeline_fd: int
    listen_fd: int = -1
    arena_fd: int = -1

    @property
    def name(self) -> str:
        return f"{self.role}-{self.number}"

    @property
    def spool(self) -> Spool:
        return Spool(self.settings.spool_root, sync=self.settings.sync_spool)


def start(
    role: str,
    number: int,
    *,
    settings_fd: int,
    lifeline_fd: int,
    board_fd: int,
    row: int,
    listen_fd: int,
    arena_fd: int,
) -> Boot:
    """Take what the supervisor handed over, begin logging, and tie this process's life to the supervisor's."""
    size = os.fstat(settings_fd).st_size
    settings = Settings.from_json(os.pread(settings_fd, size, 0))
    with contextlib.suppress(OSError):  # what cannot be written now is on standard error, and is tried again
        log.set_up(f"{role}-{number}", Path(settings.log_dir))
    crash.arm(role)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=_end_with_supervisor, args=(lifeline_fd,), name="lifeline", daemon=True).start()
    return Boot(role, number, settings, Board(board_fd, row), lifeline_fd, listen_fd, arena_fd)


def _end_with_supervisor(lifeline_fd: int) -> None:
    while os.read(lifeline_fd, 1):
        pass
    os._exit(1)
