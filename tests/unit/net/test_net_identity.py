"""Who we say that we are, from files."""

from pathlib import Path

import pytest

from leyden.dicom.negotiate import JWT, USERNAME, USERNAME_AND_PASSCODE, UserIdentity
from leyden.net.certificates import BadFile
from leyden.net.identity import NOT_GIVEN, user_identity


def written(tmp_path: Path, content: bytes, mode: int = 0o600) -> str:
    path = tmp_path / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_the_kinds(tmp_path: Path) -> None:
    """PS3.7 table D.3-14: 1 the name, 2 name and passcode in UTF-8, 5 a JSON Web Token."""
    path = written(tmp_path, "päss wort \r\nmore\n".encode())
    assert user_identity("ü", path) == UserIdentity(USERNAME_AND_PASSCODE, "ü".encode(), "päss wort".encode())
    assert user_identity("ü", "", "clear") == UserIdentity(USERNAME_AND_PASSCODE, "ü".encode(), b"clear")
    assert user_identity("ü", "") == UserIdentity(USERNAME, "ü".encode())
    assert user_identity("", written(tmp_path, b"a.b.c")) == UserIdentity(JWT, b"a.b.c")


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"", 0o600, "is empty"),
        (b"\nsecret", 0o600, "is empty, or its first line is"),
        (b"s" * 60_001, 0o600, "has more than 60000 bytes"),
        (b"secret", 0o604, "others than its owner have rights"),
    ],
)
def test_what_is_no_secret_is_told_without_it(tmp_path: Path, content: bytes, mode: int, said: str) -> None:
    path = written(tmp_path, content, mode)
    with pytest.raises(BadFile, match=said) as raised:
        user_identity("u", path)
    assert "secret" not in str(raised.value).replace(path, "")


def test_outside_of_the_service_there_is_no_credential() -> None:
    with pytest.raises(BadFile, match="systemd gives the credential pacs to the service alone, by LoadCredential="):
        user_identity("u", f"{NOT_GIVEN}pacs")
