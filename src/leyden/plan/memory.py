"""What the planner remembers from one turn to the next: twins, and entries that stay in new/ for a while.

Both are hints and bounded (the oldest are forgotten): losing one costs a look, or a try before its time, never a
dataset. Entries are told apart by path, instances by the key of their UID. Deliberately absent: a clock (times are
seconds of one that is never set back), the disk.
"""

from collections import OrderedDict
from collections.abc import Iterable

TWINS_MAX = 1_000_000
ASIDE_MAX = 200_000
ASIDE_S = 60.0  # between two tries of an entry, and between two messages of a kind


class Twins:
    """Which instances were planned for which destination lately: a second one is marked to wait for the first.

    The last TWINS_MAX are known for sure, at most twice as many are (80 bytes each). One that is long delivered still
    marks its twin, which costs the sender a look.
    """

    def __init__(self, known: Iterable[tuple[str, str]] = ()) -> None:
        """`known`: (destination, key of the SOP Instance UID) of what is planned already."""
        self._young: set[int] = set()
        self._old: set[int] = set()
        for destination, sop_key in known:
            self.seen(destination, sop_key)

    def seen(self, destination: str, sop_key: str) -> bool:
        """Whether that instance was planned for the destination before; from now on it was."""
        number = hash((destination, sop_key))
        before = number in self._young or number in self._old
        self._young.add(number)
        if len(self._young) >= TWINS_MAX:
            self._young, self._old = set(), self._young
        return before


class Aside:
    """Entries of new/ that are left alone: for ASIDE_S what could not be moved or saved, until it is let go what waits
    for something that will come to an end (kept)."""

    def __init__(self) -> None:
        # Path -> until when, and its sop key; in the order of the times. OrderedDict, since the first of a plain dict
        # is found by passing over all that were deleted before it.
        self._held: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._kept: dict[str, str] = {}  # path -> sop key
        self._of: dict[str, set[str]] = {}  # sop key -> paths
        self._told_s: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._held) + len(self._kept)

    def __contains__(self, path: str) -> bool:
        return path in self._held or path in self._kept

    def put(self, path: str, sop_key: str, now_s: float) -> None:
        """Leave this entry alone. `sop_key` is empty where nothing is known of its instance. Elder paths are less."""
        self._forget(path)
        self._held[path] = (now_s + ASIDE_S, sop_key)
        self._of.setdefault(sop_key, set()).add(path)
        if len(self._held) > ASIDE_MAX:
            self._forget(next(iter(self._held)))

    def keep(self, path: str, sop_key: str) -> None:
        """Leave this entry alone until let_go(); the caller bounds how many there are."""
        self._forget(path)
        self._kept[path] = sop_key
        self._of.setdefault(sop_key, set()).add(path)

    def let_go(self, path: str) -> None:
        """What a kept entry waited for is over; those that were put aside behind it need not wait out their time."""
        sop_key = self._kept.get(path, "")
        self._forget(path)
        for other in tuple(self._of.get(sop_key, ())) if sop_key else ():
            if other in self._held:
                self._forget(other)

    def holds_elder(self, path: str, sop_key: str) -> bool:
        """Whether an elder entry of the same instance is put aside: this one must not overtake it."""
        return bool(sop_key) and any(other < path for other in self._of.get(sop_key, ()))

    def release(self, now_s: float) -> None:
        """Let those go whose time has come."""
        while self._held:
            path, (until_s, _) = next(iter(self._held.items()))
            if until_s > now_s:
                break
            self._forget(path)

    def to_tell(self, kind: str, now_s: float) -> bool:
        """Whether trouble of this kind (a rule, an error of the system) is to be told: once in ASIDE_S."""
        if now_s < self._told_s.get(kind, now_s):
            return False
        self._told_s[kind] = now_s + ASIDE_S
        return True

    def _forget(self, path: str) -> None:
        sop_key = self._held.pop(path, (0.0, self._kept.pop(path, "")))[1]
        paths = self._of.get(sop_key, set())
        paths.discard(path)
        if not paths:
            self._of.pop(sop_key, None)
