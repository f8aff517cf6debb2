"""What is inside a release: the bill of materials, known faults of the packages, and the age of the C libraries."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from leyden import __version__
from leyden.operate import libraries
from leyden.operate.libraries import FLOORS, Library, numbers
from support.debian import TOP, run

pytestmark = pytest.mark.timeout(600)  # the first one waits for all that is built


def test_the_bill_lists_packages_and_the_libraries_inside_them(wheel: Path, installed: Path, tmp_path: Path) -> None:
    """One command of a release (CONTRIBUTING.md) makes a CycloneDX document that fits its schema."""
    script = [sys.executable, str(TOP / "packaging/bill.py"), str(wheel), str(tmp_path), "--python", str(installed)]
    path = Path(run(script).strip())
    assert path == tmp_path / f"leyden-{__version__}.cdx.json"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(path.read_text()) is None
    document = json.loads(path.read_bytes())
    assert document["metadata"]["component"]["name"] == "leyden"
    packages: dict[str, dict[str, Any]] = {each["name"].lower(): each for each in document["components"]}
    assert {"numpy", "imagecodecs", "pydicom", "uvloop", "cryptography"} <= packages.keys()
    assert not {"pip", "setuptools", "pytest", "leyden"} & packages.keys(), "these are not delivered"
    assert all(each["version"] for each in packages.values())
    inside = {each["name"]: each for each in packages["imagecodecs"]["components"]}
    assert inside["libopenjp2"]["version"].startswith("2.")
    assert {"OpenJPH", "libjxl", "libjpeg-turbo"} <= inside.keys()


def audited(report: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Of what pip-audit says: faults that a newer version has mended, and packages of which it knows nothing."""
    faults = [
        f"{each['name']} {each['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions'])}"
        for each in report["dependencies"]
        for fault in each.get("vulns", ())
        if fault["fix_versions"]
    ]
    unknown = [each["name"] for each in report["dependencies"] if "skip_reason" in each and each["name"] != "leyden"]
    return faults, unknown


def test_no_package_has_a_known_fault_that_is_mended(installed: Path, tmp_path: Path) -> None:
    """pip-audit finds nothing. Where its service cannot be asked, nothing is known: the summary of the run says so."""
    out = tmp_path / "audit.json"
    (folder,) = installed.parents[1].glob("lib/python3*/site-packages")
    command = [sys.executable, "-m", "pip_audit", "--path", str(folder), "--progress-spinner", "off", "-f", "json"]
    said = subprocess.run([*command, "-o", str(out)], capture_output=True, text=True, timeout=500)
    if not out.exists():
        pytest.skip(f"NOT AUDITED, no vulnerability service: {said.stderr.strip().splitlines()[-1:]}")
    faults, unknown = audited(json.loads(out.read_bytes()))
    assert not faults, "\n".join(faults)
    if unknown:
        pytest.skip(f"NOT AUDITED, the vulnerability service does not know {len(unknown)} packages, {unknown[0]} first")


def test_what_pip_audit_says_is_understood() -> None:
    """A fault that nobody has mended yet stops no release; a package that was passed over is not called good."""
    mended = {"id": "CVE-1", "fix_versions": ["2.0"], "description": ""}
    open_one = {"id": "CVE-2", "fix_versions": [], "description": ""}
    report = {
        "dependencies": [
            {"name": "a", "version": "1.0", "vulns": [mended, open_one]},
            {"name": "b", "version": "1.0", "vulns": []},
            {"name": "c", "skip_reason": "Dependency not found on PyPI"},
            {"name": "leyden", "skip_reason": "Dependency not found on PyPI"},
        ],
        "fixes": [],
    }
    assert audited(report) == (["a 1.0: CVE-1, mended in 2.0"], ["c"])


def test_no_library_is_too_old(installed: Path) -> None:
    """`leyden version --libraries` ends well: each C library is as new as the one that mended its last known fault."""
    said = json.loads(run([str(installed.parent / "leyden"), "version", "--libraries", "--json"]))
    assert {each["name"] for each in said["libraries"]} == FLOORS.keys()
    assert not [each for each in said["libraries"] if each["old"]]
    assert said["leyden"] == __version__


def test_a_library_below_its_floor_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and what the newer version mended."""
    from leyden.cli import main

    assert numbers("1.2.13") > numbers("1.2.9")
    monkeypatch.setattr(libraries, "loaded", lambda: [Library("OpenJPEG", "2.5.3", "the system")])
    assert main(["version", "--libraries"]) == 1
    assert "TOO OLD: 2.5.4 mended CVE-2025-54874" in capsys.readouterr().out
