"""What of a queue is held in memory: when it is looked at, and who waits where."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import ANY

import pytest

from leyden.deliver.destination import Destination
from leyden.deliver.suspicion import KIND_LOSSES
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE
from leyden.outbound import window
from leyden.outbound.queue import WINDOW, Instance
from support.outbound import DATA, Parts, on_a_loop

PACS = Destination("PACS", "127.0.0.1", 104, expiry_threshold_s=0.0)


class Running:
    """A window whose loop runs; `filled` is set after each look."""

    def __init__(self, root) -> None:
        self.parts = Parts(root, PACS)
        self.window = self.parts.window
        self.blocked = False
        self.passed_over: list[str] = []
        self.looks = 0
        self.filled = asyncio.Event()
        self.fault: Exception | None = None

    def _filled(self) -> None:
        self.looks += 1
        self.filled.set()
        if self.fault is not None:
            raise self.fault

    async def __aenter__(self):
        self.task = self.parts.jobs.start(self.window.run(lambda: self.blocked, lambda: self.passed_over, self._filled))
        await self.looked()
        return self

    async def __aexit__(self, *error) -> None:
        self.task.cancel()
        await self.parts.close()

    async def looked(self) -> list[str]:
        """After the next look: the receipts that wait."""
        await asyncio.wait_for(self.filled.wait(), 10)
        self.filled.clear()
        return list(self.window.waiting)

    async def some_turns(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


@on_a_loop
async def test_a_ring_makes_it_look(tmp_path):
    async with Running(tmp_path) as running:
        first = running.parts.put(1)
        running.window.ring()
        assert await running.looked() == [first]
        second = running.parts.put(2)
        running.window.ring()
        assert await running.looked() == [first, second]


@on_a_loop
async def test_a_machine_that_stood_still_in_a_look_rests_no_longer_than_after_the_longest_one(tmp_path, monkeypatch):
    clock = SimpleNamespace(monotonic=time.monotonic, time=time.time)
    monkeypatch.setattr(window, "time", clock)
    monkeypatch.setattr(window, "REST_MAX_S", 0.2)
    async with Running(tmp_path) as running:
        really, look = clock.monotonic, running.parts.window._queue.look

        def paused(*asked):
            clock.monotonic = lambda: really() + 1000.0
            return look(*asked)

        monkeypatch.setattr(running.parts.window._queue, "look", paused)
        running.window.ring()
        await running.looked()
        first = running.parts.put(1)
        running.window.ring()
        assert await running.looked() == [first]


@on_a_loop
async def test_without_a_ring_it_looks_now_and_then_if_it_is_told_that_time_passes(tmp_path, monkeypatch):
    async with Running(tmp_path) as running:
        receipt = running.parts.put(1)
        monkeypatch.setattr("leyden.outbound.window.LOOK_S", 0.0)
        running.window.pulse()
        assert await running.looked() == [receipt]
        monkeypatch.undo()


@on_a_loop
async def test_a_ring_has_no_effect_until_something_can_be_sent(tmp_path):
    async with Running(tmp_path) as running:
        receipt = running.parts.put(1)
        running.blocked = True
        running.window.ring()
        await running.some_turns()
        assert running.looks == 1
        running.blocked = False
        running.window.pulse()
        assert await running.looked() == [receipt]


@on_a_loop
async def test_a_ring_has_no_effect_while_more_than_half_of_the_window_waits(tmp_path):
    async with Running(tmp_path) as running:
        receipt = running.parts.put(1)
        running.window.ring()
        await running.looked()
        (one,) = running.window.waiting.values()
        running.window.waiting |= {str(n): one for n in range(WINDOW // 2)}
        running.window.ring()
        await running.some_turns()
        assert running.looks == 2
        running.window.waiting.popitem()
        running.window.waiting.popitem()
        running.window.pulse()
        assert await running.looked() == [receipt]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("a fault of ours")])
def test_whatever_happens_at_a_look_another_one_follows(tmp_path, monkeypatch, caplog, error):
    @on_a_loop
    async def run():
        async with Running(tmp_path) as running:
            receipt = running.parts.put(1)
            failed = asyncio.Event()

            def fail(*what):
                failed.set()
                raise error

            with monkeypatch.context() as patch:
                patch.setattr(running.parts.spool, "waiting", fail)
                running.window.ring()
                await failed.wait()
                await running.some_turns()
            running.filled.clear()
            running.window.ring()
            assert await running.looked() == [receipt]
        assert str(error) in caplog.text

    run()


@on_a_loop
async def test_a_fault_in_what_is_done_after_a_look_does_not_end_the_looks(tmp_path, caplog):
    async with Running(tmp_path) as running:
        running.fault = ValueError("that was wrong")
        running.window.ring()
        await running.looked()
        running.fault = None
        receipt = running.parts.put(1)
        running.window.ring()
        assert await running.looked() == [receipt]
    assert "that was wrong" in caplog.text


@on_a_loop
async def test_what_is_in_hand_does_not_wait_as_well(tmp_path):
    async with Running(tmp_path) as running:
        first, second = running.parts.put(1), running.parts.put(2)
        running.window.ring()
        await running.looked()
        instance = running.window.take(running.window.waiting[first])
        running.window.ring()
        assert await running.looked() == [second]
        running.window.moved(instance)
        running.window.pulse()
        assert await running.looked() == [first, second]
        running.window.take(instance)
        with pytest.raises(KeyError):
            running.window.take(instance)


@on_a_loop
async def test_a_serial_one_waits_for_a_look_that_nothing_came_back_during(tmp_path, monkeypatch):
    async with Running(tmp_path) as running:
        older, serial = running.parts.put(1), running.parts.put(2, serial=True)
        running.window.ring()
        assert await running.looked() == [older, serial]
        held_back = running.parts.spool.held_back

        def meanwhile(*what):
            running.window.moved(instance)
            return held_back(*what)

        instance = running.window.take(running.window.waiting[older])
        with monkeypatch.context() as patch:
            patch.setattr(running.parts.spool, "held_back", meanwhile)
            running.window.ring()
            assert await running.looked() == []
        assert await running.looked() == [older, serial]


@on_a_loop
async def test_what_was_made_anew_during_a_look_is_read_anew(tmp_path, monkeypatch):
    async with Running(tmp_path) as running:
        window, spool = running.window, running.parts.spool
        receipt = running.parts.put(1, syntax=EXPLICIT_LE)
        window.ring()
        assert await running.looked() == [receipt]
        instance = window.take(window.waiting[receipt])
        remade = encode_head(FileMeta(*instance.pair[:1], "2.25.1", IMPLICIT_LE)) + DATA
        due = spool.due

        def meanwhile(*what):
            Path(instance.queued.file).write_bytes(remade)  # as a worker leaves it, in the same place
            window.moved(instance)
            return due(*what)

        with monkeypatch.context() as patch:
            patch.setattr(spool, "due", meanwhile)
            window.ring()
            await running.looked()
        assert receipt in (list(window.waiting) or await running.looked())
        assert window.waiting[receipt].pair[1] == IMPLICIT_LE


@on_a_loop
async def test_suspects_wait_apart_as_soon_as_the_suspicion_says_so(tmp_path):
    async with Running(tmp_path) as running:
        window, suspicion = running.window, running.parts.suspicion
        receipts = [running.parts.put(n) for n in range(KIND_LOSSES + 2)]
        window.ring()
        assert await running.looked() == receipts
        lost = [window.take(instance) for instance in list(window.waiting.values())[:KIND_LOSSES]]
        for instance in lost:
            suspicion.lost(instance, "gone", 0.0, 1.0)
        window.sort()
        assert (list(window.waiting), list(window.suspects)) == ([], receipts[KIND_LOSSES:])
        window.take(window.suspects[receipts[-1]])
        suspicion.answered(window.in_hand[receipts[-1]], 2.0)
        window.sort()
        assert (list(window.waiting), list(window.suspects)) == ([receipts[-2]], [])


def ordered(number: int, series: str, rank: str = "05") -> Instance:
    return Instance(
        rank, str(number), "LEYDEN", ("", ""), 0.0, series=series, ordered=bool(series), queued=ANY, meta=ANY, offset=0
    )


@on_a_loop
async def test_of_a_sorted_series_the_next_one_takes_the_place_of_the_one_before_it(tmp_path):
    parts = Parts(tmp_path, PACS)
    window = parts.window
    window._tell_apart([ordered(3, "X"), ordered(1, "X"), ordered(2, ""), ordered(4, "Y"), ordered(5, "X", "07")])

    def in_turn() -> list[str]:
        return [instance.receipt for instance in window.in_turn()]

    assert in_turn() == ["3", "2", "4", "5"]
    window.take(window.waiting["3"])
    assert in_turn() == ["1", "2", "4", "5"]
    window.take(window.waiting["1"])
    window.take(window.waiting["4"])
    assert in_turn() == ["2", "5"]
    window.take(window.waiting["2"])
    assert [instance.receipt for instance in window.of_series("X")] == in_turn() == ["5"]
    await parts.close()
