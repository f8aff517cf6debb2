"""What compress.py compares is the same work: the same codestreams and pixels, and nothing passes uncompressed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

from leyden.transcode import openjpeg
from leyden.transcode.pixels import Planes
from support.peers import dcmtk
from support.service import wait_for

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "perf"))

import codec
import compress
import objects
import peers
import roles


@pytest.fixture(scope="module")
def encode_j2k() -> None:
    """The native program, made anew if its source is newer."""
    made = subprocess.run(["make", "-C", str(peers.NATIVE_BENCH), "build/encode_j2k"], capture_output=True, text=True)
    if "openjpeg.h" in made.stderr:
        pytest.skip("openjpeg.h is missing: apt-get install libopenjp2-7-dev")
    assert made.returncode == 0, made.stderr


@pytest.mark.usefixtures("encode_j2k")
def test_the_native_program_makes_the_codestream_that_the_service_makes(tmp_path: Path) -> None:
    alone = codec.Alone("small", objects.write_raw(tmp_path, "small"))
    figures = alone.run(3, threads=2, keep=tmp_path / "kept")
    planes, pixels = Planes(1, 64, 72, codec.PRECISION), memoryview(bytearray(alone.raw[0].read_bytes()))
    room = memoryview(bytearray(2 * planes.size_bytes))
    length = openjpeg.encode(planes, pixels, room)
    assert (tmp_path / "kept").read_bytes() == bytes(room[:length])
    assert figures.codestream_bytes == length


@pytest.mark.usefixtures("encode_j2k")
def test_a_raw_file_of_another_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(bytes(100))
    with pytest.raises(peers.Failed, match="100 bytes where the image has 9216"):
        codec.Alone("small", [tmp_path / "short"]).run(1)


def test_the_raw_files_are_the_different_frames_of_the_object(tmp_path: Path) -> None:
    raw = objects.write_raw(tmp_path / "raw", "cine")
    frames = pydicom.dcmread(objects.write_files(tmp_path, "cine", 1)[0]).pixel_array
    assert [path.read_bytes() for path in raw] == [frame.astype("<u2").tobytes() for frame in frames[:8]]
    assert all(np.array_equal(frames[n], frames[n % 8]) for n in range(len(frames)))


def test_what_is_not_compressed_does_not_arrive(tmp_path: Path) -> None:
    dcmtk("storescp")
    with peers.running(codec.archive(tmp_path)) as far, pytest.raises(peers.Failed):
        peers.dcmsend(far.port, "PACS", objects.write_files(tmp_path / "files", "small", 1))


def test_a_pass_through_the_pipeline_and_what_it_cost(tmp_path: Path) -> None:
    dcmtk("storescp")
    through = compress.Through(objects.write_files(tmp_path / "files", "small", 5))
    assert through.per_s(tmp_path) > 0
    [costs] = through.costs
    assert {name.split(",")[0] for name in costs} >= {"client dcmsend", "receiver-0", "worker-0", "storescp"}
    assert costs["client dcmsend, processor, ms an object"] > 0
    assert 0 < costs["first arrival, s from the client's start"] <= costs["last arrival"]


def test_what_a_role_spent_between_two_looks() -> None:
    before = {"worker-0": roles.Spent(1.0, 0.5), "worker-1": roles.Spent(9.0, 9.0)}
    after = {"worker-0": roles.Spent(3.0, 0.75), "worker-2": roles.Spent(1.0, 1.0)}
    assert roles.between(before, after) == {"worker-0": roles.Spent(2.0, 0.25)}


def test_what_waits_and_what_is_made(tmp_path: Path) -> None:
    assert codec.waiting(tmp_path) == 0
    for name in ("a.dcm", "b.dcm"):
        bucket = tmp_path / "transform" / "PACS" / "00" / name[0]
        bucket.mkdir(parents=True)
        (bucket / name).touch()
    assert codec.waiting(tmp_path) == 2
    claims = tmp_path / "active" / "worker-0"
    claims.mkdir(parents=True)
    with codec.Making(tmp_path) as making:
        assert codec.made_bytes(tmp_path) is None
        (claims / "x.making").touch()
        wait_for(lambda: making.looks)
        (claims / "x.making").write_bytes(b"pixels")
        wait_for(lambda: making.looks[-1][1])
        (claims / "x.making").unlink()
    assert 0 < making.first_fragment_s < making.made_s
