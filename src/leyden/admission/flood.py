"""Who is turned away again and again is told at once, and then once a minute with how often: nobody can flood the log
or the journal. Of each address so many kinds are told apart and no more, so that none of them hides what comes from
another.
"""

from collections import Counter
from collections.abc import Hashable, Iterator
from typing import Any

import msgspec

from leyden.admission.bucket import counted
from leyden.admission.callers import Why
from leyden.journal.events import TurnedAway

AGAIN_S = 60.0
KINDS_OF_ONE = 20  # that are told apart of one address; what is beyond them is told together, with the address
KINDS_MAX = 100  # of all addresses together
ADDRESSES_MAX = 100  # with such a line of their own; what is beyond them is told in one


class _Row(msgspec.Struct):
    last: TurnedAway
    since_s: float
    untold: int = 0


class Flood:
    """Counts who is turned away, by address and kind."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, Hashable], _Row] = {}
        self._kinds: Counter[str] = Counter()  # of these rows, by address
        self._together: dict[str, _Row] = {}

    def happened(self, event: TurnedAway, detail: str, now_s: float) -> bool:
        """Count it; whether it has to be told now.

        `detail`: what of its detail says something new; a wrong passcode is news after a missing one.
        """
        address = counted(event.peer)
        kind = (event.calling, event.called, event.peer, event.why, detail)
        row = self._rows.get((address, kind))
        if row is not None:
            row.last = event
        elif self._kinds[address] < KINDS_OF_ONE and len(self._rows) < KINDS_MAX:
            self._rows[address, kind] = _Row(event, now_s)
            self._kinds[address] += 1
            return True
        else:
            whose = address if address in self._together or len(self._together) < ADDRESSES_MAX else ""
            row = self._together.setdefault(whose, _Row(_various(whose), now_s))
        row.untold += 1
        return False

    def due(self, now_s: float, *, all_of_it: bool = False) -> Iterator[TurnedAway]:
        """The last of each kind that has to be told now, with how often it happened since. `all_of_it`: at the end."""
        tables: tuple[dict[Any, _Row], ...] = (self._rows, self._together)
        for rows in tables:
            for key, row in list(rows.items()):
                if now_s - row.since_s < AGAIN_S and not all_of_it:
                    continue
                if row.untold:
                    yield msgspec.structs.replace(row.last, count=row.untold)
                    row.since_s, row.untold = now_s, 0
                else:
                    del rows[key]
        self._kinds = Counter(address for address, _ in self._rows)


def _various(peer: str) -> TurnedAway:
    """What is told of an address that is turned away in too many ways; "" = of all of them."""
    detail = "turned away, in more ways than are told apart"
    return TurnedAway("", calling="", called="", peer=peer, why=Why.VARIOUS, detail=detail)
