"""The first start: what one is told who has no configuration yet, and `leyden init`, which writes it."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.peers import Pacs
from support.service import Service, free_port

NODE = "IMAGEPACS=192.168.1.200:104,JPEG2000Lossless"


def leyden(*words: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "leyden", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_first_start_says_what_to_write_and_that_works(command: str, tmp_path: Path) -> None:
    """The two files of the text are enough: written as they stand there, they pass `leyden check`."""
    done = leyden(command, "--path", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"leyden init --path {tmp_path}" in done.stderr
    said = done.stderr.splitlines()
    for name in ("config.yml", "nodes.yml"):
        at = said.index(f"  {tmp_path / name}")
        text = [line[4:] for line in said[at + 1 : said.index("", at)]]
        (tmp_path / name).write_text("\n".join(text))
    done = leyden("check", "--path", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "destination IMAGEPACS (also DCP_IMAGEPACS) -> 192.168.1.200:104, JPEG2000Lossless" in done.stdout


def test_a_first_start_without_a_folder_says_so_too(tmp_path: Path) -> None:
    done = leyden("run", cwd=tmp_path)
    assert done.returncode == 2
    assert f"there is no configuration in {tmp_path}/data yet" in done.stderr


def test_what_init_writes_starts_and_delivers(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """`leyden init` from flags: the service starts on its files, and answers as both destinations and as itself."""
    first, port = pacs("IMAGEPACS"), free_port()
    running = service("")
    for path in running.folder.glob("*.yml"):
        path.unlink()
    done = running.leyden(
        *(
            "init",
            "--ae-title",
            "GATEWAY",
            "--port",
            str(port),
            "--node",
            f"IMAGEPACS=127.0.0.1:{first.port},RLELossless",
        ),
        *("--node", "It's #2: [x]=[::1]:11113"),
    )
    assert done.returncode == 0, done.stderr
    assert "the configuration is good" in done.stdout
    assert {path.name: path.stat().st_mode & 0o777 for path in running.folder.iterdir()} == dict.fromkeys(
        ("config.yml", "nodes.yml", "routings.yml"), 0o600
    )
    running.start()
    for title in ("GATEWAY", "IMAGEPACS", "It's #2: [x]"):
        assert leyden("echo", f"127.0.0.1:{port}", "--called", title).returncode == 0


def test_files_that_are_there_are_not_lost(tmp_path: Path) -> None:
    """Without --force nothing is written; with it, what was there is kept beside, and said."""
    (tmp_path / "nodes.yml").write_text("- mine\n")
    done = leyden("init", "--path", str(tmp_path), "--node", NODE)
    assert (done.returncode, "holds nodes.yml already; --force replaces them" in done.stderr) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["nodes.yml"]
    for number in (1, 2):
        done = leyden("init", "--path", str(tmp_path), "--node", NODE, "--force")
        assert done.returncode == 0, done.stderr
        assert f"{tmp_path}/nodes.yml is now nodes.yml.before-{number}" in done.stdout
    assert (tmp_path / "nodes.yml.before-1").read_text() == "- mine\n"
    assert (tmp_path / "nodes.yml.before-2").read_text() == (tmp_path / "nodes.yml").read_text()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "name the destinations: --node"),
        (["--node", "PACS=host"], "is not HOST:PORT"),
        (["--node", "PACS"], "is not TITLE=HOST:PORT"),
        (["--node", "PACS=host:104,JPEG3000"], "JPEG3000"),
        (["--node", "A=host:104", "--node", "A=host:105"], "nodes.yml:6"),
        (["--node", NODE, "--port", "0"], "is not a port"),
    ],
)
def test_init_writes_nothing_that_is_wrong(words: list[str], why: str, tmp_path: Path) -> None:
    done = leyden("init", "--path", str(tmp_path), *words)
    assert done.returncode == 2
    assert why in done.stderr
    assert list(tmp_path.iterdir()) == []


def at_a_terminal(folder: Path, answers: str) -> tuple[int, str]:
    """The exit code of `leyden init` on a terminal that gives these answers, and what was shown there."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "leyden", "init", "--path", str(folder)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        os.write(ours, answers.encode())
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # EIO: the other end is closed
            pass
    os.close(ours)
    return process.returncode, shown.decode().replace("\r\n", "\n")


def test_init_asks_at_a_terminal(tmp_path: Path) -> None:
    """An answer that can't be is asked for again; nothing means what stands in brackets."""
    first = "IMAGEPACS\nour pacs\npacs.example\n\nJPEG9\nHTJ2KLossless\n"
    answers = f"GATEWAY\n99999\n1104\n{first}REPORTS\n10.0.0.9\n11112\n\n\n"
    code, shown = at_a_terminal(tmp_path, answers)
    assert code == 0, shown
    assert "99999 is not a port" in shown
    assert "'our pacs' is not a host name or an IP address" in shown
    assert "there is no transfer syntax JPEG9" in shown
    done = leyden("check", "--path", str(tmp_path))
    assert "destination IMAGEPACS (also DCP_IMAGEPACS) -> pacs.example:104, HTJ2KLossless" in done.stdout
    assert "destination REPORTS (also DCP_REPORTS) -> 10.0.0.9:11112, as received" in done.stdout
    assert "our title GATEWAY, port 1104" in done.stdout


def test_init_that_is_broken_off_writes_nothing(tmp_path: Path) -> None:
    code, shown = at_a_terminal(tmp_path, "GATEWAY\n1104\nPACS\n\x04\x04")
    assert (code, "nothing was written" in shown) == (1, True)
    assert list(tmp_path.iterdir()) == []
