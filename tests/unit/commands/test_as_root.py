"""What root does at the command line belongs to the user of the service, who has to read it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import leyden

PROGRAM = Path(leyden.__file__)
SERVICE = 12345  # a user id; it needs no name

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(autouse=True)
def _open(tmp_path: Path) -> None:
    """Others may enter the folders of the test, and those of the program, as they may where it is installed."""
    for folder in {tmp_path, *tmp_path.parents, *PROGRAM.parents}:
        if len(folder.parts) > 2:
            folder.chmod(folder.stat().st_mode | 0o011)


def run(folder: Path, *words: str) -> None:
    command = [sys.executable, "-m", "leyden", "--path", folder, "--config.cachePath", folder / "cache", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def owners(top: Path) -> dict[str, int]:
    return {str(path.relative_to(top)): path.lstat().st_uid for path in [top, *top.rglob("*")]}


@pytest.mark.parametrize("words", [("pause", "PACS"), ("token", "new"), ("queue", "retry")], ids=str)
@pytest.mark.parametrize("begun", [False, True], ids=["before the first start", "later"])
def test_root_leaves_nothing_that_the_service_can_not_read(tmp_path: Path, words: tuple[str, ...], begun: bool) -> None:
    (tmp_path / "config.yml").write_text("scpPort: 11112\n")
    (tmp_path / "nodes.yml").write_text("- AeTitle: PACS\n  HostName: 127.0.0.1\n  Port: 104\n")
    if begun:
        (tmp_path / "cache").mkdir(0o700)
        (tmp_path / "cache" / "lock").touch()
        os.chown(tmp_path / "cache" / "lock", SERVICE, SERVICE)
        os.chown(tmp_path / "cache", SERVICE, SERVICE)
    os.chown(tmp_path, SERVICE, SERVICE)
    run(tmp_path, *words)
    found = owners(tmp_path / "cache") if (tmp_path / "cache").exists() else {}
    assert set(found.values()) <= {SERVICE}, found
    assert found or words[0] == "queue"


def test_where_the_service_may_not_write_root_is_told_to_export_elsewhere(tmp_path: Path) -> None:
    """The copies would be made by the user of the service, who may not enter a folder of root's."""
    (tmp_path / "config.yml").write_text("scpPort: 11112\n")
    (tmp_path / "nodes.yml").write_text("- AeTitle: PACS\n  HostName: 127.0.0.1\n  Port: 104\n")
    (tmp_path / "cache").mkdir()
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, SERVICE, SERVICE)
    command = [sys.executable, "-m", "leyden", "--path", tmp_path, "queue", "export", "--all", "--to", "/root/none"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "the user of the service, as whom root works here, may not write /root/none" in done.stderr


def test_root_is_told_if_the_user_of_the_service_can_not_read_the_program(tmp_path: Path) -> None:
    """Nothing is done halfway: a module that is found missing later would be a riddle."""
    (tmp_path / "config.yml").write_text("scpPort: 11112\n")
    (tmp_path / "nodes.yml").write_text("- AeTitle: PACS\n  HostName: 127.0.0.1\n  Port: 104\n")
    os.chown(tmp_path, SERVICE, SERVICE)
    private = tmp_path / "private"
    shutil.copytree(PROGRAM.parent, private / "leyden")
    private.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-m", "leyden", "--path", tmp_path, "pause", "PACS"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(private)},
    )  # fmt: skip
    assert done.returncode == 1
    assert f"user {SERVICE}, as whom root works here, but who can't read this Leyden ({private}/leyden)" in done.stderr
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("words", [(), ("run",)], ids=["without a command", "run"])
def test_the_service_is_not_run_as_root(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Exit code 2 and the remedy, and nothing is made."""
    (tmp_path / "config.yml").write_text("scpPort: 11112\n")
    (tmp_path / "nodes.yml").write_text("- AeTitle: PACS\n  HostName: 127.0.0.1\n  Port: 104\n")
    command = [sys.executable, "-m", "leyden", *words, "--path", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "the service is not run as root" in done.stderr
    assert "leyden install-service" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"config.yml", "nodes.yml"}


def test_check_tells_of_a_secret_that_the_service_can_not_read(tmp_path: Path) -> None:
    (tmp_path / "nodes.yml").write_text(
        "- AeTitle: PACS\n  Tls: true\n  Credentials: {Username: u, PasscodeFile: passcode}\n"
    )
    (tmp_path / "cache").mkdir(0o700)
    os.chown(tmp_path / "cache", SERVICE, SERVICE)
    secret = tmp_path / "passcode"
    secret.write_text("geheim\n")
    secret.chmod(0o600)
    command = [sys.executable, "-m", "leyden", "check", "--path", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"Credentials of PACS: {secret} belongs to root, so that the service" in done.stderr
    assert f"Remedy: chown {SERVICE} {secret}" in done.stderr
    os.chown(secret, SERVICE, SERVICE)
    run(tmp_path, "check")
