"""The shelves: rejected/, failed/ and expired/, where an object stands with the reason beside it, until it is retried.

A file in rejected/<DEST>/ bears its entry's name, in the other two the name of its claim, or `<receipt>.dcm` if it came
from new/. `<file>.json` beside it holds `reason`, `when` (UTC) and `origin` (stage, destination, rank). The note is
written first: no file is ever without one, a note without a file is rubbish.
"""

import contextlib
import logging
import math
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from leyden.spool.entry import SEPARATOR, UNRANKED, Entry, folder, is_rank, parse, parse_claim, title
from leyden.spool.listing import is_object, names
from leyden.spool.moves import fresh_receipt, make_folder, move, write_whole
from leyden.spool.stage import CLAIMED_FROM, ENDED, Stage

logger = logging.getLogger("leyden.spool")


def shelve(source: str, place: str, name: str, origin: tuple[Stage, str, str], why: Mapping[str, Any]) -> None:
    """Put a file on a shelf, with its note."""
    note = {
        **why,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "origin": dict(zip(("stage", "destination", "rank"), origin, strict=True)),
    }
    make_folder(place)
    write_whole(f"{place}/{name}.json", orjson.dumps(note, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    if not move(source, place, name):
        os.unlink(f"{place}/{name}.json")


def retry(root: str, shelf: Stage, destination: str | None, known: Collection[str] | None) -> int:
    """Spool.retry."""
    if shelf is Stage.REJECTED:
        places = names(f"{root}/{shelf}")
    elif shelf is Stage.FAILED:
        places = [""]
    else:
        raise ValueError(f"nothing is retried from {shelf}")
    moved, left = 0, 0
    why: OSError | None = None
    for place in places:
        path = os.path.join(root, shelf, place).rstrip("/")
        for name in filter(is_object, names(path)):
            stage, bound_for, rank, entry = _origin(path, name, title(place))
            if destination not in (None, bound_for) or (known is not None and bound_for and bound_for not in known):
                continue
            try:
                moved += _bring_back(root, f"{path}/{name}", stage, bound_for, rank, entry)
            except OSError as error:
                left, why = left + 1, error
    if left:
        logger.warning("%d files stay in %s/, to be tried again later: %s", left, shelf, why)
    return moved


def _origin(path: str, name: str, destination: str) -> tuple[Stage, str, str, Entry]:
    """Where a shelved file came from, and the entry to go on with: every count starts anew, and so does its age."""
    claim = parse_claim(Path(name))
    if claim is not None:
        stage, destination, rank, entry = claim.stage, claim.destination, claim.rank, claim.entry
    else:
        stage, rank = Stage.PREPARED if destination else Stage.NEW, UNRANKED
        if destination:
            noted = _note(f"{path}/{name}.json").get("origin")
            if isinstance(noted, dict) and is_rank(str(noted.get("rank"))):
                rank = str(noted["rank"])
                stage = Stage(noted["stage"]) if noted.get("stage") in CLAIMED_FROM else Stage.PREPARED
        entry = parse(name.rpartition(SEPARATOR)[2]) or Entry(fresh_receipt(time.time()))
    entry = replace(entry, attempt=0, due_s=0, crashes=0, retried_s=math.ceil(time.time()))
    return stage, destination, rank, entry


def _bring_back(root: str, path: str, stage: Stage, destination: str, rank: str, entry: Entry) -> bool:
    if stage is Stage.NEW:
        moved = move(path, f"{root}/{stage}/{entry.bucket}", f"{entry.receipt}.dcm")
    else:
        moved = move(path, f"{root}/{stage}/{folder(destination)}/{rank}/{entry.bucket}", entry.name)
    _remove_note(f"{path}.json")
    return moved


def _note(path: str) -> dict[str, Any]:
    try:
        document = orjson.loads(Path(path).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}  # removed by hand, or lost with the power
    return document if isinstance(document, dict) else {}


def _remove_note(path: str) -> None:
    with contextlib.suppress(OSError):  # a note without a file is rubbish that the next start removes
        os.unlink(path)


def sweep(root: str) -> None:
    """Remove the notes whose files are gone, and those that a crash left unfinished (recovery)."""
    for shelf in ENDED:
        top = f"{root}/{shelf}"
        for place in (top, *(f"{top}/{name}" for name in names(top))):
            for name in names(place):
                orphan = name.endswith(".json") and not os.path.lexists(f"{place}/{name[: -len('.json')]}")
                if orphan or name.endswith(".making"):
                    _remove_note(f"{place}/{name}")
