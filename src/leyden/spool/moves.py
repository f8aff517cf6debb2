"""How a name moves from one folder of the spool to another: the only code that renames and links.

A file that is gone is no error: another process has taken it, or somebody has moved it by hand. A folder that is gone
is made again, for a process that lists a stage removes its old, empty buckets. rename(2) replaces a file silently, and
does nothing at all if both names are links to one inode (tried); link(2) fails if the name is taken.
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

    If the folder is gone, that is done for the nearest folder above it that exists. The removal came after the last
    entry had moved on and changed the folder above, so syncing that one makes the move durable as well.
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


def sync_disk(path: str | Path) -> None:
    """Force all that was written to the file system of a folder to the disk, by syncfs(2). OSError."""
    import ctypes  # here: os has no syncfs, and no role needs it

    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if libc.syncfs(fd):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
    finally:
        os.close(fd)


def make_folder(path: str, tries: int = 20) -> None:
    """Make a folder and the missing ones above it, all with mode 0700 (os.makedirs sets it for the last one only).

    OSError: the disk refuses, or a file has that name.
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
        if not tries:  # the folder above exists, and it still fails: in /proc, for example
            raise
        make_folder(path, tries - 1)  # again: a process that lists may have removed the empty folder above meanwhile


def write_whole(path: str, content: bytes, *, sync: bool = False) -> None:
    """Write a small file (mode 0600) so that readers see all of it or nothing. Replaces an older one. OSError."""
    making = f"{path}.making"
    fd = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        if sync:
            os.fdatasync(fd)
    os.rename(making, path)


def into(act: Callable[[str, str], None], source: str, place: str, name: str) -> bool:
    """Do `act(source, place/name)`, and make the folder `place` if it is missing; True if it was made.

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
    """Rename a file: one change of state. False if the source is gone."""
    try:
        into(rename, source, place, name)
    except FileNotFoundError:
        return False
    return True


def link(source: str, place: str, name: str) -> bool:
    """Give a file a second name; if that name exists already, all is well. True if the folder was made.

    FileNotFoundError: the source is gone.
    """
    return into(_link, source, place, name)


def rename(source: str, target: str) -> None:
    """For into(): rename(2), also where both are names of one inode."""
    os.rename(source, target)
    if os.path.lexists(source):
        os.unlink(source)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        logger.info("%s was there already", os.path.basename(target))


def adopt(root: str, queue: str, folder: str, name: str) -> None:
    """Take a file that was put into `folder` by hand into a queue: give it an entry's name in <root>/<queue>/<bucket>/.

    Not before SETTLE_S have passed since its last change, for it may still be written.
    """
    path = f"{folder}/{name}"
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not is_object(name):
        return
    if not stat.S_ISREG(status.st_mode):
        log.once(logger, logging.WARNING, folder, f"something in {folder} is not a file: put in the files themselves")
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
        log.once(
            logger, logging.WARNING, folder, f"a file in {folder} cannot be moved into the queue: {error.strerror}"
        )
    else:
        tell(ByHand(entry.receipt, what=f"was put into {queue}"))


def folders_of(root: str, queue: str, folder: str, belongs: Callable[[str], bool]) -> list[str]:
    """The names in `folder` that belong there, sorted; any other file is adopted into <root>/<queue>/."""
    found = names(folder)
    if all(map(belongs, found)):
        return found
    for name in found:
        if not belongs(name):
            adopt(root, queue, folder, name)
    return list(filter(belongs, names(folder)))


def fresh_receipt(now_s: float) -> str:
    """A receipt id for a file that was put into the spool by hand (receiver number BY_HAND)."""
    return _receipts.next(int(now_s * 1e6))
