"""The key tls of config.yml: what is wrong with its files is told, with the line and what to do."""

import errno
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from leyden.config.load import load
from leyden.config.settings import Settings
from leyden.errors import ConfigError
from leyden.net import certificates
from support.authority import Authority

NODES = "- {AeTitle: PACS, HostName: 192.0.2.1, Port: 104}\n"
Read = Callable[[str], tuple[Settings, tuple[str, ...]]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good files and bad ones."""
    folder = tmp_path_factory.mktemp("site")
    authority = Authority(folder, "ca")
    for stem, begin, end in (("own", -1, 30), ("ended", -9, -1), ("early", 1, 30)):
        authority.signed(stem, begin=begin, end=end)
    Authority(folder, "other").signed("theirs")
    authority.revokes()
    (folder / "text").write_text("nothing")
    shown = folder / "shown.key"
    shown.write_bytes((folder / "own.key").read_bytes())
    shown.chmod(0o640)
    for words in (
        ("crl", "-in", "ca.crl", "-outform", "DER", "-out", "ca.der"),
        ("ec", "-in", "own.key", "-aes128", "-passout", "pass:x", "-out", "locked.key"),
        ("req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=x", "-keyout", "weak.key", "-out", "weak.pem"),
    ):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
    for name in ("locked.key", "weak.key"):
        (folder / name).chmod(0o600)
    return folder


@pytest.fixture
def read(files: Path) -> Read:
    def with_config(config: str) -> tuple[Settings, tuple[str, ...]]:
        (files / "config.yml").write_text(config)
        (files / "nodes.yml").write_text(NODES)
        return load(files, {}, {})

    return with_config


def tls(**keys: str) -> str:
    given = {"certificate": "own.pem", "key": "own.key", "authorities": "ca.pem", **keys}
    return "tls:\n" + "".join(f"  {key}: {value}\n" for key, value in given.items() if value)


def test_good_files_are_taken(read: Read, files: Path) -> None:
    settings, warnings = read(tls(revocationLists="ca.crl", profile="modified"))
    assert not [line for line in warnings if "tls" in line]
    assert settings.tls.port == 2762
    assert settings.tls.files == tuple(str(files / name) for name in ("own.pem", "own.key", "ca.pem", "ca.crl"))
    assert set(settings.certificates) == {"tls", "tls authorities", "tls revocation lists"}
    assert read("tls: off\n")[0].tls.port == 0


@pytest.mark.parametrize(
    ("keys", "line", "what"),
    [
        ({"certificate": "nowhere.pem"}, 2, "tls.certificate: FOLDER/nowhere.pem: No such file or directory; put"),
        ({"key": "nowhere.key"}, 3, "tls.key: FOLDER/nowhere.key: No such file or directory; put the file there, or"),
        ({"certificate": "text"}, 2, "tls.certificate: FOLDER/text holds no certificate in PEM"),
        ({"certificate": ""}, 2, "tls.certificate: is missing"),
        ({"key": ""}, 2, "tls.key: is missing"),
        ({"key": "text"}, 3, "tls.key: FOLDER/text holds no private key in PEM"),
        ({"key": "theirs.key"}, 3, "tls.key: FOLDER/theirs.key is not the key of FOLDER/own.pem"),
        ({"key": "weak.key"}, 3, "tls.key: FOLDER/weak.key is not the key of FOLDER/own.pem"),
        ({"key": "locked.key"}, 3, "tls.key: FOLDER/locked.key has a passphrase"),
        ({"key": "shown.key"}, 3, "tls.key: others than its owner have rights to FOLDER/shown.key; chmod 600"),
        ({"certificate": "weak.pem", "key": "weak.key"}, 2, "tls.certificate: FOLDER/weak.pem: its key is too small"),
        ({"authorities": ""}, 2, "tls.authorities: is missing: with clientAuth required"),
        ({"authorities": "", "clientAuth": "optional"}, 2, "tls.authorities: is missing: with clientAuth optional"),
        ({"authorities": "text"}, 4, "tls.authorities: FOLDER/text holds no certificate in PEM"),
        ({"revocationLists": "ca.pem"}, 5, "tls.revocationLists: FOLDER/ca.pem holds no CRL in PEM"),
        ({"revocationLists": "ca.der"}, 5, "it is in DER: openssl crl -inform DER makes PEM of it"),
        ({"clientAuth": "maybe"}, 5, "tls.clientAuth: must be"),
        ({"profile": "old"}, 5, "tls.profile: must be"),
        ({"port": "1040"}, 5, "tls.port: 1040 is scpPort too"),
        ({"clientAuthentication": "off"}, 5, "tls.clientAuthentication: unknown key (did you mean clientAuth?)"),
        ({"keyFile": "own.key"}, 5, "tls.keyFile: unknown key (did you mean key?)"),
        ({"certFile": "own.pem"}, 5, "tls.certFile: unknown key (did you mean certificate?)"),
        ({"authorities": "~"}, 4, "tls.authorities: is empty; without it no caller's certificate can be checked"),
        ({"revocationLists": "~"}, 5, "tls.revocationLists: is empty; without it a certificate that was revoked"),
        ({"clientAuth": "~"}, 5, "tls.clientAuth: is empty; without it every caller needs a certificate"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    read: Read, files: Path, keys: dict[str, str], line: int, what: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tls(**keys))
    (problem,) = caught.value.problems
    assert f"config.yml:{line}: " in problem
    assert what.replace("FOLDER", str(files)) in problem


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"certificate": "ended.pem", "key": "ended.key"}, "CN=127.0.0.1 ended"),
        ({"certificate": "early.pem", "key": "early.key"}, "CN=127.0.0.1 does not begin before"),
        ({"authorities": "other.pem", "revocationLists": "ca.crl"}, "there is no list of CN=other"),
        ({"clientAuth": "off"}, "tls.authorities: does nothing: with clientAuth off"),
    ],
)
def test_what_is_doubtful_is_a_warning(read: Read, keys: dict[str, str], what: str) -> None:
    """A service that does not start receives nothing at all, so an ended certificate does not keep it from that."""
    assert [line for line in read(tls(**keys))[1] if what in line]


def test_the_tls_port_of_ours_is_no_destination(read: Read, files: Path) -> None:
    (files / "config.yml").write_text(tls())
    (files / "nodes.yml").write_text("- {AeTitle: PACS, HostName: 127.0.0.1, Port: 2762}\n")
    with pytest.raises(ConfigError, match=r"127.0.0.1:2762 is Leyden itself \(tls.port\)"):
        load(files, {}, {})


def test_a_key_of_another_user_is_a_warning_with_the_remedy(
    read: Read, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs `leyden check` need not be the user of the service. To the service itself it is an error: nobody
    could call."""

    really = certificates.content_of

    def content_of(key: str, path: str) -> bytes:
        if path.endswith("own.key"):
            raise certificates.unread(key, path, PermissionError(errno.EACCES, "Permission denied"))
        return really(key, path)

    monkeypatch.setattr(certificates, "content_of", content_of)
    (said,) = (line for line in read(tls())[1] if "tls" in line)
    assert said.endswith(
        "own.key: Permission denied; it has to belong to the user of the service, and this user can't check it"
    )
    assert "tls.key" in said
    with pytest.raises(ConfigError, match=r"tls\.key: .*own\.key: Permission denied; it has to belong to the user"):
        load(files, {}, {}, serves=True)
