"""The secret key of a spool, state/pseudonym.key: 32 random bytes, made once and never replaced (mode 0600).

Who has it can try out which pseudonym or UID stands for which, so it has to be kept like the spool. Without it, new
UIDs and pseudonyms no longer fit those that went out before, so it belongs into a backup.
"""

import errno
import os
from pathlib import Path

from leyden.spool.moves import make_folder, sync_folder, write_whole

KEY_BYTES = 32


def secret_path(root: Path) -> Path:
    return root / "state" / "pseudonym.key"


def read_secret(root: Path) -> bytes:
    """The key. FileNotFoundError: none was made yet. OSError: it can't be read, or it is none."""
    key = secret_path(root).read_bytes()
    if len(key) != KEY_BYTES:
        raise OSError(errno.EINVAL, f"{secret_path(root)} is no key of {KEY_BYTES} bytes")
    return key


def make_secret(root: Path) -> bytes:
    """The key, which is made and durable if there is none. For the planner, the only one that makes it. OSError."""
    try:
        return read_secret(root)
    except FileNotFoundError:
        path = secret_path(root)
        make_folder(os.fspath(path.parent))
        write_whole(os.fspath(path), os.urandom(KEY_BYTES), sync=True)
        sync_folder(path.parent)
        return read_secret(root)
