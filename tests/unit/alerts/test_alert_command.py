from pathlib import Path

import msgspec
import pytest

from leyden.alerts.alerts import State
from leyden.alerts.causes import Cause, Memory
from leyden.cli import main

HOOK = "alerts: {webhook: {url: 'http://127.0.0.1:9/'}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nodes.yml").write_text("[]\n")
    (tmp_path / "config.yml").write_text("scpPort: 0\n" + HOOK)
    (tmp_path / "cache" / "state").mkdir(parents=True)
    return tmp_path


def test_what_is_wrong_is_listed_the_oldest_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    causes = {
        "b": Cause("queue old", "PACS", "an object for PACS waits", 1.7e9 + 60, 1.7e9),
        "a": Cause("disk", "spool", "9.0 % of the spool's disk is free", 1.7e9, 1.7e9),
    }
    state = State(memory=Memory(open=causes))
    (folder / "cache" / "state" / "alerts.json").write_bytes(msgspec.json.encode(state))
    assert main(["alert", "list", "--path", str(folder)]) == 1
    said = capsys.readouterr()
    assert [line[21:] for line in said.out.splitlines()] == [
        "disk (spool): 9.0 % of the spool's disk is free", "queue old (PACS): an object for PACS waits",
    ]  # fmt: skip
    assert said.err == "the service is not running; this is how it was\n"
    (folder / "nodes.yml").write_text("- AeTitle: [")
    assert main(["alert", "list", "--path", str(folder)]) == 1
    assert capsys.readouterr().out == said.out, "errors in the files hide nothing"


def test_without_alerts_nobody_looks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "config.yml").write_text("scpPort: 0\n")
    assert main(["alert", "list", "--path", str(folder)]) == 1
    assert capsys.readouterr().err == "nobody looks: config.yml has no alerts\n"
    assert main(["alert", "test", "--path", str(folder)]) == 1
    assert capsys.readouterr().err == "nobody would be told: config.yml has no alerts\n"


def test_a_way_that_does_not_work_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alert", "test", "--path", str(folder)]) == 1
    assert capsys.readouterr().out == "webhook: not sent: Connection refused\n"
