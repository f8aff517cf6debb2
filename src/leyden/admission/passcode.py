"""Passcodes of users, as scrypt hashes (RFC 7914), written as `$scrypt$14$8$1$salt$hash`: log2 n, r, p.

A check takes some 50 ms and 16 MiB, so it has to run in a thread. It takes as long for a name that is not there.
"""

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping

SALT_BYTES = 16
PASSCODE_MAX_BYTES = 1024
_HASH_BYTES = 32
_LOG_N, _R, _P = 14, 8, 1  # OWASP's least for scrypt with p = 8 is ln 14 too; we check a few an hour, not a web site
_FORM = re.compile(r"\$scrypt\$(\d{2})\$(\d{1,2})\$(\d{1,2})\$([A-Za-z0-9+/]{22})\$([A-Za-z0-9+/]{43})")
_WORK_MAX = 1 << 21  # n x r x p of a hash that is taken: 16 times ours, at most 256 MiB


def hashed(passcode: bytes, salt: bytes) -> str:
    """What callers.yml says of a passcode; `salt`: SALT_BYTES random bytes. ValueError: it is empty or too long."""
    if not 0 < len(passcode) <= PASSCODE_MAX_BYTES:
        raise ValueError(f"a passcode has 1 to {PASSCODE_MAX_BYTES} bytes")
    found = _scrypt(passcode, salt, 1 << _LOG_N, _R, _P)
    return f"$scrypt${_LOG_N}${_R}${_P}${_text(salt)}${_text(found)}"


def is_hash(text: str) -> bool:
    """Whether this is what hashed() gives, perhaps with more work in it."""
    found = _FORM.fullmatch(text)
    return found is not None and 10 <= int(found[1]) <= 20 and 0 < _work(found) <= _WORK_MAX


def is_right(users: Mapping[str, str], name: str, passcode: bytes) -> bool:
    """Whether this is the passcode of the user of that name."""
    known = users.get(name)
    found = _FORM.fullmatch(known or _NOBODY)
    if found is None or not 0 < len(passcode) <= PASSCODE_MAX_BYTES:
        return False
    salt = b64decode(found[4] + "==")
    right = _scrypt(passcode, salt, 1 << int(found[1]), int(found[2]), int(found[3]))
    return hmac.compare_digest(right, b64decode(found[5] + "=")) and known is not None


def _work(found: "re.Match[str]") -> int:
    return (1 << int(found[1])) * int(found[2]) * int(found[3])


def _scrypt(passcode: bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(passcode, salt=salt, n=n, r=r, p=p, maxmem=129 * r * (n + p + 2), dklen=_HASH_BYTES)


def _text(data: bytes) -> str:
    return b64encode(data).decode().rstrip("=")


_NOBODY = f"$scrypt${_LOG_N}${_R}${_P}${'A' * 22}${'A' * 43}"
