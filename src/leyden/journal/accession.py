"""The accession number in the journal: a keyed hash, which can be asked for by who knows the number, but not read.

The key is 32 random bytes in state/journal.key, made once. Whoever has it can try all numbers: keep it like the spool.
"""

import contextlib
import os
from hashlib import blake2b
from pathlib import Path

_KEY_BYTES = 32
_DIGEST_BYTES = 8


def key_path(root: Path) -> Path:
    return root / "state" / "journal.key"


def key(root: Path) -> bytes:
    """The key of this spool. OSError: it is not there, or cannot be read."""
    found = key_path(root).read_bytes()
    if len(found) != _KEY_BYTES:
        raise OSError(0, "is not a key")
    return found


def make_key(root: Path) -> bytes:
    """The key of this spool; made if there is none, or only a part of one. OSError."""
    path = key_path(root)
    with contextlib.suppress(OSError):
        return key(root)
    making = path.with_name(f"{path.name}.making")
    fd = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(os.urandom(_KEY_BYTES))
        file.flush()
        os.fsync(fd)
    os.rename(making, path)
    return key(root)


def keyed(accession: str, key: bytes) -> str:
    """What the journal holds of an accession number: 16 hex digits; "" of none, and without a key."""
    accession = accession.strip()
    if not (accession and key):
        return ""
    return blake2b(accession.encode("utf-8", "surrogateescape"), key=key, digest_size=_DIGEST_BYTES).hexdigest()
