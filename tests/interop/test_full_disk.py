"""A volume that fills up under the service: first nobody new, then no objects, and both again when there is room."""

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage

from interop.test_bad_input import connection
from interop.test_odd_peers import CT_CONTEXT, store
from leyden.dicom.uids import IMPLICIT_LE, VERIFICATION
from support.objects import split
from support.peers import run_dcmtk
from support.service import Service, free_port, node, wait_for
from support.volume import Volume
from support.wire import read_pdu, rq

REJECTED_FOR_NOW = (3, struct.pack(">xBBB", 2, 3, 1))  # temporary congestion, PS3.8 table 9-21


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Path]:
    """A place of its own for cachePath, on a volume that a test may fill."""
    volume = Volume(tmp_path / "image", tmp_path / "volume")
    yield volume.place
    volume.end()


def leave_free(spool: Path, percent: float) -> None:
    """Fill the volume, or make room, until so much is free."""
    ballast = spool / "ballast"
    ballast.unlink(missing_ok=True)
    there = os.statvfs(spool)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, int(there.f_frsize * (there.f_bavail - there.f_blocks * percent / 100)))


def echo(leyden: Service) -> int:
    return run_dcmtk("echoscu", "-aec", "ARCHIVE", "127.0.0.1", str(leyden.port)).returncode


def test_a_volume_that_fills_up_refuses_new_associations_first_and_then_objects(
    spool: Path, service: Callable[..., Service]
) -> None:
    """With less than 1.25 times `minFreeSpace` free, new associations are rejected temporarily ... With less than
    `minFreeSpace`, objects are answered 0xA700 (docs/operate.md)."""
    leyden = service(node("ARCHIVE", free_port()), minFreeSpace=40, cachePath=spool / "cache").start()
    try:
        request = rq(CT_CONTEXT, called=b"ARCHIVE")
        with connection(leyden) as old:
            old.sendall(request)
            assert read_pdu(old)[0] == 2
            assert store(old, "2.25.1") == 0

            leave_free(spool, 45)  # the mark is at 50: a quarter above minFreeSpace
            leyden.wait_line("new associations are rejected (2,3,1)")
            with connection(leyden) as new:
                new.sendall(request)
                assert read_pdu(new) == REJECTED_FOR_NOW
            assert store(old, "2.25.2") == 0
            assert echo(leyden) == 0

            leave_free(spool, 30)
            leyden.wait_line("objects are refused (0xA700)")
            assert store(old, "2.25.3") == 0xA700
            wait_for(lambda: not any((spool / "cache" / "embryo").iterdir()))
            assert echo(leyden) == 0

            leave_free(spool, 45)
            leyden.wait_line("objects are taken again")
            assert store(old, "2.25.4") == 0
            with connection(leyden) as new:
                new.sendall(request)
                assert read_pdu(new) == REJECTED_FOR_NOW

            leave_free(spool, 70)
            leyden.wait_line("new associations are taken again")
            with connection(leyden) as new:
                new.sendall(request)
                assert read_pdu(new)[0] == 2
                assert store(new, "2.25.5") == 0
    finally:
        leyden.end()
    # Only now do they stand still: a walk misses what is renamed under it.
    kept = [split(path.read_bytes())[0].sop_instance_uid for path in (spool / "cache").rglob("*.dcm")]
    assert sorted(kept) == ["2.25.1", "2.25.2", "2.25.4", "2.25.5"]


def test_an_association_for_images_and_echo_is_one_for_images(service: Callable[..., Service]) -> None:
    """On a full disk an association "that asks only for an echo is still accepted" (docs/operate.md), and no other."""
    leyden = service(node("ARCHIVE", free_port()), minFreeSpace=99).start()
    for contexts, answer in (
        ([(1, VERIFICATION, IMPLICIT_LE), (3, CTImageStorage, IMPLICIT_LE)], 3),
        ([(1, VERIFICATION, IMPLICIT_LE)], 2),
    ):
        with connection(leyden) as link:
            link.sendall(rq(*contexts, called=b"ARCHIVE"))
            assert read_pdu(link)[0] == answer
