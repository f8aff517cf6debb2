"""Copies that rules ask for (save_file): durable, under their final name or not at all, and never over another file.

A copy is written under a hidden name, synced, and then linked into place. Where the name is taken by the same bytes
the copy was made before; where by other bytes, it gets its receipt into its name. Each target of a rule has a thread
of its own, one copy at a time: a share that hangs holds up what is to be saved there, and nothing else.
Deliberately absent: which path.
"""

import contextlib
import errno
import os
import queue
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from leyden.plan.match import Save
from leyden.spool.moves import sync_folder

LANE_MAX = 4096  # objects that wait for one target; each takes some 2 KB
GATHERED = 16  # copies that end one after the other are taken together, or when the planner looks by itself
_COPY_BYTES = 16 << 20
_COMPARED_BYTES = 1 << 20
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # some shares know no second name of a file
_naming: dict[int, threading.Lock] = {}  # by device: where there are no links, one thread at a time gives names

Item = TypeVar("Item")


@dataclass(slots=True)
class Copying(Generic[Item]):
    """An object whose copies are made. `left` are those still to be made; with an `error`, the first of them failed."""

    item: Item
    source: Path
    receipt: str
    left: list[Save]
    error: OSError | None = None


@dataclass(slots=True)
class _Lane(Generic[Item]):
    queue: "queue.SimpleQueue[Copying[Item]]" = field(default_factory=queue.SimpleQueue)
    since_s: float = 0.0  # since when the copy in hand is being made; 0 = there is none


class Copies(Generic[Item]):
    """The copies under way. One thread asks; `ring` is called, in other threads, when it is time to take.

    The threads end with the process, wherever they are: a copy that is cut off has no name yet.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._lanes: dict[tuple[str, str], _Lane[Item]] = {}  # by rule and target
        self._ended: queue.SimpleQueue[Copying[Item]] = queue.SimpleQueue()

    def begin(self, item: Item, source: Path, receipt: str, saves: Sequence[Save]) -> None:
        """Copy `source` to each of the `saves`, one after the other. OSError: not now, too many wait already."""
        lanes = [self._lane(save) for save in saves]
        if any(lane.queue.qsize() >= LANE_MAX for lane in lanes):
            raise OSError(errno.EAGAIN, f"{LANE_MAX} others wait for theirs already")
        lanes[0].queue.put(Copying(item, source, receipt, list(saves)))

    def take(self) -> Iterator[Copying[Item]]:
        """Those that have come to their end, well or not."""
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._ended.get_nowait()

    def late(self, limit_s: float) -> Iterator[tuple[str, str, int]]:
        """Rule, target and number of those behind, where one copy takes longer than `limit_s`."""
        now_s = time.monotonic()
        for (where, target), lane in self._lanes.items():
            if lane.since_s and now_s - lane.since_s > limit_s:
                yield where, target, lane.queue.qsize()

    def _lane(self, save: Save) -> _Lane[Item]:
        key = (save.where, save.target)
        if key not in self._lanes:
            lane: _Lane[Item] = _Lane()
            try:
                threading.Thread(target=self._work, args=(lane,), name=f"copies {save.where}", daemon=True).start()
            except RuntimeError as error:
                raise OSError(errno.EAGAIN, str(error)) from None
            self._lanes[key] = lane
        return self._lanes[key]

    def _work(self, lane: _Lane[Item]) -> None:
        while True:
            copying = lane.queue.get()
            lane.since_s = time.monotonic()
            try:
                save(copying.source, Path(copying.left[0].path), copying.receipt)
                del copying.left[0]
            except OSError as error:
                copying.error = error
            except Exception as error:  # whatever it is, the next ones want their turn; its text may name a patient
                copying.error = OSError(errno.EINVAL, f"{type(error).__name__} ({os.strerror(errno.EINVAL)})")
            lane.since_s = 0.0
            if copying.left and copying.error is None:
                following = copying.left[0]
                self._lanes[following.where, following.target].queue.put(copying)
            else:
                self._ended.put(copying)
                if lane.queue.empty() or self._ended.qsize() >= GATHERED:
                    self._ring()


def save(source: Path, target: Path, receipt: str) -> Path:
    """Copy an entry to `target`, folders are made; returns where it stands in the end. OSError: the disk says no."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{source.name}.part")
    unfinished.unlink(missing_ok=True)  # of a life that ended here, perhaps as a second name of the finished copy
    try:
        with open(source, "rb") as reading, open(unfinished, "xb") as writing:
            left = os.fstat(reading.fileno()).st_size
            while left and (sent := os.sendfile(writing.fileno(), reading.fileno(), None, min(left, _COPY_BYTES))):
                left -= sent
            os.fsync(writing.fileno())
        target = _publish(unfinished, target, receipt)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    sync_folder(target.parent)
    return target


def _publish(unfinished: Path, target: Path, receipt: str) -> Path:
    for path in (target, target.with_name(f"{target.stem}.{receipt}{target.suffix}")):
        try:
            _link(unfinished, path)
            return path
        except FileExistsError:
            if _same(unfinished, path):
                return path
    raise FileExistsError(errno.EEXIST, "other files bear its name, with its receipt too")


def _link(unfinished: Path, target: Path) -> None:
    """FileExistsError: the name is taken."""
    try:
        os.link(unfinished, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with _naming.setdefault(os.stat(target.parent).st_dev, threading.Lock()):
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            os.rename(unfinished, target)  # nobody but us makes names here, as far as we can tell


def _same(one: Path, other: Path) -> bool:
    if not stat.S_ISREG(os.lstat(other).st_mode):
        return False
    with open(one, "rb") as first, open(other, "rb") as second:
        if os.fstat(first.fileno()).st_size != os.fstat(second.fileno()).st_size:
            return False
        while chunk := first.read(_COMPARED_BYTES):
            if chunk != second.read(_COMPARED_BYTES):
                return False
    return True
