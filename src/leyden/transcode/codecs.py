"""The table of codecs, one row each: which transfer syntax it encodes and decodes, with what, and what fits into it.

A codec's index in CODECS is its number in the arena's table and on the board (board.CODECS), so all workers of one
start agree on it. Which library does what, and why, is in DECISIONS.md.
"""

import time
from collections.abc import Callable
from functools import partial
from operator import attrgetter

import msgspec

from leyden import board
from leyden.dicom import uids
from leyden.errors import Corrupt
from leyden.transcode import deflate, htj2k, jpeg, jpeg2000, jpegls, jpegxl, libjpeg, libjxl, openjpeg, pixels, rle
from leyden.transcode.arena import Lease, Work
from leyden.transcode.pixels import CodecError, Declared, Description, Differs, Planes, Unfit

Obstacle = Callable[[Description], str | None]
Inspect = Callable[[memoryview, Description], Declared]
Encode = Callable[[Planes, memoryview, memoryview, float, int], int]
Decode = Callable[[memoryview, Planes, memoryview, int], None]


class Remaking(msgspec.Struct, frozen=True):
    """Makes a codec's codestream from that of another transfer syntax without decoding it, and so without loss.

    `of`: the UIDs of the other syntaxes. `inspect`: as in Codec. `remake(codestream, planes, room)` returns the length
    of the new codestream; both may be in the same memory. `check(made, codestream, planes)` raises Corrupt or Unfit if
    the new codestream is not the same image.
    """

    of: frozenset[str]
    inspect: Inspect
    remake: Callable[[memoryview, Planes, memoryview], int]
    check: Callable[[memoryview, memoryview, Planes], None]


class Codec(msgspec.Struct, frozen=True):
    """A codec. `encodes`: the UID of the transfer syntax that it writes; `decodes`: the UIDs that it reads.

    `inspect(codestream, description)`: what a codestream claims: its planes, and whether it is of a lossy kind,
    whatever its transfer syntax. Its beginning is enough, but the rest may show more loss. `planes(description)`: those
    to encode. `obstacle(description)`: why the codec cannot encode such pixels; None = it can.
    `photometric(description)`: Photometric Interpretation after encoding. `encode(planes, pixels, room, setting,
    threads)` returns the length of the codestream. `decode(codestream, planes, pixels, threads)`. `begins`: a regular
    expression for the first bytes of a codestream, b"" = any. `bounded`: the setting is the largest difference of a
    decoded sample. `one_bit`: it encodes 1 bit allocated. `remaking`: the codestreams that it takes without decoding.
    """

    encodes: str
    decodes: frozenset[str]
    inspect: Inspect
    planes: Callable[[Description], Planes]
    obstacle: Obstacle
    encode: Encode
    decode: Decode
    photometric: Callable[[Description], str] = attrgetter("photometric")
    begins: bytes = b""
    bounded: bool = False
    one_bit: bool = False
    remaking: Remaking | None = None


_JPEG_FAMILY = frozenset({uids.JPEG_BASELINE, uids.JPEG_EXTENDED, uids.JPEG_LOSSLESS, uids.JPEG_LOSSLESS_SV1})
_JPEG2000_FAMILY = frozenset({
    uids.JPEG2000_LOSSLESS, uids.JPEG2000, uids.HTJ2K_LOSSLESS, uids.HTJ2K_LOSSLESS_RPCL, uids.HTJ2K
})  # fmt: skip


def _jpeg2000(encodes: str, encode: Encode, lossy: bool = False) -> Codec:
    """A row of the JPEG 2000 family. OpenJPEG decodes all of them, and so checks what OpenJPH encodes."""
    return Codec(
        encodes=encodes,
        decodes=_JPEG2000_FAMILY,
        inspect=jpeg2000.inspect,
        planes=jpeg2000.planes,
        obstacle=partial(jpeg2000.obstacle, lossy=lossy),
        photometric=partial(jpeg2000.photometric, lossy=lossy),
        encode=encode,
        decode=openjpeg.decode,
        begins=jpeg2000.BEGINS,
    )


def _jpeg(encodes: str, encode: Encode, obstacle: Obstacle, lossy: bool = False) -> Codec:
    """A row of the JPEG family. libjpeg-turbo encodes and decodes all of them."""
    remaking = Remaking(
        of=frozenset({uids.JPEGXL_JPEG}),
        inspect=jpegxl.inspect_jpeg,
        remake=partial(libjxl.reconstruct, baseline=encodes == uids.JPEG_BASELINE),
        check=_decodes,
    )
    return Codec(
        encodes=encodes,
        decodes=_JPEG_FAMILY,
        inspect=jpeg.inspect,
        planes=jpeg.planes_lossy if lossy else jpeg.planes,
        obstacle=obstacle,
        photometric=jpeg.photometric_lossy if lossy else attrgetter("photometric"),
        encode=encode,
        decode=libjpeg.decode,
        begins=jpeg.BEGINS,
        remaking=remaking if lossy else None,
    )


def _decodes(made: memoryview, _: memoryview, planes: Planes) -> None:
    libjpeg.decode(made, planes, memoryview(bytearray(planes.size_bytes)))


def _jpegls(encodes: str, lossy: bool = False) -> Codec:
    return Codec(
        encodes=encodes,
        decodes=frozenset({uids.JPEGLS_LOSSLESS, uids.JPEGLS_NEAR_LOSSLESS}),
        inspect=jpegls.inspect,
        planes=jpegls.planes,
        obstacle=partial(jpegls.obstacle, lossy=lossy),
        encode=jpegls.encode,
        decode=jpegls.decode,
        begins=jpegls.BEGINS,
        bounded=True,
    )


def _jpegxl(encodes: str, lossy: bool = False) -> Codec:
    return Codec(
        encodes=encodes,
        decodes=frozenset({uids.JPEGXL_LOSSLESS, uids.JPEGXL}),
        inspect=jpegxl.inspect,
        planes=jpegxl.planes,
        obstacle=partial(jpegxl.obstacle, lossy=lossy),
        photometric=jpegxl.photometric_lossy if lossy else attrgetter("photometric"),
        encode=libjxl.encode,
        decode=libjxl.decode,
        begins=jpegxl.BEGINS,
    )


CODECS: tuple[Codec, ...] = (
    _jpeg2000(uids.JPEG2000_LOSSLESS, openjpeg.encode),
    _jpeg2000(uids.JPEG2000, openjpeg.encode, lossy=True),
    _jpeg2000(uids.HTJ2K_LOSSLESS, htj2k.encode),
    _jpeg2000(uids.HTJ2K_LOSSLESS_RPCL, htj2k.encode),
    _jpeg2000(uids.HTJ2K, htj2k.encode, lossy=True),
    _jpeg(uids.JPEG_LOSSLESS, partial(libjpeg.encode, predictor=libjpeg.ANY_PREDICTOR), jpeg.obstacle),
    _jpeg(uids.JPEG_LOSSLESS_SV1, libjpeg.encode, jpeg.obstacle),
    _jpeg(uids.JPEG_BASELINE, libjpeg.encode, jpeg.obstacle_baseline, lossy=True),
    _jpeg(uids.JPEG_EXTENDED, libjpeg.encode, jpeg.obstacle_extended, lossy=True),
    _jpegls(uids.JPEGLS_LOSSLESS),
    _jpegls(uids.JPEGLS_NEAR_LOSSLESS, lossy=True),
    Codec(
        encodes=uids.DEFLATED_FRAMES,
        decodes=frozenset({uids.DEFLATED_FRAMES}),
        inspect=deflate.inspect,
        planes=deflate.planes,
        obstacle=deflate.obstacle,
        encode=deflate.encode,
        decode=deflate.decode,
        one_bit=True,
    ),
    Codec(
        encodes=uids.RLE_LOSSLESS,
        decodes=frozenset({uids.RLE_LOSSLESS}),
        inspect=rle.inspect,
        planes=rle.planes,
        obstacle=rle.obstacle,
        encode=rle.encode,
        decode=rle.decode,
        begins=rle.BEGINS,
    ),
    _jpegxl(uids.JPEGXL_LOSSLESS),
    _jpegxl(uids.JPEGXL, lossy=True),
    Codec(
        encodes=uids.JPEGXL_JPEG,
        decodes=frozenset({uids.JPEGXL_JPEG}),
        inspect=jpegxl.inspect_jpeg,
        planes=jpegxl.planes,
        obstacle=lambda _: jpegxl.NO_JPEG,
        encode=libjxl.encode,
        decode=libjxl.decode_jpeg,
        begins=jpegxl.BEGINS,
        remaking=Remaking(
            of=frozenset({uids.JPEG_BASELINE, uids.JPEG_EXTENDED}),
            inspect=jpeg.inspect_to_keep,
            remake=libjxl.recompress,
            check=libjxl.check_recompressed,
        ),
    ),
)


def room_bytes(planes: Planes) -> int:
    """The room for a codestream: noise grows by 7 %, a component transform adds a bit, tiny ones need headers."""
    return planes.size_bytes * 5 // 4 + 16384


def encoder(syntax_uid: str) -> int | None:
    """The number of the codec that encodes a transfer syntax; None = there is none."""
    return next((number for number, codec in enumerate(CODECS) if codec.encodes == syntax_uid), None)


def decoder(syntax_uid: str) -> int | None:
    """The number of the codec that decodes a transfer syntax; None = there is none."""
    return next((number for number, codec in enumerate(CODECS) if syntax_uid in codec.decodes), None)


def perform(lease: Lease, threads: int = 0) -> None:
    """Do the work of a filled lease.

    A single step that fails with threads is tried again without, as threads need memory. Raises Unfit (also if a
    codec's library fails) or Corrupt; the lease has no valid contents then.
    """
    work = lease.work
    start_ns = time.monotonic_ns()
    both = work.reads >= 0 and work.writes >= 0  # encoding overwrites the codestream, so there is no second try
    try:
        _perform(lease, work, 0 if both else threads)
    except (CodecError, Corrupt) as error:
        if threads and not both:
            perform(lease)
        elif isinstance(error, CodecError):
            raise Unfit(str(error)) from error
        else:
            raise
    else:
        if work.writes >= 0:
            board.encoded(work.writes, work.wanted.size_bytes, lease.length, time.monotonic_ns() - start_ns)


def _perform(lease: Lease, work: Work, threads: int) -> None:
    if work.remakes:
        _remake(lease, work)
        return
    if work.reads >= 0:
        CODECS[work.reads].decode(lease.room[: lease.length], work.found, lease.pixels, threads)
    if work.writes >= 0:
        if work.reads >= 0:
            pixels.recast(lease.pixels, work.found, work.wanted, work.signed)
        lease.length = CODECS[work.writes].encode(work.wanted, lease.pixels, lease.room, work.setting, threads)
        if work.verify:
            _verify(lease, work, threads)


def _remake(lease: Lease, work: Work) -> None:
    codec, source = CODECS[work.writes], lease.room[: lease.length]
    assert codec.remaking is not None
    before = memoryview(bytes(source)) if work.verify else source
    lease.length = codec.remaking.remake(source, work.found, lease.room)
    if work.verify:
        try:
            codec.remaking.check(lease.room[: lease.length], before, work.found)
        except (Corrupt, Unfit) as error:
            name = uids.syntax_name(codec.encodes)
            raise Differs(f"what was made as {name} is not the image: {error}") from error


def _verify(lease: Lease, work: Work, threads: int) -> None:
    """Decode the new codestream and, if the codec limits the difference, compare the pixels. Raises Differs."""
    codec, planes = CODECS[work.writes], work.wanted
    read_back = memoryview(bytearray(planes.size_bytes))
    try:
        codec.decode(lease.room[: lease.length], planes, read_back, threads)
    except (Corrupt, CodecError, Unfit) as error:
        raise Differs(f"what was encoded as {uids.syntax_name(codec.encodes)} does not decode: {error}") from error
    comparable = codec.bounded or not work.setting
    if comparable and not pixels.alike(planes.view(read_back), planes.view(lease.pixels), int(work.setting)):
        raise Differs(f"what was encoded as {uids.syntax_name(codec.encodes)} decodes to other pixels")
