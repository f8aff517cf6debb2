"""Proof of delivery: one appended log of JSON lines an hour and writer, synced by the group; whole hours expire.

receipts/<YYYYMMDDHH>-<writer>.log, in UTC. A line holds at least `receipt`; of a delivery `destination` too. It is on
the disk (sync) before the entry is unlinked, so that recovery can tell an entry that was delivered from one that was
not. A last line that a crash tore is passed over, and its successor starts on a line of its own.
Deliberately absent: an index. Recovery reads the newest hours once, for the few entries that it wants to know of.
"""

import errno
import os
import threading
import time
from calendar import timegm
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson

from leyden.spool.listing import names
from leyden.spool.moves import sync_folder

_KEY = b'"receipt":"'
_HOURS_BACK = 2
_encoder = msgspec.json.Encoder()


class ReceiptLog:
    """The receipts that one process writes. append() in one thread; sync() may run in another."""

    def __init__(self, root: Path, writer: str) -> None:
        self._root = root
        self._folder = root / "receipts"
        self._writer = writer
        self._hour = ""
        self._fd = -1
        self._fresh = False  # the name is not synced yet
        self._swap = threading.Lock()

    def append(self, *events: msgspec.Struct | Mapping[str, Any]) -> None:
        """Write events, a line of JSON each (one write(2) for all). OSError: the disk says no."""
        hour = time.strftime("%Y%m%d%H", time.gmtime())
        if hour != self._hour:
            self._turn_to(hour)
        text = b"".join(_encoder.encode(event) + b"\n" for event in events)
        if os.write(self._fd, text) < len(text):
            self._hour = ""  # the next one starts on a line of its own
            raise OSError(errno.ENOSPC, "a receipt was written in part only")

    def _turn_to(self, hour: str) -> None:
        with self._swap:
            self._close()
            self._folder.mkdir(mode=0o700, exist_ok=True)
            path = self._folder / f"{hour}-{self._writer}.log"
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                os.write(fd, b"\n")
            self._fd, self._hour, self._fresh = fd, hour, True

    def sync(self) -> None:
        """Force every line appended so far to the disk. OSError: as for append()."""
        with self._swap:
            if self._fd >= 0:
                os.fdatasync(self._fd)
                if self._fresh:
                    sync_folder(self._folder)
                    self._fresh = False

    def purge(self, expiry_h: float, now_s: float) -> int:
        """Remove the hours (of every writer) that ended more than expiry_h ago; returns how many files.

        The running hour always stays: recovery needs it, whatever is to be kept.
        """
        removed = 0
        for name in names(os.fspath(self._folder)):
            try:
                end_s = timegm(time.strptime(name[:10], "%Y%m%d%H")) + 3600
            except ValueError:
                continue  # not ours
            if end_s + expiry_h * 3600 <= now_s:
                (self._folder / name).unlink(missing_ok=True)
                removed += 1
        return removed

    def has(self, receipt: str, destination: str) -> bool:
        """Whether the newest hours hold a receipt for this delivery (reads them: recovery only)."""
        return bool(delivered(self._root, {(receipt, destination)}))

    def close(self) -> None:
        """Sync and close."""
        with self._swap:
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd, self._hour = self._fd, -1, ""
            os.fdatasync(fd)
            os.close(fd)


def delivered(root: Path, wanted: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the wanted (receipt, destination) that the two newest hours of any writer prove delivered.

    Whatever a crash left half done was delivered just before it, so older hours can't know more.
    """
    found: set[tuple[str, str]] = set()
    receipts = {receipt.encode() for receipt, _ in wanted}
    if not receipts:
        return found
    newest: dict[str, list[str]] = {}
    for name in names(os.fspath(root / "receipts")):
        newest.setdefault(name[10:], []).append(name)
    for name in (name for hours in newest.values() for name in hours[-_HOURS_BACK:]):
        try:
            file = open(root / "receipts" / name, "rb")  # noqa: SIM115
        except FileNotFoundError:
            continue
        with file:
            for line in file:
                at = line.find(_KEY) + len(_KEY)
                if line[at : at + 22] in receipts:
                    pair = _pair(line)
                    if pair in wanted:
                        found.add(pair)
    return found


def _pair(line: bytes) -> tuple[str, str]:
    try:
        document = orjson.loads(line)
        return str(document["receipt"]), str(document["destination"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "", ""
