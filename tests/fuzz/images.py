"""The target `images`: real images of every syntax that is read, damaged, through job.make, as a worker makes them.

The codecs are C code, so this one runs in a process of its own, whose memory is bounded as that of a worker.
"""

import os
import random
import shutil
import tempfile
import zlib
from functools import cache
from pathlib import Path

from msgspec.structs import replace

from fuzz.damage import bent
from leyden import worker
from leyden.dicom import uids
from leyden.dicom.part10 import decode_head
from leyden.errors import Corrupt
from leyden.transcode import job
from leyden.transcode.arena import Arena
from leyden.transcode.pixels import Unfit
from leyden.transcode.source import Source, Unreadable
from support.objects import real
from support.transcoding import Bench, make

ARENA_MIB, MAX_FRAME_MIB = 16, 8
DESCRIPTORS = 16  # that a process may have open at the end

REAL = (
    "MR_small_jp2klossless.dcm", "JPEG2000.dcm", "SC_rgb_gdcm_KY.dcm", "JPEG2000-embedded-sequence-delimiter.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+s2.dcm", "SC_rgb_small_odd_jpeg.dcm", "JPGExtended.dcm",
    "SC_rgb_jpeg_gdcm.dcm", "MR_small_jpeg_ls_lossless.dcm", "JPEGLSNearLossless_16.dcm", "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm", "MR_small_RLE.dcm", "SC_rgb_rle_16bit_2frame.dcm", "rtdose_rle.dcm",
    "image_dfl.dcm", "MR_small.dcm", "MR_small_bigendian.dcm",
)  # fmt: skip
MADE = {
    "MR_small.dcm": (
        uids.HTJ2K_LOSSLESS, uids.HTJ2K_LOSSLESS_RPCL, uids.HTJ2K, uids.JPEG_LOSSLESS, uids.JPEG_LOSSLESS_SV1,
        uids.DEFLATED_LE, uids.JPEGXL_LOSSLESS,
    ),
    "SC_rgb_rle_2frame.dcm": (
        uids.JPEG2000_LOSSLESS, uids.HTJ2K_LOSSLESS, uids.HTJ2K, uids.JPEG_LOSSLESS, uids.JPEG_BASELINE,
        uids.JPEG_EXTENDED, uids.JPEGLS_LOSSLESS, uids.JPEGXL_LOSSLESS, uids.JPEGXL,
    ),
    "liver_1frame.dcm": (uids.DEFLATED_FRAMES,),
    "rtdose.dcm": (uids.DEFLATED_FRAMES,),
    "SC_rgb_small_odd_jpeg.dcm": (uids.JPEGXL_JPEG,),
}  # fmt: skip
TARGETS = (
    uids.EXPLICIT_LE, uids.EXPLICIT_LE, uids.IMPLICIT_LE, uids.EXPLICIT_BE, uids.DEFLATED_LE, uids.JPEG2000_LOSSLESS,
    uids.HTJ2K_LOSSLESS, uids.JPEG_LOSSLESS_SV1, uids.JPEGLS_LOSSLESS, uids.RLE_LOSSLESS, uids.JPEG_BASELINE,
    uids.JPEG2000, uids.DEFLATED_FRAMES, uids.JPEGXL_LOSSLESS, uids.JPEGXL_JPEG,
)  # fmt: skip
PIXEL_DATA = b"\xe0\x7f\x10\x00"


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-images"))


@cache
def _memory() -> int:
    fd = os.memfd_create("fuzz")
    os.ftruncate(fd, ARENA_MIB << 20)
    return fd


@cache
def _bench() -> Bench:
    return Bench(Arena(_memory()))


@cache
def contents() -> list[bytes]:
    """Real files in every syntax that is read: the wheel's, and what we make of them where it has none."""
    found = [real(name).read_bytes() for name in REAL]
    terms = job.Terms(MAX_FRAME_MIB << 20, recompress_lossy=True)
    for name, targets in MADE.items():
        for target in targets:
            made = _folder() / f"{target}.made"
            make(real(name), made, target, _bench(), terms)
            found.append(made.read_bytes())
    return found


def image(chance: random.Random) -> bytes:
    """One of the files, damaged mostly where its pixels begin, lengths and tables being there."""
    content = chance.choice(contents())
    head = decode_head(content)
    assert head is not None
    meta, begin = head
    if meta.transfer_syntax_uid == uids.DEFLATED_LE and chance.random() < 0.7:  # or the deflate stream itself
        inflated = zlib.decompress(content[begin:], -zlib.MAX_WBITS)
        deflate = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
        damaged = bent(chance, inflated, 0, max(0, inflated.rfind(PIXEL_DATA)))
        return content[:begin] + deflate.compress(damaged) + deflate.flush()
    return bent(chance, content, 132, max(begin, content.rfind(PIXEL_DATA)))


def images(data: bytes) -> str:
    """A damaged image becomes an image that is read again, or there is a reason; no more happens."""
    chance = random.Random(zlib.crc32(data))
    path, made = _folder() / "mutant.dcm", _folder() / "mutant.made"
    path.write_bytes(data)
    target, verify = chance.choice(TARGETS), chance.choice((job.Verify.NONE, job.Verify.FIRST))
    terms = job.Terms(MAX_FRAME_MIB << 20, recompress_lossy=chance.random() < 0.5, verify=verify)
    try:
        make(path, made, target, _bench(), replace(terms, alone=chance.random() < 0.5))
    except (Unfit, Corrupt, Unreadable):
        return f"refused {_syntax(data)}"
    source = Source(made)
    source.close()
    assert not source.flaw, f"what was made does not parse: {source.flaw}"
    return f"read {_syntax(data)}"


def _syntax(data: bytes) -> str:
    """The transfer syntax of a file, if its damage left that."""
    try:
        head = decode_head(data)
    except Corrupt:
        head = None
    known = head is not None and head[0].transfer_syntax_uid in uids.SYNTAXES
    return uids.syntax_name(head[0].transfer_syntax_uid) if known and head is not None else "?"


def limited() -> None:
    """Bound the memory of this process as that of a worker is."""
    contents()
    worker._limit_memory(ARENA_MIB, MAX_FRAME_MIB)


def left() -> str:
    """What was not given back at the end."""
    leased = Arena(_memory(), 1, 2).leased()
    descriptors = len(os.listdir("/proc/self/fd"))
    shutil.rmtree(_folder())
    faults = [f"{leased} slots leased"] if leased else []
    faults += [f"{descriptors} descriptors open"] if descriptors > DESCRIPTORS else []
    return ", ".join(faults)
