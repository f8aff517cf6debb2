"""What the sender says of each destination while it works: state/sender.outboxes.json, for whoever looks from outside.

The sender writes it as a whole, at most once a second and only when something has changed. It is not synced: a service
that starts has nothing to learn from it. The dot in the name keeps it apart from the files of the destinations.
"""

import os
from pathlib import Path

import msgspec

from leyden.documents import decoded
from leyden.spool.moves import write_whole

_NAME = "state/sender.outboxes.json"


class Outbox(msgspec.Struct, frozen=True):
    """One destination. Times are in seconds since 1970, counts since the sender's start; 0 and "" = none.

    `closed_by`: why nothing is sent to it, in words; "" = it is served. `in_hand`: objects that are being sent, or
    about to be. `associations` are established, `opening` are not yet. `next_try_s`: when it is tried again after
    `failures` in a row; `callers`: the same for the calling AE titles that it refuses. `last_error`: what last went
    wrong, with the destination or with an object. `line_kb_per_s`: what the line carried lately, in KB/s, as
    MinimumLineSpeed counts it. `process_delay_s`: how long a study may wait for the rest of it.
    """

    closed_by: str = ""
    in_hand: int = 0
    associations: int = 0
    opening: int = 0
    next_try_s: float = 0.0
    failures: int = 0
    callers: dict[str, float] = msgspec.field(default_factory=dict)
    last_error: str = ""
    last_error_s: float = 0.0
    line_kb_per_s: float = 0.0
    delivered: int = 0
    delivered_bytes: int = 0
    last_delivered_s: float = 0.0
    process_delay_s: float = 0.0


class _Document(msgspec.Struct, frozen=True):
    service: int
    outboxes: dict[str, Outbox]


def write(root: Path, service: int, outboxes: dict[str, Outbox]) -> None:
    """Put the document in the place of the last one; `service`: the process id of the supervisor. OSError."""
    write_whole(os.fspath(root / _NAME), msgspec.json.encode(_Document(service, outboxes)))


def read(root: Path, service: int) -> dict[str, Outbox]:
    """By AE title, what the sender of this service says; {} if it has not said anything that can be understood."""
    try:
        said = decoded((root / _NAME).read_bytes(), _Document)
    except (OSError, msgspec.DecodeError):
        return {}
    return said.outboxes if said.service == service else {}
