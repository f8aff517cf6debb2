"""Data sets as bytes, for the tests that rewrite them: written by hand, and read from real files."""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset as Peer

from leyden.dicom.edit import Copy, Hole, Piece, Replacements, element_header, rewrite, swapped
from leyden.dicom.elements import UNDEFINED, WORD_BYTES, ByteSource, encoding_of, offset_behind
from leyden.dicom.header import Dataset, peek
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, SYNTAXES, Syntax
from support.wire import el as el

LITTLE, IMPLICIT, BIG = SYNTAXES[EXPLICIT_LE], SYNTAXES[IMPLICIT_LE], SYNTAXES[EXPLICIT_BE]
PIXELS = 0x7FE00010
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

FOLDER = Path(pydicom.data.__file__).parent
_LEFT_OUT = {
    "meta_missing_tsyntax.dcm": "names no transfer syntax",
    "SC_rgb_jpeg.dcm": "implicit VR in an explicit syntax",
    "MR_truncated.dcm": "cut off",
    "rtplan_truncated.dcm": "cut off",
    "DICOMDIR-nooffset": "an item is longer than its sequence",
}
FILES = sorted(
    path
    for path in FOLDER.rglob("*")
    if path.is_file() and path.read_bytes()[128:132] == b"DICM" and path.name not in _LEFT_OUT
)
"""Every file of the pydicom wheel that is encoded as its transfer syntax says."""


def dataset_of(path: Path) -> tuple[bytes, Syntax]:
    """The bytes of a file's dataset, inflated, and its syntax."""
    data = path.read_bytes()
    header = peek(lambda offset, length: data[offset : offset + length], len(data))
    dataset = data[header.offset :]
    return zlib.decompress(dataset, -15) if header.syntax.deflated else dataset, header.syntax


def whole(data: bytes, syntax: Syntax) -> Dataset:
    """All of `data` as a dataset to rewrite."""
    source = ByteSource(lambda offset, length: data[offset : offset + length], len(data))
    return Dataset(source, 0, len(data), encoding_of(syntax))


def pieces(data: bytes, syntax: Syntax, target: Syntax, replace: Replacements) -> list[Piece]:
    return list(rewrite(whole(data, syntax), target, replace))


def made(data: bytes, syntax: Syntax, target: Syntax, replace: Replacements | None = None) -> bytes:
    """The rewritten data set with the original pixels, in the byte order of the target; holes are blank."""
    return joined(data, pieces(data, syntax, target, replace or {}), syntax, target)


def joined(data: bytes, stream: list[Piece], syntax: Syntax, target: Syntax) -> bytes:
    done = b""
    encoding, source = encoding_of(target), whole(data, syntax).source
    for piece in stream:
        if isinstance(piece, bytes):
            done += piece
        elif isinstance(piece, Hole):
            done += b" " * piece.length_bytes
        elif isinstance(piece, Copy):
            done += swapped(data[piece.offset : piece.offset + piece.length], piece.swap)
        elif piece.length is None:
            end = offset_behind(source, piece.tag, piece.vr, piece.offset, len(data), encoding_of(syntax))
            done += element_header(piece.tag, piece.vr, UNDEFINED, encoding) + data[piece.offset : end]
        else:
            value = data[piece.offset : piece.offset + piece.length]
            turned = syntax.big_endian != target.big_endian
            value = swapped(value, WORD_BYTES.get(piece.vr, 1)) if turned else value
            done += element_header(piece.tag, piece.vr, piece.length, encoding) + value
    return done


def as_file(dataset: bytes, syntax: str) -> BytesIO:
    return BytesIO(encode_head(FileMeta("1.2", "1.3", syntax)) + dataset)


def leaves(ds: Peer, with_group_lengths: bool, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], object]]:
    """Every element of a dataset with the raw bytes of its value, sequences item by item."""
    for tag in ds.keys():  # noqa: SIM118
        tag = int(tag)
        if not with_group_lengths and tag & 0xFFFF == 0:
            continue
        raw = ds.get_item(tag)
        if raw.VR == "SQ" or (raw.VR is None and ds[tag].VR == "SQ"):
            items = ds[tag].value
            yield (*path, tag), len(items)
            for number, item in enumerate(items):
                yield from leaves(item, with_group_lengths, (*path, tag, number))
        else:
            # Pixel Representation is the one value that pydicom may have converted already.
            value = struct.pack("<H", raw.value) if isinstance(raw.value, int) else raw.value
            yield (*path, tag), value or b""
