"""How a name moves from one folder of the spool to another: the only code that renames and links.

A file that is gone when we come for it is no error: somebody was faster, or moved it by hand. A folder that is gone is
made again: whoever lists a stage removes its old, empty buckets. rename(2) replaces silently, and does nothing at all
where both names are links of one inode (tried); link(2) says that a name is taken.
"""

import logging
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from leyden import log
from leyden.journal.events import ByHand
from leyden.journal.lines import tell
from leyden.spool.entry import BY_HAND, Entry, ReceiptClock, parse
from leyden.spool.listing import is_object, names
from leyden.spool.stage import Stage

logger = logging.getLogger("leyden.spool")

SETTLE_S = 2.0
_receipts = ReceiptClock(BY_HAND, int.from_bytes(os.urandom(2), "big"))


def sync_folder(path: str | Path) -> None:
    """Force a folder's entries to the disk.

    Of one that is gone, the nearest folder above it: its removal changed that one after the last entry had moved on,
    so that forcing it forces the move, too.
    """
    place = os.fspath(path)
    while True:
        try:
            fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            break
        except FileNotFoundError:
            place = os.path.dirname(place) or "."
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(path: str, tries: int = 20) -> None:
    """Make a folder and whatever is missing above it, every level 0700 (os.makedirs does so for the last one only).

    OSError: what the disk says, or that a file bears the name.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    except FileNotFoundError:
        above = os.path.dirname(path)
        if above in ("", path):
            raise
        make_folder(above)
        if not tries:  # what is above is there, and it says no all the same: /proc, for one
            raise
        make_folder(path, tries - 1)  # again: a lister may have removed an empty bucket meanwhile


def write_whole(path: str, content: bytes, *, sync: bool = False) -> None:
    """A small file (0600) that whoever looks sees whole or not at all; in the place of what bore the name. OSError."""
    making = f"{path}.making"
    fd = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        if sync:
            os.fdatasync(fd)
    os.rename(making, path)


def into(act: Callable[[str, str], None], source: str, place: str, name: str) -> bool:
    """Do `act(source, place/name)`, making the folder if it is not (or no longer) there; True if it was made.

    FileNotFoundError: the source is gone.
    """
    made = False
    while True:
        try:
            act(source, f"{place}/{name}")
        except FileNotFoundError:
            if not os.path.lexists(source):
                raise
            make_folder(place)
            made = True
        else:
            return made


def move(source: str, place: str, name: str) -> bool:
    """One change of state; False if the source is gone."""
    try:
        into(_rename, source, place, name)
    except FileNotFoundError:
        return False
    return True


def link(source: str, place: str, name: str) -> bool:
    """One more name for the same bytes (that it is there already is as good); True if the folder was made.

    FileNotFoundError: the source is gone.
    """
    return into(_link, source, place, name)


def _rename(source: str, target: str) -> None:
    os.rename(source, target)
    if os.path.lexists(source):
        os.unlink(source)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        logger.info("%s was there already", os.path.basename(target))


def adopt(root: str, queue: str, folder: str, name: str) -> None:
    """Give a file that somebody put into `folder` the name and the place that it would have: <root>/<queue>/<bucket>/.

    Not before SETTLE_S have passed since its last change: it may still be written.
    """
    path = f"{folder}/{name}"
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not is_object(name):
        return
    if not stat.S_ISREG(status.st_mode):
        log.once(logger, logging.WARNING, folder, f"something in {folder} is no file: put in the files themselves")
        return
    now_s = time.time()
    if 0 <= now_s - status.st_ctime < SETTLE_S:
        return
    entry = parse(name) or Entry(fresh_receipt(now_s))
    if queue == Stage.NEW:
        entry = Entry(entry.receipt)
    try:
        move(path, f"{root}/{queue}/{entry.bucket}", entry.name)
    except OSError as error:
        log.once(logger, logging.WARNING, folder, f"a file in {folder} cannot be taken on: {error.strerror}")
    else:
        tell(ByHand(entry.receipt, what=f"was put into {queue}"))


def folders_of(root: str, queue: str, folder: str, ours: Callable[[str], bool]) -> list[str]:
    """The names in `folder` that are `ours`, sorted; what else lies there is adopted into <root>/<queue>/."""
    found = names(folder)
    if all(map(ours, found)):
        return found
    for name in found:
        if not ours(name):
            adopt(root, queue, folder, name)
    return list(filter(ours, names(folder)))


def fresh_receipt(now_s: float) -> str:
    """A receipt for a file that came by hand (receiver number BY_HAND)."""
    return _receipts.next(int(now_s * 1e6))
