"""The log of each instance: logs/<date>/<DEST>/<SOURCE>/<SOPInstanceUID>.log, a view of the events of the journal.

The date is that of the event, in local time as in the service's log. An event that does not name the instance, or has
no destination, has no place here. A file is opened for each line and closed again, so none stays open. Every part of a
path is escaped; a UID that is none becomes a hash.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

from leyden import log
from leyden.dicom.uids import is_well_formed
from leyden.journal.events import Event, Planned

logger = logging.getLogger("leyden.journal")

FOLDER = "logs"
NONE = "-"  # in the place of a destination or of a source that there is not
PAUSE_S = 60.0


def escaped(title: str) -> str:
    """An AE title as the name of a folder, as in the spool: each byte outside [A-Za-z0-9_-] as %XX."""
    return quote(title, safe="", errors="surrogateescape").replace(".", "%2E").replace("~", "%7E") or NONE


def file_name(uid: str) -> str:
    stem = uid if is_well_formed(uid) else blake2b(uid.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return f"{stem}.log"


class InstanceLogs:
    """What one process writes there. `root`: that of the spool."""

    def __init__(self, root: Path) -> None:
        self._top = f"{root}/{FOLDER}"
        self._paused_until_s = 0.0

    def write(self, event: Event, level: int, text: str) -> None:
        """Add a line. Never raises for what the disk does: then no line is written for a while."""
        if self._paused_until_s and time.monotonic() < self._paused_until_s:
            return
        shown = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at_s))
        line = f"[{shown}.{int(event.at_s % 1 * 1000):03d}] [{logging.getLevelName(level)}] {log.escaped(text)}\n"
        try:
            for place, name in self._places(event, shown[:10]):
                _append(place, name, line.encode("utf-8", "backslashreplace"))
            self._paused_until_s = 0.0
        except OSError as error:
            if not self._paused_until_s:
                logger.warning("no log of an instance is written, next try in %.0f s: %s", PAUSE_S, error.strerror)
            self._paused_until_s = time.monotonic() + PAUSE_S

    def _places(self, event: Event, date: str) -> Iterator[tuple[tuple[str, ...], str]]:
        uid = getattr(event, "sop_instance_uid", "")
        if not uid:
            return
        source: str | None = getattr(event, "source", None)
        if source is None:
            source = getattr(event, "calling", "")
        if isinstance(event, Planned):
            destinations = [delivery.destination for delivery in event.deliveries] or [NONE]
        else:
            destinations = [found] if (found := getattr(event, "destination", "")) else []
        for destination in destinations:
            yield (self._top, date, escaped(destination), escaped(str(source))), file_name(uid)


def _append(place: tuple[str, ...], name: str, line: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    path = "/".join((*place, name))
    try:
        fd = os.open(path, flags, 0o600)
    except FileNotFoundError:
        for depth in range(1, len(place) + 1):
            with contextlib.suppress(FileExistsError):
                os.mkdir("/".join(place[:depth]), 0o700)
        fd = os.open(path, flags, 0o600)
    try:
        os.write(fd, line)
    finally:
        os.close(fd)
