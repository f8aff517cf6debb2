"""Sends what the audit log holds to a collector, as ATNA messages: in order, and again until it has it.

The audit log is the queue: state/collector.json says up to which record the collector has it. So a collector that is
off for days costs nothing but time, and after a crash some messages are sent twice, none is lost.
"""

import contextlib
import logging
import os
import time
from pathlib import Path
from typing import IO

import msgspec
import orjson

from leyden.audit import files
from leyden.audit.atna import Grouping, Message, Us, xml
from leyden.audit.chain import seq_of
from leyden.audit.keeper import Keeper
from leyden.audit.settings import CollectorSettings
from leyden.audit.syslog import Connection, frame
from leyden.documents import decoded
from leyden.spool.moves import make_folder, write_whole

logger = logging.getLogger("leyden.watcher")

MORE = 2_000  # records in one go
PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
REPEATED_S = 600.0  # how often it is said that the collector can't be reached


class Collector:
    """The way to one collector, for one thread. `keeper`: what it has kept may be sent."""

    def __init__(self, root: Path, log_dir: Path, settings: CollectorSettings, us: Us, keeper: Keeper) -> None:
        self._note = root / "state" / "collector.json"
        self._log_dir = log_dir
        self._settings = settings
        self._us = us
        self._keeper = keeper
        self._grouping = Grouping(us)
        self._has = self._read = self._noted()  # the numbers of the last record that it has, and that was read
        self._file: IO[bytes] | None = None
        self._opened_at = -1  # what was read last when it was opened
        self._ready: list[Message] = []
        self._connection: Connection | None = None
        self._pause_s, self._next_s, self._next_said_s = PAUSE_S, 0.0, 0.0

    def turn(self) -> bool:
        """Send what may be sent by now; True if there is more. Never raises for the network or the disk."""
        if time.monotonic() < self._next_s:
            return False
        try:
            more = self._take() if not self._ready else True
            if self._ready:
                self._send()
            self._note_down()
        except OSError as error:
            self._close()
            self._next_s = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            if time.monotonic() >= self._next_said_s:
                self._next_said_s = time.monotonic() + REPEATED_S
                where = f"{self._settings.host}:{self._settings.port}"
                logger.warning("the audit collector %s gets nothing, and it waits: %s", where, error)
            return False
        if self._next_said_s:
            logger.info("the audit collector is reached again")
        self._pause_s, self._next_said_s = PAUSE_S, 0.0
        return more

    def close(self) -> None:
        """Close the connection in good order. What is in no message yet is sent after the next start."""
        self._close()
        if self._file is not None:
            self._file.close()

    def _take(self) -> bool:
        """Read the next records and group them; True if there may be more."""
        taken = 0
        while taken < MORE and self._read < self._keeper.kept.seq:
            line = files.next_line(self._file) if self._file is not None else b""
            if not line and not self._open_next():
                break
            seq = seq_of(line)
            if not seq:
                continue  # the end of a file, or not a record any more
            try:
                record = orjson.loads(line)
                if seq <= self._read:
                    self._grouping.learn(record)
                    continue
                self._ready += self._grouping.take(record)
            except (orjson.JSONDecodeError, KeyError, TypeError):
                if seq <= self._read:
                    continue  # somebody has changed it; `leyden audit verify` says so
            self._read = seq
            taken += 1
        if self._read >= self._keeper.kept.seq:
            self._ready += self._grouping.due(time.time())
        return taken >= MORE

    def _open_next(self) -> bool:
        """Open the file that holds the next record; False if there is none. OSError."""
        if self._file is not None:
            self._file.close()
            self._file = None
        begins = []
        for path in files.files(self._log_dir):
            with files.opened(path) as file:
                begins.append((seq_of(files.next_line(file)), path))
        holding = [path for seq, path in begins if 0 < seq <= self._read + 1]
        behind = [(seq, path) for seq, path in begins if seq > self._read + 1]
        if holding and self._opened_at != self._read:
            path = holding[-1]
        elif behind:  # what is between was removed
            self._read, path = behind[0][0] - 1, behind[0][1]
        else:
            return False
        self._file, self._opened_at = files.opened(path), self._read
        return True

    def _send(self) -> None:
        if self._connection is None:
            self._connection = Connection(self._settings)
        frames = (frame(xml(message, self._us), self._us.host, message.last_s) for message in self._ready)
        self._connection.send(b"".join(frames))
        self._ready = []

    def _note_down(self) -> None:
        first = self._grouping.first
        has = self._read if first is None else first - 1
        if has > self._has and not self._ready:
            make_folder(os.fspath(self._note.parent))
            write_whole(os.fspath(self._note), msgspec.json.encode({"seq": has}), sync=True)
            self._has = has

    def _noted(self) -> int:
        with contextlib.suppress(OSError, msgspec.DecodeError, KeyError):
            return decoded(self._note.read_bytes(), dict[str, int])["seq"]
        return 0

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
