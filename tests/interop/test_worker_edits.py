"""A worker and objects that have to be edited: they leave as their rules make them, or not at all."""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from interop.test_worker import PACS, Workers, sample, syntax_of, undecodable, workers
from leyden import worker as worker_module
from leyden.dicom.uids import EXPLICIT_LE, JPEG2000, JPEG2000_LOSSLESS
from leyden.form import ladder
from leyden.form.choose import CRASHES_MAX
from leyden.kept_rules import KeptRules
from leyden.plan.rules import CopyRules, Edit, EditType, Mutation, OnError, Place
from leyden.spool.stage import Stage

__all__ = ["workers"]
NAME, BIRTH_DATE = 0x00100010, 0x00100030
CT = "1.2.840.10008.5.1.4.1.1.2"


def kept(service: Workers, tag: int = NAME, value: str = "Nobody") -> str:
    """The hash of rules that set one element."""
    edit = Edit(EditType.ADD_OR_UPDATE, "mutations.yml:2", destination=Place(tag), value=value, on_error=OnError.FAIL)
    rules = CopyRules(PACS, "LEYDEN", (Mutation("mutations.yml:1", actions=(edit,)),))
    return KeptRules(service.spool.root).keep(rules)


def test_what_cannot_be_made_leaves_edited_in_the_syntax_that_it_came_in(workers: Callable[..., Workers]) -> None:
    """A fall-back keeps the edits: a syntax that is not read, and one that could not be encoded."""
    service = workers()
    service.start()
    edits = kept(service)
    receipts = [
        service.put(undecodable(service.folder / "j2k.dcm"), edits=edits),
        service.put(sample("test-SR.dcm"), edits=edits),
        service.put(sample("CT_small.dcm"), edits=edits),
        service.put(sample("CT_small.dcm"), "ExplicitVRLittleEndian", edits=edits),
    ]
    made = service.prepared(*receipts)
    assert [str(pydicom.dcmread(path).PatientName) for path in made] == ["Nobody"] * 4
    syntaxes = [syntax_of(path) for path in made]
    assert syntaxes == ["1.2.840.10008.1.2.4.93", EXPLICIT_LE, JPEG2000_LOSSLESS, EXPLICIT_LE]
    service.end()


@pytest.mark.parametrize("crashes", [1, CRASHES_MAX])
def test_after_some_deaths_it_is_still_edited(workers: Callable[..., Workers], crashes: int) -> None:
    """What needs a codec is not made any more after two deaths, but the edits are."""
    service = workers()
    service.start()
    (made,) = service.prepared(service.put(sample("CT_small.dcm"), crashes=crashes, edits=kept(service)))
    assert str(pydicom.dcmread(made).PatientName) == "Nobody"
    assert syntax_of(made) == (EXPLICIT_LE if crashes == CRASHES_MAX else JPEG2000_LOSSLESS)
    service.end()


def test_what_cannot_be_edited_fails_with_the_reason(workers: Callable[..., Workers]) -> None:
    """An entry with edits is never passed on without them: after too many deaths, without its rules, if its dataset
    does not parse, and if a rule can't be applied, it goes to failed/."""
    service = workers()
    service.start()
    edits = kept(service)
    reasons = {
        "workers died of it": service.put(sample("CT_small.dcm"), crashes=CRASHES_MAX + 1, edits=edits),
        "has to be changed are lost": service.put(sample("CT_small.dcm"), edits="0" * 16),
        "does not parse": service.put(sample("rtplan_truncated.dcm"), edits=edits),
        "not readable": service.put(b"no DICOM at all", edits=edits),
        "the form of VR DA": service.put(sample("CT_small.dcm"), edits=kept(service, BIRTH_DATE, "unknown")),
    }
    for reason, receipt in reasons.items():
        assert reason in str(service.failed(receipt)["reason"])
    assert list(service.spool.waiting(Stage.PREPARED, PACS, 10)) == []
    service.end()


def test_without_room_on_the_disk_it_waits(
    workers: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without room on the disk, what came is passed on as it is; what has to be edited waits in transform/."""
    service = workers()
    worker = service.here()
    monkeypatch.setattr(worker_module, "LOOK_S", 0.01)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name, syntax in (("make", "JPEG2000Lossless"), ("edit_only", "ExplicitVRLittleEndian")):
        monkeypatch.setattr(worker_module.job, name, full)
        receipt = service.put(sample("CT_small.dcm"), syntax, edits=kept(service))
        claim = worker.queue.claim()
        assert claim is not None
        worker.do(claim)
        (waiting,) = service.spool.waiting(Stage.TRANSFORM, PACS, 10)
        assert (waiting.entry.receipt, bool(waiting.entry.edits)) == (receipt, True)
        waiting.path.unlink()
    assert "will be tried again" in caplog.text
    worker.arena.close()


def test_a_lossy_syntax_of_which_nothing_is_known_is_asked_for_after_the_edits(workers: Callable[..., Workers]) -> None:
    """An entry with edits never stands in asking/: it is edited first, and waits there as it will leave."""
    service = workers()
    service.start()
    receipt = service.put(sample("CT_small.dcm"), "JPEG2000Lossy", edits=kept(service))
    service.wait(lambda: list(service.spool.waiting(Stage.ASKING, PACS, 10)) != [])
    (asking,) = service.spool.waiting(Stage.ASKING, PACS, 10)
    assert (asking.entry.receipt, asking.entry.syntax, asking.entry.edits) == (receipt, "JPEG2000Lossy", "")
    assert str(pydicom.dcmread(asking.path).PatientName) == "Nobody"
    service.takes(**{CT: ladder.Acceptance((JPEG2000,), (), time.time())})
    (made,) = service.prepared(service.put(sample("CT_small.dcm"), "JPEG2000Lossy", edits=kept(service)))
    assert syntax_of(made) == JPEG2000
    service.end()


def test_a_destination_that_takes_nothing_of_it_fails(workers: Callable[..., Workers]) -> None:
    """Of an object that can't be made as its destination needs it, nothing leaves."""
    service = workers()
    path = undecodable(service.folder / "j2k.dcm")
    image = pydicom.dcmread(path)
    refused = (str(image.file_meta.TransferSyntaxUID), JPEG2000_LOSSLESS)
    service.takes(**{str(image.SOPClassUID): ladder.Acceptance((EXPLICIT_LE,), refused, time.time())})
    service.start()
    receipt = service.put(path, "ExplicitVRLittleEndian", edits=kept(service))
    assert "JPEG2000MC is not decoded by this version" in str(service.failed(receipt)["reason"])
    service.end()


def test_broken_signatures_are_said_once(workers: Callable[..., Workers], tmp_path: Path) -> None:
    """A mutation that was asked for is made, whatever is signed; the log says once that signatures are broken now."""
    service = workers()
    service.start()
    signed = pydicom.dcmread(sample("CT_small.dcm"))
    parameters = pydicom.Dataset()
    parameters.DataElementsSigned = [0x00100010]
    parameters.MACIDNumber = 1
    signed.MACParametersSequence = [parameters]
    signature = pydicom.Dataset()
    signature.MACIDNumber = 1
    signed.DigitalSignaturesSequence = [signature]
    signed.save_as(tmp_path / "signed.dcm")
    for _ in range(2):
        edits = kept(service)
        (made,) = service.prepared(service.put(tmp_path / "signed.dcm", "ExplicitVRLittleEndian", edits=edits))
        assert str(pydicom.dcmread(made).PatientName) == "Nobody"
    service.end()
    assert service.log().count("mutations.yml:2 changes (0010,0010), so digital signatures are broken now") == 1
