"""The newest settings, from the supervisor to every role: a piece of shared memory that each of them has open.

The supervisor writes a document into the half that is not in use, and then the one word that says which generation is
the newest; its last bit names the half. So a role reads a whole document, at a moment of its own choice, and a look
that finds nothing new costs less than a microsecond. A role that starts later reads it in the same way. Nothing is
sent, so nothing queues up or is lost when a role is slow or dies. Deliberately absent: what a document says.
"""

import errno
import mmap
import os

HALF_BYTES = 64 << 20  # far above what the files may hold; only what is written takes memory
_HEAD_BYTES = mmap.PAGESIZE
_LENGTH_BYTES = 8


class Published:
    """The shared memory behind `fd`, which is made as large as it has to be. One process publishes, any may read."""

    def __init__(self, fd: int) -> None:
        if not os.fstat(fd).st_size:
            os.ftruncate(fd, _HEAD_BYTES + 2 * HALF_BYTES)
        self._fd = fd
        # One aligned machine word, written as one, as those of heartbeat.py are.
        self._generation = memoryview(mmap.mmap(fd, _HEAD_BYTES)).cast("Q")

    def publish(self, generation: int, document: bytes) -> None:
        """Make this the newest. `generation` is one more than the last one's.

        OSError: it is too long, or there is no memory for it; the last one stays the newest.
        """
        if len(document) > HALF_BYTES - _LENGTH_BYTES:
            raise OSError(errno.EFBIG, "the configuration is too large")
        content = memoryview(len(document).to_bytes(_LENGTH_BYTES, "little") + document)
        at = _half(generation)
        while content:
            written = os.pwrite(self._fd, content, at)
            content, at = content[written:], at + written
        self._generation[0] = generation

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
