"""An instance's story: `leyden trace` and `leyden study` on a real service with real peers; what they never show."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom

from leyden.dicom.uids import EXPLICIT_LE, JPEG2000_LOSSLESS
from leyden.operate.trace import Story, by_instance
from support.objects import make_ct, make_cts
from support.peers import Pacs, run_dcmtk
from support.service import Service, files_below, free_port, node, wait_for

NAME, PATIENT, ACCESSION = "Canary^Yellow", "CANARY-0815", "ACC-4711-Z"
DROP = """\
- Conditions:
    - Tag: 0008,0060
      MatchExpression: OT
  Actions:
    - Type: drop
"""
COPY = """\
- AeTitles: FIRST
  Conditions:
    - Tag: 0008,0060
      MatchExpression: CT
  Actions:
    - Target: SECOND
"""


def send(leyden: Service, called: str, *files: Path, calling: str = "CT01") -> None:
    done = run_dcmtk("dcmsend", "-dn", "-aet", calling, "-aec", called, "127.0.0.1", str(leyden.port), *map(str, files))
    assert done.returncode == 0, done.stderr


def altered(path: Path, **values: str) -> Path:
    dataset = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


def traced(leyden: Service, *words: str) -> list[dict[str, Any]]:
    done = leyden.leyden("trace", *words, "--json")
    found = json.loads(done.stdout)["objects"]
    assert done.returncode == (0 if found else 1), done.stderr
    return found


def kinds(story: dict[str, Any]) -> list[str]:
    return [event["event"] for event in story["events"]]


def wait_told(leyden: Service, uid: str, event: str, count: int = 1) -> list[Story]:
    """Wait until `count` objects with this UID have come to the event; the journal is written without a sync."""

    def told() -> int:
        return sum(any(each["event"] == event for each in story.events) for story in by_instance(leyden.spool, uid))

    wait_for(lambda: told() == count, why=f"{count} x {event} of {uid}")
    return by_instance(leyden.spool, uid)


def test_the_story_of_an_object_that_was_compressed_and_delivered(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """Received when, from whom, planned by which rules and generation, made into what (bytes, ms), delivered when."""
    first, second = pacs("FIRST"), pacs("SECOND")
    nodes = node("FIRST", first.port, TransferSyntax="JPEG2000Lossless") + node("SECOND", second.port)
    leyden = service(nodes, COPY).start()
    path = altered(make_ct(tmp_path / "ct.dcm", 1), AccessionNumber=ACCESSION)
    before_s = time.time()
    send(leyden, "FIRST", path)
    first.wait(1), second.wait(1)
    wait_for(lambda: [e["event"] for e in by_instance(leyden.spool, "2.25.1001.1")[0].events].count("delivered") == 2)
    (story,) = traced(leyden, "2.25.1001.1")
    events = {(event["event"], event.get("destination", "")): event for event in story["events"]}
    assert kinds(story)[0] == "received"
    received, planned = events["received", ""], events["planned", ""]
    assert (received["calling"], received["called"], received["syntax"]) == ("CT01", "FIRST", EXPLICIT_LE)
    assert received["peer"].endswith("127.0.0.1")
    assert before_s - 1 <= received["at_s"] <= time.time()
    assert received["bytes"] > 2 * 512 * 512
    assert planned["generation"] == 1
    assert planned["rules"] == ["routings.yml:1"]
    assert {d["destination"]: d["form"] for d in planned["deliveries"]} == {
        "FIRST": "as JPEG2000Lossless", "SECOND": "as it came",
    }  # fmt: skip
    assert (planned["study_instance_uid"], planned["series_instance_uid"]) == ("2.25.1001", "2.25.1001.1")
    made = events["transformed", "FIRST"]
    assert (made["came"], made["made"]) == ("ExplicitVRLittleEndian", "JPEG2000Lossless")
    assert made["made_bytes"] < made["came_bytes"]
    assert made["took_s"] > 0
    assert events["delivered", "FIRST"]["syntax"] == JPEG2000_LOSSLESS
    assert events["delivered", "SECOND"]["syntax"] == EXPLICIT_LE
    assert story["places"] == story["proved"] == []
    for words in (("--study", "2.25.1001"), ("--accession", ACCESSION), ("--receipt", story["receipt"])):
        assert traced(leyden, *words) == [story], words
    assert leyden.stop() == 0
    text = leyden.leyden("trace", "2.25.1001.1")
    assert text.returncode == 0
    for words in (
        "received from CT01", "planned by routings.yml:1, generation 1: FIRST as JPEG2000Lossless",
        "FIRST: made JPEG2000Lossless of ExplicitVRLittleEndian", "SECOND: delivered, status 0x0000",
    ):  # fmt: skip
        assert words in text.stdout


def test_the_stories_of_what_waits_was_refused_dropped_or_could_not_be_planned(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """Each attempt with its status, and still waiting where: the stage, when it is due, and the reason."""
    busy = pacs("BUSY", answer=lambda arrival: 0xA700)
    strict = pacs("STRICT", answer=lambda arrival: 0xC123)
    off = free_port()
    nodes = (
        node("BUSY", busy.port, RetryDelays="3600") + node("STRICT", strict.port, RetryDelays="0.1") + node("OFF", off)
    )
    leyden = service(nodes, DROP).start()
    files = make_cts(tmp_path / "cts", 5, rows=16, columns=16)
    send(leyden, "BUSY", files[0])
    send(leyden, "STRICT", files[1])
    send(leyden, "OFF", altered(files[2], Modality="OT"))
    send(leyden, "LEYDEN", files[3])
    send(leyden, "OFF", files[4])
    wait_told(leyden, "2.25.1001.1", "deferred")
    wait_told(leyden, "2.25.1001.2", "rejected")
    wait_told(leyden, "2.25.1001.3", "planned")
    wait_told(leyden, "2.25.1001.4", "failed")
    wait_told(leyden, "2.25.1001.5", "planned")

    (deferred,) = traced(leyden, "2.25.1001.1")
    assert kinds(deferred) == ["received", "planned", "deferred"]
    assert "0xA700" in deferred["events"][-1]["said"]
    (place,) = deferred["places"]
    assert (place["stage"], place["destination"], place["attempts"]) == ("deferred", "BUSY", 1)
    assert place["due_s"] > time.time() + 1000
    assert (leyden.spool / place["path"]).is_file()
    assert "BUSY: in deferred/, next try at" in leyden.leyden("trace", "2.25.1001.1").stdout

    (rejected,) = traced(leyden, "2.25.1001.2")
    assert kinds(rejected)[-1] == "rejected"
    (place,) = rejected["places"]
    assert (place["stage"], place["destination"]) == ("rejected", "STRICT")
    assert "0xC123" in place["reason"]

    (dropped,) = traced(leyden, "2.25.1001.3")
    assert kinds(dropped) == ["received", "planned"]
    assert dropped["events"][-1]["dropped_by"].startswith("routings.yml:1")
    assert dropped["places"] == []

    (failed,) = traced(leyden, "2.25.1001.4")
    assert kinds(failed) == ["received", "failed"]
    (place,) = failed["places"]
    assert place["stage"] == "failed"
    assert place["reason"].startswith("no destination")

    (waiting,) = traced(leyden, "2.25.1001.5")
    assert waiting["places"][0]["stage"] == "prepared"
    assert leyden.leyden("queue", "retry", "STRICT").returncode == 0
    wait_told(leyden, "2.25.1001.2", "retried")

    study = json.loads(leyden.leyden("study", "2.25.1001", "--json").stdout)
    assert (study["received"], study["dropped"], study["complete"]) == (5, 1, False)
    missing = {each["sop_instance_uid"]: (each["destination"], each["state"]) for each in study["missing"]}
    assert missing["2.25.1001.1"] == ("BUSY", "deferred")
    assert missing["2.25.1001.4"] == ("", "failed")
    assert missing["2.25.1001.5"] == ("OFF", "prepared")
    assert set(missing) == {f"2.25.1001.{n}" for n in (1, 2, 4, 5)}


def test_a_study_is_complete_when_each_destination_has_all_of_it(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """`leyden study UID`: complete or not and what is missing, per destination; an instance that came twice is one."""
    first, port = pacs("FIRST"), free_port()
    leyden = service(node("FIRST", first.port) + node("SECOND", port, RetryDelays="0.2"), COPY).start()
    assert leyden.leyden("study", "2.25.1001").returncode == 1
    files = make_cts(tmp_path / "cts", 4, rows=16, columns=16)
    send(leyden, "FIRST", *files)
    send(leyden, "FIRST", files[0], calling="CT02")
    first.wait(5)
    wait_told(leyden, "2.25.1001.1", "delivered", 2)
    assert [kinds(story)[-1] for story in traced(leyden, "2.25.1001.1")] == ["delivered", "delivered"]
    assert [story["events"][0]["calling"] for story in traced(leyden, "2.25.1001.1")] == ["CT01", "CT02"]
    for uid in ("2.25.1001.2", "2.25.1001.3", "2.25.1001.4"):
        wait_told(leyden, uid, "delivered")
    said = leyden.leyden("study", "2.25.1001")
    assert said.returncode == 1
    assert "4 instances received" in said.stdout
    assert "FIRST: complete: 4 delivered" in said.stdout
    assert "SECOND: not complete: " in said.stdout
    assert said.stdout.count("missing at SECOND") == 4
    late = pacs("SECOND", port=port)
    late.wait(5, 60)
    leyden.wait_empty()
    wait_for(lambda: leyden.leyden("study", "2.25.1001").returncode == 0, why="the study to be complete")
    assert "SECOND: complete: 4 delivered" in leyden.leyden("study", "2.25.1001").stdout


def test_nothing_of_the_patient_stands_in_the_journal_the_logs_or_a_name(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """No patient data beyond UIDs unless switched on; the accession number as a keyed hash, so that it can be asked
    for."""
    fine, busy = pacs("FINE"), pacs("BUSY", answer=lambda arrival: 0xA700)
    nodes = node("FINE", fine.port, TransferSyntax="JPEG2000Lossless") + node("BUSY", busy.port)
    leyden = service(nodes, DROP, daysToKeepLogs=2).start()
    values = {"PatientName": NAME, "PatientID": PATIENT, "AccessionNumber": ACCESSION}
    files = [altered(path, **values) for path in make_cts(tmp_path / "cts", 4, rows=16, columns=16)]
    send(leyden, "FINE", files[0])
    send(leyden, "BUSY", files[1])
    send(leyden, "LEYDEN", files[2])
    send(leyden, "FINE", altered(files[3], Modality="OT"))
    wait_told(leyden, "2.25.1001.1", "delivered")
    wait_told(leyden, "2.25.1001.2", "deferred")
    wait_told(leyden, "2.25.1001.3", "failed")
    wait_told(leyden, "2.25.1001.4", "planned")
    assert len(traced(leyden, "--accession", ACCESSION)) == 4
    assert traced(leyden, "--accession", "ACC-4711-Y") == []
    leyden.stop()
    looked_into = 0
    for path in files_below(leyden.folder):
        for canary in (NAME, "Canary", PATIENT, ACCESSION):
            assert canary not in str(path.relative_to(leyden.folder))
            if path.suffix != ".dcm" and "bell" not in path.parts:
                looked_into += 1
                assert canary.encode() not in path.read_bytes(), path
    assert looked_into >= 4 * 8
    assert (leyden.spool / "state" / "journal.key").stat().st_mode & 0o777 == 0o600
    for path in (*(leyden.spool / "journal").iterdir(), *(leyden.spool / "logs").rglob("*.log")):
        assert path.stat().st_mode & 0o777 == 0o600


def test_without_a_journal_the_spool_still_tells_where_an_object_waits(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    """`journalMib: 0` switches the journal off (docs/configure.md); what stands in the spool is found all the same."""
    leyden = service(node("OFF", free_port()), journalMib=0).start()
    send(leyden, "OFF", make_ct(tmp_path / "ct.dcm", 1, rows=16, columns=16))
    leyden.wait_left(lambda left: any("prepared" in path.parts for path in left))
    leyden.stop()
    assert not os.listdir(leyden.spool / "journal")
    (story,) = traced(leyden, "2.25.1001.1")
    assert (story["events"], story["places"][0]["stage"]) == ([], "prepared")
    assert traced(leyden, "--receipt", story["receipt"]) == [story]
    study = json.loads(leyden.leyden("study", "2.25.1001", "--json").stdout)
    assert study["missing"][0]["sop_instance_uid"] == "2.25.1001.1"
    assert leyden.leyden("trace", "2.25.1001.9").returncode == 1
    assert leyden.leyden("trace", "--receipt", "17").returncode == 2
    assert leyden.leyden("trace").returncode == 2
