"""Doorbells: a FIFO a role in bell/, one byte a ring. A hint, never a message: losing one delays by a second.

Each role looks by itself once a second besides. The reader holds its FIFO open for writing too, so that no ringer's
close looks like the end of the file.
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
    """How long after the start of a turn that found so many the next one is to begin, however soon it rings.

    What comes one by one is so looked after together, since a turn costs more than an object; where little comes, the
    first one has long been over and the next is at once.
    """
    return min(GATHER_MAX_S, found * GATHER_S)


class Bell:
    """The reader's end of bell/<role>, made if it is not there (0600)."""

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
        """Take every ring so far, without blocking; True if there was one."""
        try:
            return bool(os.read(self._fd, _BUFFER_BYTES))
        except BlockingIOError:
            return False

    def wait(self, timeout_s: float) -> bool:
        """Block until it rings, at most timeout_s, and drain. True if it rang."""
        select.select([self._fd], [], [], max(0.0, timeout_s))
        return self.drain()

    def close(self) -> None:
        """Close the reader's end; the FIFO stays."""
        os.close(self._fd)


class Ringer:
    """Rings one bell ("planner", "sender", "worker-0"), which it keeps open; never blocks, never fails. Any thread."""

    def __init__(self, root: Path, role: str) -> None:
        self._path = root / "bell" / role
        self._fd = -1
        self._lock = threading.Lock()  # a number that one thread closes may be another file's before a second one rings

    def ring(self) -> None:
        """Nobody there is nobody there. A bell that was put in the place of the open one is found by the next ring."""
        with self._lock:
            try:
                if self._fd < 0:
                    self._fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                # A regular file that somebody put there takes the byte, too; the reader replaces it when it starts.
                os.write(self._fd, b"!")
                if not os.fstat(self._fd).st_nlink:
                    self._close()
            except BlockingIOError:
                return  # full of rings
            except OSError:
                self._close()

    def close(self) -> None:
        """Let go of the bell."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def ring(root: Path, role: str) -> None:
    """Ring once."""
    ringer = Ringer(root, role)
    ringer.ring()
    ringer.close()
