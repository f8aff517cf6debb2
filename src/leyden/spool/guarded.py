"""The spool belongs to the user of the service, and nobody else may come in: it holds patients' images.

Everything in it is made with mode 0600 and 0700 anyway. What is checked here, before the service touches anything, is
the folder on top of it, which somebody else may have made. The rights of its group count too: where there is an access
control list, those bits are the most that it gives (acl(5)).
"""

import os
import pwd
import stat
from collections.abc import Mapping
from pathlib import Path

from leyden.errors import Unsafe

_OTHERS_WRITE = stat.S_IWOTH


def check_owner(spool: Path) -> None:
    """Raise Unsafe if the folder is another user's. One that is missing is made later. Reads only. OSError."""
    status, me = _status(spool), os.geteuid()
    if status is not None and status.st_uid != me:
        raise Unsafe(
            f"the spool {spool} belongs to {user_name(status.st_uid)}, but the service runs as {user_name(me)}. Run it "
            f"as that user, or give it the spool: chown -R {me}:{os.getegid()} {spool}; where that is a volume, let "
            "cachePath name a folder in it, which Leyden makes"
        )


def check_rights(spool: Path, configuration: Path, log: Path) -> None:
    """Raise Unsafe if anyone but its owner has rights to the spool, or everyone may write into one of the others. What
    is missing is made later, with mode 0700. Reads only. OSError.
    """
    for folder, what in ((configuration, "the configuration, which says where images go"), (log, "the log")):
        status = _status(folder)
        if status is not None and status.st_mode & _OTHERS_WRITE:
            raise Unsafe(f"everyone may write into {folder}, {what}. Remedy: chmod o-w {folder}")
    status = _status(spool)
    if status is not None and status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise Unsafe(
            f"others than its owner may come into the spool {spool} (mode {mode:04o}), which "
            f"holds patients' images; nothing in it was touched. Remedy: chmod 700 {spool} (mount.cifs: dir_mode=0700)"
        )


def check_secrets(spool: Path, files: Mapping[str, str]) -> None:
    """Raise Unsafe if one of the files, each of which its owner alone may read, is not the user's whose spool it is.

    `files`: the key of the configuration that names each -> its path. Nothing is said of one that can't be looked at,
    nor while there is no spool. Reads only. OSError.
    """
    status = _status(spool)
    if status is None:
        return
    for key, path in files.items():
        try:
            owner = os.stat(path).st_uid
        except OSError:
            continue
        if owner != status.st_uid:
            raise Unsafe(
                f"{key}: {path} belongs to {user_name(owner)}, so that the service, which runs as "
                f"{user_name(status.st_uid)}, whose spool it is, can't read it. Remedy: chown {status.st_uid} {path}"
            )


def _status(folder: Path) -> os.stat_result | None:
    """None: it is missing, or no folder at all; what needs it says so."""
    try:
        status = folder.stat()
    except FileNotFoundError:
        return None
    return status if stat.S_ISDIR(status.st_mode) else None


def user_name(uid: int) -> str:
    """Its name; `user 999` where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # in a container, for instance
        return f"user {uid}"
