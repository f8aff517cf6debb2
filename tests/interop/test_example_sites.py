"""The configurations of examples/ are good, and objects go where their comments say."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from leyden.dicom.uids import JPEG2000_LOSSLESS
from support.objects import make_cts, real
from support.peers import Pacs
from support.service import Service

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SITES = sorted(path.name for path in EXAMPLES.iterdir() if (path / "config.yml").exists())


@pytest.mark.parametrize("site", SITES)
def test_an_example_passes_the_check_without_a_warning(site: str) -> None:
    """The tests of the project check and start each of these (examples/README.md)."""
    command = [sys.executable, "-m", "leyden", "check", "--path", str(EXAMPLES / site)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "warning" not in done.stdout


@pytest.fixture
def start(service: Callable[..., Service]) -> Callable[..., Service]:
    """Start a site on this machine: its destinations are `peers`, and all others are not there."""

    def begin(site: str, *peers: Pacs) -> Service:
        leyden = service("")
        shutil.copytree(EXAMPLES / site, leyden.folder, dirs_exist_ok=True)
        nodes = (leyden.folder / "nodes.yml").read_text()
        nodes = re.sub(r"HostName: .*", "HostName: 127.0.0.1", nodes)
        for peer in peers:
            nodes = re.sub(rf"(AeTitle: {peer.title}\n(?:(?!- AeTitle).*\n)*?  Port: )\d+", rf"\g<1>{peer.port}", nodes)
        (leyden.folder / "nodes.yml").write_text(nodes)
        if (callers := leyden.folder / "callers.yml").exists():
            callers.write_text(re.sub(r"Addresses: .*31", "Addresses: 127.0.0.1", callers.read_text()))
        return leyden.start(
            LEYDEN_SCP_PORT=str(leyden.port),
            LEYDEN_CACHE_PATH=str(leyden.spool),
            LEYDEN_MIN_FREE_SPACE="1",
            LEYDEN_PROCESS_DELAY="0",
            LEYDEN_WORKERS="1",
            LEYDEN_ARENA_MIB="64",
        )

    return begin


def send(leyden: Service, called: str, path: Path) -> None:
    where = f"127.0.0.1:{leyden.port}"
    done = subprocess.run(
        [sys.executable, "-m", "leyden", "send", where, "--calling", "CT01", "--called", called, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_the_clinic_passes_everything_on_to_its_pacs(
    start: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """PACS or OLDPACS: "both mean this node"; it "sees each modality's own AE title" (examples/clinic/nodes.yml)."""
    one = pacs("PACS")
    leyden = start("clinic", one)
    for called in ("PACS", "OLDPACS"):
        send(leyden, called, make_cts(tmp_path / called, 1)[0])
    assert [arrival.calling for arrival in one.wait(2)] == ["CT01", "CT01"]


def test_the_site_with_an_archive_sends_it_a_compressed_copy(
    start: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """A rule sends a copy ... to ARCHIVE, which gets it as JPEG 2000 Lossless (examples/archive/config.yml).
    "Nobody from outside" may send (examples/archive/callers.yml)."""
    house = pacs("PACS")
    leyden = start("archive", house)
    send(leyden, "PACS", make_cts(tmp_path, 1)[0])
    house.wait(1)
    planned = leyden.wait_line("ARCHIVE as JPEG2000Lossless")
    assert "PACS as it came" in planned


def test_the_hub_sends_images_and_reports_where_its_rules_say(
    start: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """One address for all modalities, several destinations, and rules that say what goes where (examples/README.md)."""
    images, reports = pacs("MAINPACS"), pacs("REPORTS")
    leyden = start("hub", images, reports)
    send(leyden, "LEYDEN", real("test-SR.dcm"))
    send(leyden, "LEYDEN", make_cts(tmp_path, 1)[0])
    reports.wait(1)
    (image,) = images.wait(1)
    assert image.syntax == JPEG2000_LOSSLESS
    leyden.wait_empty()
    assert (len(images.arrivals), len(reports.arrivals)) == (1, 1)
