"""`leyden explain` says exactly what a real service then does."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, SYNTAXES
from support.objects import real
from support.peers import Pacs
from support.service import Service, files_below, node, wait_for

ROUTINGS = r"""
- Description: Reports go elsewhere
  AeTitles: IMAGEPACS
  Conditions:
    - Tag: SOPClassUID
      MatchExpression: ^1\.2\.840\.10008\.5\.1\.4\.1\.1\.88\.\d+$
  Actions:
    - Target: REPORTPACS
      RemoveOriginal: true
- Description: CT and MR of one maker for research
  Conditions:
    - Tag: Modality
      MatchExpression: (CT|MR)
    - Tag: Manufacturer
      MatchExpression: '*MED*'
  Actions:
    - Target: RESEARCH
- Description: Nothing of the test station leaves
  Conditions:
    - Tag: Source
      MatchExpression: TEST*
  Actions:
    - Type: drop
- Conditions:
    - Tag: Modality
      MatchExpression: OT
      Negate: true
    - Tag: 0002,0010
      MatchExpression: 1.2.840.10008.1.2.5
  Actions:
    - Type: save_file
      Target: kept/#{8,60}/
"""
FILES = (
    "CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "test-SR.dcm", "SC_rgb_jpeg_gdcm.dcm", "image_dfl.dcm",
    "ExplVR_BigEnd.dcm",
)  # fmt: skip


def explain(service: Service, calling: str, called: str, files: Iterable[Path]) -> list[dict[str, Any]]:
    done = service.leyden("explain", "--json", "--from", calling, "--to", called, *map(str, files))
    assert done.stderr == ""
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def send(service: Service, calling: str, called: str, files: Iterable[Path]) -> None:
    words = ["send", f"127.0.0.1:{service.port}", "--calling", calling, "--called", called]
    done = service.leyden(*words, *map(str, files))
    assert done.returncode == 0, done.stdout + done.stderr


def foretold(explained: list[dict[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    """Whom it reaches, under which title, as which class and instance, in which syntax."""
    names = {syntax.name: uid for uid, syntax in SYNTAXES.items()}
    return sorted(
        (d["destination"], d["calling"], d["sop_class_uid"], d["sop_instance_uid"], names[d["syntax"]])
        for each in explained
        for d in each["deliveries"]
    )


def arrived(*peers: Pacs) -> list[tuple[str, str, str, str, str]]:
    return sorted(
        (peer.title, a.calling, a.sop_class_uid, a.sop_instance_uid, a.syntax) for peer in peers for a in peer.arrivals
    )


def test_what_is_explained_is_what_happens(service: Callable[..., Service], pacs: Callable[..., Pacs]) -> None:
    """Each file reaches the destinations that were told, under the titles and in the syntaxes that were told."""
    peers = pacs("IMAGEPACS"), pacs("REPORTPACS"), pacs("RESEARCH")
    nodes = node("IMAGEPACS", peers[0].port, Impersonate="true", TransferSyntax="JPEG2000Lossless", Aliases="PACS")
    nodes += node("REPORTPACS", peers[1].port) + node("RESEARCH", peers[2].port, TransferSyntax="RLELossless")
    leyden = service(nodes, ROUTINGS).start()
    files = [real(name) for name in FILES]
    explained = []
    for calling, called in (("CT1", "PACS"), ("MR1", "LEYDEN"), ("TEST1", "IMAGEPACS")):
        told = explain(leyden, calling, called, files)
        assert [each["file"] for each in told] == list(map(str, files))
        explained += told
    assert not (leyden.folder / "kept").exists(), "explain wrote a copy"
    assert arrived(*peers) == []
    for calling, called in (("CT1", "PACS"), ("MR1", "LEYDEN"), ("TEST1", "IMAGEPACS")):
        send(leyden, calling, called, files)
    failed = [each for each in explained if each["failed"]]
    dropped = [each for each in explained if each["dropped_by"]]
    assert failed
    assert dropped
    wait_for(lambda: len(list((leyden.spool / "failed").glob("*.dcm"))) == len(failed))
    leyden.wait_left(lambda left: len(left) == len(failed))
    assert arrived(*peers) == foretold(explained)
    saved = [saving["path"] for each in explained for saving in each["saves"]]
    kept = {str(path) for path in files_below(leyden.folder / "kept")}
    assert saved
    assert kept >= set(saved)
    assert len(kept) == len(saved)  # the heads differ, so the second one of an instance has a number
    assert leyden.log.count(": nowhere (routings.yml") == len(dropped)


def test_what_a_destination_was_seen_to_accept_is_told_and_counts(
    service: Callable[..., Service], pacs: Callable[..., Pacs]
) -> None:
    """The memory of the service (state/) decides in which form the next object goes, and explain tells it."""
    old = pacs("OLDPACS", syntaxes=[EXPLICIT_LE, IMPLICIT_LE])
    leyden = service(node("OLDPACS", old.port, TransferSyntax="JPEG2000Lossless")).start()
    ct = real("CT_small.dcm")
    (before,) = explain(leyden, "CT1", "OLDPACS", [ct])
    assert (before["deliveries"][0]["syntax"], before["deliveries"][0]["seen"]) == ("JPEG2000Lossless", None)
    send(leyden, "CT1", "OLDPACS", [ct])
    old.wait(1)
    leyden.wait_empty()
    wait_for(lambda: (leyden.spool / "state" / "OLDPACS.json").exists())
    (after,) = explain(leyden, "CT1", "OLDPACS", [ct])
    assert after["deliveries"][0]["seen"]["refused"] == ["JPEG2000Lossless"]
    send(leyden, "CT1", "OLDPACS", [ct])
    old.wait(2)
    assert old.arrivals[1].syntax == EXPLICIT_LE
    assert after["deliveries"][0]["syntax"] == "ExplicitVRLittleEndian"


def test_the_text_for_an_operator(tmp_path: Path) -> None:
    """Text to read: the association, each condition with what was seen, the actions, the deliveries, a summary."""
    (tmp_path / "config.yml").write_text("filters: route\n")
    nodes = node("IMAGEPACS", 104, TransferSyntax="JPEG2000Lossless")
    (tmp_path / "nodes.yml").write_text(nodes + node("REPORTPACS", 105) + node("RESEARCH", 106))
    (tmp_path / "routings.yml").write_text(ROUTINGS)
    (tmp_path / "notes.txt").write_text("no DICOM")
    words = ["--path", str(tmp_path), "--from", "CT1", "--to", "IMAGEPACS"]
    command = [sys.executable, "-m", "leyden", "explain", *words]
    ct = str(real("CT_small.dcm"))
    one = subprocess.run([*command, ct], capture_output=True, text=True, timeout=60)
    assert one.returncode == 0, one.stderr
    assert one.stdout.splitlines() == [
        ct,
        "  CT1 sends it to IMAGEPACS, which stands for the node IMAGEPACS",
        "  instance 1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322 of class 1.2.840.10008.5.1.4.1.1.2, "
        "ExplicitVRLittleEndian",
        "  routings.yml:2 (Reports go elsewhere) does not hold",
        r"    no   SOPClassUID matches ^1\.2\.840\.10008\.5\.1\.4\.1\.1\.88\.\d+$  1.2.840.10008.5.1.4.1.1.2",
        "  routings.yml:10 (CT and MR of one maker for research) holds",
        "    yes  Modality matches (CT|MR)    CT",
        "    yes  Manufacturer is like *MED*  GE MEDICAL SYSTEMS",
        "    ->   send to RESEARCH",
        "  routings.yml:18 (Nothing of the test station leaves) does not hold",
        "    no   the calling title is like TEST*  CT1",
        "  routings.yml:24 does not hold",
        "    yes  Modality is not OT                        CT",
        "    no   TransferSyntaxUID is 1.2.840.10008.1.2.5  1.2.840.10008.1.2.1",
        "  goes to IMAGEPACS (127.0.0.1:104), calling as LEYDEN (called title IMAGEPACS)",
        "    form made into JPEG2000Lossless; rank 00",
        "    what IMAGEPACS accepts of this class is not known yet",
        "  goes to RESEARCH (127.0.0.1:106), calling as LEYDEN (routings.yml:10 add_destination)",
        "    form as it came, in ExplicitVRLittleEndian; rank 00",
        "    what RESEARCH accepts of this class is not known yet",
    ]
    several = subprocess.run([*command, ct, str(tmp_path / "notes.txt")], capture_output=True, text=True, timeout=60)
    assert several.returncode == 1
    assert "  can't be read: not a Part 10 file: it has only 8 bytes" in several.stdout
    assert several.stdout.endswith(
        "2 files; 1 not readable; 1 to IMAGEPACS in JPEG2000Lossless; 1 to RESEARCH in ExplicitVRLittleEndian\n"
    )
    rules = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert rules.returncode == 0
    assert "for objects sent to IMAGEPACS, if SOPClassUID matches ^1" in rules.stdout
    wrong = subprocess.run([*command, "--from", "MORE_THAN_SIXTEEN"], capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 2
