"""What the journal says of the past: how much came, when and in which sizes, and how fast the destinations took it.

The segments are read from the newest on, up to a limit, and line by line.
"""

import random
import statistics
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import orjson

from leyden.journal.segments import segments
from leyden.tune.model import MB, Arrivals, Cost, Line

READ_MAX_BYTES = 1 << 30
SAMPLES_MAX = 4000  # deliveries of a destination that are kept to look at
MINUTE_S, DAY_S = 60, 86400.0
SIZES = (("below 100 KB", 100_000), ("100 KB to 1 MB", 1_000_000), ("1 to 10 MB", 10_000_000), ("above 10 MB", None))
_RECEIVED, _DELIVERED = b'"event":"received"', b'"event":"delivered"'


class Flow(msgspec.Struct):
    """Objects and bytes, in all and by the minute (since 1970)."""

    objects: int = 0
    bytes: int = 0
    minutes: dict[int, tuple[int, int]] = msgspec.field(default_factory=dict)

    def add(self, at_s: float, size_bytes: int) -> None:
        self.objects += 1
        self.bytes += size_bytes
        minute = int(at_s // MINUTE_S)
        objects, total_bytes = self.minutes.get(minute, (0, 0))
        self.minutes[minute] = objects + 1, total_bytes + size_bytes

    @property
    def peak_per_s(self) -> float:
        """Objects a second in the busiest minute."""
        return max((objects for objects, _ in self.minutes.values()), default=0) / MINUTE_S

    @property
    def peak_bytes_per_s(self) -> float:
        return max((total_bytes for _, total_bytes in self.minutes.values()), default=0) / MINUTE_S


class Deliveries(msgspec.Struct):
    """What one destination has taken. `samples`: (bytes, seconds) of some of the deliveries, chosen at random."""

    flow: Flow = msgspec.field(default_factory=Flow)
    samples: list[tuple[int, float]] = msgspec.field(default_factory=list)

    def add(self, at_s: float, size_bytes: int, took_s: float) -> None:
        self.flow.add(at_s, size_bytes)
        if took_s <= 0.0:
            return
        if len(self.samples) < SAMPLES_MAX:
            self.samples.append((size_bytes, took_s))
        elif (place := random.randrange(self.flow.objects)) < SAMPLES_MAX:
            self.samples[place] = (size_bytes, took_s)

    @property
    def line(self) -> Line:
        """The wait for an answer, and the speed beyond it, of the medians of smaller and larger objects.

        Of objects of one size the two can't be told apart: then all of it counts as speed. What the line carries in all
        can't be told: it may be more than was asked of it.
        """
        if not self.samples:
            return Line()
        ordered = sorted(self.samples)
        half = len(ordered) // 2
        small, large = (_medians(part) for part in (ordered[:half] or ordered, ordered[half:]))
        if large[0] < 2 * small[0]:
            return Line(one_mb_per_s=large[0] / large[1] / MB)
        cost = Cost.through(small, large)
        return Line(cost.object_s, one_mb_per_s=1 / cost.mb_s if cost.mb_s else None)


def _medians(samples: list[tuple[int, float]]) -> tuple[float, float]:
    return statistics.median(size for size, _ in samples), statistics.median(took_s for _, took_s in samples)


class History(msgspec.Struct):
    """What was found, between two times (seconds since 1970)."""

    first_s: float = float("inf")
    last_s: float = 0.0
    received: Flow = msgspec.field(default_factory=Flow)
    sizes: dict[str, int] = msgspec.field(default_factory=dict)  # objects that came, by SIZES
    deliveries: dict[str, Deliveries] = msgspec.field(default_factory=dict)  # by destination

    @property
    def span_s(self) -> float:
        return max(0.0, self.last_s - self.first_s)

    @property
    def arrivals(self) -> Arrivals | None:
        """None: nothing came. The average is that of a day at least: an hour of work is not how it goes on."""
        if not self.received.objects:
            return None
        return Arrivals(self.received.peak_per_s, self.received.bytes / max(self.span_s, DAY_S))

    @property
    def object_bytes(self) -> float | None:
        """The mean size of what came."""
        return self.received.bytes / self.received.objects if self.received.objects else None

    def share(self, destination: str) -> float:
        """How many deliveries there were to it for each object that came; 1 if nothing is known."""
        delivered = self.deliveries.get(destination)
        if delivered is None or not self.received.objects:
            return 1.0
        return min(1.0, delivered.flow.objects / self.received.objects)

    def take(self, document: dict[str, Any]) -> None:
        """One event of the journal; what is no received or delivered one, or malformed, is passed over."""
        try:
            kind, at_s, size_bytes = document["event"], float(document["at_s"]), int(document["bytes"])
            if kind == "received":
                self.received.add(at_s, size_bytes)
                size = next(name for name, most in SIZES if most is None or size_bytes < most)
                self.sizes[size] = self.sizes.get(size, 0) + 1
            elif kind == "delivered":
                each = self.deliveries.setdefault(str(document["destination"]), Deliveries())
                each.add(at_s, size_bytes, float(document.get("took_s", 0.0)))
            else:
                return
        except (KeyError, TypeError, ValueError):
            return
        self.first_s, self.last_s = min(self.first_s, at_s), max(self.last_s, at_s)


def read(folder: str, most_bytes: int = READ_MAX_BYTES) -> History:
    """What the newest segments of the journal in `folder` tell, about so many bytes of them. OSError."""
    history = History()
    for line in _newest_lines(folder, most_bytes):
        if _RECEIVED in line or _DELIVERED in line:
            try:
                document = orjson.loads(line)
            except orjson.JSONDecodeError:  # cut off by a crash
                continue
            history.take(document)
    return history


def _newest_lines(folder: str, most_bytes: int) -> Iterable[bytes]:
    left_bytes = most_bytes
    for segment in reversed(segments(folder)):
        if left_bytes <= 0:
            return
        left_bytes -= segment.bytes
        yield from _lines(segment.path)


def _lines(path: str) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            yield from file
    except FileNotFoundError:  # it was closed meanwhile and has a new name, or is gone
        return
