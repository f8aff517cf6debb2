"""The command line by its exit codes and words, as an administrator meets it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.objects import make_ct, real
from support.peers import Pacs
from support.service import Service, free_port, node


def leyden(*words: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "leyden", *words], capture_output=True, text=True, timeout=60, cwd=cwd)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yml").write_text("scpPort: 11112\nfilters: route\n")
    (tmp_path / "nodes.yml").write_text(node("IMAGEPACS", 104) + node("REPORTPACS", 105, Aliases="[REPORTS]"))
    (tmp_path / "routings.yml").write_text("- Actions:\n    - Target: REPORTPACS\n")
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["run"],
        ["check"],
        ["explain"],
        ["test-rules"],
        ["demo"],
        ["reload"],
        ["status"],
        ["trace"],
        ["study"],
        ["queue"],
        *(["queue", verb] for verb in ("list", "show", "retry", "release", "reject", "move", "delete", "export")),
        ["echo"],
        ["send"],
        ["tune"],
        ["install-service"],
        ["init"],
    ],
)
def test_every_command_explains_itself(command: list[str]) -> None:
    done = leyden(*command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: leyden")
    assert command in ([], ["demo"], ["echo"], ["send"]) or "--path" in done.stdout


def test_the_folder_may_stand_before_or_behind_the_command(folder: Path) -> None:
    for words in (["--path", str(folder), "check"], ["check", "--path", str(folder)]):
        done = leyden(*words, cwd=folder / "..")
        assert done.returncode == 0, done.stderr
        assert "the configuration is good" in done.stdout
        assert "destination IMAGEPACS (also DCP_IMAGEPACS) -> 127.0.0.1:104, as received" in done.stdout


def test_a_wrong_target_is_named_with_its_line_before_a_port_opens(folder: Path) -> None:
    (folder / "routings.yml").write_text("- Actions:\n    - Target: REPORTPAC\n")
    for command in ("check", "run"):
        done = leyden(command, "--path", str(folder))
        assert done.returncode == 2
        assert "routings.yml:2: " in done.stderr
        assert "Actions[0].Target: no node named REPORTPAC (did you mean REPORTPACS?)" in done.stderr
    assert not (folder / "cache").exists()


def test_what_is_no_yaml_hides_no_mistake_and_invents_none(folder: Path) -> None:
    (folder / "config.yml").write_text("scpPort: 11112\nfilters: [route\nworkers: many\nminimumAge: '5\n")
    (folder / "nodes.yml").write_text(
        "- AeTitle: 'it's'\n- AeTitle: IMAGEPACS\n\tPort: 104\n- AeTitle: REPORTPACS\n  Port: none\n- AeTitle: FOURTH\n"
    )
    (folder / "routings.yml").write_text(
        "- AeTitles: [IMAGEPACS\n  Actions:\n    - Type: drop\n- Actions:\n    - Type: dropp\n"
        "- Actions:\n    - Target: IMAGEPACS\n"
    )
    done = leyden("check", "--path", str(folder))
    assert done.returncode == 2
    told = [line.split(": ")[0] for line in done.stderr.splitlines()]
    assert told == [
        "config.yml:2", "config.yml:3", "config.yml:4",
        "nodes.yml:1", "nodes.yml:3", "nodes.yml:5",
        "routings.yml:1", "routings.yml:5",
        "leyden",
    ]  # fmt: skip


def test_warnings_are_told_beside_errors(folder: Path) -> None:
    (folder / "config.yml").write_text("scpPort: many\nworker: 2\nfilters: route\n")
    done = leyden("check", "--path", str(folder))
    assert done.returncode == 2
    warning, error, total = done.stderr.splitlines()
    assert warning == "warning: config.yml:2: worker: unknown key (did you mean workers?)"
    assert error.startswith("config.yml:1: scpPort: ")
    assert total == "leyden: 1 error in the configuration"


DOUBTFUL = "- Conditions:\n    - Tag: Modality\n      MatchExpression: ^CT*$\n  Actions:\n    - Target: REPORTPACS\n"


def test_what_is_legal_and_wrong_is_a_warning_of_the_check(folder: Path) -> None:
    (folder / "routings.yml").write_text(DOUBTFUL)
    done = leyden("check", "--path", str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert "warning: routings.yml:3: Conditions[0].MatchExpression: ^CT*$ is a regular expression" in done.stdout
    assert done.stdout.endswith("the configuration is good\n")


def test_what_is_legal_and_wrong_is_a_warning_at_the_start(service: Callable[..., Service]) -> None:
    running = service(node("REPORTPACS", free_port()), DOUBTFUL).start()
    (line,) = (line for line in running.lines if "routings.yml:3" in line)
    assert " WARNING " in line
    assert "Conditions[0].MatchExpression: ^CT*$ is a regular expression" in line


def test_keys_of_config_yml_on_the_command_line(folder: Path) -> None:
    done = leyden("check", "--path", str(folder), "--config.myAeTitle=GATEWAY", "--config.scpPort", "1234")
    assert "our title GATEWAY, port 1234" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"],
        ["check", "--pth", "x"],
        ["queue"],
        ["queue", "list", "--older", "2 weeks"],
        ["queue", "list", "--limit", "-1"],
        ["queue", "move", "PACS"],
        ["echo", "nowhere"],
        ["echo", "127.0.0.1:104", "--called", "LONGER_THAN_SIXTEEN"],
        ["send", "127.0.0.1:104"],
        ["echo", "127.0.0.1:104", "--cert", "x.pem"],
        ["check", "--path", "/nonexistent"],
    ],
)
def test_wrong_use_is_2(words: list[str]) -> None:
    done = leyden(*words)
    assert done.returncode == 2
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_status_and_retry_without_a_service(folder: Path) -> None:
    done = leyden("status", "--path", str(folder))
    assert (done.returncode, "not running" in done.stdout, "nothing waits" in done.stdout) == (0, True, True)
    done = leyden("queue", "retry", "REPORTS", "--path", str(folder))
    assert (done.returncode, done.stdout) == (0, "back in the queue: 0\n")
    done = leyden("queue", "retry", "NOBODY", "--path", str(folder))
    assert done.returncode == 2
    assert "there are: IMAGEPACS, REPORTPACS" in done.stderr
    done = leyden("--quit", "--path", str(folder))
    assert done.returncode == 1
    assert "no service runs" in done.stdout


def test_a_spool_that_is_no_folder_is_said_in_a_line(folder: Path) -> None:
    (folder / "cache").write_text("")
    done = leyden("status", "--path", str(folder))
    assert done.returncode == 1
    assert done.stderr.startswith("leyden: ")
    assert "Traceback" not in done.stderr


def test_echo_and_send_say_what_the_peer_answers(pacs: Callable[..., Pacs], tmp_path: Path) -> None:
    archive = pacs("ARCHIVE", answer=lambda arrival: 0xA700 if arrival.sop_instance_uid == "2.25.1001.2" else 0)
    where = f"127.0.0.1:{archive.port}"
    done = leyden("echo", where, "--called", "ARCHIVE")
    assert (done.returncode, "status 0x0000" in done.stdout) == (0, True)
    done = leyden("echo", f"127.0.0.1:{free_port()}")
    assert (done.returncode, done.stdout) == (1, "")
    files = tmp_path / "files"
    files.mkdir()
    make_ct(files / "1.dcm", 1, rows=16, columns=16)
    make_ct(files / "2.dcm", 2, rows=16, columns=16)
    (files / "notes.txt").write_text("no DICOM")
    done = leyden("send", where, "--called", "ARCHIVE", str(files), str(real("test-SR.dcm")))
    assert done.returncode == 1
    assert "stored: " in done.stdout
    assert "refused with status 0xA700" in done.stdout
    assert "notes.txt" in done.stderr
    assert "2 stored, 2 not" in done.stdout
    assert len(archive.arrivals) == 2


def test_quit_stops_the_service(service: Callable[..., Service]) -> None:
    running = service(node("IMAGEPACS", 104)).start()
    assert "running, process" in running.leyden("status").stdout
    assert running.leyden("--quit").returncode == 0
    assert running.process is not None
    assert running.process.wait(5) == 0


def test_the_form_and_the_level_of_the_log_may_stand_on_the_command_line(folder: Path) -> None:
    """`--log-format` and `--log-level` of `leyden run` are keys of config.yml, and are checked as these."""
    said = leyden("--log-format", "xml", "--log-level", "loud", "--path", str(folder), "check")
    assert said.returncode == 2
    assert "logFormat: must be one of text, json, not 'xml'" in said.stderr
    assert "logLevel: must be one of debug, info, warning, error, not 'loud'" in said.stderr
    assert leyden("--log-format", "json", "--path", str(folder), "check").returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ["queue", "list", "--state", "prepard"],
            2,
            "--state prepard: the folders are new, transform, asking, prepared",
        ),
        (["queue", "list"], 0, "no entries"),
        (["study", "1.2.3"], 1, "nothing is known of this study"),
        (["audit", "verify"], 1, "audit.key, the key of the audit log, is not there: the service makes it"),
        (["pause", "--all"], 0, "paused: deliveries, planning and conversion; receiving goes on"),
        (["resume", "--flag", "prepare"], 0, "goes on: planning and conversion"),
    ],
)
def test_before_the_first_start_each_command_says_what_is_so(
    folder: Path, words: list[str], code: int, said: str
) -> None:
    done = leyden(*words, "--path", str(folder))
    assert said in done.stdout + done.stderr
    assert done.returncode == code


def test_what_became_of_an_object_is_told_beside_broken_files_too(folder: Path) -> None:
    """As of status and queue: one looks for an image just when something is wrong."""
    (folder / "cache").mkdir()
    (folder / "cache" / "lock").touch()  # a service has run on it
    (folder / "config.yml").write_text("filters: [route\n")
    for command in ("trace", "study"):
        done = leyden(command, "1.2.3", "--path", str(folder))
        assert (done.returncode, "nothing is known of" in done.stderr) == (1, True), done.stderr


def test_there_is_nothing_to_pack_in_a_folder_without_files(tmp_path: Path) -> None:
    done = leyden("backup-config", str(tmp_path / "pack.tar.gz"), "--path", str(tmp_path))
    assert (done.returncode, "holds anything to pack" in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / "pack.tar.gz").exists()


def test_the_commands_stand_in_groups() -> None:
    lines = leyden("--help").stdout.splitlines()
    for heading, first in (
        ("see", "status"),
        ("act", "queue"),
        ("set up", "init"),
        ("install, run and try", "install-"),
    ):
        assert lines[lines.index(f"  {heading}:") + 1].startswith(f"    {first}")
