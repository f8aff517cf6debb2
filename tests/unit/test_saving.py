"""Copies of save_file: whole and under their name or not there, and no file that stands there already is touched."""

import errno
import os
from pathlib import Path

import pytest

from leyden import saving
from leyden.saving import save


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    path = tmp_path / "00.dcm"
    path.write_bytes(bytes(range(256)) * 9000)
    return path


def test_a_copy_is_whole_and_alone_in_its_folder(entry: Path) -> None:
    target = entry.parent / "a" / "b" / "copy.dcm"
    assert save(entry, target, "77") == target
    assert target.read_bytes() == entry.read_bytes()
    assert os.listdir(target.parent) == ["copy.dcm"]


@pytest.mark.parametrize("links", [True, False])
def test_a_name_that_is_taken_stays_with_its_bytes(entry: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:

        def link(_source: Path, _target: Path) -> None:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

        monkeypatch.setattr(saving.os, "link", link)
    folder = entry.parent / "copies"
    for _ in range(2):
        assert save(entry, folder / "x.dcm", "77") == folder / "x.dcm", "the same once more is the same copy"
    (folder / "x.dcm").write_bytes(b"another")
    for _ in range(2):
        assert save(entry, folder / "x.dcm", "77") == folder / "x.77.dcm"
    (folder / "x.77.dcm").write_bytes(entry.read_bytes()[:-1] + b"!")
    with pytest.raises(FileExistsError):
        save(entry, folder / "x.dcm", "77")
    assert sorted(os.listdir(folder)) == ["x.77.dcm", "x.dcm"]
    assert (folder / "x.dcm").read_bytes() == b"another"


def test_a_folder_or_a_pipe_under_its_name_is_another_file(entry: Path) -> None:
    (entry.parent / "x.dcm").mkdir()
    os.mkfifo(entry.parent / "y.dcm")
    assert save(entry, entry.parent / "x.dcm", "77").name == "x.77.dcm"
    assert save(entry, entry.parent / "y.dcm", "77").name == "y.77.dcm"


def test_what_a_killed_planner_left_harms_no_finished_copy(entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = entry.parent / "copies" / "x.dcm"
    save(entry, target, "77")
    os.link(target, target.parent / f".{entry.name}.part")  # killed between the link and the unlink

    def full(*_args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saving.os, "sendfile", full)
    with pytest.raises(OSError, match="No space"):
        save(entry, target, "77")
    assert target.read_bytes() == entry.read_bytes()
    assert os.listdir(target.parent) == ["x.dcm"]
