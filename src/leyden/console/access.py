"""Who calls, and what they may do: tokens, the service password, and the sessions of browsers.

Secrets are compared as hashes, in constant time. What people choose (api.token, the service password) can be guessed:
an address that guesses wrong too often is not heard for a while. A token of 256 random bits can't, and is always heard,
so that nobody can lock out its holder.
"""

import logging
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from hmac import compare_digest
from pathlib import Path

import msgspec

from leyden import log
from leyden.admission.bucket import Buckets
from leyden.admission.callers import Why
from leyden.admission.flood import Flood
from leyden.config.settings import ConsoleSettings
from leyden.console.call import Needs, Refused
from leyden.journal.events import TurnedAway
from leyden.journal.lines import tell
from leyden.operate.tokens import Token, Tokens, hashed

logger = logging.getLogger("leyden.console")

SESSION_S = 8 * 3600.0  # from the sign-in; a shift
IDLE_S = 3600.0
SESSIONS_MAX = 256  # one more, and the oldest ends
GUESSES, GUESS_S = 10, 6.0  # wrong ones in a row, and how long until there is one more
COOKIE = "capacitor_session"
SECRET_MAX_CHARS = 1024
_LEVELS = {"read": Needs.READ, "operate": Needs.OPERATE}


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody known. `name`: of the token, `config.yml` or `service password`. `secret`: the hash of what it is known
    by, and is known no longer than that counts. `by_cookie`: a browser sent it.
    """

    name: str
    level: Needs
    secret: str = field(repr=False)
    by_cookie: bool = False


class _Session(msgspec.Struct):
    caller: Caller
    begun_s: float
    seen_s: float


class Access:
    """What the console knows of its callers. One event loop."""

    def __init__(self, settings: ConsoleSettings, root: Path) -> None:
        self._settings = settings
        self._tokens = Tokens(root)
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._guesses = Buckets(GUESSES, 1 / GUESS_S, time.monotonic)
        self._flood = Flood()

    def go_by(self, settings: ConsoleSettings) -> None:
        self._settings = settings

    def caller(self, authorization: str, cookie: str, address: str) -> Caller | None:
        """Who sent these headers; None = nobody that is known. Refused (429): the address has guessed too often."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer" and (found := self._holder(token.strip(), address)) is not None:
            return found
        return self._of_session(cookie) if cookie else None

    def again(self, caller: Caller | None, cookie: str) -> Caller | None:
        """The same caller, as long as it is known. One whose session or token has ended meanwhile is not."""
        if caller is not None and caller.by_cookie:
            return self._of_session(cookie)
        return caller if caller is not None and self._counts(caller.secret) else None

    def check(self, caller: Caller | None, needs: Needs) -> None:
        """Refused (403): the caller may not do that."""
        if needs is Needs.NOTHING or (needs is Needs.NO_PATIENT_DATA and not self._settings.require_token):
            return
        wanted = max(needs, Needs.READ)
        if caller is None:
            how = "`leyden token new` makes a token" if not self.has_secrets else "send a token that is valid"
            raise Refused(403, "forbidden", f"this needs a token or a session; {how}")
        if caller.level < wanted:
            raise Refused(403, "forbidden", f"{caller.name} may only read")

    @property
    def has_secrets(self) -> bool:
        """Whether anybody can be known at all."""
        return bool(self._settings.token or self._settings.service_password or self._current())

    def sign_in(self, secret: str, address: str) -> tuple[str, Caller]:
        """Begin a session by the service password or a token; gives the cookie's value. Refused (403, 429)."""
        found = self._holder(secret, address, password=True)
        if found is None:
            self.turned_away(address)
            raise Refused(403, "forbidden", "neither the service password nor a valid token")
        session, now_s = secrets.token_urlsafe(32), time.monotonic()
        while len(self._sessions) >= SESSIONS_MAX:
            self._sessions.popitem(last=False)
        caller = replace(found, by_cookie=True)
        self._sessions[hashed(session)] = _Session(caller, now_s, now_s)
        return session, caller

    def sign_out(self, cookie: str) -> None:
        self._sessions.pop(hashed(cookie), None)

    def _holder(self, secret: str, address: str, *, password: bool = False) -> Caller | None:
        if not secret or len(secret) > SECRET_MAX_CHARS:
            return None
        given = hashed(secret)
        if (holder := self._known(given)) is not None:
            return holder
        chosen = [("config.yml", self._settings.token)]
        chosen += [("service password", self._settings.service_password)] if password else []
        chosen = [(name, kept) for name, kept in chosen if kept]
        if not chosen:
            return None
        if (wait_s := self._guesses.wait_s(address)) > 0:
            self.turned_away(address)
            raise Refused(
                429, "slow_down", "too many wrong tokens or passwords from this address", wait_s=int(wait_s) + 1
            )
        for name, kept in chosen:
            if compare_digest(kept, given):
                return Caller(name, Needs.OPERATE, given)
        self._guesses.take(address)
        return None

    def turned_away(self, address: str) -> None:
        """Tell that a request with a wrong secret was refused; if that has just happened, within a minute."""
        detail = "the console: no valid token or password"
        event = TurnedAway("", calling="", called="", peer=address, why=Why.SECRET, detail=detail)
        if self._flood.happened(event, "", time.monotonic()):
            tell(event)

    def tell_due(self, *, all_of_it: bool = False) -> None:
        """Tell the journal who was turned away again within a minute. `all_of_it`: before it is over, too."""
        for event in self._flood.due(time.monotonic(), all_of_it=all_of_it):
            tell(event)

    def _known(self, given: str) -> Caller | None:
        """The holder of a token of ours."""
        for token in self._current():
            if compare_digest(token.sha256, given):
                return Caller(token.name, _LEVELS.get(token.role, Needs.READ), given)
        return None

    def _counts(self, secret: str) -> bool:
        """Whether what has this hash is still worth something."""
        return secret in (self._settings.token, self._settings.service_password) or self._known(secret) is not None

    def _current(self) -> list[Token]:
        try:
            return self._tokens.current()
        except OSError as error:
            log.once(logger, logging.ERROR, "tokens", f"the tokens can't be read, so none is valid: {error}")
            return []

    def _of_session(self, cookie: str) -> Caller | None:
        name, now_s = hashed(cookie), time.monotonic()
        session = self._sessions.get(name)
        if session is None:
            return None
        late = now_s - session.begun_s > SESSION_S or now_s - session.seen_s > IDLE_S
        if late or not self._counts(session.caller.secret):
            del self._sessions[name]
            return None
        session.seen_s = now_s
        return session.caller
