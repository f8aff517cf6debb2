"""Hostile and broken senders: a clear line in the log, a proper answer, no leak, and the service goes on."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context

from support.peers import Pacs, run_dcmtk
from support.service import LIMIT_S, Service, node, wait_for
from support.wire import ABORT, pdv, read_pdu, store_rq


def associate_rq(called: bytes = b"IMAGEPACS", calling: bytes = b"CT01") -> bytes:
    """An A-ASSOCIATE-RQ for CT images; the titles are put in as the bytes given, unpadded ones with blanks."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.called_ae_title, primitive.calling_ae_title = "CALLED", "CALLING"
    context = build_context(CTImageStorage, [ImplicitVRLittleEndian])
    context.context_id = 1
    primitive.presentation_context_definition_list = [context]
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16384
    implementation.implementation_class_uid = "2.25.9"
    primitive.user_information = [length, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    encoded = bytearray(pdu.encode())
    encoded[10:26], encoded[26:42] = called.ljust(16), calling.ljust(16)
    return bytes(encoded)


@contextmanager
def connection(service: Service) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", service.port), timeout=LIMIT_S) as link:
        yield link


@pytest.fixture(scope="module")
def leyden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all of them: it goes on whatever it was sent before."""
    pacs = Pacs("IMAGEPACS").start()
    service = Service(tmp_path_factory.mktemp("leyden"), node("IMAGEPACS", pacs.port)).start()
    yield service
    assert service.stop() == 0
    pacs.stop()
    assert not pacs.arrivals


def assert_serves(leyden: Service) -> None:
    assert run_dcmtk("echoscu", "-aec", "IMAGEPACS", "127.0.0.1", str(leyden.port)).returncode == 0


def test_garbage_is_aborted(leyden: Service) -> None:
    """A connection ended before there was an association; the text says how (docs/troubleshoot.md)."""
    with connection(leyden) as link:
        link.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        kind, body = read_pdu(link)
        assert (kind, body[2]) == (ABORT, 2)
        assert read_pdu(link) == (0, b"")
    leyden.wait_line("127.0.0.1")
    assert_serves(leyden)


def test_an_announced_length_of_4_gb_is_aborted_unread(leyden: Service) -> None:
    """Every length is bounded before allocation (ARCHITECTURE.md, Invariants)."""
    for kind in (1, 4):
        with connection(leyden) as link:
            if kind == 4:
                link.sendall(associate_rq())
                assert read_pdu(link)[0] == 2
            link.sendall(struct.pack(">BxI", kind, 0xFFFFFFFE))
            assert read_pdu(link)[0] == ABORT
    assert_serves(leyden)


def test_a_title_may_be_padded_with_blanks_and_nuls(leyden: Service) -> None:
    """Blanks around a title do not count (PS3.8 9.3.2), and it "ends at its first NUL" (DECISIONS.md 70)."""
    for called in (b"IMAGEPACS", b"IMAGEPACS\0\0\0\0\0\0\0", b"  IMAGEPACS", b"IMAGEPACS \0 \0"):
        with connection(leyden) as link:
            link.sendall(associate_rq(called, b"CT01\0\0\0\0\0\0\0\0\0\0\0\0"))
            assert read_pdu(link)[0] == 2, called


def test_an_unknown_title_is_rejected(leyden: Service) -> None:
    """(1,1,7): "the modality calls a title that is no node's" (docs/troubleshoot.md)."""
    with connection(leyden) as link:
        link.sendall(associate_rq(b"NOBODY"))
        kind, body = read_pdu(link)
        assert (kind, body[1:]) == (3, bytes([1, 1, 7]))
    assert "NOBODY" in leyden.wait_line("NOBODY")


def test_a_dataset_cut_off_in_the_middle_leaves_nothing(leyden: Service) -> None:
    """The association ended in the middle of an object, which was not answered (docs/troubleshoot.md)."""
    with connection(leyden) as link:
        link.sendall(associate_rq())
        assert read_pdu(link)[0] == 2
        link.sendall(pdv(store_rq("2.25.5"), command=True, last=True))
        link.sendall(pdv(b"\x08\x00\x16\x00\x02\x00\x00\x001\0", command=False, last=False))
        wait_for(lambda: any((leyden.spool / "embryo").iterdir()), why="the embryo")
    assert "2.25.5" in leyden.wait_line("2.25.5")
    wait_for(lambda: not any((leyden.spool / "embryo").iterdir()), why="the embryo to go")
    assert not leyden.left()
    assert_serves(leyden)


@pytest.mark.parametrize(("instance", "sop_class"), [("2.25.6", ""), ("", CTImageStorage)])
def test_a_request_without_its_uids_is_refused_with_a_status(leyden: Service, instance: str, sop_class: str) -> None:
    """A C-STORE-RQ without SOP class or instance (PS3.7 9.3.1.1) never gets Success."""
    with connection(leyden) as link:
        link.sendall(associate_rq())
        assert read_pdu(link)[0] == 2
        link.sendall(pdv(store_rq(instance, sop_class), command=True, last=True))
        link.sendall(pdv(b"\x08\x00\x18\x00\x02\x00\x00\x001\0", command=False, last=True))
        kind, body = read_pdu(link)
        assert kind == 4
        status = struct.unpack("<H", body[body.index(b"\0\0\0\x09\x02\0\0\0") + 8 :][:2])[0]
        assert status not in (0x0000, 0xB000)
        link.sendall(struct.pack(">BxII", 5, 4, 0))
        assert read_pdu(link)[0] == 6
    assert not leyden.left()
