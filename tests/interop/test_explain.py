"""`leyden explain` says exactly what a real service then does."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pydicom
import pynetdicom

from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, SYNTAXES
from support.datasets import FILES as WHEEL
from support.objects import decode, real
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
        if not d["failure"]
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


def test_of_every_file_what_is_explained_is_what_happens(
    service: Callable[..., Service], pacs: Callable[..., Pacs]
) -> None:
    """Real files of every kind: odd lengths, private classes, each syntax; those too that are not taken."""
    peers = pacs("IMAGEPACS"), pacs("REPORTPACS"), pacs("RESEARCH")
    nodes = node("IMAGEPACS", peers[0].port) + node("REPORTPACS", peers[1].port)
    leyden = service(nodes + node("RESEARCH", peers[2].port, Impersonate="true"), filters="route, mutate")
    (leyden.folder / "routings.yml").write_text(ROUTINGS)
    (leyden.folder / "mutations.yml").write_text(MUTATIONS)
    leyden.start()
    told = explain(leyden, "CT1", "IMAGEPACS", WHEEL)
    known = {context.abstract_syntax for context in pynetdicom.AllStoragePresentationContexts}  # to the peers
    taken = [each for each in told if not each["rejected"] and each["sop_class_uid"] in known]
    assert 100 < len(taken) < len(told)
    send(leyden, "CT1", "IMAGEPACS", [Path(each["file"]) for each in taken])
    failed = sum(bool(each["failed"]) + sum(bool(d["failure"]) for d in each["deliveries"]) for each in taken)
    leyden.wait_left(lambda left: len(left) == failed, limit_s=120.0)
    assert arrived(*peers) == foretold(taken)


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


def test_the_text_of_what_mutations_change(tmp_path: Path) -> None:
    """For each destination its mutations, and a line for each element that differs."""
    (tmp_path / "config.yml").write_text("filters: route, mutate\n")
    (tmp_path / "nodes.yml").write_text(node("IMAGEPACS", 104) + node("REPORTPACS", 105) + node("RESEARCH", 106))
    (tmp_path / "routings.yml").write_text(ROUTINGS)
    (tmp_path / "mutations.yml").write_text(MUTATIONS)
    command = [sys.executable, "-m", "leyden", "explain", "--path", str(tmp_path), "--from", "CT1", "--to", "IMAGEPACS"]
    done = subprocess.run([*command, str(real("CT_small.dcm"))], capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert lines[lines.index("    mutations.yml:2 (Research gets no names) holds") + 1 :] == [
        "      yes  Modality matches (CT|MR)  CT",
        "      ->   set PatientName to NOBODY",
        "      ->   remove PatientBirthDate",
        "      ->   set PatientID to R$2, from ^(.)(.*)$ in PatientID",
        r"      ->   set SOPInstanceUID to $1.999, from ^(.*)\.\d+$ in SOPInstanceUID",
        "    mutations.yml:26 does not hold",
        "      yes  PatientName is NOBODY  NOBODY",
        "      no   Manufacturer is ACME   GE MEDICAL SYSTEMS",
        "    change SOPInstanceUID    1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322 -> "
        "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.999",
        "    change PatientName       CompressedSamples^CT1 -> NOBODY",
        "    change PatientID         1CT1 -> RCT1",
        "    change PatientBirthDate  (empty) -> (absent)",
        "    form changed, in the syntax that it came in, ExplicitVRLittleEndian; rank 00",
        "    what RESEARCH accepts of this class is not known yet",
    ]
    rules = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    assert "for objects that go to REPORTPACS: set InstitutionName to Somewhere" in rules


MUTATIONS = r"""
- Description: Research gets no names
  AeTitles: RESEARCH
  Conditions:
    - Tag: Modality
      MatchExpression: (CT|MR)
  Actions:
    - Destination:
        Tag: PatientName
        Value: NOBODY
    - Type: remove
      Destination:
        Tag: PatientBirthDate
    - Source:
        Tag: PatientID
        Expression: ^(.)(.*)$
      Destination:
        Tag: PatientID
        Value: R$2
    - Source:
        Tag: SOPInstanceUID
        Expression: ^(.*)\.\d+$
      Destination:
        Tag: SOPInstanceUID
        Value: $1.999
- AeTitles: RESEARCH
  Conditions:
    - Tag: PatientName
      MatchExpression: NOBODY
    - Tag: Manufacturer
      MatchExpression: ACME
  Actions:
    - Type: remove
      Destination:
        Tag: Manufacturer
- AeTitles: REPORTPACS
  Actions:
    - Destination:
        Tag: InstitutionName
        Value: Somewhere
"""


def differing(before: pydicom.Dataset, after: pydicom.Dataset) -> dict[str, str | None]:
    """The elements in which two datasets differ, with what the second one has."""
    keywords = {element.keyword for dataset in (before, after) for element in dataset if element.keyword}
    return {
        keyword: str(after[keyword].value) if keyword in after else None
        for keyword in keywords
        if before.get(keyword) != after.get(keyword)
    }


def test_the_changes_that_are_explained_are_those_that_arrive(
    service: Callable[..., Service], pacs: Callable[..., Pacs]
) -> None:
    """The diff of each delivery is exactly what the destination finds changed, UIDs of the association included."""
    peers = pacs("IMAGEPACS"), pacs("REPORTPACS"), pacs("RESEARCH")
    nodes = "".join(node(peer.title, peer.port) for peer in peers)
    leyden = service(nodes, filters="route, mutate")
    (leyden.folder / "routings.yml").write_text(ROUTINGS)
    (leyden.folder / "mutations.yml").write_text(MUTATIONS)
    leyden.start()
    files = [real(name) for name in ("CT_small.dcm", "MR_small.dcm", "test-SR.dcm", "SC_rgb_small_odd.dcm")]
    told = explain(leyden, "CT1", "IMAGEPACS", files)
    send(leyden, "CT1", "IMAGEPACS", files)
    leyden.wait_empty()
    assert arrived(*peers) == foretold(told)
    arrivals = {(peer.title, arrival.sop_instance_uid): arrival for peer in peers for arrival in peer.arrivals}
    changed = 0
    for path, each in zip(files, told, strict=True):
        before = pydicom.dcmread(path)
        for delivery in each["deliveries"]:
            arrival = arrivals[delivery["destination"], delivery["sop_instance_uid"]]
            after = decode(arrival.syntax, arrival.data)
            assert {change["path"]: change["after"] for change in delivery["changes"]} == differing(before, after)
            changed += bool(delivery["changes"])
    assert changed == 2  # the CT for research, the report
    research = next(d for d in told[0]["deliveries"] if d["destination"] == "RESEARCH")
    first, second = research["mutations"]
    assert (first["held"], second["held"]) == (True, False)
    assert first["actions"][:2] == ["set PatientName to NOBODY", "remove PatientBirthDate"]
    assert [asked["seen"] for asked in second["conditions"]] == [["NOBODY"], ["GE MEDICAL SYSTEMS"]]


def told_id(delivery: dict[str, Any]) -> str:
    return next(str(change["after"]) for change in delivery["changes"] if change["path"] == "PatientID")


IDENTITIES = """
- AeTitles: IMAGEPACS
  Actions:
    - Type: deidentify
      Destination:
        Value: patients.csv
- AeTitles: IMAGEPACS
  Conditions:
    - Tag: PatientID
      MatchExpression: ANON-*
  Actions:
    - Destination:
        Tag: EthnicGroup
        Value: UNKNOWN
"""


def test_an_identity_that_is_explained_is_the_one_that_arrives_and_none_is_made(
    service: Callable[..., Service], pacs: Callable[..., Pacs]
) -> None:
    """explain "changes nothing": no pseudonym, no key; of a patient who is known it tells what will arrive."""
    peer = pacs("IMAGEPACS")
    leyden = service(node("IMAGEPACS", peer.port), filters="mutate")
    (leyden.folder / "mutations.yml").write_text(IDENTITIES)
    files = [real("CT_small.dcm")]
    before = explain(leyden, "CT1", "IMAGEPACS", files)
    changes = {change["path"]: change["after"] for change in before[0]["deliveries"][0]["changes"]}
    assert changes["PatientID"] == "ANON-XXXXXXXXXXX"
    assert sorted(path.name for path in leyden.folder.iterdir()) == ["config.yml", "mutations.yml", "nodes.yml"]
    leyden.start()
    send(leyden, "CT1", "IMAGEPACS", files)
    peer.wait(1)
    leyden.wait_empty()
    pseudonyms = (leyden.folder / "patients.csv").read_text()
    (delivery,) = explain(leyden, "CT1", "IMAGEPACS", files)[0]["deliveries"]
    for told in (before[0]["deliveries"][0], delivery):  # of a patient who is not known yet, too
        assert [(rule["held"], rule["conditions"]) for rule in told["mutations"]][1] == (
            True,
            [{"condition": "PatientID is like ANON-*", "held": True, "seen": [told_id(told)], "unsure": ""}],
        )
    assert (leyden.folder / "patients.csv").read_text() == pseudonyms
    arrival = peer.arrivals[0]
    assert arrival.sop_instance_uid == delivery["sop_instance_uid"]
    after = decode(arrival.syntax, arrival.data)
    assert after.EthnicGroup == "UNKNOWN"
    told = {change["path"]: change["after"] for change in delivery["changes"]}
    assert told["PatientID"] == after.PatientID != "ANON-XXXXXXXXXXX"
    assert told["StudyInstanceUID"] == after.StudyInstanceUID
