"""Datasets that say something else than what they came with: a group 0002 of their own, other UIDs than the command."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage

from leyden.dicom.part10 import encode_head
from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, JPEG2000_LOSSLESS, RLE_LOSSLESS
from support.datasets import el
from support.headers import encode
from support.objects import decode, make_ct, split
from support.peers import Pacs, Storescp, store
from support.service import Service, node

ELSEWHERE = "1.2.840.10008.5.1.4.1.1.104.1"


def ct(folder: Path, number: int, syntax: str = EXPLICIT_LE) -> tuple[str, bytes]:
    """The UID and the dataset of a CT image."""
    path = make_ct(folder / f"ct{number}.dcm", number, rows=64, columns=64)
    return split(path.read_bytes())[0].sop_instance_uid, encode(pydicom.dcmread(path), syntax)


def second_group(*, explicit: bool) -> bytes:
    """File meta information that names another class, instance, syntax, sender and receiver."""
    ui, ae = ("UI", "AE") if explicit else ("", "")
    group = (
        el(0x00020002, ui, ELSEWHERE.encode() + b"\0")
        + el(0x00020003, ui, b"2.25.666\0\0")
        + el(0x00020010, ui, RLE_LOSSLESS.encode() + b"\0")
        + el(0x00020016, ae, b"NOBODY")
        + el(0x00020017, ae, b"NOBODY")
        + el(0x00020018, ae, b"OTHER ")
    )
    return el(0x00020000, "UL" if explicit else "", len(group).to_bytes(4, "little")) + group


SECOND_GROUPS = [
    (EXPLICIT_LE, second_group(explicit=True)),
    (EXPLICIT_LE, second_group(explicit=True)[12:]),
    (IMPLICIT_LE, second_group(explicit=False)),
    (IMPLICIT_LE, second_group(explicit=True)),
]


@pytest.mark.parametrize("wanted", ["", "JPEG2000Lossless"])
def test_a_second_group_0002_belongs_to_the_data_set(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path, wanted: str
) -> None:
    """What follows the file meta "belongs to the data set, even if it is (0002,xxxx)" (DECISIONS.md 63)."""
    archive, other = pacs("IMAGEPACS"), pacs("OTHER")
    nodes = node("IMAGEPACS", archive.port, Impersonate="true", **({"TransferSyntax": wanted} if wanted else {}))
    leyden = service(nodes + node("OTHER", other.port)).start()
    sent = {}
    for number, (syntax, group) in enumerate(SECOND_GROUPS, 1):
        uid, data = ct(tmp_path, number, syntax)
        sent[uid] = syntax, group, group + data
        status = store(
            leyden.port, group + data, called="IMAGEPACS", calling="CT01", syntax=syntax,
            context=CTImageStorage, sop_class=CTImageStorage, sop_instance=uid,
        )  # fmt: skip
        assert status == 0x0000
    by_uid = {arrival.sop_instance_uid: arrival for arrival in archive.wait(len(sent))}
    assert by_uid.keys() == sent.keys()
    for uid, (syntax, group, data) in sent.items():
        arrival = by_uid[uid]
        assert (arrival.calling, arrival.sop_class_uid) == ("CT01", CTImageStorage)
        readable = syntax == EXPLICIT_LE or group == second_group(explicit=False)
        if wanted and readable:
            explicit = group if syntax == EXPLICIT_LE else second_group(explicit=True)[12:]
            assert arrival.syntax == JPEG2000_LOSSLESS
            assert arrival.data.startswith(explicit)
            before = decode(syntax, data[len(group) :])
            after = decode(arrival.syntax, arrival.data[len(explicit) :])
            assert np.array_equal(after.pixel_array, before.pixel_array)
        else:
            assert arrival.syntax == syntax
            assert arrival.data == data
    leyden.wait_empty()
    assert not other.arrivals
    assert "failed/" not in leyden.log


def test_a_second_group_0002_belongs_to_the_data_set_of_a_file_too(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """What follows the file meta "belongs to the data set, even if it is (0002,xxxx)" (DECISIONS.md 63)."""
    archive, other = pacs("IMAGEPACS"), pacs("OTHER")
    to_archive = "- Actions:\n    - Target: IMAGEPACS\n"
    leyden = service(node("IMAGEPACS", archive.port) + node("OTHER", other.port), to_archive).start()
    path = make_ct(tmp_path / "ct.dcm", 1, rows=64, columns=64)
    meta, dataset = split(path.read_bytes())
    data = second_group(explicit=True) + dataset
    path.write_bytes(encode_head(meta) + data)
    done = leyden.leyden("send", f"127.0.0.1:{leyden.port}", "--called", "IMAGEPACS", str(path))
    assert done.returncode == 0, done.stderr
    archive.wait(1)
    path.rename(leyden.spool / "new" / "by-hand.dcm")
    for arrival in archive.wait(2):
        assert (arrival.sop_class_uid, arrival.sop_instance_uid) == (meta.sop_class_uid, meta.sop_instance_uid)
        assert (arrival.syntax, arrival.data) == (EXPLICIT_LE, data)
    leyden.wait_empty()
    assert not other.arrivals


MR = "1.2.840.10008.5.1.4.1.1.4"


@dataclass(frozen=True, slots=True)
class Lie:
    """What the context and the command say of a CT image, and the flag that it gets for it."""

    context: str
    sop_class: str
    sop_instance: str
    flag: str


LIES = {
    "2.25.1001.1": Lie(CTImageStorage, CTImageStorage, "2.25.66", "SOP instance 2.25.66 in the command"),
    "2.25.1001.2": Lie(MR, MR, "", f"SOP class {MR} in the context; SOP class {MR} in the command"),
    "2.25.1001.3": Lie(MR, CTImageStorage, "", f"SOP class {MR} in the context"),
    "2.25.1001.4": Lie(CTImageStorage, MR, "", f"SOP class {MR} in the command"),
    "2.25.1001.5": Lie(CTImageStorage, CTImageStorage, "", ""),
}


def receipts_of(leyden: Service) -> list[dict[str, Any]]:
    texts = [path.read_text() for path in (leyden.spool / "receipts").iterdir()]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def tell(leyden: Service, lie: Lie, uid: str, data: bytes, called: str) -> int:
    return store(
        leyden.port, data, called=called, calling="CT01", syntax=EXPLICIT_LE, context=lie.context,
        sop_class=lie.sop_class, sop_instance=lie.sop_instance or uid,
    )  # fmt: skip


def test_what_contradicts_itself_is_kept_flagged_and_delivered(
    service: Callable[..., Service], storescp: Callable[..., Storescp], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """What contradicts itself "is kept and answered 0xB007; the data set decides, and the others stand as `flag` in log
    and receipt" (README.md)."""
    strict, archive = storescp(parses=True), pacs("ARCHIVE")  # it refuses a data set that is not what its command says
    nodes = node("STRICT", strict.port, RetryDelays="[1, 1, 2]") + node("ARCHIVE", archive.port)
    leyden = service(nodes).start()
    sent = {}
    for number, (uid, lie) in enumerate(LIES.items(), 1):
        same, sent[uid] = ct(tmp_path, number)
        assert same == uid
        for called in ("STRICT", "ARCHIVE"):
            assert tell(leyden, lie, uid, sent[uid], called) == (0xB007 if lie.flag else 0x0000)
    leyden.wait_empty()
    assert {str(pydicom.dcmread(path).SOPInstanceUID) for path in strict.folder.iterdir()} == sent.keys()
    for arrival in archive.wait(len(LIES)):
        assert arrival.sop_class_uid == CTImageStorage
        assert arrival.data == sent[arrival.sop_instance_uid]
    assert leyden.stop() == 0
    receipts = receipts_of(leyden)
    assert len(receipts) == 2 * len(LIES)
    for line in receipts:
        assert line["status"] == 0x0000
        assert line.get("flag", "") == LIES[line["sop_instance_uid"]].flag
    warned = [line for line in leyden.lines if "WARNING" in line and "0xB007" in line]
    assert len(warned) == 2 * sum(bool(lie.flag) for lie in LIES.values())  # each on an association of its own
    for uid, lie in LIES.items():
        planned = [line for line in leyden.lines if "planner" in line and f": {uid} (though {lie.flag})" in line]
        assert len(planned) == (2 if lie.flag else 0)


def test_a_flag_outlives_compression_and_stands_in_the_receipt_of_a_drop(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """The flag "passes through every stage without another file" (DECISIONS.md 65)."""
    archive = pacs("IMAGEPACS")
    drop = "- AeTitles: [NOWHERE]\n  Actions:\n    - Type: drop\n"
    nodes = node("IMAGEPACS", archive.port, TransferSyntax="JPEG2000Lossless") + node("NOWHERE", archive.port)
    leyden = service(nodes, drop).start()
    uid, data = ct(tmp_path, 1)
    for called in ("IMAGEPACS", "NOWHERE"):
        assert tell(leyden, LIES[uid], uid, data, called) == 0xB007
    (arrival,) = archive.wait(1)
    assert (arrival.syntax, arrival.sop_instance_uid) == (JPEG2000_LOSSLESS, uid)
    leyden.wait_empty()
    receipts = receipts_of(leyden)
    assert sorted("dropped_by" in line for line in receipts) == [False, True]
    assert {line["flag"] for line in receipts} == {LIES[uid].flag}
