"""The share of the disk that a caller and a destination may take (callerShare, destinationShare, DiskShare).

The watcher walks over the spool (spool/taken.py) and writes down who takes how much, in state/shares.json. Each
receiver reads that, adds what it has taken in since, and treats who has more than its share as if the disk were full,
for it alone: new associations are rejected first, and later each object is refused. What was acknowledged is never
touched. If nobody has walked for long, nobody is refused.
"""

import logging
import math
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from leyden.spool.moves import write_whole
from leyden.spool.taken import Taken, taken

logger = logging.getLogger("leyden.receiver")

LOW = 0.9  # of the share: from here on new associations are rejected
AGAIN = 0.8  # below that, they are taken again
LEAST_S = 2.0  # between two walks
TIMES_COST = 10  # the walks take at most a tenth of one core
MOST_S = 600.0  # a machine that stood still meanwhile has a walk of hours
LATE_S = 60.0  # a walk that is not there so long after it was due: nobody knows who has how much
CALLERS_MAX = 1000  # that are written down, those with the most
ANY_TITLE = "*"  # as in callers.yml
_BLOCK_BYTES = 4096
_NAME = "state/shares.json"


class ShareSettings(msgspec.Struct, frozen=True):
    """In percent of the volume that the spool is on; 0 = no limit. `of_callers` and `of_destinations`: titles that
    have another one than `caller_percent` and `destination_percent`; ANY_TITLE stands for all that are not named."""

    caller_percent: float = 0.0
    destination_percent: float = 0.0
    of_callers: dict[str, float] = msgspec.field(default_factory=dict)
    of_destinations: dict[str, float] = msgspec.field(default_factory=dict)

    def of_caller(self, title: str) -> float:
        """What a caller may take, in percent."""
        return self.of_callers.get(title, self.of_callers.get(ANY_TITLE, self.caller_percent))

    @property
    def enabled(self) -> bool:
        given = *self.of_callers.values(), *self.of_destinations.values()
        return any((self.caller_percent, self.destination_percent, *given))


NO_SHARES = ShareSettings()


class Share(msgspec.Struct, frozen=True):
    """What one caller or destination takes, in bytes, and what it may. `key`: a caller's in the names of entries."""

    title: str
    key: str
    bytes: float
    share_bytes: float

    @property
    def used(self) -> float:
        """How much of its share; 1.0 = all of it, 0.0 if there is no limit."""
        return self.bytes / self.share_bytes if self.share_bytes else 0.0


class Walk(msgspec.Struct, frozen=True):
    """What the watcher has found. `service`: the process id of the supervisor. `began_s` and `due_s` (of the next walk)
    are of the monotonic clock, `at_s` is in seconds since 1970."""

    service: int
    began_s: float
    due_s: float
    at_s: float
    volume_bytes: int
    callers: tuple[Share, ...] = ()
    destinations: tuple[Share, ...] = ()

    def valid(self, service: int, now_s: float) -> bool:
        """Whether it is of this service, and still true enough. `now_s`: of the monotonic clock."""
        return (
            self.service == service and self.began_s <= now_s < self.due_s + LATE_S
        )  # the clock begins anew at a boot


def read(root: Path) -> Walk | None:
    """The last one; None if there is none that can be understood."""
    try:
        return msgspec.json.decode((root / _NAME).read_bytes(), type=Walk)
    except (OSError, msgspec.DecodeError):
        return None


class Measurer:
    """The watcher's part: walks, and writes down what it has found. One thread."""

    def __init__(self, root: Path, settings: ShareSettings, service: int, title_of: Callable[[str], str]) -> None:
        """`title_of`: the calling AE title in a file of the spool; it raises what a file can."""
        self._root = root
        self._settings = settings
        self._service = service
        self._title_of = title_of
        self._titles: dict[str, str] = {}  # key -> title

    def turn(self) -> float:
        """Walk once. Returns the seconds to the next one. OSError."""
        began_s = time.monotonic()
        found = taken(os.fspath(self._root))
        took_s = time.monotonic() - began_s
        wait_s = min(max(LEAST_S, TIMES_COST * took_s), MOST_S)
        volume = os.statvfs(self._root)
        size = volume.f_blocks * volume.f_frsize
        walk = Walk(
            self._service,
            began_s,
            time.monotonic() + wait_s,
            time.time(),
            size,
            tuple(self._of_callers(found, size)),
            tuple(self._of_destinations(found, size)),
        )
        write_whole(os.fspath(self._root / _NAME), msgspec.json.encode(walk))
        return wait_s

    def _of_callers(self, found: Taken, size: int) -> Iterable[Share]:
        most = sorted(found.callers, key=found.callers.__getitem__, reverse=True)[:CALLERS_MAX]
        before, self._titles = self._titles, {}
        for key in most:
            title = before.get(key) or self._title(found.samples[key])
            if title:
                self._titles[key] = title
                percent = self._settings.of_caller(title)
                yield Share(title, key, found.callers[key], size * percent / 100)

    def _of_destinations(self, found: Taken, size: int) -> Iterable[Share]:
        for title, taken_bytes in sorted(found.destinations.items()):
            percent = self._settings.of_destinations.get(title, self._settings.destination_percent)
            yield Share(title, "", taken_bytes, size * percent / 100)

    def _title(self, path: str) -> str:
        try:
            return self._title_of(path)
        except Exception:  # it has moved on, or somebody has damaged it: the next walk has another file of this caller
            return ""


def limits(low: bool, used: float) -> tuple[bool, bool]:
    """Of how much of its share somebody uses (1.0 = all): whether new associations are rejected, and objects refused.

    `low`: the first as it was before.
    """
    full = used >= 1.0
    return full or used >= (AGAIN if low else LOW), full


class Shares:
    """What a receiver knows of who has how much. Every method is for the thread of the event loop."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._settings = NO_SHARES
        self._walk: Walk | None = None
        self._since: deque[tuple[float, Counter[str], Counter[str]]] = deque()  # when, by callers, by nodes
        self._low: dict[tuple[str, str], str] = {}  # (caller's key, node), one of them "" -> why, in words
        self._full: dict[tuple[str, str], str] = {}
        self._said_late = False

    def go_by(self, settings: ShareSettings) -> None:
        """These are the shares from now on. Who has which is in the next walk."""
        self._settings = settings
        if not settings.enabled:
            self._walk, self._low, self._full = None, {}, {}
            self._since.clear()

    def took(self, caller: str, node: str, size_bytes: int) -> None:
        """An object was kept, of this caller (its key) and under a title of this node ("" = ours)."""
        if not self._settings.enabled:
            return
        if not self._since:
            self._since.append((time.monotonic(), Counter(), Counter()))
        on_disk = math.ceil(size_bytes / _BLOCK_BYTES) * _BLOCK_BYTES
        self._since[-1][1][caller] += on_disk
        if node:
            self._since[-1][2][node] += on_disk

    def look(self, now_s: float, service: int) -> None:
        """See who has too much now; to be called once a second. `now_s`: of the monotonic clock."""
        if not self._settings.enabled:
            return
        walk = read(self._root)
        if walk is None or not walk.valid(service, now_s):
            self._nobody_knows(walk is not None and walk.service == service)
            return
        self._said_late = False
        self._walk = walk
        while self._since and self._since[0][0] < walk.began_s:
            self._since.popleft()
        callers: Counter[str] = Counter()
        nodes: Counter[str] = Counter()
        for _, of_callers, of_nodes in self._since:
            callers.update(of_callers)
            nodes.update(of_nodes)
        self._since.append((now_s, Counter(), Counter()))
        low_before = self._low
        self._low, self._full = {}, {}
        for share in walk.callers:
            self._judge((share.key, ""), share, callers[share.key], low_before)
        for share in walk.destinations:
            self._judge(("", share.title), share, nodes[share.title], low_before)

    def low(self, caller: str, node: str) -> str:
        """Why this caller gets no new association to a title of this node, in words; "" = it does."""
        return self._low.get((caller, "")) or (self._low.get(("", node), "") if node else "")

    def full(self, caller: str, node: str) -> str:
        """Why no object of this caller to a title of this node is kept; "" = it is."""
        return self._full.get((caller, "")) or (self._full.get(("", node), "") if node else "")

    def _judge(
        self, whose: tuple[str, str], share: Share, more_bytes: int, low_before: Mapping[tuple[str, str], str]
    ) -> None:
        """`more_bytes`: what came since the walk."""
        if not share.share_bytes:
            return
        used = (share.bytes + more_bytes) / share.share_bytes
        low, full = limits(whose in low_before, used)
        if not low:
            if whose in low_before:
                logger.info("%s has less than its share of the disk again", share.title)
            return
        what = "what waits for it takes" if whose[1] else "it takes"
        why = f"{share.title} has its share of the disk: {what} {100 * used:.0f} % of that"
        self._low[whose] = why
        if full:
            self._full[whose] = why
        if whose not in low_before:
            whom = f"to {share.title}" if whose[1] else f"of {share.title}"
            logger.warning("%s; new associations %s are rejected (2,3,1), and from 100 %% on objects", why, whom)

    def _nobody_knows(self, late: bool) -> None:
        """No walk: at the start, or if the watcher does not get along with the disk."""
        self._low, self._full = {}, {}
        self._since.clear()
        if late and not self._said_late:
            self._said_late = True
            logger.warning("nobody knows who takes how much of the disk: no walk for %.0f s; shares are off", LATE_S)
