"""Mapping files: one pseudonym for a patient and one patient for a pseudonym, across restarts and processes."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from leyden.errors import Transient
from leyden.plan.pseudonym import Patient
from leyden.pseudonyms import COLUMNS, NEW, Damaged, Preview, Pseudonymizer, Pseudonyms, problems_of
from leyden.spool.secret import make_secret, pseudonym_key, read_secret

HEAD = ",".join(COLUMNS) + "\n"
JANE, JOHN = Patient("4711", "HOSPITAL"), Patient("0815", "")


def filled(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "map.csv"
    path.write_text(text)
    path.chmod(mode)
    return path


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_a_patient_keeps_a_pseudonym_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    writer = Pseudonyms(path, writes=True)
    jane, john = writer.give(JANE), writer.give(JOHN)
    assert jane != john
    assert writer.give(JANE) == jane
    again = Pseudonyms(path, writes=True)
    assert (again.give(JANE), again.give(JOHN)) == (jane, john)
    assert len(lines(path)) == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_issuer_tells_patients_with_the_same_id_apart(tmp_path: Path) -> None:
    writer = Pseudonyms(tmp_path / "map.csv", writes=True)
    assert len({writer.give(Patient("1", issuer)) for issuer in ("", "A", "B", "a")}) == 4


def test_a_reader_sees_what_the_writer_adds(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    writer, reader = Pseudonyms(path, writes=True), Pseudonyms(path)
    assert reader.of(JANE) is None
    jane = writer.give(JANE)
    assert reader.of(JANE) == jane
    assert reader.of(JOHN) is None
    assert reader.of(JOHN) is None
    john = writer.give(JOHN)
    assert reader.of(JOHN) == john
    assert reader.of(JANE) == jane


def test_what_a_hospital_hands_in_is_taken_and_never_changed(tmp_path: Path) -> None:
    given = f'\ufeff{HEAD.upper()}4711,HOSPITAL,TRIAL-1,\r\n"08""15, x",,TRIAL 2,2020\nMüller,,TRIAL-3,\n\n'
    path = filled(tmp_path, given)
    assert problems_of(path) == []
    writer = Pseudonyms(path, writes=True)
    assert writer.give(JANE) == "TRIAL-1"
    assert writer.give(Patient('08"15, x')) == "TRIAL 2"
    assert writer.give(Patient("Müller")) == "TRIAL-3"
    assert path.read_bytes() == given.encode()
    new = writer.give(JOHN)
    assert path.read_bytes().startswith(given.encode())
    assert Pseudonyms(path).of(JOHN) == new


def test_awkward_texts_come_back(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    writer = Pseudonyms(path, writes=True)
    awkward = [
        Patient(text, issuer)
        for text in (",", '"', "a,b", '""', "=1+1", "é", "漢字", " x ", "\\")
        for issuer in ("", ",")
    ]
    made = [writer.give(patient) for patient in awkward]
    assert [Pseudonyms(path).of(patient) for patient in awkward] == made
    assert len(lines(path)) == 1 + len(awkward)
    assert problems_of(path) == []


def test_an_edit_by_hand_is_seen_at_once(tmp_path: Path) -> None:
    """Whether the editor writes a new file or into the old one."""
    path = filled(tmp_path, f"{HEAD}4711,HOSPITAL,TRIAL-1,\n")
    writer, reader = Pseudonyms(path, writes=True), Pseudonyms(path)
    assert writer.give(JANE) == reader.of(JANE) == "TRIAL-1"
    with path.open("r+") as file:
        file.write(f"{HEAD}0815,,TRIAL-2,and a comment\n147\\11,,TRIAL-5,\n4711,HOSPITAL,TRIAL-1,\n")
    assert (writer.give(JOHN), writer.give(JANE)) == ("TRIAL-2", "TRIAL-1")
    assert (reader.of(JOHN), reader.of(JANE)) == ("TRIAL-2", "TRIAL-1")
    path.unlink()
    filled(tmp_path, f"{HEAD}0815,,TRIAL-9,\n")
    assert writer.give(JOHN) == reader.of(JOHN) == "TRIAL-9"
    assert reader.of(JANE) is None


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", 0, ""),
        ("id,pseudonym\n1,2\n", 1, "the first line must be patient_id,"),
        (f"{HEAD}4711,HOSPITAL,TRIAL-1\n", 2, "is not a line of 4 columns"),
        (f"{HEAD}1,,A,\n2,,B,,\n", 3, "is not a line of 4 columns"),
        (f"{HEAD}1,,A,\n\n1,,B,\n", 4, "this patient stands in line 2 already"),
        (f"{HEAD}1,,A,\n2,,A,\n", 3, "this pseudonym stands in line 2 already"),
        (f"{HEAD},,A,\n", 2, "names no patient"),
        (f"{HEAD}1,,,\n", 2, "its pseudonym must be"),
        (f"{HEAD}1,,A\\B,\n", 2, "its pseudonym must be"),
        (f"{HEAD}1,, A,\n", 2, "its pseudonym must be"),
        (f"{HEAD}1,,Ä,\n", 2, "its pseudonym must be"),
        (f"{HEAD}1,,{'A' * 65},\n", 2, "its pseudonym must be"),
        (f'{HEAD}"1\n2",,A,\n', 2, "is not a line of 4 columns"),
        (f"{HEAD}1\x07,,A,\n", 2, "names no patient, or holds control characters"),
        (f"{HEAD}{'1' * 9000},,A,\n", 2, "is not a line of 4 columns"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    path = filled(tmp_path, text)
    found = problems_of(path)
    if not what:
        assert found == []
        return
    assert found[0][0] == line
    assert found[0][1].startswith(what)
    before = path.read_bytes()
    with pytest.raises(Damaged, match=f"map.csv:{line}: "):
        Pseudonyms(path, writes=True).give(JANE)
    if not what.startswith("this pseudonym"):  # that is only the writer's to see to
        with pytest.raises(Damaged):
            Pseudonyms(path).of(JANE)
    assert path.read_bytes() == before


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = filled(tmp_path, f"{HEAD}1,,A,\n2,\n,,B,\n3,,C,\n")
    assert [line for line, _ in problems_of(path)] == [3, 4]


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666])
def test_a_file_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = filled(tmp_path, HEAD, mode)
    assert problems_of(path) == [(0, f"others may read or write it; it names patients (chmod o= {path})")]
    path.chmod(0o660)
    assert problems_of(path) == []


def test_a_file_that_is_missing_can_be_made_where_its_folder_is(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "map.csv") == []
    ((line, what),) = problems_of(tmp_path / "none" / "map.csv")
    assert line == 0
    assert what.startswith("can't be made")
    assert problems_of(tmp_path) == [(0, "can't be opened for reading and writing: Is a directory")]


@pytest.mark.parametrize("cut", [1, 10, 25, 30, 50])
def test_a_line_that_was_cut_off_is_taken_out(tmp_path: Path, cut: int) -> None:
    """A power cut in the middle of a write: nothing was done by it, since the entry moves later."""
    path = tmp_path / "map.csv"
    first = Pseudonyms(path, writes=True)
    jane = first.give(JANE)
    whole = path.read_bytes()
    first.give(JOHN)
    first.close()
    path.write_bytes(path.read_bytes()[: len(whole) + cut])
    assert problems_of(path) == []
    assert Pseudonyms(path).of(JANE) == jane
    writer = Pseudonyms(path, writes=True)
    john = writer.give(JOHN)
    assert writer.give(JANE) == jane
    assert (Pseudonyms(path).of(JANE), Pseudonyms(path).of(JOHN)) == (jane, john)
    assert problems_of(path) == []


def test_a_last_line_without_an_end_is_a_line_if_it_is_whole(tmp_path: Path) -> None:
    path = filled(tmp_path, f"{HEAD}4711,HOSPITAL,TRIAL-1,")
    writer = Pseudonyms(path, writes=True)
    assert writer.give(JANE) == "TRIAL-1"
    john = writer.give(JOHN)
    assert lines(path)[1] == "4711,HOSPITAL,TRIAL-1,"
    assert Pseudonyms(path).of(JOHN) == john


def test_two_services_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    first, second = Pseudonyms(path, writes=True), Pseudonyms(path, writes=True)
    jane = first.give(JANE)
    assert second.give(JANE) == jane  # to read is harmless
    with pytest.raises(OSError, match="another service writes"):
        second.give(JOHN)
    first.close()
    assert second.give(JOHN)


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    first = Pseudonyms(path, writes=True)
    jane = first.give(JANE)
    first.close()
    size = path.stat().st_size
    code = f"""
import resource, signal
from pathlib import Path
from leyden.plan.pseudonym import Patient
from leyden.pseudonyms import Pseudonyms
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = Pseudonyms(Path({str(path)!r}), writes=True)
assert writer.give(Patient("4711", "HOSPITAL")) == {jane!r}
resource.setrlimit(resource.RLIMIT_FSIZE, ({size} + 10, resource.RLIM_INFINITY))
try:
    writer.give(Patient("0815"))
except OSError:
    pass
else:
    raise SystemExit("it was given")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(writer.give(Patient("0815")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert Pseudonyms(path).of(JOHN) == done.stdout.strip()
    assert len(lines(path)) == 3


def test_many_patients_get_as_many_pseudonyms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # two thousand of them would take long
    path = tmp_path / "map.csv"
    writer = Pseudonyms(path, writes=True)
    given = {writer.give(Patient(str(number), "X" * (number % 3))) for number in range(2000)}
    assert len(given) == 2000
    reader = Pseudonyms(path)
    assert {reader.of(Patient(str(number), "X" * (number % 3))) for number in range(2000)} == given
    assert problems_of(path) == []


def test_only_the_writer_makes_the_key_and_it_is_never_replaced(tmp_path: Path) -> None:
    reader, writer = Pseudonymizer(tmp_path, writes=False), Pseudonymizer(tmp_path, writes=True)
    with pytest.raises(Transient, match=r"pseudonym\.key"):
        reader.keyed()
    uid = writer.keyed().uid("1.2.3")
    assert reader.keyed().uid("1.2.3") == uid
    assert make_secret(pseudonym_key(tmp_path)) == read_secret(pseudonym_key(tmp_path))
    assert stat.S_IMODE(pseudonym_key(tmp_path).stat().st_mode) == 0o600
    pseudonym_key(tmp_path).write_bytes(b"short")
    with pytest.raises(Transient):
        Pseudonymizer(tmp_path, writes=True).keyed()
    assert pseudonym_key(tmp_path).read_bytes() == b"short"


def test_a_preview_makes_nothing(tmp_path: Path) -> None:
    """For leyden explain: as the planner would do it, beside a running service or before the first start."""
    path = tmp_path / "map.csv"
    preview = Preview(tmp_path / "cache")
    assert preview.pseudonym_of(str(path), JANE) == NEW
    assert preview.keyed().uid("1.2.3").startswith("2.25.")
    assert list(tmp_path.iterdir()) == []
    planner = Pseudonymizer(tmp_path / "cache", writes=True)
    assert preview.pseudonym_of(str(path), JANE) == NEW
    given = planner.pseudonym_of(str(path), JANE)
    assert preview.pseudonym_of(str(path), JANE) == given
    assert preview.keyed().uid("1.2.3") != planner.keyed().uid("1.2.3"), "that made the key"
    assert preview.keyed().uid("1.2.3") == planner.keyed().uid("1.2.3")


def test_a_worker_without_the_patient_waits(tmp_path: Path) -> None:
    path = filled(tmp_path, HEAD)
    with pytest.raises(Transient, match="does not have this patient") as told:
        Pseudonymizer(tmp_path, writes=False).pseudonym_of(str(path), JANE)
    assert "4711" not in str(told.value)
    made = Pseudonymizer(tmp_path, writes=True).pseudonym_of(str(path), JANE)
    assert Pseudonymizer(tmp_path, writes=False).pseudonym_of(str(path), JANE) == made
