"""The table of codecs: which transfer syntax is made and read by what, and what it can hold. One row a codec.

A row's place in CODECS is its number in the arena's slot table, so all workers of one start agree on it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from leyden.dicom.uids import JPEG2000_LOSSLESS
from leyden.errors import Corrupt
from leyden.transcode import openjpeg, pixels
from leyden.transcode.arena import Lease
from leyden.transcode.openjpeg import CodecError
from leyden.transcode.pixels import Description, Planes, Unfit


@dataclass(frozen=True, slots=True)
class Codec:
    """`encodes` is the UID that it makes ("" = none), `decodes` those that it reads back.

    `unfit(description, length_bytes, max_frame_bytes)` names what stands in the way of encoding, None = nothing;
    `room_bytes(planes)` is what a codestream may need; `inspect` reads a codestream's own claim of its planes.
    """

    encodes: str
    decodes: frozenset[str]
    unfit: Callable[[Description, int, int], str | None]
    room_bytes: Callable[[Planes], int]
    inspect: Callable[[memoryview], Planes]
    encode: Callable[[Planes, memoryview, memoryview, int], int]
    decode: Callable[[memoryview, Planes, memoryview, int], None]


def _room_bytes(planes: Planes) -> int:
    """Noise grows by 7 %, the component transform adds a bit to two of three samples; headers dominate tiny frames."""
    return planes.size_bytes * 5 // 4 + 16384


CODECS: tuple[Codec, ...] = (
    Codec(
        encodes=JPEG2000_LOSSLESS,
        decodes=frozenset({JPEG2000_LOSSLESS}),
        unfit=pixels.unfit,
        room_bytes=_room_bytes,
        inspect=openjpeg.inspect,
        encode=openjpeg.encode,
        decode=openjpeg.decode,
    ),
)


def encoder(syntax_uid: str) -> int | None:
    """The number of the codec that makes a transfer syntax; None = there is none."""
    return next((number for number, codec in enumerate(CODECS) if codec.encodes == syntax_uid), None)


def decoder(syntax_uid: str) -> int | None:
    """The number of the codec that reads a transfer syntax back; None = there is none."""
    return next((number for number, codec in enumerate(CODECS) if syntax_uid in codec.decodes), None)


def perform(lease: Lease, threads: int = 0) -> None:
    """Do the work that a filled lease describes: its pixels into its room, or the other way round.

    Where it fails with threads (they need memory) it is tried without. Raises Unfit (a failure of the codec, too) or
    Corrupt, and then what it wrote is rubbish.
    """
    try:
        _perform(lease, threads)
    except (CodecError, Corrupt) as error:
        if threads:
            perform(lease)
        elif isinstance(error, CodecError):
            raise Unfit(str(error)) from error
        else:
            raise


def _perform(lease: Lease, threads: int) -> None:
    codec = CODECS[lease.codec]
    if lease.decode:
        codec.decode(lease.room[: lease.length], lease.planes, lease.pixels, threads)
    else:
        lease.length = codec.encode(lease.planes, lease.pixels, lease.room, threads)
