"""Doorbells: bell/ has a FIFO for each role, and a ring is one byte. It only says "look"; it carries no message.

Each role also looks by itself once a second, so a lost ring costs at most a second. The reader opens its FIFO for
writing too: otherwise it would read an end of file whenever the last ringer closes it.
"""

import contextlib
import os
import select
import stat
import threading
from pathlib import Path

_BUFFER_BYTES = 65536  # what a FIFO holds: one read empties it
GATHER_S = 0.005  # for each object of the last turn
GATHER_MAX_S = 0.02


def gather_s(found: int) -> float:
    """How many seconds after the start of a turn the next one may start, even if the bell rings sooner.

    `found` is the number of objects that the turn found. A turn costs more than an object, so objects that arrive in a
    stream are collected and handled together. If only few arrive, this time is over before the bell rings, and the
    next turn starts at once.
    """
    return min(GATHER_MAX_S, found * GATHER_S)


class Bell:
    """The reader's end of bell/<role>. The FIFO (mode 0600) is made if it is missing."""

    def __init__(self, root: Path, role: str) -> None:
        path = root / "bell" / role
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISFIFO(os.lstat(path).st_mode):
                os.unlink(path)
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """For select() and loop.add_reader()."""
        return self._fd

    def ring(self) -> None:
        """Ring one's own bell, for example from a signal handler."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._fd, b"!")

    def drain(self) -> bool:
        """Take all rings so far, without blocking. True if there were any."""
        try:
            return bool(os.read(self._fd, _BUFFER_BYTES))
        except BlockingIOError:
            return False

    def wait(self, timeout_s: float) -> bool:
        """Block until it rings, for `timeout_s` at most, and take all rings. True if there were any."""
        select.select([self._fd], [], [], max(0.0, timeout_s))
        return self.drain()

    def close(self) -> None:
        """Close the reader's end; the FIFO stays."""
        os.close(self._fd)


class Ringer:
    """Rings one bell ("planner", "sender", "worker-0") and keeps it open. Never blocks, never fails, thread-safe."""

    def __init__(self, root: Path, role: str) -> None:
        self._path = root / "bell" / role
        self._fd = -1
        # Without the lock one thread could close the descriptor while another writes to it. If the number has been
        # reused by then, the byte would end up in another file.
        self._lock = threading.Lock()

    def ring(self) -> None:
        """Ring once. Without a reader nothing happens. If the FIFO was replaced, the next ring opens the new one."""
        with self._lock:
            try:
                if self._fd < 0:
                    self._fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                # If a regular file stands in its place, the byte goes there; the reader replaces the file at its start.
                os.write(self._fd, b"!")
                if not os.fstat(self._fd).st_nlink:
                    self._close()
            except BlockingIOError:
                return  # the FIFO is full: the reader has enough rings already
            except OSError:
                self._close()

    def close(self) -> None:
        """Close the FIFO; a later ring opens it again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def ring(root: Path, role: str) -> None:
    """Ring a bell once."""
    ringer = Ringer(root, role)
    ringer.ring()
    ringer.close()
