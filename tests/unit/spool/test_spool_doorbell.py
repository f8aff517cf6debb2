"""Doorbells never block, never fail, and ring."""

import os
import stat
import threading

from leyden.spool.doorbell import Bell, ring


def test_a_ring_is_heard_once(tmp_path):
    bell = Bell(tmp_path, "planner")
    assert stat.S_IMODE(os.stat(tmp_path / "bell" / "planner").st_mode) == 0o600
    assert not bell.drain()
    ring(tmp_path, "planner")
    ring(tmp_path, "planner")
    assert bell.wait(5.0)
    assert not bell.wait(0.0)
    bell.close()


def test_nobody_there_is_nobody_there(tmp_path):
    ring(tmp_path, "planner")
    Bell(tmp_path, "planner").close()
    ring(tmp_path, "planner")


def test_a_full_bell_takes_no_more_and_blocks_nobody(tmp_path):
    bell = Bell(tmp_path, "sender")
    for _ in range(70_000):
        bell.ring()
    ring(tmp_path, "sender")
    assert bell.drain()
    bell.close()


def test_whoever_waits_is_woken(tmp_path):
    bell = Bell(tmp_path, "worker-0")
    heard = []
    waiter = threading.Thread(target=lambda: heard.append(bell.wait(60.0)))
    waiter.start()
    ring(tmp_path, "worker-0")
    waiter.join(30.0)
    assert heard == [True]
    bell.close()


def test_a_file_in_the_bells_place_gives_way(tmp_path):
    (tmp_path / "bell").mkdir()
    (tmp_path / "bell" / "planner").write_text("")
    ring(tmp_path, "planner")
    bell = Bell(tmp_path, "planner")
    ring(tmp_path, "planner")
    assert bell.drain()
    bell.close()
