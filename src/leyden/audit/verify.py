"""Whether the files of an audit log are what was written: walks the chain, and says what is broken first, and where."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import msgspec
import orjson

from leyden.audit import files
from leyden.audit.chain import Link, follows, key_id, opened_after, record_of, seq_of


class Fault(msgspec.Struct, frozen=True):
    """The first thing that is broken. `what`: changed, missing, reordered, cut off, another key or unreadable."""

    file: str
    line: int
    what: str
    detail: str


class Verified(msgspec.Struct):
    """What was read up to the end, or up to the fault. Records are counted without those that open a file.

    `first`: the number of the first record; `begin_s`, `end_s`: when the first and the last one happened, in seconds
    since 1970. `to_the_end`: whether it is known that nothing was cut off at the end.
    """

    files: int = 0
    records: int = 0
    first: int = 0
    last: int = 0
    begin_s: float = 0.0
    end_s: float = 0.0
    to_the_end: bool = False
    fault: Fault | None = None


def verify(key: bytes, paths: Sequence[Path], *, first: int = 1, end: Link | None = None) -> Verified:
    """Walk these files in this order; a million records take some 5 s, and memory for one.

    `first`: the number that the first record may have at most; 0 = any. `end`: a record that has to be there, as
    state/audit.json or a collector knows it.
    """
    walk = _Walk(key, paths, first, end)
    walk.said.fault = walk.fault()
    return walk.said


class _Walk:
    """One walk, and how far it has come: `at` is the link that was checked last, `text` what it says."""

    def __init__(self, key: bytes, paths: Sequence[Path], first: int, end: Link | None) -> None:
        self.said = Verified()
        self._key, self._paths, self._first, self._end = key, paths, first, end
        self._at: Link | None = None
        self._text = b""

    def fault(self) -> Fault | None:
        path, number = Path(), 0
        for path in self._paths:
            self.said.files += 1
            number = 0
            try:
                for number, line in enumerate(files.lines(path), 1):
                    broken = self._opening(line) if number == 1 else None
                    if broken := broken or self._record(path, number, line):
                        return Fault(str(path), number, *broken)
            except OSError as error:
                return Fault(str(path), number + 1, "unreadable", str(error))
        self.said.end_s = _at_s(self._text)
        if self._end is not None and not self.said.to_the_end:
            known = f"the last record is {self.said.last}, and {self._end.seq} were written"
            return Fault(str(path), number, "cut off", known)
        return None

    def _opening(self, line: bytes) -> tuple[str, str] | None:
        """What is wrong with the first line of a file, besides what is with any."""
        begun = opened_after(line)
        if begun and begun[0] != key_id(self._key):
            return "another key", f"it was written with the key {begun[0]}"
        if self._at is None:
            if begun is None:
                return "changed", "the record that opens the file is not what was written"
            if self._first and begun[1].seq >= self._first:
                return "missing", f"the first record is {begun[1].seq + 1}, and those from {self._first} are not there"
            self._at = begun[1]
        return None

    def _record(self, path: Path, number: int, line: bytes) -> tuple[str, str] | None:
        """What is wrong with a line."""
        assert self._at is not None
        record = record_of(line)
        if record is None or not follows(self._key, self._at, record):
            return self._named(path, number, line, self._at.seq + 1)
        self._at, self._text, said = Link(record.seq, record.mac), record.text, self.said
        said.last = record.seq
        if not said.first:
            said.first, said.begin_s = record.seq, _at_s(record.text)
        if number > 1:
            said.records += 1
        if self._end is not None and record.seq == self._end.seq:
            if record.mac != self._end.mac:
                return "changed", f"record {record.seq} is another one than the one that is known"
            said.to_the_end = True
        return None

    def _named(self, path: Path, number: int, line: bytes, expected: int) -> tuple[str, str]:
        """What happened to a line that is not the next one of the chain."""
        claimed = seq_of(line)
        if claimed and claimed != expected:
            if claimed < expected:
                return "reordered", f"record {claimed} stands here again, after {expected - 1}"
            if any(seq_of(other) == expected for other in self._behind(path, number)):
                return "reordered", f"record {claimed} stands in the place of {expected}"
            gone = f"record {expected} is" if claimed == expected + 1 else f"records {expected} to {claimed - 1} are"
            return "missing", f"{gone} not there"
        if not line.endswith(b"\n"):
            return "cut off", f"record {expected} ends in its middle"
        return "changed", f"record {expected} is not what was written"

    def _behind(self, path: Path, number: int) -> Iterator[bytes]:
        rest = self._paths[self._paths.index(path) + 1 :]
        return chain(islice(files.lines(path), number, None), *map(files.lines, rest))


def _at_s(text: bytes) -> float:
    try:
        return float(orjson.loads(text + b"}")["at_s"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return 0.0
