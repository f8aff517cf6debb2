"""config.yml: logSuffix and daysToKeepLogs."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pydicom

from support.objects import make_ct
from support.peers import Pacs, run_dcmtk
from support.service import Service, node, wait_for

ACCESSION, PATIENT = "ACC-4711-Z", "CANARY-0815"


def forwarded(leyden: Service, archive: Pacs, folder: Path) -> None:
    """One CT goes through a worker to the archive, and its delivery is logged."""
    path = make_ct(folder / "ct.dcm", 1, rows=16, columns=16)
    dataset = pydicom.dcmread(path)
    dataset.AccessionNumber, dataset.PatientID = ACCESSION, PATIENT
    dataset.save_as(path)
    leyden.start()
    words = ("-dn", "-aet", "CT01", "-aec", "ARCHIVE", "127.0.0.1", str(leyden.port), str(path))
    assert run_dcmtk("dcmsend", *words).returncode == 0
    archive.wait(1)
    wait_for(lambda: "delivered 2.25.1001.1 " in leyden.log)


def archive_node(archive: Pacs) -> str:
    return node("ARCHIVE", archive.port, TransferSyntax="JPEG2000Lossless")


def line_of(leyden: Service, role: str) -> str:
    """The line of a role about the object."""
    lines = re.findall(rf"^.* INFO +{role}-\d: (.*)$", leyden.log, re.MULTILINE)
    return next(line for line in lines if "ARCHIVE" in line and "connected" not in line)


def test_logSuffix_ends_the_lines_of_an_instance_with_its_SOP_Instance_UID(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """By default (#{2,3}) each line about an instance names its UID; one that names it anyway does not say it again."""
    archive = pacs("ARCHIVE")
    leyden = service(archive_node(archive))
    forwarded(leyden, archive, tmp_path)
    assert line_of(leyden, "worker").endswith(" [2.25.1001.1]")
    assert line_of(leyden, "planner").count("2.25.1001.1") == line_of(leyden, "sender").count("2.25.1001.1") == 1
    assert PATIENT not in leyden.log
    assert ACCESSION not in leyden.log


def test_logSuffix_shows_the_elements_that_it_names(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """`#{g,e}` stands for an element: the original's own default shows SOP class, accession number and patient ID."""
    archive = pacs("ARCHIVE")
    leyden = service(archive_node(archive), logSuffix="#{2,2}-#{8,50}-#{10,20}")
    forwarded(leyden, archive, tmp_path)
    assert line_of(leyden, "planner").endswith(f" [1.2.840.10008.5.1.4.1.1.2-{ACCESSION}-{PATIENT}]")
    assert line_of(leyden, "worker").endswith(" [2.25.1001.1]")  # it has not read the data set
    journal = b"".join(path.read_bytes() for path in (leyden.spool / "journal").iterdir())
    assert journal
    assert PATIENT.encode() not in journal


def test_logSuffix_of_the_file_meta_is_on_every_line(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """SOP class and instance UID stand in the file meta, which every process has."""
    archive = pacs("ARCHIVE")
    leyden = service(archive_node(archive), logSuffix="'#{2,2}/#{2,3}'")
    forwarded(leyden, archive, tmp_path)
    for role in ("planner", "worker", "sender"):
        assert line_of(leyden, role).endswith(" [1.2.840.10008.5.1.4.1.1.2/2.25.1001.1]")


def test_logSuffix_may_be_empty(service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path) -> None:
    """Without identifiers at the end a line ends with its text."""
    archive = pacs("ARCHIVE")
    leyden = service(archive_node(archive), logSuffix="''")
    forwarded(leyden, archive, tmp_path)
    assert line_of(leyden, "worker").endswith(" ms")


def test_daysToKeepLogs_keeps_a_log_of_each_instance(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """Per-instance logs are cachePath/logs/<date>/<DEST>/<SOURCE>/<SOPUID>.log; a line is `[time] [Level] text`."""
    archive = pacs("ARCHIVE")
    leyden = service(archive_node(archive), daysToKeepLogs=3, logSuffix="#{10,20}")
    forwarded(leyden, archive, tmp_path)
    (path,) = (leyden.spool / "logs").rglob("*.log")
    date, *parts = path.relative_to(leyden.spool / "logs").parts
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", date)
    assert parts == ["ARCHIVE", "CT01", "2.25.1001.1.log"]
    wait_for(lambda: path.read_text().count("\n") == 3)
    planned, made, delivered = path.read_text().splitlines()
    for line in (planned, made, delivered):
        assert re.match(rf"\[{date} \d\d:\d\d:\d\d\.\d\d\d\] \[INFO\] ", line)
    assert "ARCHIVE as JPEG2000Lossless" in planned
    assert "-> JPEG2000Lossless" in made
    assert "delivered 2.25.1001.1" in delivered
    assert PATIENT not in path.read_text()  # no suffix here


def test_daysToKeepLogs_removes_the_logs_of_older_days(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """So many days are kept, today among them."""
    leyden = service(archive_node(pacs("ARCHIVE")), daysToKeepLogs=2)
    days = [time.strftime("%Y-%m-%d", time.localtime(time.time() - n * 86400)) for n in range(4)]
    leyden.spool.mkdir(mode=0o700)
    for day in days:
        (leyden.spool / "logs" / day / "ARCHIVE").mkdir(parents=True)
        (leyden.spool / "logs" / day / "ARCHIVE" / "1.2.log").touch()
    leyden.start()
    wait_for(lambda: not (leyden.spool / "logs" / days[3]).exists() and not (leyden.spool / "logs" / days[2]).exists())
    assert (leyden.spool / "logs" / days[0] / "ARCHIVE" / "1.2.log").exists()


def test_daysToKeepLogs_is_0_and_there_are_none(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """The default is 0: no per-instance logs are kept."""
    archive = pacs("ARCHIVE")
    leyden = service(archive_node(archive))
    forwarded(leyden, archive, tmp_path)
    assert not list((leyden.spool / "logs").iterdir())


def test_in_the_form_json_all_of_it_holds_too(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """[own] logFormat: json: an object a line, with the fields of its event; logSuffix, suppressLogAeTitles and the
    logs of instances are as ever. A reload takes logFormat and logLevel over."""
    archive = pacs("ARCHIVE")
    leyden = service(archive_node(archive), logFormat="json", logSuffix="#{2,2}", daysToKeepLogs=3)
    forwarded(leyden, archive, tmp_path)
    echo = ("-aet", "HEALTHCHECK", "-aec", "ARCHIVE", "127.0.0.1", str(leyden.port))
    assert run_dcmtk("echoscu", *echo).returncode == 0
    said = [json.loads(line) for line in leyden.log.splitlines()]
    assert {"at", "level", "role", "message"} <= set.intersection(*map(set, said))
    (made,) = (line for line in said if line.get("event") == "transformed")
    assert (made["role"][:6], made["level"], made["made"]) == ("worker", "info", "JPEG2000Lossless")
    assert made["message"].endswith(" [1.2.840.10008.5.1.4.1.1.2]")
    (sent,) = (line for line in said if line.get("event") == "delivered")
    assert (sent["destination"], sent["sop_instance_uid"], len(sent["receipt"])) == ("ARCHIVE", "2.25.1001.1", 22)
    assert "HEALTHCHECK" not in leyden.log
    (path,) = (leyden.spool / "logs").rglob("*.log")
    assert re.match(r"\[[-0-9]+ [.:0-9]+\] \[INFO\] ", path.read_text())
    config = leyden.folder / "config.yml"
    config.write_text(config.read_text().replace("logFormat: json", "logFormat: text\nlogLevel: debug"))
    assert leyden.leyden("reload").returncode == 0
    assert run_dcmtk("echoscu", *(word.replace("HEALTHCHECK", "CT01") for word in echo)).returncode == 0
    wait_for(lambda: re.search(r"^[-0-9]+ [.:0-9]+ INFO +receiver-0: .*CT01", leyden.log, re.MULTILINE))
    words = ("-dn", "-aet", "CT01", "-aec", "ARCHIVE", "127.0.0.1", str(leyden.port), str(tmp_path / "ct.dcm"))
    assert run_dcmtk("dcmsend", *words).returncode == 0
    wait_for(lambda: re.search(r" DEBUG +receiver-0: \d{22}: received 2\.25\.1001\.1,", leyden.log))
