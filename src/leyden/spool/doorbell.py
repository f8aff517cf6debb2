"""Doorbells: a FIFO a role in bell/, one byte a ring. A hint, never a message: losing one delays by a second.

Each role looks by itself once a second besides. The reader holds its FIFO open for writing too, so that no ringer's
close looks like the end of the file.
"""

import contextlib
import os
import select
import stat
from pathlib import Path

_BUFFER_BYTES = 65536  # what a FIFO holds: one read empties it


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


def ring(root: Path, role: str) -> None:
    """Ring ("planner", "sender", "worker-0"); never blocks, never fails: nobody there is nobody there."""
    try:
        fd = os.open(root / "bell" / role, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        # A regular file that somebody put there takes the byte, too; the reader replaces it when it starts.
        with contextlib.suppress(OSError):
            os.write(fd, b"!")
    finally:
        os.close(fd)
