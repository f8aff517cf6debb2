"""Small objects of the canary patient, a source that sends them, and what must hold when a scene is over."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256

from leyden.dicom.uids import EXPLICIT_LE
from leyden.net.scu import Association
from support import wire
from support.faulty import FaultyScp
from support.proof import receipts
from support.service import Service, files_below

CANARY = "QZ000001"


def data_set(uid: str, size_bytes: int, *, implicit: bool = False) -> bytes:
    """With a comment of so many bytes."""

    def el(tag: int, vr: str, value: bytes, pad: bytes = b" ") -> bytes:
        return wire.el(tag, "" if implicit else vr, value + pad * (len(value) % 2))

    return b"".join((
        el(0x00080016, "UI", wire.CT.encode(), b"\0"),
        el(0x00080018, "UI", uid.encode(), b"\0"),
        el(0x00100010, "PN", CANARY.encode()),
        el(0x00204000, "UT", b"x" * size_bytes),
    ))  # fmt: skip


async def send(port: int, called: str, uids: Iterable[str], size_bytes: int) -> None:
    """Over one association; each gets Success."""
    pair = wire.CT, EXPLICIT_LE
    association = await Association.open("127.0.0.1", port, calling="CT01", called=called, contexts=[pair])
    fd = os.memfd_create("object")
    for uid in uids:
        size = os.pwrite(fd, data_set(uid, size_bytes), 0)
        answer = await association.store(association.accepted[pair], wire.CT, uid, fd, 0, size)
        assert answer.status == 0, answer
    os.close(fd)
    await association.release()


def came_unchanged(peer: FaultyScp, size_bytes: int) -> bool:
    """Every byte of whatever came, in explicit or implicit VR."""
    return all(
        content <= {sha256(data_set(uid, size_bytes, implicit=each)).hexdigest() for each in (False, True)}
        for uid, content in peer.content.items()
    )


def judge(leyden: Service, wanted: Mapping[str, Iterable[str]]) -> None:
    """The service has delivered everything, and stops: one receipt for each destination and instance; nothing left; no
    fault of ours; and the patient stands nowhere."""
    leyden.wait_empty()
    assert leyden.stop() == 0
    proved = Counter((line["destination"], line["sop_instance_uid"]) for line in receipts(leyden.spool))
    assert proved == Counter((title, uid) for title, uids in wanted.items() for uid in uids)
    said = leyden.log
    assert "fault of ours" not in said
    assert "Traceback" not in said
    files = (path for path in files_below(leyden.folder) if path.is_file())  # no doorbells
    told = [path for path in files if CANARY.encode() in path.read_bytes() or CANARY in str(path)]
    assert not told, told
    assert CANARY not in said
