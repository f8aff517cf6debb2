"""Everything that leaves for one destination: a window on its queue and a pool of associations.

The decisions are pure and stand in deliver/; this is the loop around them, and courier.py ends each object's claim. An
Outbox shares nothing with the others but the event loop and a few threads for the disk, so that a dead destination
costs them nothing: while it is backed off its queue is not even listed. Trouble with a destination renames nothing.
What associations end under is suspect: it is sent alone, and nothing else waits for it (deliver/suspicion.py).
"""

import asyncio
import logging
import random
import time
from collections.abc import Collection, Coroutine, Iterable
from concurrent.futures import Executor
from dataclasses import replace
from itertools import chain
from typing import Any

from leyden.deliver import retry
from leyden.deliver.destination import Destination
from leyden.deliver.pool import LATE_S, Action, Alone, Bind, GiveUp, Limits, Open, Phase, Release, assign
from leyden.deliver.suspicion import Suspicion
from leyden.errors import Transient
from leyden.form import ladder
from leyden.inline import Inline
from leyden.net import scu
from leyden.outbound import taken
from leyden.outbound.courier import Courier, Fate, Receipts, Statistics
from leyden.outbound.lane import Lane
from leyden.outbound.window import WINDOW, Parcel, Window
from leyden.spool import doorbell
from leyden.spool.stage import Stage
from leyden.spool.store import Spool

logger = logging.getLogger("leyden.sender")

LOOK_S = 1.0
LOOK_BLOCKED_S = 60.0  # while nothing can be sent: only for the sake of expiryThreshold
LOOK_SHARE = 4  # after a look of t seconds the next one comes 4 t later: a fifth of a core at most
ANSWER_TIMEOUT_S = 30.0
RENEGOTIATE_S = 5.0  # a SOP class that was refused whole is proposed anew for waiting entries at most so often
# PS3.8 table 9-21. A rejection for good is taken for one of this calling AE title, unless it says that it is not: many
# peers give no reason when they do not know a title, and one unknown modality must not stop the others.
FOR_GOOD = 1
NOT_THE_CALLER = ((1, 2), (1, 7), (2, 2))  # (source, reason): application context, called AE title, protocol version


class Outbox:
    """Delivers what stands in prepared/<DEST> and asking/<DEST>. Every method is for the thread of the event loop."""

    def __init__(
        self,
        destination: Destination,
        spool: Spool,
        claimant: str,
        my_ae_title: str,
        receipts: Receipts,
        threads: Executor,
        workers: int = 0,
    ) -> None:
        self.destination = destination
        self.serving = True  # ProcessSchedule and ProcessNetworks allow it
        self._loop = asyncio.get_running_loop()
        self._threads, self._inline = threads, Inline()
        self._window = Window(spool, destination, claimant, my_ae_title)
        self._courier = Courier(destination, spool, claimant, receipts, threads, workers, self._ended)
        self._health = retry.Health(destination.max_associations, destination.retry_delays_s)
        self._memory = taken.Memory(spool.root, destination.ae_title, threads)
        self._suspicion = Suspicion()
        self._waiting: dict[str, Parcel] = {}  # by receipt, in the order of sending
        self._suspects: dict[str, Parcel] = {}  # of these, what is to be tried alone
        self._sorted_version = 0  # of the suspicion, when they were told apart
        self._in_hand: dict[str, Parcel] = {}
        self._lanes: list[Lane] = []
        self._jobs: set[asyncio.Task[None]] = set()
        self._refused_s: dict[tuple[str, str], float] = {}  # (calling, SOP class) -> when all of it was refused
        self._late_s = LATE_S
        self._address = ""  # where it was reached the last time
        self._looking = self._stopping = False
        self._look_wanted = True
        self._looked_s = self._look_after_s = float("-inf")
        self._early: asyncio.TimerHandle | None = None  # a look that was wanted too early
        self._moves = 0  # objects that went back to the queue; a look that overlaps one is not trusted with their order

    def __repr__(self) -> str:
        lanes = " ".join(f"{lane.calling}:{lane.phase.value}" for lane in self._lanes)
        return (
            f"<Outbox {self.destination.ae_title} waiting={len(self._waiting)} in_hand={len(self._in_hand)} [{lanes}]>"
        )

    def statistics(self) -> Statistics:
        """The counts as they are now."""
        return replace(self._courier.statistics)

    # -- the window

    def look(self) -> None:
        """Something may have arrived (the bell)."""
        self._look_wanted = True
        self.tick()

    def tick(self) -> None:
        """To be called a few times a second: refill the window when it is time, and look after the pool."""
        now_s = time.monotonic()
        blocked = not self.serving or self._health.limit(now_s) == 0
        wanted = self._look_wanted and len(self._waiting) < WINDOW // 2 and not blocked
        due = now_s - self._looked_s >= (LOOK_BLOCKED_S if blocked else LOOK_S)
        if (wanted or due) and not self._looking and not self._stopping:
            if now_s >= self._look_after_s:
                self._looking, self._look_wanted = True, False
                self._start(self._refill(now_s))
            elif self._early is None:
                self._early = self._loop.call_later(self._look_after_s - now_s, self._look_again)
        self._act()

    def _look_again(self) -> None:
        self._early = None
        self.tick()

    async def _refill(self, begin_s: float) -> None:
        title, moves = self.destination.ae_title, self._moves
        try:
            known = {**self._waiting, **self._suspects, **self._in_hand}
            passed_over = self._health.backed_off(begin_s)
            suspected = self._suspicion.suspects
            found = await self._inline.run(self._threads, self._window.look, known, passed_over, time.time(), suspected)
        except OSError as error:
            logger.error("%s: the queue cannot be read: %s", title, error)
            return
        finally:
            self._looking = False
            self._looked_s = time.monotonic()
            self._look_after_s = self._looked_s + LOOK_SHARE * (self._looked_s - begin_s)
        if found.expired:
            logger.warning("%s: %d objects older than expiryThreshold moved to expired/", title, found.expired)
        for reason in found.unreadable:
            logger.error("%s: not a DICOM file, moved to failed/: %s", title, reason)
        fresh = sum(parcel.receipt not in known for parcel in found.parcels)
        self._look_after_s = max(self._look_after_s, begin_s + doorbell.gather_s(fresh))
        disturbed = moves != self._moves
        self._tell_apart(
            parcel
            for parcel in found.parcels
            if parcel.receipt not in self._in_hand and not (disturbed and parcel.waiting.entry.serial)
        )
        self._give_up()
        for parcel in self._all_waiting():
            if parcel.waiting.entry.retried_s:
                self._memory.ask_again(parcel.pair, parcel.waiting.entry.retried_s)
        for lane in self._lanes:
            self._settle(lane)
        self._make_lossy()
        self.tick()

    def _all_waiting(self) -> Iterable[Parcel]:
        return chain(self._waiting.values(), self._suspects.values())

    def _tell_apart(self, parcels: Iterable[Parcel]) -> None:
        """Who waits with the others and who is to be tried alone; `parcels` in the order of sending."""
        self._sorted_version = self._suspicion.version
        self._waiting, self._suspects = {}, {}
        for parcel in parcels:
            (self._suspects if self._suspicion.suspects(parcel) else self._waiting)[parcel.receipt] = parcel

    def _give_up(self) -> None:
        for parcel in list(self._suspects.values()):
            last_words = self._suspicion.hopeless(parcel)
            if last_words is not None:
                self._suspicion.gave_up(parcel)
                self._start(self._courier.give_up(self._take(parcel), last_words))

    def _take(self, parcel: Parcel) -> Parcel:
        """Out of the window, into hand."""
        if self._waiting.pop(parcel.receipt, None) is None:
            del self._suspects[parcel.receipt]
        self._in_hand[parcel.receipt] = parcel
        return parcel

    def _ended(self, receipt: str, moved: bool) -> None:
        """The claim of an object has ended."""
        self._in_hand.pop(receipt, None)
        if moved:
            self._moves += 1
            self._look_wanted = True
        else:
            self._suspicion.forget(receipt)

    # -- the pool

    def _act(self) -> None:
        """Let assign() decide, and do what it says."""
        if self._stopping:
            return
        now_s = time.monotonic()
        for lane in self._lanes:
            if lane.link is not None and lane.link.closed:
                lane.end()
        if self._sorted_version != self._suspicion.version:
            self._tell_apart(sorted(self._all_waiting(), key=lambda parcel: (parcel.rank, parcel.receipt)))
        limit = self._health.limit(now_s)
        requests = self._sendable(self._waiting, now_s) if self.serving and limit else ()
        alone = self._next_suspect(now_s) if self._suspects and self.serving and limit else None
        if self._health.holds(now_s):
            limit = min(limit, len(self._lanes))
        limits = Limits(limit, self.destination.batch_size, self._late_s)
        for action in assign(requests, self._lanes, now_s, limits, alone):
            self._do(action, now_s)

    def _sendable(self, parcels: dict[str, Parcel], now_s: float) -> Collection[Parcel]:
        callers = self._health.backed_off(now_s)
        if self._refused_s:
            self._refused_s = {what: s for what, s in self._refused_s.items() if now_s < s + RENEGOTIATE_S}
        if not callers and not self._refused_s and not self._health.in_trouble:
            return parcels.values()
        sendable = [
            parcel
            for parcel in parcels.values()
            if parcel.calling not in callers and (parcel.calling, parcel.pair[0]) not in self._refused_s
        ]
        if self._health.in_trouble:  # what was never tried goes first: it tells more than what was put off before
            sendable.sort(key=lambda parcel: parcel.waiting.entry.attempt > 0)
            untried = sum(parcel.waiting.entry.attempt == 0 for parcel in sendable)
            if untried and self._health.failures % 2:  # the newest and the oldest in turn: one may be harmless
                sendable.insert(0, sendable.pop(untried - 1))
        return sendable

    def _next_suspect(self, now_s: float) -> Alone | None:
        """The suspect that has an association of its own, or is to have one."""
        own = next((lane.alone for lane in self._lanes if lane.alone and lane.phase is not Phase.CLOSING), None)
        turn = own or self._suspicion.turn(self._sendable(self._suspects, now_s), now_s)
        return turn if turn is not None and turn.request.receipt in self._suspects else None

    def _do(self, action: Action, now_s: float) -> None:
        match action:
            case Bind(member=Lane() as lane, request=Parcel() as parcel):
                lane.bind(self._take(parcel))
            case Open(request=request, alone=alone):
                others = () if alone else self._waiting.values()
                pairs = (parcel.pair for parcel in others if parcel.calling == request.calling)
                contexts = ladder.proposals((request.pair, *pairs), self.destination.syntax)
                lane = Lane(request.calling, now_s, frozenset(contexts), contexts=contexts, alone=alone)
                self._lanes.append(lane)
                lane.task = self._start(self._run(lane))
            case Release(member=Lane() as lane):
                lane.end()
            case GiveUp(member=Lane() as lane) if lane.task is not None:
                lane.phase = Phase.CLOSING
                self._did_not_open(lane, "another association is not answered while the first works")
                lane.task.cancel()

    async def _run(self, lane: Lane) -> None:
        """The life of one association."""
        try:
            if await self._open(lane) and lane.link is not None:
                while (parcel := await lane.next()) is not None:
                    await self._send(lane, lane.link, parcel)
                    lane.idle_s, lane.served = time.monotonic(), lane.served + 1
                    over = self._stopping or lane.link.closed or lane.alone is not None
                    lane.phase = Phase.CLOSING if over else Phase.IDLE
                    self._act()
                await self._close(lane, lane.link)
        finally:
            if lane.link is not None:
                lane.link.abort()
                self._courier.forget(lane.link)
            self._lanes.remove(lane)
        self._act()

    async def _send(self, lane: Lane, link: scu.Association, parcel: Parcel) -> None:
        established, opening = self._others(lane)
        sharing = 1 + established + min(opening, len(self._waiting))
        known = self._memory.known(parcel.pair[0], time.time())
        begun_s = time.monotonic()
        fate, reason = await self._courier.send(
            link, parcel, known, sharing, lambda: lane.candidates(self._waiting.values())
        )
        if fate in (Fate.LOST, Fate.STALLED, Fate.SLOW):
            self._lost(lane, parcel, fate, reason, begun_s)
        elif fate is not Fate.UNTRIED:
            self._answered(lane, parcel, fate, reason)

    def _answered(self, lane: Lane, parcel: Parcel, fate: Fate, reason: str) -> None:
        """The peer answered to an object, whatever it said."""
        now_s = time.monotonic()
        self._suspicion.answered(parcel, now_s, lane.alone)
        match fate:
            case Fate.ANSWERED:
                self._recovered()
            case Fate.UNSUPPORTED:
                self._recovered()
                self._unsupported(parcel.pair)
            case Fate.CONGESTED:
                self._warn(self._health.congested(reason, now_s, random.random()))

    def _lost(self, lane: Lane, parcel: Parcel, fate: Fate, reason: str, begun_s: float) -> None:
        """An association ended in the middle of an object: whose matter that is."""
        established, _ = self._others(lane)
        now_s = time.monotonic()
        if fate is not Fate.SLOW:
            stalled = fate is Fate.STALLED
            lost = self._suspicion.lost(parcel, reason, begun_s, now_s, lane.alone, stalled=stalled)
            if lost.first:
                self._warn(
                    f"{parcel.meta.sop_instance_uid}: {reason}; it is tried again, alone, when others had their turn"
                )
            for calling, sop_class, *study in lost.kinds:
                whose = "one study of it" if study else "these"
                self._warn(
                    f"association after association ends under SOP class {sop_class} from {calling}: "
                    f"{whose} are sent one at a time from now on, and others first"
                )
        if lane.alone is None and not established:
            self._warn(self._health.lost(reason, now_s, random.random()))

    def _others(self, lane: Lane) -> tuple[int, int]:
        """How many other associations are established, and how many are opening."""
        states = [other.phase for other in self._lanes if other is not lane]
        return states.count(Phase.IDLE) + states.count(Phase.BUSY), states.count(Phase.OPENING)

    def _warn(self, said: str) -> None:
        if said:
            logger.warning("%s: %s", self.destination.ae_title, said)

    def _recovered(self) -> None:
        if self._health.answered():
            logger.info("%s: works again", self.destination.ae_title)

    async def _open(self, lane: Lane) -> bool:
        destination, caller = self.destination, ""
        try:
            lane.link = await scu.Association.open(
                destination.host,
                destination.port,
                calling=lane.calling,
                called=destination.ae_title,
                contexts=lane.contexts,
                connect_timeout_s=destination.connect_timeout_s,
                answer_timeout_s=ANSWER_TIMEOUT_S,
            )
        except scu.AssociationRejected as error:
            reason = str(error)
            if error.result == FOR_GOOD and (error.source, error.reason) not in NOT_THE_CALLER:
                caller = lane.calling
        except Transient as error:
            reason = str(error)
        except asyncio.CancelledError:
            if self._stopping:
                raise
            return False  # given up
        else:
            self._established(lane, lane.link)
            return True
        self._did_not_open(lane, reason, caller)
        return False

    def _did_not_open(self, lane: Lane, reason: str, caller: str = "") -> None:
        established, opening = self._others(lane)
        now_s, jitter = time.monotonic(), random.random()
        self._warn(
            self._health.did_not_open(reason, now_s, jitter, established=established, opening=opening, caller=caller)
        )

    def _established(self, lane: Lane, link: scu.Association) -> None:
        now_s = time.monotonic()
        lane.accepted = self._memory.negotiated(lane.proposed, link.accepted, time.time())
        lane.refused, lane.phase = frozenset(lane.proposed) - lane.accepted, Phase.IDLE
        lane.established_s = lane.idle_s = now_s
        self._late_s = max(LATE_S, 2 * (now_s - lane.opened_s))
        self._health.opened(lane.calling)
        if link.address != self._address:
            self._address = link.address
            logger.info("%s: connected to %s", self.destination.ae_title, link.address)
        self._start(self._memory.note())
        self._settle(lane)
        self._make_lossy()
        self._start(self._watch(lane, link))
        self._act()

    async def _watch(self, lane: Lane, link: scu.Association) -> None:
        await link.wait_closed()
        lane.end()

    async def _close(self, lane: Lane, link: scu.Association) -> None:
        """Release it, unless the peer was faster. One that was of no use at all is a failure then."""
        if not link.closed:
            await link.release()
            self._health.freed(time.monotonic())
        elif not lane.served and not self._stopping:
            self._did_not_open(lane, "it accepted the association and ended it before an object was sent")

    # -- what it takes

    def _unsupported(self, pair: ladder.Pair) -> None:
        """It accepts a SOP class in a syntax and refuses the objects: what waits of that kind is not even sent."""
        self._memory.unsupported(pair, time.time())
        self._start(self._memory.note())
        for lane in self._lanes:
            if pair in lane.accepted:
                lane.accepted, lane.refused = frozenset(lane.accepted) - {pair}, lane.refused | {pair}
                self._settle(lane)

    def _settle(self, lane: Lane) -> None:
        """End what waits under this association's title in a syntax that it refused.

        Without another syntax left, only an association that was asked for after an entry had come may reject it.
        """
        now_s, settled = time.time(), []
        for parcel in list(self._all_waiting()) if lane.refused else ():
            if parcel.pair not in lane.refused or parcel.calling != lane.calling:
                continue
            known = self._memory.known(parcel.pair[0], now_s)
            if self._courier.turnable(parcel, known) is not None or parcel.since_s <= lane.opened_s:
                settled.append(self._take(parcel))
            else:
                self._refused_s.setdefault((parcel.calling, parcel.pair[0]), lane.opened_s)
        if settled:
            self._start(self._courier.settle(settled, self._memory.knowledge))
            self._recovered()

    def _make_lossy(self) -> None:
        """What was planned before the destination was seen goes back to be made lossy, now that it takes that."""
        wanted, now_s = self.destination.syntax, time.time()
        parcels = [
            parcel
            for parcel in self._all_waiting()
            if parcel.waiting.stage is Stage.ASKING
            and self._courier.turnable(parcel, self._memory.known(parcel.pair[0], now_s)) == wanted
        ]
        if parcels:
            self._start(self._turn_back([self._take(parcel) for parcel in parcels]))

    async def _turn_back(self, parcels: list[Parcel]) -> None:
        await self._memory.note()  # the workers read it
        await self._courier.settle(parcels, self._memory.knowledge)

    # -- the end

    async def drain(self, for_s: float) -> None:
        """Claim nothing more, let what is under way finish for so long, then abort; every claim is given back."""
        self._stopping = True
        for lane in self._lanes:
            lane.end()
            if lane.phase is Phase.OPENING and lane.task is not None:
                lane.task.cancel()
        if self._jobs:
            await asyncio.wait(self._jobs, timeout=for_s)
        for job in list(self._jobs):
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    def _start(self, job: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._jobs.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s: a fault of ours", self.destination.ae_title, exc_info=error)
