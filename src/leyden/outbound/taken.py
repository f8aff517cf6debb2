"""state/<DEST>.json: what a destination was seen to take, kept across restarts. The sender alone writes it; whoever
plans or transcodes for the destination reads it. What it means stands in deliver/ladder.py."""

import logging
import os
from pathlib import Path

from leyden.deliver import ladder
from leyden.errors import Corrupt
from leyden.spool.entry import folder

logger = logging.getLogger("leyden.sender")


def recall(root: Path, destination: str) -> dict[str, ladder.Taken]:
    """What is known of a destination, by SOP class UID; nothing, if there is no such file or no sense in it."""
    path = _path(root, destination)
    try:
        return ladder.parse(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, Corrupt) as error:
        logger.warning("%s is not used: %s", path, error)
        return {}


def remember(root: Path, destination: str, knowledge: ladder.Knowledge) -> None:
    """Put the file in place, atomically (0600). OSError: what the disk says."""
    path = _path(root, destination)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = path.with_suffix(".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as stream:
        stream.write(ladder.serialize(knowledge))
    fresh.replace(path)


def _path(root: Path, destination: str) -> Path:
    return root / "state" / f"{folder(destination)}.json"
