"""How much of the disk the spool takes for each caller and for each destination: a walk over names and sizes.

The bytes of an object count once for its caller, however many destinations it waits for (links to one file), and in
full for each of these. What an operator, or an older version, has put into new/ names no caller and counts for nobody.
"""

import os
import stat
from collections.abc import Iterator

import msgspec

from leyden.spool import listing
from leyden.spool.entry import SEPARATOR, of_source, title
from leyden.spool.stage import BY_DESTINATION, Stage

BLOCK_BYTES = 512  # of st_blocks, whatever the file system (stat(2))
CALLERS_MAX = 10_000  # that are known at once; beyond, those with the least are forgotten
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Taken(msgspec.Struct):
    """In bytes. `callers`: by the key of the calling AE title; `samples`: a file of each; `destinations`: by title."""

    callers: dict[str, float] = msgspec.field(default_factory=dict)
    samples: dict[str, str] = msgspec.field(default_factory=dict)
    destinations: dict[str, float] = msgspec.field(default_factory=dict)


def taken(root: str) -> Taken:
    """What stands in the spool now, from new/ to the stages in which trips end. About 4 us an object. OSError."""
    found = Taken()
    for stage in Stage:
        if stage is Stage.EMBRYO:
            continue
        if stage in BY_DESTINATION:
            for name in listing.names(f"{root}/{stage}"):
                _add(found, f"{root}/{stage}/{name}", title(name))
        else:
            _add(found, f"{root}/{stage}", "")
    return found


def _add(found: Taken, top: str, destination: str) -> None:
    for place, names in listing.folders(top):
        for name, status in _sizes(place, names):
            size = status.st_blocks * BLOCK_BYTES
            *origin, entry = name.split(SEPARATOR)
            whose = destination or (title(origin[1]) if len(origin) == 3 else "")
            if whose:
                found.destinations[whose] = found.destinations.get(whose, 0.0) + size
            if caller := of_source(entry):
                if caller not in found.callers:
                    _make_room(found)
                    found.samples[caller] = f"{place}/{name}"
                found.callers[caller] = found.callers.get(caller, 0.0) + size / status.st_nlink


def _sizes(place: str, names: list[str]) -> Iterator[tuple[str, os.stat_result]]:
    """The files of a folder; what moved on meanwhile is seen again where it is now, or at the next walk."""
    try:
        fd = os.open(place, _DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        for name in names:
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_nlink:
                yield name, status
    finally:
        os.close(fd)


def _make_room(found: Taken) -> None:
    if len(found.callers) >= 2 * CALLERS_MAX:
        most = sorted(found.callers, key=found.callers.__getitem__, reverse=True)[:CALLERS_MAX]
        found.callers = {caller: found.callers[caller] for caller in most}
        found.samples = {caller: found.samples[caller] for caller in most}
