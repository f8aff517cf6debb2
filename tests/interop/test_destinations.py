"""What destinations do to a router: off, slow to learn, refusing; and that the others never notice."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import UID, CTImageStorage

from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, JPEG2000_LOSSLESS
from support.objects import decode, make_cts, real, split
from support.peers import Pacs, run_dcmtk
from support.service import Service, free_port, node, wait_for

JPEG2000_MC = "1.2.840.10008.1.2.4.93"
BOTH = """\
- Actions:
    - Target: FIRST
    - Target: SECOND
"""


def send(service: Service, calling: str, called: str, files: list[Path]) -> None:
    done = run_dcmtk(
        "dcmsend", "-dn", "-aet", calling, "-aec", called, "127.0.0.1", str(service.port), *map(str, files)
    )
    assert done.returncode == 0, done.stderr


def test_a_destination_that_is_off_gets_everything_once_it_starts(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """A destination is off: "its objects wait; other destinations are not affected" (docs/operate.md)."""
    living, port = pacs("FIRST"), free_port()
    leyden = service(node("FIRST", living.port) + node("SECOND", port, RetryDelays="[1, 1, 2]"), BOTH).start()
    files = make_cts(tmp_path / "cts", 40, rows=128, columns=128)
    send(leyden, "CT01", "FIRST", files)
    living.wait(40)
    leyden.wait_left(lambda left: len([path for path in left if "SECOND" in str(path)]) == len(left) == 40)
    late = pacs("SECOND", port=port)
    late.wait(40, 60)
    leyden.wait_empty()
    assert sorted(late.uids()) == sorted(living.uids()) == sorted(f"2.25.1001.{n}" for n in range(1, 41))


def test_a_destination_without_jpeg_2000_gets_the_pixels_uncompressed(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """A destination that refuses the syntax gets objects as they came, or else uncompressed (README.md)."""
    for syntax in (EXPLICIT_LE, IMPLICIT_LE):
        plain = pacs("PLAIN", syntaxes=[EXPLICIT_LE, IMPLICIT_LE] if syntax == EXPLICIT_LE else [IMPLICIT_LE])
        leyden = service(node("PLAIN", plain.port, TransferSyntax="JPEG2000Lossless")).start()
        files = [*make_cts(tmp_path / "cts", 5), real("examples_rgb_color.dcm"), real("test-SR.dcm")]
        send(leyden, "CT01", "PLAIN", files)
        plain.wait(len(files), 60)
        send(leyden, "CT01", "PLAIN", make_cts(tmp_path / "more", 5, study=2))
        plain.wait(len(files) + 5, 60)
        leyden.wait_empty()
        assert {a.syntax for a in plain.arrivals} == {syntax}
        by_uid = {a.sop_instance_uid: a for a in plain.arrivals}
        assert len(by_uid) == len(plain.arrivals)
        for path in files[:-1]:
            meta, sent = split(path.read_bytes())
            before, after = decode(meta.transfer_syntax_uid, sent), by_uid[meta.sop_instance_uid]
            assert np.array_equal(before.pixel_array, decode(after.syntax, after.data).pixel_array)
            assert decode(after.syntax, after.data).PhotometricInterpretation == before.PhotometricInterpretation
        leyden.stop()


def test_a_refused_class_is_rejected_alone_and_goes_when_the_peer_has_learnt(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """Repair the destination, then `leyden queue retry TITLE` (docs/troubleshoot.md); other objects arrive."""
    picky = pacs("PICKY", refuse=[CTImageStorage])
    leyden = service(node("PICKY", picky.port)).start()
    send(leyden, "CT01", "PICKY", [*make_cts(tmp_path / "cts", 3, rows=64, columns=64), real("MR_small.dcm")])
    picky.wait(1)
    for why in leyden.wait_ended(3, "rejected", "PICKY"):
        assert CTImageStorage in why["reason"]
    assert len(picky.arrivals) == 1
    picky.stop()
    picky.refuse.clear()
    picky.start()
    done = leyden.leyden("queue", "retry")
    assert done.stdout == "back in the queue: 3\n", done.stdout + done.stderr
    picky.wait(4, 60)
    leyden.wait_empty()
    assert not list((leyden.spool / "rejected").glob("*/*"))


def test_a_refused_class_is_rejected_also_where_it_would_be_compressed(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """A refusal on record: "nothing is failed for it without asking again" (DECISIONS.md 20)."""
    picky = pacs("PICKY", refuse=[CTImageStorage])
    leyden = service(node("PICKY", picky.port, TransferSyntax="JPEG2000Lossless", RetryDelays="[0.5]")).start()
    send(leyden, "CT01", "PICKY", make_cts(tmp_path / "first", 2, rows=64, columns=64))
    leyden.wait_ended(2, "rejected", "PICKY")  # what is learnt of the peer
    send(leyden, "CT01", "PICKY", make_cts(tmp_path / "cts", 20, study=2, rows=64, columns=64))
    for why in leyden.wait_ended(22, "rejected", "PICKY"):
        assert CTImageStorage in why["reason"]
    assert not list((leyden.spool / "failed").glob("*"))
    picky.stop()
    picky.refuse.clear()
    picky.start()
    done = leyden.leyden("queue", "retry")
    assert done.stdout == "back in the queue: 22\n", done.stdout + done.stderr
    picky.wait(22, 60)
    leyden.wait_empty()
    assert len(set(picky.uids())) == 22


def test_statuses_decide_between_later_and_never(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """Deferred: the destination said "later"; rejected: it "said no for good" (docs/operate.md)."""
    asked: dict[str, int] = {}

    def answer(arrival):  # type: ignore[no-untyped-def]
        uid = arrival.sop_instance_uid
        asked[uid] = asked.get(uid, 0) + 1
        if uid.endswith(".1"):
            return 0xC001
        return 0xA700 if uid.endswith(".2") and asked[uid] < 3 else 0x0000

    moody = pacs("MOODY", answer=answer)
    leyden = service(node("MOODY", moody.port, RetryDelays="[0.2]")).start()
    send(leyden, "CT01", "MOODY", make_cts(tmp_path / "cts", 3, rows=64, columns=64))
    moody.wait(2)
    (why,) = leyden.wait_ended(1, "rejected", "MOODY")
    assert sorted(moody.uids()) == ["2.25.1001.2", "2.25.1001.3"]
    assert "C001" in why["reason"]
    assert asked["2.25.1001.2"] == 3


def test_modalities_take_turns_at_a_peer_that_serves_one_association(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """Some archives serve only one at a time; Leyden notices this and uses one (docs/size.md)."""
    single = pacs("SINGLE", associations=1)
    leyden = service(node("SINGLE", single.port, Impersonate="true", TransferSyntax="JPEG2000Lossless")).start()
    callers = {}
    for number, calling in enumerate(("CT01", "CT02", "MR03"), 1):
        files = make_cts(tmp_path / calling, 6, study=number, rows=128, columns=128)
        callers.update({f"2.25.{1000 + number}.{n}": calling for n in range(1, 7)})
        send(leyden, calling, "SINGLE", files)
    single.wait(18, 60)
    assert {a.sop_instance_uid: a.calling for a in single.arrivals} == callers
    assert {a.syntax for a in single.arrivals} == {JPEG2000_LOSSLESS}
    leyden.wait_empty()


def test_save_file_writes_where_its_mask_says_and_drop_drops(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """Rules: "add_destination, save_file with masks, drop, RemoveOriginal" (README.md)."""
    archive = pacs("ARCHIVE")
    saved = tmp_path / "saved"
    rules = f"""\
- Conditions:
    - Tag: Modality
      MatchExpression: CT
  Actions:
    - Type: save_file
      Target: {saved}/#{{8,60}}/#{{10,20:AAAA-0}}/
- Conditions:
    - Tag: 0008,0060
      MatchExpression: MR
  Actions:
    - Type: drop
"""
    leyden = service(node("ARCHIVE", archive.port), rules).start()
    files = make_cts(tmp_path / "cts", 1, rows=64, columns=64)
    send(leyden, "CT01", "ARCHIVE", [*files, real("MR_small.dcm"), real("rtplan.dcm")])
    archive.wait(2)
    leyden.wait_empty()
    plan = str(pydicom.dcmread(real("rtplan.dcm"), stop_before_pixels=True).SOPInstanceUID)
    assert sorted(archive.uids()) == sorted(["2.25.1001.1", plan])
    kept = saved / "CT" / "TEST-1" / "2.25.1001.1.dcm"
    (image,) = (a for a in archive.arrivals if a.sop_instance_uid == "2.25.1001.1")  # what needs no copy may be faster
    assert split(kept.read_bytes())[1] == image.data


def test_what_an_archive_without_compression_can_not_be_given_waits_with_the_remedy(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """failed/: "the text says which, and what helps" (docs/troubleshoot.md), and it does help.
    A codestream that nothing here decodes, for a peer of uncompressed syntaxes."""
    path = tmp_path / "multi-component.dcm"
    image = pydicom.dcmread(real("JPEG2000.dcm"))
    image.file_meta.TransferSyntaxUID = JPEG2000_MC
    image.save_as(path)
    plain = pacs("PLAIN", syntaxes=[EXPLICIT_LE, IMPLICIT_LE])
    leyden = service(node("PLAIN", plain.port, TransferSyntax="JPEG2000Lossless")).start()
    done = leyden.leyden("send", f"127.0.0.1:{leyden.port}", "--called", "PLAIN", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    (why,) = leyden.wait_ended(1, "failed")
    reason = why["reason"]
    assert reason.startswith("PLAIN does not take JPEG2000MC, and this object can't be made into what it takes (")
    assert "JPEG2000MC is not decoded by this version" in reason
    assert "Let PLAIN accept JPEG2000MC for this SOP class and run `leyden queue retry PLAIN`" in reason
    assert leyden.leyden("queue", "retry", "PLAIN").stdout == "back in the queue: 1\n"

    def back() -> list[Path]:
        return [*leyden.spool.glob("failed/*.dcm"), *leyden.spool.glob("rejected/*/*.dcm")]

    wait_for(back, 60, "it to be refused anew")
    assert "`leyden queue retry PLAIN`" in json.loads(Path(f"{back()[0]}.json").read_bytes())["reason"]
    plain.stop()
    plain.syntaxes.append(UID(JPEG2000_MC))
    plain.start()
    done = leyden.leyden("queue", "retry", "PLAIN")
    assert done.returncode == 0, done.stdout + done.stderr
    (arrival,) = plain.wait(1, 60)
    assert (arrival.syntax, arrival.data) == (JPEG2000_MC, split(path.read_bytes())[1])
    leyden.wait_empty()
