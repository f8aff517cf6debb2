"""Leases of the arena: two views of one memfd stand for two workers, as each has its own open of it."""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from leyden.transcode.arena import SLOT_BYTES, Arena, FrameState, Lease, Work, bytes_of, layout
from leyden.transcode.pixels import Planes

PLANES = Planes(1, 20, 30, 12, signed=True)
WORK = Work(PLANES, PLANES, writes=0)


@pytest.fixture
def other(arena_fd: int) -> Iterator[Arena]:
    other = Arena(arena_fd, 1, 2)
    yield other
    other.close()


def fill(arena: Arena, frame: int = 0, room_bytes: int = 5000) -> Lease:
    lease = arena.lease(PLANES.size_bytes, room_bytes)
    assert lease is not None
    lease.work, lease.frame = WORK, frame
    PLANES.view(lease.pixels)[:] = frame
    return lease


@pytest.mark.parametrize("size_bytes", [0, 1, 4096, SLOT_BYTES, SLOT_BYTES + 4096, 16 << 20, 256 << 20])
def test_the_layout_fits(size_bytes: int) -> None:
    slots, first = layout(size_bytes)
    assert first % 4096 == 0
    assert slots == 0 or first + slots * SLOT_BYTES <= size_bytes
    assert slots * SLOT_BYTES >= size_bytes - 2 * SLOT_BYTES - 65536


def test_a_lease_is_what_was_asked_for(arena: Arena) -> None:
    lease = arena.lease(1001, 77)
    assert lease is not None
    assert (len(lease.pixels), len(lease.room)) == (1001, 77)
    lease.pixels[:] = b"\1" * 1001
    lease.room[:] = b"\2" * 77
    assert bytes(lease.pixels) == b"\1" * 1001
    arena.release(lease)


def test_leases_never_overlap(arena: Arena, other: Arena) -> None:
    leases: list[tuple[Arena, Lease]] = []
    for size_bytes in (1, SLOT_BYTES - 64, SLOT_BYTES, 3 * SLOT_BYTES, 1, 1, 2 * SLOT_BYTES, 5 * SLOT_BYTES):
        for who in (arena, other):
            lease = who.lease(size_bytes, 64)
            if lease is not None:
                leases.append((who, lease))
                lease.pixels[:] = bytes([len(leases)]) * size_bytes
                lease.room[:] = bytes([len(leases)]) * 64
    assert len(leases) > 10
    for number, (_, lease) in enumerate(leases, 1):
        assert set(lease.pixels) == set(lease.room) == {number}
    for who, lease in leases:
        who.release(lease)


def test_a_full_arena_is_an_answer_and_what_is_released_is_used_again(arena: Arena, other: Arena) -> None:
    leases: list[Lease] = []
    while (lease := arena.lease(SLOT_BYTES, SLOT_BYTES)) is not None:
        leases.append(lease)
    assert len(leases) == arena.slots // 2
    assert other.lease(SLOT_BYTES, SLOT_BYTES) is None
    arena.release(leases.pop(3))
    lease = other.lease(SLOT_BYTES, SLOT_BYTES)
    assert lease is not None
    assert arena.lease(SLOT_BYTES, SLOT_BYTES) is None
    other.release(lease)
    for lease in leases:
        arena.release(lease)


def test_too_large_for_any_arena(arena: Arena) -> None:
    assert arena.lease(1 << 30, 1) is None


def test_a_process_is_alone_until_another_one_has_a_lease(arena: Arena, other: Arena) -> None:
    assert arena.alone()
    lease = arena.lease(3 * SLOT_BYTES - 64, 64)
    assert lease is not None
    assert arena.alone(), "our own lease is no company"
    assert not other.alone()
    assert (arena.leased(), other.leased()) == (0, 3)
    arena.release(lease)
    assert other.alone()


@pytest.mark.parametrize(
    "work",
    [
        Work(replace(PLANES, precision=16), PLANES, reads=3, writes=1, signed=True, setting=9.5, verify=True),
        Work(Planes(3, 7, 9, 8, rct=True), Planes(3, 7, 9, 16), reads=0),
        Work(Planes(3, 65535, 1, 8), Planes(3, 65535, 1, 32, signed=True, rct=True), writes=9),
    ],
)
def test_a_helper_is_told_all_that_is_to_be_done(arena: Arena, other: Arena, work: Work) -> None:
    lease = arena.lease(work.pixels_bytes, 9)
    assert lease is not None
    lease.work = work
    arena.offer(lease)
    helped = other.take_any()
    assert helped is not None
    assert helped.work == work
    assert len(helped.pixels) == work.pixels_bytes
    other.finish(helped, True)
    arena.release(lease)


def test_an_offered_frame_is_taken_and_done_once(arena: Arena, other: Arena) -> None:
    lease = fill(arena, frame=7)
    assert other.take_any() is None, "not before it is offered"
    arena.offer(lease)
    helped = other.take_any()
    assert helped is not None
    assert (helped.work, helped.frame, helped.owner) == (WORK, 7, 0)
    assert (len(helped.pixels), len(helped.room)) == (PLANES.size_bytes, 5000)
    assert int(PLANES.view(helped.pixels)[0, 19, 29]) == 7
    assert other.take_any() is None
    assert not arena.take(lease), "a helper is at it"
    helped.room[:3] = b"abc"
    helped.length = 3
    other.finish(helped, True)
    assert arena.state(lease) is FrameState.DONE
    assert lease.length == 3
    assert bytes(lease.room[:3]) == b"abc"
    assert not arena.take(lease), "it is done"
    arena.release(lease)


def test_the_lowest_frame_is_taken_first_and_never_ones_own(arena: Arena, other: Arena) -> None:
    leases = [fill(arena, frame) for frame in (2, 0, 1)]
    for lease in leases:
        arena.offer(lease)
    assert arena.take_any() is None
    taken = [other.take_any() for _ in range(3)]
    assert [lease.frame for lease in taken if lease] == [0, 1, 2]
    for lease in taken:
        assert lease is not None
        other.finish(lease, True)
    for lease in leases:
        arena.release(lease)


def test_a_frame_that_failed_is_left_to_its_owner(arena: Arena, other: Arena) -> None:
    lease = fill(arena)
    arena.offer(lease)
    helped = other.take_any()
    assert helped is not None
    other.finish(helped, False)
    assert arena.state(lease) is FrameState.FAILED
    assert other.take_any() is None
    assert arena.take(lease)
    arena.release(lease)


def test_a_dead_helper_leaves_the_frame_to_its_owner_alone(arena: Arena, arena_fd: int, other: Arena) -> None:
    lease = fill(arena)
    arena.offer(lease)
    dying = Arena(arena_fd, 5, 8)
    assert dying.take_any() is not None
    dying.close()
    assert arena.state(lease) is FrameState.FILLED
    assert other.take_any() is None, "it may have killed its helper: no second one"
    assert arena.take(lease)
    arena.release(lease)


def test_what_a_dead_owner_left_is_nobodys_work(arena_fd: int, arena: Arena, other: Arena) -> None:
    dying = Arena(arena_fd, 5, 8)
    left = fill(dying)
    dying.offer(left)
    dying.close()
    assert other.take_any() is None
    lease = arena.lease(PLANES.size_bytes, 5000)
    assert lease is not None
    arena.release(lease)


def test_memory_that_a_helper_still_works_on_is_not_leased_again(arena_fd: int, arena: Arena, other: Arena) -> None:
    dying = Arena(arena_fd, 5, 8)
    left = fill(dying, frame=9)
    dying.offer(left)
    helped = other.take_any()
    assert helped is not None
    dying.close()
    leases: list[Lease] = []
    while (lease := arena.lease(1, 1)) is not None:
        lease.pixels[0] = 255
        leases.append(lease)
    assert len(leases) == arena.slots - 1
    assert int(PLANES.view(helped.pixels)[0, 0, 0]) == 9
    other.finish(helped, True)
    last = arena.lease(1, 1)
    assert last is not None
    assert arena.state(last) is FrameState.FREE
    for lease in (*leases, last):
        arena.release(lease)


def test_a_released_frame_is_not_taken(arena: Arena, other: Arena) -> None:
    lease = fill(arena)
    arena.offer(lease)
    arena.release(lease)
    assert other.take_any() is None


def test_rubbish_in_the_table_is_passed_over(arena: Arena, other: Arena) -> None:
    rows = arena._rows
    rows["state"], rows["slots"], rows["owner"] = FrameState.FILLED, 1 << 31, 4
    assert other.take_any() is None
    rows["slots"] = 0
    assert other.take_any() is None
    rows["slots"] = 1
    assert other.take_any() is None, "nobody holds a lease of it"


def test_private_memory_has_the_same_shape(arena: Arena) -> None:
    lease = Lease.private(1001, 77)
    assert (len(lease.pixels), len(lease.room)) == (1001, 77)
    assert bytes_of(1001, 77) == 1024 + 77
    arena.release(lease)
