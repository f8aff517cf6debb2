"""What happens again and again is told at once, and then once a minute with how often: nobody can flood the log or the
journal. Of each address so many kinds are told apart and no more, so that none of them hides what comes from another.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, TypeVar

import msgspec

AGAIN_S = 60.0
KINDS_OF_ONE = 20  # that are told apart of one address; what is beyond them is told together, with the address
KINDS_MAX = 100  # of all addresses together
ADDRESSES_MAX = 100  # with such a line of their own; what is beyond them is told in one

Item = TypeVar("Item")


class _Row(msgspec.Struct, Generic[Item]):
    last: Item
    since_s: float
    untold: int = 0


class Flood(Generic[Item]):
    """Counts what happens, by address and kind. `rest`: what is told of the kinds of an address that are too many; of
    all addresses, for "".
    """

    def __init__(self, rest: Callable[[str], Item]) -> None:
        self._rest = rest
        self._rows: dict[tuple[str, Hashable], _Row[Item]] = {}
        self._kinds: Counter[str] = Counter()  # of these rows, by address
        self._together: dict[str, _Row[Item]] = {}

    def happened(self, address: str, kind: Hashable, item: Item, now_s: float) -> bool:
        """Count it; whether it has to be told now."""
        row = self._rows.get((address, kind))
        if row is not None:
            row.last = item
        elif self._kinds[address] < KINDS_OF_ONE and len(self._rows) < KINDS_MAX:
            self._rows[address, kind] = _Row(item, now_s)
            self._kinds[address] += 1
            return True
        else:
            whose = address if address in self._together or len(self._together) < ADDRESSES_MAX else ""
            row = self._together.setdefault(whose, _Row(self._rest(whose), now_s))
        row.untold += 1
        return False

    def due(self, now_s: float, *, all_of_it: bool = False) -> Iterator[tuple[Item, int]]:
        """The last of each kind that has to be told now, and how often it happened since. `all_of_it`: at the end."""
        tables: tuple[dict[Any, _Row[Item]], ...] = (self._rows, self._together)
        for rows in tables:
            for key, row in list(rows.items()):
                if now_s - row.since_s < AGAIN_S and not all_of_it:
                    continue
                if row.untold:
                    yield row.last, row.untold
                    row.since_s, row.untold = now_s, 0
                else:
                    del rows[key]
        self._kinds = Counter(address for address, _ in self._rows)
