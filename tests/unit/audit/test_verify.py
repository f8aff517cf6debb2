"""What is broken in an audit log is named, with file and line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from leyden.audit import files, keeper
from leyden.audit.chain import Link, key_id
from leyden.audit.verify import Fault, verify
from leyden.spool.secret import audit_key, read_secret
from support.audited import checked, delivered, keep, rewrite, tell

Lines = list[bytes]


def written(root: Path) -> Path:
    """A log of six records, of which the first opens the file."""
    root.mkdir(exist_ok=True)
    tell(root, map(delivered, range(5)))
    keep(root)
    return root / "log" / files.NAME


@pytest.mark.parametrize(
    ("damage", "what", "line", "detail"),
    [
        (lambda x: [*x[:3], x[3].replace(b"2.25.2", b"2.25.7"), *x[4:]], "changed", 4, "record 4 is not what was"),
        (lambda x: [*x[:3], b"\n", *x[4:]], "changed", 4, "record 4"),
        (lambda x: [*x[:3], x[3].upper(), *x[4:]], "changed", 4, "record 4"),
        (lambda x: [*x[:3], *x[4:]], "missing", 4, "record 4 is not there"),
        (lambda x: [*x[:2], *x[4:]], "missing", 3, "records 3 to 4 are not there"),
        (lambda x: x[1:], "changed", 1, "the record that opens"),
        (lambda x: [*x[:3], x[4], x[3], x[5]], "reordered", 4, "record 5 stands in the place of 4"),
        (lambda x: [*x[:4], x[2], *x[4:]], "reordered", 5, "record 3 stands here again, after 4"),
        (lambda x: x[:5], "cut off", 5, "the last record is 5, and 6 were written"),
        (lambda x: [*x[:5], x[5][:40]], "cut off", 6, "record 6 ends in its middle"),
        (lambda x: [], "cut off", 0, "the last record is 0, and 6"),
    ],
)  # fmt: skip
def test_the_first_fault_is_named(
    tmp_path: Path, damage: Callable[[Lines], Lines], what: str, line: int, detail: str
) -> None:
    path = written(tmp_path)
    rewrite(path, damage(path.read_bytes().splitlines(keepends=True)))
    fault = checked(tmp_path).fault
    assert fault is not None
    assert (fault.file, fault.what, fault.line) == (str(path), what, line)
    assert detail in fault.detail


def test_a_record_of_another_chain_does_not_fit(tmp_path: Path) -> None:
    path, other = written(tmp_path / "a"), written(tmp_path / "b")
    lines = path.read_bytes().splitlines(keepends=True)
    rewrite(path, [*lines[:2], other.read_bytes().splitlines(keepends=True)[2], *lines[3:]])
    fault = checked(tmp_path / "a").fault
    assert fault == Fault(str(path), 3, "changed", "record 3 is not what was written")


def test_the_files_behind_are_looked_at_for_what_is_reordered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "ROTATE_BYTES", 1000)
    for number in range(3):
        tell(tmp_path, [delivered(10 * number + n) for n in range(4)])
        keep(tmp_path)
    folder = tmp_path / "log" / files.ARCHIVE
    second, third = (folder / f"{files.NAME}.{n}.gz" for n in (2, 3))
    assert checked(tmp_path).fault is None
    second.rename(tmp_path / "x")
    assert checked(tmp_path).fault == Fault(str(third), 1, "missing", "records 6 to 10 are not there")
    third.rename(second)
    (tmp_path / "x").rename(third)
    assert checked(tmp_path).fault == Fault(str(second), 1, "reordered", "record 11 stands in the place of 6")
    third.write_bytes(third.read_bytes()[:-30])
    third.rename(tmp_path / "x")
    second.rename(third)
    (tmp_path / "x").rename(second)
    fault = checked(tmp_path).fault
    assert fault is not None
    assert fault.what == "unreadable"


def test_a_file_alone_is_checked_and_what_has_to_be_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "ROTATE_BYTES", 1000)
    for number in range(2):
        tell(tmp_path, [delivered(10 * number + n) for n in range(4)])
        kept = keep(tmp_path)
    key = read_secret(audit_key(tmp_path))
    paths = files.files(tmp_path / "log")
    said = verify(key, paths[1:], first=0)
    assert (said.fault, said.first, said.records, said.to_the_end) == (None, 6, 4, False)
    fault = verify(key, paths[1:]).fault
    assert fault is not None
    assert fault.what == "missing"
    assert verify(key, paths, end=kept.kept).to_the_end
    fault = verify(key, paths, end=Link(kept.kept.seq, bytes(32))).fault
    assert fault is not None
    assert fault.what == "changed"
    assert verify(bytes(32), paths).fault == Fault(
        str(paths[0]), 1, "another key", f"it was written with the key {key_id(key)}"
    )
    assert verify(key, []).records == 0
