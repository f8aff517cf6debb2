"""Copies that rules ask for (save_file): durable, under their final name or not at all, and never over another file.

A copy is written under a hidden name, synced, and then linked to its final name. If a file with the same bytes has that
name, the copy was made before; if the bytes differ, the copy gets a name with its receipt in it. Each target of the
rules has its own thread, which makes one copy at a time: a share that hangs holds up what is to be saved there, and
nothing else. Deliberately absent: the choice of the path.
"""

import contextlib
import errno
import os
import queue
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from leyden.plan.match import Save
from leyden.spool.moves import sync_folder

MAX_WAITING = 4096  # objects for one target; each takes some 2 KB
GATHERED = 16  # while more are to be made, the planner's bell rings only when so many have ended
_COPY_BYTES = 16 << 20
_COMPARED_BYTES = 1 << 20
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # some shares know no second name of a file
_rename_locks: dict[int, threading.Lock] = {}  # by device: where there are no links, one thread at a time renames

Item = TypeVar("Item")


class Copying(msgspec.Struct, Generic[Item]):
    """An object whose copies are being made. `left`: those still to be made; if `error` is set, the first failed."""

    item: Item
    source: Path
    receipt: str
    left: list[Save]
    error: OSError | None = None


class _Target(msgspec.Struct, Generic[Item]):
    """Where rules save to: what waits for its thread. `where`: the rule that named it first."""

    where: str
    waiting: "queue.SimpleQueue[Copying[Item]]" = msgspec.field(default_factory=queue.SimpleQueue)
    since_s: float = 0.0  # when the thread began the copy that it is making; 0 = it makes none


class Copies(Generic[Item]):
    """The copies under way. Used by one thread; `ring` is called in others, when take() has something to give.

    The threads end with the process, wherever they are: a copy that is cut off does not have its name yet.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._targets: dict[str, _Target[Item]] = {}  # by what a rule calls it: a reload may move the rule
        self._ended: queue.SimpleQueue[Copying[Item]] = queue.SimpleQueue()

    def begin(self, item: Item, source: Path, receipt: str, saves: Sequence[Save]) -> None:
        """Copy `source` to each of the `saves`, one after the other. OSError: not now, too many wait already."""
        targets = [self._target(save) for save in saves]
        if any(target.waiting.qsize() >= MAX_WAITING for target in targets):
            raise OSError(errno.EAGAIN, f"{MAX_WAITING} others wait for theirs already")
        targets[0].waiting.put(Copying(item, source, receipt, list(saves)))

    def take(self) -> Iterator[Copying[Item]]:
        """The objects whose copies are all made, or one of whose copies failed."""
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._ended.get_nowait()

    def late(self, limit_s: float) -> Iterator[tuple[str, str, int]]:
        """Where a copy takes longer than `limit_s`: the rule, its target, and how many wait for the same target."""
        now_s = time.monotonic()
        for path, target in self._targets.items():
            if target.since_s and now_s - target.since_s > limit_s:
                yield target.where, path, target.waiting.qsize()

    def _target(self, save: Save) -> _Target[Item]:
        if save.target not in self._targets:
            target: _Target[Item] = _Target(save.where)
            try:
                threading.Thread(target=self._work, args=(target,), name=f"copies {save.where}", daemon=True).start()
            except RuntimeError as error:
                raise OSError(errno.EAGAIN, str(error)) from None
            self._targets[save.target] = target
        return self._targets[save.target]

    def _work(self, target: _Target[Item]) -> None:
        while True:
            copying = target.waiting.get()
            target.since_s = time.monotonic()
            try:
                save(copying.source, Path(copying.left[0].path), copying.receipt)
                del copying.left[0]
            except OSError as error:
                copying.error = error
            except Exception as error:  # the next copies must go on, whatever it is; its text may name a patient
                copying.error = OSError(errno.EINVAL, f"{type(error).__name__} ({os.strerror(errno.EINVAL)})")
            target.since_s = 0.0
            if copying.left and copying.error is None:
                following = copying.left[0]
                self._targets[following.target].waiting.put(copying)
            else:
                self._ended.put(copying)
                if target.waiting.empty() or self._ended.qsize() >= GATHERED:
                    self._ring()


def save(source: Path, target: Path, receipt: str) -> Path:
    """Copy an entry to `target`, making its folders; returns the path that it got. OSError: the disk refuses."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{source.name}.part")
    unfinished.unlink(missing_ok=True)  # of a process that ended here; perhaps a second name of the finished copy
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
    """Give a finished copy its name, or the one with the receipt. FileExistsError: other files have both."""
    for path in (target, target.with_name(f"{target.stem}.{receipt}{target.suffix}")):
        try:
            _link(unfinished, path)
            return path
        except FileExistsError:
            if _same(unfinished, path):
                return path
    raise FileExistsError(errno.EEXIST, "other files bear its name, with its receipt too")


def _link(unfinished: Path, target: Path) -> None:
    """Give a file its name, where no file has it. FileExistsError: one has."""
    try:
        os.link(unfinished, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with _rename_locks.setdefault(os.stat(target.parent).st_dev, threading.Lock()):
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            os.rename(unfinished, target)  # replaces what another program puts there in this moment: it can't be told


def _same(one: Path, other: Path) -> bool:
    """Whether `other` is a regular file with the bytes of `one`."""
    if not stat.S_ISREG(os.lstat(other).st_mode):
        return False
    with open(one, "rb") as first, open(other, "rb") as second:
        if os.fstat(first.fileno()).st_size != os.fstat(second.fileno()).st_size:
            return False
        while chunk := first.read(_COMPARED_BYTES):
            if chunk != second.read(_COMPARED_BYTES):
                return False
    return True
