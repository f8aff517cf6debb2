"""`leyden certificate new`: an authority and certificates that others take, and what is said of them."""

import datetime
import re
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from leyden.config.load import load
from leyden.operate.trial import NotMade, make, our_names

NOW = datetime.datetime.now(datetime.UTC)


def test_openssl_takes_them_for_both_sides(tmp_path: Path) -> None:
    """Strictly by RFC 5280, as newer libraries check."""
    made = make(tmp_path / "new", ["pacs.example.org", "10.0.0.5", "fe80::1"], 30, NOW)
    assert [each.name for each in made] == ["leyden", "pacs.example.org", "10.0.0.5", "fe80__1"]
    assert made[0].names == our_names()
    for each in made:
        for purpose in ("sslserver", "sslclient"):
            name = ("-verify_ip" if re.match(r"[\d.]+$|fe80", each.names[-1]) or each.name == "leyden" else
                    "-verify_hostname", each.names[-1])  # fmt: skip
            subprocess.run(
                ["openssl", "verify", "-x509_strict", "-purpose", purpose, *name, "-CAfile", tmp_path / "new/ca.pem",
                 tmp_path / "new" / f"{each.name}.pem"], check=True, capture_output=True,
            )  # fmt: skip
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            tmp_path / "new" / f"{each.name}.pem", tmp_path / "new" / f"{each.name}.key"
        )
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
    assert {mode for name, mode in modes.items() if name.endswith(".key")} == {0o600}
    assert {mode for name, mode in modes.items() if name.endswith(".pem")} == {0o644}


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    make(tmp_path, [], 1, NOW)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(NotMade, match=r"ca\.pem is there already, and nothing is overwritten"):
        make(tmp_path, ["pacs"], 1, NOW)
    with pytest.raises(NotMade, match="ca and leyden are names"):
        make(tmp_path / "other", ["leyden"], 1, NOW)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_it_prints_can_be_put_into_the_files(tmp_path: Path) -> None:
    words = ["certificate", "new", str(tmp_path / "tls"), "--name", "pacs.example.org", "--days", "7"]
    done = subprocess.run([sys.executable, "-m", "leyden", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "for a trial, not for patients" in done.stdout
    assert "pacs.example.org.pem" in done.stdout
    config = re.search(r"in config.yml:\n((?:  .*\n)+)", done.stdout)
    nodes = re.search(r"in nodes.yml:\n((?:  .*\n)+)", done.stdout)
    assert config is not None
    assert nodes is not None
    (tmp_path / "config.yml").write_text(re.sub("^  ", "", config[1], flags=re.M))
    (tmp_path / "nodes.yml").write_text(f"- AeTitle: PACS\n{nodes[1]}")
    settings, _ = load(tmp_path, {}, {})
    assert settings.tls.port == 2762
    assert settings.destinations[0].tls is not None
    again = subprocess.run([sys.executable, "-m", "leyden", *words], capture_output=True, text=True, timeout=60)
    assert (again.returncode, "nothing is overwritten" in again.stderr) == (1, True)
