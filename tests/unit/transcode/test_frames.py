"""Frames over several workers. Two views of an arena in one process are two workers; the second works when rung."""

import zlib
from collections import deque
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from leyden.errors import Corrupt
from leyden.transcode import codecs
from leyden.transcode.arena import SLOT_BYTES, Arena, Lease, Work
from leyden.transcode.frames import Order, alone, help_out, single, spread
from leyden.transcode.pixels import CodecError, Planes, Unfit
from support.transcoding import Bench

PLANES = Planes(1, 16, 16, 8)
THREADS: list[int] = []


@pytest.fixture(autouse=True)
def deflate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec of its own for these tests: what matters here is who does which frame."""

    def encode(planes: Planes, pixels: memoryview, room: memoryview, setting: float, threads: int) -> int:
        THREADS.append(threads)
        data = zlib.compress(pixels[:256])
        room[: len(data)] = data
        if pixels[0] == 255:
            raise Corrupt("frame 255")
        return len(data)

    codec = replace(codecs.CODECS[0], encode=encode)
    monkeypatch.setattr(codecs, "CODECS", (codec,))


def order(frame: int, planes: Planes = PLANES) -> Order:
    def fill(lease: Lease) -> None:
        lease.pixels[:] = bytes([frame]) * len(lease.pixels)

    return Order(Work(planes, planes, writes=0), 1024, fill)


def orders(count: int) -> Iterator[Order]:
    return (order(frame) for frame in range(count))


def collect(into: list[int]) -> Callable[[Lease], None]:
    return lambda lease: into.append(zlib.decompress(lease.room[: lease.length])[0])


def test_without_a_helper_the_frames_come_in_order(bench: Bench) -> None:
    seen: list[int] = []
    spread(bench, orders(50), collect(seen))
    assert seen == list(range(50))


def test_in_order_with_a_helper_that_does_its_part(bench: Bench, arena_fd: int) -> None:
    seen: list[int] = []
    helping = Arena(arena_fd, 1, 2)
    helper = replace(bench, arena=helping, wake=lambda number: None)
    helped = deque[bool]()
    owner = replace(bench, wake=lambda number: helped.append(help_out(helper)), sleep=lambda timeout_s: None)
    spread(owner, orders(50), collect(seen))
    assert seen == list(range(50))
    assert helped.count(True) == 50, "each frame was rung for, and each ring found one"
    helping.close()


def test_a_helper_that_never_comes_back(bench: Bench, arena_fd: int) -> None:
    seen: list[int] = []
    dying = Arena(arena_fd, 1, 2)
    taken: list[Lease] = []

    def ring(number: int) -> None:
        if not taken and (lease := dying.take_any()):
            taken.append(lease)

    def wait(timeout_s: float) -> None:
        dying.close()

    spread(replace(bench, wake=ring, sleep=wait), orders(20), collect(seen))
    assert len(taken) == 1
    assert seen == list(range(20))


def test_frames_larger_than_the_arena_go_one_by_one(bench: Bench) -> None:
    seen: list[int] = []
    planes = Planes(1, bench.arena.slots * SLOT_BYTES + 1, 1, 8)
    spread(bench, (order(frame, planes) for frame in range(3)), collect(seen))
    assert seen == [0, 1, 2]


def test_a_full_arena_stops_no_object(bench: Bench, arena_fd: int) -> None:
    seen: list[int] = []
    greedy = Arena(arena_fd, 1, 2)
    leases: list[Lease] = []
    while (lease := greedy.lease(1, 1)) is not None:
        leases.append(lease)
    greedy.release(leases.pop())
    spread(bench, orders(9), collect(seen))
    assert seen == list(range(9))
    lease = greedy.lease(1, 1)
    assert lease is not None
    spread(bench, orders(9), collect(seen))
    single(bench, order(9), collect(seen))
    assert seen == [*range(9), *range(9), 9]
    greedy.close()


@pytest.mark.parametrize("helping", [False, True])
def test_an_exception_of_a_frame_ends_the_job_and_frees_the_leases(bench: Bench, arena_fd: int, helping: bool) -> None:
    seen: list[int] = []
    view = Arena(arena_fd, 1, 2)
    helper = replace(bench, arena=view, wake=lambda number: None)
    if helping:
        bench = replace(bench, wake=lambda number: help_out(helper), sleep=lambda timeout_s: None)
    with pytest.raises(Corrupt, match="frame 255"):
        spread(bench, (order(frame) for frame in (0, 1, 2, 255, 4, 5)), collect(seen))
    assert seen == [0, 1, 2]
    assert view.leased() == 0
    view.close()


def test_an_exception_in_filling_ends_the_job(bench: Bench) -> None:
    def fill(lease: Lease) -> None:
        raise Corrupt("no such frame")

    with pytest.raises(Corrupt, match="no such frame"):
        spread(bench, iter([order(0), Order(Work(PLANES, PLANES), 10, fill)]), lambda lease: None)
    with pytest.raises(Corrupt, match="no such frame"):
        single(bench, Order(Work(PLANES, PLANES), 10, fill), lambda lease: None)


def test_other_objects_get_a_turn_after_each_frame(bench: Bench) -> None:
    seen: list[int] = []
    turns: list[int] = []
    spread(replace(bench, between_frames=lambda: turns.append(len(seen))), orders(5), collect(seen))
    assert turns == [1, 2, 3, 4, 5]


def test_memory_is_bounded_and_the_first_frame_comes_before_the_last_is_read(bench: Bench) -> None:
    filled: list[int] = []

    def counted(frame: int) -> Order:
        one = order(frame)

        def fill(lease: Lease) -> None:
            filled.append(frame)
            one.fill(lease)

        return replace(one, fill=fill)

    ahead = []
    spread(bench, map(counted, range(100)), lambda lease: ahead.append(len(filled)))
    assert max(at - number for number, at in enumerate(ahead)) <= 2 * bench.workers + 1


def test_the_codecs_own_threads_are_for_single_frames(bench: Bench) -> None:
    THREADS.clear()
    threaded = replace(bench, threads=lambda size_bytes: 3)
    single(threaded, order(1), collect([]))
    spread(threaded, orders(3), collect([]))
    assert THREADS == [3, 0, 0, 0]


@pytest.mark.parametrize("error", [CodecError, Corrupt])
def test_a_codec_that_fails_with_threads_is_tried_once_without(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    tried: list[int] = []

    def encode(planes: Planes, pixels: memoryview, room: memoryview, setting: float, threads: int) -> int:
        tried.append(threads)
        if threads or pixels[0] == 2:
            raise error("no memory for threads")
        return 0

    monkeypatch.setattr(codecs, "CODECS", (replace(codecs.CODECS[0], encode=encode),))
    threaded = replace(bench, threads=lambda size_bytes: 3)
    done: list[Lease] = []
    single(threaded, order(1), done.append)
    assert (tried, len(done)) == ([3, 0], 1)
    expected = Unfit if error is CodecError else error
    with pytest.raises(expected, match="no memory"):
        single(threaded, order(2), done.append)
    assert tried == [3, 0, 3, 0]
    with pytest.raises(expected, match="no memory"):
        spread(bench, map(order, (1, 2)), done.append)
    assert len(done) == 2


def test_a_codestream_that_a_helper_has_overwritten_is_read_again(
    bench: Bench, arena_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame to be decoded and encoded: a helper that fails late has replaced the source's codestream by its own."""

    def decode(codestream: memoryview, planes: Planes, pixels: memoryview, threads: int) -> None:
        pixels[:] = bytes(codestream[:1]) * len(pixels)

    def encode(planes: Planes, pixels: memoryview, room: memoryview, setting: float, threads: int) -> int:
        room[0], value = 255, pixels[0]
        if helping:
            raise CodecError("a helper's own trouble")
        room[1] = value
        return 2

    monkeypatch.setattr(codecs, "CODECS", (replace(codecs.CODECS[0], decode=decode, encode=encode),))

    def order(frame: int) -> Order:
        def fill(lease: Lease) -> None:
            lease.room[0], lease.length = frame, 1

        return Order(Work(PLANES, PLANES, reads=0, writes=0), 1024, fill)

    view = Arena(arena_fd, 1, 2)
    helper = replace(bench, arena=view, wake=lambda number: None)
    helping = False

    def ring(number: int) -> None:
        nonlocal helping
        helping = True
        help_out(helper)
        helping = False

    seen: list[int] = []
    spread(
        replace(bench, wake=ring, sleep=lambda s: None), map(order, range(9)), lambda lease: seen.append(lease.room[1])
    )
    assert seen == list(range(9))
    view.close()


def test_an_object_that_may_kill_helpers_is_not_offered_to_them(bench: Bench, arena_fd: int) -> None:
    seen: list[int] = []
    turns: list[int] = []
    helping = Arena(arena_fd, 1, 2)
    lonely = replace(bench, wake=lambda number: pytest.fail("rings"), between_frames=lambda: turns.append(len(seen)))
    alone(lonely, orders(5), lambda lease: (collect(seen)(lease), helping.take_any() and pytest.fail("offered"))[0])
    assert seen == list(range(5))
    assert turns == [1, 2, 3, 4, 5]
    helping.close()
