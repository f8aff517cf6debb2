"""Tls and Credentials in nodes.yml: what they become, and what is wrong with them, with the place."""

from pathlib import Path

import pytest

from leyden.config.load import load
from leyden.config.settings import Settings
from leyden.deliver.destination import Credentials, TlsSettings
from leyden.errors import ConfigError
from support.authority import Authority


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    authority, other = Authority(folder), Authority(folder, "other")
    authority.signed("own")
    other.signed("theirs")
    authority.revokes()
    (folder / "open.key").write_bytes((folder / "own.key").read_bytes())
    (folder / "open.key").chmod(0o644)
    (folder / "locked.key").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    (folder / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (folder / "text").write_text("nothing\n")
    return folder


def loaded(tmp_path: Path, node: str, environ: dict[str, str] | None = None) -> tuple[Settings, tuple[str, ...]]:
    (tmp_path / "nodes.yml").write_text(f"- AeTitle: PACS\n  HostName: 10.0.0.5\n{node}")
    return load(tmp_path, {}, environ or {})


def problem(tmp_path: Path, node: str) -> str:
    with pytest.raises(ConfigError) as raised:
        loaded(tmp_path, node)
    (found,) = raised.value.problems
    return found


@pytest.mark.parametrize("written", ["true", "on", "YES"])
def test_true_is_the_systems_authorities_and_the_host(tmp_path: Path, written: str) -> None:
    settings, _ = loaded(tmp_path, f"  Tls: {written}\n")
    assert settings.destinations[0].tls == TlsSettings("10.0.0.5")


@pytest.mark.parametrize("written", ["false", "off", "none"])
def test_off_is_plain(tmp_path: Path, written: str) -> None:
    settings, _ = loaded(tmp_path, f"  Tls: {written}\n")
    assert settings.destinations[0].tls is None


def test_all_keys(tmp_path: Path, tls: Path) -> None:
    (tmp_path / "tls").symlink_to(tls)
    files = "Authorities: tls/authority.pem, Certificate: tls/own.pem, Key: tls/own.key"
    settings, _ = loaded(
        tmp_path, f"  Tls: {{{files}, RevocationLists: {tls}/authority.crl, Name: pacs.example.org}}\n"
    )
    own = tmp_path / "tls"
    assert settings.destinations[0].tls == TlsSettings(
        "pacs.example.org", f"{own}/authority.pem", f"{own}/own.pem", f"{own}/own.key", f"{tls}/authority.crl"
    )
    assert Settings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("Authorities: gone.pem", "Tls.Authorities: FOLDER/gone.pem: No such file or directory"),
        ("Authorities: text", "Tls.Authorities: FOLDER/text holds no certificate in PEM"),
        ("Authorities: broken.pem", "Tls.Authorities: FOLDER/broken.pem: the certificate can't be read"),
        ("RevocationLists: own.pem", "Tls.RevocationLists: FOLDER/own.pem holds no CRL in PEM"),
        ("Certificate: own.pem", "Tls.Certificate: Key is missing: certificate and key belong together"),
        ("Key: own.key", "Tls.Key: Certificate is missing: certificate and key belong together"),
        ("Certificate: own.pem, Key: text", "Tls.Key: FOLDER/text holds no private key in PEM"),
        ("Certificate: text, Key: own.key", "Tls.Certificate: FOLDER/text holds no certificate in PEM"),
        ("Certificate: own.pem, Key: theirs.key", "Tls.Key: FOLDER/theirs.key is not the key of FOLDER/own.pem"),
        ("Certificate: own.pem, Key: open.key", "Tls.Key: others than its owner have rights to FOLDER/open.key"),
        ("Certificate: own.pem, Key: locked.key", "Tls.Key: FOLDER/locked.key has a passphrase"),
        ("Authorites: authority.pem", "Tls.Authorites: unknown key (did you mean Authorities?)"),
        ("Name: a b", "Tls.Name: 'a b' is not a host name or an IP address"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, tls: Path, keys: str, said: str) -> None:
    (tmp_path / "config.yml").write_text("workers: 1\n")
    placed = keys.replace(": ", f": {tls}/") if "Name" not in keys else keys
    assert f"nodes.yml:3: {said.replace('FOLDER', str(tls))}" in problem(tmp_path, f"  Tls: {{{placed}}}\n")


def test_neither_true_nor_keys(tmp_path: Path) -> None:
    assert "nodes.yml:3: Tls: must be true, false, or keys and values" in problem(tmp_path, "  Tls: perhaps\n")


@pytest.mark.parametrize("nothing", ["", "~", "''", "\n  Authorities: ca.pem  # not indented: a key of the node"])
def test_an_empty_tls_is_no_plain_node(tmp_path: Path, nothing: str) -> None:
    said = problem(tmp_path, f"  Tls: {nothing}\n")
    assert said.startswith(
        "nodes.yml:3: Tls: is empty; without it what is sent can be read on the way. Write its value"
    )
    assert said.endswith("; or remove the key")


@pytest.mark.parametrize("key", ["Authorities", "RevocationLists"])
def test_an_empty_key_that_restricts_who_is_trusted_is_an_error(tmp_path: Path, key: str) -> None:
    assert f"nodes.yml:4: Tls.{key}: is empty; without it" in problem(tmp_path, f"  Tls:\n    {key}:\n")


def test_a_misspelt_tls_is_no_plain_node(tmp_path: Path) -> None:
    assert "did you mean Tls?); without Tls what is sent can be read" in problem(tmp_path, "  Tsl: true\n")


# -- credentials


def secret(tmp_path: Path, mode: int = 0o600) -> Path:
    path = tmp_path / "passcode"
    path.write_text("geheim\n")
    path.chmod(mode)
    return path


def test_a_passcode_of_a_file(tmp_path: Path) -> None:
    path = secret(tmp_path)
    settings, warnings = loaded(tmp_path, "  Tls: true\n  Credentials: {Username: u, PasscodeFile: passcode}\n")
    assert settings.destinations[0].credentials == Credentials("u", str(path))
    assert b"geheim" not in settings.to_json()
    assert warnings == ()


def test_a_credential_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd.exec(5): the files in $CREDENTIALS_DIRECTORY may be readable by a group; systemd sees to their rights."""
    path = secret(tmp_path, 0o440)
    node = "  Tls: true\n  Credentials: {Username: u, Credential: passcode}\n"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings, warnings = loaded(tmp_path, node, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert settings.destinations[0].credentials == Credentials("u", str(path))
    assert warnings == ()
    settings, (warning,) = loaded(tmp_path, node)
    assert settings.destinations[0].credentials == Credentials("u", "$CREDENTIALS_DIRECTORY/passcode")
    assert "Credentials.Credential: is not looked at here: systemd gives it to the service alone" in warning


def test_a_passcode_in_clear_is_a_warning_and_never_said(tmp_path: Path) -> None:
    settings, (warning,) = loaded(tmp_path, "  Tls: true\n  Credentials: {Username: u, Passcode: geheim}\n")
    assert settings.destinations[0].credentials == Credentials("u", "", "geheim")
    assert "nodes.yml:4: Credentials.Passcode: stands here in clear" in warning
    assert "geheim" not in warning + repr(settings)


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        ("{Username: u, PasscodeFile: gone}", "Credentials.PasscodeFile: FOLDER/gone: No such file or directory"),
        ("{Username: u, PasscodeFile: open}", "Credentials.PasscodeFile: others than its owner have rights to"),
        ("{Username: u, PasscodeFile: empty}", "Credentials.PasscodeFile: FOLDER/empty is empty"),
        ("{Username: u, PasscodeFile: a, Passcode: geheim}", "Credentials: PasscodeFile and Passcode: one of them is"),
        ("{Username: u, JwtFile: a}", "Credentials: a JWT says by itself who calls; leave out Username or JwtFile"),
        ("{PasscodeFile: a}", "Credentials: Username is missing"),
        ("{Username: u, Credential: ../key}", "Credentials.Credential: '../key' is no name of a credential"),
        ("{Username: u, Passwort: geheim}", "Credentials.Passwort: unknown key"),
        ("", "Credentials: is empty; without it the node is not told who calls"),
        ("{Username: u, PasscodeFile: }", "Credentials.PasscodeFile: is empty; without it no passcode is sent"),
    ],
)
def test_wrong_credentials_are_told_without_the_passcode(tmp_path: Path, credentials: str, said: str) -> None:
    (tmp_path / "open").write_text("geheim")
    (tmp_path / "open").chmod(0o640)
    (tmp_path / "empty").touch(0o600)
    with pytest.raises(ConfigError) as raised:
        loaded(tmp_path, f"  Tls: true\n  Credentials: {credentials}\n")
    assert said.replace("FOLDER", str(tmp_path)) in "\n".join(raised.value.problems)
    assert "geheim" not in str(raised.value) + "".join(raised.value.warnings)


def test_credentials_without_tls_are_an_error_that_names_the_remedy(tmp_path: Path) -> None:
    secret(tmp_path)
    said = problem(tmp_path, "  Credentials: {Username: u, PasscodeFile: passcode}\n")
    assert "never go over a connection that others can read; add Tls to the node" in said
