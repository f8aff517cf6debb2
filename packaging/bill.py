"""Writes the bill of materials of a release, leyden-VERSION.cdx.json (CycloneDX 1.6): what is inside, and inside that.

    python packaging/bill.py WHEEL [FOLDER] [--python PYTHON]      (needs: pip install cyclonedx-bom)

The wheel is installed into an empty environment, as a user would (--python: into which it has been installed already).
Listed are the packages that it brings, with their versions and licences, and the C libraries inside their wheels, each
as a part of its package. The file is checked against the schema of CycloneDX before it is written.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

TOP = Path(__file__).resolve().parents[1]
_FILE = re.compile(r"(?P<name>.+?)(?:-[0-9a-f]{8})?\.so(?:\.(?P<version>[\d.]+))?")
_OF_PIP = {"pip", "setuptools", "wheel"}
_REPORT = (
    "import json; from leyden.operate.libraries import loaded; print(json.dumps([each._asdict() for each in loaded()]))"
)


def bill(python: Path) -> dict[str, Any]:
    """The document for the environment of this interpreter. ValueError: it does not fit the schema."""
    made = subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", "environment", str(python), "--pyproject", str(TOP / "pyproject.toml"),
         "--output-reproducible", "--of", "JSON"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    document: dict[str, Any] = json.loads(made.stdout)
    dropped = {each["bom-ref"] for each in document["components"] if each["name"].lower() in _OF_PIP | {"leyden"}}
    document["components"] = [each for each in document["components"] if each["bom-ref"] not in dropped]
    document["dependencies"] = [
        {**each, "dependsOn": [ref for ref in each.get("dependsOn", ()) if ref not in dropped]}
        for each in document["dependencies"]
        if each["ref"] not in dropped
    ]
    said = json.loads(subprocess.run([str(python), "-c", _REPORT], check=True, capture_output=True, text=True).stdout)
    for package in document["components"]:
        inside = [*_files(package["name"], python), *_loaded(package["name"], said)]
        if inside:
            package["components"] = [
                {"type": "library", "bom-ref": f"{package['bom-ref']}#{each['name']}", **each} for each in inside
            ]
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))
    if problem is not None:
        raise ValueError(f"the bill does not fit the schema: {problem}")
    return document


def _files(package: str, python: Path) -> list[dict[str, Any]]:
    """The shared libraries that auditwheel has put beside a package; the version is that of the file's name."""
    found = {}
    for folder in python.parents[1].glob(f"lib/python3*/site-packages/{package.replace('-', '_').lower()}.libs"):
        for path in sorted(folder.iterdir()):
            name = _FILE.fullmatch(path.name)
            if name:
                version = {"version": name["version"]} if name["version"] else {}
                found[name["name"]] = {"name": name["name"], **version, "description": f"the file {path.name}"}
    return list(found.values())


def _loaded(package: str, said: list[dict[str, str]]) -> list[dict[str, Any]]:
    """What the libraries of a package say of themselves, where that is asked for (leyden version --libraries)."""
    of_this = [each for each in said if each["by"].split(",")[0].lower() == package.lower()]
    return [{"name": each["name"], "version": each["version"], "description": "as it says itself"} for each in of_this]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", default=Path())
    parser.add_argument("--python", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        python = given.python
        if python is None:
            python = Path(place, "venv/bin/python")
            subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", str(given.wheel)], check=True)
        path = given.folder / f"leyden-{given.wheel.name.split('-')[1]}.cdx.json"
        path.write_text(json.dumps(bill(python), indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    main()
