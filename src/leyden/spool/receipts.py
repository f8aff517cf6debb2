"""Proof of delivery: logs of JSON lines, a file for each hour and writer. Several lines share one sync.

The files are receipts/<YYYYMMDDHH>-<writer>.log, in UTC; they expire as a whole. Each line holds `receipt`, that of a
delivery also `destination`. It is synced before the entry is unlinked, so that recovery knows which entries were
delivered. A last line that a crash has cut short is ignored, and the next one starts on a new line.
Deliberately absent: an index. Recovery reads the newest hours for the few entries in question, and at a start their
ends for what waits though it was delivered.
"""

import contextlib
import errno
import os
import threading
import time
from calendar import timegm
from collections.abc import Collection
from pathlib import Path

import msgspec
import orjson

from leyden.journal.append import open_lines
from leyden.spool.listing import names
from leyden.spool.moves import sync_folder

_KEY = b'"receipt":"'
_HOURS_BACK = 2
_HOUR = "%Y%m%d%H"
_NO_DELIVERY = "", ""
TAIL_BYTES = 16 << 20  # some 50,000 deliveries
_encoder = msgspec.json.Encoder()


class ReceiptLog:
    """The receipts that one process writes. append() is for one thread; sync() may run in another."""

    def __init__(self, root: Path, writer: str) -> None:
        self._root = root
        self._folder = root / "receipts"
        self._writer = writer
        self._hour = ""
        self._fd = -1
        self._fresh = False  # the file's name is not synced yet
        self._swap = threading.Lock()

    def append(self, *events: msgspec.Struct) -> None:
        """Write events, a line of JSON each, with one write(2) for all. OSError: the disk refuses."""
        hour = time.strftime(_HOUR, time.gmtime())
        if hour != self._hour:
            self._open_hour(hour)
        text = b"".join(_encoder.encode(event) + b"\n" for event in events)
        if os.write(self._fd, text) < len(text):
            self._hour = ""  # the file is opened again, so that the next line starts on its own
            raise OSError(errno.ENOSPC, "a receipt was written in part only")

    def _open_hour(self, hour: str) -> None:
        with self._swap:
            self._close()
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._fd = open_lines(self._folder / f"{hour}-{self._writer}.log")
            self._hour = hour
            self._fresh = True

    def sync(self) -> None:
        """Force every line appended so far to the disk. OSError: the disk refuses."""
        with self._swap:
            if self._fd >= 0:
                os.fdatasync(self._fd)
                if self._fresh:
                    sync_folder(self._folder)
                    self._fresh = False

    def purge(self, expiry_h: float, now_s: float) -> int:
        """Remove the files (of every writer) whose hour ended more than `expiry_h` hours ago; returns how many.

        The current hour always stays, even for an `expiry_h` of 0: recovery needs it.
        """
        removed = 0
        for name in names(os.fspath(self._folder)):
            try:
                end_s = timegm(time.strptime(name[:10], _HOUR)) + 3600
            except ValueError:
                continue  # not a file of receipts
            if end_s + expiry_h * 3600 <= now_s:
                (self._folder / name).unlink(missing_ok=True)
                removed += 1
        return removed

    def close(self) -> None:
        """Sync and close."""
        with self._swap:
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            fd = self._fd
            self._fd = -1
            self._hour = ""
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)


def delivered(root: Path, wanted: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the wanted (receipt, destination) that are proved to be delivered by the two newest hours of any writer.

    A delivery that a crash left half done took place just before the crash, so older hours are not needed; after the
    clock was set back, the newest ones are those of now. A receipt of what a destination refused
    (moveRejectedCachedFiles) proves no delivery.
    """
    found: set[tuple[str, str]] = set()
    receipts = {receipt.encode() for receipt, _ in wanted}
    for path in _newest(root) if receipts else ():
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            for line in file:
                at = line.find(_KEY) + len(_KEY)
                if line[at : at + 22] in receipts:
                    pair = _pair(line)
                    if pair in wanted:
                        found.add(pair)
    return found


def latest(root: Path) -> set[tuple[str, str]]:
    """The (receipt, destination) of the latest deliveries: of each file that delivered() reads, its last TAIL_BYTES."""
    found: set[tuple[str, str]] = set()
    for path in _newest(root):
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            found.update(map(_pair, file))
    found.discard(_NO_DELIVERY)
    return found


def _newest(root: Path) -> list[Path]:
    """The files of the two newest hours of any writer, and of the hours of now."""
    newest: dict[str, list[str]] = {}
    for name in names(os.fspath(root / "receipts")):
        newest.setdefault(name[10:], []).append(name)
    now_s = time.time()
    running = {time.strftime(_HOUR, time.gmtime(now_s - back * 3600)) for back in range(_HOURS_BACK)}
    found = {
        name for hours in newest.values() for name in hours if name in hours[-_HOURS_BACK:] or name[:10] in running
    }
    return [root / "receipts" / name for name in sorted(found)]


def _pair(line: bytes) -> tuple[str, str]:
    try:
        document = orjson.loads(line)
        pair = str(document["receipt"]), str(document["destination"])
        return pair if document.get("event") != "rejected" else _NO_DELIVERY
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return _NO_DELIVERY
