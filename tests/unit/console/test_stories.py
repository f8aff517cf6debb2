"""What the page finds under a text that somebody typed."""

import json
from pathlib import Path
from typing import Any

import pydicom
import pytest

from leyden.console import stories
from leyden.journal.accession import keyed
from leyden.journal.events import Delivered, Planned, PlannedDelivery, Received
from leyden.journal.segments import Journal
from leyden.spool.entry import Entry, key
from leyden.spool.secret import journal_key, make_secret
from leyden.spool.store import Spool
from support.objects import make_ct

STUDY, NAME = "1.2.9", "Canary^Yellow"
CT = "1.2.840.10008.5.1.4.1.1.2"


def receipt(number: int) -> str:
    return f"17640000{number:02d}123456000001"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Objects 1 and 2 of a study were received, and object 1 was delivered; object 2 stands in prepared/."""
    spool = Spool(tmp_path / "cache", sync=False)
    spool.prepare(["PACS"])
    accession = keyed("A1", make_secret(journal_key(spool.root)))
    journal = Journal(spool.root, "test-0", 1 << 30)
    for number in (1, 2):
        of: dict[str, Any] = {"sop_class_uid": CT, "sop_instance_uid": f"1.2.{number}", "calling": "CT1"}
        study = {"study_instance_uid": STUDY, "accession": accession}
        journal.write(Received(receipt(number), 1.0, called="PACS", syntax="1.2.840.10008.1.2.1", bytes=9, **of))
        way = (PlannedDelivery("PACS", "as it came", "called title PACS"),)
        journal.write(Planned(receipt(number), 2.0, called="PACS", generation=1, deliveries=way, **of, **study))
    of["sop_instance_uid"] = "1.2.1"
    done = Delivered(receipt(1), 3.0, destination="PACS", status=0, syntax="1.2.840.10008.1.2.1", bytes=9, **of)
    journal.write(done)
    entry = Entry(receipt(2), key("1.2.2"), key(STUDY), key("CT1"))
    path = make_ct(spool.root / "prepared" / "PACS" / entry.name, 2, rows=16, columns=16)
    dataset = pydicom.dcmread(path)
    dataset.PatientName, dataset.PatientID = NAME, "4711"
    dataset.save_as(path)
    return spool.root


def test_a_text_is_taken_for_whatever_it_may_be(root: Path) -> None:
    for text, count in ((receipt(1), 1), ("1.2.1", 1), (STUDY, 2), ("A1", 2), ("a1", 0), ("1.2.3.4", 0), ("9" * 22, 0)):
        found = stories.found(root, text)
        assert (found["inAll"], len(found["stories"])) == (count, count), text
        assert [each["uid"] for each in found["studies"]] == ([STUDY] if count else []), text


def test_a_story_is_told_in_words_with_where_the_object_stands_now(root: Path) -> None:
    (story,) = stories.found(root, receipt(2))["stories"]
    assert story["instance"] == "1.2.2"
    assert [each["words"].split(",")[0] for each in story["events"]] == ["received from CT1", "planned by no rule"]
    assert [each.partition(": no service")[0] for each in story["now"]] == ["PACS: in prepared/"]


def test_a_study_says_who_has_it_and_what_is_missing(root: Path) -> None:
    (study,) = stories.found(root, STUDY)["studies"]
    assert (study["received"], study["complete"], study["missingInAll"]) == (2, False, 1)
    assert study["destinations"] == [{"title": "PACS", "complete": False, "states": {"delivered": 1, "prepared": 1}}]
    assert [each["instance"] for each in study["missing"]] == ["1.2.2"]


def test_names_are_read_only_where_they_are_asked_for_and_a_file_still_stands(root: Path) -> None:
    assert "Canary" not in json.dumps(stories.found(root, STUDY))
    found = stories.found(root, STUDY, names=True)["stories"]
    assert {each["instance"]: each["patient"] for each in found} == {"1.2.1": "", "1.2.2": f"{NAME}, 4711"}


def test_an_answer_is_bounded_and_says_how_much_there_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stories, "STORIES", 1)
    monkeypatch.setattr(stories, "MISSING", 0)
    found = stories.found(root, STUDY)
    assert (found["inAll"], len(found["stories"])) == (2, 1)
    assert (found["studies"][0]["missingInAll"], found["studies"][0]["missing"]) == (1, [])
