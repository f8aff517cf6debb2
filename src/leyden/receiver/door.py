"""The door of one receiver: who may come in, who is inside, and who was turned away.

How that is decided stands in admission/. A user identity is checked in one of two threads, because a passcode takes
some 50 ms; meanwhile its association waits for the answer, and no other one does.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from leyden.admission import passcode, token
from leyden.admission.bucket import Buckets, counted
from leyden.admission.callers import IDENTITY_REFUSED, Caller, Callers, Refused, Visitor, Why, room
from leyden.admission.flood import Flood
from leyden.deliver.throttle import Throttle
from leyden.dicom.negotiate import CONGESTED, JWT, UserIdentity
from leyden.journal.events import TurnedAway
from leyden.journal.lines import tell

logger = logging.getLogger("leyden.receiver")

CHECKS_AT_ONCE = 2  # 16 MiB each
CHECKS_MAX = 32  # with those that wait, for a second or so
CHECKS_OF_ONE_ADDRESS = 24  # so that one leaves room for the others
GUESSES, GUESS_S = 20, 3.0  # wrong passcodes of an address at once, and how long until there is one more
HERE = "127.0.0.1"
_BYTES_PER_KB = 1000

Who = tuple[str, str]
"""A caller: a title, and the address that it calls from."""


class _Inside:
    """A caller as long as it has associations."""

    __slots__ = ("associations", "line")

    def __init__(self) -> None:
        self.associations = 0
        self.line: Throttle | None = None


class Door:
    """What one receiver knows of its callers."""

    def __init__(self) -> None:
        self._callers = Callers(())
        self._most = 0
        self._quiet: Collection[str] = ()
        self._inside: dict[Who, _Inside] = {}
        self._at_address: Counter[str] = Counter()
        self._flood = Flood()
        self._threads: ThreadPoolExecutor | None = None
        self._checks: Counter[str] = Counter()  # as addresses are counted
        self._guesses = Buckets(GUESSES, 1 / GUESS_S, time.monotonic)

    def go_by(self, callers: Sequence[Caller], most: int, quiet: Collection[str]) -> None:
        """Let in by these entries, and `most` associations at once. What concerns `quiet` titles is not logged."""
        self._callers = Callers(callers)
        self._most = most
        self._quiet = quiet

    def admit(self, visitor: Visitor) -> Caller | Refused:
        """The entry of callers.yml that it comes by."""
        return self._callers.admit(visitor)

    def room(self, caller: Caller, who: Who, open_now: int) -> Refused | None:
        """Whether one more association of it has room; `open_now`: associations of this receiver."""
        inside = self._inside.get(who)
        return room(caller, inside.associations if inside else 0, open_now, self._most, self._at_address[who[1]])

    def enter(self, caller: Caller, who: Who) -> Throttle | None:
        """It has one more association. Gives the line that all its associations share, if that has a limit."""
        inside = self._inside.setdefault(who, _Inside())
        inside.associations += 1
        self._at_address[who[1]] += 1
        if not caller.maximum_line_speed_kb_per_s:
            return None
        if inside.line is None:
            inside.line = Throttle(caller.maximum_line_speed_kb_per_s * _BYTES_PER_KB)
        return inside.line

    def leave(self, who: Who) -> None:
        """One of its associations is gone."""
        inside = self._inside[who]
        inside.associations -= 1
        if not inside.associations:
            del self._inside[who]
        self._at_address[who[1]] -= 1
        if not self._at_address[who[1]]:
            del self._at_address[who[1]]

    async def check(self, caller: Caller, identity: UserIdentity, address: str) -> str | Refused:
        """The name of the user, if the user identity is right.

        Who has sent too many wrong passcodes waits; a token is signed, so nobody guesses one.
        """
        address = counted(address)
        if self._checks.total() >= CHECKS_MAX:
            return Refused(CONGESTED, Why.IDENTITY, f"{CHECKS_MAX} user identities are being checked")
        if self._checks[address] >= CHECKS_OF_ONE_ADDRESS:
            what = f"{CHECKS_OF_ONE_ADDRESS} user identities of this address are being checked"
            return Refused(CONGESTED, Why.IDENTITY, what)
        guessable = identity.kind != JWT
        if guessable and (wait_s := self._guesses.wait_s(address)) > 0:
            return Refused(CONGESTED, Why.IDENTITY, "too many wrong ones", f"again in {math.ceil(wait_s)} s")
        if self._threads is None:
            self._threads = ThreadPoolExecutor(CHECKS_AT_ONCE, "identity")
        self._checks[address] += 1
        try:
            checked = asyncio.get_running_loop().run_in_executor(self._threads, _user, caller, identity, time.time())
            return await asyncio.shield(checked)
        except ValueError as error:
            if guessable:
                self._guesses.owe(address)  # several may have been checked at once, so there may be none left
            return Refused(IDENTITY_REFUSED, Why.IDENTITY, str(error))
        except Exception as error:  # a fault of ours or of a library; its text may hold what was sent
            logger.error("a user identity can't be checked: %s", type(error).__name__)
            return Refused(IDENTITY_REFUSED, Why.IDENTITY, "it can't be checked")
        finally:
            self._checks[address] -= 1
            if not self._checks[address]:
                del self._checks[address]

    def turned_away(self, event: TurnedAway, detail: str) -> None:
        """Tell that somebody was refused; if the same has just happened, within a minute and together."""
        if event.calling in self._quiet and event.peer == HERE:
            return  # we ourselves, who look whether somebody answers (console/health.py)
        if self._flood.happened(event, detail, time.monotonic()):
            self._tell(event)

    def tell_due(self, *, all_of_it: bool = False) -> None:
        """Tell what has waited for a minute. `all_of_it`: what has not, too."""
        for event in self._flood.due(time.monotonic(), all_of_it=all_of_it):
            self._tell(event)

    def _tell(self, event: TurnedAway) -> None:
        tell(event, logged=event.calling not in self._quiet)

    def close(self) -> None:
        self.tell_due(all_of_it=True)
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)


def _user(caller: Caller, identity: UserIdentity, now_s: float) -> str:
    """The name of the user, if that is right. ValueError says why not, and nothing of what was sent."""
    if identity.kind == JWT:
        assert caller.tokens is not None
        return token.user_of(caller.tokens, identity.primary, now_s)
    name = identity.primary.decode("utf-8", "replace")
    if not passcode.is_right(dict(caller.users), name, identity.secondary):
        raise ValueError("the user name or the passcode is wrong")
    return name
