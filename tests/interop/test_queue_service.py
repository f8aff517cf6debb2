"""`leyden queue` on a real service, running and stopped: what it shows, what it does, and what a peer gets then."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leyden.dicom.uids import JPEG2000_LOSSLESS
from support.objects import make_cts
from support.peers import Pacs, run_dcmtk
from support.service import Service, free_port, node

OBJECTS = 4
J2K = {"TransferSyntax": "JPEG2000Lossless"}


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    pacs = Pacs("NEWPACS").start()
    yield pacs
    pacs.stop()


@pytest.fixture
def site(tmp_path: Path, pacs: Pacs) -> Iterator[tuple[Service, list[str]]]:
    """A service whose OLDPACS is off, with four objects for it; their ids."""
    nodes = node("OLDPACS", free_port(), Aliases="[OLD]") + node("NEWPACS", pacs.port, **J2K)
    service = Service(tmp_path / "leyden", nodes).start()
    try:
        files = [*make_cts(tmp_path / "one", 2, study=1), *make_cts(tmp_path / "two", 2, study=2)]
        words = ("-dn", "-aet", "CT01", "-aec", "OLDPACS", "127.0.0.1", str(service.port))
        done = run_dcmtk("dcmsend", *words, *map(str, files))
        assert done.returncode == 0, done.stderr
        service.wait_left(lambda left: [path.parts[-5] for path in left] == ["prepared"] * OBJECTS)
        yield service, [item["id"] for item in listed(service)["items"]]
    finally:
        service.end()


def listed(service: Service, *words: str) -> dict:
    done = service.leyden("queue", "list", "--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def done(service: Service, *words: str, code: int = 0) -> dict:
    """What came of a verb."""
    said = service.leyden("queue", *words, "--json")
    assert said.returncode == code, said.stderr
    return json.loads(said.stdout)


def test_a_move_sends_what_waited_for_one_archive_to_another(site, pacs: Pacs) -> None:
    """A move: "each object goes in the form that the other destination gets" (docs/operate.md)."""
    service, ids = site
    assert done(service, "move", ids[0], "--to", "NEWPACS")["count"] == 1
    assert done(service, "move", "OLD", "--to", "NEWPACS", "--yes")["count"] == OBJECTS - 1
    service.wait_empty()
    assert [arrival.syntax for arrival in pacs.arrivals] == [JPEG2000_LOSSLESS] * OBJECTS
    story = service.leyden("trace", "--receipt", ids[0][:22])
    assert "OLDPACS: moved from prepared/ to transform/ for NEWPACS by " in story.stdout
    assert "NEWPACS: delivered" in story.stdout


def test_the_same_verbs_without_a_service_and_beside_broken_files(site, pacs: Pacs) -> None:
    """It "works with and without a running service, and beside YAML files with errors" (docs/operate.md)."""
    service, ids = site
    assert done(service, "reject", "--study", "2.25.1001", "--yes")["count"] == 2
    assert service.stop() == 0
    nodes = (service.folder / "nodes.yml").read_text()
    (service.folder / "nodes.yml").write_text(f"{nodes}- Frobnicate: [\n")
    rejected = listed(service, "OLDPACS", "--state", "rejected")
    assert [item["id"] for item in rejected["items"]] == ids[:2]
    assert all(item["reason"].startswith("rejected by ") for item in rejected["items"])
    assert listed(service, "--study", "2.25.1002", "--source", "CT01", "--skip", "1", "--limit", "5")["total"] == 2
    assert done(service, "retry", ids[0])["count"] == 1
    assert done(service, "delete", "--series", "2.25.1002.1", "--yes")["count"] == 2
    shape = json.loads(service.leyden("queue", "--shape", "--by", "source", "--json", "--state", "prepared").stdout)
    assert {source: sum(row) for source, row in shape["rows"].items()} == {"CT01": 1}
    assert "CT01" in service.leyden("queue", "--shape", "--by", "source").stdout
    for words in (["move", ids[0], "--to", "NEWPACS"], ["retry", "OLD"]):
        refused = service.leyden("queue", *words)
        assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
    (service.folder / "nodes.yml").write_text(nodes)
    assert done(service, "move", ids[1], "--to", "NEWPACS")["count"] == 1  # out of rejected/
    service.start()
    pacs.wait(1)
    assert [item["id"] for item in listed(service)["items"]] == ids[:1]


def test_what_is_shown_and_exported(site, tmp_path: Path) -> None:
    """An export: "files are named by receipt id", and its manifest "has no patient data" (docs/operate.md)."""
    service, ids = site
    shown = service.leyden("queue", "show", ids[0])
    assert (shown.returncode, "Test^Image" in shown.stdout) == (0, False)
    assert f"ExplicitVRLittleEndian\n  {'Modality':<26} CT" in shown.stdout
    assert "Test^Image" in service.leyden("queue", "show", ids[0], "--patient").stdout
    assert service.leyden("queue", "show", "0" * 22).returncode == 1
    copies = tmp_path / "copies"
    assert done(service, "export", "--all", "--to", str(copies))["count"] == OBJECTS
    lines = [json.loads(line) for line in (copies / "manifest.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ids
    assert run_dcmtk("dcmdump", *(str(copies / line["file"]) for line in lines)).returncode == 0
    again = service.leyden("queue", "export", "--all", "--to", str(copies))
    assert again.returncode == 2
    assert f"{copies}/manifest.jsonl is there already: name another folder with --to" in again.stderr


def test_who_deletes_many_is_asked_and_where_nobody_can_answer_it_takes_a_word(site) -> None:
    """They "say how many objects it would be, and ask; without a terminal they want `--yes`" (docs/operate.md)."""
    service, _ = site
    alone = service.leyden("queue", "delete", "OLDPACS")
    assert alone.returncode == 2
    assert "delete 4 objects: say so with --yes" in alone.stderr
    assert service.leyden("queue", "delete").returncode == 2  # neither a filter nor --all
    for answer, code, left in ((b"n\n", 1, OBJECTS), (b"y\n", 0, 0)):
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "leyden", "queue", "delete", "OLDPACS", "--path", str(service.folder)]
        process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, text=True)
        os.write(ours, answer)
        said, _ = process.communicate(timeout=60)
        os.close(ours)
        os.close(theirs)
        assert (process.returncode, "delete 4 objects? [y/N]" in said) == (code, True)
        assert listed(service)["total"] == left
