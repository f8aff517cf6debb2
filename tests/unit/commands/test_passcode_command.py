"""`leyden passcode`: what it prints is a hash of what is typed, and nothing is shown."""

import getpass
import io
import sys

import pytest

from leyden.admission.passcode import is_right
from leyden.cli import main


def test_a_passcode_from_standard_input_becomes_a_hash(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    for _ in range(2):
        monkeypatch.setattr(sys, "stdin", io.StringIO("open sésame\nmore\n"))
        assert main(["passcode"]) == 0
        made.append(capsys.readouterr().out.strip())
    assert made[0] != made[1], "each has a salt of its own"
    assert all(is_right({"u": each}, "u", "open sésame".encode()) for each in made)


@pytest.mark.parametrize(("typed", "code"), [(["a", "a"], 0), (["a", "b"], 2), (["", ""], 2)])
def test_at_a_terminal_it_is_asked_for_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: list[str], code: int
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(getpass, "getpass", lambda _prompt: typed.pop(0))
    assert main(["passcode"]) == code
    said = capsys.readouterr()
    assert bool(said.out) is (code == 0)
    assert bool(said.err) is (code == 2)
