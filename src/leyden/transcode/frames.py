"""The frames of one object through the codec, by every worker that has nothing better to do, written in order.

The owner fills leases ahead and offers them; helpers take what is offered; the owner encodes whatever nobody has taken,
redoes what a dead helper left, and writes the frames in their order. It never waits for memory: with no lease to be
had it works on with what it holds, or in memory of its own. Memory is bounded by the arena, whatever the object.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from leyden.transcode.arena import Arena, Lease, State, Work
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


@dataclass(slots=True)
class Crew:
    """A worker and those beside it, as this module needs them.

    `ring(number)` wakes another worker, `wait(timeout_s)` sleeps until somebody wakes us, `alive(bytes)` asks for the
    time that so much work may take, `threads(bytes)` says how many threads the codec may use for one frame, `between`
    is called after each frame of a multi-frame object: it may do something else first, or raise to end the job.
    """

    arena: Arena
    workers: int
    ring: Callable[[int], None]
    wait: Callable[[float], object]
    alive: Callable[[int], None]
    threads: Callable[[int], int]
    between: Callable[[], None]


def alone(crew: Crew, orders: Iterator[Order], emit: Callable[[Lease], object]) -> None:
    """Many frames, by this worker alone: for what may be the death of whoever helps."""
    for order in orders:
        single(crew, order, emit)
        crew.between()


def single(crew: Crew, order: Order, emit: Callable[[Lease], object]) -> None:
    """One frame, by this worker alone, with the codec's own threads where cores are idle."""
    crew.alive(order.pixels_bytes)
    lease = _lease(crew, order) or Lease.private(order.pixels_bytes, order.room_bytes)
    try:
        order.put_into(lease)
        perform(lease, crew.threads(order.pixels_bytes))
        emit(lease)
    finally:
        crew.arena.release(lease)


def spread(crew: Crew, orders: Iterator[Order], emit: Callable[[Lease], object]) -> None:
    """Many frames, over all workers; `emit` sees them in order. What a frame raises ends the job."""
    ahead = 2 * crew.workers + 1
    pending: deque[tuple[Lease, Order]] = deque()
    order, frame = next(orders, None), 0
    try:
        while order is not None or pending:
            while order is not None and len(pending) < ahead:
                lease = _lease(crew, order)
                if lease is None:
                    break
                pending.append((lease, order))
                order.put_into(lease)
                lease.frame = frame
                crew.arena.offer(lease)
                order, frame = next(orders, None), frame + 1
                _wake(crew)
            if pending:
                crew.alive(pending[0][1].pixels_bytes)
                if not _advance(crew, pending, emit):
                    continue
            elif order is not None:
                single(crew, order, emit)
                order, frame = next(orders, None), frame + 1
            crew.between()
    finally:
        for lease, _ in pending:
            crew.arena.release(lease)


def help_out(crew: Crew) -> bool:
    """Work on one frame of somebody else's object; False if none is offered."""
    lease = crew.arena.take_any()
    if lease is None:
        return False
    crew.alive(len(lease.pixels))
    done = False
    # Whatever it raises, its owner does the frame anew and meets the same error, if it is one, and knows its meaning.
    with contextlib.suppress(Exception):
        perform(lease)
        done = True
    crew.arena.finish(lease, done)
    crew.ring(lease.owner)
    return True


def _lease(crew: Crew, order: Order) -> Lease | None:
    return crew.arena.lease(order.pixels_bytes, order.room_bytes)


def _advance(crew: Crew, pending: deque[tuple[Lease, Order]], emit: Callable[[Lease], object]) -> bool:
    """Emit the first frame if it is done (True), else work on the first that nobody has taken, else wait a little."""
    arena, first = crew.arena, pending[0][0]
    if arena.state(first) is State.DONE:
        emit(first)
        arena.release(first)
        pending.popleft()
        return True
    for lease, order in pending:
        if arena.state(lease) is not State.DONE and arena.take(lease):
            if order.work.reads >= 0:
                order.put_into(lease)  # a helper that got as far as encoding has written over the codestream
            perform(lease)
            arena.finish(lease, True)
            return False
    crew.wait(HELPER_LOST_S)
    return False


def _wake(crew: Crew) -> None:
    for number in range(crew.workers):
        if number != crew.arena.number:
            crew.ring(number)
