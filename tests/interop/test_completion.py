"""The scripts of `leyden completion`, in the shells that they are for."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.service import node

ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
$(complete -p leyden | sed -E 's/.*-F ([^ ]+).*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a script for each shell."""
    folder = tmp_path_factory.mktemp("completion")
    for shell in ("bash", "zsh"):
        done = subprocess.run(
            [sys.executable, "-m", "leyden", "completion", shell], capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
        (folder / shell).write_text(done.stdout)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nodes.yml").write_text(node("IMAGEPACS", 104) + '- Port: 105\n  aeTitle: "REPORTS"  # of the clinic\n')
    return tmp_path


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["pau"], ["pause"]),
        (["pause", "--path", "DIR", "I"], ["IMAGEPACS"]),
        (["pause", "--path", "DIR", ""], ["IMAGEPACS", "REPORTS"]),
        (["override-schedule", "--path", "DIR", "R"], ["REPORTS"]),
        (["queue", "retry", "--path", "DIR", "I"], ["IMAGEPACS"]),
        (["pause", "--flag", "s"], ["storageScu"]),
        (["status", "--wa"], ["--watch"]),
        (["pause", "--path", "nowhere", ""], [""]),
    ],
)
def test_bash_completes_commands_options_and_titles(
    scripts: Path, folder: Path, words: list[str], offered: list[str]
) -> None:
    """Titles come from the nodes.yml of --path; where none can be read, nothing is offered and nothing is said."""
    typed = [str(folder) if word == "DIR" else word for word in words]
    done = subprocess.run(
        ["bash", "-c", ASK, "bash", scripts / "bash", "leyden", *typed], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split("\n")[:-1] == offered
    assert done.stderr == ""


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_reads_its_script_and_the_titles(scripts: Path, folder: Path) -> None:
    """The functions as zsh runs them; compinit is not needed for that."""
    assert subprocess.run(["zsh", "-n", scripts / "zsh"], timeout=60).returncode == 0
    ask = 'compdef() {}; source "$1" 2>/dev/null; words=(leyden pause --path="$2" ""); _leyden_titles'
    done = subprocess.run(
        ["zsh", "-fc", ask, "zsh", scripts / "zsh", folder], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "IMAGEPACS\nREPORTS\n"
