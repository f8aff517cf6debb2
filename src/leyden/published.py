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

LEAST_BYTES = 2 << 20  # of a half; only what is written takes memory
GROWTH = 8  # a half has room for so many documents like the first one: the mapping can't be made larger later
_HEAD_BYTES = mmap.PAGESIZE
_LENGTH_BYTES = 8
# Nobody maps it to write any more, nor writes by a call, and nobody unseals it; the mapping that is there stays. Linux
# 5.1; Python names these from 3.8 on, but F_SEAL_FUTURE_WRITE not before 3.13 (<linux/fcntl.h>).
_F_SEAL_FUTURE_WRITE = 0x0010
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | _F_SEAL_FUTURE_WRITE


class Publisher:
    """The one who writes; `fd` is for those who read."""

    def __init__(self, first_bytes: int = 0) -> None:
        """`first_bytes`: how long the first document is. OSError: the system has no memory for it."""
        self._half_bytes = -(-max(LEAST_BYTES, GROWTH * first_bytes) // mmap.PAGESIZE) * mmap.PAGESIZE
        whole_bytes = _HEAD_BYTES + 2 * self._half_bytes
        self.fd = os.memfd_create("leyden-settings", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, whole_bytes)
        self._memory = mmap.mmap(self.fd, whole_bytes)
        # Two aligned machine words, each written as one, as those of heartbeat.py are: generation, bytes of a half.
        self._words = memoryview(self._memory)[:_HEAD_BYTES].cast("Q")
        self._words[1] = self._half_bytes
        with contextlib.suppress(OSError):  # an older Linux
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)

    def write(self, generation: int, document: bytes) -> None:
        """Lay it down as the one that comes next. `generation` is one more than the last one's.

        OSError: it is too long, or there is no memory for it; the last one stays the newest.
        """
        if len(document) > self._half_bytes - _LENGTH_BYTES:
            raise OSError(errno.EFBIG, "the configuration has grown too large for a reload: it takes a restart")
        content = len(document).to_bytes(_LENGTH_BYTES, "little") + document
        at = _HEAD_BYTES + generation % 2 * self._half_bytes
        os.posix_fallocate(self.fd, at, len(content))  # else a lack of memory would be a SIGBUS
        self._memory[at : at + len(content)] = content

    def put_in_force(self, generation: int) -> None:
        """Make what was written last the newest. It can't fail."""
        self._words[0] = generation

    def publish(self, generation: int, document: bytes) -> None:
        """Both. OSError."""
        self.write(generation, document)
        self.put_in_force(generation)


class Published:
    """What a role reads, of the shared memory behind `fd`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._words = memoryview(mmap.mmap(fd, _HEAD_BYTES, access=mmap.ACCESS_READ)).cast("Q")

    def newer_than(self, generation: int) -> bytes | None:
        """The newest document; None if it is of this generation."""
        while (newest := self._words[0]) != generation:
            half_bytes = self._words[1]
            at = _HEAD_BYTES + newest % 2 * half_bytes
            length = int.from_bytes(os.pread(self._fd, _LENGTH_BYTES, at), "little")
            document = os.pread(self._fd, min(length, half_bytes), at + _LENGTH_BYTES)
            if self._words[0] == newest:
                return document  # while it was the newest, only the other half was written
        return None
