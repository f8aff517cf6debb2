"""Who works at the command line, as the journal names it."""

import os
import pwd

import pytest

from leyden.operate.who import who


def test_the_user_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert who() == pwd.getpwuid(os.getuid()).pw_name


def test_under_sudo_both_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    assert who() == f"alice as {pwd.getpwuid(os.getuid()).pw_name}"


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert who() == "user 54321"


def test_what_the_environment_says_is_one_short_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "alice\nroot, page: deleted" + "x" * 1000)
    name, _, user = who().rpartition(" as ")
    assert "\n" not in name
    assert len(name) <= 64
    assert user == pwd.getpwuid(os.getuid()).pw_name
