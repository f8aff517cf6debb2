"""The unit that `leyden install-service` writes, held against systemd itself."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from leyden.operate.installation import UNIT, NotInstalled, Site, install, uninstall, unit

HIGHEST_EXPOSURE = 2.0
SITE = Site(Path("/usr/bin/env"))  # systemd looks whether the command is there


def analyze(*words: str) -> str:
    """What systemd-analyze says; it needs no running systemd."""
    if shutil.which("systemd-analyze") is None:
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing("no systemd-analyze here: apt-get install systemd")
    done = subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


SITES = {
    "as it is installed": SITE,
    "a port below 1024": replace(SITE, ports=(104, 1080)),
    "folders elsewhere": replace(
        SITE, path=Path("/srv/dicom router"), spool=Path("/srv/100%"), log_dir=Path("/srv/dicom router/log")
    ),
    "a home": replace(SITE, path=Path("/home/pacs/leyden"), spool=Path("/home/pacs/leyden/cache")),
}


@pytest.mark.parametrize("site", SITES.values(), ids=SITES)
def test_systemd_finds_no_fault_in_the_unit_and_little_that_it_may_do(site: Site, tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing to say, and the exposure is below 2.0, "OK"."""
    place = tmp_path / "leyden.service"
    place.write_text(unit(site))
    assert analyze("verify", "--man=no", str(place)) == ""
    said = analyze("security", "--offline=true", "--no-pager", str(place))
    (exposure,) = re.findall(r"Overall exposure level for leyden.service: ([\d.]+)", said)
    assert float(exposure) < HIGHEST_EXPOSURE


def lines(site: Site, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit(site), re.MULTILINE)


def test_a_port_below_1024_takes_a_capability_and_no_other_port_does() -> None:
    assert (lines(SITE, "AmbientCapabilities"), lines(SITE, "CapabilityBoundingSet")) == ([], [""])
    for port, given in ((104, ["CAP_NET_BIND_SERVICE"]), (1024, []), (0, [])):
        assert lines(replace(SITE, ports=(port,)), "AmbientCapabilities") == given


def test_it_may_write_where_it_has_to_and_nowhere_else() -> None:
    assert (lines(SITE, "StateDirectory"), lines(SITE, "LogsDirectory")) == (["leyden leyden/data"], ["leyden"])
    assert lines(SITE, "ReadWritePaths") == []
    saved = replace(SITE, spool=Path("/var/spool/leyden"), written=(Path("/srv/a b"), Path("/srv/a b/c")))
    assert lines(saved, "ReadWritePaths") == ['"/srv/a b"', "/var/spool/leyden"]
    assert lines(SITES["a home"], "ProtectHome") == ["read-only"]


@pytest.mark.parametrize(
    ("site", "why"),
    [
        (replace(SITE, path=Path("/tmp/leyden")), "a /tmp of its own"),
        (replace(SITE, command=Path("/root/venv/bin/leyden")), "can't read a home directory"),
        (replace(SITE, spool=Path("/srv/a\nb")), "can't be written into a unit"),
    ],
)
def test_what_could_not_work_is_refused(site: Site, why: str) -> None:
    with pytest.raises(NotInstalled, match=why):
        unit(site)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Another system, in a folder. Making a user takes root."""
    if os.geteuid() != 0:
        pytest.skip("this takes root")
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group", "shadow", "gshadow", "login.defs"):
        shutil.copy(Path("/etc", name), tmp_path / "etc" / name)
    return tmp_path


def test_the_service_is_installed_once_and_removed_without_its_data(root: Path) -> None:
    """The user, the folders for it alone, the unit; the second time nothing; what holds data stays at the end."""
    done = install(SITE, root)
    data = root / "var/lib/leyden/data"
    assert f"made {data}" in done
    assert "made the user leyden" in done
    (line,) = (line for line in (root / "etc/passwd").read_text().splitlines() if line.startswith("leyden:"))
    for folder in (data, data.parent, data / "cache", root / "var/log/leyden"):
        assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (int(line.split(":")[2]), 0o700)
    assert (root / UNIT.relative_to("/")).read_text() == unit(SITE)
    assert install(SITE, root) == ()
    assert install(replace(SITE, ports=(104,)), root) == (f"replaced {root / UNIT.relative_to('/')}",)
    assert uninstall(root) == (f"removed {root / UNIT.relative_to('/')}",)
    assert (data / "cache").is_dir()
    with pytest.raises(NotInstalled, match="no service was installed"):
        uninstall(root)


def test_what_somebody_else_made_stays_as_it_is(root: Path) -> None:
    """A unit of the administrator's own is not replaced and not removed; a folder of another one's is only named."""
    place = root / UNIT.relative_to("/")
    place.parent.mkdir(parents=True)
    place.write_text("[Service]\nExecStart=/opt/mine\n")
    for act in (lambda: install(SITE, root), lambda: uninstall(root)):
        with pytest.raises(NotInstalled, match="was not made by"):
            act()
    assert place.read_text() == "[Service]\nExecStart=/opt/mine\n"
    place.unlink()
    logs = root / "var/log/leyden"
    logs.mkdir(parents=True)
    assert any(f"{logs} belongs to another user; run: chown -R" in line for line in install(SITE, root))
    assert logs.stat().st_uid == 0
