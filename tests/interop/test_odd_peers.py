"""Peers that ask in an odd way for an association that they are to have all the same."""

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, MRImageStorage

from interop.test_bad_input import connection
from leyden.dicom.associate import decode_accept
from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, VERIFICATION
from support.objects import make_cts
from support.peers import Pacs, run_dcmtk
from support.service import Service, node, wait_for
from support.wire import Context, number, pdv, read_command, read_pdu, rq, store_rq

BOTH = """\
- Actions:
    - Target: SMALL
    - Target: LARGE
"""
Shared = tuple[Service, Pacs]
CT_CONTEXT: Context = (1, CTImageStorage, IMPLICIT_LE)
SOP_CLASS = b"\x08\x00\x16\x00\x1a\x00\x00\x00" + CTImageStorage.encode() + b"\0"


def store_pdus(instance: str) -> bytes:
    """A small CT object on context 1."""
    uid = instance.encode() + b"\0" * (len(instance) % 2)
    data_set = SOP_CLASS + struct.pack("<HHI", 8, 0x18, len(uid)) + uid
    return pdv(store_rq(instance), command=True, last=True) + pdv(data_set, command=False, last=True)


def store(link: socket.socket, instance: str) -> int:
    """Send a small CT object; the status of the answer, from fragments of whatever size."""
    link.sendall(store_pdus(instance))
    return number(read_command(link), 0x0900)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """A service and its archive, for all who send one object of their own."""
    archive = Pacs("IMAGEPACS").start()
    leyden = Service(tmp_path_factory.mktemp("leyden"), node("IMAGEPACS", archive.port)).start()
    yield leyden, archive
    leyden.end()
    archive.stop()


def send(leyden: Service, called: str, folder: Path) -> None:
    """One CT object by dcmsend."""
    (file,) = make_cts(folder / "cts", 1, rows=32, columns=32)
    done = run_dcmtk("dcmsend", "-dn", "-aec", called, "127.0.0.1", str(leyden.port), str(file))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("contexts", "answers", "said"),
    [
        ([(0, CTImageStorage, IMPLICIT_LE), CT_CONTEXT], {0: 2, 1: 0}, "IDs 0: "),
        ([CT_CONTEXT, (2, MRImageStorage, IMPLICIT_LE), (3, VERIFICATION, IMPLICIT_LE)], {1: 0, 2: 2, 3: 0}, "IDs 2: "),
        ([CT_CONTEXT, (1, MRImageStorage, EXPLICIT_LE), (5, "1.2.3", IMPLICIT_LE)], {1: 0, 5: 0}, "IDs 1: "),
        ([CT_CONTEXT, (254, CTImageStorage, IMPLICIT_LE), CT_CONTEXT], {1: 0, 254: 2}, "IDs 254, 1: "),
    ],
)
def test_a_context_with_a_wrong_id_costs_nothing_else(
    contexts: list[Context], answers: dict[int, int], said: str, shared: Shared
) -> None:
    """Context IDs: "even ones are refused, of equal ones the first counts" (docs/troubleshoot.md)."""
    leyden, archive = shared
    before = archive.uids()
    with connection(leyden) as link:
        link.sendall(rq(*contexts))
        kind, body = read_pdu(link)
        assert kind == 2
        accept = decode_accept(struct.pack(">BxI", kind, len(body)) + body)
        assert [(context.id, context.result) for context in accept.contexts] == list(answers.items())
        assert accept.contexts[[context.id for context in accept.contexts].index(1)].syntax == IMPLICIT_LE
        assert store(link, f"2.25.71.{len(before)}") == 0
    archive.wait(len(before) + 1)
    assert archive.uids() == [*before, f"2.25.71.{len(before)}"]
    leyden.wait_line(said)


def test_a_title_ends_with_the_first_nul_and_is_echoed_to_the_byte(
    service: Callable[..., Service], pacs: Callable[..., Pacs]
) -> None:
    """A title ends at its first NUL ... and is sent back as its 16 bytes, as PS3.8 9.3.3 asks (DECISIONS.md 70)."""
    archive = pacs("IMAGEPACS")
    leyden = service(node("IMAGEPACS", archive.port, Impersonate=True), allowedCallingAeTitles="[CT01]").start()
    titles = b"IMAGEPACS\0 OLD\0\xfe", b"CT01\0STATION_07\0"
    with connection(leyden) as link:
        link.sendall(rq(CT_CONTEXT, called=titles[0], calling=titles[1]))
        kind, body = read_pdu(link)
        assert kind == 2
        assert body[4:36] == titles[0] + titles[1]
        assert store(link, "2.25.71") == 0
    (arrival,) = archive.wait(1)
    assert arrival.calling.strip() == "CT01"
    leyden.wait_line("CT01 -> IMAGEPACS (")


@pytest.mark.parametrize("max_pdu_bytes", [8, 9, 64, 127])
def test_a_modality_that_takes_small_pdus_gets_its_answers_in_them(max_pdu_bytes: int, shared: Shared) -> None:
    """A peer's maximum length is obeyed down to 8 bytes (DECISIONS.md 70)."""
    leyden, archive = shared
    uid = f"2.25.72.{max_pdu_bytes}"
    with connection(leyden) as link:
        link.sendall(rq(CT_CONTEXT, max_pdu_bytes=max_pdu_bytes))
        assert read_pdu(link)[0] == 2
        assert store(link, uid) == 0
    archive.wait_until(lambda arrivals: uid in [arrival.sop_instance_uid for arrival in arrivals])


def test_a_modality_that_takes_no_data_is_told_so(shared: Shared) -> None:
    """A maximum length of 7 "is an abort, with the reason in the log" (DECISIONS.md 70)."""
    leyden, _ = shared
    with connection(leyden) as link:
        link.sendall(rq(CT_CONTEXT, max_pdu_bytes=7))
        assert read_pdu(link)[0] == 7
    leyden.wait_line("no association: the peer takes PDUs of 7 bytes, and the smallest with data in it has 8")


@pytest.mark.parametrize("max_pdu_bytes", [8, 100])
def test_an_archive_that_takes_small_pdus_gets_every_byte(
    max_pdu_bytes: int, service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """A peer's maximum length is obeyed down to 8 bytes (DECISIONS.md 70)."""
    archive, large = pacs("SMALL", max_pdu_bytes=max_pdu_bytes), pacs("LARGE")
    leyden = service(node("SMALL", archive.port) + node("LARGE", large.port), BOTH).start()
    send(leyden, "SMALL", tmp_path)
    (arrival,), (whole,) = archive.wait(1), large.wait(1)
    assert arrival.data == whole.data
    leyden.wait_empty()


def test_an_archive_that_takes_no_data_is_logged_once(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """A fault that stays the same is "logged again once a minute" (docs/troubleshoot.md), not at each try."""
    archive = pacs("NONE", max_pdu_bytes=5)
    leyden = service(node("NONE", archive.port, RetryDelays="[1]")).start()
    send(leyden, "NONE", tmp_path)
    said = "the peer takes PDUs of 5 bytes, and the smallest with data in it has 8"
    leyden.wait_line(said)
    wait_for(lambda: len(archive.associations_seen) > 2)
    assert leyden.log.count(said) == 1
    assert len(leyden.left()) == 1
