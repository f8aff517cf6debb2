"""The tokens of the console, in state/service.tokens.json: made, listed and revoked by an operator.

A token is 256 random bits, and only its SHA-256 is kept: nobody can try out so many, so that a slow hash would protect
nothing more, and would be paid at every request. The console reads the file again when it has changed.
"""

import hashlib
import os
import secrets
import time
from pathlib import Path

import msgspec

from leyden.documents import decoded
from leyden.errors import LeydenError
from leyden.journal.events import Operated
from leyden.journal.lines import tell
from leyden.spool.lock import alone_in
from leyden.spool.moves import write_whole

ROLES = ("read", "operate")
NAME_MAX_CHARS = 64
TOKENS_MAX = 1000
_NAME = "state/service.tokens.json"
_BEGIN = "leyden_"  # so that a scanner for secrets, and a person, know what it is


class Token(msgspec.Struct, frozen=True):
    """What is kept of a token. `name`: who holds it, for the journal. `sha256`: in hex. `made_s`: since 1970."""

    name: str
    role: str
    sha256: str
    made_s: float


class WrongName(LeydenError):
    """There is no token of that name, or there is one already."""


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def new(root: Path, name: str, role: str, *, who: str) -> str:
    """Make a token for somebody, and return it; it can't be had again. Told to the journal. WrongName, OSError."""
    if not 0 < len(name.strip()) <= NAME_MAX_CHARS or not name.isprintable():
        raise WrongName(f"{name!r} is no name: it has 1 to {NAME_MAX_CHARS} printable characters")
    token = _BEGIN + secrets.token_urlsafe(32)
    with alone_in(root / "state"):
        found = listed(root)
        if any(each.name == name for each in found):
            raise WrongName(f"{name} has a token already; revoke it first, or choose another name")
        if len(found) >= TOKENS_MAX:
            raise WrongName(f"there are {TOKENS_MAX} tokens; revoke some of them first")
        _write(root, [*found, Token(name, role, hashed(token), round(time.time(), 3))])
    tell(Operated("", who=who, through="command line", did="token new", detail=f"{name}, {role}"))
    return token


def listed(root: Path) -> list[Token]:
    """All tokens, the oldest first. OSError: the file can't be read, or holds something else."""
    try:
        return decoded((root / _NAME).read_bytes(), list[Token])
    except FileNotFoundError:
        return []
    except msgspec.DecodeError as error:
        raise OSError(f"{root / _NAME} holds no tokens: {error}") from error


def revoke(root: Path, name: str, *, who: str) -> None:
    """From now on the token of that name is worth nothing. Told to the journal. Raises WrongName, OSError."""
    with alone_in(root / "state"):
        found = listed(root)
        left = [each for each in found if each.name != name]
        if len(left) == len(found):
            names = f"there are: {', '.join(each.name for each in found)}" if found else "there is none"
            raise WrongName(f"no token has the name {name}; {names}")
        _write(root, left)
    tell(Operated("", who=who, through="command line", did="token revoke", detail=name))


class Tokens:
    """The tokens as the console sees them: read again when the file is another one."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._stamp: tuple[int, int, int] = (0, 0, 0)
        self._tokens: list[Token] = []

    def current(self) -> list[Token]:
        """All tokens. OSError: the file can't be read."""
        try:
            status = os.stat(self._root / _NAME)
        except FileNotFoundError:
            self._stamp, self._tokens = (0, 0, 0), []
            return []
        stamp = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        if stamp != self._stamp:
            self._tokens = listed(self._root)
            self._stamp = stamp
        return self._tokens


def _write(root: Path, tokens: list[Token]) -> None:
    write_whole(os.fspath(root / _NAME), msgspec.json.encode(tokens), sync=True)
