"""What an answer means, how long to wait after a failure, and what the failures say about a destination.

An answer to an object concerns that object. A connection or association that fails concerns the destination; that is
kept in memory only, and tries never end. An association that does not open while another one works is no failure: the
peer serves no more at once. One that ends in the middle of an object concerns that object (suspicion.py), unless
nothing gets through at all. Deliberately absent: clocks, chance (`jitter` in [0, 1) is an argument) and logging (the
line to log is returned).
"""

from collections.abc import Sequence
from enum import Enum

import msgspec

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 300.0
PERMANENT_TRIES = 3
SAY_AGAIN_S = 60.0
NARROW_S = 60.0
FREED_S = 2.0  # a peer that serves one at a time may need so long to notice that an association has ended
FREED_DELAY_S = 0.1
LOSSES = 5  # in a row, under objects that are not suspect: more than make a kind suspect
LONGEST_LOST_DELAY_S = 8.0  # associations do open in this case, and one of the next objects may be harmless
LONGEST_LOSS_DELAY_S = 30.0
LOSSES_SOON = 10  # so often a suspect is tried again soon: it is not known yet whose fault the losses were
CONGESTIONS = 10
CALLERS_MAX = 1000


class Verdict(Enum):
    """What a C-STORE status says about the object."""

    DELIVERED = "delivered"
    TRANSIENT = "transient"
    PERMANENT = "permanent"  # a few tries, then rejected
    UNSUPPORTED = "unsupported"  # another syntax once, then rejected


class _Row(msgspec.Struct, frozen=True):
    first: int
    last: int
    verdict: Verdict


# PS3.4 table B.2-1, PS3.7 annex C, and what peers are known to do.
_STATUSES = (
    _Row(0x0000, 0x0000, Verdict.DELIVERED),
    _Row(0x0001, 0x0001, Verdict.DELIVERED),  # warning
    _Row(0x0107, 0x0107, Verdict.DELIVERED),  # warning: attribute list
    _Row(0x0116, 0x0116, Verdict.DELIVERED),  # warning: attribute value out of range
    _Row(0xB000, 0xBFFF, Verdict.DELIVERED),  # warnings: coerced, elements discarded, does not match SOP class
    _Row(0x0110, 0x0110, Verdict.TRANSIENT),  # processing failure
    _Row(0x0213, 0x0213, Verdict.TRANSIENT),  # resource limitation
    _Row(0xA700, 0xA7FF, Verdict.TRANSIENT),  # out of resources (Orthanc says so for everything)
    _Row(0x0112, 0x0112, Verdict.UNSUPPORTED),  # no such SOP instance
    _Row(0x0122, 0x0122, Verdict.UNSUPPORTED),  # SOP class not supported
)
DUPLICATE = 0x0111


def classify(status: int, unanswered_before: bool = False) -> Verdict:
    """The verdict on an answer. `unanswered_before`: an earlier send of this object got no answer, so that "duplicate
    SOP instance" proves that it had arrived."""
    if status == DUPLICATE and unanswered_before:
        return Verdict.DELIVERED
    return next((row.verdict for row in _STATUSES if row.first <= status <= row.last), Verdict.PERMANENT)


def delay_s(failures: int, jitter: float, delays_s: Sequence[float] = (), longest_s: float = LONGEST_DELAY_S) -> float:
    """Seconds to wait after the n-th failure in a row (from 1): 1 s, doubled up to 5 min, more or less by a quarter.

    RetryDelays of the node, when given, are used as they are; the last one is repeated for ever.
    """
    if delays_s:
        return delays_s[min(failures, len(delays_s)) - 1]
    # 2**20 s is far above the cap; a larger exponent only costs digits.
    return min(FIRST_DELAY_S * 2.0 ** min(failures - 1, 20), longest_s) * (0.75 + jitter / 2)


def longest_s(delays_s: Sequence[float] = ()) -> float:
    """No wait is longer than this; what is to wait longer was told so by another clock."""
    return max(delays_s, default=LONGEST_DELAY_S * 1.25)


def loss_delay_s(losses: int, jitter: float, delays_s: Sequence[float] = ()) -> float:
    """Seconds that an object waits after the n-th association (from 1) that ended under it."""
    return delay_s(losses, jitter, delays_s, LONGEST_LOSS_DELAY_S if losses <= LOSSES_SOON else LONGEST_DELAY_S)


class Trouble(msgspec.Struct):
    """Failures in a row: when to try again, and whether the failure is to be logged."""

    failures: int = 0
    until_s: float = 0.0
    _reason: str = ""
    _said_s: float = 0.0

    def failed(self, reason: str, now_s: float, wait_s: float) -> bool:
        """Count a failure; True when it is to be logged: the first one, another reason, or once a minute."""
        self.failures += 1
        self.until_s = now_s + wait_s
        if reason == self._reason and now_s - self._said_s < SAY_AGAIN_S:
            return False
        self._reason, self._said_s = reason, now_s
        return True


class Health(msgspec.Struct):
    """What the recent failures say about one destination. All times are the caller's, of one clock."""

    max_associations: int
    delays_s: Sequence[float] = ()
    _trouble: Trouble = msgspec.field(default_factory=Trouble)
    _losses: int = 0  # in a row
    _callers: dict[str, Trouble] = msgspec.field(default_factory=dict)
    _congestions: int = 0
    _hold_until_s: float = 0.0
    _narrow: int = 0
    _narrow_until_s: float = 0.0
    _narrow_said: int = 0
    _freed_s: float = float("-inf")

    def begin_anew(self, max_associations: int, delays_s: Sequence[float]) -> None:
        """The settings have changed, and with them perhaps what was wrong: forget it."""
        self.max_associations, self.delays_s = max_associations, delays_s
        self._trouble = Trouble()
        self._callers = {}
        self._losses = self._congestions = self._narrow_said = 0
        self._hold_until_s = self._narrow_until_s = 0.0

    @property
    def in_trouble(self) -> bool:
        """Whether the last thing that happened was a failure; one association at a time tries then."""
        return self._trouble.failures > 0

    @property
    def failures(self) -> int:
        """How many there were in a row."""
        return self._trouble.failures

    @property
    def objects_failed(self) -> bool:
        """Whether objects were lost or put off since the last good answer, so that they may be the trouble."""
        return self._losses > 0 or self._congestions > 0

    def limit(self, now_s: float) -> int:
        """How many associations it may have now; 0 while it is backed off."""
        if now_s < self._trouble.until_s:
            return 0
        if self.in_trouble:
            return 1
        return min(self.max_associations, self._narrow) if now_s < self._narrow_until_s else self.max_associations

    def holds(self, now_s: float) -> bool:
        """Whether no association may be opened just now, though those that are open may go on."""
        return now_s < max(self._trouble.until_s, self._hold_until_s)

    def backed_off(self, now_s: float) -> frozenset[str]:
        """The calling AE titles that the peer refused, and for which it is too early to ask again."""
        if not self._callers:
            return frozenset()
        return frozenset(caller for caller, trouble in self._callers.items() if now_s < trouble.until_s)

    def did_not_open(
        self, reason: str, now_s: float, jitter: float, *, established: int, opening: int, caller: str = ""
    ) -> str:
        """An association did not open. What to log, or "".

        `established` and `opening` count the destination's other associations. `caller` is set when the rejection is
        about that calling AE title.
        """
        if caller:
            while len(self._callers) >= CALLERS_MAX and caller not in self._callers:
                del self._callers[next(iter(self._callers))]
            trouble = self._callers.setdefault(caller, Trouble())
            wait_s = delay_s(trouble.failures + 1, jitter, self.delays_s)
            return _line(f"calling as {caller}: {reason}", wait_s) if trouble.failed(reason, now_s, wait_s) else ""
        if established or opening:
            self._narrow, self._narrow_until_s = max(established, 1), now_s + NARROW_S
            if established in (0, self._narrow_said):
                return ""
            self._narrow_said = established
            return f"it takes no more than {established} at once: {reason}"
        if now_s - self._freed_s < FREED_S and not self.in_trouble:
            self._hold_until_s = now_s + FREED_DELAY_S
            return ""
        return self._failed(reason, now_s, jitter)

    def lost(self, reason: str, now_s: float, jitter: float) -> str:
        """An association ended in the middle of an object that is not suspect, and no other one is established.

        A few in a row, without an answer in between, are the destination's trouble. What to log, or "".
        """
        self._losses += 1
        if self._losses < LOSSES or now_s < self._trouble.until_s:
            return ""
        return self._failed(f"nothing gets through: {reason}", now_s, jitter, LONGEST_LOST_DELAY_S)

    def congested(self, reason: str, now_s: float, jitter: float) -> str:
        """A transient answer to the first try of an object. Many in a row, and no other answer, are the destination's
        trouble; the later ones to the same object are not counted. What to log, or ""."""
        self._congestions += 1
        if self._congestions < CONGESTIONS or now_s < self._trouble.until_s:
            return ""
        return self._failed(f"nothing but transient answers: {reason}", now_s, jitter)

    def _failed(self, reason: str, now_s: float, jitter: float, longest_s: float = LONGEST_DELAY_S) -> str:
        self._narrow_until_s = 0.0
        wait_s = min(delay_s(self._trouble.failures + 1, jitter, self.delays_s), longest_s * (0.75 + jitter / 2))
        return _line(reason, wait_s) if self._trouble.failed(reason, now_s, wait_s) else ""

    def next_try_s(self, now_s: float) -> float:
        """When the destination is tried again; 0 = it is not backed off."""
        return self._trouble.until_s if now_s < self._trouble.until_s else 0.0

    def next_tries_s(self, now_s: float) -> dict[str, float]:
        """The same for the calling AE titles that the peer refused."""
        return {caller: trouble.until_s for caller, trouble in self._callers.items() if now_s < trouble.until_s}

    def opened(self, calling: str) -> None:
        """An association opened under this calling AE title."""
        self._callers.pop(calling, None)

    def freed(self, now_s: float) -> None:
        """An association ended in good order."""
        self._freed_s = now_s

    def answered(self) -> bool:
        """The destination took or refused an object. True if it had been in trouble: it works again."""
        recovered = self.in_trouble
        self._congestions = self._losses = 0
        if recovered:
            self._trouble = Trouble()
        return recovered


def _line(reason: str, wait_s: float) -> str:
    return f"{reason}; next try in {wait_s:.3g} s"
