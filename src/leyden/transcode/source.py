"""An object opened for transcoding: its bytes by pread, its header, and what the header says about its pixels.

A deflated dataset is inflated once, up to a limit, into a file without a name beside the object; the rest of the
package then sees explicit little endian. It sees no values of odd length either, as each is padded with its byte. No
dataset is held in memory as a whole.
"""

import errno
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from leyden.dicom import signed, uids
from leyden.dicom.elements import EXPLICIT, ByteSource, tag_name
from leyden.dicom.even import PaddedView, changed_tags, changes, odd_inside
from leyden.dicom.header import Dataset, Header, peek
from leyden.dicom.part10 import HEAD_MAX_BYTES, META_OFFSET, FileMeta, decode_head, encode_head
from leyden.dicom.uids import SYNTAXES
from leyden.errors import Corrupt, LeydenError
from leyden.transcode.pixels import Description, Unfit

CHUNK_BYTES = 1 << 20
MAX_INFLATED_BYTES = 2 << 30
FREE_SHARE = 4  # a deflated dataset may take a quarter of the free space: other objects are received meanwhile
_T = TypeVar("_T")
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # no symbolic link, no FIFO that blocks
_NOT_THE_FILE = (errno.ENOENT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # taken away, or this process lacks something
_SAMPLES = 0x00280002
_PHOTOMETRIC = 0x00280004
_PLANAR = 0x00280006
_FRAMES = 0x00280008
_ROWS = 0x00280010
_COLUMNS = 0x00280011
_ALLOCATED = 0x00280100
_STORED = 0x00280101
_HIGH_BIT = 0x00280102
_REPRESENTATION = 0x00280103


class Unreadable(LeydenError):
    """The file exists, but the system refuses to read it."""


class Source:
    """One Part 10 file.

    - `received`: the transfer syntax in which it came; `syntax`: that in which its bytes are read here. They differ
      after inflating.
    - `uneven`: as it came, a value or a deflated dataset as a whole was of odd length. Here every value is padded
      (dicom/even.py), except fragments that can't be divided into frames for sure.
    - `unpadded`: why it is better to send it as it came than padded, "" = it is not.
    - `signed`: the same text, if the reason is that digital signatures would be broken.
    - `original`: the object that this one was made of on the way, None = it is the one that came.
    - `flaw`: why nothing can be made of it, "" = something can; only then are the other attributes sure to be set.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, read its head and peek. Corrupt: not Part 10. Unreadable (also later): the system refuses."""
        self._fd = self._came_fd = _reading(os.open, path, _OPEN_FLAGS)
        self._evened: PaddedView | None = None
        self.flaw = ""
        self.uneven = False
        self.unpadded = self.signed = ""
        self.original: Source | None = None
        self.header: Header
        try:
            self._open(path.parent)
        except BaseException:
            self.close()
            raise

    def _open(self, scratch: Path) -> None:
        self.size = os.fstat(self._fd).st_size
        found = decode_head(self.read_at(0, 1024)) or decode_head(self.read_at(0, HEAD_MAX_BYTES))
        if found is None:
            raise Corrupt("a file that ends within its file meta")
        self.meta: FileMeta = found[0]
        self._start = found[1]
        syntax = SYNTAXES.get(self.meta.transfer_syntax_uid)
        if syntax is None:
            self.flaw = "a transfer syntax that the standard does not know"
            return
        self.received = self.syntax = syntax
        odd_stream = syntax.deflated and (self.size - self._start) % 2 > 0
        try:
            if syntax.uid == uids.DEFLATED_LE:
                self._inflate(scratch)
            self.header = peek(self.read_at, self.size)
            if self.header.flaw:
                self.flaw = f"a dataset that does not parse: {self.header.flaw}"
            else:
                self.uneven = odd_stream
                self._even()
                if self._fd != self._came_fd:
                    self.header = replace(self.header, meta=self.meta, file_meta=self._file_meta())
        except Corrupt as error:
            self.flaw = f"a dataset that does not parse: {error}"
        except Unfit as error:
            self.flaw = str(error)

    def _file_meta(self) -> Dataset:
        """The file meta information as it came, where the inflated file has one of its own."""

        def read_at(offset: int, length: int) -> bytes:
            return _reading(os.pread, self._came_fd, length, offset)

        return Dataset(ByteSource(read_at, os.fstat(self._came_fd).st_size), META_OFFSET, self._start, EXPLICIT)

    def _inflate(self, scratch: Path) -> None:
        disk = os.statvfs(scratch)
        most_bytes = min(MAX_INFLATED_BYTES, disk.f_bavail * disk.f_frsize // FREE_SHARE)
        with tempfile.TemporaryFile(dir=scratch) as inflated:
            inflated.write(encode_head(replace(self.meta, transfer_syntax_uid=uids.EXPLICIT_LE)))
            for piece in _inflated(self._chunks(self._start), most_bytes):
                inflated.write(piece)
            inflated.flush()
            self._fd = os.dup(inflated.fileno())
        self.size = os.fstat(self._fd).st_size
        self.syntax = SYNTAXES[uids.EXPLICIT_LE]

    def _even(self) -> None:
        if self.syntax.deflated:
            return  # it was not inflated, as its pixels are elsewhere (JPIP)
        try:
            dataset = self.header.dataset
            found, undivided = changes(dataset) if self.header.uneven or odd_inside(dataset) else ((), False)
            covered = signed.touched(dataset, changed_tags(dataset, found), self.syntax)
        except Corrupt:
            return  # nested elements do not parse, so it is not known what would have to be padded
        if undivided:
            self.unpadded = "fragments of odd length that can't be divided into frames for sure"
        elif covered:
            self.unpadded = self.signed = f"digital signatures cover {tag_name(covered[0])}, where lengths are odd"
        if found:
            self.uneven = True
            self._evened = PaddedView(self._pread, self.size, found)
            self.size = self._evened.size
            self.header = peek(self.read_at, self.size)

    def deflated(self) -> Iterator[bytes] | None:
        """A deflated dataset as it came, in pieces; None if it is not deflated, or if a value in it is odd."""
        return self._chunks(self._start) if self.received.deflated and self._evened is None else None

    def _chunks(self, start: int) -> Iterator[bytes]:
        while chunk := _reading(os.pread, self._came_fd, CHUNK_BYTES, start):
            yield chunk
            start += len(chunk)

    def read_at(self, offset: int, length: int) -> bytes:
        return self._evened.read_at(offset, length) if self._evened else self._pread(offset, length)

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill a buffer from `offset` on. Corrupt: the file ends before the buffer is full."""
        at = 0
        while at < len(buffer):
            if self._evened:
                piece = self._evened.read_at(offset + at, min(len(buffer) - at, CHUNK_BYTES))
                buffer[at : at + len(piece)] = piece
                count = len(piece)
            else:
                count = _reading(os.preadv, self._fd, [buffer[at:]], offset + at)
            if count == 0:
                raise Corrupt("the file ends within Pixel Data")
            at += count

    def _pread(self, offset: int, length: int) -> bytes:
        return _reading(os.pread, self._fd, length, offset)

    def close(self) -> None:
        for fd in {self._fd, self._came_fd} - {-1}:
            os.close(fd)
        self._fd = self._came_fd = -1


def _reading(call: Callable[..., _T], *arguments: object) -> _T:
    """Make a system call on the source. Its errors become Unreadable, for they stay; errors in writing may pass."""
    try:
        return call(*arguments)
    except OSError as error:
        if error.errno in _NOT_THE_FILE:
            raise
        raise Unreadable(str(error)) from error


def describe(header: Header) -> Description:
    """The Image Pixel module. Unfit: an attribute that shapes the pixels is missing or not a number."""
    dataset = header.dataset
    wanted = (_ROWS, _COLUMNS, _SAMPLES, _ALLOCATED, _STORED, _HIGH_BIT, _REPRESENTATION)
    numbers = [number for tag in wanted if (number := dataset.integer(tag)) is not None]
    photometric = header.texts(_PHOTOMETRIC)
    frames = dataset.integer(_FRAMES) if header.texts(_FRAMES) else 1
    planar = dataset.integer(_PLANAR) if header.texts(_PLANAR) else 0
    if len(numbers) != len(wanted) or not photometric or frames is None or planar is None:
        raise Unfit("an incomplete Image Pixel module")
    rows, columns, samples, allocated, stored, high_bit, representation = numbers
    return Description(
        rows, columns, samples, allocated, stored, high_bit, representation == 1, photometric[0], planar, frames
    )


def _inflated(chunks: Iterator[bytes], most_bytes: int) -> Iterator[bytes]:
    """The content of a raw deflate stream (PS3.5 A.5), in pieces. Unfit beyond `most_bytes`, Corrupt if broken."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    try:
        for chunk in chunks:
            rest = chunk
            more = True
            while more and not inflater.eof:
                piece = inflater.decompress(rest, CHUNK_BYTES)
                rest = inflater.unconsumed_tail
                total += len(piece)
                more = bool(rest) or len(piece) == CHUNK_BYTES  # after a full piece there may be more output
                if total > most_bytes:
                    raise Unfit(f"a deflated dataset of more than {most_bytes >> 20} MiB")
                yield piece
    except zlib.error as error:
        raise Corrupt(f"a deflated dataset that does not inflate: {error}") from error
    if not inflater.eof:
        raise Corrupt("a deflated dataset that ends too early")
