"""state/<DEST>.json: what a destination was seen to accept of each SOP class, as form/ladder.py has it.

The sender alone writes it, one write at a time; the planner and the workers read it again whenever it has changed.
"""

import logging
import os
from pathlib import Path

from leyden.errors import Corrupt
from leyden.form import ladder
from leyden.spool.entry import folder
from leyden.spool.moves import write_whole

logger = logging.getLogger("leyden.capabilities")

_NO_FILE = (0, 0)


class SeenCapabilities:
    """What is known of one destination, for a process that only reads it. A changed file is read again."""

    def __init__(self, root: Path, destination: str) -> None:
        self._root = root
        self._destination = destination
        self._path = str(_path(root, destination))
        self._version = _NO_FILE
        self._knowledge: ladder.Knowledge = {}

    def knowledge(self) -> ladder.Knowledge:
        """By SOP class UID; empty if there is no such file, or it cannot be read."""
        try:
            status = os.stat(self._path)
            version = (status.st_mtime_ns, status.st_ino)
        except FileNotFoundError:
            version = _NO_FILE
        except OSError:
            version = (-1, 0)  # read() says in the log what is wrong
        if version != self._version:
            self._version = version
            self._knowledge = read(self._root, self._destination)
        return self._knowledge


def read(root: Path, destination: str) -> dict[str, ladder.Acceptance]:
    """What the file says, by SOP class UID; empty if there is no such file, or it cannot be read (which is logged)."""
    path = _path(root, destination)
    try:
        return ladder.parse(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, Corrupt) as error:
        logger.warning("%s is not used: %s", path, error)
        return {}


def write(root: Path, destination: str, knowledge: ladder.Knowledge) -> None:
    """Put the file in place, atomically (0600). OSError: what the disk says."""
    path = _path(root, destination)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_whole(os.fspath(path), ladder.serialize(knowledge))


def _path(root: Path, destination: str) -> Path:
    return root / "state" / f"{folder(destination)}.json"
