"""One object from one transfer syntax into another, as a stream: a Part 10 file in, a Part 10 file out.

Only what the new syntax changes is changed: the file meta, Pixel Data, Photometric Interpretation and Planar
Configuration. Everything else is copied as it came. Pixels are read by pread, frame by frame, never mapped (a truncated
file under a map kills the process). What cannot be done is raised as Unfit, with the reason for an operator.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from leyden.dicom import edit, uids
from leyden.dicom.part10 import encode_head
from leyden.dicom.uids import Syntax
from leyden.errors import Corrupt
from leyden.transcode import encapsulate, pixels
from leyden.transcode.arena import Lease
from leyden.transcode.codecs import CODECS, decoder, encoder
from leyden.transcode.frames import Crew, Order, single, spread
from leyden.transcode.pixels import Description, Unfit
from leyden.transcode.source import CHUNK_BYTES, Source, describe

_PHOTOMETRIC, _PLANAR, _BITS_ALLOCATED = 0x00280004, 0x00280006, 0x00280100
_EXTENDED_OFFSETS = (0x7FE00001, 0x7FE00002, 0x7FE00003)
_PLAIN = (uids.IMPLICIT_LE, uids.EXPLICIT_LE, uids.DEFLATED_LE, uids.EXPLICIT_BE)
_EXPLICIT_HEADER = struct.Struct("<HH2sHL")
_IMPLICIT_HEADER = struct.Struct("<HHL")

Changes = dict[int, tuple[str, bytes] | None]


def make(source: Source, target: Syntax, out: BinaryIO, crew: Crew, max_frame_bytes: int) -> None:
    """Write `source` in the syntax `target` to a seekable file, all or an exception (then `out` is rubbish).

    Unfit: it cannot be made so, or not without loss. Corrupt: the source is broken. Unreadable, MemoryError, OSError.
    """
    job = _Job(source, target, out, crew, max_frame_bytes)
    changes = job.plan()
    out.write(encode_head(replace(source.meta, transfer_syntax_uid=target.uid)))
    start = source.header.offset
    for piece in edit.rewrite(source.read_at, start, source.size, source.syntax, target.explicit, changes):
        if isinstance(piece, bytes):
            out.write(piece)
        elif isinstance(piece, edit.Copy):
            job.copy(piece.offset, piece.length, piece.swap)
        else:
            job.pixels(piece)


@dataclass(slots=True)
class _Job:
    source: Source
    target: Syntax
    out: BinaryIO
    crew: Crew
    max_frame_bytes: int
    codec: int = -1  # its number in CODECS; -1 = native pixels stay native, and `description` is unknown
    description: Description | None = None

    def plan(self) -> Changes:
        """Choose the way of the pixels and say which elements it changes. Unfit where there is no way."""
        if self.source.flaw:
            raise Unfit(self.source.flaw)
        header, target, name = self.source.header, self.target, self.source.received.name
        if not target.encapsulated and target.uid not in (uids.EXPLICIT_LE, uids.IMPLICIT_LE):
            raise Unfit(f"{target.name} is not made by this version")
        encapsulated = self.source.syntax.encapsulated
        if not encapsulated and self.source.received.uid not in _PLAIN:
            raise Unfit(f"{name}, whose pixels are elsewhere")
        if target.encapsulated:
            self.codec = _known(encoder(target.uid), f"{target.name} is not made by this version")
            if header.pixel_data != "native" or encapsulated:
                obstacle = {"": "no pixel data", "float": "float pixel data"}
                raise Unfit(obstacle.get(header.pixel_data, f"already compressed as {name}"))
            self.description = described = describe(header)
            reason = CODECS[self.codec].unfit(described, described.size_bytes, self.max_frame_bytes)
            if reason is not None:
                raise Unfit(reason)
            return _changes(described, described.encoded_photometric)
        if encapsulated and header.pixel_data not in ("", "encapsulated"):
            raise Unfit(f"pixel data of defined length, although compressed as {name}")
        if encapsulated and edit.encapsulated_inside(header.dataset):
            raise Unfit("an icon or other nested image that is compressed too")
        if header.pixel_data == "encapsulated":
            self.codec = _known(decoder(self.source.syntax.uid), f"{name} is not decoded by this version")
            self.description = described = describe(header)
            return dict.fromkeys(_EXTENDED_OFFSETS) | _changes(described, described.decoded_photometric)
        if self.source.syntax.big_endian and (header.dataset.integer(_BITS_ALLOCATED) or 0) > 16:
            raise Unfit("more than 16 bits allocated in big endian, whose words readers take in different order")
        return {}

    def copy(self, offset: int, length: int, swap: int) -> None:
        """Source bytes to the output, each `swap` bytes turned end for end."""
        buffer = memoryview(bytearray(min(length, CHUNK_BYTES)))
        while length > 0:
            view = buffer[: min(length, CHUNK_BYTES)]
            self.source.read_into(view, offset)
            if swap > 1:
                np.frombuffer(view, f"u{swap}").byteswap(inplace=True)
            self.out.write(view)
            offset, length = offset + len(view), length - len(view)

    def pixels(self, piece: edit.Pixels) -> None:
        """Write (7FE0,0010), its header and its value."""
        if (piece.length is None) != (self.source.header.pixel_data == "encapsulated"):
            raise Corrupt("Pixel Data that is not as its transfer syntax says")
        swap = 2 if self.source.syntax.big_endian and piece.vr == "OW" else 1
        if piece.length is None:
            self._decode(piece.offset)
        elif self.codec >= 0:
            self._encode(piece.offset, piece.length, swap)
        else:
            self._native_header(piece.vr, piece.length)
            self.copy(piece.offset, piece.length, swap)

    def _encode(self, start: int, length: int, swap: int) -> None:
        assert self.description is not None
        described, number, codec = self.description, self.codec, CODECS[self.codec]
        reason = codec.unfit(described, length, self.max_frame_bytes)
        if reason is not None:
            raise Unfit(reason)
        if self.source.syntax.big_endian and described.bits_allocated == 16 and swap == 1:
            raise Unfit("16 bits allocated in bytes of big endian")
        planes, frame_bytes, room_bytes = described.planes, described.frame_bytes, codec.room_bytes(described.planes)
        in_place = pixels.planar_already(described) and (swap == 1 or frame_bytes % 2 == 0)
        scratch = memoryview(bytearray(0 if in_place else frame_bytes + 2))

        def fill(lease: Lease, at: int) -> None:
            lease.codec, lease.decode, lease.planes = number, False, planes
            lead = at % swap  # a word is turned whole, also where a frame begins within it
            frame = lease.pixels if in_place else scratch[: lead + frame_bytes + (lead + frame_bytes) % swap]
            self.source.read_into(frame, start + at - lead)
            if swap == 2:
                pixels.swap_words(frame)
            pixels.pack(frame[lead:], described, lease.pixels)

        def order(frame: int) -> Order:
            return Order(planes.size_bytes, room_bytes, lambda lease: fill(lease, frame * frame_bytes))

        writer = encapsulate.Writer(self.out, described.frames, room_bytes * described.frames)
        self._through(map(order, range(described.frames)), lambda lease: writer.frame(lease.room[: lease.length]))
        writer.end()

    def _decode(self, start: int) -> None:
        assert self.description is not None
        described, number, codec = self.description, self.codec, CODECS[self.codec]
        frames = encapsulate.frames(self.source.read_at, start, described.frames)
        first = next(frames)
        planes = codec.inspect(memoryview(self._beginning(first)))
        reason = pixels.undecodable(described, planes, self.max_frame_bytes)
        if reason is not None:
            raise Unfit(reason)
        room_bytes = codec.room_bytes(planes) + planes.size_bytes

        def fill(lease: Lease, places: list[encapsulate.Place]) -> None:
            lease.codec, lease.decode, lease.planes, lease.length = number, True, planes, 0
            for offset, length in places:
                self.source.read_into(lease.room[lease.length : lease.length + length], offset)
                lease.length += length

        def order(places: list[encapsulate.Place]) -> Order:
            total = encapsulate.total_bytes(places)
            if total > room_bytes:
                raise Corrupt("a codestream far longer than its image")
            return Order(planes.size_bytes, total, lambda lease: fill(lease, places))

        def orders() -> Iterator[Order]:
            yield order(first)
            yield from map(order, frames)

        pad = described.size_bytes % 2
        self._native_header("OW" if described.bits_allocated > 8 else "OB", described.size_bytes + pad)
        self._through(orders(), lambda lease: self.out.write(pixels.unpack(lease.pixels, planes, described)))
        self.out.write(b"\0" * pad)

    def _through(self, orders: Iterator[Order], emit: Callable[[Lease], object]) -> None:
        assert self.description is not None
        if self.description.frames == 1:
            single(self.crew, next(orders), emit)
        else:
            spread(self.crew, orders, emit)

    def _beginning(self, places: list[encapsulate.Place], length: int = 256) -> bytes:
        joined = b""
        for place in places:
            joined += self.source.read_at(place[0], min(place[1], length - len(joined)))
        return joined

    def _native_header(self, vr: str, length: int) -> None:
        if self.target.explicit:
            self.out.write(_EXPLICIT_HEADER.pack(0x7FE0, 0x0010, vr.encode(), 0, length))
        else:
            self.out.write(_IMPLICIT_HEADER.pack(0x7FE0, 0x0010, length))


def _known(codec: int | None, reason: str) -> int:
    if codec is None:
        raise Unfit(reason)
    return codec


def _changes(described: Description, photometric: str) -> Changes:
    """The elements that name the form of the pixels, where that changes."""
    changes: Changes = {}
    if photometric != described.photometric:
        text = photometric.encode()
        changes[_PHOTOMETRIC] = ("CS", text + b" " * (len(text) % 2))
    if described.samples > 1 and described.planar != 0:
        changes[_PLANAR] = ("US", struct.pack("<H", 0))
    return changes
