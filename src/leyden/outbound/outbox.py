"""Everything that leaves for one destination.

The trip of an instance, call by call:

- `Outbox.ring()` and `tick()` let `Window.run()` know that a look may be due. It calls `SendQueue.look()`, holds what
  may be sent, and calls `_filled()`: hopeless suspects are given up, and `Associations.filled()` remakes or rejects
  what the destination was seen to refuse (`Refusals.apply()`).
- `Associations.act()` is called whenever anything has happened. It asks `deliver.pool.assign()` and does what that
  says: open an association (`_live()`), release one, or bind an instance to an idle one (`LiveMember.bind()`).
- `Associations._send()` wakes with the instance that was bound. `Attempts.make()` claims it, sends it and returns an
  Outcome; `Claims.end()` ends the claim as that says; `_learn()` tells the health and the suspicion of it.

Who writes what: `Window` what waits and what is in hand, `Associations` the members and their phase, `Refusals` what a
member accepted, `Claims` the history of an instance.

An Outbox shares nothing with the others but the event loop, a few threads for the disk and the writer of receipts, so
that a dead destination costs them nothing: while it is backed off its queue is not even listed.
"""

import time
from collections.abc import Iterable
from concurrent.futures import Executor
from functools import partial

import msgspec
from msgspec.structs import replace

from leyden.deliver.destination import Destination
from leyden.deliver.pool import Phase
from leyden.deliver.retry import Health
from leyden.deliver.suspicion import Suspicion
from leyden.outbound.associations import Associations
from leyden.outbound.capabilities import Capabilities
from leyden.outbound.claims import Claims, Statistics
from leyden.outbound.jobs import Jobs
from leyden.outbound.outcome import Outcome, given_up
from leyden.outbound.queue import Instance, SendQueue
from leyden.outbound.receipts import GroupReceipts
from leyden.outbound.window import Window
from leyden.plan.rules import Sorting
from leyden.spool.store import Spool


class Live(msgspec.Struct, frozen=True):
    """How a destination does just now. `next_try_s` and those of `callers` are of the monotonic clock, 0 = none.

    `associations` are established, `opening` are not yet. `line_bytes_per_s`: what the line carried lately.
    """

    in_hand: int
    associations: int
    opening: int
    next_try_s: float
    failures: int
    callers: tuple[tuple[str, float], ...]
    line_bytes_per_s: float
    statistics: Statistics


RELEASE_S = 5.0  # for the associations of a destination that is removed to end in good order


class Outbox:
    """Delivers what stands in prepared/<DEST> and asking/<DEST>. Every method is for the thread of the event loop."""

    def __init__(
        self,
        destination: Destination,
        spool: Spool,
        claimant: str,
        my_ae_title: str,
        receipts: GroupReceipts,
        threads: Executor,
        workers: int = 0,
        sortings: Iterable[Sorting] = (),
    ) -> None:
        title = destination.ae_title
        self.destination = destination
        self._jobs = Jobs(title)
        self._suspicion = Suspicion()
        self._health = Health(destination.max_associations, destination.retry_delays_s)
        self._my_ae_title = my_ae_title
        self._sortings = tuple(sortings)
        self._queue_for = partial(SendQueue, spool, claimant=claimant)
        queue = self._queue_for(destination, my_ae_title=my_ae_title, sortings=self._sortings)
        self._window = Window(title, queue, self._suspicion, threads)
        self._claims = Claims(destination, spool, claimant, self._window, receipts, threads, workers)
        capabilities = Capabilities(spool.root, title, threads)
        self._associations = Associations(
            destination, self._window, self._claims, capabilities, self._suspicion, self._health, self._jobs
        )
        self._filling = self._jobs.start(
            self._window.run(lambda: self._associations.blocked, self._backed_off, self._filled)
        )

    def __repr__(self) -> str:
        members = " ".join(f"{member.calling}:{member.phase.value}" for member in self._associations.members)
        waiting, in_hand = len(self._window.waiting), len(self._window.in_hand)
        return f"<Outbox {self.destination.ae_title} waiting={waiting} in_hand={in_hand} [{members}]>"

    @property
    def serving(self) -> bool:
        """Whether an operator, ProcessSchedule and ProcessNetworks allow it to send."""
        return self._associations.serving

    @serving.setter
    def serving(self, serving: bool) -> None:
        self._associations.serving = serving

    def statistics(self) -> Statistics:
        """The counts as they are now."""
        return replace(self._claims.statistics)

    def live(self) -> Live:
        """For whoever looks from outside."""
        now_s = time.monotonic()
        phases = [member.phase for member in self._associations.members]
        return Live(
            len(self._window.in_hand),
            phases.count(Phase.IDLE) + phases.count(Phase.BUSY),
            phases.count(Phase.OPENING),
            self._health.next_try_s(now_s),
            self._health.failures,
            tuple(self._health.next_tries_s(now_s).items()),
            self._associations.line.bytes_per_s,
            self.statistics(),
        )

    def go_by(self, destination: Destination, my_ae_title: str, sortings: Iterable[Sorting]) -> None:
        """Deliver as these settings say from now on. What is under way finishes as it began."""
        before = self.destination, self._my_ae_title, self._sortings
        self.destination, self._my_ae_title, self._sortings = destination, my_ae_title, tuple(sortings)
        if before == (self.destination, self._my_ae_title, self._sortings):
            return
        self._window.look_anew(self._queue_for(destination, my_ae_title=my_ae_title, sortings=self._sortings))
        self._claims.destination = destination
        self._associations.go_by(destination)

    def ring(self) -> None:
        """Something may have arrived."""
        self._window.ring()
        self._associations.act()

    def try_now(self, whole: bool) -> None:
        """Do not wait for the next try; with `whole`, send without process delays what has come up to now."""
        if whole:
            self._window.skip_delays(time.time())
        self._associations.try_now()

    def tick(self) -> None:
        """To be called a few times a second."""
        self._window.pulse()
        self._associations.act()

    def _backed_off(self) -> frozenset[str]:
        return self._health.backed_off(time.monotonic())

    def _filled(self) -> None:
        for instance in list(self._window.suspects.values()):
            last_words = self._suspicion.hopeless(instance)
            if last_words is not None:
                self._suspicion.gave_up(instance)
                self._jobs.start(self._give_up(self._window.take(instance), last_words))
        self._associations.filled()

    async def _give_up(self, instance: Instance, last_words: str) -> None:
        claim = self._claims.take(instance)
        outcome = claim if isinstance(claim, Outcome) else given_up(instance, claim, last_words)
        await self._claims.end(outcome)

    async def leave(self) -> None:
        """Claim nothing more, and return once everything that is under way has ended, whatever time that takes.

        tick() has to be called meanwhile.
        """
        self._filling.cancel()
        self._associations.stop()
        await self._window.emptied()
        await self._jobs.drain(RELEASE_S)

    async def drain(self, for_s: float) -> None:
        """Claim nothing more, let what is under way finish for so long, then abort; every claim is given back."""
        self._filling.cancel()
        self._associations.stop()
        await self._jobs.drain(for_s)
