"""What was kept lately, so that an instance that comes again is told from a new one (duplicateBehavior).

recent/<minute>/<key> is an empty file: in that minute, or in those after it that share its folder, an object of this
key became durable. recent/now/<key> is one whose commit is under way. O_EXCL lets only one process at a time have that
name, and a rename makes the second of the first, after the commit. So what a crash leaves in now/ promises nothing and
is removed, and what stands in a minute is never about an object that is not kept. Any of these files may be missing:
then an object is taken twice. Deliberately absent: a sync, for the same reason.
"""

import contextlib
import os
from enum import Enum
from hashlib import blake2b
from pathlib import Path

from leyden.spool.listing import names
from leyden.spool.moves import into, make_folder

_MINUTE_S = 60
_FOLDERS = 15  # that the minutes of a threshold are divided among, so that a look costs the same for a day


class Begun(Enum):
    """What begin() found."""

    FIRST = "first"  # now it is up to the caller: keep() or forget()
    KEPT = "kept"  # within the threshold, an object of this key became durable
    BUSY = "busy"  # one is being committed at this moment; it may fail


def key_of(*texts: str) -> str:
    """32 hex digits that stand for these texts together."""
    return blake2b("\0".join(texts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


class Recent:
    """The objects that were kept within the last `within_s` seconds, in all processes on this spool."""

    def __init__(self, root: Path, within_s: float) -> None:
        self._top = f"{root}/recent"
        self._now = f"{self._top}/now"
        self._within_s = within_s
        self._width = max(1, int(within_s / _MINUTE_S / _FOLDERS))  # minutes of a folder

    def begin(self, key: str, now_s: float) -> Begun:
        """An object of this key is about to be committed. If the disk refuses to note that, it counts as the first."""
        try:
            _create(self._now, key)
        except FileExistsError:
            return Begun.BUSY
        except OSError:
            return Begun.FIRST
        if self._kept(key, now_s):
            self.forget(key)
            return Begun.KEPT
        return Begun.FIRST

    def keep(self, key: str, now_s: float) -> None:
        """It is durable. If the disk refuses to note that, it is forgotten."""
        minute = int(now_s) // _MINUTE_S
        place = f"{self._top}/{minute - minute % self._width:08d}"
        begun = f"{self._now}/{key}"
        try:
            into(os.rename, begun, place, key)
        except OSError:
            self.forget(key)

    def forget(self, key: str) -> None:
        """Its commit failed, or was not begun."""
        with contextlib.suppress(OSError):  # recovery removes it
            os.unlink(f"{self._now}/{key}")

    def _kept(self, key: str, now_s: float) -> bool:
        for minute in self._minutes():
            try:
                at_s = os.stat(f"{self._top}/{minute}/{key}").st_mtime
            except OSError:
                continue
            if now_s - at_s <= self._within_s:
                return True
        return False

    def _minutes(self) -> list[str]:
        try:
            return [name for name in os.listdir(self._top) if name.isdigit()]
        except OSError:
            return []

    def purge(self, now_s: float) -> None:
        """Remove what is older than the threshold, about 5 us a file. What the disk keeps stays until the next time."""
        for minute in self._minutes():
            if (int(minute) + self._width) * _MINUTE_S + self._within_s < now_s:
                _remove(f"{self._top}/{minute}")


def forget_begun(root: Path) -> None:
    """Forget whose commits were under way: the process that began them is gone.

    If another process has one under way, it is not noted as kept, and may be taken a second time.
    """
    _remove(f"{root}/recent/now")


def _remove(folder: str) -> None:
    with contextlib.suppress(OSError):
        for name in names(folder):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{folder}/{name}")
        os.rmdir(folder)


def _create(folder: str, name: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        fd = os.open(f"{folder}/{name}", flags, 0o600)
    except FileNotFoundError:
        make_folder(folder)
        fd = os.open(f"{folder}/{name}", flags, 0o600)
    os.close(fd)
