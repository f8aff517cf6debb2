"""Folders as users of DICOM Capacitor bring them along, in its spellings and with its traps, and peers of others.

The example that the project exists for is in test_example.py.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pydicom
import pytest
from pydicom.sequence import Sequence

from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, JPEG2000_LOSSLESS
from support.objects import decode, make_ct, split
from support.peers import Pacs, run_dcmtk, store
from support.service import Service, files_below, free_port, wait_for

CT, MR, SC = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
REPORT = "1.2.840.10008.5.1.4.1.1.88.11"
LIGHT = "minFreeSpace: 1\nworkers: 1\narenaMib: 64\n"  # for the machine that tests run on

Site = Callable[..., Service]
Peer = Callable[..., Pacs]


@pytest.fixture
def site(service: Callable[..., Service]) -> Site:
    """Make services of whole folders: site({"config.yml": text}, IMAGEPACS=port), `<IMAGEPACS>` being its port."""

    def make(files: dict[str, str], **ports: int) -> Service:
        leyden = service("")
        write(leyden, files, scp=leyden.port, **ports)
        return leyden

    return make


def write(leyden: Service, files: dict[str, str], **ports: int) -> None:
    for name, text in files.items():
        for title, port in ports.items():
            text = text.replace(f"<{title}>", str(port))
        (leyden.folder / name).write_bytes(text.encode())


def image(folder: Path, number: int, sop_class: str = CT, **values: object) -> Path:
    """A small image (or what says that it is of another class) with these values; None takes an element away."""
    path = make_ct(folder / f"{number}.dcm", number, rows=8, columns=8)
    dataset = pydicom.dcmread(path)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    for keyword, value in values.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


def send(leyden: Service, calling: str, called: str, *paths: Path) -> None:
    """What a modality does, by DCMTK's storescu: the files in this order, over one association."""
    words = ["-aet", calling, "-aec", called, "127.0.0.1", str(leyden.port), *map(str, paths)]
    done = run_dcmtk("storescu", "-R", *words)
    assert done.returncode == 0, done.stderr


def numbers(peer: Pacs) -> list[int]:
    """The instances in the order in which they came, by the last part of the UID that they were sent under."""
    return [int(uid.rpartition(".")[2]) for uid in peer.uids()]


def datasets(peer: Pacs) -> dict[int, pydicom.Dataset]:
    return dict(zip(numbers(peer), (decode(each.syntax, each.data) for each in peer.arrivals), strict=True))


def said(leyden: Service, *words: str, code: int = 0) -> str:
    """What a command says; nothing that a program should have caught."""
    done = leyden.leyden(*words)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def wait_said(leyden: Service, text: str, *words: str) -> None:
    """Wait until a command says so: the journal is written beside the work."""
    wait_for(lambda: text in leyden.leyden(*words).stdout, why=f"{text} in {' '.join(words)}")


# -- routings.yml and nodes.yml

ROUTING = {
    "config.yml": (
        "\ufeff# Saved by an editor of Windows\r\nSCPPORT: <scp>\r\nmyaetitle: CAPACITOR\r\nactivationCode: 00123\r\n"
        "Filters: route\r\nlogSuffix: #{2,2}\r\nechoInterval: 0\r\n" + LIGHT.replace("\n", "\r\n")
    ),
    "nodes.yml": """\
---
- AeTitle: IMAGEPACS
  Aliases:
    - PACS
  HostName: 127.0.0.1
  Port: <IMAGEPACS>
  TransferSyntax:
  NodeRole: Storage
  BatchSize: 0
  MinimumLineSpeed: 0
  ProcessSchedule:
    - 13:30 - 23:59
    - 00:00 - 13:30
  ProcessNetworks:
    - 127.0.0.44 / 255.255.255.0
- AETITLE: IMAGEPACS
  port: <IMAGEPACS>
  noderole: queryretrieve
  CFindFailureBehavior: propagate
- aetitle: 1.2
  PORT: <REPORTPACS>
  noderole: storage
  Impersonate: True
  transfersyntax: jpeglossless
""",
    "routings.yml": r"""
- Description: Reports and documents: away from the archive
  AeTitles:
    - IMAGEPACS
  Conditions:
    - Tag: 0008,0016
      MatchExpression: ^1\.2\.840\.10008\.5\.1\.4\.1\.1\.(88|104)\.[\d]{1,2}$
  Actions:
    - Description: Re-route
      Type: add_destination
      Target: 1.2
      RemoveOriginal: true
- Description: What the CT scanners send
  Conditions:
    - Tag: 0002,0016
      MatchExpression: *CT*
    - Tag: 8,60
      MatchExpression: [CM]T
  Actions:
    - Target: 1.2
- Description: Phantoms are kept as files, and go nowhere
  AeTitles: PACS
  Conditions:
    - MatchTag: 00100020
      MatchExpression: 00123
  Actions:
    - Type: save_file
      Target: kept/#{8,60}/#{10,20:00-000}/
    - Type: drop
      Log: info
- Description: One order by its number, as it is written
  Conditions:
    - Tag: 8,50
      MatchExpression: 12345
  Actions:
    - Target: 1.2
- Description: Cardiac images that another device made
  Conditions:
    - Tag: 0040,0275
      SequenceItems:
        - Tag: 0040,0007
          MatchExpression: ^(?i)cardiac
        - Tag: 0040,0009
          MatchExpression: P-?
    - Tag: 0029,000C
      PrivateTagCreator: ACME 1.1
      MatchExpression: 1.50
  Actions:
    - Target: 1.2
""",
}


def test_routes_and_nodes_as_the_vendor_writes_them(site: Site, pacs: Peer, tmp_path: Path) -> None:
    """Re-routing by SOP class and by calling AE, a drop with a file that is kept, numbers that are no numbers, an
    alias, one title for two roles: each destination gets its set, and a check says beforehand what will be done."""
    images, others = pacs("IMAGEPACS"), pacs("1.2")
    leyden = site(ROUTING, IMAGEPACS=images.port, REPORTPACS=others.port)
    told = said(leyden, "check")
    assert f"destination IMAGEPACS (also PACS, DCP_IMAGEPACS, DCP_PACS) -> 127.0.0.1:{images.port}" in told
    assert "destination 1.2 (also DCP_1.2)" in told
    assert "JPEGProcess14SV1, calling with the modality's title" in told
    assert "filters, in this order: route (5 rules)" in told
    assert "activationCode" not in told
    assert told.count("warning:") == 3  # echoInterval, the role, CFindFailureBehavior
    leyden.start()
    request = Sequence([pydicom.Dataset(), pydicom.Dataset()])
    request[0].ScheduledProcedureStepDescription, request[0].ScheduledProcedureStepID = "CARDIAC CT", "P-"
    request[1].ScheduledProcedureStepDescription, request[1].ScheduledProcedureStepID = "Cardiac CT", "P-7"
    phantom = image(tmp_path, 3, PatientID="00123")
    cardiac = image(tmp_path, 6, PatientID="6", RequestAttributesSequence=request)
    with_private(cardiac, "ACME 1.1", 0x0C, "1.50")
    split_up = image(tmp_path, 7, RequestAttributesSequence=Sequence([request[0], pydicom.Dataset()]))
    with_private(split_up, "ACME 1.1", 0x0C, "1.5")
    send(leyden, "CT01", "DCP_PACS", image(tmp_path, 1), image(tmp_path, 2, REPORT, Modality="SR", PixelData=None))
    send(leyden, "US01", "PACS", phantom, image(tmp_path, 4, PatientID="123", AccessionNumber="012345"))
    send(leyden, "US01", "IMAGEPACS", image(tmp_path, 5, Modality="US", AccessionNumber="12345"), cardiac, split_up)
    images.wait(5)
    others.wait(4)
    leyden.wait_empty()
    assert sorted(numbers(images)) == [1, 4, 5, 6, 7]
    assert sorted(numbers(others)) == [1, 2, 5, 6]
    assert {each.calling for each in images.arrivals} == {"CAPACITOR"}
    assert {n: each.calling for n, each in zip(numbers(others), others.arrivals, strict=True)} == {
        1: "CT01",
        2: "CT01",
        5: "US01",
        6: "US01",
    }
    assert {each.syntax for each in images.arrivals} == {EXPLICIT_LE}
    assert [each.syntax for each in others.arrivals if each.sop_class_uid == CT] == [JPEG_LOSSLESS] * 3
    meta, sent = split(phantom.read_bytes())
    (kept,) = files_below(leyden.folder / "kept")
    assert kept == leyden.folder / "kept" / "CT" / "00-123" / f"{meta.sop_instance_uid}.dcm"
    assert split(kept.read_bytes())[1] == sent
    for called, code in (("PACS", 0), ("DCP_PACS", 0), ("1.2", 0), ("CAPACITOR", 0), ("STRANGER", 1)):
        assert run_dcmtk("echoscu", "-aec", called, "127.0.0.1", str(leyden.port)).returncode == code, called
    (story,) = json.loads(said(leyden, "trace", meta.sop_instance_uid, "--json"))["objects"]
    assert story["events"][-1]["dropped_by"].startswith("routings.yml:")
    assert "dropped by routings.yml:21 drop; saved by routings.yml:21 save_file" in said(leyden, "trace", "2.25.1001.3")
    wait_said(leyden, "7 instances received, 1 dropped", "study", "2.25.1001")
    (dropped,) = (line for line in leyden.lines if " drop: Phantoms are kept" in line)
    assert dropped.endswith(f" [{CT}]\n"), "logSuffix is the SOP class"
    told = said(leyden, "explain", "--from", "US01", "--to", "PACS", str(phantom))
    assert "is saved as " in told
    assert "is dropped (routings.yml:" in told
    assert "nothing waits" in said(leyden, "status")


def with_private(path: Path, creator: str, offset: int, text: str) -> None:
    dataset = pydicom.dcmread(path)
    dataset.private_block(0x0029, "OTHER", create=True).add_new(offset, "LO", "0")
    dataset.private_block(0x0029, creator, create=True).add_new(offset, "LO", text)
    dataset.save_as(path)


# -- mutations.yml

MUTATING = {
    "config.yml": "scpPort: <scp>\nfilters: route, mutate, sort\nlogSuffix: ''\n" + LIGHT,
    "nodes.yml": """\
- AeTitle: ARCHIVE
  Port: <ARCHIVE>
  TransferSyntax: JPEG2000Lossless
- AeTitle: RESEARCH
  Port: <RESEARCH>
- AeTitle: SKIPS
  Port: <SKIPS>
- AeTitle: ENDS
  Port: <ENDS>
- AeTitle: FAILS
  Port: <FAILS>
- AeTitle: WAITS
  Port: <WAITS>
""",
    "routings.yml": """\
- AeTitles: [ARCHIVE]
  Actions:
    - Target: RESEARCH
    - Target: SKIPS
    - Target: ENDS
    - Target: FAILS
""",
    "mutations.yml": """\
- Description: What the archive wants
  AeTitles:
    - ARCHIVE
  Actions:
    - Description: The site before the accession number
      Type: add_or_update
      Source:
        Tag: 0008,0050
        Expression: ^(.+)$
      Destination:
        Tag: 0008,0050
        Value: N-$1
    - Description: The department behind it
      Source:
        Tag: 8,50
      Destination:
        Tag: 8,50
        Value: $1-R
    - Description: Patient IDs without leading zeros
      Source:
        Tag: 00100020
        Expression: ^0*(.+)$
      Destination:
        Tag: 00100020
        Value: $1
    - Destination:
        Tag: 0008,0080
        Value: [North] General Hospital
    - Destination:
        Tag: 0010,2180
        Value: *unknown*
    - Source:
        Tag: 0020,0010
      Destination:
        Tag: 0020,4000
        Value: $1_:timestamp:
    - Type: remove
      Destination:
        Tag: 0010,4000
    - Type: remove
      Destination:
        Tag: 0029,000C
        PrivateTagCreator: ACME 1.1
- Description: A study of its own for research
  AeTitles: RESEARCH
  Conditions:
    - Tag: 8,60
      MatchExpression: CT
  affects: storage
  Actions:
    - Destination:
        Tag: 0020,000D
        Value: :uid:
    - Destination:
        Tag: 0010,0020
        Value: R:hash(0010,0020,12):
    - Destination:
        Tag: 0010,0010
        Value: 00123
    - Destination:
        Tag: 0008,1030
        Value: :value: (:today:)
    - Destination:
        Tag: 0010,1040
        Value: 1.2
    - Source:
        Tag: 0008,0060
        Expression: ^(.)(.)$
      Destination:
        Tag: 0010,1000
        Value: $18$2
- AeTitles: SKIPS
  Actions:
    - Destination: {Tag: PatientBirthDate, Value: unknown}
      OnError: skip_action
    - Destination: {Tag: PatientName, Value: Skipped}
- AeTitles: ENDS
  Actions:
    - Destination: {Tag: PatientBirthDate, Value: unknown}
      OnError: end_mutation
    - Destination: {Tag: PatientName, Value: Not reached}
- AeTitles: ENDS
  Actions:
    - Destination: {Tag: InstitutionName, Value: The next mutation}
- AeTitles: FAILS
  Actions:
    - Destination: {Tag: PatientBirthDate, Value: unknown}
- AeTitles: WAITS
  Actions:
    - Destination: {Tag: PatientBirthDate, Value: unknown}
      OnError: retry
""",
    "sortings.yml": "",
    "cases.yml": """\
- File: 1.dcm
  From: CT01
  To: DCP_ARCHIVE
  Expect:
    Deliveries:
      - To: ARCHIVE
        As: JPEG2000Lossless
        Values:
          8,50: N-4711-R
          8,80: [North] General Hospital
          10,2180: *unknown*
      - To: RESEARCH
        As: as it came
        Values:
          10,10: 00123
          0008,0050: 4711
      - To: SKIPS
      - To: ENDS
    Failed: FAILS: mutations.yml:87
- File: 1.dcm
  To: WAITS
  Expect:
    Failed: waits in new/
- File: 1.dcm
  To: SKIPS
  Expect:
    Deliveries:
      - To: SKIPS
    Failed: true
- File: 1.dcm
  To: FAILS
  Expect:
    Deliveries:
      - To: FAILS
""",
}


def test_mutations_as_the_vendor_writes_them(site: Site, pacs: Peer, tmp_path: Path) -> None:
    """A prefix and a suffix of the accession number, patient IDs without zeros, an institution for one destination
    only, elements that are removed, a study of its own, each OnError: each destination gets its copy and no other."""
    titles = ("ARCHIVE", "RESEARCH", "SKIPS", "ENDS", "FAILS", "WAITS")
    peers = {title: pacs(title) for title in titles}
    ports = {title: peer.port for title, peer in peers.items()}
    leyden = site(MUTATING, **ports)
    assert "filters, in this order: route (1 rule), mutate (7 rules), sort (0 rules)" in said(leyden, "check")
    came = image(
        leyden.folder,
        1,
        PatientID="000123",
        AccessionNumber="4711",
        StudyID="S1",
        StudyDescription="Knee",
        PatientComments="Lives in the North",
        InstitutionName="South",
        PatientBirthDate="19700101",
    )
    with_private(came, "ACME 1.1", 0x0C, "b 1000")
    explained = said(leyden, "explain", "--from", "CT01", "--to", "ARCHIVE", str(came), code=1)
    assert "does not go to FAILS (routings.yml:1 add_destination), but to failed/: mutations.yml:" in explained
    assert "change AccessionNumber" in explained
    verdicts = said(leyden, "test-rules", code=1).splitlines()
    assert [line.split()[0] for line in verdicts if line.startswith(("ok", "FAIL"))] == ["ok", "ok", "FAIL", "FAIL"]
    assert "        - delivered to FAILS" in verdicts
    leyden.start()
    send(leyden, "CT01", "ARCHIVE", came)
    send(leyden, "CT01", "WAITS", image(tmp_path, 2))
    (archive,) = (decode(each.syntax, each.data) for each in peers["ARCHIVE"].wait(1))
    (research,) = (decode(each.syntax, each.data) for each in peers["RESEARCH"].wait(1))
    (skipped,) = (decode(each.syntax, each.data) for each in peers["SKIPS"].wait(1))
    (ended,) = (decode(each.syntax, each.data) for each in peers["ENDS"].wait(1))
    before = pydicom.dcmread(came)

    assert peers["ARCHIVE"].arrivals[0].syntax == JPEG2000_LOSSLESS
    assert (archive.AccessionNumber, archive.PatientID) == ("N-4711-R", "123")
    assert (archive.InstitutionName, archive.Occupation) == ("[North] General Hospital", "*unknown*")
    assert re.fullmatch(r"S1_[0-9]{13}", archive.ImageComments)
    assert "PatientComments" not in archive
    private = {f"{int(each.tag):08x}": each.value for each in archive if each.tag.is_private}
    assert private == {"00290010": "OTHER", "0029100c": "0", "00290011": "ACME 1.1"}, "the other maker's stays"

    assert research.StudyInstanceUID not in ("", before.StudyInstanceUID)
    assert (research.PatientID, research.PatientName) == (f"R{hashlib.sha256(b'000123').hexdigest()[:12]}", "00123")
    assert re.fullmatch(r"Knee \([0-9]{8}\)", research.StudyDescription)
    assert (research.PatientAddress, research.OtherPatientIDs) == ("1.2", "C8T")
    assert (research.AccessionNumber, research.InstitutionName) == ("4711", "South"), "the archive's are not its own"
    assert research.SOPInstanceUID == before.SOPInstanceUID

    assert (skipped.PatientName, skipped.PatientBirthDate) == ("Skipped", "19700101")
    assert (ended.PatientName, ended.InstitutionName) == (before.PatientName, "The next mutation")
    leyden.wait_left(lambda left: len(left) == 2, why="one in failed/, one in new/")
    assert len([path for path in leyden.left() if "failed" in path.parts]) == 1
    assert len([path for path in leyden.left() if "new" in path.parts]) == 1
    assert not peers["FAILS"].arrivals
    assert not peers["WAITS"].arrivals
    assert not any("[2.25" in line for line in leyden.lines), "an empty logSuffix says nothing more"
    assert not any("000123" in line or "Knee" in line for line in leyden.lines)
    assert "  now                      in new/\n" in said(leyden, "trace", "2.25.1001.2")
    story = said(leyden, "trace", "2.25.1001.1")
    assert "ENDS as it came, changed by mutations.yml:84 (routings.yml:1 add_destination)" in story
    assert "ENDS: changed by mutations.yml:84, " in story
    assert "ARCHIVE: made JPEG2000Lossless of ExplicitVRLittleEndian, changed by mutations.yml:5, " in story
    wait_said(leyden, "ARCHIVE: complete: 1 delivered", "study", "2.25.1001")
    study = said(leyden, "study", "2.25.1001", code=1)
    assert "missing at FAILS: 2.25.1001.1, failed: mutations.yml:87 add_or_update: " in study

    mended = {"mutations.yml": MUTATING["mutations.yml"].replace("Value: unknown", "Value: 20000101")}
    write(leyden, mended, **ports)
    assert "4 rules changed" in said(leyden, "reload")
    (waited,) = (decode(each.syntax, each.data) for each in peers["WAITS"].wait(1))
    assert waited.PatientBirthDate == "20000101"


# -- mutate before route

MUTATED_FIRST = {
    "config.yml": "scpPort: <scp>\nfilters: mutate, route, sort\ndropUnfilteredInstances: true\n" + LIGHT,
    "nodes.yml": """\
- AeTitle: ARCHIVE
  Port: <ARCHIVE>
- AeTitle: CHILDREN
  Port: <CHILDREN>
- AeTitle: SECOND
  Port: <SECOND>
""",
    "routings.yml": """\
- Conditions:
    - Tag: 10,20
      MatchExpression: 123
  Actions:
    - Target: CHILDREN
- AeTitles: [ARCHIVE]
  Conditions:
    - Tag: 8,60
      MatchExpression: [CM]T
  Actions:
    - Target: SECOND
""",
    "mutations.yml": """\
- Actions:
    - Source:
        Tag: 10,20
        Expression: ^0*(.+)$
      Destination:
        Tag: 10,20
        Value: $1
    - Destination:
        Tag: 8,80
        Value: Both
""",
    "sortings.yml": "# nothing yet\n",
}


def test_mutate_before_route_as_the_vendor_writes_it(site: Site, pacs: Peer, tmp_path: Path) -> None:
    """The routes see what the mutations have made, each copy is mutated, and dropUnfilteredInstances drops what no
    route touched. With the filters the other way round the same rule does not hold."""
    archive, children, second = pacs("ARCHIVE"), pacs("CHILDREN"), pacs("SECOND")
    leyden = site(MUTATED_FIRST, ARCHIVE=archive.port, CHILDREN=children.port, SECOND=second.port)
    assert "filters, in this order: mutate (1 rule), route (2 rules), sort (0 rules)" in said(leyden, "check")
    leyden.start()
    files = [
        image(tmp_path, 1, PatientID="00123"),
        image(tmp_path, 2, PatientID="0124"),
        image(tmp_path, 3, Modality="US"),
    ]
    send(leyden, "CT01", "ARCHIVE", *files)
    archive.wait(2)
    leyden.wait_empty()
    assert sorted(numbers(archive)) == [1, 2]
    assert sorted(numbers(second)) == [1, 2]
    assert numbers(children) == [1]
    assert {n: (each.PatientID, each.InstitutionName) for n, each in datasets(archive).items()} == {
        1: ("123", "Both"),
        2: ("124", "Both"),
    }
    assert datasets(children)[1] == datasets(archive)[1]
    assert "2.25.1001.3" in next(line for line in leyden.lines if "no route touched it" in line)
    config = MUTATED_FIRST["config.yml"].replace("mutate, route", "route, mutate")
    write(leyden, {"config.yml": config}, scp=leyden.port)
    assert "filters" in said(leyden, "reload")
    send(leyden, "CT01", "ARCHIVE", image(tmp_path, 4, PatientID="00123"))
    archive.wait(3)
    leyden.wait_empty()
    assert datasets(archive)[4].PatientID == "123"
    assert numbers(children) == [1]


# -- sortings.yml and the order of sending

ORDERED = {
    "config.yml": "scpPort: <scp>\nfilters: sort\nmyAeTitle: ROUTER\n" + LIGHT,
    "nodes.yml": f"""\
- AeTitle: NUMBERS
  Port: <NUMBERS>
  MaxAssociations: 1
  ProcessSchedule:
    - <window>
  SopClassPriorities:
    - {REPORT}
    - default
    - {MR}
- AeTitle: TYPES
  Port: <TYPES>
  MaxAssociations: 1
  ProcessSchedule: <window>
- AeTitle: DELAYED
  Port: <DELAYED>
  MaxAssociations: 1
  ProcessDelay: 2000
""",
    "sortings.yml": """\
- Description: Slices in order
  AeTitles:
    - NUMBERS
  Conditions:
    - Tag: 8,60
      MatchExpression: ^(CT|MR)$
  Actions:
    - Type: sort
      SortTag: 0020,0013
      SortType: integer
      SortDirection: asc
- AeTitles: TYPES
  actions:
    - sorttag: 8,8
      sorttype: string
      sortdirection: desc
- AeTitles: [DELAYED]
  Actions:
    - Description: The last one first
      SortTag: 20,13
      SortType: integer
      SortDirection: desc
""",
}


def closed_window() -> str:
    """A window that opens in six hours and closes in seven."""
    now = datetime.now()
    return f"{now + timedelta(hours=6):%H:%M} - {now + timedelta(hours=7):%H:%M}"


def test_sortings_and_queues_as_the_vendor_writes_them(site: Site, pacs: Peer, tmp_path: Path) -> None:
    """What waits while ProcessSchedule is closed leaves in the order of SopClassPriorities, within a series in that of
    sortings.yml; a study waits for processDelay and leaves sorted."""
    by_number, by_type, delayed = pacs("NUMBERS"), pacs("TYPES"), pacs("DELAYED")
    ports = {"NUMBERS": by_number.port, "TYPES": by_type.port, "DELAYED": delayed.port}
    leyden = site({**ORDERED, "nodes.yml": ORDERED["nodes.yml"].replace("<window>", closed_window())}, **ports)
    leyden.start()
    files = [
        image(tmp_path, 1, MR, Modality="MR", SeriesInstanceUID="2.25.2", InstanceNumber=1),
        image(tmp_path, 2, InstanceNumber=10),
        image(tmp_path, 3, InstanceNumber=2),
        image(tmp_path, 4, InstanceNumber=None),
        image(tmp_path, 5, InstanceNumber=1),
        image(tmp_path, 6, REPORT, Modality="SR", SeriesInstanceUID="2.25.3"),
        image(tmp_path, 7, InstanceNumber=3),
    ]
    send(leyden, "CT01", "NUMBERS", *files)
    send(leyden, "CT01", "TYPES", *types(tmp_path))
    send(leyden, "CT01", "DELAYED", *(image(tmp_path, n, InstanceNumber=n) for n in (21, 23, 22)))
    delayed.wait(3)
    assert numbers(delayed) == [23, 22, 21]
    waiting = [line.split()[:2] for line in said(leyden, "status").splitlines() if line.startswith(("NUMB", "TYPES"))]
    assert waiting == [["NUMBERS", "7"], ["TYPES", "4"]]
    assert "TYPES: not complete: 4 prepared" in said(leyden, "study", "2.25.1001", code=1)
    assert not by_number.arrivals
    assert not by_type.arrivals
    write(leyden, {"nodes.yml": ORDERED["nodes.yml"].replace("<window>", "00:00 - 23:59")}, **ports)
    assert "nodes NUMBERS, TYPES: ProcessSchedule [" in (told := said(leyden, "reload"))
    assert "] -> [00:00 - 23:59]\n" in told
    by_number.wait(7)
    by_type.wait(4)
    assert numbers(by_number) == [6, 5, 3, 7, 2, 4, 1]
    assert numbers(by_type) == [13, 11, 12, 14]


def types(folder: Path) -> list[Path]:
    words = {11: ["ORIGINAL", "PRIMARY", "AXIAL"], 12: ["DERIVED"], 13: ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    return [image(folder, 14), *(image(folder, n, ImageType=kind) for n, kind in words.items())]


# -- config.yml

SMALL_KEYS = {
    "config.yml": """\
scpPort: <scp>
minimumAge: 1
duplicateBehavior: reject
duplicateThreshold: 900
expiryThreshold: 604800
cycleRejectedFilesOnStartup: true
storageReceiptExpiryHours: 8
holdIncomingStorageAssociations: true
processSchedule:
  - 00:00 - 12:00
  - 12:00 - 23:59
rejectAbstractSyntaxes: [1.2.840.10008.5.1.4.1.1.7]
worklistDays: 2
api:
  enabled: false
  port: 1080
""",
    "nodes.yml": """\
- AeTitle: ARCHIVE
  Port: <ARCHIVE>
  TransferSyntax: ImplicitVRLittleEndian
- AeTitle: AWAY
  Port: <AWAY>
  RetryDelays: 0.2
- AeTitle: ELSEWHERE
  Port: <ARCHIVE>
  ProcessNetworks: 198.51.100.0
""",
}


def test_small_keys_as_the_vendor_writes_them(site: Site, pacs: Peer, tmp_path: Path) -> None:
    """An object waits for minimumAge; one that comes again is answered 0x0111; a class that is not wanted is refused
    in negotiation; what can't be delivered within expiryThreshold moves to expired/, and nothing else does."""
    archive = pacs("ARCHIVE")
    files = {**SMALL_KEYS, "config.yml": SMALL_KEYS["config.yml"] + LIGHT}
    leyden = site(files, ARCHIVE=archive.port, AWAY=free_port())
    told = said(leyden, "check")
    assert "worklistDays: has no effect yet" in told
    assert "ProcessNetworks: this machine has no address in any of them now" in told
    leyden.start(CAPACITOR_MY_AE_TITLE="FROM_OUTSIDE")
    path = image(tmp_path, 1)
    begun_s = time.monotonic()
    for called, number in (("ARCHIVE", 1), ("AWAY", 2), ("ELSEWHERE", 3)):
        send(leyden, "CT01", called, image(tmp_path, number))
    (arrival,) = archive.wait(1)
    assert arrival.at_s - begun_s >= 1.0
    assert (arrival.syntax, arrival.calling) == (IMPLICIT_LE, "FROM_OUTSIDE")
    meta, data = split(path.read_bytes())
    again = {"syntax": meta.transfer_syntax_uid, "context": CT, "sop_class": CT, "sop_instance": meta.sop_instance_uid}
    assert store(leyden.port, data, called="DCP_ARCHIVE", calling="CT01", **again) == 0x0111
    refused = run_dcmtk("storescu", "-R", "-aec", "ARCHIVE", "127.0.0.1", str(leyden.port), str(image(tmp_path, 4, SC)))
    assert refused.returncode != 0
    leyden.wait_line(f"no presentation context is accepted: {SC}")
    write(leyden, {"config.yml": files["config.yml"].replace("604800", "1")}, scp=leyden.port)
    assert "config.yml: expiryThreshold 604800 -> 1\n" in said(leyden, "reload")
    (note,) = leyden.wait_ended(1, "expired")
    assert note["reason"] == "not delivered within expiryThreshold"
    assert "AWAY: in expired/: not delivered within expiryThreshold" in said(leyden, "trace", "2.25.1001.2")
    assert numbers(archive) == [1]
