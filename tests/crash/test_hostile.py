"""Hostile images through a service: damaged at random (fuzz/images.py), and of 100 GB.

LEYDEN_CRASH_LONG=1 in the environment makes it 10,000 (LEYDEN_FUZZ_INPUTS: any number), LEYDEN_CRASH_SEED another
choice.
"""

import json
import os
import random
import struct
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pynetdicom
import pytest
from pynetdicom import build_context

from fuzz.images import MAX_FRAME_MIB, contents, image
from leyden.dicom import uids
from leyden.dicom.part10 import decode_head
from leyden.dicom.uids import SYNTAXES
from support.objects import real
from support.peers import Pacs
from support.service import Service, node

LONG = os.environ.get("LEYDEN_CRASH_LONG", "0") not in ("", "0")
INPUTS = int(os.environ.get("LEYDEN_FUZZ_INPUTS", "10000")) if LONG else 60
SEED = int(os.environ.get("LEYDEN_CRASH_SEED", "20261125"))


def head_of(content: bytes) -> bytes:
    """A file up to its dataset."""
    head = decode_head(content)
    assert head is not None
    return content[: head[1]]


def of_100_gb(content: bytes) -> bytes:
    """An image that claims 65535 x 65535 pixels of 16 bits, in its codestream too if it has one, and 12 frames."""
    dataset = pydicom.dcmread(BytesIO(content))
    old, new = struct.pack(">II", dataset.Columns, dataset.Rows), struct.pack(">II", 65535, 65535)
    dataset.Rows = dataset.Columns = 65535
    dataset.NumberOfFrames = 12
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        siz = dataset.PixelData.index(b"\xff\x4f\xff\x51")
        at = dataset.PixelData.index(old, siz)
        dataset.PixelData = dataset.PixelData[:at] + new + dataset.PixelData[at + 8 :]
    out = BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def sent(port: int, called: str, paths: Iterable[Path]) -> int:
    """Send files as they are, byte for byte, by pynetdicom; how many were kept, as the answers say."""
    entity, answered = pynetdicom.AE("FUZZ"), 0
    association: Any = None
    for path in paths:
        head = decode_head(path.read_bytes())
        assert head is not None
        meta = head[0]
        context = build_context(meta.sop_class_uid, meta.transfer_syntax_uid)
        association = entity.associate("127.0.0.1", port, [context], ae_title=called)
        assert association.is_established, f"the receiver has no time for {path}"
        try:
            answered += association.send_c_store(path).get("Status") in (0x0000, 0xB007)
        finally:
            association.release()
    return answered


@pytest.mark.timeout(3600)
def test_damaged_images_end_no_process_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What got Success "is delivered to every destination that the rules name, or it stands in a folder with
    the reason beside it" (README.md)."""
    monkeypatch.setattr(pynetdicom._config, "STORE_SEND_CHUNKED_DATASET", True)
    chance, heads = random.Random(f"{SEED} service"), tuple(map(head_of, contents()))
    hostile = [of_100_gb(real(name).read_bytes()) for name in ("MR_small.dcm", "MR_small_jp2klossless.dcm")]
    while len(hostile) < INPUTS:
        content = image(chance)
        if content.startswith(heads):  # another one would not even be sent
            hostile.append(content)
    paths = [tmp_path / f"{number}.dcm" for number in range(len(hostile))]
    for path, content in zip(paths, hostile, strict=True):
        path.write_bytes(content)
    pacs = [Pacs("J2K", syntaxes=list(SYNTAXES)), Pacs("PLAIN", syntaxes=[uids.EXPLICIT_LE, uids.IMPLICIT_LE])]
    nodes = node("J2K", pacs[0].port, TransferSyntax="JPEG2000Lossless") + node("PLAIN", pacs[1].port)
    service = Service(tmp_path / "leyden", nodes, maxFrameMib=MAX_FRAME_MIB)
    try:
        for each in pacs:
            each.start()
        before = {process.pid for process in service.start().processes()}
        answered = [sent(service.port, each.title, paths) for each in pacs]
        at_rest = {service.spool / "failed", service.spool / "rejected"}
        service.wait_left(lambda left: all(at_rest & set(path.parents) for path in left), 120, "all in their place")
        assert {process.pid for process in service.processes()} == before
        assert "Traceback" not in service.log
        assert "died of it" not in service.log
        arrived = [len(each.arrivals) for each in pacs]
        assert sum(arrived) + len(service.left()) == sum(answered)
        assert all(json.loads(Path(f"{path}.json").read_bytes())["reason"] for path in service.left())
        assert min(arrived) > INPUTS // 10, "damage that lets nothing through tests nothing"
        assert service.stop() == 0
    finally:
        service.end()
        for each in pacs:
            each.stop()
