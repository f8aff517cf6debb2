"""What syntaxes.py measures is what the service makes: the same codestream, and a codec that changes pixels is told."""

import sys
from pathlib import Path

import pytest

from leyden.dicom import uids
from leyden.transcode import libjxl
from leyden.transcode.pixels import Planes, pack
from support.objects import make_ct

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "perf"))

import peers
import syntaxes


def test_the_codestream_that_the_service_makes(tmp_path: Path) -> None:
    make_ct(tmp_path / "ct.dcm", 1, rows=64, columns=72)
    (image,) = syntaxes.images(tmp_path, tmp_path)
    planes = Planes(1, 64, 72, 16, signed=True)
    packed, room = memoryview(bytearray(planes.size_bytes)), memoryview(bytearray(2 * planes.size_bytes))
    pack(memoryview(bytearray(image.native)), image.described, planes, packed)
    trips = {effort: syntaxes.at_effort(effort)(image).codestream for effort in (1, libjxl.EFFORT[1])}
    assert syntaxes.through(uids.JPEGXL_LOSSLESS)(image).codestream == room[: libjxl.encode(planes, packed, room)]
    assert trips[libjxl.EFFORT[1]] == room[: libjxl.encode(planes, packed, room)]
    assert trips[1] != trips[libjxl.EFFORT[1]]


def test_other_pixels_are_no_figure(tmp_path: Path) -> None:
    make_ct(tmp_path / "ct.dcm", 1, rows=64, columns=72)
    (image,) = syntaxes.images(tmp_path, tmp_path)
    lossy = syntaxes.through(uids.JPEG2000, 20.0)
    assert len(lossy(image).codestream) < len(syntaxes.through(uids.JPEG2000_LOSSLESS)(image).codestream)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(libjxl, "_check_end", lambda codestream: None)
        patch.setattr(libjxl.jpegxl, "expect", lambda codestream, wanted: None)
        patch.setattr(libjxl.imagecodecs, "jpegxl_decode", lambda codestream, numthreads, out: out.fill(7))
        with pytest.raises(peers.Failed, match="another image"):
            syntaxes.through(uids.JPEGXL_LOSSLESS)(image)
