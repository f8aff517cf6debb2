"""Whose turn it is: callers take turns in a queue, so that none waits for all that another one has sent before. Pure.

The caller of an entry is the key of its calling AE title, as its name has it; names without one have a caller of their
own together. Of each caller the oldest entry goes first. Of equal instances the older goes first, whoever has sent
them: the planner tells by that order which one has to wait for the other.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from leyden.spool.entry import of_source

FEW = 256
_SOP_KEY = slice(23, 31)
_SOURCE_KEY = slice(41, 49)


def in_turn(names: Sequence[str]) -> list[str]:
    """The names of entries, oldest first, in the order in which they are to be served. About 1 us a name.

    The first of each caller, then the second of each, and so on; within such a round the oldest first. An instance of
    which an older entry is among them takes the turns of that one's caller.
    """
    if len({name[_SOURCE_KEY] for name in names}) <= 1:
        return list(names)
    callers: dict[str, list[str]] = {}
    whose: dict[str, str] = {}  # sop key -> caller
    for name in names:
        source = of_source(name)
        caller = whose.setdefault(name[_SOP_KEY], source) if source else ""
        callers.setdefault(caller, []).append(name)
    turns = [(turn, name) for entries in callers.values() for turn, name in enumerate(entries)]
    turns.sort()
    return [name for _, name in turns]


class Others:
    """Of a queue that is longer than one wants to look at: the entries of those who have few in its beginning.

    `near`: the names that it begins with, oldest first.
    """

    def __init__(self, near: Iterable[str]) -> None:
        self._instances = {name[_SOP_KEY] for name in near}  # an older entry of these is left behind
        self._count = Counter(name[_SOURCE_KEY] for name in near)
        self._blind = False
        self.found: list[str] = []

    def look(self, names: Iterable[str]) -> None:
        """Take of the names that follow, oldest first, up to FEW of each caller. About 0.3 us a name.

        None is taken that would overtake an older entry of its instance; so none behind a name that does not tell.
        """
        count, instances = self._count, self._instances
        for name in names:
            instance, caller = name[_SOP_KEY], name[_SOURCE_KEY]
            if count[caller] >= FEW or instance in instances:
                instances.add(instance)
            elif self._blind or not of_source(name):
                self._blind = True
                return
            else:
                count[caller] += 1
                self.found.append(name)
