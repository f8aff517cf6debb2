"""The keys under api: what makes the console safe is checked before it starts."""

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from leyden.config.load import load
from leyden.config.settings import ConsoleSettings
from leyden.errors import ConfigError

Write = Callable[[str], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Write:
    def write(api: str) -> Path:
        (tmp_path / "config.yml").write_text(f"api:\n  enabled: true\n{api}")
        (tmp_path / "config.yml").chmod(0o600)
        (tmp_path / "nodes.yml").write_text("- AeTitle: PACS\n")
        return tmp_path

    return write


def console(path: Path) -> ConsoleSettings:
    return load(path, {}, {})[0].console


def warnings(path: Path) -> str:
    return "\n".join(load(path, {}, {})[1])


def errors(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, {}, {})
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize("bind", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8"])
def test_loopback_needs_nothing(folder: Write, bind: str) -> None:
    found = console(folder(f"  bind: '{bind}'\n"))
    assert (found.enabled, found.require_token, found.certificate) == (True, False, "")


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.168.1.5"])
def test_an_address_that_others_reach_needs_tls_or_a_word(folder: Write, bind: str) -> None:
    wrong = errors(folder(f"  bind: '{bind}'\n"))
    assert wrong.startswith("config.yml:3: api.bind: ")
    assert "allowPlainHttp: true" in wrong
    found = console(folder(f"  bind: '{bind}'\n  allowPlainHttp: true\n"))
    assert found.require_token, "there, nothing but /health is open"
    assert not console(folder(f"  bind: '{bind}'\n  allowPlainHttp: true\n  requireToken: no\n")).require_token


def test_the_key_of_tls_is_its_owners_alone(folder: Write, tmp_path: Path) -> None:
    for name in ("own.pem", "own.key"):
        (tmp_path / name).write_text("")
    (tmp_path / "own.key").chmod(0o640)
    keys = "  bind: 0.0.0.0\n  certificate: own.pem\n  key: own.key\n"
    assert "config.yml:5: api.key: others than its owner have rights to" in errors(folder(keys))
    (tmp_path / "own.key").chmod(0o600)
    assert console(folder(keys)).key == os.fspath(tmp_path / "own.key")
    assert "No such file" in errors(folder("  certificate: gone.pem\n  key: own.key\n"))
    assert "one of them is missing" in errors(folder("  certificate: own.pem\n"))


def test_no_settings_hold_a_secret(folder: Write) -> None:
    path = folder("  token: correct-horse-battery\n  servicePassword: hunter22\n")
    found = load(path, {}, {})[0]
    assert found.console.token == sha256(b"correct-horse-battery").hexdigest()
    assert found.console.service_password == sha256(b"hunter22").hexdigest()
    assert b"horse" not in found.to_json()
    assert b"hunter" not in found.to_json()


def test_what_others_can_read_or_guess_is_doubtful(folder: Write) -> None:
    path = folder("  token: correct-horse-battery\n")
    assert warnings(path) == ""
    (path / "config.yml").chmod(0o640)
    assert "config.yml:3: api.token: others than its owner can read config.yml" in warnings(path)
    assert "fewer than 16 characters" in warnings(folder("  token: short\n"))


def test_a_wrong_secret_is_not_repeated(folder: Write) -> None:
    assert "pass phrase" not in errors(folder("  token: my pass phrase\n"))


def test_what_does_not_run_needs_nothing(folder: Write) -> None:
    path = folder("")
    (path / "config.yml").write_text("api:\n  bind: 0.0.0.0\n  certificate: gone\n  token: x\n")
    assert warnings(path) == ""
    assert not console(path).enabled
