"""The journal on disk: every event of every process, one JSON line each, in segments of bounded size and age.

`journal/<writer>.jsonl` is the segment that a process writes. Grown beyond a few MiB or a day, it is renamed to
`<UTC time>-<writer>.jsonl` and closed: the time is that of its end, so no event of a later object is in it. All
processes of the command line write one, ORDERS; a lock (flock) keeps each of them from closing what another one writes.
Nothing is synced, since receipts/ are the proof. A disk that refuses costs events of the journal and nothing else.
Deliberately absent: reading (index.py), removing (upkeep.py).
"""

import contextlib
import fcntl
import logging
import os
import re
import threading
import time
from calendar import timegm
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from leyden.documents import decoded
from leyden.journal.append import open_lines
from leyden.journal.events import Event

logger = logging.getLogger("leyden.journal")

FOLDER = "journal"
ORDERS = "order"  # the writer of the command line
SEGMENT_MAX_BYTES = 8 << 20  # what is not indexed yet has to be searched from end to end
SEGMENT_MIN_BYTES = 64 << 10
SEGMENTS = 32  # a journal is divided into so many at least
SEGMENT_S = 86400.0
PAUSE_S = 60.0
_FIRST_LINE_BYTES = 4096
_REMOVED = "removed"
_REMOVED_MAX_BYTES = 64 << 10
_NAME = re.compile(r"(?:(\d{8}-\d{6})-(\d{3})-)?([a-z]+-?\d*)\.jsonl")
_encoder = msgspec.json.Encoder()


class Segment(NamedTuple):
    """A file of the journal. `closed_s`: when it ended, in seconds since 1970; infinite while it is written."""

    path: str
    closed_s: float
    bytes: int
    changed_s: float
    inode: int


def segments(folder: str) -> list[Segment]:
    """The segments in the folder of the journal, the oldest first; [] if there is no such folder."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if name := _NAME.fullmatch(entry.name):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    closed_s = _closed_s(name)
                    found.append(Segment(entry.path, closed_s, status.st_size, status.st_mtime, status.st_ino))
    return sorted(found, key=lambda segment: (segment.closed_s, segment.path))


def writer_of(path: str) -> str:
    """The writer of a segment, by its name."""
    name = _NAME.fullmatch(os.path.basename(path))
    return name[3] if name else ""


def _closed_s(name: "re.Match[str]") -> float:
    if name[1] is None:
        return float("inf")
    try:
        return timegm(time.strptime(name[1], "%Y%m%d-%H%M%S")) + int(name[2]) / 1000
    except ValueError:
        return 0.0  # no name of ours: the first to be removed


class Removed(NamedTuple):
    """A segment that was removed, as there was no room for it any more."""

    closed_s: float
    inode: int
    bytes: int
    writer: str


def note_removed(folder: str, segment: Segment) -> None:
    """Note a segment that is about to be removed, for readers that have not read it yet. OSError."""
    path = f"{folder}/{_REMOVED}"
    with contextlib.suppress(FileNotFoundError):
        if os.stat(path).st_size > _REMOVED_MAX_BYTES:
            os.rename(path, f"{path}.old")
    with open(path, "a", encoding="ascii", opener=_private) as file:
        file.write(f"{segment.closed_s:.3f} {segment.inode} {segment.bytes} {writer_of(segment.path)}\n")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def removed(folder: str) -> list[Removed]:
    """The segments that were removed lately, 1,000 at least."""
    found = []
    for path in (f"{folder}/{_REMOVED}.old", f"{folder}/{_REMOVED}"):
        with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
            for line in file:
                closed_s, inode, size, writer = line.split()
                found.append(Removed(float(closed_s), int(inode), int(size), writer))
    return found


def close_segment(path: Path, now_s: float) -> None:
    """Rename the segment that a process writes to one that is closed. OSError; nothing happens if it is gone."""
    closed = _closed_path(path, now_s)
    while os.path.lexists(closed):  # by the same writer: within a millisecond, or the clock was set back
        now_s += 0.001
        closed = _closed_path(path, now_s)
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, closed)


def close_unused(path: Path, now_s: float) -> None:
    """Close the segment of processes that are no more; of one that still writes it, nothing happens. OSError."""
    with contextlib.suppress(FileNotFoundError), open(path, "r+b") as file:  # r+: NFS wants it for this lock
        if _is_ours_alone(file.fileno()):
            _close_if_it_is(file.fileno(), path, now_s)


def _is_ours_alone(fd: int) -> bool:
    """Whether no other process has the file locked; then it is, until it is closed here."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _close_if_it_is(fd: int, path: Path, now_s: float) -> None:
    if _is_at(fd, path):  # else somebody has closed it between our opening and our lock
        close_segment(path, now_s)


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _closed_path(path: Path, now_s: float) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now_s))
    return path.with_name(f"{stamp}-{int(now_s % 1 * 1000):03d}-{path.name}")


class Journal:
    """What one process writes, from any of its threads. `writer`: its name, such as receiver-0, or ORDERS."""

    def __init__(self, root: Path, writer: str, limit_bytes: int) -> None:
        """`limit_bytes`: of the whole journal; a segment is a small part of it."""
        self._folder = root / FOLDER
        self._path = self._folder / f"{writer}.jsonl"
        self._segment_bytes = min(max(limit_bytes // SEGMENTS, SEGMENT_MIN_BYTES), SEGMENT_MAX_BYTES)
        self._lock = threading.Lock()
        self._gathered: list[bytes] | None = None
        self._fd = -1
        self._left_bytes = 0  # that the segment may still grow by
        self._until_s = 0.0  # when it is closed
        self._paused_until_s = 0.0  # CLOCK_MONOTONIC: the disk has refused

    def write(self, event: Event) -> None:
        """Hand an event to the kernel, or gather it. Never raises for what the disk does."""
        try:
            line = _encoder.encode(event) + b"\n"
        except UnicodeEncodeError:  # the title that a folder of the spool stands for may be no Unicode
            line = _encoder.encode(_in_unicode(event)) + b"\n"
        with self._lock:
            if self._gathered is None:
                self._append(line)
            else:
                self._gathered.append(line)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Gather the events of meanwhile, and write them at the end with one write(2). One thread at a time."""
        self._gathered = []
        try:
            yield
        finally:
            with self._lock:
                lines, self._gathered = self._gathered, None
                if lines:
                    self._append(b"".join(lines))

    def close(self) -> None:
        with self._lock:
            self._close()

    def _append(self, lines: bytes) -> None:
        if self._paused_until_s and time.monotonic() < self._paused_until_s:
            return
        try:
            now_s = time.time()
            if self._left_bytes <= 0 or now_s >= self._until_s:
                self._next_segment(now_s)
            self._left_bytes -= len(lines)
            if os.write(self._fd, lines) < len(lines):
                raise OSError(0, "a line was written in part only")
        except OSError as error:
            self._close()
            if not self._paused_until_s:
                logger.warning("the journal is not written, next try in %.0f s: %s", PAUSE_S, error.strerror)
            self._paused_until_s = time.monotonic() + PAUSE_S
        else:
            self._paused_until_s = 0.0

    def _next_segment(self, now_s: float) -> None:
        """Open the segment, or the next one if that is full or old and nobody else writes it."""
        self._close()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        while self._fd < 0:
            fd = open_lines(self._path)
            try:
                size, begun_s = os.fstat(fd).st_size, _begun_s(fd, now_s)
                whole = size >= self._segment_bytes or begun_s + SEGMENT_S <= now_s
                if whole and _is_ours_alone(fd):
                    _close_if_it_is(fd, self._path, now_s)
                    continue
                fcntl.flock(fd, fcntl.LOCK_SH)  # as long as it is open nobody closes it
                if _is_at(fd, self._path):
                    self._fd = os.dup(fd)
            finally:
                os.close(fd)
        self._left_bytes = self._segment_bytes - size
        self._until_s = begun_s + SEGMENT_S

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd, self._left_bytes = -1, 0


def _in_unicode(event: Event) -> dict[str, Any]:
    """An event with what is no Unicode as \\udcNN."""
    return {
        name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for name, value in msgspec.to_builtins(event).items()
    }


def _begun_s(fd: int, now_s: float) -> float:
    """When the first line of a segment was written; now, if that cannot be told."""
    line = os.pread(fd, _FIRST_LINE_BYTES, 0).partition(b"\n")[0]
    try:
        return min(now_s, float(decoded(line, dict)["at_s"]))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, OverflowError):
        return now_s
