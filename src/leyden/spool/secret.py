"""The secret keys of a spool, in state/: 32 random bytes each, made once and never replaced (mode 0600).

- pseudonym.key: who has it can try out which pseudonym or UID stands for which. Without it, new UIDs and pseudonyms no
  longer fit those that went out before, so it belongs into a backup.
- journal.key: who has it can try out which accession number stands in the journal.
- audit.key: who has it can write an audit log that looks as good as ours. audit.keyFile puts it elsewhere.
"""

import errno
import os
from pathlib import Path

from leyden.spool.moves import make_folder, sync_folder, write_whole

KEY_BYTES = 32


def pseudonym_key(root: Path) -> Path:
    return root / "state" / "pseudonym.key"


def journal_key(root: Path) -> Path:
    return root / "state" / "journal.key"


def audit_key(root: Path) -> Path:
    return root / "state" / "audit.key"


def read_secret(path: Path) -> bytes:
    """A key. FileNotFoundError: none was made yet. OSError: it can't be read, or it is none."""
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise OSError(errno.EINVAL, f"{path} is no key of {KEY_BYTES} bytes")
    return key


def make_secret(path: Path) -> bytes:
    """A key, which is made and durable if there is none. Only one process makes each: the watcher that of the audit.

    OSError.
    """
    try:
        return read_secret(path)
    except FileNotFoundError:
        make_folder(os.fspath(path.parent))
        write_whole(os.fspath(path), os.urandom(KEY_BYTES), sync=True)
        sync_folder(path.parent)
        return read_secret(path)
