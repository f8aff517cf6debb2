"""Readers of other makers, and a validator, for the files that we write.

Each gives pixels as (frames, rows, columns, samples), with the colour transforms of the codec undone. What a reader is
known not to read is listed where it is asked (tests/interop/test_syntaxes.py), not here.
"""

import os
import shutil
import string
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from pydicom.encaps import generate_frames

from leyden.dicom.part10 import decode_head, encode_head
from leyden.dicom.uids import (
    DEFLATED_FRAMES,
    DEFLATED_LE,
    EXPLICIT_LE,
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    JPEG2000,
    JPEG2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEGLS_LOSSLESS,
    JPEGLS_NEAR_LOSSLESS,
    JPEGXL,
    JPEGXL_JPEG,
    JPEGXL_LOSSLESS,
    RLE_LOSSLESS,
    SYNTAXES,
)
from leyden.transcode.pixels import Planes
from support.peers import run_dcmtk

Pixels = NDArray[Any]


DCMTK_DECODERS = {
    RLE_LOSSLESS: "dcmdrle",
    JPEG_LOSSLESS: "dcmdjpeg",
    JPEG_LOSSLESS_SV1: "dcmdjpeg",
    JPEG_BASELINE: "dcmdjpeg",
    JPEG_EXTENDED: "dcmdjpeg",
    JPEGLS_LOSSLESS: "dcmdjpls",
    JPEGLS_NEAR_LOSSLESS: "dcmdjpls",
}
"""DCMTK's program for each syntax; it has none for JPEG 2000. dcmconv is for what is not encapsulated."""
JPEG2000_FAMILY = {JPEG2000_LOSSLESS, JPEG2000, HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL, HTJ2K}
JPEGXL_FAMILY = {JPEGXL_LOSSLESS, JPEGXL_JPEG, JPEGXL}
"""Syntaxes that pydicom 3.0, GDCM 3.0, DCMTK 3.6 and dciodvfy of 2022 do not know; djxl does."""

_OF_THE_SYNTAX = {"PixelData", "PhotometricInterpretation", "PlanarConfiguration"}  # it changes them (PS3.5 8.2)
_SHOWN_AS = {
    DEFLATED_FRAMES: RLE_LOSSLESS,
    DEFLATED_LE: EXPLICIT_LE,
    HTJ2K_LOSSLESS: JPEG2000_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL: JPEG2000_LOSSLESS,
    HTJ2K: JPEG2000,
    JPEGXL_LOSSLESS: JPEG_LOSSLESS,
    JPEGXL_JPEG: JPEG_BASELINE,
    JPEGXL: JPEG_LOSSLESS,
}


def tool(name: str, package: str) -> str:
    """The path of a program; without it the test is skipped by name, and fails where CI=true."""
    path = shutil.which(name)
    if path is not None:
        return path
    reason = f"{name} is missing: apt-get install {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def read(path: Path) -> pydicom.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom thinks of its own odd files
        return pydicom.dcmread(path, force=True)


def by_pydicom(path: Path) -> Pixels:
    """pydicom's own reading of native pixels; codestreams by pylibjpeg and its three plugins, JPEG XL by djxl."""
    dataset = inflated(read(path))
    if dataset.file_meta.TransferSyntaxUID in JPEGXL_FAMILY:
        return by_djxl(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plugin = "pylibjpeg" if SYNTAXES[dataset.file_meta.TransferSyntaxUID].encapsulated else ""
        return _shaped(pydicom.pixels.pixel_array(dataset, raw=True, decoding_plugin=plugin), dataset)


def inflated(dataset: pydicom.Dataset) -> pydicom.Dataset:
    """Native pixels instead of deflated frames (PS3.5 A.4.13), which pydicom knows from 3.1 on: its frames, inflated by
    libdeflate. Any other dataset stays as it is.
    """
    if dataset.file_meta.TransferSyntaxUID != DEFLATED_FRAMES:
        return dataset
    count, bits = int(dataset.get("NumberOfFrames") or 1), dataset.BitsAllocated
    samples = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel
    frames = [
        imagecodecs.deflate_decode(frame, out=(samples * bits + 7) // 8, raw=True)
        for frame in generate_frames(dataset.PixelData, number_of_frames=count)
    ]
    pixels = b"".join(frames)
    if bits == 1:  # native frames share bytes
        each = [np.unpackbits(np.frombuffer(frame, np.uint8), count=samples, bitorder="little") for frame in frames]
        pixels = np.packbits(np.concatenate(each), bitorder="little").tobytes()
    dataset.PixelData = pixels + b"\0" * (len(pixels) % 2)
    dataset["PixelData"].is_undefined_length = False
    dataset.file_meta.TransferSyntaxUID = EXPLICIT_LE
    return dataset


def dcmdump(path: Path) -> str:
    """What DCMTK warns of when it reads all of a file; empty if all is well."""
    dumped = run_dcmtk("dcmdump", "--log-level", "warn", str(path))
    return dumped.stderr or (f"exit code {dumped.returncode}" if dumped.returncode else "")


def by_dcmtk(path: Path, folder: Path) -> Pixels:
    """DCMTK's decoder for the syntax, and pydicom for the native pixels that it writes."""
    syntax = str(read(path).file_meta.TransferSyntaxUID)
    decoder = DCMTK_DECODERS.get(syntax, "dcmconv")
    options = ["+te"] if decoder == "dcmconv" else []
    if decoder == "dcmdjpeg" and not SYNTAXES[syntax].lossy:
        options = ["+cn"]  # the colours stay; of what is lossy it makes RGB
    native = folder / f"{path.name}.dcmtk"
    done = run_dcmtk(decoder, *options, str(path), str(native))
    assert done.returncode == 0, f"{decoder}: {done.stderr}"
    return by_pydicom(native)


def by_djxl(path: Path) -> Pixels:
    """The frames of a JPEG XL file as libjxl's own program, of an older release, reads their codestreams."""
    dataset = read(path)
    signed, allocated = bool(dataset.PixelRepresentation), dataset.BitsAllocated
    top = (1 << (allocated if signed else dataset.BitsStored)) - 1
    frames = [np.rint(_djxl(codestream) * top).astype(f"u{allocated // 8}") for codestream in codestreams(path)]
    return _shaped(np.stack(frames).view(f"{'i' if signed else 'u'}{allocated // 8}"), dataset)


def _djxl(codestream: bytes) -> Pixels:
    """(rows, columns, samples), with 1.0 as the greatest value for any precision, as it writes them to NPY."""
    return np.clip(np.load(BytesIO(_djxl_makes("npy", codestream)))[0], 0, 1)  # of what is lossy some lie outside


def jpeg_by_djxl(codestream: bytes) -> bytes:
    """The JPEG that was recompressed to a codestream."""
    return _djxl_makes("jpg", codestream)


def _djxl_makes(kind: str, codestream: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "given.jxl"), Path(folder, f"made.{kind}")
        given.write_bytes(codestream)
        program = tool("djxl", "libjxl-tools")
        done = subprocess.run([program, given, made, "--quiet"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return made.read_bytes()


def by_opj_decompress(codestream: bytes, planes: Planes, folder: Path) -> Pixels:
    """One codestream as OpenJPEG's own program reads it, (samples, rows, columns)."""
    values = _decompressed(tool("opj_decompress", "libopenjp2-tools"), codestream, planes, folder)
    spare_bits = 8 * planes.sample_bytes - planes.precision  # it writes these as 0, whatever the sign
    return np.right_shift(np.left_shift(values, spare_bits), spare_bits)


def by_grk_decompress(codestream: bytes, planes: Planes, folder: Path) -> Pixels:
    """The same by Grok."""
    return _decompressed(tool("grk_decompress", "grokj2k-tools"), codestream, planes, folder)


def _decompressed(program: str, codestream: bytes, planes: Planes, folder: Path) -> Pixels:
    given, made = folder / "codestream.j2k", folder / "codestream.rawl"
    given.write_bytes(codestream)
    made.unlink(missing_ok=True)
    done = subprocess.run([program, "-i", given, "-o", made], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert made.exists(), done.stdout + done.stderr
    return planes.view(memoryview(made.read_bytes()))


class Gdcm:
    """gdcm in a process of its own, because it aborts on some input. Call `end()` when done."""

    _READ = """\
import os, struct, sys
import gdcm
gdcm.Trace.WarningOff(); gdcm.Trace.ErrorOff()
answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
for line in sys.stdin:
    reader = gdcm.ImageReader()
    reader.SetFileName(line[:-1])
    data = None
    if reader.Read():
        image = reader.GetImage()
        data = image.GetBuffer().encode("utf-8", "surrogateescape")
        planar = image.GetPlanarConfiguration()
    answers.write(struct.pack("<qB", -1, 0) if data is None else struct.pack("<qB", len(data), planar) + data)
    answers.flush()
"""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, path: Path) -> Pixels:
        """The pixels that it reads from a file, as wide as Bits Allocated says."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", self._READ], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(os.fsencode(path) + b"\n")
        self._process.stdin.flush()
        head = self._process.stdout.read(9)
        if len(head) < 9:
            code = self._process.wait(60)
            self.end()
            raise AssertionError(f"gdcm died of {path.name}, exit code {code}")
        length, planar = struct.unpack("<qB", head)
        assert length >= 0, f"gdcm does not read {path.name}"
        data = self._process.stdout.read(length)
        dataset = read(path)
        sign = "i" if dataset.PixelRepresentation else "u"
        values = np.frombuffer(data, f"<{sign}{dataset.BitsAllocated // 8}")
        rows, columns, samples = dataset.Rows, dataset.Columns, dataset.SamplesPerPixel
        if planar:
            return values.reshape(-1, samples, rows, columns).transpose(0, 2, 3, 1)
        return values.reshape(-1, rows, columns, samples)

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            with self._process:
                pass
            self._process = None


def new_errors(before: Path, after: Path, folder: Path) -> Counter[str]:
    """What dciodvfy calls an error in one file but not in the other."""
    return _errors(after, folder) - _errors(before, folder)


def _errors(path: Path, folder: Path) -> Counter[str]:
    """It knows no HTJ2K, no JPEG XL, no deflated frames, and does not inflate. So it gets the same data set in a syntax
    that it knows.
    """
    program = tool("dciodvfy", "dicom3tools")
    head = decode_head(path.read_bytes())
    if head is not None and head[0].transfer_syntax_uid in _SHOWN_AS:
        dataset = path.read_bytes()[head[1] :]
        if SYNTAXES[head[0].transfer_syntax_uid].deflated:
            dataset = zlib.decompress(dataset, -zlib.MAX_WBITS)
        if head[0].transfer_syntax_uid in JPEGXL_FAMILY:
            dataset = dataset.replace(b"CS\4\0XYB ", b"CS\4\0RGB ")
        path = folder / f"{path.name}.shown"
        shown_as = _SHOWN_AS[head[0].transfer_syntax_uid]
        path.write_bytes(encode_head(replace(head[0], transfer_syntax_uid=shown_as)) + dataset)
    done = subprocess.run([program, path], capture_output=True, text=True, errors="replace", timeout=60)
    if done.returncode < 0:
        return Counter([f"dies of it, signal {-done.returncode}"])
    return Counter(line for line in done.stderr.splitlines() if line.startswith("Error"))


def _shaped(pixels: Pixels, dataset: pydicom.Dataset) -> Pixels:
    return pixels.reshape(-1, dataset.Rows, dataset.Columns, dataset.SamplesPerPixel)


def by_syntax(*uids: str) -> pytest.MarkDecorator:
    """A test for each of these transfer syntaxes, under its name."""
    return pytest.mark.parametrize("target", uids, ids=lambda uid: SYNTAXES[uid].name)


def assert_readable(reason: str) -> None:
    """A reason must be readable for an operator: no traceback, no repr of an object."""
    assert len(reason.split()) > 1, reason
    assert set(reason) <= set(string.printable) - set("\n\r\t<>{}"), reason


def codestreams(path: Path) -> list[bytes]:
    """One a frame, as pydicom takes them out."""
    dataset = read(path)
    return list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)))


def assert_codestreams_hold(path: Path, pixels: Any, folder: Path, reads: Any, tolerance: int = 0) -> None:
    """The codestreams of a file, read without its data set, decode to these pixels (frames, rows, columns, samples)."""
    dataset = read(path)
    planes = Planes(
        pixels.shape[3], pixels.shape[1], pixels.shape[2], dataset.BitsStored, bool(dataset.PixelRepresentation)
    )
    found = codestreams(path)
    assert len(found) == len(pixels)
    for codestream, frame in zip(found[:3], pixels, strict=False):
        values = reads(codestream, planes, folder).transpose(1, 2, 0)
        assert np.abs(values.astype(int) - frame.astype(int)).max() <= tolerance


def others(path: Path, *but: str) -> dict[int, Any]:
    """The values of all elements but those that the syntax itself changes."""
    return {int(e.tag): e.value for e in read(path) if e.keyword not in {*_OF_THE_SYNTAX, *but} and e.tag.element != 0}
