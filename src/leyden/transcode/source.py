"""An entry opened for transcoding: its bytes by pread, its header, and what its header says of its pixels.

A deflated dataset is inflated once, with a bound, into a file without a name beside the entry; the rest of the package
then sees explicit little endian. Nor does it see values of odd length: each has got its byte. Nothing is held whole.
"""

import errno
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from leyden.dicom import signed, uids
from leyden.dicom.elements import tag_name
from leyden.dicom.even import PaddedView, changed_tags, changes, odd_inside
from leyden.dicom.header import Header, peek
from leyden.dicom.part10 import HEAD_MAX_BYTES, FileMeta, decode_head, encode_head
from leyden.dicom.uids import SYNTAXES
from leyden.errors import Corrupt, LeydenError
from leyden.transcode.pixels import Description, Unfit

CHUNK_BYTES = 1 << 20
MAX_INFLATED_BYTES = 2 << 30
FREE_SHARE = 4  # of the free space, what one deflated dataset may take: others are received meanwhile
_T = TypeVar("_T")
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # no link, no FIFO that hangs us
_NOT_THE_FILE = (errno.ENOENT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # taken away, or a want of ours
_ROWS, _COLUMNS, _SAMPLES, _PHOTOMETRIC, _PLANAR = 0x00280010, 0x00280011, 0x00280002, 0x00280004, 0x00280006
_FRAMES, _ALLOCATED, _STORED, _HIGH_BIT, _REPRESENTATION = 0x00280008, 0x00280100, 0x00280101, 0x00280102, 0x00280103


class Unreadable(LeydenError):
    """The file is there, but the system does not let it be read."""


class Source:
    """One Part 10 file. `syntax` is how its bytes are now, `received` how they came; they differ after inflating.

    `uneven`: a value, or a deflated dataset as a whole, was of odd length as it came; no value is here (dicom/even.py),
    but fragments that nothing divides into frames. `unpadded` says why it is better sent as it came than padded, "" =
    it is not; that is `signed` where digital signatures would be broken.
    `flaw` says why nothing can be made of it, "" = something may; `syntax`, `received` and `header` are there if so.
    """

    def __init__(self, path: Path) -> None:
        """Open, read the head and peek. Corrupt: not Part 10. Unreadable, here and later: what the system says."""
        self._fd = self._came_fd = _reading(os.open, path, _OPEN_FLAGS)
        self._evened: PaddedView | None = None
        self.flaw = ""
        self.uneven = False
        self.unpadded = self.signed = ""
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
        except Corrupt as error:
            self.flaw = f"a dataset that does not parse: {error}"
        except Unfit as error:
            self.flaw = str(error)

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
            return  # still: it is one that refers to pixels elsewhere
        try:
            dataset = self.header.dataset
            found, undivided = changes(dataset) if self.header.uneven or odd_inside(dataset) else ((), False)
            covered = signed.touched(dataset, changed_tags(dataset, found), self.syntax)
        except Corrupt:
            return  # nested elements do not parse, and what they mean is not known
        if undivided:
            self.unpadded = "fragments of odd length, and nothing that divides them into frames for sure"
        elif covered:
            self.unpadded = self.signed = f"digital signatures cover {tag_name(covered[0])}, where lengths are odd"
        if found:
            self.uneven = True
            self._evened = PaddedView(self._pread, self.size, found)
            self.size = self._evened.size
            self.header = peek(self.read_at, self.size)

    def deflated(self) -> Iterator[bytes] | None:
        """The dataset as it came, in pieces, if it is a deflated one in which every value is even."""
        return self._chunks(self._start) if self.received.deflated and self._evened is None else None

    def _chunks(self, start: int) -> Iterator[bytes]:
        while chunk := _reading(os.pread, self._came_fd, CHUNK_BYTES, start):
            yield chunk
            start += len(chunk)

    def read_at(self, offset: int, length: int) -> bytes:
        return self._evened.read_at(offset, length) if self._evened else self._pread(offset, length)

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill a buffer from `offset` on. Corrupt: the file ends before."""
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
    """An error of the source is told from one of what is written: that one may pass, this one stays."""
    try:
        return call(*arguments)
    except OSError as error:
        if error.errno in _NOT_THE_FILE:
            raise
        raise Unreadable(str(error)) from error


def describe(header: Header) -> Description:
    """The Image Pixel module. Unfit: something that shapes the pixels is missing or no number."""
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
    """What a raw deflate stream (PS3.5 A.5) holds, in pieces; Unfit beyond `most_bytes`, Corrupt if broken."""
    inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    try:
        for chunk in chunks:
            rest, more = chunk, True
            while more and not inflater.eof:
                piece = inflater.decompress(rest, CHUNK_BYTES)
                rest, total = inflater.unconsumed_tail, total + len(piece)
                more = bool(rest) or len(piece) == CHUNK_BYTES  # a full piece may not be all that the input gave
                if total > most_bytes:
                    raise Unfit(f"a deflated dataset of more than {most_bytes >> 20} MiB")
                yield piece
    except zlib.error as error:
        raise Corrupt(f"a deflated dataset that does not inflate: {error}") from error
    if not inflater.eof:
        raise Corrupt("a deflated dataset that ends too early")
