"""The keeper of the audit log: reads the journal from where it stopped, and chains what is audited to the log, durably.

The log first, then state/audit.json: how far the journal was read, and where the chain ends. So a crash at any line
costs nothing; what the log holds beyond that note is known when it comes again, and is not written twice. A disk that
refuses is waited for, and the log says so every minute; what happens meanwhile stands in the journal.
"""

import contextlib
import errno
import logging
import os
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path

import msgspec

from leyden import crash, log
from leyden.audit import files
from leyden.audit.chain import Link, follows, key_id, opened, opened_after, record_of, sealed, seq_of
from leyden.audit.settings import AuditSettings
from leyden.documents import decoded
from leyden.journal import events
from leyden.journal.segments import FOLDER
from leyden.journal.tail import Tail, Told
from leyden.spool.moves import make_folder, sync_folder, write_whole
from leyden.spool.secret import audit_key, make_secret

logger = logging.getLogger("leyden.watcher")

ROTATE_BYTES = 100_000_000
MORE = 10_000  # events in one go, some 100 ms
PAUSE_S = 5.0  # after the disk refused
REPEATED_S = 60.0  # how often that is said
EXPIRY_S = 3600.0  # how often the archive is looked through for what is too old
_DAY_S = 86400.0
_NOT_AUDITED = (events.Attempt, events.Deferred, events.Remade)  # what only says that it will be tried again
_encoder = msgspec.json.Encoder()


class Note(msgspec.Struct, frozen=True):
    """state/audit.json. `seq`, `mac`: the last record that is durable. `first`: the first one that is kept.

    `inode`, `bytes`: the file that is written, and how long it is. `positions`: how far the journal was read.
    """

    seq: int
    mac: str
    first: int = 1
    inode: int = 0
    bytes: int = 0
    positions: dict[str, tuple[int, int, float]] = {}

    @property
    def end(self) -> Link:
        return Link(self.seq, bytes.fromhex(self.mac))


def note_path(root: Path) -> Path:
    return root / "state" / "audit.json"


def read_note(root: Path) -> Note | None:
    """What was noted last; None if there is nothing that can be understood. OSError."""
    try:
        note = decoded(note_path(root).read_bytes(), Note)
        return note if len(note.end.mac) == len(Link().mac) else None
    except (FileNotFoundError, msgspec.DecodeError, ValueError):
        return None


def key_path(root: Path, settings: AuditSettings) -> Path:
    return Path(settings.key_file) if settings.key_file else audit_key(root)


class Keeper:
    """The audit log of one spool, for one thread. `kept`: the end of the chain, as far as it is durable and noted."""

    def __init__(self, root: Path, log_dir: Path, settings: AuditSettings) -> None:
        self.kept = Link()
        self._root = root
        self._log_dir = log_dir
        self._settings = settings
        self._path = log_dir / files.NAME
        self._key = b""
        self._fd = -1
        self._inode = self._size = 0  # of the file that is written, as far as it is durable
        self._end = Link()
        self._first = 1
        self._noted: Note | None = None
        self._tail: Tail | None = None
        self._read_to: dict[str, tuple[int, int, float]] = {}  # the place in the journal up to which all is durable
        self._pending: list[bytes] = []  # bodies that were read and are not durable yet
        self._already: Counter[bytes] = Counter()  # those that the log held beyond the note when this process began
        self._not_before_s = 0.0  # if there was no note
        self._next_s = self._next_said_s = self._next_expiry_s = 0.0

    def turn(self, *, last: bool = False) -> bool:
        """Keep what was told since; True if there is more. Never raises for the disk.

        `last`: the process is about to end, so it is tried once more even if the disk has just refused.
        """
        if time.monotonic() < self._next_s and not last:
            return False
        try:
            more = self._turn()
        except OSError as error:
            self._close()
            self._next_s = time.monotonic() + PAUSE_S
            if time.monotonic() >= self._next_said_s:
                self._next_said_s = time.monotonic() + REPEATED_S
                logger.error("the audit log is not written, and waits: %s", error)
            return False
        self._next_said_s = 0.0
        return more

    def _turn(self) -> bool:
        more = False
        if self._tail is None:
            self._begin()
        assert self._tail is not None
        if not self._pending:
            told = self._tail.read(MORE)
            more = len(told) >= MORE
            self._pending = [body for body in map(_body, filter(_audited, told)) if not self._known(body)]
            if gone_bytes := self._tail.take_gone():
                logger.error("%d bytes of the journal were gone before they were audited (journalMib)", gone_bytes)
                self._pending.insert(0, _body(Told("watcher", events.Missed("", bytes=gone_bytes))))
        if self._pending:
            self._append(self._pending)
            self._pending = []
        self._read_to = self._tail.positions
        self._note()
        if self._size >= ROTATE_BYTES:
            self._close()
            files.set_aside(self._log_dir)
            self._size = 0
            crash.point("audit-rotated")
        files.archive(self._log_dir)
        if self._settings.keep_days and time.monotonic() >= self._next_expiry_s:
            self._remove_expired(time.time())
            self._next_expiry_s = time.monotonic() + EXPIRY_S
        return more

    def _begin(self) -> None:
        """Find the end of the chain and the place in the journal. OSError: the disk refuses, or the key is none."""
        make_folder(os.fspath(self._log_dir))
        self._key = make_secret(key_path(self._root, self._settings))
        note = read_note(self._root)
        self._already.clear()
        end = self._beyond(note) if note else self._claimed()
        with contextlib.suppress(FileNotFoundError):
            status = self._path.stat()
            self._inode, self._size = status.st_ino, status.st_size
            with self._path.open("rb") as file:
                begun = opened_after(file.readline())
            if self._size and not (begun and begun[0] == key_id(self._key)):
                logger.error("the audit log goes on with another key: %s", key_path(self._root, self._settings))
                files.set_aside(self._log_dir)
                self._inode = self._size = 0
        self._end, self._first = end, note.first if note else 1
        self._noted = note
        self._read_to = note.positions if note else {}
        self._tail = Tail(os.fspath(self._root / FOLDER), self._read_to)

    def _beyond(self, note: Note) -> Link:
        """Where the chain ends, once what a crash has cut short is removed from the end of the file."""
        end = note.end
        try:
            file = self._path.open("r+b")
        except FileNotFoundError:
            return end
        with file:
            status = os.fstat(file.fileno())
            if status.st_ino != note.inode:
                if status.st_size:  # else it is the next file, which was made a moment before a crash
                    logger.error("%s is another file than the one that was written, and is set aside", self._path)
                    files.set_aside(self._log_dir)
                return end
            if status.st_size < note.bytes:
                logger.error("the audit log was cut off after %d bytes: it had %d", status.st_size, note.bytes)
                return end
            good_bytes = note.bytes
            file.seek(good_bytes)
            for line in file:
                record = record_of(line)
                if record is None or not follows(self._key, end, record):
                    break
                good_bytes += len(line)
                end = Link(record.seq, record.mac)
                self._already[_members(record.text)] += 1
            if good_bytes < status.st_size:
                left = status.st_size - good_bytes
                logger.warning("the audit log was cut short by a crash: %d bytes of it are written again", left)
                file.truncate(good_bytes)
        return end

    def _claimed(self) -> Link:
        """Where the chain ends as its files say, without a note."""
        for path in reversed(files.files(self._log_dir)):
            if records := list(filter(None, map(record_of, deque(files.lines(path), 2)))):
                logger.error("state/audit.json is gone: whether the audit log was cut off can't be told")
                self._not_before_s = _at_s(b"{" + _members(records[-1].text))
                if self._path.exists():
                    files.set_aside(self._log_dir)
                return Link(records[-1].seq, records[-1].mac)
        return Link()

    def _known(self, body: bytes) -> bool:
        """Whether the log held it already when this process began."""
        if self._not_before_s and _at_s(b"{" + body) < self._not_before_s:
            return True
        if not self._already[body]:
            return False
        self._already[body] -= 1
        return True

    def _append(self, bodies: Sequence[bytes]) -> None:
        """Chain these to the file. OSError: none of them is in it."""
        self._open()
        end, lines = self._end, []
        if not self._size:
            line, end = sealed(self._key, end, opened(self._key, end, events.now_s()))
            lines.append(line)
        for body in bodies:
            line, end = sealed(self._key, end, body)
            lines.append(line)
        text = b"".join(lines)
        try:
            if os.write(self._fd, text) < len(text):
                raise OSError(errno.ENOSPC, "records were written in part only")
            crash.point("audit-written")
            os.fdatasync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        crash.point("audit-synced")
        self._size += len(text)
        self._end = end

    def _open(self) -> None:
        """Have the file open that has the name now; a new one is noted before it is written."""
        if self._fd >= 0:
            with contextlib.suppress(FileNotFoundError):
                if self._path.stat().st_ino == self._inode:
                    return
            self._close()  # somebody has moved it
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        status = os.fstat(self._fd)
        if status.st_ino == self._inode and status.st_size > self._size:
            os.ftruncate(self._fd, self._size)  # a part of what the disk refused
            return
        self._inode, self._size = status.st_ino, status.st_size
        if not self._size:
            sync_folder(self._log_dir)
            self._note()

    def _note(self) -> None:
        note = Note(self._end.seq, self._end.mac.hex(), self._first, self._inode, self._size, self._read_to)
        if note != self._noted:
            path = note_path(self._root)
            make_folder(os.fspath(path.parent))
            write_whole(os.fspath(path), msgspec.json.encode(note), sync=True)
            crash.point("audit-noted")
            self._noted = note
        self.kept = self._end

    def _remove_expired(self, now_s: float) -> None:
        """Remove what is older than keepDays. What is kept from now on is noted first, so nobody misses the rest."""
        for path in files.expired(self._log_dir, now_s - self._settings.keep_days * _DAY_S):
            try:
                (last,) = deque(files.lines(path), 1)
            except (OSError, ValueError) as error:  # it is damaged, or empty: leyden audit verify says so
                log.once(logger, logging.ERROR, os.fspath(path), f"{path} is not removed, as it can't be read: {error}")
                continue
            self._first = max(self._first, seq_of(last) + 1)
            self._note()
            path.unlink()
            logger.info("%s is removed: it was kept for %d days", path, self._settings.keep_days)

    def _close(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1


def _audited(told: Told) -> bool:
    event = told.event
    return not isinstance(event, _NOT_AUDITED) and (not isinstance(event, events.Transformed) or bool(event.changed_by))


def _body(told: Told) -> bytes:
    return b'"writer":"%b",%b' % (told.writer.encode(), _encoder.encode(told.event)[1:-1])


def _members(text: bytes) -> bytes:
    """The body of a record: what follows its number."""
    return text.partition(b",")[2]


def _at_s(members: bytes) -> float:
    """The time of a record, of which the closing brace is missing."""
    try:
        return float(decoded(members + b"}", dict)["at_s"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, OverflowError):
        return 0.0
