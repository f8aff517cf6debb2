"""Makes an object from one transfer syntax into another, as a stream: a Part 10 file in, a Part 10 file out.

Only what the new syntax demands is changed: the file meta, Pixel Data, Photometric Interpretation and Planar
Configuration. A result that is lossy says so, and one that becomes lossy here is a new instance (dicom/derive.py).
Everything else is copied as it came. Pixels are read by pread, frame by frame, and never mapped, as a truncated file
under a map kills the process. What can't be made raises Unfit, with the reason for an operator.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import BinaryIO, Protocol

import msgspec
import numpy as np
from msgspec.structs import replace

from leyden.dicom import derive, edit, signed, uids
from leyden.dicom.draft import Draft
from leyden.dicom.elements import PIXEL_DATA, UNDEFINED, encoding_of, offset_behind, tag_name
from leyden.dicom.header import Header
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import Syntax
from leyden.errors import Corrupt
from leyden.form.obstacle import not_to_be_lossy
from leyden.transcode import encapsulate, pixels
from leyden.transcode.arena import Lease, Work
from leyden.transcode.codecs import CODECS, Codec, Inspect, decoder, encoder, room_bytes
from leyden.transcode.frames import Order, Workplace, alone, single, spread
from leyden.transcode.pixels import Declared, Description, Signed, Unfit
from leyden.transcode.source import CHUNK_BYTES, Source, describe

_PHOTOMETRIC = 0x00280004
_PLANAR = 0x00280006
_BITS_ALLOCATED = 0x00280100
_EXTENDED_OFFSETS = 0x7FE00001
_EXTENDED_LENGTHS = 0x7FE00002
_VALUE_TOTAL_LENGTH = 0x7FE00003
_NATIVE = (uids.IMPLICIT_LE, uids.EXPLICIT_LE, uids.DEFLATED_LE, uids.EXPLICIT_BE)
_HEADERS_BYTES = 64 << 10  # enough for the headers of most codestreams
_MOST_HEADERS_BYTES = 17 << 20  # enough for an ICC profile in all 255 segments that JPEG has for it
_BIG_WORDS = "more than 16 bits allocated in big endian, for which readers differ in the order of the words"

Changes = dict[int, edit.Replacement]


class Verify(IntEnum):
    """Which frames are decoded again and compared."""

    NONE = 0
    FIRST = 1
    ALL = 2


class Terms(msgspec.Struct, frozen=True):
    """The terms on which an object is made: limits, checks, and for lossy syntaxes how much may be lost.

    `quality` is for JPEG and JPEG XL (1 to 100), `ratio` for JPEG 2000 and HTJ2K, `near` for JPEG-LS (the greatest
    difference of a sample). `alone`: no other worker may help. `break_signatures`: make it even if digital signatures
    cover what changes.
    """

    max_frame_bytes: int
    destination: str = ""
    quality: int = 90
    ratio: float = 10.0
    near: int = 2
    recompress_lossy: bool = False
    verify: Verify = Verify.NONE
    alone: bool = False
    break_signatures: bool = False

    def setting(self, target: Syntax) -> float:
        """The encoder's number for loss; 0.0 = lossless."""
        settings = {uids.JPEG2000: self.ratio, uids.HTJ2K: self.ratio, uids.JPEGLS_NEAR_LOSSLESS: float(self.near)}
        return settings.get(target.uid, float(self.quality)) if target.lossy else 0.0


class Sink(Protocol):
    """What the pieces of the dataset are written to."""

    def write(self, data: bytes | memoryview, /) -> object: ...


def make(
    source: Source, target: Syntax, out: BinaryIO, workplace: Workplace, terms: Terms, edited: Header | None = None
) -> None:
    """Write `source` in the syntax `target` to a seekable file. After an exception the content of `out` is useless.

    `edited`: its header as it is to leave, if that differs; its dataset is a Draft of the source's. The pixels are
    decoded by what the source says, and what the syntax demands of the dataset wins.
    Unfit: it can't be made, or only with a loss that is not asked for. Signed: it would break digital signatures.
    Corrupt: the source is broken. Unreadable: it can't be read. MemoryError. OSError: `out` can't be written.
    """
    job = _Job(source, target, out, workplace, terms, edited)
    changes = job.plan()
    patch = derive.FRAME_TYPE if target.lossy and not job.remakes else None
    job.spare_signatures(changes, patch)
    out.write(encode_head(replace(job.meta, transfer_syntax_uid=target.uid, sop_instance_uid=job.sop_instance_uid)))
    deflater = _Deflater(out) if target.deflated else None
    if deflater:
        job.sink = deflater
    for piece in edit.rewrite(source.header.dataset, target, _with_edits(changes, edited), patch):
        if isinstance(piece, bytes):
            job.sink.write(piece)
        elif isinstance(piece, edit.Copy):
            _copy(source, job.sink, piece.offset, piece.length, piece.swap)
        elif isinstance(piece, edit.Hole):
            job.leave_hole(piece)
        else:
            job.pixels(piece)
    if deflater:
        deflater.end()
    job.fill_hole()


def edit_only(source: Source, out: BinaryIO, edited: Header) -> None:
    """Write a source in the syntax that it came in, with the edits of `edited` (as for make), its pixels as they came.

    Unfit: it does not parse as a whole. Corrupt, Unreadable, OSError: as for make().
    """
    if source.flaw:
        raise Unfit(source.flaw)
    if source.syntax.deflated:
        raise Unfit(f"{source.received.name}, whose dataset is not inflated")
    out.write(encode_head(replace(edited.meta, transfer_syntax_uid=source.received.uid)))
    deflater = _Deflater(out) if source.received.deflated else None
    sink: Sink = deflater or out
    dataset = source.header.dataset
    encoding = encoding_of(source.received)
    for piece in edit.rewrite(dataset, source.received, _with_edits({}, edited)):
        if isinstance(piece, bytes):
            sink.write(piece)
        elif isinstance(piece, edit.Pixels):
            length = piece.length
            sink.write(edit.element_header(piece.tag, piece.vr, UNDEFINED if length is None else length, encoding))
            if length is None:
                end = offset_behind(dataset.source, piece.tag, piece.vr, piece.offset, dataset.end, dataset.encoding)
                length = end - piece.offset
            _copy(source, sink, piece.offset, length)
        else:
            assert isinstance(piece, edit.Copy)
            _copy(source, sink, piece.offset, piece.length, piece.swap)
    if deflater:
        deflater.end()


def _with_edits(changes: Changes, edited: Header | None) -> edit.Replacements:
    if edited is None:
        return changes
    assert isinstance(edited.dataset, Draft)
    return edited.dataset.replacements(changes)


def _copy(source: Source, sink: Sink, offset: int, length: int, swap: int = 1) -> None:
    """Copy source bytes, in reverse order within each group of `swap` bytes."""
    buffer = memoryview(bytearray(min(length, CHUNK_BYTES)))
    while length > 0:
        view = buffer[: min(length, CHUNK_BYTES)]
        source.read_into(view, offset)
        if swap > 1:
            np.frombuffer(view, f"u{swap}").byteswap(inplace=True)
        sink.write(view)
        offset += len(view)
        length -= len(view)


def pad(source: Source, out: BinaryIO) -> None:
    """Write a source in the syntax that it came in, with its odd values padded, and nothing else changed.

    Corrupt, Unreadable, OSError: as for make().
    """
    out.write(encode_head(source.meta))
    if (stream := source.deflated()) is not None:
        out.writelines(stream)
        out.write(b"\0")  # its length as a whole is odd (PS3.5 A.5)
        return
    deflater = _Deflater(out) if source.received.deflated else None
    sink: Sink = deflater or out
    offset = source.header.offset
    while chunk := source.read_at(offset, CHUNK_BYTES):
        sink.write(chunk)
        offset += len(chunk)
    if deflater:
        deflater.end()


class _Deflater:
    """Deflates a dataset (PS3.5 A.5): raw deflate, padded to an even length."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._start = out.tell()
        self._deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)

    def write(self, data: bytes | memoryview, /) -> None:
        self._out.write(self._deflate.compress(data))

    def end(self) -> None:
        self._out.write(self._deflate.flush())
        self._out.write(b"\0" * ((self._out.tell() - self._start) % 2))


@dataclass(slots=True)
class _Job:
    source: Source
    target: Syntax
    out: BinaryIO
    workplace: Workplace
    terms: Terms
    edited: Header | None = None
    work: Work | None = None  # None = native pixels stay native; then `found` and `decoded` are None
    found: Description | None = None  # the pixels as they are in the source
    decoded: Description | None = None  # the same pixels, decoded
    lossy: bool = False  # the source is known to be lossy
    sop_instance_uid: str = ""
    sink: Sink = field(init=False)
    meta: FileMeta = field(init=False)
    hole_at: int = -1
    encoded_bytes: int = 0  # of all codestreams written

    def __post_init__(self) -> None:
        self.sink = self.out
        self.meta = self.edited.meta if self.edited else self.source.meta
        self.sop_instance_uid = self.meta.sop_instance_uid

    @property
    def remakes(self) -> bool:
        return self.work is not None and self.work.remakes

    def plan(self) -> Changes:
        """Choose what is done with the pixels, and return which elements change. Unfit: it can't be done."""
        if self.source.flaw:
            raise Unfit(self.source.flaw)
        header = self.source.header
        target = self.target
        name = self.source.received.name
        encapsulated = self.source.syntax.encapsulated
        if not encapsulated and self.source.received.uid not in _NATIVE:
            raise Unfit(f"{name}, whose pixels are elsewhere")
        if not target.encapsulated and target.uid not in _NATIVE:
            raise Unfit(f"{target.name} is not made by this version")
        if encapsulated and header.pixel_data not in ("", "encapsulated"):
            raise Unfit(f"pixel data of defined length, although compressed as {name}")
        if encapsulated and edit.encapsulated_inside(header.dataset):
            raise Unfit("an icon or other nested image that is compressed too")
        if not target.encapsulated and header.pixel_data != "encapsulated":
            big_endian = self.source.syntax.big_endian or target.big_endian
            if big_endian and (header.dataset.integer(_BITS_ALLOCATED) or 0) > 16:
                raise Unfit(_BIG_WORDS)
            return {}
        if header.pixel_data in ("", "float"):
            raise Unfit("float pixel data" if header.pixel_data else "no pixel data")
        return self._plan_codecs()

    def spare_signatures(self, changes: Changes, patch: edit.Patch | None) -> None:
        """Raise Signed if signatures cover what changes, unless they may be broken."""
        changed = {*changes, PIXEL_DATA} if self.work else changes.keys()
        if self.terms.break_signatures:
            return
        if self.source.signed:
            raise Signed(self.source.signed)
        within = patch.sequences if patch else ()
        if covered := signed.broken(self.source.header.dataset, changed, self.target, within):
            raise Signed(f"digital signatures cover {tag_name(covered[-1])}, which would change")

    def _plan_codecs(self) -> Changes:
        source = self.source
        target = self.target
        header = source.header
        leaves = self.edited or header
        self.found = found = decoded = describe(header)
        _refuse(pixels.first_reason((pixels.FRAMES,), found))
        if header.pixel_data == "encapsulated" and source.syntax.uid in uids.REMADE.get(target.uid, ()):
            return self._plan_remaking(found)
        changes: Changes = {}
        work = None
        measured = b""
        if header.pixel_data == "encapsulated":
            number = _known(decoder(source.syntax.uid), f"{source.syntax.name} is not decoded by this version")
            planes, irreversible = self._declared(number, found, CODECS[number].inspect)
            self.lossy = derive.was_lossy(derive.with_actual_syntax(header, irreversible))
            leaves = derive.with_actual_syntax(leaves, irreversible)
            if found.photometric in ("YBR_RCT", "YBR_ICT") and not planes.rct:
                raise Unfit(f"{found.photometric}, but no component transform in the codestream")
            decoded = pixels.decoded(found, planes)
            _refuse(pixels.undecodable(decoded, planes, self.terms.max_frame_bytes))
            work = Work(planes, planes, reads=number, signed=found.signed)
            changes |= dict.fromkeys((_EXTENDED_OFFSETS, _EXTENDED_LENGTHS, _VALUE_TOTAL_LENGTH))
            if derive.lacks_ratio(leaves):
                total = sum(map(encapsulate.total_bytes, self._places(number)))
                measured = derive.ratio(decoded.size_bytes, total)
        changes |= self._derived(leaves, measured)
        photometric = decoded.photometric
        if target.encapsulated:
            number = _known(encoder(target.uid), f"{target.name} is not made by this version")
            codec = CODECS[number]
            _refuse(self._unfit(codec, decoded, decoded.size_bytes) or codec.obstacle(decoded))
            if source.syntax.big_endian and decoded.bits_allocated > 16:
                raise Unfit(_BIG_WORDS)
            wanted = codec.planes(decoded)
            setting = self.terms.setting(target)
            work = replace(
                work or Work(wanted, wanted, signed=found.signed), wanted=wanted, writes=number, setting=setting
            )
            photometric = codec.photometric(decoded)
        elif target.big_endian and decoded.bits_allocated > 16:
            raise Unfit(_BIG_WORDS)
        self.work = work
        self.decoded = decoded
        return changes | _changes(found, photometric)

    def _unfit(self, codec: Codec, described: Description, length_bytes: int) -> str | None:
        return pixels.unfit(described, length_bytes, self.terms.max_frame_bytes, one_bit=codec.one_bit)

    def _plan_remaking(self, found: Description) -> Changes:
        """Plan a recompression that keeps every bit of the image. It stays the same instance; only the elements that
        say where the frames are change."""
        reads = decoder(self.source.syntax.uid)
        writes = encoder(self.target.uid)
        assert reads is not None
        assert writes is not None
        remaking = CODECS[writes].remaking
        assert remaking is not None
        planes, self.lossy = self._declared(reads, found, remaking.inspect)
        self.decoded = pixels.decoded(found, planes)
        _refuse(pixels.undecodable(self.decoded, planes, self.terms.max_frame_bytes))
        self.work = Work(planes, planes, reads, writes, remakes=True)
        return dict.fromkeys((_EXTENDED_OFFSETS, _EXTENDED_LENGTHS, _VALUE_TOTAL_LENGTH))

    def _derived(self, header: Header, measured: bytes) -> Changes:
        """The elements that say that something was lost; if it becomes lossy here, also those of a new instance."""
        if not self.target.lossy:
            return dict(derive.still_lossy(header, measured))
        sop_class = self.source.meta.sop_class_uid
        lossy = derive.was_lossy(header)
        _refuse(not_to_be_lossy(sop_class, lossy, recompress_lossy=self.terms.recompress_lossy) or None)
        setting = self.terms.setting(self.target)
        self.sop_instance_uid = derive.derived_uid(
            self.meta.sop_instance_uid, self.terms.destination, self.target.uid, setting
        )
        return dict(derive.lossy(header, self.sop_instance_uid, self.target, setting, measured))

    def leave_hole(self, hole: edit.Hole) -> None:
        """Write blanks where the compression ratio will stand, which is known only after the pixels."""
        self.hole_at = self.out.tell()
        self.out.write(b" " * hole.length_bytes)

    def fill_hole(self) -> None:
        if self.hole_at >= 0 and self.decoded is not None:
            self.out.seek(self.hole_at)
            self.out.write(derive.ratio(self.decoded.size_bytes, self.encoded_bytes))
            self.out.seek(0, 2)

    def pixels(self, piece: edit.Pixels) -> None:
        """Write Pixel Data (7FE0,0010), its header and its value."""
        if (piece.length is None) != (self.source.header.pixel_data == "encapsulated"):
            raise Corrupt("Pixel Data in another form than its transfer syntax says")
        if self.work is None:
            swap = 2 if piece.vr == "OW" and self.source.syntax.big_endian != self.target.big_endian else 1
            self._native_header(piece.vr, piece.length or 0)
            _copy(self.source, self.sink, piece.offset, piece.length or 0, swap)
        elif self.work.reads < 0:
            self._encode(self._native_orders(piece), self.work)
        elif self.work.writes < 0:
            self._decode(self._codestream_orders(piece), self.work)
        else:
            self._encode(self._codestream_orders(piece), self.work)

    def _encode(self, orders: Iterator[Order], work: Work) -> None:
        assert self.decoded is not None
        writer = encapsulate.Writer(self.out, self.decoded.frames, room_bytes(work.wanted) * self.decoded.frames)

        def emit(lease: Lease) -> None:
            writer.frame(lease.room[: lease.length])
            self.encoded_bytes += lease.length

        self._through(orders, emit)
        writer.end()

    def _decode(self, orders: Iterator[Order], work: Work) -> None:
        assert self.decoded is not None
        decoded = self.decoded
        words = decoded.bits_allocated > 8
        bits = pixels.Bits()

        def emit(lease: Lease) -> None:
            if decoded.bits_allocated == 1:
                self.sink.write(bits.packed(lease.pixels, work.found))
                return
            native = pixels.unpack(lease.pixels, work.found, decoded)
            if words and self.target.big_endian:
                pixels.swap_words(native)
            self.sink.write(native)

        pad = decoded.size_bytes % 2
        self._native_header("OW" if words else "OB", decoded.size_bytes + pad)
        self._through(orders, emit)
        self.sink.write(bits.rest())
        self.sink.write(b"\0" * pad)

    def _native_orders(self, piece: edit.Pixels) -> Iterator[Order]:
        """Frames of native pixels; each is read and made into planes when there is a lease for it."""
        assert self.decoded is not None
        assert self.work is not None
        assert piece.length is not None
        described = self.decoded
        wanted = self.work.wanted
        start = piece.offset
        swap = 2 if self.source.syntax.big_endian and piece.vr == "OW" else 1
        _refuse(self._unfit(CODECS[self.work.writes], described, piece.length))
        excess_bytes = piece.length - described.size_bytes
        if excess_bytes > 1 and not self._blank(start + described.size_bytes, excess_bytes):
            raise Unfit(f"{pixels.LONGER}, and no padding of zeros")
        if self.source.syntax.big_endian and described.bits_allocated == 16 and swap == 1:
            raise Unfit("16 bits allocated in bytes of big endian")
        in_place = pixels.planar_already(described, wanted) and (swap == 1 or described.frame_bytes % 2 == 0)
        scratch = memoryview(bytearray(0 if in_place else described.frame_bytes + 3))

        def fill(lease: Lease, number: int) -> None:
            at, first_bit = divmod(number * described.frame_bits, 8)
            lead = at % swap  # a frame may start in the middle of a word, and only whole words can be swapped
            end = lead + (first_bit + described.frame_bits + 7) // 8
            frame = lease.pixels if in_place else scratch[: end + end % swap]
            self.source.read_into(frame, start + at - lead)
            if swap == 2:
                pixels.swap_words(frame)
            pixels.pack(frame[lead:], described, wanted, lease.pixels, first_bit)

        for number in range(described.frames):
            yield self._order(number, room_bytes(wanted), partial(fill, number=number))

    def _codestream_orders(self, piece: edit.Pixels) -> Iterator[Order]:
        """Frames of codestreams; the fragments of each are joined when there is a lease for it."""
        assert self.work is not None
        assert self.found is not None
        described = self.found
        planes = self.work.found
        inspect = CODECS[self.work.reads].inspect
        if self.work.remakes and (remaking := CODECS[self.work.writes].remaking):
            inspect = remaking.inspect
        most_bytes = room_bytes(planes) + planes.size_bytes + _MOST_HEADERS_BYTES

        def fill(lease: Lease, places: list[encapsulate.Place]) -> None:
            for offset, length in places:
                self.source.read_into(lease.room[lease.length : lease.length + length], offset)
                lease.length += length
            claimed, irreversible = inspect(lease.room[: lease.length], described)
            if claimed != planes:
                raise Corrupt("frames of different kinds: not all are of the same shape and transform")
            if irreversible and not self.lossy:
                raise Unfit("frames of different kinds: one is lossy, those before it are not")

        for frame, places in enumerate(self._places(self.work.reads)):
            total = encapsulate.total_bytes(places)
            if total > most_bytes:
                raise Corrupt("a codestream far longer than its image")
            needed = max(total, room_bytes(self.work.wanted)) if self.work.writes >= 0 else total
            if self.work.remakes:
                needed = max(2 * total, needed)  # a JPEG may hold more than its image, and that was compressed too
            yield self._order(frame, needed, lambda lease, places=places: fill(lease, places))  # type: ignore[misc]

    def _order(self, frame: int, room: int, fill: Callable[[Lease], None]) -> Order:
        assert self.work is not None
        checked = self.terms.verify is Verify.ALL or (self.terms.verify is Verify.FIRST and frame == 0)
        return Order(replace(self.work, verify=checked), room, fill)

    def _places(self, number: int) -> Iterator[list[encapsulate.Place]]:
        """The fragments of each frame in the source."""
        assert self.found is not None
        dataset = self.source.header.dataset
        offsets = dataset.raw(_EXTENDED_OFFSETS)
        extended = struct.unpack(f"<{len(offsets) // 8}Q", offsets[: len(offsets) // 8 * 8]) if offsets else None
        start = dataset.read()[PIXEL_DATA][3]
        return encapsulate.frames(
            self.source.read_at, start, self.found.frames, extended=extended, begins=CODECS[number].begins
        )

    def _through(self, orders: Iterator[Order], emit: Callable[[Lease], object]) -> None:
        assert self.decoded is not None
        if self.decoded.frames == 1:
            single(self.workplace, next(orders), emit)
        elif self.terms.alone:
            alone(self.workplace, orders, emit)
        else:
            spread(self.workplace, orders, emit)

    def _declared(self, number: int, described: Description, inspect: Inspect) -> Declared:
        """What the first codestream claims in its headers: a short beginning is read, then a longer one if needed."""
        places = next(self._places(number))
        try:
            return inspect(self._beginning(places, _HEADERS_BYTES), described)
        except Corrupt:
            return inspect(self._beginning(places, _MOST_HEADERS_BYTES), described)

    def _beginning(self, places: list[encapsulate.Place], most_bytes: int) -> memoryview:
        joined = bytearray()
        for offset, length in places:
            joined += self.source.read_at(offset, min(length, most_bytes - len(joined)))
            if len(joined) >= most_bytes:
                break
        return memoryview(joined)

    def _blank(self, offset: int, length: int) -> bool:
        """Whether these bytes are all zero."""
        end = offset + length
        pieces = (self.source.read_at(at, min(CHUNK_BYTES, end - at)) for at in range(offset, end, CHUNK_BYTES))
        return all(piece.count(0) == len(piece) for piece in pieces)

    def _native_header(self, vr: str, length: int) -> None:
        self.sink.write(edit.element_header(PIXEL_DATA, vr, length, encoding_of(self.target)))


def _refuse(reason: str | None) -> None:
    if reason is not None:
        raise Unfit(reason)


def _known(codec: int | None, reason: str) -> int:
    if codec is None:
        raise Unfit(reason)
    return codec


def _changes(found: Description, photometric: str) -> Changes:
    """The elements that describe the form of the pixels, if that changes."""
    changes: Changes = {}
    if photometric != found.photometric:
        changes[_PHOTOMETRIC] = ("CS", photometric.encode())
    if found.samples > 1 and found.planar != 0:
        changes[_PLANAR] = ("US", struct.pack("<H", 0))
    return changes
