"""What the spool takes of the disk for each caller and each destination."""

import os
from pathlib import Path

import pytest

from leyden.spool import taken as module
from leyden.spool.entry import NO_UID, Entry, claim_name, folder, key
from leyden.spool.stage import Stage
from leyden.spool.taken import taken

MIB = 1 << 20
NOISE_BYTES = 64 << 10  # that a file system may take for itself


def entry(number: int, caller: str) -> Entry:
    return Entry(f"{1_764_000_000_000_000 + number:016d}000000", key(str(number)), NO_UID, key(caller))


def put(root: Path, place: str, name: str, size: int = MIB) -> Path:
    path = root / place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    return path


def about(size: int) -> object:
    return pytest.approx(size, abs=NOISE_BYTES)


def test_every_stage_counts_by_caller_and_by_destination(tmp_path: Path):
    one, two = entry(1, "CT01"), entry(2, "MR02")
    put(tmp_path, f"new/{one.bucket}", one.name)
    put(tmp_path, f"prepared/{folder('PACS 1')}/50/{two.bucket}", two.name)
    put(tmp_path, "active/sender-0", claim_name(Stage.PREPARED, "PACS 1", "50", entry(3, "CT01")))
    put(tmp_path, "failed", claim_name(Stage.TRANSFORM, "ARCHIVE", "50", entry(4, "CT01")))
    put(tmp_path, "rejected/ARCHIVE", entry(5, "MR02").name)
    put(tmp_path, "rejected/ARCHIVE", f"{entry(5, 'MR02').name}.json", 10)
    put(tmp_path, "embryo", entry(6, "MR02").name)  # not acknowledged yet
    found = taken(str(tmp_path))
    assert found.callers == {key("CT01"): about(3 * MIB), key("MR02"): about(2 * MIB)}
    assert found.destinations == {"PACS 1": about(2 * MIB), "ARCHIVE": about(2 * MIB)}
    assert Path(found.samples[key("CT01")]).exists()


def test_links_count_once_for_the_caller_and_for_each_destination(tmp_path: Path):
    one = entry(1, "CT01")
    path = put(tmp_path, f"prepared/A/50/{one.bucket}", one.name)
    other = tmp_path / f"prepared/B/50/{one.bucket}" / one.name
    other.parent.mkdir(parents=True)
    os.link(path, other)
    found = taken(str(tmp_path))
    assert found.callers == {key("CT01"): about(MIB)}
    assert found.destinations == {"A": about(MIB), "B": about(MIB)}


def test_what_says_no_caller_counts_for_nobody(tmp_path: Path):
    put(tmp_path, "new/17640000", f"{1:022d}.dcm")
    assert taken(str(tmp_path)).callers == {}


def test_of_more_callers_than_can_be_known_those_with_the_least_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "CALLERS_MAX", 2)
    large = entry(0, "LARGE")
    put(tmp_path, f"new/{large.bucket}", large.name)
    for number in range(1, 20):
        put(tmp_path, f"new/{large.bucket}", entry(number, f"C{number}").name, 4096)
    found = taken(str(tmp_path))
    assert found.callers[key("LARGE")] == about(MIB)
    assert len(found.callers) <= 4
    assert found.callers.keys() == found.samples.keys()
