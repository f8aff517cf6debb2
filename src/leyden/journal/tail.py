"""What is told right now: follows the segments of every writer, over their renaming, from where one stopped.

A reader keeps its place by itself and holds up nobody: the journal is not told that it is read. What was removed before
it was read is skipped and counted (take_gone()); a line that is no event of this version is skipped.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple

import msgspec

from leyden.journal.events import AnyEvent, Event
from leyden.journal.segments import Removed, Segment, removed, segments, writer_of

_CHUNK_BYTES = 1 << 20
_LINE_MAX_BYTES = 1 << 20  # an event is far below; a longer line is none
_NOT_CLOSED = float("inf")
_decoder: "msgspec.json.Decoder[Event]" = msgspec.json.Decoder(AnyEvent)

Positions = Mapping[str, tuple[int, int, float]]
"""Writer -> the inode of its segment, how many bytes of it were read, and when the one before it was closed."""


class Told(NamedTuple):
    """An event, and the process that told it, such as receiver-0."""

    writer: str
    event: Event


class _Place(msgspec.Struct):
    """Where one writer was read to. `after_s`: when the newest of its segments that was read whole was closed."""

    inode: int = 0
    offset: int = 0
    after_s: float = 0.0
    fd: int = -1

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Tail:
    """The events of a journal, in the order of each writer. `folder`: that of the journal.

    `positions`: where an earlier Tail stopped; None = only what is told from now on. One thread at a time.
    """

    def __init__(self, folder: str, positions: Positions | None = None) -> None:
        self._folder = folder
        self._places: dict[str, _Place] = {}
        self._gone_bytes = 0
        if positions is not None:
            self._places = {writer: _Place(*position) for writer, position in positions.items()}
            return
        for segment in segments(folder):
            place = self._places.setdefault(writer_of(segment.path), _Place())
            if segment.closed_s == _NOT_CLOSED:
                place.inode, place.offset = segment.inode, segment.bytes
            else:
                place.after_s = segment.closed_s

    @property
    def positions(self) -> dict[str, tuple[int, int, float]]:
        """Where the next read() begins; for a Tail that goes on later."""
        return {writer: (place.inode, place.offset, place.after_s) for writer, place in self._places.items()}

    def read(self, limit: int = 10_000) -> list[Told]:
        """What was told since the last call: at least `limit` events, if there are so many. OSError.

        About 2 us an event, and 1 ms for the folder. Fewer than `limit` means that there is no more now.
        """
        told: list[Told] = []
        gone = removed(self._folder)
        by_writer: dict[str, list[Segment]] = {}
        for segment in segments(self._folder):
            by_writer.setdefault(writer_of(segment.path), []).append(segment)
        self._count(gone)
        for writer in self._places.keys() - by_writer.keys():
            self._places.pop(writer).close()
        for writer, found in by_writer.items():
            removed_s = [each.closed_s for each in gone if each.writer == writer]
            place = self._places.setdefault(writer, _Place(after_s=max(removed_s, default=0.0)))
            for segment in _unread(found, place):
                if len(told) >= limit:
                    break
                self._read(writer, segment, place, told, limit)
        return told

    def take_gone(self) -> int:
        """How many bytes of the journal were removed before they were read, since the last call."""
        gone_bytes, self._gone_bytes = self._gone_bytes, 0
        return gone_bytes

    def _count(self, gone: list[Removed]) -> None:
        """Go on behind what was removed."""
        for segment in sorted(gone):
            place = self._places.get(segment.writer)
            if place is not None and segment.closed_s > place.after_s:
                read_bytes = place.offset if place.inode == segment.inode else 0
                self._gone_bytes += max(0, segment.bytes - read_bytes)
                place.close()
                place.after_s, place.inode, place.offset = segment.closed_s, 0, 0

    def close(self) -> None:
        for place in self._places.values():
            place.close()

    def _read(self, writer: str, segment: Segment, place: _Place, told: list[Told], limit: int) -> None:
        """A segment from where one stopped, whole lines only; the next one begins when a closed one was read whole."""
        if place.inode != segment.inode or place.fd < 0:
            place.close()
            if place.inode != segment.inode or place.offset > segment.bytes:
                place.inode, place.offset = segment.inode, 0
            try:
                place.fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return  # closed or removed meanwhile: the next look finds it by its inode, or the one behind it
            if os.fstat(place.fd).st_ino != segment.inode:
                place.close()
                return
        while len(told) < limit:
            data = os.pread(place.fd, _CHUNK_BYTES, place.offset)
            whole = data.rfind(b"\n") + 1
            if not whole and len(data) >= _LINE_MAX_BYTES:
                whole = len(data)
            told += [Told(writer, event) for line in data[:whole].splitlines() if (event := _event(line)) is not None]
            place.offset += whole
            if not whole:
                if segment.closed_s != _NOT_CLOSED:
                    place.close()
                    place.after_s, place.inode, place.offset = segment.closed_s, 0, 0
                return


def _unread(found: list[Segment], place: _Place) -> list[Segment]:
    """The segments of one writer that are not read whole, the oldest first."""
    unread = [segment for segment in found if segment.closed_s > place.after_s]
    inodes = [segment.inode for segment in unread]
    return unread[inodes.index(place.inode) :] if place.inode in inodes else unread


def before(folder: str, positions: Positions, since_s: float, most_bytes: int) -> tuple[float, Iterator[list[Told]]]:
    """What was told up to the `positions` of a Tail, in pieces of a MiB at most, and from when on that is all. OSError.

    It begins with the segments that were closed after `since_s`, so somewhat earlier, or later if these have more than
    some `most_bytes`. An event takes about 300 bytes, and 2 us.
    """
    chosen: list[tuple[Segment, int]] = []
    for segment in reversed(segments(folder)):
        place = _Place(*positions.get(writer_of(segment.path), ()))
        if segment.inode == place.inode:
            end = place.offset
        elif segment.closed_s <= place.after_s:
            end = segment.bytes
        else:
            continue  # the Tail reads all of it
        if segment.closed_s < since_s:
            break
        most_bytes -= end
        if most_bytes < 0:
            since_s = segment.closed_s
            break
        chosen.append((segment, end))
    return since_s, _pieces(folder, chosen[::-1])


def _pieces(folder: str, chosen: list[tuple[Segment, int]]) -> Iterator[list[Told]]:
    """The events of these segments, of each up to an offset."""
    for segment, end in chosen:
        file = _opened(folder, segment)
        if file is None:
            continue
        with file:
            while file.tell() < end:
                lines = file.readlines(max(1, min(_CHUNK_BYTES, end - file.tell()) - 1))  # it ends beyond so many bytes
                yield [Told(writer_of(segment.path), event) for line in lines if (event := _event(line)) is not None]


def _opened(folder: str, segment: Segment) -> BinaryIO | None:
    """The file of a segment, which may have another name by now. None: it is gone. OSError."""
    for path in (segment.path, *(each.path for each in segments(folder) if each.inode == segment.inode)):
        with contextlib.suppress(FileNotFoundError):
            file = open(path, "rb")  # noqa: SIM115
            if os.fstat(file.fileno()).st_ino == segment.inode:
                return file
            file.close()
    return None


def _event(line: bytes) -> Event | None:
    """None: it was cut off by a crash, or is of another version."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
