"""`leyden status` as people and programs see it, with and without a service."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from leyden.operate import nodes
from leyden.operate.nodes import Asked
from support.objects import make_ct
from support.peers import Pacs
from support.service import LIMIT_S, Service, free_port, node, wait_for


def test_the_screen_says_what_waits_and_why(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """A destination that works, one that is off, one that is closed, and a rejected object."""
    works = pacs("WORKS")
    minute = time.localtime().tm_hour * 60 + time.localtime().tm_min
    closed = "{:02d}:{:02d} - {:02d}:{:02d}".format(
        *divmod((minute + 120) % 1440, 60), *divmod((minute + 180) % 1440, 60)
    )
    leyden = service(
        node("WORKS", works.port)
        + node("OFF", free_port())
        + node("NIGHT", works.port, ProcessSchedule=f'["{closed}"]')
    ).start()
    files = [str(make_ct(tmp_path / f"{number}.dcm", number, rows=16, columns=16)) for number in range(2)]
    for title in ("WORKS", "OFF", "NIGHT"):
        assert leyden.leyden("send", f"127.0.0.1:{leyden.port}", "--called", title, *files).returncode == 0
    works.wait(2)

    def told() -> dict[str, dict[str, object]]:
        return {each["title"]: each for each in json.loads(leyden.leyden("status", "--json").stdout)["nodes"]}

    wait_for(lambda: "next try at " in str(told()["OFF"]["why"]) and told()["WORKS"]["live"]["delivered"] == 2)
    found = told()
    assert found["NIGHT"]["why"] == "closed by ProcessSchedule"
    assert found["WORKS"]["why"] == ""
    assert [found[title]["waiting"] for title in ("WORKS", "OFF", "NIGHT")] == [0, 2, 2]
    assert found["WORKS"]["delivered"]["objects_per_s"] > 0
    assert found["WORKS"]["seen"][0]["accepted"]
    text = leyden.leyden("status").stdout
    for part in (
        "running, process",
        "planner-0 (",
        "objects/s",
        "GB free",
        "refused",
        "takes ",
        "ExplicitVRLittleEndian",
    ):
        assert part in text
    assert "\x1b" not in text
    status = json.loads(leyden.leyden("status", "--json").stdout)
    assert set(status) >= {
        "at_s", "pid", "spool", "configuration", "folders", "nodes", "processes", "associations", "received",
        "delivered", "paused", "disk", "problems",
    }  # fmt: skip
    assert status["processes"][0]["restarts"] == 0
    assert leyden.stop() == 0
    text = leyden.leyden("status").stdout
    assert "not running" in text
    table = text[text.index("destination ") :].splitlines()
    assert all(len(line) <= 80 for line in table if not line.startswith(" ")), "cut on a console of 80 characters"
    assert any(line.split()[:3] == ["OFF", "2", "0"] for line in table)


def test_a_file_that_cannot_be_read_is_a_warning(service: Callable[..., Service]) -> None:
    """Nobody finds out only from the log that an order is not in force."""
    leyden = service(node("PACS", 11104))
    nodes.pause(leyden.spool, "PACS", Asked("alice", "api"))
    (leyden.spool / "control" / "PACS.json").write_bytes(b"{")
    text = leyden.leyden("status").stdout
    assert "warning: " in text
    assert "control/PACS.json can't be read" in text


def test_watch_redraws_on_a_terminal_and_writes_plain_text_into_a_pipe(service: Callable[..., Service]) -> None:
    """ "Until Ctrl-C" (docs/operate.md), and then exit code 0."""
    leyden = service(node("PACS", 11104))
    words = [sys.executable, "-m", "leyden", "status", "--watch", "0.1", "--path", str(leyden.folder)]
    ours, theirs = pty.openpty()
    with subprocess.Popen(words, stdout=theirs, close_fds=True) as process:
        os.close(theirs)
        seen = b""
        while seen.count(b"\x1b[H\x1b[J") < 2:
            assert select.select([ours], [], [], LIMIT_S)[0]
            seen += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 0
    os.close(ours)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(12)]
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 0
    assert sum(line.startswith("service: not running") for line in lines) >= 2
    assert "\x1b" not in "".join(lines)
