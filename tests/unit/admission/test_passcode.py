"""Hashes of passcodes: as other programs make them, checked alike whether the name is known or not."""

import hashlib
from base64 import b64encode

import pytest

from leyden.admission import passcode
from leyden.admission.passcode import PASSCODE_MAX_BYTES, SALT_BYTES, hashed, is_hash, is_right

SALT = bytes(range(SALT_BYTES))
RIGHT = hashed(b"open sesame", SALT)


def test_a_hash_is_scrypt() -> None:
    expected = hashlib.scrypt(b"open sesame", salt=SALT, n=16384, r=8, p=1, maxmem=1 << 26, dklen=32)
    assert "$scrypt$14$8$1$" + "$".join(b64encode(x).decode().rstrip("=") for x in (SALT, expected)) == RIGHT
    assert is_hash(RIGHT)


@pytest.mark.parametrize(
    ("name", "given", "right"),
    [
        ("dr", b"open sesame", True),
        ("dr", b"open sesame ", False),
        ("dr", b"", False),
        ("DR", b"open sesame", False),
        ("", b"open sesame", False),
        ("dr", b"x" * (PASSCODE_MAX_BYTES + 1), False),
    ],
)
def test_only_the_passcode_of_that_name_is_right(name: str, given: bytes, right: bool) -> None:
    assert is_right({"dr": RIGHT}, name, given) is right


def test_a_name_that_is_not_known_costs_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int]] = []
    really = passcode._scrypt

    def counted(given: bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
        asked.append((n, r, p))
        return really(given, salt, n, r, p)

    monkeypatch.setattr(passcode, "_scrypt", counted)
    assert not is_right({"dr": RIGHT}, "nobody", b"open sesame")
    assert not is_right({"dr": RIGHT}, "dr", b"wrong")
    assert asked == [(16384, 8, 1), (16384, 8, 1)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "open sesame",
        "$2b$12$abcdefghijklmnopqrstuv",
        RIGHT + "x",
        RIGHT.replace("$14", "$09"),  # too little work
        RIGHT.replace("$14", "$20"),  # 1 GiB a check
        RIGHT.replace("$8", "$0"),
    ],
)
def test_what_is_no_hash_is_known_as_such(text: str) -> None:
    assert not is_hash(text)


def test_a_hash_with_more_work_in_it_counts() -> None:
    salt = "A" * 22
    key = hashlib.scrypt(b"x", salt=bytes(16), n=1 << 15, r=8, p=2, maxmem=1 << 27, dklen=32)
    written = f"$scrypt$15$8$2${salt}${b64encode(key).decode().rstrip('=')}"
    assert is_hash(written)
    assert is_right({"a": written}, "a", b"x")


@pytest.mark.parametrize("given", [b"", b"x" * (PASSCODE_MAX_BYTES + 1)])
def test_no_hash_is_made_of_nothing(given: bytes) -> None:
    with pytest.raises(ValueError, match="1 to 1024 bytes"):
        hashed(given, SALT)
