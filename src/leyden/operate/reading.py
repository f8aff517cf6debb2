"""What the service says of its configuration: state/service.configuration.json, a document of the latest reading.

The supervisor alone writes it, as a whole, when it starts and after each reload. The dot in the name keeps it apart
from the files of the destinations, whose titles have none there.
"""

import os
from enum import StrEnum
from pathlib import Path

import msgspec

from leyden.documents import decoded
from leyden.spool.moves import write_whole

_NAME = "state/service.configuration.json"


class Result(StrEnum):
    """What came of reading the configuration."""

    STARTED = "started"
    CHANGED = "changed"
    UNCHANGED = "unchanged"  # it says what it said before
    WRONG = "wrong"  # there are errors in it
    FAILED = "failed"  # this machine refused something


class Reading(msgspec.Struct, frozen=True):
    """The latest reading, and the generation that has been in force since `since_s` (seconds since 1970).

    `pid` is the service's, `nodes` are its destinations. The reading began at `begun_ns` of the monotonic clock, and
    its result was there at `read_s`. `changes`, `warnings` and `errors` are lines for an operator; with errors the
    generation is the one from before. `certificates`: whose -> file, told of `certificate_ends_s` before their end.
    """

    pid: int
    generation: int
    since_s: float
    nodes: tuple[str, ...]
    result: Result
    begun_ns: int
    read_s: float
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    certificates: dict[str, str] = msgspec.field(default_factory=dict)
    certificate_ends_s: float = 0.0


def write(root: Path, reading: Reading) -> None:
    """Put the document in the place of the last one. OSError: the disk refuses."""
    path = root / _NAME
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_whole(os.fspath(path), msgspec.json.encode(reading))


def read(root: Path) -> Reading | None:
    """The document; None if there is none that can be understood. It may be of a service that has ended."""
    try:
        return decoded((root / _NAME).read_bytes(), Reading)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
