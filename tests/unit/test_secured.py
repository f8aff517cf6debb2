"""The files of the TLS port, looked at again and again: what is wrong with them is told, and what was wrong is over."""

import logging
import os
from pathlib import Path

import pytest

from leyden.net.certificates import Listener
from leyden.receiver import secured
from leyden.receiver.secured import Secured
from support.authority import HOST, Authority


@pytest.fixture
def listener(tmp_path: Path) -> Listener:
    authority = Authority(tmp_path)
    ours = authority.signed("ours", HOST)
    return Listener(2762, str(ours.certificate), str(ours.key), str(authority.path))


def looks(there: Secured, times: int = 2) -> None:
    """Once is too early: a file has to stay as it is."""
    for _ in range(times):
        there.look()


def test_a_key_that_others_may_read_is_told_of_and_taken_again_once_they_may_not(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    there = Secured(listener)
    session = there.session()
    os.chmod(listener.key, 0o644)
    looks(there, 9)
    assert [record.message.partition(", ")[0] for record in caplog.records] == ["the files of tls can't be taken"]
    assert session is not None
    assert there.session() is not None, "the old ones stay in force"
    os.chmod(listener.key, 0o600)
    looks(there, 9)
    assert "read again" in caplog.records[-1].message
    assert len(caplog.records) == 2


def test_what_goes_wrong_without_a_change_of_a_file_is_told_too(
    listener: Listener, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A context is made anew now and then, and can fail then: a folder that was closed, memory that is used up."""
    there = Secured(listener)
    monkeypatch.setattr(secured, "ANEW_S", 0.0)
    with monkeypatch.context() as broken:
        broken.setattr(secured, "server_context", _fails)
        looks(there)
    assert [record.message for record in caplog.records] == [
        "the files of tls can't be taken, the old ones stay in force: no rights"
    ]
    caplog.set_level(logging.INFO)
    looks(there)
    assert "read again" in caplog.records[-1].message
    assert len(caplog.records) == 2


def _fails(_: Listener) -> None:
    raise secured.BadFile("key", "no rights")


def test_nobody_waits_for_what_is_no_file(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    there = Secured(listener)
    os.unlink(listener.key)
    os.mkfifo(listener.key, 0o600)
    looks(there)
    assert f"{listener.key} is no file" in caplog.text
    assert there.session() is not None
