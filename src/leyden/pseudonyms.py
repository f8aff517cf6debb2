"""The mapping files of anonymize: CSV files that say which pseudonym stands for which patient.

The planner alone writes them: a new patient gets a random pseudonym, which is on the disk before anything is done with
it. Workers and `leyden explain` read them, and read on when one has grown. A hospital may hand in a filled file, or
edit one: what it says is never changed. A line that can't be read, or that says something twice, is an error.
In memory is an index of hashes and offsets, not the patients: 16 bytes a line for the writer, 8 for a reader.
These files are the one place that holds patient data in the clear, so others must not be able to read them.
"""

import bisect
import contextlib
import csv
import errno
import fcntl
import io
import logging
import os
import re
import secrets
import stat
import time
import zlib
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

from leyden.errors import Transient
from leyden.plan.pseudonym import Keyed, Patient
from leyden.spool.moves import sync_folder
from leyden.spool.secret import KEY_BYTES, make_secret, pseudonym_key, read_secret

logger = logging.getLogger("leyden.pseudonyms")

COLUMNS = ("patient_id", "issuer_of_patient_id", "pseudonym", "since")
PSEUDONYM_MAX_CHARS = 64  # PS3.5 section 6.2, LO
_LINE_MAX_BYTES = 8192
_BUFFER_BYTES = 1 << 20
_TAIL_BYTES = 256
_OFFSET = 0xFFFFFFFF
# A line in which nothing has to be looked at closer: ASCII without quotes, a pseudonym without blanks.
_PLAIN = re.compile(rb"([ !#-+\--~]+),([ !#-+\--~]*),([!#-+\--\[\]-~]{1,64}),([ !#-+\--~]*)\r?\n")
_TOLD = 50  # so many problems of a file are enough
_LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # none that looks like another one
_RANDOM_LETTERS = 11  # 55 bits; with ANON- before it, it fits an SH
NEW = "ANON-" + "X" * _RANDOM_LETTERS  # a stand-in: rules must see in it what they will see in the real one

Version = tuple[int, int, int]  # inode, bytes, time of the last change in ns
_NO_VERSION: Version = (0, 0, 0)


class Damaged(Transient):
    """A mapping file that can't be used until somebody mends it. `problems`: line (0 = the whole file) and what."""

    def __init__(self, path: Path, problems: list[tuple[int, str]]) -> None:
        line, what = problems[0]
        super().__init__(f"{path}{f':{line}' if line else ''}: {what}")
        self.problems = problems


class Pseudonyms:
    """One mapping file. For one thread."""

    def __init__(self, path: Path, *, writes: bool = False) -> None:
        self._path = path
        self._writes = writes
        self._fd = -1
        self._seen = _NO_VERSION
        self._whole = _NO_VERSION  # what _seen was when the whole file was read
        self._end = 0  # of what was read, in bytes
        self._tail = b""  # the last of them
        self._patients = _Index()
        self._given = _Index()  # the pseudonyms; the writer's only

    def of(self, patient: Patient) -> str | None:
        """The pseudonym of a patient; None = the file has none. Raises Damaged, OSError."""
        self._follow()
        found = self._find(patient)
        if found is None and self._fd >= 0 and not self._writes and self._seen != self._whole:
            self._load()  # it was not only added to
            found = self._find(patient)
        return found

    def give(self, patient: Patient) -> str:
        """The pseudonym of a patient, who gets one if there is none. Raises Damaged; OSError: it can't be kept."""
        pseudonym = self.of(patient)
        if pseudonym is None:
            self._open_for_writing()
            pseudonym = self._new_pseudonym()
            self._append(patient, pseudonym)
        return pseudonym

    def check(self) -> None:
        """Raise Damaged if the file is there and can't be used. OSError."""
        self._follow()

    def close(self) -> None:
        """Forget the file, and let another service write it."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._seen = self._whole = _NO_VERSION
        self._end = 0
        self._patients, self._given = _Index(), _Index()

    # -- reading

    def _follow(self) -> None:
        """Read the file if it is another one, and what was added to it."""
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            self.close()
            return
        version = (status.st_ino, status.st_size, status.st_mtime_ns)
        if version == self._seen:
            return
        if not self._writes and status.st_ino == self._seen[0] and self._tail_of(self._end) == self._tail:
            self._read_on(self._end)
            self._seen = version
        else:
            self._load()

    def _tail_of(self, end: int) -> bytes:
        """The last bytes before `end`, by which it is seen that a file was only added to."""
        begin = max(0, end - _TAIL_BYTES)
        return os.pread(self._fd, end - begin, begin)

    def _load(self) -> None:
        self.close()
        how = os.O_RDWR | os.O_APPEND if self._writes else os.O_RDONLY
        fd = os.open(self._path, how | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise Damaged(self._path, [(0, "is no file")])
            if status.st_mode & stat.S_IRWXO:
                raise Damaged(
                    self._path, [(0, f"others may read or write it; it names patients (chmod o= {self._path})")]
                )
            self._fd = fd
            self._read_on(0)
        except BaseException:
            os.close(fd)
            self._fd = -1
            raise
        self._seen = self._whole = status.st_ino, status.st_size, status.st_mtime_ns

    def _read_on(self, start: int) -> None:
        """Read what stands behind `start`. Raises Damaged with all that is wrong."""
        problems: list[tuple[int, str]] = []
        patients, given = array("Q"), array("Q")
        self._end = start
        with open(os.dup(self._fd), "rb", _BUFFER_BYTES) as file:
            file.seek(start)
            while (raw := file.readline(_LINE_MAX_BYTES)) and len(problems) < _TOLD:
                offset = self._end
                plain = _PLAIN.fullmatch(raw) if offset else None
                if plain:
                    patients.append(_entry(offset, plain[1], plain[2]))
                    if self._writes:
                        given.append(_entry(offset, plain[3]))
                else:
                    row = _parsed(raw)
                    if not raw.endswith(b"\n") and len(row) < len(COLUMNS) and len(raw) < _LINE_MAX_BYTES:
                        break  # the rest of a line whose writer was stopped
                    wrong = _wrong_head(row) if not offset else _wrong(row) if raw.strip() else ""
                    if wrong:
                        problems.append((self._line_of(offset), wrong))
                    elif offset and raw.strip():
                        patients.append(_entry(offset, row[0].encode(), row[1].encode()))
                        if self._writes:
                            given.append(_entry(offset, row[2].encode()))
                self._end += len(raw)
        self._tail = self._tail_of(self._end)
        if not problems:
            self._patients.add(patients)
            self._given.add(given)
            if start == 0:
                problems += self._doubles(self._patients, "this patient stands in line {} already", (0, 1))
                problems += self._doubles(self._given, "this pseudonym stands in line {} already", (2,))
        if problems:
            raise Damaged(self._path, problems[:_TOLD])

    def _doubles(self, index: "_Index", what: str, columns: tuple[int, ...]) -> Iterator[tuple[int, str]]:
        """The lines that say what another line says."""
        for first, second in index.doubles():
            one, two = self._row(first), self._row(second)
            if [one[column] for column in columns] == [two[column] for column in columns]:
                yield self._line_of(second), what.format(self._line_of(first))

    def _line_of(self, offset: int) -> int:
        lines = 1
        for begin in range(0, offset, 1 << 20):
            lines += os.pread(self._fd, min(1 << 20, offset - begin), begin).count(b"\n")
        return lines

    def _find(self, patient: Patient) -> str | None:
        for offset in self._patients.offsets(patient.id, patient.issuer):
            row = self._row(offset)
            if (row[0], row[1]) == (patient.id, patient.issuer):
                return row[2]
        return None

    def _row(self, offset: int) -> list[str]:
        """The texts of the line at an offset, or empty ones if it is none (any more)."""
        data = os.pread(self._fd, 1 + _LINE_MAX_BYTES, offset - 1)
        row = _parsed(data[1:].partition(b"\n")[0]) if data[:1] == b"\n" else []
        return [""] * len(COLUMNS) if _wrong(row) else row

    # -- writing

    def _open_for_writing(self) -> None:
        """Make the file if it is missing, keep other services from writing it, and end its last line."""
        if self._fd < 0:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o600)
            sync_folder(self._path.parent)
            self._look()
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(errno.EBUSY, f"another service writes {self._path}") from None
        size = os.fstat(self._fd).st_size
        if size > self._end:
            logger.warning(
                "%s: its last line is not whole and is taken out; nothing was done by it (%d bytes)",
                self._path,
                size - self._end,
            )
            os.ftruncate(self._fd, self._end)
        begin = "" if size else ",".join(COLUMNS) + "\n"
        if size and os.pread(self._fd, 1, self._end - 1) != b"\n":
            begin = "\n"
        if begin:
            self._write(begin)

    def _append(self, patient: Patient, pseudonym: str) -> None:
        line = io.StringIO()
        since = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        csv.writer(line, lineterminator="\n").writerow((patient.id, patient.issuer, pseudonym, since))
        offset = self._end
        self._write(line.getvalue())
        self._patients.add([_entry(offset, patient.id.encode(), patient.issuer.encode())])
        self._given.add([_entry(offset, pseudonym.encode())])

    def _write(self, text: str) -> None:
        """Add to the file, durably or not at all."""
        data = text.encode()
        try:
            if os.write(self._fd, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._end)
            self._seen = _NO_VERSION  # read it again, whatever there is now
            raise
        self._end += len(data)
        self._look()

    def _look(self) -> None:
        status = os.fstat(self._fd)
        self._seen = self._whole = status.st_ino, status.st_size, status.st_mtime_ns

    def _new_pseudonym(self) -> str:
        while True:
            pseudonym = "ANON-" + "".join(secrets.choice(_LETTERS) for _ in range(_RANDOM_LETTERS))
            if not any(True for _ in self._given.offsets(pseudonym)):
                return pseudonym


class Pseudonymizer:
    """The secret key of a spool and the mapping files of a process (see plan/pseudonym.py)."""

    def __init__(self, root: Path, *, writes: bool) -> None:
        """`writes`: it makes what is missing; only the planner does."""
        self._root = root
        self._writes = writes
        self._keyed: Keyed | None = None
        self._files: dict[str, Pseudonyms] = {}

    def keyed(self) -> Keyed:
        """What follows from the key. Raises Transient: it can't be read, or made."""
        if self._keyed is None:
            path = pseudonym_key(self._root)
            try:
                self._keyed = Keyed(make_secret(path) if self._writes else read_secret(path))
            except OSError as error:
                raise Transient(f"{path} can't be used: {error.strerror}") from None
        return self._keyed

    def pseudonym_of(self, mapping: str, patient: Patient) -> str:
        """The pseudonym of a patient in a mapping file. Raises Transient: the file can't be used, or has none."""
        file = self._file(mapping)
        try:
            found = file.give(patient) if self._writes else file.of(patient)
        except OSError as error:
            raise Transient(f"{mapping} can't be used: {error.strerror}") from None
        if found is None:
            raise Transient(f"{mapping} does not have this patient")
        return found

    def _file(self, mapping: str) -> Pseudonyms:
        if mapping not in self._files:
            self._files[mapping] = Pseudonyms(Path(mapping), writes=self._writes)
        return self._files[mapping]

    def close(self) -> None:
        """Close the mapping files."""
        for file in self._files.values():
            file.close()


class Preview(Pseudonymizer):
    """What the planner would say, for `leyden explain`: nothing is made, and what is not there yet has a stand-in."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, writes=False)

    def keyed(self) -> Keyed:
        """What follows from the key, or from another one if there is none yet. Raises Transient."""
        return super().keyed() if pseudonym_key(self._root).exists() else Keyed(bytes(KEY_BYTES))

    def pseudonym_of(self, mapping: str, patient: Patient) -> str:
        """The pseudonym in the file, or NEW for a patient who would get one. Raises Transient: it can't be read."""
        try:
            return self._file(mapping).of(patient) or NEW
        except OSError as error:
            raise Transient(f"{mapping} can't be used: {error.strerror}") from None


class _Index:
    """From texts to the offsets of lines that may hold them: a sorted array of hash and offset, 32 bits each, and a set
    of what came later."""

    def __init__(self) -> None:
        self._entries = array("Q")
        self._later: dict[int, list[int]] = {}

    def add(self, entries: Iterable[int]) -> None:
        if not self._entries and not self._later:
            self._entries = array("Q", sorted(entries))
            return
        for entry in entries:
            self._later.setdefault(entry >> 32, []).append(entry & _OFFSET)

    def offsets(self, *texts: str) -> Iterator[int]:
        """Where these texts may stand; another line may have the same hash."""
        wanted = zlib.crc32("\0".join(texts).encode())
        at = bisect.bisect_left(self._entries, wanted << 32)
        while at < len(self._entries) and self._entries[at] >> 32 == wanted:
            yield self._entries[at] & _OFFSET
            at += 1
        yield from self._later.get(wanted, ())

    def doubles(self) -> Iterator[tuple[int, int]]:
        """The offsets of neighbours with the same hash, in the order of the file."""
        before = -1
        for entry in self._entries:
            if entry >> 32 == before >> 32:
                yield before & _OFFSET, entry & _OFFSET
            before = entry


def problems_of(path: Path) -> list[tuple[int, str]]:
    """What stands against a mapping file, by line (0 = the whole file); a file that is missing can be made."""
    file = Pseudonyms(path, writes=True)
    try:
        if not path.exists():
            ready = os.access(path.parent, os.W_OK | os.X_OK)
            return [] if ready else [(0, f"can't be made: {path.parent} is no folder in which this user may write")]
        file.check()
    except Damaged as error:
        return error.problems
    except OSError as error:
        return [(0, f"can't be opened for reading and writing: {error.strerror}")]
    finally:
        file.close()
    return []


def _parsed(raw: bytes) -> list[str]:
    """The texts of one line; none if it is no line of a CSV file."""
    with contextlib.suppress(csv.Error, UnicodeDecodeError):
        return next(csv.reader([raw.decode("utf-8-sig").rstrip("\r\n")], strict=True), [])
    return []


def _wrong_head(row: list[str]) -> str:
    names = tuple(name.strip().lower() for name in row)
    return "" if names == COLUMNS else f"the first line must be {','.join(COLUMNS)}"


def _wrong(row: list[str]) -> str:
    if len(row) != len(COLUMNS):
        return f"is not a line of {len(COLUMNS)} columns in UTF-8"
    patient_id, issuer, pseudonym, _ = row
    if not patient_id or not (patient_id + issuer).isprintable():
        return "names no patient, or holds control characters"
    fits = pseudonym.isascii() and pseudonym.isprintable() and 0 < len(pseudonym) <= PSEUDONYM_MAX_CHARS
    if not fits or "\\" in pseudonym or pseudonym.strip() != pseudonym:
        return f"its pseudonym must be 1 to {PSEUDONYM_MAX_CHARS} characters of ASCII without backslashes"
    return ""


def _entry(offset: int, *texts: bytes) -> int:
    """What an index holds of a line: a hash of texts in the upper, its offset in the lower 32 bits."""
    if offset > _OFFSET:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return zlib.crc32(b"\0".join(texts)) << 32 | offset
