"""`leyden backup-config`, and that a service is put back from it by the words of docs/operate.md."""

import json
import re
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from support.service import Service, node

PAGE = Path(__file__).parents[2] / "docs" / "operate.md"
MUTATIONS = """\
- Actions:
    - Type: anonymize
      Destination: {{Tag: PatientID, Value: {mapping}}}
"""


@pytest.fixture
def leyden(tmp_path: Path) -> Service:
    mapping = tmp_path / "elsewhere" / "patients.csv"
    mapping.parent.mkdir()
    mapping.write_text("patient_id,issuer_of_patient_id,pseudonym,since\n4711,,P1,2026-01-01\n")
    mapping.chmod(0o600)
    made = Service(tmp_path / "leyden", node("ARCHIVE", 11104), mutations=MUTATIONS.format(mapping=mapping))
    (made.spool / "state").mkdir(parents=True)
    (made.spool / "state" / "pseudonym.key").write_bytes(b"k" * 32)
    (made.spool / "control").mkdir()
    (made.spool / "control" / "ARCHIVE.json").write_text("{}")
    (made.spool / "new").mkdir()
    (made.spool / "new" / "patient.dcm").write_text("an object")
    return made


def test_all_that_makes_the_service_is_in_it_and_no_object(leyden: Service, tmp_path: Path) -> None:
    """Files, keys, switches and mapping files; the pack and what it says are for the owner alone."""
    to = tmp_path / "pack.tar.gz"
    done = leyden.leyden("backup-config", str(to), "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    mapping = f"elsewhere{tmp_path}/elsewhere/patients.csv"
    wanted = {"data/config.yml", "data/nodes.yml", "data/mutations.yml", "spool/control/ARCHIVE.json", mapping}
    assert set(said["files"]) == wanted | {"spool/state/pseudonym.key"}
    assert set(said["secrets"]) == {"spool/state/pseudonym.key", mapping}
    assert to.stat().st_mode & 0o777 == 0o600
    with tarfile.open(to) as pack:
        assert set(pack.getnames()) == {*said["files"], "manifest.json"}


def test_without_keys_it_may_be_shown_to_others(leyden: Service, tmp_path: Path) -> None:
    """--without-keys leaves out what only the owner may have."""
    to = tmp_path / "pack.tar.gz"
    (leyden.folder / "tls").mkdir()
    (leyden.folder / "secrets").mkdir()
    (leyden.folder / "tls/own.key").write_text("-----BEGIN PRIVATE KEY-----\nMC4\n-----END PRIVATE KEY-----\n")
    (leyden.folder / "tls/ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    for name in ("pacs", "hook"):
        (leyden.folder / "secrets" / name).write_text("hush")
        (leyden.folder / "secrets" / name).chmod(0o600)
    nodes, config = leyden.folder / "nodes.yml", leyden.folder / "config.yml"
    nodes.write_text(nodes.read_text() + "  Tls: true\n  Credentials: {Username: u, PasscodeFile: secrets/pacs}\n")
    hook = "alerts: {webhook: {url: 'https://192.0.2.1/', secretFile: secrets/hook}}\n"
    config.write_text(config.read_text() + hook + "api: {token: 0123456789abcdef0123456789abcdef}\n")
    done = leyden.leyden("backup-config", "--without-keys", str(to))
    assert (done.returncode, done.stderr) == (0, "")
    assert "it holds secrets" not in done.stdout
    assert "warning: config.yml holds the token or the password of the console in clear" in done.stdout
    with tarfile.open(to) as pack:
        names = pack.getnames()
    assert {"data/nodes.yml", "data/tls/ca.pem"} < set(names)
    assert not [name for name in names if "state" in name or "secrets" in name or name.endswith((".key", ".csv"))]
    with_them = json.loads(leyden.leyden("backup-config", str(tmp_path / "all.tar.gz"), "--json").stdout)
    assert {"data/tls/own.key", "data/secrets/pacs", "data/secrets/hook"} < set(with_them["secrets"])
    nodes.write_text("- AeTitle: [")
    refused = leyden.leyden("backup-config", "--without-keys", str(tmp_path / "none"))
    assert (refused.returncode, "it can't be told which files hold secrets" in refused.stderr) == (1, True)


def test_it_works_beside_files_with_errors_and_never_writes_over_a_file(leyden: Service, tmp_path: Path) -> None:
    """A backup is wanted most when something is wrong."""
    (leyden.folder / "nodes.yml").write_text("- AeTitle: [")
    to = tmp_path / "pack.tar.gz"
    done = leyden.leyden("backup-config", str(to))
    assert (done.returncode, done.stderr) == (0, "")
    assert "warning: the configuration has errors" in done.stdout
    before = to.read_bytes()
    again = leyden.leyden("backup-config", str(to))
    assert again.returncode == 1
    assert "File exists" in again.stderr
    assert to.read_bytes() == before


def test_a_service_is_put_back_by_the_words_of_the_page(leyden: Service, tmp_path: Path) -> None:
    """The commands of docs/operate.md, in an empty place, give the same configuration, key and switches."""
    to = tmp_path / "pack.tar.gz"
    assert leyden.leyden("backup-config", str(to)).returncode == 0
    commands = re.search(r"## Back up.*?```\n(.*?tar .*?)```", PAGE.read_text(), re.DOTALL)
    assert commands is not None
    place = tmp_path / "again"
    lines = [line.partition("#")[0] for line in commands[1].splitlines() if line.startswith(("mkdir", "tar"))]
    script = "\n".join(lines).replace("PACK", str(to)).replace("DIR", str(place))
    subprocess.run(["bash", "-euc", script], check=True)
    for name in ("config.yml", "nodes.yml", "mutations.yml"):
        assert (place / name).read_bytes() == (leyden.folder / name).read_bytes()
    assert (place / "cache" / "state" / "pseudonym.key").read_bytes() == b"k" * 32
    assert (place / "cache" / "control" / "ARCHIVE.json").exists()
    assert (place / "cache").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("made", ["a folder of too many files", "a file that is too large"])
def test_a_folder_that_is_no_configuration_is_refused(made: str, service: Callable[..., Service]) -> None:
    """Somebody may name / or a folder of images: it says so, and leaves no half a pack."""
    leyden = service(node("ARCHIVE", 11104))
    if made == "a file that is too large":
        with (leyden.folder / "disk.img").open("wb") as file:
            file.truncate((64 << 20) + 1)
    else:
        (leyden.folder / "many").mkdir()
        for number in range(10_001):
            (leyden.folder / "many" / str(number)).touch()
    to = leyden.folder.parent / "pack.tar.gz"
    refused = leyden.leyden("backup-config", str(to))
    assert refused.returncode == 1
    assert "no f" in refused.stderr
    assert not to.exists()
