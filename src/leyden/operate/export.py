"""Copies of objects from the queue, in a folder: names are receipt ids, and a manifest says what they are.

The manifest, `manifest.jsonl`, has a line for each file, without patient data. Nothing is written over a file that is
there. Everything is read only, so the service may run.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import orjson

from leyden.dicom.uids import syntax_name
from leyden.errors import Corrupt
from leyden.operate.select import Item, read_head
from leyden.operate.verbs import GONE, Done, Verb, What, do
from leyden.spool.entry import folder
from leyden.spool.stage import CLAIMED_FROM, ENDED, Stage

EXPORT = Verb("export", frozenset((Stage.NEW, *CLAIMED_FROM, Stage.DEFERRED, *ENDED)))
MANIFEST = "manifest.jsonl"


def export(root: Path, what: What, target: Path, *, who: str, through: str) -> Done:
    """Copy objects to the folder `target`, which is made (0700) if it is missing. The files get the mode 0600.

    FileExistsError: a manifest is there already. OSError: the folder can't be written to, or nothing can be read.
    """
    target.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(target / MANIFEST, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as manifest:

        def act(item: Item) -> str:
            if not item.receipt:
                return "it has no receipt id yet"
            name = f"{item.receipt}.{folder(item.destination)}.dcm" if item.destination else f"{item.receipt}.dcm"
            try:
                line = _copied(item, target / name)
            except FileExistsError:
                return f"{target} has a file of its name already"
            except FileNotFoundError:
                return GONE
            manifest.write(orjson.dumps(line | {"file": name}, option=orjson.OPT_APPEND_NEWLINE))
            return ""

        return do(root, what, EXPORT, act, who, through)


def _copied(item: Item, target: Path) -> dict[str, Any]:
    """Copy one file; returns its line of the manifest. A copy that can't be finished is removed. Raises OSError."""
    source = os.open(item.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(source, "rb") as file:
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as copy:
                shutil.copyfileobj(file, copy, 1 << 20)
                copy.flush()
                os.fdatasync(fd)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        line: dict[str, Any] = {
            "id": item.id,
            "receipt": item.receipt,
            "destination": item.destination,
            "stage": item.stage,
            "bytes": os.fstat(source).st_size,
        }
        try:
            meta = read_head(source)
        except Corrupt:
            return line
        return line | {
            "source": meta.sending,
            "sop_class_uid": meta.sop_class_uid,
            "sop_instance_uid": meta.sop_instance_uid,
            "syntax": syntax_name(meta.transfer_syntax_uid),
        }
