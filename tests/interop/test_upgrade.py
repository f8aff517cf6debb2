"""A spool of a later version. One of an earlier version: tests/chaos/upgrade.py."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from leyden.spool.format import FORMAT
from support.service import Service, files_below, node


@pytest.fixture
def of_a_later_version(service: Callable[..., Service]) -> Service:
    leyden = service(node("ARCHIVE", 11104))
    (leyden.spool / "new" / "17000000").mkdir(mode=0o700, parents=True)
    (leyden.spool / "new" / "17000000" / "1700000000123456000001.dcm").write_bytes(b"of another shape")
    (leyden.spool / "format").write_text(f"{FORMAT + 1}\nLeyden 9.1\n")
    return leyden


def everything(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files_below(folder)}


def test_a_spool_of_a_later_version_is_refused_and_not_touched(of_a_later_version: Service) -> None:
    """An older service refuses a newer spool with a clear message, and writes nothing."""
    before = everything(of_a_later_version.folder)
    command = [sys.executable, "-m", "leyden", "run", "--as-root", "--path", str(of_a_later_version.folder)]
    started = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert started.returncode == 2
    assert f"has format {FORMAT + 1}, of a newer version (Leyden 9.1)" in started.stderr
    assert "Nothing was touched" in started.stderr
    assert everything(of_a_later_version.folder) == before


@pytest.mark.parametrize(
    "words",
    [("status",), ("queue", "retry"), ("trace", "1.2.3"), ("study", "1.2.3"), ("check",), ("reload",)],
    ids=lambda words: words[0],
)
def test_the_commands_leave_a_spool_of_a_later_version_alone(of_a_later_version: Service, words: list[str]) -> None:
    """What could misread it, or change it, does nothing but say so."""
    before = everything(of_a_later_version.folder)
    said = of_a_later_version.leyden(*words)
    assert said.returncode == 2
    assert "start the newer version" in said.stderr
    assert everything(of_a_later_version.folder) == before


@pytest.mark.parametrize("text", ["", "two\n", "-1\n", "²\n"])
def test_a_format_that_cannot_be_told_is_refused_too(service: Callable[..., Service], text: str) -> None:
    """Nobody guesses: the message says what to write into the file."""
    leyden = service(node("ARCHIVE", 11104))
    leyden.spool.mkdir()
    (leyden.spool / "format").write_text(text)
    said = leyden.leyden("status")
    assert said.returncode == 2
    assert f"write {FORMAT} into that file" in said.stderr


def test_the_format_is_marked_before_anything_else(service: Callable[..., Service]) -> None:
    """A spool without a number is an old one, or is made now; from the first start on it says what it is."""
    leyden = service(node("ARCHIVE", 11104)).start()
    assert (leyden.spool / "format").read_text().splitlines()[0] == str(FORMAT)
    assert os.stat(leyden.spool / "format").st_mode & 0o777 == 0o600
    assert leyden.stop() == 0
