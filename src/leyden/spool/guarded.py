"""The spool belongs to the user of the service, and nobody else may come in: it holds patients' images.

Everything in it is made with mode 0600 and 0700 anyway. What is checked here, before the service touches anything, is
the folder on top of it, which somebody else may have made. The rights of its group count too: where there is an access
control list, those bits are the most that it gives (acl(5)).
"""

import os
import pwd
import stat
from pathlib import Path

from leyden.errors import Unsafe

_OTHERS_WRITE = stat.S_IWOTH


def check_spool(root: Path) -> None:
    """Raise Unsafe if the folder is another user's, or if anyone else has rights to it. One that is missing is made
    later, with mode 0700. Reads only. OSError."""
    try:
        status = root.stat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode):
        return  # what needs it says so
    me, mode = os.geteuid(), stat.S_IMODE(status.st_mode)
    if status.st_uid != me:
        raise Unsafe(
            f"the spool {root} belongs to {user_name(status.st_uid)}, but the service runs as {user_name(me)}. Run it "
            f"as that user, or give it the spool: chown -R {me}:{os.getegid()} {root}; where that is a volume, let "
            "cachePath name a folder in it, which Leyden makes"
        )
    if mode & 0o077:
        raise Unsafe(
            f"others than its owner may come into the spool {root} (mode {mode:04o}), which "
            f"holds patients' images; nothing in it was touched. Remedy: chmod 700 {root} (mount.cifs: dir_mode=0700)"
        )


def check_folder(folder: Path, what: str) -> None:
    """Raise Unsafe if everyone may write into it: the log, or the files that say where images go. OSError."""
    try:
        mode = folder.stat().st_mode
    except FileNotFoundError:
        return
    if mode & _OTHERS_WRITE:
        raise Unsafe(f"everyone may write into {folder}, {what}. Remedy: chmod o-w {folder}")


def user_name(uid: int) -> str:
    """Its name; `user 999` where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # in a container, for instance
        return f"user {uid}"
