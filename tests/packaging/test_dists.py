"""The wheel and the sdist, as somebody gets them who has no repository."""

import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from support.debian import TOP, run

pytestmark = pytest.mark.timeout(600)  # the first one waits for all that is built


def test_the_sdist_holds_what_its_tests_and_packages_need_and_nothing_made(sdist: Path) -> None:
    """All that is in the repository, but for what only the repository needs."""
    listed = subprocess.run(["git", "-C", TOP, "ls-files"], capture_output=True, text=True).stdout.split()
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"packaging/build-deb", "Dockerfile", "hatch_build.py", "src/leyden/operate/leyden.service"} <= held
    assert not any(".venv" in name or "__pycache__" in name for name in held)
    assert {name for name in listed if not name.startswith(".ci/")} <= held


def test_the_wheel_holds_the_data_and_the_manual(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    ends = ("leyden/operate/leyden.service", "leyden/plan/profile.csv", "man/man1/leyden.1", "man5/leyden-config.5")
    assert [end for end in ends if not any(name.endswith(end) for name in names)] == []


def test_the_wheel_runs_the_demo_in_a_clean_environment(installed: Path, tmp_path: Path) -> None:
    """A plain `pip install` is enough for "one command, under a minute" (README.md), in a venv with nothing else."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    said = run([str(installed.parent / "leyden"), "demo"], cwd=tmp_path, env=clean)
    assert "all of 18 objects are as they should be" in said
    assert (installed.parents[1] / "share/man/man1/leyden.1").is_file()
