"""The frames of one object through the codec, by every worker that has nothing better to do, written in order.

The owner fills leases ahead and offers them; helpers take what is offered; the owner encodes whatever nobody has taken,
redoes what a dead helper left, and writes the frames in their order. It never waits for memory: with no lease to be
had it works on with what it holds, or in memory of its own. Memory is bounded by the arena, whatever the object.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from leyden.transcode.arena import Arena, FrameState, Lease, Work
from leyden.transcode.codecs import perform

HELPER_LOST_S = 0.1  # a helper that was killed rings no bell


@dataclass(frozen=True, slots=True)
class Order:
    """A frame to be worked on: what is to be done, the room that it needs, and what fills a lease with it."""

    work: Work
    room_bytes: int
    fill: Callable[[Lease], None]

    @property
    def pixels_bytes(self) -> int:
        return self.work.pixels_bytes

    def put_into(self, lease: Lease) -> None:
        lease.work, lease.length = self.work, 0
        self.fill(lease)


class Workplace(Protocol):
    """The worker in which an object is made, and those beside it, as this module needs them."""

    arena: Arena
    workers: int

    def wake(self, number: int) -> None:
        """Wake another worker."""

    def sleep(self, limit_s: float) -> None:
        """Sleep until somebody wakes this one."""

    def alive(self, size_bytes: int) -> None:
        """Say that it lives, and will for as long as work on so much may take."""

    def threads(self, size_bytes: int) -> int:
        """How many threads of its own the codec may use for one frame of this size; 0 = none."""

    def between_frames(self) -> None:
        """Called after each frame of a multi-frame object: may make another object first, or raise to end this one."""


def alone(workplace: Workplace, orders: Iterator[Order], emit: Callable[[Lease], object]) -> None:
    """Many frames, by this worker alone: for what may be the death of whoever helps."""
    for order in orders:
        single(workplace, order, emit)
        workplace.between_frames()


def single(workplace: Workplace, order: Order, emit: Callable[[Lease], object]) -> None:
    """One frame, by this worker alone, with the codec's own threads where cores are idle."""
    workplace.alive(order.pixels_bytes)
    lease = _lease(workplace, order) or Lease.private(order.pixels_bytes, order.room_bytes)
    try:
        order.put_into(lease)
        perform(lease, workplace.threads(order.pixels_bytes))
        emit(lease)
    finally:
        workplace.arena.release(lease)


def spread(workplace: Workplace, orders: Iterator[Order], emit: Callable[[Lease], object]) -> None:
    """Many frames, over all workers; `emit` sees them in order. What a frame raises ends the job."""
    ahead = 2 * workplace.workers + 1
    pending: deque[tuple[Lease, Order]] = deque()
    order, frame = next(orders, None), 0
    try:
        while order is not None or pending:
            while order is not None and len(pending) < ahead:
                lease = _lease(workplace, order)
                if lease is None:
                    break
                pending.append((lease, order))
                order.put_into(lease)
                lease.frame = frame
                workplace.arena.offer(lease)
                order, frame = next(orders, None), frame + 1
                _wake(workplace)
            if pending:
                workplace.alive(pending[0][1].pixels_bytes)
                if not _advance(workplace, pending, emit):
                    continue
            elif order is not None:
                single(workplace, order, emit)
                order, frame = next(orders, None), frame + 1
            workplace.between_frames()
    finally:
        for lease, _ in pending:
            workplace.arena.release(lease)


def help_out(workplace: Workplace) -> bool:
    """Work on one frame of somebody else's object; False if none is offered."""
    lease = workplace.arena.take_any()
    if lease is None:
        return False
    workplace.alive(len(lease.pixels))
    done = False
    # Whatever it raises, its owner does the frame anew and meets the same error, if it is one, and knows its meaning.
    with contextlib.suppress(Exception):
        perform(lease)
        done = True
    workplace.arena.finish(lease, done)
    workplace.wake(lease.owner)
    return True


def _lease(workplace: Workplace, order: Order) -> Lease | None:
    return workplace.arena.lease(order.pixels_bytes, order.room_bytes)


def _advance(workplace: Workplace, pending: deque[tuple[Lease, Order]], emit: Callable[[Lease], object]) -> bool:
    """Emit the first frame if it is done (True), else work on the first that nobody has taken, else wait a little."""
    arena, first = workplace.arena, pending[0][0]
    if arena.state(first) is FrameState.DONE:
        emit(first)
        arena.release(first)
        pending.popleft()
        return True
    for lease, order in pending:
        if arena.state(lease) is not FrameState.DONE and arena.take(lease):
            if order.work.reads >= 0:
                order.put_into(lease)  # a helper that got as far as encoding has written over the codestream
            perform(lease)
            arena.finish(lease, True)
            return False
    workplace.sleep(HELPER_LOST_S)
    return False


def _wake(workplace: Workplace) -> None:
    for number in range(workplace.workers):
        if number != workplace.arena.number:
            workplace.wake(number)
