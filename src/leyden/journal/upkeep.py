"""What keeps the journal fast to search and bounded: the supervisor does it, a little at each turn.

A closed segment gets its index; the oldest ones are removed when all together are beyond the limit. Logs of instances
are removed with their day. Nothing here is needed for an object, so a disk that refuses is only logged.
"""

import contextlib
import logging
import os
import re
import time
from pathlib import Path

from leyden import log
from leyden.journal import index, instance_logs
from leyden.journal.segments import FOLDER, SEGMENT_S, close_unused, note_removed, segments

logger = logging.getLogger("leyden.journal")

IDLE_S = 5.0
REMOVED_MAX = 1000  # files of old logs at a turn, some 20 ms
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class Upkeep:
    """The upkeep of one spool. `limit_bytes`: of the journal, 0 = it is off; `log_days`: of the logs of instances."""

    def __init__(self, root: Path, limit_bytes: int, log_days: int) -> None:
        self._journal = os.fspath(root / FOLDER)
        self._logs = root / instance_logs.FOLDER
        self._limit_bytes = limit_bytes
        self._log_days = log_days
        self._next_s = 0.0

    def turn(self) -> None:
        """Do a part of what is to be done (at most 0.1 s), if the time has come. Never raises for the disk."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        try:
            more = self.index_next(time.time()) | self.remove_old_logs(time.time())
        except OSError as error:
            what = f"the journal or the logs of instances are not kept up: {error}"
            log.once(logger, logging.WARNING, "upkeep", what)
            more = False
        self._next_s = now_s if more else now_s + IDLE_S

    def index_next(self, now_s: float) -> bool:
        """Index one closed segment, and remove the oldest ones beyond the limit; True if there may be more to do."""
        if not self._limit_bytes:
            return False
        left_bytes = self._limit_bytes
        without_index = ""
        for segment in reversed(segments(self._journal)):  # the newest first
            still_open = segment.closed_s == float("inf")
            if still_open and segment.changed_s < now_s - 2 * SEGMENT_S:
                close_unused(Path(segment.path), now_s)
                continue
            index_bytes = _size(index.index_path(segment.path))
            left_bytes -= segment.bytes + index_bytes
            if still_open:
                continue
            if left_bytes < 0:
                note_removed(self._journal, segment)
                _remove(index.index_path(segment.path))
                _remove(segment.path)
            elif not index_bytes:
                without_index = without_index or segment.path
        if without_index:
            index.build(without_index)
        return bool(without_index)

    def remove_old_logs(self, now_s: float) -> bool:
        """Remove a part of the logs whose day is over; True if there are more."""
        last = time.strftime("%Y-%m-%d", time.localtime(now_s - (self._log_days - 1) * 86400.0))
        try:
            dates = sorted(name for name in os.listdir(self._logs) if _DATE.fullmatch(name))
        except FileNotFoundError:
            return False
        left = REMOVED_MAX
        for date in dates:
            if left and (date < last or not self._log_days):
                left = _remove_below(os.fspath(self._logs / date), left)
        return not left


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _remove_below(folder: str, limit: int) -> int:
    """Remove a folder and what is in it, at most `limit` files; returns how many more files could be removed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not limit:
                return 0
            if entry.is_dir(follow_symlinks=False):
                limit = _remove_below(entry.path, limit)
            else:
                _remove(entry.path)
                limit -= 1
    if limit:
        with contextlib.suppress(OSError):  # a process has written into it meanwhile
            os.rmdir(folder)
    return limit
