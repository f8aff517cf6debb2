"""control/: what an operator has ordered, a small file for each destination and one for the whole service.

`control/<DEST>.json` says whether a destination is paused and whether its ProcessSchedule is overridden,
`control/service.flags.json` what the whole service is not to do; the dot keeps its name apart from those of the
destinations. A file is written whole and synced, by whoever the operator works with (change()), and read by the
processes that go by it (Controls). So an order holds with and without a running service, and over restarts.
`control/<DEST>.now` is an order for once: to try it now.
A file that cannot be read changes nothing: it is logged once, and the last known orders stay.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from leyden import log
from leyden.documents import decoded
from leyden.spool.entry import folder, title
from leyden.spool.listing import names
from leyden.spool.lock import alone_in
from leyden.spool.moves import sync_folder, write_whole

logger = logging.getLogger("leyden.control")

STORAGE_SCU, PREPARE = "storageScu", "prepare"  # deliveries; planning and conversion
FLAGS = (STORAGE_SCU, "worklistScu", "storageCommitScu", PREPARE)
"""What the whole service can be told to pause. There is no worklist and no storage commitment to pause yet."""

_FOLDER = "control"
_FLAGS_FILE = "service.flags.json"
_FILE_MAX_BYTES = 64 << 10
_WHOLE = b"without process delays"
_NO_FILE = (0, 0, 0)


class Order(msgspec.Struct, frozen=True):
    """Who has ordered something, when, until when, and why. Times are seconds since 1970.

    `until_s`: 0 = until it is taken back.
    """

    who: str
    since_s: float
    until_s: float = 0.0
    reason: str = ""

    def holds(self, now_s: float) -> bool:
        return not self.until_s or now_s < self.until_s


class Control(msgspec.Struct, frozen=True):
    """What is ordered for one destination: `pause` = nothing is sent to it, `override` = at any time of the day.

    In a file, an order whose time is over is still there; at() leaves it out.
    """

    pause: Order | None = None
    override: Order | None = None

    def at(self, now_s: float) -> "Control":
        return Control(*(each if each and each.holds(now_s) else None for each in (self.pause, self.override)))


Flags = dict[str, Order]
"""What the whole service does not do, by the names of FLAGS."""


def flags_at(flags: Flags, now_s: float) -> Flags:
    """Those whose time is not over."""
    return {name: order for name, order in flags.items() if order.holds(now_s)}


_T = TypeVar("_T")


class _File(Generic[_T]):
    """One file as this process knows it; it is read again whenever it has changed."""

    def __init__(self, path: Path, what: type[_T]) -> None:
        self._path = os.fspath(path)
        self._what = what
        self._version = _NO_FILE
        self._value = what()
        self.error = ""  # why the newest version is not used

    def value(self) -> _T:
        try:
            status = os.stat(self._path)
            version = (status.st_ctime_ns, status.st_ino, status.st_size)
            if version != self._version:
                self._version = version
                self._value = _decoded(self._path, self._what)
                self.error = ""
        except FileNotFoundError:
            self._version, self._value, self.error = _NO_FILE, self._what(), ""
        except (OSError, msgspec.MsgspecError) as error:
            self.error = f"{self._path} can't be read: {error}"
            what = f"{self._path} can't be read, what was ordered before it holds: {error}"
            log.once(logger, logging.WARNING, f"{self._path} {self._version}", what)
            if isinstance(error, OSError):
                self._version = _NO_FILE  # it may be readable the next time, though nothing has changed
        return self._value


def _decoded(path: str, what: type[_T]) -> _T:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)  # no FIFO that hangs us
    with open(fd, "rb") as file:
        return decoded(file.read(_FILE_MAX_BYTES), what)


class Controls:
    """The orders for a process that goes by them, or shows them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._controls: dict[str, _File[Control]] = {}
        self._flags = _File(root / _FOLDER / _FLAGS_FILE, Flags)
        self._folder_version = -1

    def of(self, destination: str) -> Control:
        """For one destination. About 2 us while nothing changes."""
        found = self._controls.get(destination)
        if found is None:
            found = self._controls[destination] = _File(_path(self._root, destination), Control)
        return found.value()

    def flags(self) -> Flags:
        """For the whole service. About 2 us while nothing changes."""
        return self._flags.value()

    def titles(self) -> list[str]:
        """Those of the destinations for which anything is ordered."""
        found = (name.partition(".") for name in names(os.fspath(self._root / _FOLDER)))
        return [title(name) for name, _, ending in found if ending == "json"]

    def take_now(self, destination: str) -> bool | None:
        """Whether the destination is to be tried at once, and without process delays (try_now()); None = it is not."""
        path = _now(self._root, destination)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)  # as in _decoded()
            with open(fd, "rb") as file:
                whole = file.read(len(_WHOLE)) == _WHOLE
            path.unlink()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.once(logger, logging.WARNING, os.fspath(path), f"{path} can't be taken away: {error.strerror}")
            return None
        return whole

    def changed(self) -> bool:
        """Whether any file was put in place or removed since the last call, by the time stamp of their folder.

        A second change within the same few milliseconds may be missed, as is one within a file: look now and then, too.
        """
        try:
            version = os.stat(self._root / _FOLDER).st_mtime_ns
        except OSError:
            return False
        before, self._folder_version = self._folder_version, version
        return version != before

    def errors(self) -> tuple[str, ...]:
        """Why files that were looked at are not used."""
        errors = (self._flags.error, *(each.error for each in self._controls.values()))
        return tuple(filter(None, errors))


def change(root: Path, destination: str, how: Callable[[Control], Control]) -> Control:
    """Replace what is ordered for a destination, durably. `how` is given what the file says, if it can be read.

    OSError: nothing has changed.
    """
    path = _path(root, destination)
    with alone_in(root / _FOLDER):
        wanted = how(_readable(path, Control))
        _put(path, wanted, wanted == Control())
    return wanted


def change_flags(root: Path, how: Callable[[Flags], Flags]) -> Flags:
    """The same for what the whole service does not do."""
    path = root / _FOLDER / _FLAGS_FILE
    with alone_in(root / _FOLDER):
        wanted = how(_readable(path, Flags))
        _put(path, wanted, not wanted)
    return wanted


def try_now(root: Path, destination: str, whole: bool) -> None:
    """Have the sender try a destination at once, whatever it holds against it. OSError.

    With `whole`, without process delays, too. It is an order for once: the sender takes it away (Controls.take_now()).
    """
    write_whole(os.fspath(_now(root, destination)), _WHOLE if whole else b"")


def _now(root: Path, destination: str) -> Path:
    return root / _FOLDER / f"{folder(destination)}.now"


def _readable(path: Path, what: type[_T]) -> _T:
    """What a file says. One that is broken is about to be replaced by what the operator wants now."""
    try:
        return _decoded(os.fspath(path), what)
    except (FileNotFoundError, msgspec.MsgspecError):
        return what()


def _put(path: Path, wanted: Control | Flags, empty: bool) -> None:
    if empty:
        path.unlink(missing_ok=True)
    else:
        write_whole(os.fspath(path), msgspec.json.encode(wanted), sync=True)
    sync_folder(path.parent)


def _path(root: Path, destination: str) -> Path:
    return root / _FOLDER / f"{folder(destination)}.json"
