"""The stages in which a trip ends, rejected/, failed/ and expired/: how a file gets there, and back again.

A file in rejected/<DEST>/ has the name of its entry. In failed/ and expired/ it has the name of its claim, or
`<receipt>.dcm` if it came from new/. Its note, `<file>.json` beside it, holds `reason`, `when` (UTC) and `origin`
(stage, destination, rank). The note is written first, so that no file is ever without one; a note without a file can
be removed.
"""

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from leyden.journal.events import Retried
from leyden.journal.lines import tell
from leyden.spool.entry import SEPARATOR, UNRANKED, Entry, Queued, folder, is_rank, parse, parse_claim, title
from leyden.spool.listing import is_object, names
from leyden.spool.moves import fresh_receipt, make_folder, move, write_whole
from leyden.spool.stage import CLAIMED_FROM, ENDED, Stage

logger = logging.getLogger("leyden.spool")

Renewed = Callable[[str, str], str]
"""The `edits` by which an object for a destination (AE title) is changed now; given are those in its entry's name."""


def put(source: str, place: str, name: str, origin: tuple[Stage, str, str], why: Mapping[str, Any]) -> None:
    """Move the file `source` to `place`/`name` in one of these stages, with its note.

    `place` is the path of a folder; `origin` is stage, destination and rank; `why` holds at least "reason".
    """
    note = {
        **why,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "origin": dict(zip(("stage", "destination", "rank"), origin, strict=True)),
    }
    make_folder(place)
    write_whole(f"{place}/{name}.json", orjson.dumps(note, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    if not move(source, place, name):
        os.unlink(f"{place}/{name}.json")


def forget(file: str) -> None:
    """Remove a file from one of these stages, then its note. OSError: it stays."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(file)
    _remove_note(f"{file}.json")


def retry(
    root: str, stage: Stage, destination: str | None, known: Collection[str] | None, renewed: Renewed | None
) -> int:
    """Bring back the objects in rejected/ or failed/, of one destination or of all; returns how many.

    Each goes to the stage that it came from, with its attempts and crashes forgotten. If `known` (AE titles) is given,
    an object bound for any other title stays, with its note. One that cannot be moved stays too, with a warning.
    `renewed`: how what is to be changed is changed now; None = as it was planned. ValueError: another stage.
    """
    if stage is Stage.REJECTED:
        places = names(f"{root}/{stage}")
    elif stage is Stage.FAILED:
        places = [""]
    else:
        raise ValueError(f"nothing is retried from {stage}")
    moved = 0
    left = 0
    why: OSError | None = None
    for place in places:
        path = os.path.join(root, stage, place).rstrip("/")
        for name in filter(is_object, names(path)):
            back = _origin(f"{path}/{name}", name, title(place))
            if destination not in (None, back.destination):
                continue
            if known is not None and back.destination and back.destination not in known:
                continue
            try:
                if renewed is not None and back.entry.edits:
                    edits = renewed(back.entry.edits, back.destination)
                    back = replace(back, entry=replace(back.entry, edits=edits))
                if _bring_back(root, back):
                    moved += 1
                    tell(Retried(back.entry.receipt, destination=back.destination, stage=back.stage))
            except OSError as error:
                left += 1
                why = error
    if left:
        logger.warning("%d files stay in %s/, to be tried again later: %s", left, stage, why)
    return moved


def _origin(path: str, name: str, destination: str) -> Queued:
    """The file, and where it came from. Its entry is ready for another try: its counts and its age start again."""
    came_from = parse_claim(Path(name)) or _noted_origin(path, name, destination)
    entry = replace(came_from.entry, attempt=0, due_s=0, crashes=0, retried_s=math.ceil(time.time()))
    return replace(came_from, file=path, entry=entry)


def _noted_origin(path: str, name: str, destination: str) -> Queued:
    """The same for a file whose name is not a claim's: its origin is in its note, else a stage is chosen that fits."""
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
    with contextlib.suppress(OSError):  # a note without a file does no harm, and the next start removes it
        os.unlink(path)


def sweep(root: str) -> None:
    """Remove the notes whose files are gone, and those that a crash left half written. For recovery only."""
    for stage in ENDED:
        top = f"{root}/{stage}"
        for place in (top, *(f"{top}/{name}" for name in names(top))):
            for name in names(place):
                orphan = name.endswith(".json") and not os.path.lexists(f"{place}/{name[: -len('.json')]}")
                if orphan or name.endswith(".making"):
                    _remove_note(f"{place}/{name}")
