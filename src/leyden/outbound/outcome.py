"""What comes of an instance: an Outcome says where its claim goes, what that tells of the destination, and what is
written down. No I/O: claims.py acts on it.
"""

from collections import OrderedDict
from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec

from leyden.deliver import retry
from leyden.deliver.destination import Destination
from leyden.deliver.retry import Verdict
from leyden.errors import Corrupt, Transient
from leyden.form.choose import Fail, Make, Past, choose
from leyden.form.ladder import Acceptance
from leyden.form.obstacle import Facts
from leyden.journal.events import Attempt, Deferred, Delivered, Event, Failed, Rejected, Remade
from leyden.net import scu
from leyden.outbound.queue import OURS, Instance
from leyden.spool.entry import Queued

RECORDS_MAX = 100_000


class Ending(Enum):
    """How the claim of an instance ends."""

    DELIVERED = "delivered"  # a durable receipt, then the unlink
    DEFERRED = "deferred"  # to deferred/: a transient answer, or the association ended under it
    RETURNED = "returned"  # to the queue at once
    KEPT = "kept"  # to the queue after a pause: a fault of this machine
    REMADE = "remade"  # to transform/, for another syntax
    REJECTED = "rejected"  # to rejected/
    FAILED = "failed"  # to failed/: it cannot be read
    GONE = "gone"  # there was no claim: moved or deleted by hand, or the look was older than its last delivery


class Response(Enum):
    """What the destination did at an attempt."""

    NONE = "none"  # nothing was sent
    ANSWERED = "answered"
    UNSUPPORTED = "unsupported"  # answered: it does not take this SOP class in this syntax, whatever it negotiated
    CONGESTED = "congested"  # answered: not now, to an object that had no such answer before
    CONGESTED_AGAIN = "congested again"  # the same to one that had: that may be due to the object
    LOST = "lost"  # the association ended under the object
    STALLED = "stalled"  # we ended it, because no answer came
    TOO_SLOW = "too slow"  # we ended it, because of the line and not of the object


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one instance. Which fields are set depends on `ending`.

    `reason` are the peer's words or ours; `status` and `comment` are those of the answer. The attempt began at
    `start_s` (of the monotonic clock) and took `took_s`. `wait_s`: until a deferred one may go again; `syntax`: the UID
    of what it is to be made into; `unanswered`: it may have arrived; `tries`: how many times it was refused, or lost;
    `last_words`: how the last association ended under a suspect that is given up.
    """

    instance: Instance
    claim: Queued | None
    ending: Ending
    response: Response = Response.NONE
    reason: str = ""
    status: int | None = None
    comment: str = ""
    size_bytes: int = 0
    start_s: float = 0.0
    took_s: float = 0.0
    wait_s: float = 0.0
    syntax: str = ""
    unanswered: bool = False
    tries: int = 0
    last_words: str = ""

    def events(self, destination: str) -> tuple[Event, ...]:
        """What the journal is told of it."""
        meta = self.instance.meta
        of_instance: dict[str, Any] = {
            "destination": destination,
            "sop_class_uid": meta.sop_class_uid,
            "sop_instance_uid": meta.sop_instance_uid,
            "calling": self.instance.calling,
            "flag": meta.flag,
            "source": None if meta.sending == self.instance.calling else meta.sending,
        }
        receipt = self.instance.receipt
        if self.ending is Ending.DELIVERED:
            delivered = Delivered(
                receipt,
                **of_instance,
                status=self.status or 0,
                syntax=meta.transfer_syntax_uid,
                bytes=self.size_bytes,
                took_s=round(self.took_s, 3),
            )
            return (delivered,)
        unanswered = self.response in (Response.LOST, Response.STALLED, Response.TOO_SLOW)
        attempt = (Attempt(receipt, **of_instance, said=self.reason),) if unanswered else ()
        match self.ending:
            case Ending.DEFERRED:
                wait_s = round(self.wait_s, 3)
                return *attempt, Deferred(receipt, **of_instance, said=self.reason, wait_s=wait_s, lost=unanswered)
            case Ending.REMADE:
                return (Remade(receipt, **of_instance, syntax=self.syntax),)
            case Ending.REJECTED:
                more: dict[str, Any] = {"tries": self.tries, "last_words": self.last_words}
                return (Rejected(receipt, **of_instance, reason=self.reason, **more),)
            case Ending.FAILED:
                failed = Failed(
                    receipt,
                    destination=destination,
                    reason=f"cannot be read: {self.reason}",
                    sop_instance_uid=meta.sop_instance_uid,
                    calling=meta.sending,
                )
                return (failed,)
            case _:
                return attempt

    def why(self) -> Mapping[str, Any]:
        """The document beside what is rejected."""
        why: dict[str, Any] = {"reason": self.reason}
        if self.status is not None:
            why |= {"status": f"0x{self.status:04X}", "comment": self.comment}
        if self.tries:
            why["tries"] = self.tries
        if self.last_words:
            why["last_words"] = self.last_words
        return why


class Record(msgspec.Struct):
    """What happened to one instance before, as long as the process lives."""

    slow_aborts: int = 0
    refusals: int = 0  # permanent answers
    remade: tuple[str, ...] = ()  # the syntaxes (UIDs) it was sent back to transform/ for


class History:
    """The records of the instances that were not simply delivered; of RECORDS_MAX at most."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, Record] = OrderedDict()  # by receipt

    def of(self, receipt: str) -> Record:
        """What happened to it before; to be read only."""
        return self._records.get(receipt) or Record()

    def note(self, outcome: Outcome) -> None:
        """Remember an outcome, as far as it matters to the next attempt."""
        receipt = outcome.instance.receipt
        if outcome.ending in (Ending.DELIVERED, Ending.REJECTED, Ending.FAILED):
            self._records.pop(receipt, None)
        elif outcome.ending is Ending.REMADE:
            self._room_for(receipt).remade += (outcome.syntax,)
        elif outcome.response is Response.TOO_SLOW:
            self._room_for(receipt).slow_aborts += 1
        elif outcome.ending is Ending.DEFERRED and outcome.response is Response.ANSWERED:
            self._room_for(receipt).refusals = outcome.tries

    def _room_for(self, receipt: str) -> Record:
        while len(self._records) >= RECORDS_MAX:
            self._records.popitem(last=False)
        return self._records.setdefault(receipt, Record())


def form_after_refusal(
    destination: Destination, instance: Instance, acceptance: Acceptance, record: Record
) -> Make | Fail:
    """In which other form an instance goes whose syntax the destination has just refused.

    `acceptance` is what the destination was seen to accept of its SOP class.
    """
    sop_class, source = instance.pair
    past = Past(in_vain=dict.fromkeys((source, *record.remade), "it was refused"), refused=True)
    form = choose(Facts(source, sop_class), destination, acceptance, past)
    if not isinstance(form, Make | Fail):
        raise TypeError(f"what was refused cannot go as it is: {form}")
    return form


# -- the outcomes of an attempt


def answered(
    destination: Destination,
    instance: Instance,
    claim: Queued,
    answer: scu.StoreAnswer,
    *,
    acceptance: Acceptance | None,
    record: Record,
    jitter: float,
    size_bytes: int = 0,
    start_s: float = 0.0,
    took_s: float = 0.0,
) -> Outcome:
    """The peer answered. `acceptance`: what it was seen to accept of the SOP class; `jitter`: see retry.delay_s."""
    tries = record.refusals + 1
    response = Response.ANSWERED
    wait_s, syntax = 0.0, ""
    match retry.classify(answer.status, unanswered_before=claim.entry.unanswered > 0):
        case Verdict.DELIVERED:
            ending = Ending.DELIVERED
        case Verdict.TRANSIENT:
            ending = Ending.DEFERRED
            response = Response.CONGESTED_AGAIN if claim.entry.attempt else Response.CONGESTED
        case Verdict.PERMANENT:
            ending = Ending.DEFERRED if tries < retry.PERMANENT_TRIES else Ending.REJECTED
        case Verdict.UNSUPPORTED:
            response = Response.UNSUPPORTED
            if acceptance is not None and not record.remade:  # once: a peer may refuse every syntax, one by one
                form = form_after_refusal(destination, instance, acceptance, record)
                syntax = form.syntax if isinstance(form, Make) else ""
            ending = Ending.REMADE if syntax else Ending.REJECTED
    if ending is Ending.DEFERRED:
        wait_s = retry.delay_s(claim.entry.attempt + 1, jitter, destination.retry_delays_s)
    return Outcome(
        instance=instance,
        claim=claim,
        ending=ending,
        response=response,
        reason=f"status 0x{answer.status:04X} {answer.comment}".rstrip(),
        status=answer.status,
        comment=answer.comment,
        size_bytes=size_bytes,
        start_s=start_s,
        took_s=took_s,
        wait_s=wait_s,
        syntax=syntax,
        tries=tries,
    )


def lost(
    destination: Destination,
    instance: Instance,
    claim: Queued,
    error: Transient,
    *,
    jitter: float,
    start_s: float = 0.0,
) -> Outcome:
    """The association ended before the peer answered."""
    if isinstance(error, scu.TooSlow):
        ending, response, wait_s = Ending.RETURNED, Response.TOO_SLOW, 0.0
    else:
        ending = Ending.DEFERRED
        response = Response.STALLED if isinstance(error, scu.Stalled) else Response.LOST
        wait_s = retry.loss_delay_s(claim.entry.attempt + 1, jitter, destination.retry_delays_s)
    return Outcome(
        instance=instance,
        claim=claim,
        ending=ending,
        response=response,
        reason=str(error),
        start_s=start_s,
        wait_s=wait_s,
        unanswered=True,
    )


def unreadable(instance: Instance, claim: Queued, error: OSError | Corrupt) -> Outcome:
    """The file could not be read, or not to its end; nothing is known of the destination."""
    if isinstance(error, OSError) and error.errno in OURS:
        return kept(instance, claim, error)
    return Outcome(instance=instance, claim=claim, ending=Ending.FAILED, reason=str(error))


def interrupted(instance: Instance, claim: Queued) -> Outcome:
    """We ended the attempt before the answer."""
    return Outcome(instance=instance, claim=claim, ending=Ending.RETURNED, unanswered=True)


# -- the outcomes without an attempt


def kept(instance: Instance, claim: Queued | None, error: OSError) -> Outcome:
    """A fault of this machine, before or after the claim."""
    return Outcome(instance=instance, claim=claim, ending=Ending.KEPT, reason=str(error))


def gone(instance: Instance) -> Outcome:
    """There was nothing to claim."""
    return Outcome(instance=instance, claim=None, ending=Ending.GONE)


def refused(instance: Instance, claim: Queued, form: Make | Fail) -> Outcome:
    """The syntax of the instance was refused in negotiation; `form`: form_after_refusal()."""
    match form:
        case Make(syntax):
            return Outcome(instance=instance, claim=claim, ending=Ending.REMADE, syntax=syntax)
        case Fail(reason):
            return Outcome(instance=instance, claim=claim, ending=Ending.REJECTED, reason=reason)


def given_up(instance: Instance, claim: Queued, last_words: str) -> Outcome:
    """A suspect: it ended associations again and again while others were answered."""
    tries = claim.entry.unanswered
    reason = f"the association ended under it at each of {tries} tries, while others were answered"
    return Outcome(
        instance=instance, claim=claim, ending=Ending.REJECTED, reason=reason, tries=tries, last_words=last_words
    )
