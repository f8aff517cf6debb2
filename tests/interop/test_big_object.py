"""A big multi-frame object: through as it is and compressed, with the memory of every process bounded.

It has 256 MB; LEYDEN_LONG=1 in the environment makes it 1 GB.
"""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pydicom
import pytest
from pydicom.pixels import iter_pixels

from leyden.dicom import part10
from support.objects import make_ct
from support.peers import Storescp, run_dcmtk
from support.service import Service, node, wait_for

FRAMES = 2048 if os.environ.get("LEYDEN_LONG") == "1" else 512
ROWS = COLUMNS = 512
GROWTH_LIMIT_BYTES = 64 << 20


def make_multi_frame(path: Path, frames: int) -> Path:
    """Sparse noise: a frame of zeros with a hundred random points; written a frame at a time."""
    one = make_ct(path.with_suffix(".one"), 1, rows=ROWS, columns=COLUMNS)
    image = pydicom.dcmread(one)
    image.NumberOfFrames = frames
    image.PixelData = b""
    image.save_as(path)
    one.unlink()
    frame_bytes = 2 * ROWS * COLUMNS
    chance = np.random.default_rng(7)
    with path.open("r+b") as stream:
        stream.seek(-4, os.SEEK_END)
        stream.write((frames * frame_bytes).to_bytes(4, "little"))
        for _ in range(frames):
            frame = np.zeros(ROWS * COLUMNS, "<i2")
            frame[chance.integers(0, frame.size, 100)] = chance.integers(-1000, 3000, 100)
            stream.write(frame.tobytes())
    return path


class Memory:
    """The largest growth of resident memory of each process, beside what is shared, sampled until stopped."""

    def __init__(self, service: Service) -> None:
        self.growth_bytes: dict[str, int] = {}
        self._processes = {p.pid: (" ".join(p.cmdline()[3:7]), _private_bytes(p)) for p in service.processes()}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            for pid, (name, before) in self._processes.items():
                grown = _private_bytes(psutil.Process(pid)) - before
                self.growth_bytes[name] = max(grown, self.growth_bytes.get(name, 0))

    def stop(self) -> dict[str, int]:
        self._over.set()
        self._thread.join()
        return self.growth_bytes


def _private_bytes(process: psutil.Process) -> int:
    """Resident, without the arena, which is shared memory."""
    info = process.memory_info()
    return int(info.rss - info.shared)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("syntax", ["", "JPEG2000Lossless"])
def test_a_big_object_goes_through_in_bounded_memory(
    service: Callable[..., Service], storescp: Callable[..., Storescp], tmp_path: Path, syntax: str
) -> None:
    """No process holds a whole object: an object of 2 GB raises none of these figures (docs/size.md)."""
    source = make_multi_frame(tmp_path / "big.dcm", FRAMES)
    archive = storescp("+xa")
    leyden = service(node("ARCHIVE", archive.port, TransferSyntax=syntax)).start()
    memory = Memory(leyden)
    done = run_dcmtk("storescu", "-xe", "-aec", "ARCHIVE", "127.0.0.1", str(leyden.port), str(source), limit_s=300)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: not leyden.left(), 600, "the delivery")
    growth = memory.stop()
    assert max(growth.values()) < GROWTH_LIMIT_BYTES, growth
    (arrived,) = archive.folder.iterdir()
    if not syntax:
        assert _digest(arrived) == _digest(source)
        return
    assert arrived.stat().st_size < source.stat().st_size / 10
    _assert_same_frames(source, arrived)


def _digest(path: Path) -> str:
    """SHA-256 of the dataset, without the file meta."""
    with path.open("rb") as stream:
        head = part10.decode_head(stream.read(1 << 16))
        assert head is not None
        stream.seek(head[1])
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _assert_same_frames(source: Path, arrived: Path) -> None:
    """Frame for frame, decoded by pylibjpeg through pydicom."""
    for index, (before, after) in enumerate(zip(iter_pixels(source), iter_pixels(arrived), strict=True)):
        assert np.array_equal(before, after), index
    assert index == FRAMES - 1
