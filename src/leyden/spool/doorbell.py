"""Doorbells: bell/ has a FIFO for each role, and a ring is one byte. It says only "look": no ring carries a message.

Each role also looks by itself once a second, so that a lost ring costs at most that. The reader keeps its FIFO open for
writing too: otherwise it would read an end of file whenever the last ringer closes it.
"""

import contextlib
import os
import select
import stat
import threading
from pathlib import Path

_BUFFER_BYTES = 65536  # what a FIFO holds: one read empties it
GATHER_S, GATHER_MAX_S = 0.005, 0.02


def gather_s(found: int) -> float:
    """After a turn that found so many objects: how long from its start until the next one may begin, even if it rings.

    A turn costs more than an object, so objects that come in a stream are gathered and handled together. Where few
    come, this time is long over, and the next turn begins at once.
    """
    return min(GATHER_MAX_S, found * GATHER_S)


class Bell:
    """The reader's end of bell/<role>, which is made if need be (0600)."""

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
        """Ring one's own bell (from a signal handler, say)."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._fd, b"!")

    def drain(self) -> bool:
        """Take all rings so far, without blocking. True if there was one."""
        try:
            return bool(os.read(self._fd, _BUFFER_BYTES))
        except BlockingIOError:
            return False

    def wait(self, timeout_s: float) -> bool:
        """Block until it rings, at most `timeout_s`, and take all rings. True if there was one."""
        select.select([self._fd], [], [], max(0.0, timeout_s))
        return self.drain()

    def close(self) -> None:
        """Close the reader's end; the FIFO stays."""
        os.close(self._fd)


class Ringer:
    """Rings one bell ("planner", "sender", "worker-0") and keeps it open. Never blocks or fails; for any thread."""

    def __init__(self, root: Path, role: str) -> None:
        self._path = root / "bell" / role
        self._fd = -1
        # Without it one thread could close the descriptor, and another write into the file that has its number by then.
        self._lock = threading.Lock()

    def ring(self) -> None:
        """Ring once; without a reader, nothing happens. If the FIFO was replaced, the next ring opens the new one."""
        with self._lock:
            try:
                if self._fd < 0:
                    self._fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                # A regular file in its place takes the byte as well; the reader replaces it when it starts.
                os.write(self._fd, b"!")
                if not os.fstat(self._fd).st_nlink:
                    self._close()
            except BlockingIOError:
                return  # the FIFO is full: the reader has rings enough
            except OSError:
                self._close()

    def close(self) -> None:
        """Close the bell; a later ring opens it again."""
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
