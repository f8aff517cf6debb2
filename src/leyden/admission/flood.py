"""What happens again and again is told at once, and then once a minute with how often: nobody can flood the log or the
journal.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

AGAIN_S = 60.0
KINDS_MAX = 100  # that are told apart; what is beyond them is told together

Item = TypeVar("Item")


@dataclass(slots=True)
class _Row(Generic[Item]):
    last: Item
    since_s: float
    untold: int = 0


class Flood(Generic[Item]):
    """Counts what happens, by its kind. `rest`: what is told of all kinds that are too many."""

    def __init__(self, rest: Item) -> None:
        self._rest = rest
        self._rows: dict[Hashable, _Row[Item]] = {}

    def happened(self, kind: Hashable, item: Item, now_s: float) -> bool:
        """Count it; whether it has to be told now."""
        row = self._rows.get(kind)
        if row is None and len(self._rows) < KINDS_MAX:
            self._rows[kind] = _Row(item, now_s)
            return True
        if row is None:
            item = self._rest
            row = self._rows.setdefault(None, _Row(item, now_s))
        row.last = item
        row.untold += 1
        return False

    def due(self, now_s: float, *, all_of_it: bool = False) -> Iterator[tuple[Item, int]]:
        """The last of each kind that has to be told now, and how often it happened since. `all_of_it`: at the end."""
        for kind, row in list(self._rows.items()):
            if now_s - row.since_s < AGAIN_S and not all_of_it:
                continue
            if row.untold:
                yield row.last, row.untold
                row.since_s, row.untold = now_s, 0
            else:
                del self._rows[kind]
