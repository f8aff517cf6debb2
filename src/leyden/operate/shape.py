"""How old what waits is, by destination or by source: a table of counts, as qshape of Postfix makes it.

It works with and without a running service, and changes nothing.
"""

from bisect import bisect_right
from pathlib import Path

import msgspec

from leyden.operate.select import Filter, Selection, Sources, has_keys
from leyden.spool.stage import CLAIMED_FROM, Stage

LIMITS_S = tuple(300.0 * 2**n for n in range(9))  # 5 min to 21 h
WAITING = frozenset((Stage.NEW, *CLAIMED_FROM, Stage.ACTIVE, Stage.DEFERRED))  # what is still to be delivered


class Shape(msgspec.Struct, frozen=True):
    """`rows`: the destination or source ("" = it is not known before it is planned) -> how many objects are so old.

    `limits_s`: the upper ends of the buckets, the youngest first; each is twice as wide as the one before it, and the
    last one has no end.
    """

    limits_s: tuple[float, ...]
    rows: dict[str, tuple[int, ...]]
    not_looked_into: int = 0


def shape(root: Path, wanted: Filter, now_s: float, by_source: bool = False) -> Shape:
    """Count what suits a filter. About 1 us an object; by source, one file is opened for each of them. OSError."""
    selection = Selection(root, wanted)
    sources = Sources()
    # Receipt ids rise with time, so the counts are from the oldest to the youngest.
    ends = [f"{max(0, int((now_s - limit_s) * 1e6)):016d}" for limit_s in reversed(LIMITS_S)]
    rows: dict[str, list[int]] = {}
    known: dict[int | str, list[int]] = {}  # by folder, or by the key of a source
    for found in selection.found(ordered=False):
        name, number, _ = found
        of: int | str = name[41:49] if by_source and has_keys(name) else number
        counts = known.get(of)
        if counts is None:
            title = sources.of(selection.item(found)) if by_source else selection.folder_of(found)
            whole = title is not None and (not by_source or of != number)
            if title is None:
                title = selection.item(found).destination
            counts = rows.setdefault(title, [0] * (len(ends) + 1))
            if whole:
                known[of] = counts
        counts[bisect_right(ends, name[:16])] += 1
    in_order = {title: tuple(reversed(rows[title])) for title in sorted(rows)}
    return Shape(LIMITS_S, in_order, selection.not_looked_into)
