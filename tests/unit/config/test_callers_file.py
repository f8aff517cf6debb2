"""callers.yml: what each key means, what is an error, what is most probably wrong, and what a reload says of it."""

import json
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from leyden.admission.callers import Caller, TokenRules
from leyden.admission.passcode import hashed
from leyden.admission.token import ALGORITHMS
from leyden.config.changes import changes
from leyden.config.load import emptied, load
from leyden.config.settings import Settings
from leyden.errors import ConfigError

HASH = hashed(b"open sesame", bytes(16))
KEY = rsa.generate_private_key(65537, 2048)
PEM = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
JWK = jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
JWT = "\n  Identity: required\n  Jwt: {KeyFiles: keys, Issuer: i, Audience: a}"


def read(folder: Path, callers: str | None, config: str = "") -> tuple[Settings, tuple[str, ...]]:
    (folder / "config.yml").write_text(config)
    (folder / "nodes.yml").write_text("- AeTitle: PACS\n  Aliases: ARCHIVE\n")
    (folder / "callers.yml").unlink(missing_ok=True)
    if callers is not None:
        (folder / "callers.yml").write_text(callers)
    return load(folder, {}, {})


def callers_of(folder: Path, callers: str) -> tuple[Caller, ...]:
    return read(folder, callers)[0].receiver.callers


def test_every_key_has_its_meaning(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(PEM)
    first, second = callers_of(
        tmp_path,
        f"""\
- AeTitle: ' CT01 '
  Addresses: [10.1.20.7, 10.2.0.0/16, 10.3.0.0 / 255.255.255.0, '2001:db8::/32',
    '::ffff:10.4.0.1', '::ffff:10.5.0.0/112']
  Certificates: [ct01.example.org, 'SHA256:{"AB:" * 31}AB']
  CalledAeTitles: PACS, DCP_ARCHIVE
  SopClasses: [CTImageStorage, mrimagestorage, 1.2.3.4]
  MaxAssociations: 4
  MaximumLineSpeed: 20000
  Description: the old scanner
- AeTitle: '*'
  Identity: optional
  Users:
    dr.who: {HASH}
  Jwt:
    KeyFiles: keys
    Issuer: https://login
    Audience: leyden
    Algorithms: RS256, ES256
""",
    )
    assert first == Caller(
        "CT01",
        "callers.yml:1",
        ("10.1.20.7/32", "10.2.0.0/16", "10.3.0.0/24", "2001:db8::/32", "10.4.0.1/32", "10.5.0.0/16"),
        ("ct01.example.org", "sha256:" + "ab" * 32),
        ("PACS", "DCP_ARCHIVE"),
        ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.3.4"),
        4,
        20000,
        description="the old scanner",
    )
    key = json.dumps({name: JWK[name] for name in ("kty", "n", "e")}, sort_keys=True)
    assert second == Caller(
        "*",
        "callers.yml:10",
        identity="optional",
        users=(("dr.who", HASH),),
        tokens=TokenRules((key,), "https://login", "leyden", ("RS256", "ES256")),
    )


def test_several_receivers_share_the_associations_of_a_caller(tmp_path: Path) -> None:
    settings, _ = read(tmp_path, "- AeTitle: A\n  MaxAssociations: 5\n- AeTitle: B\n", "receivers: 2\n")
    assert [caller.max_associations for caller in settings.of_each_receiver.callers] == [3, 0]


def test_an_empty_list_opens_the_door_and_says_so(tmp_path: Path) -> None:
    settings, warnings = read(tmp_path, "[]\n")
    assert settings.receiver.callers == ()
    assert "callers.yml: names nobody, so everybody may call" in warnings


def test_an_empty_key_that_restricts_a_caller_is_an_error(tmp_path: Path) -> None:
    for key in ("Addresses", "Certificates", "CalledAeTitles", "SopClasses", "Identity", "Users", "Jwt"):
        for nothing in ("", "[]", "{}", "','"):
            with pytest.raises(ConfigError) as caught:
                read(tmp_path, f"- AeTitle: A\n  {key}: {nothing}\n")
            (problem,) = caught.value.problems
            assert problem.startswith(f"callers.yml:2: {key}: is empty; without it ")


@pytest.mark.parametrize(
    ("callers", "wrong"),
    [
        ("", " is empty; name who may call, or write [] if everybody may"),
        ("# nothing yet\n", " is empty; name who may call, or write [] if everybody may"),
        ("AeTitle: A\n", "1: must be a list: each caller begins with a dash (- AeTitle: ...)"),
        ("- Addresses: 10.0.0.1\n", "1: AeTitle: is missing"),
        ("- AeTitle: A\n  Adresses: 10.0.0.1\n", "2: Adresses: unknown key (did you mean Addresses?)"),
        ("- AeTitle: A\n  Port: 104\n", "2: Port: unknown key"),
        (
            "- AeTitle: A\n  Addresses: ct01.local\n",
            "2: Addresses[0]: 'ct01.local' is neither an address nor a network",
        ),
        (
            "- AeTitle: A\n  Addresses: 10.1.2.3/16\n",
            "2: Addresses[0]: '10.1.2.3/16' is an address in a network; write",
        ),
        ("- AeTitle: A\n  Addresses: 0.0.0.0\n", "2: Addresses[0]: nobody calls from 0.0.0.0"),
        ("- AeTitle: A\n  Addresses: 224.0.0.1\n", "2: Addresses[0]: nobody calls from 224.0.0.1"),
        ("- AeTitle: A\n  Certificates: sha256:12\n", "2: Certificates[0]: 'sha256:12' is no hash"),
        (
            "- AeTitle: A\n  CalledAeTitles: PACKS\n",
            "2: CalledAeTitles[0]: PACKS is no title that we answer to (did you",
        ),
        (
            "- AeTitle: A\n  SopClasses: CTImageStorag\n",
            "2: SopClasses[0]: there is no SOP class 'CTImageStorag'; one is",
        ),
        ("- AeTitle: A\n  SopClasses: Verification\n", "2: SopClasses[0]: 1.2.840.10008.1.1 is not for C-STORE"),
        ("- AeTitle: A\n  Identity: required\n", "2: Identity: required, but neither Users nor Jwt is given"),
        (f"- AeTitle: A\n  Users: {{u: {HASH}}}\n", "1: Identity: is off: Users and Jwt would not be asked for"),
        (
            "- AeTitle: A\n  Identity: optional\n  Users: {u: hidden}\n",
            "3: Users.u: is no hash of a passcode; `leyden pass",
        ),
        (f"- AeTitle: A{JWT.replace('keys', 'none')}\n", "3: Jwt.KeyFiles[0]: none cannot be read: No such file"),
        (
            f"- AeTitle: A{JWT.replace('keys', 'secret')}\n",
            "3: Jwt.KeyFiles[0]: secret holds a private key; the public one",
        ),
        (
            f"- AeTitle: A{JWT.replace('keys', 'shared')}\n",
            "3: Jwt.KeyFiles[0]: shared holds a shared secret or a private",
        ),
        (
            f"- AeTitle: A{JWT.replace('keys', 'garbage')}\n",
            "3: Jwt.KeyFiles[0]: garbage is neither a public key or cert",
        ),
        (
            f"- AeTitle: A{JWT.replace('keys', 'empty')}\n",
            "3: Jwt.KeyFiles[0]: empty is no JSON Web Key Set of 1 to 100",
        ),
        (f"- AeTitle: A{JWT.replace(', Audience: a', '')}\n", "3: Jwt.Audience: is missing"),
        (
            f"- AeTitle: A{JWT.replace('}', ', Algorithms: HS256}')}\n",
            "3: Jwt.Algorithms[0]: must be one of RS256, RS384",
        ),
    ],
)
def test_an_error_names_its_line_and_shows_no_secret(tmp_path: Path, callers: str, wrong: str) -> None:
    (tmp_path / "keys").write_bytes(PEM)
    (tmp_path / "secret").write_bytes(
        KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (tmp_path / "shared").write_text(json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}))
    (tmp_path / "garbage").write_bytes(b"\x00" * 100)
    (tmp_path / "empty").write_text('{"keys": []}')
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, callers)
    (problem,) = caught.value.problems
    assert problem.startswith(f"callers.yml:{wrong}")
    assert "hidden" not in problem
    assert HASH not in problem


@pytest.mark.parametrize(
    ("callers", "config", "told"),
    [
        ("- AeTitle: A\n- AeTitle: a\n", "", "callers.yml:2: AeTitle: a differs only in case from A (callers.yml:1)"),
        (
            "- AeTitle: A\n- AeTitle: A\n",
            "",
            "callers.yml:2: AeTitle: nobody comes by this entry: callers.yml:1 is for",
        ),
        (
            "- AeTitle: A\n  Addresses: 10.0.0.0/8\n- AeTitle: A\n  Addresses: 10.1.1.1\n",
            "",
            "callers.yml:3: AeTitle: nobody comes by this entry: callers.yml:1 is for the same",
        ),
        (
            "- AeTitle: A\n  Addresses: [10.0.0.0/8, 10.1.0.0/16]\n",
            "",
            "callers.yml:1: Addresses: 10.1.0.0/16 is not needed: it lies in 10.0.0.0/8",
        ),
        (
            "- AeTitle: A\n  Addresses: [10.0.0.1, 10.0.0.1]\n",
            "",
            "callers.yml:1: Addresses: 10.0.0.1/32 is not needed: it lies in 10.0.0.1/32",
        ),
        ("- AeTitle: A\n  Addresses: 0.0.0.0/0\n", "", "callers.yml:1: Addresses: 0.0.0.0/0 is every address"),
        (
            "- AeTitle: A\n  Certificates: a.example.org\n",
            "",
            "callers.yml:1: Certificates: A can't come in: there is no TLS listener (tls in config.yml)",
        ),
        (
            f"- AeTitle: A\n  Identity: required\n  Users: {{u: {HASH}}}\n",
            "",
            "callers.yml:1: Identity: A can't come in: there is no TLS listener",
        ),
        (
            f"- AeTitle: A\n  Identity: optional\n  Users: {{u: {HASH}}}\n",
            "",
            "callers.yml:1: Identity: A is never asked for one: there is no TLS listener",
        ),
        (
            "- AeTitle: A\n",
            "allowedCallingAeTitles: A, B\n",
            "config.yml:1: allowedCallingAeTitles: B can't come in: callers.yml does not name it",
        ),
        (
            "- AeTitle: A\n- AeTitle: B\n",
            "allowedCallingAeTitles: A\n",
            "callers.yml:2: AeTitle: B can't come in: allowedCallingAeTitles (config.yml) does not name it",
        ),
        (
            "- AeTitle: A\n  SopClasses: 1.2.3\n",
            "rejectAbstractSyntaxes: 1.2.3\n",
            "callers.yml:1: SopClasses: it can send nothing: rejectAbstractSyntaxes (config.yml) refuses all",
        ),
    ],
)
def test_what_is_probably_wrong_is_told(tmp_path: Path, callers: str, config: str, told: str) -> None:
    (warning,) = read(tmp_path, callers, config)[1]
    assert warning.startswith(told)


@pytest.mark.parametrize(
    ("callers", "config"),
    [
        ("- AeTitle: A\n  Addresses: 10.1.1.1\n- AeTitle: A\n  Addresses: 10.0.0.0/8\n", ""),
        ("- AeTitle: A\n  Addresses: [10.1.1.1, 10.1.1.2, '2001:db8::1']\n- AeTitle: '*'\n", ""),
        ("- AeTitle: '*'\n", "allowedCallingAeTitles: A, B\n"),
        ("- AeTitle: A\n", "allowedCallingAeTitles: A\n"),
    ],
)
def test_what_may_be_meant_is_not_told(tmp_path: Path, callers: str, config: str) -> None:
    assert read(tmp_path, callers, config)[1] == ()


def test_a_reload_says_what_changes_and_no_secret(tmp_path: Path) -> None:
    open_, _ = read(tmp_path, None)
    one, _ = read(tmp_path, "- AeTitle: A\n  Addresses: 10.1.1.1\n")
    user, _ = read(tmp_path, f"- AeTitle: A\n  Identity: optional\n  Users: {{u: {HASH}}}\n- AeTitle: B\n")
    assert changes(open_, one) == (
        "callers.yml: 1 caller added (callers.yml:1)",
        "callers.yml: only those in it may call now",
    )
    assert changes(one, user) == (
        "callers.yml: 1 caller changed (callers.yml:1)",
        "callers.yml: 1 caller added (callers.yml:4)",
    )
    assert changes(user, open_) == (
        "callers.yml: 2 callers removed (was callers.yml:1, was callers.yml:4)",
        "callers.yml: everybody may call now",
    )


def test_a_reload_does_not_open_the_door_as_the_file_is_gone(tmp_path: Path) -> None:
    before, _ = read(tmp_path, "- AeTitle: A\n")
    after, _ = read(tmp_path, None)
    (line,) = emptied(before, after)
    assert line.startswith("callers.yml: is empty or gone, and was not before")
    meant, _ = read(tmp_path, "[]\n")
    assert emptied(before, meant) == ()


def test_keys_come_from_a_set_a_certificate_or_a_key(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(json.dumps({"keys": [JWK | {"kid": "a", "use": "sig"}, JWK | {"use": "enc"}]}))
    caller, *_ = callers_of(tmp_path, f"- AeTitle: A{JWT}\n")
    assert caller.tokens is not None
    assert [json.loads(key) for key in caller.tokens.keys] == [{"kty": "RSA", "n": JWK["n"], "e": JWK["e"], "kid": "a"}]
    assert caller.tokens.algorithms == ALGORITHMS


def test_a_caller_has_its_own_share_of_the_disk_and_the_largest_of_its_entries_counts(tmp_path: Path) -> None:
    two = "- AeTitle: A\n  DiskShare: 5\n- AeTitle: A\n  DiskShare: 7.5\n"
    shares = read(tmp_path, f"{two}- AeTitle: B\n- AeTitle: '*'\n  DiskShare: 1\n", "callerShare: 25\n")[
        0
    ].receiver.shares
    assert [shares.of_caller(title) for title in ("A", "B", "C")] == [7.5, 1.0, 1.0]
    assert shares.enabled
    none = read(tmp_path, f"{two}- AeTitle: A\n  DiskShare: 0\n")[0].receiver.shares
    assert none.of_caller("A") == 0.0


def test_a_rule_for_a_caller_that_can_not_come_in_is_told(tmp_path: Path) -> None:
    """`Source` in a condition: a title that neither list lets in never sends anything."""
    rule = "- AeTitles: PACS\n  Conditions:\n    - {Tag: Source, MatchExpression: US01}\n  Actions:\n    - Type: drop\n"
    (tmp_path / "routings.yml").write_text(rule)
    told = "routings.yml:3: Conditions[0]: can never hold: no AE title that may call us is one such"
    assert told in read(tmp_path, "- AeTitle: CT01\n", "filters: route\n")[1]
    assert told not in read(tmp_path, "- AeTitle: CT01\n- AeTitle: '*'\n", "filters: route\n")[1]
    assert told not in read(tmp_path, "- AeTitle: US01\n", "filters: route\n")[1]
    assert told not in read(tmp_path, None, "filters: route\n")[1]


@pytest.mark.parametrize("role", ["receiver", "planner", "worker", "sender", "console", "watcher"])
def test_the_hashes_of_passcodes_are_the_receivers_alone(tmp_path: Path, role: str) -> None:
    settings, _ = read(tmp_path, f"- AeTitle: A\n  Identity: optional\n  Users:\n    u: {HASH}\n")
    assert (HASH.encode() in settings.seen_by(role).to_json()) is (role == "receiver")


def test_another_passcode_of_a_user_is_another_configuration(tmp_path: Path) -> None:
    """For the audit log, which names configurations by their fingerprint."""
    entry = "- AeTitle: A\n  Identity: optional\n  Users:\n    u: {}\n"
    one, again, other = (read(tmp_path, entry.format(each))[0] for each in (HASH, HASH, hashed(b"other", bytes(16))))
    assert one.fingerprint == again.fingerprint != other.fingerprint
