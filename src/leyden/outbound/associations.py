"""The pool of associations of one destination at work: deliver/pool.py decides, and this acts.

What the attempts tell of the destination goes to retry.Health, what they tell of an object to the suspicion. Trouble
with a destination moves no file.
"""

import asyncio
import logging
import random
import time
from collections.abc import Collection, Iterable, Iterator
from itertools import chain, islice

from leyden import board
from leyden.board import Cell
from leyden.deliver.destination import Destination
from leyden.deliver.pool import (
    LATE_S,
    Action,
    Alone,
    Bind,
    GiveUp,
    Limits,
    Member,
    Open,
    Phase,
    Release,
    assign,
    no_series,
)
from leyden.deliver.retry import Health
from leyden.deliver.suspicion import Suspicion
from leyden.deliver.throttle import Line
from leyden.errors import Transient
from leyden.form import ladder
from leyden.net import scu
from leyden.outbound.attempt import Attempts
from leyden.outbound.capabilities import Capabilities
from leyden.outbound.claims import Claims
from leyden.outbound.jobs import Jobs
from leyden.outbound.outcome import Outcome, Response
from leyden.outbound.queue import Instance
from leyden.outbound.refusals import Refusals
from leyden.outbound.window import Window
from leyden.reaching import associate

logger = logging.getLogger("leyden.sender")

ANSWER_TIMEOUT_S = 30.0
CANDIDATES = 16  # of the first that wait: looked at for what may be opened ahead
# PS3.8 table 9-21. A rejection for good is taken for one of this calling AE title, unless it says that it is not: many
# peers give no reason when they do not know a title, and one unknown modality must not stop the others.
FOR_GOOD = 1
NOT_THE_CALLER = ((1, 2), (1, 7), (2, 2))  # (source, reason): application context, called AE title, protocol version


class LiveMember(Member, eq=False, kw_only=True):
    """One association of the pool with its task, its connection, and the instance that is bound to it."""

    contexts: tuple[ladder.Pair, ...] = ()  # as proposed, in order
    destination: Destination  # as it was when this was asked for
    task: "asyncio.Task[None] | None" = None
    association: scu.Association | None = None
    bound: Instance | None = None
    waiter: "asyncio.Future[None] | None" = None

    def bind(self, instance: Instance, now_s: float) -> None:
        """The next one to send."""
        self.carry(instance, now_s)
        self.bound = instance
        self._wake()

    def end(self) -> None:
        """Release it, if nothing is bound to it."""
        if self.phase is Phase.IDLE:
            self.phase = Phase.CLOSING
            self._wake()

    async def next(self) -> Instance | None:
        """What is bound to it, as soon as anything is; None when the association is to end."""
        while self.bound is None and self.phase is not Phase.CLOSING:
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        instance = self.bound
        self.bound = None
        return instance

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Associations:
    """The associations of one destination. Every method is for the thread of the event loop."""

    def __init__(
        self,
        destination: Destination,
        window: Window,
        claims: Claims,
        capabilities: Capabilities,
        suspicion: Suspicion,
        health: Health,
        jobs: Jobs,
    ) -> None:
        self.members: list[LiveMember] = []
        self.serving = True  # no operator, ProcessSchedule or ProcessNetworks is against it
        self._can_send = False  # when it was last looked at
        self._destination = destination
        self._window = window
        self._claims = claims
        self._capabilities = capabilities
        self._suspicion = suspicion
        self._health = health
        self._jobs = jobs
        self._attempts = Attempts(destination, claims)
        self._refusals = Refusals(destination, window, claims, capabilities, jobs)
        self._late_s = LATE_S
        self._address = ""  # where the destination was reached the last time
        self.line = Line()
        self._stopping = False

    @property
    def blocked(self) -> bool:
        """Whether nothing can be sent at the moment."""
        return not self.serving or self._health.limit(time.monotonic()) == 0

    def go_by(self, destination: Destination) -> None:
        """The destination has changed: what begins from now on goes by this.

        An association that is there ends in good order, after the object that is under way. One that opens to another
        address, or in another way, is given up. What was held against the destination is forgotten.
        """
        for member in self.members:
            was = member.destination
            moved = (was.host, was.port, was.tls) != (destination.host, destination.port, destination.tls)
            if moved and member.phase is Phase.OPENING and member.task is not None:
                member.phase = Phase.CLOSING
                member.task.cancel()
        self._destination = self._refusals.destination = destination
        self._attempts.go_by(destination)
        self._health.begin_anew(destination.max_associations, destination.retry_delays_s)
        self.act()

    def try_now(self) -> None:
        """Forget what is held against the destination."""
        self._health.begin_anew(self._destination.max_associations, self._destination.retry_delays_s)
        self.act()

    # -- what is to be done

    def filled(self) -> None:
        """The window was filled anew."""
        self._refusals.ask_again()
        self._apply_refusals(self.members)
        self.act()

    def act(self) -> None:
        """Let assign() decide, and do what it says. To be called whenever anything has happened, and now and then."""
        if self._stopping:
            return
        now_s = time.monotonic()
        for member in self.members:
            closed = member.association is not None and member.association.closed
            if closed or member.destination is not self._destination:
                member.end()
        self._window.sort()
        requests: Collection[Instance] = ()
        alone: Alone | None = None
        limit = self._health.limit(now_s)
        could_send, self._can_send = self._can_send, self.serving and limit > 0
        if self._can_send and not could_send:
            self._window.catch_up()
        if self._can_send:
            requests = self._sendable(self._window.in_turn(), now_s)
            alone = self._next_suspect(now_s) if self._window.suspects else None
        if self._health.holds(now_s):
            limit = min(limit, len(self.members))
        limits = Limits(limit, self._destination.batch_size, self._late_s)
        of_series = no_series if self._health.in_trouble else self._window.of_series
        for action in assign(requests, self.members, now_s, limits, alone, of_series):
            self._do(action, now_s)

    def _sendable(self, instances: Collection[Instance], now_s: float) -> Collection[Instance]:
        """Those of the instances for which an association may be asked now, in the order of sending."""
        callers = self._health.backed_off(now_s)
        refused = self._refusals.on_hold(now_s)
        if not callers and not refused and not self._health.in_trouble:
            return instances
        sendable = [
            instance
            for instance in instances
            if instance.calling not in callers and (instance.calling, instance.pair[0]) not in refused
        ]
        if self._health.in_trouble:  # what was never tried goes first: it tells more than what was put off before
            sendable.sort(key=lambda instance: instance.queued.entry.attempt > 0)
            untried = sum(instance.queued.entry.attempt == 0 for instance in sendable)
            # The newest and the oldest take turns in asking for an association, and in being sent
            # if objects have failed: one of them may be harmless.
            works = any(member.phase in (Phase.IDLE, Phase.BUSY) for member in self.members)
            if untried and self._health.failures % 2 and (self._health.objects_failed or not works):
                sendable.insert(0, sendable.pop(untried - 1))
        return sendable

    def _next_suspect(self, now_s: float) -> Alone | None:
        """The suspect that has an association of its own, or is to have one."""
        own = next((m.alone for m in self.members if m.alone and m.phase is not Phase.CLOSING), None)
        turn = own or self._suspicion.turn(self._sendable(self._window.suspects.values(), now_s), now_s)
        return turn if turn is not None and turn.request.receipt in self._window.suspects else None

    def _do(self, action: Action, now_s: float) -> None:
        match action:
            case Bind() | Open() if self._window.behind:
                pass  # after the look, which is due; an association is opened for what is in the window, too
            case Bind(LiveMember() as member, Instance() as instance):
                member.bind(self._window.take(instance), now_s)
            case Open(request, alone):
                others = () if alone else self._window.waiting.values()
                pairs = (instance.pair for instance in others if instance.calling == request.calling)
                contexts = ladder.proposals((request.pair, *pairs), self._destination.syntax)
                member = LiveMember(
                    request.calling,
                    now_s,
                    frozenset(contexts),
                    alone=alone,
                    contexts=contexts,
                    destination=self._destination,
                )
                self.members.append(member)
                member.task = self._jobs.start(self._live(member))
            case Release(LiveMember() as member):
                member.end()
            case GiveUp(LiveMember() as member) if member.task is not None:
                member.phase = Phase.CLOSING
                self._did_not_open(member, "another association is not answered while the first works")
                member.task.cancel()

    def stop(self) -> None:
        """Send nothing more: what is idle or opening ends now, what is busy after its object."""
        self._stopping = True
        for member in self.members:
            member.end()
            if member.phase is Phase.OPENING and member.task is not None:
                member.task.cancel()

    # -- the life of an association

    async def _live(self, member: LiveMember) -> None:
        try:
            association = await self._open(member)
            if association is not None:
                member.association = association
                board.add(Cell.OPENED)
                board.add(Cell.OUTBOUND)
                self._established(member, association)
                await self._send(member, association)
                await self._close(member, association)
        finally:
            if member.association is not None:
                board.add(Cell.OUTBOUND, -1)
                member.association.abort()
                self._attempts.forget(member.association)
            self.members.remove(member)
        self.act()

    async def _open(self, member: LiveMember) -> scu.Association | None:
        destination = member.destination
        caller = ""  # whose association it was, if the rejection is for good
        try:
            return await associate(
                destination.host,
                destination.port,
                calling=member.calling,
                called=destination.ae_title,
                contexts=member.contexts,
                tls=destination.tls,
                credentials=destination.credentials,
                connect_timeout_s=destination.connect_timeout_s,
                answer_timeout_s=ANSWER_TIMEOUT_S,
            )
        except scu.AssociationRejected as error:
            reason = str(error)
            if error.result == FOR_GOOD and (error.source, error.reason) not in NOT_THE_CALLER:
                caller = member.calling
        except Transient as error:
            reason = str(error)
        except asyncio.CancelledError:
            if self._stopping:
                raise
            return None  # given up
        self._did_not_open(member, reason, caller)
        return None

    def _established(self, member: LiveMember, association: scu.Association) -> None:
        now_s = time.monotonic()
        self._refusals.negotiated(member, association.accepted)
        member.phase = Phase.IDLE
        member.established_s = member.idle_s = now_s
        self._late_s = max(LATE_S, 2 * (now_s - member.opened_s))
        self._health.opened(member.calling)
        if association.address != self._address:
            self._address = association.address
            logger.info("%s: connected to %s", self._destination.ae_title, association.address)
        self._apply_refusals([member])
        self._jobs.start(self._watch(member, association))
        self.act()

    async def _watch(self, member: LiveMember, association: scu.Association) -> None:
        await association.wait_closed()
        member.end()

    async def _send(self, member: LiveMember, association: scu.Association) -> None:
        """One instance after the other, until the association is to end."""

        def following() -> Iterator[Instance]:
            likely = chain(self._window.of_series(member.series), self._window.waiting.values())
            return (each for each in islice(likely, CANDIDATES) if member.fits(each))

        while (instance := await member.next()) is not None:
            acceptance = self._capabilities.known(instance.pair[0], time.time())
            outcome = await self._attempts.make(association, instance, acceptance, self._sharing(member), following)
            if outcome.response is Response.UNSUPPORTED:
                self._refusals.unsupported(instance.pair, self.members)
                await self._capabilities.save()  # first: a worker decides by it, and may have the object a moment later
            await self._claims.end(outcome)
            self._learn(member, outcome)
            self.line.carried(outcome.size_bytes * self._sharing(member), outcome.took_s)
            member.idle_s = time.monotonic()
            member.served += 1
            ends = self._stopping or association.closed or member.alone is not None
            member.phase = Phase.CLOSING if ends else Phase.IDLE
            self.act()

    async def _close(self, member: LiveMember, association: scu.Association) -> None:
        """Release it, unless the peer was faster. One that was of no use at all is a failure then."""
        if not association.closed:
            await association.release()
            self._health.freed(time.monotonic())
        elif not member.served and not self._stopping:
            self._did_not_open(member, "it accepted the association and ended it before an object was sent")

    def _others(self, member: LiveMember) -> tuple[int, int]:
        """How many other associations are established, and how many are opening."""
        phases = [other.phase for other in self.members if other is not member]
        return phases.count(Phase.IDLE) + phases.count(Phase.BUSY), phases.count(Phase.OPENING)

    def _sharing(self, member: LiveMember) -> int:
        """How many associations share the line, or soon will."""
        established, opening = self._others(member)
        return 1 + established + min(opening, len(self._window.waiting))

    # -- what is learnt

    def _learn(self, member: LiveMember, outcome: Outcome) -> None:
        """What an attempt tells of the destination, and of the object."""
        match outcome.response:
            case Response.NONE:
                return
            case Response.LOST | Response.STALLED | Response.TOO_SLOW:
                self._lost(member, outcome)
                return
        self._suspicion.answered(outcome.instance, time.monotonic(), member.alone)
        match outcome.response:
            case Response.ANSWERED:
                self._works()
            case Response.UNSUPPORTED:
                self._works()
                self._apply_refusals(self.members)
            case Response.CONGESTED:
                self._warn(self._health.congested(outcome.reason, time.monotonic(), random.random()))

    def _lost(self, member: LiveMember, outcome: Outcome) -> None:
        """An association ended in the middle of an object: due to the object, to the line, or to the destination."""
        instance = outcome.instance
        reason = outcome.reason
        established, _ = self._others(member)
        now_s = time.monotonic()
        if outcome.response is not Response.TOO_SLOW:
            stalled = outcome.response is Response.STALLED
            lost = self._suspicion.lost(instance, reason, outcome.start_s, now_s, member.alone, stalled=stalled)
            if lost.first:
                self._warn(
                    f"{instance.meta.sop_instance_uid}: {reason}; it is tried again, alone, when others had their turn"
                )
            for calling, sop_class, *study in lost.kinds:
                whose = "one study of it" if study else "these"
                self._warn(
                    f"association after association ends under SOP class {sop_class} from {calling}: "
                    f"{whose} are sent one at a time from now on, and others first"
                )
        if member.alone is None and not established:
            self._warn(self._health.lost(reason, now_s, random.random()))

    def _did_not_open(self, member: LiveMember, reason: str, caller: str = "") -> None:
        board.add(Cell.NOT_OPENED)
        if member.destination is not self._destination:
            return  # it says nothing of the destination as it is now
        self._claims.statistics.went_wrong(f"calling as {caller}: {reason}" if caller else reason)
        established, opening = self._others(member)
        said = self._health.did_not_open(
            reason, time.monotonic(), random.random(), established=established, opening=opening, caller=caller
        )
        self._warn(said)

    def _apply_refusals(self, members: Iterable[Member]) -> None:
        if self._refusals.apply(members):
            self._works()

    def _works(self) -> None:
        if self._health.answered():
            logger.info("%s: works again", self._destination.ae_title)

    def _warn(self, said: str) -> None:
        if said:
            logger.warning("%s: %s", self._destination.ae_title, said)
