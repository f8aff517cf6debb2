"""The newest settings, from the supervisor to every role: a piece of shared memory that each of them has open.

The supervisor writes a document into the half that is not in use, and then the one word that says which generation is
the newest; its last bit names the half. So a role reads a whole document, at a moment of its own choice, and a look
that finds nothing new costs less than a microsecond. A role that starts later reads it in the same way. Nothing is
sent, so nothing queues up or is lost when a role is slow or dies. A role can't write to it, whatever it does: the
memory is sealed. Deliberately absent: what a document says.
"""

import contextlib
import errno
import fcntl
import mmap
import os

HALF_BYTES = 64 << 20  # far above what the files may hold; only what is written takes memory
_HEAD_BYTES = mmap.PAGESIZE
_LENGTH_BYTES = 8
# Nobody maps it to write any more, nor writes by a call, and nobody unseals it; the mapping that is there stays. Linux
# 5.1; Python names these from 3.8 on, but F_SEAL_FUTURE_WRITE not before 3.13 (<linux/fcntl.h>).
_F_SEAL_FUTURE_WRITE = 0x0010
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | _F_SEAL_FUTURE_WRITE


class Publisher:
    """The one who writes; `fd` is for those who read."""

    def __init__(self) -> None:
        """OSError: the system has no memory for it."""
        self.fd = os.memfd_create("leyden-settings", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, _HEAD_BYTES + 2 * HALF_BYTES)
        self._memory = mmap.mmap(self.fd, _HEAD_BYTES + 2 * HALF_BYTES)
        # One aligned machine word, written as one, as those of heartbeat.py are.
        self._generation = memoryview(self._memory)[:_HEAD_BYTES].cast("Q")
        with contextlib.suppress(OSError):  # an older Linux
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)

    def write(self, generation: int, document: bytes) -> None:
        """Lay it down as the one that comes next. `generation` is one more than the last one's.

        OSError: it is too long, or there is no memory for it; the last one stays the newest.
        """
        if len(document) > HALF_BYTES - _LENGTH_BYTES:
            raise OSError(errno.EFBIG, "the configuration is too large")
        content = len(document).to_bytes(_LENGTH_BYTES, "little") + document
        at = _half(generation)
        os.posix_fallocate(self.fd, at, len(content))  # else a lack of memory would be a SIGBUS
        self._memory[at : at + len(content)] = content

    def put_in_force(self, generation: int) -> None:
        """Make what was written last the newest. It can't fail."""
        self._generation[0] = generation

    def publish(self, generation: int, document: bytes) -> None:
        """Both. OSError."""
        self.write(generation, document)
        self.put_in_force(generation)


class Published:
    """What a role reads, of the shared memory behind `fd`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._generation = memoryview(mmap.mmap(fd, _HEAD_BYTES, access=mmap.ACCESS_READ)).cast("Q")

    def newer_than(self, generation: int) -> bytes | None:
        """The newest document; None if it is of this generation."""
        while (newest := self._generation[0]) != generation:
            at = _half(newest)
            length = int.from_bytes(os.pread(self._fd, _LENGTH_BYTES, at), "little")
            document = os.pread(self._fd, min(length, HALF_BYTES), at + _LENGTH_BYTES)
            if self._generation[0] == newest:
                return document  # while it was the newest, only the other half was written
        return None


def _half(generation: int) -> int:
    return _HEAD_BYTES + generation % 2 * HALF_BYTES
