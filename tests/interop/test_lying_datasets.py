"""Datasets that say something else than what they came with: a group 0002 of their own, other UIDs than the command."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage

from leyden.dicom.part10 import encode_head
from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, JPEG2000_LOSSLESS, RLE_LOSSLESS
from support.datasets import el
from support.headers import encode
from support.objects import decode, make_ct, split
from support.peers import Pacs, store
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
def test_a_second_group_0002_is_no_envelope(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path, wanted: str
) -> None:
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


def test_nor_is_it_in_a_file_put_there_by_hand_or_sent_from_the_command_line(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
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
