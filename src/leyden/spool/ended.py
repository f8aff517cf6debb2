"""The stages in which a trip ends, rejected/, failed/ and expired/: how a file gets there, and back again.

A file in rejected/<DEST>/ has the name of its entry. In failed/ and expired/ it has the name of its claim, or
`<receipt>.dcm` if it came from new/. What an operator has put into rejected/ has the name of its claim, too, so that
nobody else writes a note of that name meanwhile. The note, `<file>.json` beside it, holds `reason`, `when` (UTC),
`origin` (stage, destination, rank), and `by` if it was an operator. It is written first, so that no file is ever
without one; a note without a file can be removed.
"""

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import orjson
from msgspec.structs import replace

from leyden import crash
from leyden.journal.events import Retried
from leyden.journal.lines import tell
from leyden.spool.entry import SEPARATOR, UNRANKED, Entry, Queued, folder, is_rank, parse, parse_claim, title
from leyden.spool.listing import is_object, names
from leyden.spool.moves import fresh_receipt, make_folder, move, write_whole
from leyden.spool.stage import CLAIMED_FROM, ENDED, Stage

logger = logging.getLogger("leyden.spool")

Renewed = Callable[[str, str], str]
"""The `edits` by which an object for a destination (AE title) is changed now; given are those in its entry's name."""


def put(source: str, place: str, name: str, origin: tuple[Stage, str, str], why: Mapping[str, Any]) -> bool:
    """Move the file `source` to `place`/`name` in one of these stages, with its note. False if the source is gone.

    `place` is the path of a folder; `origin` is stage, destination and rank; `why` holds at least "reason".
    """
    note = {
        **why,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "origin": dict(zip(("stage", "destination", "rank"), origin, strict=True)),
    }
    make_folder(place)
    write_whole(f"{place}/{name}.json", orjson.dumps(note, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    crash.point("note-written")
    if move(source, place, name):
        return True
    if not os.path.lexists(f"{place}/{name}"):  # if it is there, another one was faster, and this is its note
        _remove_note(f"{place}/{name}.json")
    return False


def forget(file: str) -> None:
    """Remove a file from one of these stages, then its note. OSError: it stays."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(file)
    _remove_note(f"{file}.json")


def retry(
    root: str,
    stage: Stage,
    destination: str | None,
    known: Collection[str] | None,
    renewed: Renewed | None,
    at_start: bool = False,
) -> int:
    """Bring back the objects in rejected/ or failed/, of one destination or of all; returns how many.

    If `known` (AE titles) is given, an object bound for any other title stays, with its note. One that cannot be moved
    stays too, with a warning. `renewed`: how what is to be changed is changed now; None = as it was planned.
    `at_start`: what an operator has put there stays as well. ValueError: another stage.
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
            back = origin(f"{path}/{name}", title(place))
            if destination not in (None, back.destination):
                continue
            if known is not None and back.destination and back.destination not in known:
                continue
            if at_start and "by" in note(back.file):
                continue
            try:
                moved += bring_back(root, back, renewed)
            except OSError as error:
                left += 1
                why = error
    if left:
        logger.warning("%d files stay in %s/, to be tried again later: %s", left, stage, why)
    return moved


def origin(file: str, destination: str) -> Queued:
    """A file in one of these stages, and where it came from. `destination`: whose folder it is in, "" = nobody's.

    Its entry is ready for another try: its counts and its age start again.
    """
    came_from = parse_claim(file) or _noted_origin(file, destination)
    entry = replace(came_from.entry, attempt=0, due_s=0, crashes=0, retried_s=math.ceil(time.time()))
    return replace(came_from, file=file, entry=entry)


def bring_back(root: str, back: Queued, renewed: Renewed | None = None) -> bool:
    """Move a file to the stage that it came from (see origin()), and tell it. False if it is gone. OSError.

    `renewed`: as for retry().
    """
    if renewed is not None and back.entry.edits:
        edits = renewed(back.entry.edits, back.destination)
        back = replace(back, entry=replace(back.entry, edits=edits))
    place = back.stage if back.stage is Stage.NEW else f"{back.stage}/{folder(back.destination)}/{back.rank}"
    name = f"{back.entry.receipt}.dcm" if back.stage is Stage.NEW else back.entry.name
    moved = move(back.file, f"{root}/{place}/{back.entry.bucket}", name)
    crash.point("brought-back")
    _remove_note(f"{back.file}.json")
    if moved:
        tell(Retried(back.entry.receipt, destination=back.destination, stage=back.stage))
    return moved


def _noted_origin(file: str, destination: str) -> Queued:
    """The same for a file whose name is not a claim's: its origin is in its note, else a stage is chosen that fits."""
    entry = parse(os.path.basename(file).rpartition(SEPARATOR)[2]) or Entry(fresh_receipt(time.time()))
    noted = note(file).get("origin")
    if destination and isinstance(noted, dict) and is_rank(str(noted.get("rank"))):
        stage = Stage(noted["stage"]) if noted.get("stage") in CLAIMED_FROM else Stage.PREPARED
        return Queued(file, entry, stage, destination, str(noted["rank"]))
    return Queued(file, entry, Stage.PREPARED if destination else Stage.NEW, destination, UNRANKED)


def note(file: str) -> dict[str, Any]:
    """What the note of a file says; {} if it was removed by hand, or lost with the power."""
    try:
        document = orjson.loads(Path(f"{file}.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
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
