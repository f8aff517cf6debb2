"""mutations.yml at work: the service as a process, real images, peers of others, and readers of others as judges."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import pixel_array

from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, JPEG2000, JPEG2000_LOSSLESS
from support.objects import decode, make_ct, real, split
from support.peers import Arrival, Pacs, run_dcmtk
from support.service import Service, files_below, node, wait_for

FOR_RESEARCH = """\
- Description: The research archive gets no names
  AeTitles: [RESEARCH]
  OriginalAttributes: true
  Actions:
    - Destination: {Tag: PatientName, Value: Nobody}
    - Type: remove
      Destination: {Tag: StudyDate}
    - Destination: {Tag: SOPInstanceUID, Value: ":uid:"}
"""
FOR_IMAGES = """\
- Description: Ours get a prefix
  AeTitles: [IMAGES]
  Conditions:
    - Tag: PatientID
  Actions:
    - Source: {Tag: PatientID}
      Destination:
        Tag: PatientID
        Value: H1-$1
"""
MUTATIONS = FOR_RESEARCH + FOR_IMAGES
BOTH = "- AeTitles: [IMAGES]\n  Actions:\n    - Target: RESEARCH\n"


def started(
    service: Callable[..., Service], nodes: str, mutations: str, routings: str = "", filters: str = "route, mutate"
) -> Service:
    leyden = service(nodes, filters=filters if routings else "mutate")
    if routings:
        (leyden.folder / "routings.yml").write_text(routings)
    (leyden.folder / "mutations.yml").write_text(mutations)
    return leyden.start()


def send(service: Service, called: str, *paths: Path) -> None:
    words = ["send", f"127.0.0.1:{service.port}", "--calling", "CT01", "--called", called]
    done = service.leyden(*words, *map(str, paths))
    assert done.returncode == 0, done.stdout + done.stderr


def dataset(arrival: Arrival) -> pydicom.Dataset:
    return decode(arrival.syntax, arrival.data)


def test_each_destination_gets_its_own_mutations(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """Mutations are per destination: the copy for one never shows in another's. One of the two is compressed as well,
    in the same pass; the pixels of both are those that came."""
    images, research = pacs("IMAGES"), pacs("RESEARCH")
    nodes = node("IMAGES", images.port, TransferSyntax="JPEG2000Lossless") + node("RESEARCH", research.port)
    leyden = started(service, nodes, MUTATIONS, BOTH)
    path = make_ct(tmp_path / "ct.dcm", 1)
    before = pydicom.dcmread(path)
    send(leyden, "IMAGES", path)
    ours, theirs = images.wait(1)[0], research.wait(1)[0]
    leyden.wait_empty()
    assert (ours.syntax, theirs.syntax) == (JPEG2000_LOSSLESS, EXPLICIT_LE)
    one, other = dataset(ours), dataset(theirs)
    assert (one.PatientID, one.PatientName) == (f"H1-{before.PatientID}", before.PatientName)
    assert one.SOPInstanceUID == before.SOPInstanceUID == ours.sop_instance_uid
    assert (other.PatientID, other.PatientName) == (before.PatientID, "Nobody")
    assert other.SOPInstanceUID == theirs.sop_instance_uid != before.SOPInstanceUID
    assert "StudyDate" not in other
    (kept,) = other.OriginalAttributesSequence
    assert kept.ModifiedAttributesSequence[0].PatientName == before.PatientName
    assert "OriginalAttributesSequence" not in one
    for arrived in (one, other):
        assert np.array_equal(pixel_array(arrived), pixel_array(before))
    planned = next(line for line in leyden.log.splitlines() if "class 2" in line)
    assert "JPEG2000Lossless, changed by mutations.yml:14 (" in planned
    assert "as it came, changed by mutations.yml:5, mutations.yml:8 (" in planned
    assert "Nobody" not in leyden.log
    assert str(before.PatientID) not in leyden.log


ENCODINGS = {
    "CT_small.dcm": EXPLICIT_LE,
    "MR_small_implicit.dcm": IMPLICIT_LE,
    "MR_small_bigendian.dcm": EXPLICIT_BE,
    "image_dfl.dcm": DEFLATED_LE,
    "examples_jpeg2k.dcm": "1.2.840.10008.1.2.4.90",
    "SC_rgb_jpeg_gdcm.dcm": "1.2.840.10008.1.2.4.70",
    "SC_rgb_rle.dcm": "1.2.840.10008.1.2.5",
    "test-SR.dcm": EXPLICIT_LE,
}
IN_ITEMS = """\
- Actions:
    - Destination: {Tag: PatientName, Value: Nobody}
    - Destination: {Tag: StudyDescription, Value: a description}
    - Destination: {Tag: "0009,0010", PrivateTagCreator: LEYDEN TEST, Value: private}
    - Destination: {Tag: "0008,1140[*].0008,1155", Value: "1.2.3"}
"""


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_mutated_object_is_read_by_others_in_any_encoding(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path, name: str
) -> None:
    """A mutation keeps the transfer syntax, the pixels and all other elements, and nested and private elements are
    written as the standard has them: dcmdump reads the result, dciodvfy finds no new error."""
    archive = pacs("IMAGES")
    leyden = started(service, node("IMAGES", archive.port), IN_ITEMS)
    send(leyden, "IMAGES", real(name))
    arrival = archive.wait(1)[0]
    assert arrival.syntax == ENCODINGS[name], leyden.log
    before, after = pydicom.dcmread(real(name)), dataset(arrival)
    assert (after.PatientName, after.StudyDescription) == ("Nobody", "a description")
    private = after.private_block(0x0009, "LEYDEN TEST")[0x10].value
    assert private in ("private", b"private ")  # in implicit VR its VR is not known
    for item in after.get("ReferencedImageSequence", ()):
        assert item.ReferencedSOPInstanceUID == "1.2.3"
    ours = {0x00100010, 0x00081030, 0x00081140}
    for element in before:
        if int(element.tag) not in ours and element.tag.element:
            assert after[element.tag] == element, element.tag
    if "PixelData" in before:
        assert after.PixelData == before.PixelData
    made = tmp_path / "made.dcm"
    made.write_bytes(
        encode_head(FileMeta(arrival.sop_class_uid, arrival.sop_instance_uid, arrival.syntax)) + arrival.data
    )
    dumped = run_dcmtk("dcmdump", "-q", str(made))
    assert dumped.returncode == 0, dumped.stderr
    assert errors(made) <= errors(real(name))


def errors(path: Path) -> set[str]:
    """What dciodvfy calls an error."""
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, timeout=60, errors="replace")
    return {line for line in done.stderr.splitlines() if line.startswith("Error")}


def test_mutations_before_routes_are_seen_by_them_and_carried_by_all_copies(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """Filters run in the order in which `filters` names them: with mutate first, the routes see what it has made."""
    images, research = pacs("IMAGES"), pacs("RESEARCH")
    nodes = node("IMAGES", images.port) + node("RESEARCH", research.port)
    routings = "- Conditions: [{Tag: PatientID, MatchExpression: H1-*}]\n  Actions: [{Target: RESEARCH}]\n"
    leyden = started(service, nodes, MUTATIONS, routings, "mutate, route")
    send(leyden, "IMAGES", make_ct(tmp_path / "ct.dcm", 1))
    copies = [dataset(images.wait(1)[0]), dataset(research.wait(1)[0])]
    assert [copy.PatientID[:3] for copy in copies] == ["H1-", "H1-"]
    assert copies[0] == copies[1]


def test_what_a_rule_could_not_clean_never_leaves(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """OnError fail is the default: never send what a rule could not clean. One destination's failure is not another's,
    and a retry comes back with the rules of now, even if no mutation is left of them."""
    images, research = pacs("IMAGES"), pacs("RESEARCH")
    nodes = node("IMAGES", images.port) + node("RESEARCH", research.port)
    wrong = "- AeTitles: [RESEARCH]\n  Actions:\n    - Destination: {Tag: PatientBirthDate, Value: unknown}\n"
    leyden = started(service, nodes, wrong, BOTH)
    send(leyden, "IMAGES", make_ct(tmp_path / "ct.dcm", 1))
    images.wait(1)
    wait_for(lambda: files_below(leyden.spool / "failed"))
    assert "mutations.yml:3 add_or_update: (0010,0030) would not have the form of VR DA" in leyden.log
    assert leyden.leyden("queue", "retry", "RESEARCH", "--path", str(leyden.folder)).returncode == 0
    wait_for(lambda: leyden.log.count("would not have the form") > 1)
    assert research.arrivals == []
    wait_for(lambda: files_below(leyden.spool / "failed"))
    (leyden.folder / "mutations.yml").write_text(wrong.replace("unknown", "19700101"))
    assert leyden.leyden("queue", "retry", "RESEARCH", "--path", str(leyden.folder)).returncode == 0
    assert dataset(research.wait(1)[0]).PatientBirthDate == "19700101"

    (leyden.folder / "mutations.yml").write_text(wrong)
    assert leyden.leyden("reload", "--path", str(leyden.folder)).returncode == 0
    send(leyden, "IMAGES", make_ct(tmp_path / "ct.dcm", 2))
    wait_for(lambda: files_below(leyden.spool / "failed"))
    leyden.stop()
    (leyden.folder / "mutations.yml").write_text("")
    leyden.start()  # what stands in failed/ is tried again at each start
    research.wait(2)
    assert len(images.wait(2)) == 2


def test_a_broken_dataset_goes_to_failed_where_a_mutation_might_apply(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """A dataset that does not parse is passed on as it came, but never to a destination for which it might have had to
    be changed."""
    images, research = pacs("IMAGES"), pacs("RESEARCH")
    nodes = node("IMAGES", images.port) + node("RESEARCH", research.port)
    rule = "- AeTitles: [RESEARCH]\n  Conditions: [{Tag: Modality, MatchExpression: XX}]\n"
    rule += "  Actions:\n    - Type: remove\n      Destination: {Tag: PatientName}\n"
    leyden = started(service, nodes, rule, BOTH)
    content = make_ct(tmp_path / "ct.dcm", 1, rows=8, columns=8).read_bytes()
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(content[: content.index(b"\x28\x00\x02\x00US") + 5] + b"\xff" * 9)
    send(leyden, "IMAGES", broken)
    images.wait(1)
    wait_for(lambda: files_below(leyden.spool / "failed"))
    leyden.stop()
    assert research.arrivals == []


def test_a_lossy_copy_is_asked_for_as_it_was_mutated(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """The lossy object derives from the mutated one: its UID follows from the UID as it leaves, and no element of the
    original is in it."""
    archive = pacs("RESEARCH")
    leyden = started(service, node("RESEARCH", archive.port, TransferSyntax="JPEG2000Lossy"), FOR_RESEARCH)
    path = make_ct(tmp_path / "ct.dcm", 1)
    before = pydicom.dcmread(path)
    send(leyden, "RESEARCH", path)
    arrival = archive.wait(1)[0]
    leyden.wait_empty()
    assert arrival.syntax == JPEG2000
    after = dataset(arrival)
    assert after.PatientName == "Nobody"
    assert before.SOPInstanceUID not in str(after.SourceImageSequence)
    assert (
        before.SOPInstanceUID.encode()
        in (after.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]).SOPInstanceUID.encode()
    )
    assert "goes to a worker" not in leyden.log
    names = [line for line in leyden.log.splitlines() if "->" in line and "for RESEARCH" in line]
    assert len(names) == 2
    assert len(archive.arrivals) == 1


def test_a_refused_syntax_is_made_anew_from_the_mutated_object(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """What the destination refuses is made into another syntax, and is not mutated twice."""
    archive = pacs("IMAGES", syntaxes=[IMPLICIT_LE])
    leyden = started(service, node("IMAGES", archive.port, TransferSyntax="JPEG2000Lossless"), FOR_IMAGES)
    path = make_ct(tmp_path / "ct.dcm", 1)
    send(leyden, "IMAGES", path)
    after = dataset(archive.wait(1)[0])
    assert after.PatientID == f"H1-{pydicom.dcmread(path).PatientID}"
    assert split(path.read_bytes())[0].sop_instance_uid == after.SOPInstanceUID


def test_a_retried_rejection_is_not_mutated_twice(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """An object in rejected/ is mutated already, and is sent as it stands there."""
    answers = [0xC000]
    archive = pacs("IMAGES", answer=lambda _arrival: answers[-1])
    leyden = started(service, node("IMAGES", archive.port), FOR_IMAGES)
    path = make_ct(tmp_path / "ct.dcm", 1)
    send(leyden, "IMAGES", path)
    leyden.wait_line("rejected")
    answers.append(0x0000)
    assert leyden.leyden("queue", "retry", "IMAGES", "--path", str(leyden.folder)).returncode == 0
    leyden.wait_empty()
    assert len({arrival.data for arrival in archive.arrivals}) == 1
    assert dataset(archive.arrivals[-1]).PatientID == f"H1-{pydicom.dcmread(path).PatientID}"


def test_the_rules_that_planned_it_hold_whatever_the_file_says_by_then(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """What a mutation makes is planned once, by the generation of rules that planned it: a change of the file in
    between changes nothing, and rules that nothing needs any more are removed at the next start."""
    archive = pacs("IMAGES")
    leyden = service(node("IMAGES", archive.port), filters="mutate")
    rules = leyden.folder / "mutations.yml"
    rules.write_text("- Actions:\n    - Destination: {Tag: PatientName, Value: Old}\n")
    mark = tmp_path / "died"
    leyden.start(LEYDEN_CRASH_AT=f"worker/claimed:1:{mark}")
    send(leyden, "IMAGES", make_ct(tmp_path / "ct.dcm", 1))
    wait_for(mark.exists)
    leyden.kill_all()
    rules.write_text("- Actions:\n    - Destination: {Tag: PatientName, Value: New}\n")
    assert len(list((leyden.spool / "state" / "rules").iterdir())) == 1
    leyden.start()
    assert dataset(archive.wait(1)[0]).PatientName == "Old"
    send(leyden, "IMAGES", make_ct(tmp_path / "ct2.dcm", 2))
    assert dataset(archive.wait(2)[1]).PatientName == "New"
    leyden.wait_empty()
    leyden.stop()
    assert len(list((leyden.spool / "state" / "rules").iterdir())) == 2
    leyden.start()
    assert list((leyden.spool / "state" / "rules").iterdir()) == []
