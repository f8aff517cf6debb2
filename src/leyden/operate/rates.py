"""What came and went in the last minute, by the journal: it holds that for all processes, also over their restarts.

Only the ends of the segments are read, from behind, and never more than MAX_BYTES of one: beyond some 1,500 objects/s
of one process the rate is told too low.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from leyden.journal.segments import FOLDER, segments

WINDOW_S = 60.0
MAX_BYTES = 32 << 20
_CHUNK_BYTES = 1 << 20


class _Line(msgspec.Struct):
    event: str
    at_s: float
    bytes: int = 0
    destination: str = ""


_decoder = msgspec.json.Decoder(_Line)


class Flow(msgspec.Struct):
    """Objects, and bytes of their data sets, within `over_s` seconds."""

    objects: int = 0
    bytes: int = 0
    over_s: float = WINDOW_S

    def add(self, size_bytes: int) -> None:
        self.objects += 1
        self.bytes += size_bytes

    @property
    def objects_per_s(self) -> float:
        return self.objects / self.over_s

    @property
    def bytes_per_s(self) -> float:
        return self.bytes / self.over_s


class Rates(msgspec.Struct):
    """What was received, and what was delivered, altogether and to each destination."""

    received: Flow = msgspec.field(default_factory=Flow)
    delivered: Flow = msgspec.field(default_factory=Flow)
    by_destination: dict[str, Flow] = msgspec.field(default_factory=dict)


def rates(root: Path, now_s: float) -> Rates:
    """Of the minute before `now_s` (seconds since 1970). About 1 us an event. Raises OSError."""
    found = Rates()
    for segment in segments(os.fspath(root / FOLDER)):
        if segment.changed_s >= now_s - WINDOW_S:
            with contextlib.suppress(FileNotFoundError):
                for line in _since(segment.path, now_s - WINDOW_S):
                    if line.event == "received":
                        found.received.add(line.bytes)
                    elif line.event == "delivered":
                        found.delivered.add(line.bytes)
                        found.by_destination.setdefault(line.destination, Flow()).add(line.bytes)
    return found


def _since(path: str, since_s: float) -> Iterator[_Line]:
    """The events of a segment from then on, the last chunk first. What is no event is skipped."""
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        first = max(0, end - MAX_BYTES)
        cut = b""  # the part of the line that began before the chunk
        while end > first:
            begin = max(first, end - _CHUNK_BYTES)
            file.seek(begin)
            chunk = file.read(end - begin) + cut
            cut, _, whole = chunk.partition(b"\n") if begin else (b"", b"", chunk)
            older = False
            for text in whole.splitlines():
                try:
                    line = _decoder.decode(text)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    continue
                if line.at_s >= since_s:
                    yield line
                else:
                    older = True
            if older:
                return
            end = begin
            cut += b"\n"
