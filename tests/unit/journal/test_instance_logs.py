"""The logs of instances: where a line goes, which names are made safe, and what an event without a place does."""

import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest

from leyden.journal.events import ByHand, Delivered, Failed, Planned, PlannedDelivery
from leyden.journal.instance_logs import InstanceLogs, escaped
from leyden.journal.lines import JournalSettings, set_up, tell
from leyden.spool.entry import folder

RECEIPT = "1764000000123456000001"
DATE = time.strftime("%Y-%m-%d", time.localtime(1764000000))
AT: Any = {"at_s": 1764000000.5}
OF: Any = {**AT, "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2", "sop_instance_uid": "1.2.3"}


@pytest.fixture(autouse=True)
def _as_before():
    yield
    set_up(Path("/nonexistent"), "test", JournalSettings())


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root / "logs" / DATE)) for path in (root / "logs").rglob("*.log"))


def planned(*destinations: str, calling: str = "CT1", uid: str = "1.2.3") -> Planned:
    ways = tuple(PlannedDelivery(destination, "as it came", "called") for destination in destinations)
    of: Any = {**OF, "sop_instance_uid": uid, "calling": calling}
    return Planned(RECEIPT, called="PACS", generation=1, deliveries=ways, **of)


def delivered(source: str) -> Delivered:
    of: Any = {**OF, "calling": "LEYDEN", "source": source}
    return Delivered(RECEIPT, destination="PACS", status=0, syntax="1.2.840.10008.1.2", bytes=9, **of)


def test_a_line_for_each_destination_and_all_about_one_in_one_file(tmp_path: Path) -> None:
    set_up(tmp_path, "test", JournalSettings(log_days=3))
    tell(planned("PACS", "ARCHIVE"))
    tell(delivered("CT1"))
    assert files(tmp_path) == ["ARCHIVE/CT1/1.2.3.log", "PACS/CT1/1.2.3.log"]
    path = tmp_path / "logs" / DATE / "PACS" / "CT1" / "1.2.3.log"
    first, second = path.read_text().splitlines()
    assert first.startswith(f"[{DATE} ")
    assert ".500] [INFO] " in first
    assert "PACS as it came" in first
    assert "delivered 1.2.3" in second
    assert path.stat().st_mode & 0o777 == 0o600
    places = [tmp_path / "logs", *(place for place in (tmp_path / "logs").rglob("*") if place.is_dir())]
    assert {place.stat().st_mode & 0o777 for place in places} == {0o700}


@pytest.mark.parametrize("title", ["../..", ".", "..", "A/B", "a b", "~root", "Ü", "%41", "\udcff", "A\n", "x" * 16])
def test_a_title_is_escaped_as_in_the_spool(title: str, tmp_path: Path) -> None:
    assert escaped(title) == folder(title)
    InstanceLogs(tmp_path).write(planned(title, calling=title), logging.INFO, "text")
    assert files(tmp_path) == [f"{folder(title)}/{folder(title)}/1.2.3.log"]


@pytest.mark.parametrize("uid", ["../../x", "1.2/3", "Doe^John", "1.2.", "9" * 65, "1.2\n3"])
def test_a_uid_that_is_none_becomes_a_hash(uid: str, tmp_path: Path) -> None:
    logs = InstanceLogs(tmp_path)
    logs.write(planned("PACS", uid=uid), logging.INFO, "text")
    logs.write(planned("PACS", uid=uid), logging.INFO, "text")
    (found,) = files(tmp_path)
    assert found.startswith("PACS/CT1/")
    stem = found.removeprefix("PACS/CT1/").removesuffix(".log")
    assert len(stem) == 32
    assert set(stem) <= set("0123456789abcdef")


def test_who_has_no_source_or_no_destination_has_a_dash(tmp_path: Path) -> None:
    logs = InstanceLogs(tmp_path)
    logs.write(planned(calling=""), logging.INFO, "dropped")
    logs.write(planned("PACS", calling=""), logging.INFO, "by hand")
    logs.write(delivered(""), logging.INFO, "delivered")
    assert files(tmp_path) == ["-/-/1.2.3.log", "PACS/-/1.2.3.log"]


def test_what_is_known_by_its_receipt_alone_has_no_log(tmp_path: Path) -> None:
    logs = InstanceLogs(tmp_path)
    logs.write(ByHand(RECEIPT, what="was moved", destination="PACS", **AT), logging.INFO, "text")
    logs.write(Failed(RECEIPT, reason="unreadable", **AT), logging.INFO, "text")
    assert not (tmp_path / "logs").exists()


def test_a_line_cannot_be_forged_and_no_link_is_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logs = InstanceLogs(tmp_path)
    logs.write(planned("PACS"), logging.INFO, "text\n[2026] \x1b[2J")
    path = tmp_path / "logs" / DATE / "PACS" / "CT1" / "1.2.3.log"
    assert path.read_text().endswith("text[2026] \\x1b[2J\n")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    logs.write(planned("PACS"), logging.INFO, "text")
    assert not (tmp_path / "elsewhere").exists()
    assert "no log of an instance is written, next try in 60 s" in caplog.text
    path.unlink()
    logs.write(planned("PACS"), logging.INFO, "text")
    assert not path.exists()  # it is still given up


def test_no_file_stays_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    logs = InstanceLogs(tmp_path)
    for n in range(300):
        logs.write(planned("PACS", uid=f"1.2.{n}"), logging.INFO, "text")
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(files(tmp_path)) == 300
