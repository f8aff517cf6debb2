"""What the planner remembers from one turn to the next: instances planned lately, and entries that wait in new/.

Both are hints, and bounded (the oldest are forgotten): a lost one costs a look, or a try that comes too early, never an
object. Entries are identified by their path, instances by the key of their UID. Deliberately absent: a clock (times are
in seconds of one that is never set back), the disk.
"""

from collections import OrderedDict
from collections.abc import Iterable

PLANNED_MAX = 1_000_000
POSTPONED_MAX = 200_000
POSTPONED_S = 60.0  # between two tries of an entry, and between two messages of one kind


class PlannedLately:
    """Which instances were planned lately for which destination. A second entry of one has to wait for the first.

    At least the last PLANNED_MAX are known, at most twice as many (80 bytes each). An instance that was delivered long
    ago may still be known; that costs the sender a look when the second entry comes.
    """

    def __init__(self, known: Iterable[tuple[str, str]] = ()) -> None:
        """`known`: (destination, key of the SOP Instance UID) of what is planned already."""
        self._young: set[int] = set()
        self._old: set[int] = set()
        for destination, sop_key in known:
            self.add(destination, sop_key)

    def add(self, destination: str, sop_key: str) -> bool:
        """Note that an instance is planned for a destination. True if it was known before."""
        number = hash((destination, sop_key))
        before = number in self._young or number in self._old
        self._young.add(number)
        if len(self._young) >= PLANNED_MAX:
            self._old = self._young
            self._young = set()
        return before


class Postponed:
    """Entries that wait in new/: for POSTPONED_S after they could not be moved or saved (put), or until release().

    No younger entry of the same instance may overtake one of them.
    """

    def __init__(self) -> None:
        # Path -> until when, and its sop key; in the order of the times. An OrderedDict, because a plain dict walks
        # over all deleted items before it finds its first one.
        self._timed: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._held: dict[str, str] = {}  # path -> sop key
        self._of_instance: dict[str, set[str]] = {}  # sop key -> paths
        self._told_s: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._timed) + len(self._held)

    def __contains__(self, path: str) -> bool:
        return path in self._timed or path in self._held

    def put(self, path: str, sop_key: str, now_s: float) -> None:
        """Postpone an entry for POSTPONED_S. `sop_key` is "" if its instance is not known.

        An older entry has a lesser path.
        """
        self._forget(path)
        self._timed[path] = (now_s + POSTPONED_S, sop_key)
        self._of_instance.setdefault(sop_key, set()).add(path)
        if len(self._timed) > POSTPONED_MAX:
            self._forget(next(iter(self._timed)))

    def hold(self, path: str, sop_key: str) -> None:
        """Postpone an entry until release(). The caller must bound how many are held."""
        self._forget(path)
        self._held[path] = sop_key
        self._of_instance.setdefault(sop_key, set()).add(path)

    def release(self, path: str) -> None:
        """End the wait of a held entry, and that of the entries of its instance that were put behind it."""
        sop_key = self._held.get(path, "")
        self._forget(path)
        for other in tuple(self._of_instance.get(sop_key, ())) if sop_key else ():
            if other in self._timed:
                self._forget(other)

    def release_due(self, now_s: float) -> None:
        """End the wait of the entries whose time is over."""
        while self._timed:
            path, (until_s, _) = next(iter(self._timed.items()))
            if until_s > now_s:
                break
            self._forget(path)

    def has_older(self, path: str, sop_key: str) -> bool:
        """Whether an older entry of the same instance is postponed, which this one must not overtake."""
        return bool(sop_key) and any(other < path for other in self._of_instance.get(sop_key, ()))

    def to_tell(self, kind: str, now_s: float) -> bool:
        """Whether a problem of this kind (a rule, a text of the system) is to be logged: once in POSTPONED_S."""
        if now_s < self._told_s.get(kind, now_s):
            return False
        self._told_s[kind] = now_s + POSTPONED_S
        return True

    def _forget(self, path: str) -> None:
        sop_key = self._timed.pop(path, (0.0, self._held.pop(path, "")))[1]
        paths = self._of_instance.get(sop_key, set())
        paths.discard(path)
        if not paths:
            self._of_instance.pop(sop_key, None)
