"""What operators order, on disk: whole, private, and never a reason to stop or to send by mistake."""

import logging
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leyden.spool.control import PREPARE, STORAGE_SCU, Control, Controls, Order, change, change_flags, flags_at, try_now

ORDER = Order("alice", 1000.0, 2000.0, "the archive is being moved")


@pytest.mark.parametrize("title", ["PACS", "A B", "x/../..", "ÜBER"])
def test_an_order_stands_in_a_private_file_of_its_destination(tmp_path: Path, title: str) -> None:
    change(tmp_path, title, lambda now: Control(pause=ORDER, override=now.override))
    change(tmp_path, title, lambda now: Control(pause=now.pause, override=Order("bob", 1.0)))
    (path,) = (tmp_path / "control").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert Controls(tmp_path).of(title) == Control(ORDER, Order("bob", 1.0))
    assert Controls(tmp_path).of("ANOTHER") == Control()


def test_what_is_taken_back_leaves_no_file(tmp_path: Path) -> None:
    change(tmp_path, "PACS", lambda _: Control(pause=ORDER))
    change_flags(tmp_path, lambda _: {PREPARE: ORDER})
    change(tmp_path, "PACS", lambda _: Control())
    change_flags(tmp_path, lambda _: {})
    assert list((tmp_path / "control").iterdir()) == []


def test_an_order_holds_until_its_time_is_over() -> None:
    now = Control(ORDER, Order("bob", 1.0))
    assert now.at(1999.9) == now
    assert now.at(2000.0) == Control(None, Order("bob", 1.0))
    assert flags_at({PREPARE: ORDER, STORAGE_SCU: Order("bob", 1.0)}, 3000.0) == {STORAGE_SCU: Order("bob", 1.0)}


def test_a_process_that_goes_by_them_sees_each_change(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    seen = Controls(tmp_path)
    assert (seen.changed(), seen.of("PACS"), seen.flags()) == (True, Control(), {})
    assert not seen.changed()
    time.sleep(0.02)  # the time stamp of the folder counts in ticks of the kernel
    change(tmp_path, "PACS", lambda _: Control(pause=ORDER))
    assert seen.changed()
    assert seen.of("PACS").pause == ORDER
    change_flags(tmp_path, lambda _: {STORAGE_SCU: ORDER})
    assert seen.flags() == {STORAGE_SCU: ORDER}
    change(tmp_path, "PACS", lambda _: Control())
    assert seen.of("PACS") == Control()


@pytest.mark.parametrize("content", [b"", b"{", b'{"pause":{"who":1}}', b'{"pause":' + b"[" * 100_000, b"\xff" * 99])
def test_a_broken_file_changes_nothing_and_is_told_once(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leyden.log._said", set())
    change(tmp_path, "PACS", lambda _: Control(pause=ORDER))
    change_flags(tmp_path, lambda _: {STORAGE_SCU: ORDER})
    seen = Controls(tmp_path)
    assert seen.of("PACS").pause == ORDER
    assert seen.flags() == {STORAGE_SCU: ORDER}
    (tmp_path / "control" / "PACS.json").write_bytes(content)
    (tmp_path / "control" / "service.flags.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert seen.of("PACS").pause == ORDER
            assert seen.flags() == {STORAGE_SCU: ORDER}
    assert len(caplog.records) == 2
    assert len(seen.errors()) == 2
    assert Controls(tmp_path).of("PACS") == Control()  # for who knows nothing of before, nothing is ordered
    change(tmp_path, "PACS", lambda now: Control(pause=now.pause, override=ORDER))  # and the next order mends it
    assert seen.of("PACS") == Control(override=ORDER)
    assert len(seen.errors()) == 1


def test_what_a_newer_version_adds_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    text = b'{"pause":{"who":"alice","since_s":1,"until_s":0,"reason":"","ticket":7},"mode":"x"}'
    (tmp_path / "control" / "PACS.json").write_bytes(text)
    assert Controls(tmp_path).of("PACS").pause == Order("alice", 1.0)


def test_a_fifo_or_a_link_in_its_place_hangs_nobody(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    os.mkfifo(tmp_path / "control" / "PACS.json")
    (tmp_path / "control" / "OTHER.json").symlink_to("/dev/zero")
    seen = Controls(tmp_path)
    assert (seen.of("PACS"), seen.of("OTHER")) == (Control(), Control())
    assert len(seen.errors()) == 2


ADD = """
import sys
from pathlib import Path
from leyden.spool.control import Order, change_flags
for n in range(40):
    change_flags(Path(sys.argv[1]), lambda now: now | {f"{sys.argv[2]}{n}": Order("x", 1.0)})
"""


def test_two_operators_at_once_lose_nothing(tmp_path: Path) -> None:
    words = [sys.executable, "-c", ADD, os.fspath(tmp_path)]
    running = [subprocess.Popen([*words, name]) for name in "ab"]
    assert [process.wait(60) for process in running] == [0, 0]
    assert len(Controls(tmp_path).flags()) == 80


def test_a_try_is_ordered_once_and_taken_once(tmp_path: Path) -> None:
    change(tmp_path, "PACS", lambda _: Control(pause=ORDER))
    controls = Controls(tmp_path)
    assert controls.take_now("PACS") is None
    try_now(tmp_path, "PACS", whole=False)
    try_now(tmp_path, "OTHER", whole=True)
    assert controls.titles() == ["PACS"]  # it is no order that holds
    assert (controls.take_now("PACS"), controls.take_now("PACS")) == (False, None)
    assert (controls.take_now("OTHER"), controls.take_now("OTHER")) == (True, None)
    os.mkfifo(tmp_path / "control" / "PACS.now")
    controls.take_now("PACS")  # hangs nobody
