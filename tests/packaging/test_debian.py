"""The Debian package, built and installed in a small Debian, where systemd itself then runs the service."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.filereader import read_file_meta_info

from leyden.dicom import uids
from support.debian import PYTHON, TOP, Machine, booted, inside, run
from support.objects import make_ct
from support.service import wait_for

pytestmark = pytest.mark.timeout(600)  # the first one waits for all that is built

DATA = "var/lib/leyden/data"
SYNTAXES = (  # each library that encodes, under all that the unit forbids
    "JPEG2000Lossless", "HTJ2KLossless", "JPEGLossless", "JPEGLSLossless", "RLELossless", "JPEGXLLossless",
    "DeflatedExplicitVRLittleEndian",
)  # fmt: skip


@pytest.fixture(scope="module")
def package(wheel: Path, wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, not compressed, which would take a minute."""
    folder = tmp_path_factory.mktemp("deb")
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheelhouse), "PYTHON": PYTHON, "DPKG_DEB_COMPRESSOR_TYPE": "none"}
    run([str(TOP / "packaging/build-deb"), str(wheel), str(folder)], env={**os.environ, **pip})
    (built,) = folder.glob("*.deb")
    return built


@pytest.fixture(scope="module")
def installed(debian: Path, package: Path) -> Path:
    """The Debian with the package."""
    target = debian / "root" / package.name
    package.rename(target)
    apt = ["apt-get", "install", "--yes", "--no-install-recommends", f"/root/{package.name}"]
    said = run(
        ["chroot", str(debian), *apt],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"},
    )
    assert "sudo -u leyden leyden init" in said
    return debian


@pytest.fixture(scope="module")
def machine(installed: Path) -> Iterator[Machine]:
    """The same, running, with Leyden configured: a destination for each syntax, none of which answers."""
    nodes = [f"--node=N{number}=127.0.0.1:9,{name}" for number, name in enumerate(SYNTAXES)]
    run(inside(installed, ["leyden", "init", "--path", f"/{DATA}", "--port", "104", *nodes]))
    with (installed / DATA / "config.yml").open("a") as config:
        config.write("minFreeSpace: 1\n")  # for the machine that tests run on
    make_ct(installed / "srv/ct.dcm", 1, rows=64, columns=64)
    with booted(installed) as running:
        yield running


def test_the_package_makes_a_user_and_folders_for_it_alone(installed: Path) -> None:
    """Own user, nothing of it for others; the manual and the command are where one looks for them."""
    (line,) = (line for line in (installed / "etc/passwd").read_text().splitlines() if line.startswith("leyden:"))
    for folder in (DATA, "var/lib/leyden", "var/log/leyden"):
        status = (installed / folder).stat()
        assert (status.st_uid, status.st_mode & 0o777) == (int(line.split(":")[2]), 0o700)
    assert (installed / "usr/share/man/man1/leyden.1.gz").is_file()
    assert "leyden 0." in run(inside(installed, ["leyden", "--version"]))
    assert run(["dpkg", f"--root={installed}", "--verify", "leyden"]) == ""


def test_the_service_runs_under_its_unit(machine: Machine) -> None:
    """Started by systemd as its own user, on port 104, with no right but to open it; and every codec works there."""
    machine.run("systemctl", "start", "leyden")
    status = machine.run("systemctl", "show", "leyden", "--property=ActiveState,StatusText,MainPID,User")
    assert "ActiveState=active" in status
    assert f"StatusText=port 104, {len(SYNTAXES)} destinations, generation 1 in force" in status
    pid = re.findall(r"MainPID=(\d+)", status)[0]
    process = machine.run("cat", f"/proc/{pid}/status")
    assert re.findall(r"^(?:NoNewPrivs|Seccomp):\t(\d)$", process, re.MULTILINE) == ["1", "2"]
    assert re.findall(r"^CapBnd:\t(\w+)$", process, re.MULTILINE) == ["0000000000000400"]
    log = (machine.root / "var/log/leyden/leyden.log").read_text()
    assert "rights that it does not need" not in log  # the roles can give up more than the unit takes
    assert "no role gives up" not in log
    for number in range(len(SYNTAXES)):
        machine.run("leyden", "send", "127.0.0.1:104", "--called", f"N{number}", "/srv/ct.dcm")
    spool = machine.root / DATA / "cache"
    for number, name in enumerate(SYNTAXES):
        syntax = uids.syntax_by_name(name)
        assert syntax is not None

        def made(number: int = number) -> list[Path]:
            return [
                path for stage in ("prepared", "deferred") for path in (spool / stage / f"N{number}").rglob("*.dcm")
            ]

        wait_for(made, why=f"the object as {name}")
        assert read_file_meta_info(made()[0]).TransferSyntaxUID == syntax.uid


def test_a_reload_fails_where_a_file_is_wrong_and_the_service_goes_on(machine: Machine) -> None:
    """`systemctl reload` waits for the result and says no, with the reason in the journal."""
    machine.run("systemctl", "start", "leyden")
    machine.run("systemctl", "reload", "leyden")
    nodes = machine.root / DATA / "nodes.yml"
    good = nodes.read_text()
    nodes.write_text(f"{good}- AeTitle: X\n  Port: none\n")
    assert "failed" in machine.run("systemctl", "reload", "leyden", good=False)
    assert "nodes.yml:" in machine.run("journalctl", "--unit=leyden", "--lines=30")
    nodes.write_text(good)
    machine.run("systemctl", "reload", "leyden")
    assert machine.run("systemctl", "is-active", "leyden").strip() == "active"


def test_systemd_ends_a_service_that_hangs_and_starts_it_again(machine: Machine) -> None:
    """The watchdog: a parent that does not turn its loop is killed with all its roles, and comes up again."""
    drop_in = machine.root / "etc/systemd/system/leyden.service.d/soon.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\nWatchdogSec=2\nRestartSec=100ms\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "leyden")

    def pid() -> str:
        return machine.run("systemctl", "show", "leyden", "--property=MainPID", "--value").strip()

    before = pid()
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=SIGSTOP", "leyden")
    wait_for(lambda: pid() not in ("0", before), why="another process to serve")
    wait_for(lambda: machine.run("systemctl", "is-active", "leyden", good=False).strip() == "active")
    assert "Watchdog timeout" in machine.run("journalctl", "--unit=leyden")


def test_a_service_can_be_installed_and_removed_by_the_command_alone(machine: Machine) -> None:
    """`leyden install-service`: its unit runs, and only root may write it; `--uninstall` removes the unit alone."""
    refused = machine.run("setpriv", "--reuid=nobody", "--clear-groups", "leyden", "install-service", good=False)
    assert "only root can install or remove the service" in refused
    said = machine.run("leyden", "install-service")
    assert "wrote /etc/systemd/system/leyden.service" in said
    assert "systemctl enable --now leyden" in said
    machine.run("systemctl", "enable", "--now", "leyden")
    shown = machine.run("systemctl", "show", "leyden", "--property=FragmentPath,ActiveState,AmbientCapabilities")
    assert "FragmentPath=/etc/systemd/system/leyden.service" in shown
    assert "ActiveState=active" in shown
    assert "AmbientCapabilities=cap_net_bind_service" in shown  # for port 104
    machine.run("leyden", "install-service", "--uninstall")
    assert "lib/systemd/system/leyden.service" in machine.run("systemctl", "show", "leyden", "--property=FragmentPath")
    assert (machine.root / DATA / "nodes.yml").is_file()


def test_an_upgrade_starts_the_service_again(machine: Machine) -> None:
    """It is stopped before its files change, and runs again with the new ones; nothing is asked."""
    machine.run("systemctl", "start", "leyden")
    before = machine.run("systemctl", "show", "leyden", "--property=MainPID")
    (package,) = (machine.root / "root").glob("leyden_*.deb")
    machine.run("dpkg", "--install", f"/root/{package.name}")  # the same version, in place of a newer one
    assert machine.run("systemctl", "is-active", "leyden").strip() == "active"
    assert machine.run("systemctl", "show", "leyden", "--property=MainPID") != before


def test_removal_stops_the_service_and_keeps_what_it_holds(machine: Machine) -> None:
    """Purged, it leaves the configuration and every object that stands in the spool."""
    machine.run("systemctl", "start", "leyden")
    spool = machine.root / DATA / "cache"
    held = {path.name for path in spool.rglob("*.dcm")}
    said = machine.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "purge", "--yes", "leyden")
    assert "/var/lib/leyden stays" in said
    assert machine.run("systemctl", "is-active", "leyden", good=False).strip() != "active"
    assert {path.name for path in spool.rglob("*.dcm")} >= held
    assert held
    assert (machine.root / DATA / "nodes.yml").is_file()
    assert not (machine.root / "opt/leyden/bin").exists()
    assert not (machine.root / "usr/bin/leyden").exists()
