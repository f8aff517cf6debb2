"""Doorbells never block, never fail, and ring."""

import os
import stat
import threading

from leyden.spool.doorbell import GATHER_MAX_S, Bell, Ringer, gather_s, ring


def test_a_ring_is_heard_once(tmp_path):
    bell = Bell(tmp_path, "planner")
    assert stat.S_IMODE(os.stat(tmp_path / "bell" / "planner").st_mode) == 0o600
    assert not bell.drain()
    ring(tmp_path, "planner")
    ring(tmp_path, "planner")
    assert bell.wait(5.0)
    assert not bell.wait(0.0)
    bell.close()


def test_a_ring_without_a_reader_does_nothing(tmp_path):
    ring(tmp_path, "planner")
    Bell(tmp_path, "planner").close()
    ring(tmp_path, "planner")


def test_a_full_bell_takes_no_more_rings_and_does_not_block(tmp_path):
    bell = Bell(tmp_path, "sender")
    for _ in range(70_000):
        bell.ring()
    ring(tmp_path, "sender")
    assert bell.drain()
    bell.close()


def test_a_waiting_reader_is_woken(tmp_path):
    bell = Bell(tmp_path, "worker-0")
    heard = []
    waiter = threading.Thread(target=lambda: heard.append(bell.wait(60.0)))
    waiter.start()
    ring(tmp_path, "worker-0")
    waiter.join(30.0)
    assert heard == [True]
    bell.close()


def test_a_file_in_the_place_of_the_bell_is_replaced(tmp_path):
    (tmp_path / "bell").mkdir()
    (tmp_path / "bell" / "planner").write_text("")
    ring(tmp_path, "planner")
    bell = Bell(tmp_path, "planner")
    ring(tmp_path, "planner")
    assert bell.drain()
    bell.close()


def test_a_ringer_outlives_the_bell_that_it_rings(tmp_path):
    ringer = Ringer(tmp_path, "planner")
    ringer.ring()  # no reader yet
    for _ in range(2):
        bell = Bell(tmp_path, "planner")
        ringer.ring()
        assert bell.drain()
        bell.close()
        ringer.ring()  # no reader any more
    bell = Bell(tmp_path, "planner")
    ringer.ring()
    bell.close()
    (tmp_path / "bell" / "planner").unlink()
    bell = Bell(tmp_path, "planner")
    ringer.ring()  # into the old one, perhaps
    ringer.ring()
    assert bell.drain()
    ringer.close()
    bell.close()


def test_a_full_bell_does_not_stop_a_ringer(tmp_path):
    bell, ringer = Bell(tmp_path, "planner"), Ringer(tmp_path, "planner")
    for _ in range(70_000):
        ringer.ring()
    assert bell.drain()
    ringer.ring()
    assert bell.drain()
    ringer.close()
    bell.close()


def test_turns_gather_by_what_the_last_one_found():
    assert gather_s(0) == 0.0
    assert 0.0 < gather_s(1) < gather_s(2) <= gather_s(1000) == GATHER_MAX_S
