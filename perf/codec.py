"""What compress.py compares: the codec alone on the pixels of generated images, and the pipeline around it.

The codec alone is native_bench/encode_j2k with the same libopenjp2 file that the service loads. The archive behind the
pipeline takes JPEG 2000 lossless and nothing else: what it counts was compressed.
Deliberately absent: cases and tables (compress.py).
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import objects
import peers
import rig
from leyden.dicom.uids import JPEG2000_LOSSLESS

J2K, HTJ2K = "JPEG2000Lossless", "HTJ2KLossless"
CORES = len(os.sched_getaffinity(0))
PRECISION = 12  # of the images of objects.py
LOOK_S = 0.02  # each look takes time from the cores that are measured


@cache
def library() -> str:
    """The file of libopenjp2 that the service's codec loads."""
    import leyden.transcode.openjpeg  # noqa: F401

    lines = Path("/proc/self/maps").read_text().splitlines()
    return next(line.split(maxsplit=5)[-1] for line in lines if "libopenjp2" in line)


@dataclass(frozen=True, slots=True)
class Alone:
    """OpenJPEG alone on the frames of a kind; `raw` are its different ones."""

    kind: str
    raw: Sequence[Path]

    @classmethod
    def of(cls, run: rig.Run, kind: str) -> "Alone":
        return cls(kind, objects.write_raw(run.folder / "raw", kind))

    def run(self, count: int, *, threads: int = CORES, codec_threads: int = 0, keep: Path | None = None) -> "Figures":
        """Encode so many frames, one at a time on each of `threads` threads. Raises peers.Missing."""
        _, _, rows, columns, _ = objects.KINDS[self.kind]
        words = ["--library", library(), "--rows", rows, "--columns", columns, "--precision", PRECISION]
        words += ["--objects", count, "--threads", threads, "--codec-threads", codec_threads]
        words += ["--keep", keep] if keep else []
        found = peers.native_figures("encode_j2k", *words, *self.raw)
        return Figures(
            found["wall_us"] / 1e6, found["us_per_image"] / 1e6, found["processor_us_per_image"] / 1e6,
            found["codestream_bytes_per_image"],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figures:
    """Of all frames; of one on its thread, by the clock and by the processor; bytes of a codestream, on average."""

    seconds: float
    frame_s: float
    frame_processor_s: float
    codestream_bytes: float


@contextmanager
def leyden(folder: Path, port: int, syntax: str = J2K, workers: int = CORES) -> Iterator[peers.Service]:
    """The service with one destination, PACS, on `port`."""
    nodes = peers.node("PACS", port, TransferSyntax=syntax)
    with peers.serving(peers.Service(folder, nodes, workers=workers, arenaMib=256)) as service:
        yield service


def archive(folder: Path) -> peers.CountingStorescp:
    """The destination, which takes JPEG 2000 lossless and nothing else."""
    classes = [objects.CT, objects.CR, objects.TOMOSYNTHESIS]
    return peers.CountingStorescp(*peers.takes_only(folder, JPEG2000_LOSSLESS, classes))


def made_bytes(spool: Path) -> int | None:
    """The size of what the workers are writing, the largest of them; None = nothing is being made."""
    sizes = []
    for path in spool.glob("active/worker-*/*.making"):
        with suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return max(sizes, default=None)


def waiting(spool: Path) -> int:
    """How many objects wait for a worker."""
    return sum(len(os.listdir(bucket)) for bucket in spool.glob("transform/*/*/*"))


@dataclass(slots=True)
class Making:
    """Watches the file that is being made, while its block runs."""

    spool: Path
    looks: list[tuple[float, int]] = field(default_factory=list)  # CLOCK_MONOTONIC, bytes
    _made_s: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        assert self._thread is not None
        self._thread.join()
        if error is None:  # files of delivered objects may not be removed yet
            peers.wait_for(self._look, 10, "the end of what is being made")

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            self._look()

    def _look(self) -> bool:
        """Whether the file was seen to come and to go."""
        size = made_bytes(self.spool)
        if size is not None:
            self.looks.append((time.monotonic(), size))
        elif self.looks and not self._made_s:
            self._made_s = time.monotonic()
        return bool(self._made_s)

    @property
    def first_fragment_s(self) -> float:
        """From when a worker got the object until pixels were in the file (its head waits for them in a buffer)."""
        return next(at_s for at_s, size in self.looks if size) - self.looks[0][0]

    @property
    def made_s(self) -> float:
        """From when a worker got the object until the file was complete, synced and in prepared/."""
        return self._made_s - self.looks[0][0]
