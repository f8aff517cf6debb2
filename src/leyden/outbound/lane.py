"""An association of a destination's pool: its connection, its task, and the object that is bound to it.

Who binds what is decided by deliver/pool.py; the outbox acts on it.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from leyden.deliver.pool import Member, Phase
from leyden.form import ladder
from leyden.net import scu
from leyden.outbound.window import Parcel

CANDIDATES = 16


@dataclass(slots=True, eq=False)
class Lane(Member):
    """One association of the pool."""

    contexts: tuple[ladder.Pair, ...] = ()  # as proposed, in order
    refused: frozenset[ladder.Pair] = frozenset()
    link: scu.Association | None = None
    task: "asyncio.Task[None] | None" = None
    bound: Parcel | None = None
    waiter: "asyncio.Future[None] | None" = None

    def bind(self, parcel: Parcel) -> None:
        self.phase, self.bound = Phase.BUSY, parcel
        self._wake()

    def candidates(self, waiting: Iterable[Parcel]) -> Iterator[Parcel]:
        """What may be bound to it next, of the first that wait."""
        return (parcel for parcel in islice(waiting, CANDIDATES) if self.fits(parcel))

    def end(self) -> None:
        """Release it, if nothing is bound to it."""
        if self.phase is Phase.IDLE:
            self.phase = Phase.CLOSING
            self._wake()

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def next(self) -> Parcel | None:
        """The next object to send; None when the association is to end."""
        while self.bound is None and self.phase is not Phase.CLOSING:
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        parcel, self.bound = self.bound, None
        return parcel
