"""`leyden test-rules` as a hospital's CI runs it: the example of the hub, and what it says when a rule is changed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from support.objects import real

HUB = Path(__file__).resolve().parents[2] / "examples" / "hub"
DOSE_REPORT = "1.2.840.10008.5.1.4.1.1.88.67"


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """The example with sample files."""
    folder = tmp_path / "hub"
    shutil.copytree(HUB, folder)
    samples = folder / "samples"
    samples.mkdir()
    shutil.copyfile(real("CT_small.dcm"), samples / "ct.dcm")
    shutil.copyfile(real("test-SR.dcm"), samples / "sr.dcm")
    emergency = pydicom.dcmread(real("CT_small.dcm"))
    emergency.StationName = "ER1"
    emergency.save_as(samples / "er.dcm")
    dose = pydicom.dcmread(real("test-SR.dcm"))
    dose.SOPClassUID = dose.file_meta.MediaStorageSOPClassUID = DOSE_REPORT
    dose.StudyDate = "20040119"
    dose.SOPInstanceUID = dose.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    dose.save_as(samples / "dose.dcm")
    return folder


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "leyden", "test-rules", "--path", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_example_is_as_its_cases_say(hub: Path) -> None:
    """cases.yml "says what they must do with sample files" (examples/README.md)."""
    done = run(hub)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line[:4] for line in done.stdout.splitlines()] == ["ok  "] * 5 + ["5 as"]
    assert "ok    cases.yml:4  A CT goes to the main PACS only (ct.dcm)" in done.stdout


def test_a_changed_rule_is_found_with_a_diff_and_exit_code_1(hub: Path) -> None:
    """Exit code 1: "something differs" (docs/operate.md)."""
    rules = (hub / "routings.yml").read_text()
    (hub / "routings.yml").write_text(rules.replace("RemoveOriginal: true", "RemoveOriginal: false"))
    done = run(hub)
    assert (done.returncode, done.stderr) == (1, "")
    assert "FAIL  cases.yml:26  Reports go to the reporting system only (sr.dcm)\n" in done.stdout
    assert "        + delivered to MAINPACS (called title MAINPACS)\n" in done.stdout
    assert done.stdout.endswith("4 as expected, 1 not\n")
    told = json.loads(run(hub, "--json").stdout)
    assert [case["passed"] for case in told] == [True, True, False, True, True]
    assert told[2]["differences"] == [{"expected": "", "got": "delivered to MAINPACS (called title MAINPACS)"}]


def test_a_mistake_in_the_cases_is_exit_code_2(hub: Path) -> None:
    """Exit code 2: "a mistake in cases.yml or in the configuration" (docs/operate.md)."""
    cases = hub / "other.yml"
    cases.write_text((hub / "cases.yml").read_text().replace("Calling:", "Caling:"))
    done = run(hub, str(cases))
    assert done.returncode == 2
    assert "other.yml:12: Caling: unknown key (did you mean Calling?)" in done.stderr
    assert run(hub, str(hub / "absent.yml")).returncode == 2
