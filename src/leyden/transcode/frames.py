"""The frames of one object go through the codec, with the help of every idle worker, and are written in order.

The owner of the object fills leases ahead and offers them, and helpers take what is offered. The owner works on the
frames that no helper has taken, repeats those of a helper that died, and writes all frames in order. It never waits for
memory: if the arena has no lease left, it goes on with those that it holds, or with memory of its own. So the memory is
bounded by the arena, whatever the object.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from leyden.transcode.arena import Arena, FrameState, Lease, Work
from leyden.transcode.codecs import perform

HELPER_LOST_S = 0.1  # the longest sleep, as a helper that was killed does not ring the bell


class Order(msgspec.Struct, frozen=True):
    """A frame to be worked on: what is to be done, the room that it needs, and what fills a lease with it."""

    work: Work
    room_bytes: int
    fill: Callable[[Lease], None]

    @property
    def pixels_bytes(self) -> int:
        return self.work.pixels_bytes

    def put_into(self, lease: Lease) -> None:
        lease.work = self.work
        lease.length = 0
        self.fill(lease)


class Workplace(Protocol):
    """The worker that makes an object, and its fellow workers, as far as this module needs them."""

    arena: Arena
    workers: int

    def wake(self, number: int) -> None:
        """Wake another worker."""

    def sleep(self, limit_s: float) -> None:
        """Sleep until another worker wakes this one, or until `limit_s` is over."""

    def alive(self, size_bytes: int) -> None:
        """Tell the supervisor that this worker lives, and may be silent for as long as so many bytes take."""

    def threads(self, size_bytes: int) -> int:
        """How many threads the codec may use for one frame of this size; 0 = none of its own."""

    def between_frames(self) -> None:
        """Called after each frame of a multi-frame object. It may make another object, or raise to end this one."""


def alone(workplace: Workplace, orders: Iterator[Order], emit: Callable[[Lease], object]) -> None:
    """Many frames, by this worker alone: for an object that may kill each worker that helps."""
    for order in orders:
        single(workplace, order, emit)
        workplace.between_frames()


def single(workplace: Workplace, order: Order, emit: Callable[[Lease], object]) -> None:
    """One frame, by this worker alone, with the codec's own threads if cores are idle."""
    workplace.alive(order.pixels_bytes)
    lease = _lease(workplace, order) or Lease.private(order.pixels_bytes, order.room_bytes)
    try:
        order.put_into(lease)
        perform(lease, workplace.threads(order.pixels_bytes))
        emit(lease)
    finally:
        workplace.arena.release(lease)


def spread(workplace: Workplace, orders: Iterator[Order], emit: Callable[[Lease], object]) -> None:
    """Many frames, over all workers. `emit` is called in the order of the frames. An exception of one ends the job."""
    ahead = 2 * workplace.workers + 1
    pending: deque[tuple[Lease, Order]] = deque()
    order = next(orders, None)
    frame = 0
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
                order = next(orders, None)
                frame += 1
                _wake(workplace)
            if pending:
                workplace.alive(pending[0][1].pixels_bytes)
                if not _advance(workplace, pending, emit):
                    continue
            elif order is not None:
                single(workplace, order, emit)
                order = next(orders, None)
                frame += 1
            workplace.between_frames()
    finally:
        for lease, _ in pending:
            workplace.arena.release(lease)


def help_out(workplace: Workplace) -> bool:
    """Work on one frame of another worker's object; False if none is offered."""
    lease = workplace.arena.take_any()
    if lease is None:
        return False
    workplace.alive(len(lease.pixels))
    done = False
    # Errors are ignored: the owner repeats the frame, meets the same error if it is a real one, and can handle it.
    with contextlib.suppress(Exception):
        perform(lease)
        done = True
    workplace.arena.finish(lease, done)
    workplace.wake(lease.owner)
    return True


def _lease(workplace: Workplace, order: Order) -> Lease | None:
    return workplace.arena.lease(order.pixels_bytes, order.room_bytes)


def _advance(workplace: Workplace, pending: deque[tuple[Lease, Order]], emit: Callable[[Lease], object]) -> bool:
    """Emit the first frame if it is done (True). If not, work on the first free frame, or wait a little if none is."""
    arena = workplace.arena
    first = pending[0][0]
    if arena.state(first) is FrameState.DONE:
        emit(first)
        arena.release(first)
        pending.popleft()
        return True
    for lease, order in pending:
        if arena.state(lease) is not FrameState.DONE and arena.take(lease):
            if order.work.reads >= 0:
                order.put_into(lease)  # a helper that came as far as encoding has overwritten the codestream
            perform(lease)
            arena.finish(lease, True)
            return False
    workplace.sleep(HELPER_LOST_S)
    return False


def _wake(workplace: Workplace) -> None:
    for number in range(workplace.workers):
        if number != workplace.arena.number:
            workplace.wake(number)
