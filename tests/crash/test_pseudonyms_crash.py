"""A planner that dies between the line of a new patient and the move of the object: the line is true for ever."""

import csv
import os
from pathlib import Path

import pydicom

from leyden.pseudonyms import COLUMNS
from support.objects import decode, make_ct
from support.peers import Pacs
from support.service import Service, node, wait_for

MUTATIONS = "- Actions:\n    - Type: anonymize\n      Destination: {Value: map.csv}\n"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_patient_has_one_pseudonym_whenever_the_planner_dies(tmp_path: Path) -> None:
    """ "Never two pseudonyms for a patient": the line is durable before the object moves, so the next planner finds it.
    What a dying writer leaves of a line is taken out."""
    research, mark = Pacs("RESEARCH").start(), tmp_path / "died"
    service = Service(tmp_path / "site", node("RESEARCH", research.port), mutations=MUTATIONS)
    mapping = service.folder / "map.csv"
    try:
        service.start(60, LEYDEN_CRASH_AT=f"planner/rules-kept:1:{mark}")
        paths = [make_ct(tmp_path / f"{number}.dcm", number) for number in (1, 2)]
        words = ["send", f"127.0.0.1:{service.port}", "--calling", "CT01", "--called", "RESEARCH"]
        assert service.leyden(*words, *map(str, paths)).returncode == 0
        wait_for(mark.exists, 60, "the planner to die")
        first = rows(mapping)
        arrivals = research.wait(2)
        service.wait_empty()
        assert len(first) == 1
        assert rows(mapping) == first
        pseudonyms = {str(decode(each.syntax, each.data).PatientID) for each in arrivals}
        assert pseudonyms == {first[0]["pseudonym"]}
        service.kill_all()
        with mapping.open("ab") as file:
            file.write(b"9999,,ANO")  # half a line
            os.fsync(file.fileno())
        service.start(60)
        other = pydicom.dcmread(make_ct(tmp_path / "3.dcm", 3))
        other.PatientID = "9999"
        other.save_as(tmp_path / "3.dcm")
        assert service.leyden(*words, str(tmp_path / "3.dcm")).returncode == 0
        research.wait(3)
        second = rows(mapping)
        assert second[0] == first[0]
        assert [row["patient_id"] for row in second[1:]] == ["9999"]
        assert second[1]["pseudonym"].startswith("ANON-")
        assert set(second[1]) == set(COLUMNS)
    finally:
        service.end()
        research.stop()
