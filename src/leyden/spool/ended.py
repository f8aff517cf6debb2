"""The stages in which a trip has ended, rejected/, failed/ and expired/: into them with the reason, and back.

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

from leyden.spool.entry import SEPARATOR, UNRANKED, Entry, Queued, folder, is_rank, parse, parse_claim, title
from leyden.spool.listing import is_object, names
from leyden.spool.moves import fresh_receipt, make_folder, move, write_whole
from leyden.spool.stage import CLAIMED_FROM, ENDED, Stage

logger = logging.getLogger("leyden.spool")


def put(source: str, place: str, name: str, origin: tuple[Stage, str, str], why: Mapping[str, Any]) -> None:
    """Put a file into one of them, with its note."""
    note = {
        **why,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "origin": dict(zip(("stage", "destination", "rank"), origin, strict=True)),
    }
    make_folder(place)
    write_whole(f"{place}/{name}.json", orjson.dumps(note, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    if not move(source, place, name):
        os.unlink(f"{place}/{name}.json")


def retry(root: str, stage: Stage, destination: str | None, known: Collection[str] | None) -> int:
    """Spool.retry."""
    if stage is Stage.REJECTED:
        places = names(f"{root}/{stage}")
    elif stage is Stage.FAILED:
        places = [""]
    else:
        raise ValueError(f"nothing is retried from {stage}")
    moved, left = 0, 0
    why: OSError | None = None
    for place in places:
        path = os.path.join(root, stage, place).rstrip("/")
        for name in filter(is_object, names(path)):
            back = _origin(f"{path}/{name}", name, title(place))
            if destination not in (None, back.destination) or (known is not None and _stranger(back, known)):
                continue
            try:
                moved += _bring_back(root, back)
            except OSError as error:
                left, why = left + 1, error
    if left:
        logger.warning("%d files stay in %s/, to be tried again later: %s", left, stage, why)
    return moved


def _stranger(back: Queued, known: Collection[str]) -> bool:
    return bool(back.destination) and back.destination not in known


def _origin(path: str, name: str, destination: str) -> Queued:
    """A file, and the place where it came from, with an entry to go on with: its counts and its age start anew."""
    came_from = parse_claim(Path(name)) or _noted_origin(path, name, destination)
    entry = replace(came_from.entry, attempt=0, due_s=0, crashes=0, retried_s=math.ceil(time.time()))
    return replace(came_from, file=path, entry=entry)


def _noted_origin(path: str, name: str, destination: str) -> Queued:
    """The same of a file whose name is not a claim's: as its note says, else from where it can go on."""
    entry = parse(name.rpartition(SEPARATOR)[2]) or Entry(fresh_receipt(time.time()))
    noted = _note(f"{path}.json").get("origin")
    if destination and isinstance(noted, dict) and is_rank(str(noted.get("rank"))):
        stage = Stage(noted["stage"]) if noted.get("stage") in CLAIMED_FROM else Stage.PREPARED
        return Queued(path, entry, stage, destination, str(noted["rank"]))
    return Queued(path, entry, Stage.PREPARED if destination else Stage.NEW, destination, UNRANKED)


def _bring_back(root: str, back: Queued) -> bool:
    place = back.stage if back.stage is Stage.NEW else f"{back.stage}/{folder(back.destination)}/{back.rank}"
    name = f"{back.entry.receipt}.dcm" if back.stage is Stage.NEW else back.entry.name
    moved = move(back.file, f"{root}/{place}/{back.entry.bucket}", name)
    _remove_note(f"{back.file}.json")
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
    for stage in ENDED:
        top = f"{root}/{stage}"
        for place in (top, *(f"{top}/{name}" for name in names(top))):
            for name in names(place):
                orphan = name.endswith(".json") and not os.path.lexists(f"{place}/{name[: -len('.json')]}")
                if orphan or name.endswith(".making"):
                    _remove_note(f"{place}/{name}")
