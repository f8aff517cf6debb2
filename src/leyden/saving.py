"""Copies that rules ask for (save_file): durable, under their final name or not at all, and never over another file.

A copy is written under a hidden name, synced, and then linked into place. Where the name is taken by the same bytes
the copy was made before; where by other bytes, it gets its receipt into its name. Deliberately absent: which path.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from leyden.spool.moves import sync_folder

_COPY_BYTES = 16 << 20  # between two signs of life
_COMPARED_BYTES = 1 << 20
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # some shares know no second name of a file


def save(source: Path, target: Path, receipt: str, alive: Callable[[], None]) -> Path:
    """Copy an entry to `target`, folders are made; returns where it stands in the end. OSError: the disk says no."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{source.name}.part")
    unfinished.unlink(missing_ok=True)  # of a life that ended here, perhaps as a second name of the finished copy
    try:
        with open(source, "rb") as reading, open(unfinished, "xb") as writing:
            left = os.fstat(reading.fileno()).st_size
            while left and (sent := os.sendfile(writing.fileno(), reading.fileno(), None, min(left, _COPY_BYTES))):
                left -= sent
                alive()
            os.fsync(writing.fileno())
        target = _publish(unfinished, target, receipt, alive)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    sync_folder(target.parent)
    return target


def _publish(unfinished: Path, target: Path, receipt: str, alive: Callable[[], None]) -> Path:
    for path in (target, target.with_name(f"{target.stem}.{receipt}{target.suffix}")):
        try:
            _link(unfinished, path)
            return path
        except FileExistsError:
            if _same(unfinished, path, alive):
                return path
    raise FileExistsError(errno.EEXIST, "other files bear its name, with its receipt too")


def _link(unfinished: Path, target: Path) -> None:
    """FileExistsError: the name is taken."""
    try:
        os.link(unfinished, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.rename(unfinished, target)  # nobody but us makes names here, as far as we can tell


def _same(one: Path, other: Path, alive: Callable[[], None]) -> bool:
    if not stat.S_ISREG(os.lstat(other).st_mode):
        return False
    with open(one, "rb") as first, open(other, "rb") as second:
        if os.fstat(first.fileno()).st_size != os.fstat(second.fileno()).st_size:
            return False
        while chunk := first.read(_COMPARED_BYTES):
            alive()
            if chunk != second.read(_COMPARED_BYTES):
                return False
    return True
