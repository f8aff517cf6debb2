"""C-ECHO and C-STORE to a real peer, and which files are found for it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from leyden.dicom.negotiate import MAX_CONTEXTS
from leyden.dicom.part10 import FileMeta
from leyden.errors import Transient
from leyden.operate.peer import File, Peer, Sent, batches, echo, find, send
from support.objects import make_ct
from support.peers import Pacs
from support.service import free_port


def to(port: int) -> Peer:
    return Peer("127.0.0.1", port, "ARCHIVE", "LEYDEN", 10.0)


async def everything(peer: Peer, files: list[File]) -> list[Sent]:
    return [sent async for sent in send(peer, files)]


def test_an_echo_gives_status_and_time(pacs: Callable[..., Pacs]) -> None:
    answer = asyncio.run(echo(to(pacs("ARCHIVE").port)))
    assert answer.status == 0x0000
    assert answer.duration_s > 0
    with pytest.raises(Transient):
        asyncio.run(echo(to(free_port())))


def test_folders_are_searched_and_what_is_no_dicom_comes_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    images = [make_ct(tmp_path / "a" / "b" / "1.dcm", 1, rows=8, columns=8), make_ct(tmp_path / "2.dcm", 2, rows=8)]
    (tmp_path / "a" / "notes.txt").write_text("no DICOM")
    files, others = find([tmp_path / "a", tmp_path / "2.dcm", tmp_path / "absent.dcm"])
    assert [file.path for file in files] == images
    assert [path.name for path, _ in others] == ["notes.txt", "absent.dcm"]
    assert others[1][1] == "No such file or directory"


def test_each_file_has_its_own_result(pacs: Callable[..., Pacs], tmp_path: Path) -> None:
    answers = {"2.25.1001.1": 0x0000, "2.25.1001.2": 0xB000, "2.25.1001.3": 0xA700}
    archive = pacs("ARCHIVE", answer=lambda arrival: answers[arrival.sop_instance_uid])
    files, _ = find(make_ct(tmp_path / f"{n}.dcm", n, rows=8, columns=8) for n in (1, 2, 3))
    results = asyncio.run(everything(to(archive.port), files))
    assert [(sent.stored, sent.text) for sent in results] == [
        (True, "stored"),
        (True, "stored with warning status 0xB000"),
        (False, "refused with status 0xA700"),
    ]


def test_what_a_peer_does_not_take_is_said_and_the_rest_goes(pacs: Callable[..., Pacs], tmp_path: Path) -> None:
    archive = pacs("ARCHIVE", syntaxes=["1.2.840.10008.1.2.4.90"])
    files, _ = find([make_ct(tmp_path / "1.dcm", 1, rows=8, columns=8)])
    (sent,) = asyncio.run(everything(to(archive.port), files))
    assert (sent.stored, sent.text.startswith("not sent, the peer does not take ")) == (False, True)


def test_an_association_never_needs_more_presentation_contexts_than_there_are() -> None:
    files = [File(Path(f"{n}"), FileMeta(f"1.2.{n % 200}", f"2.25.{n}", "1.2.840.10008.1.2"), 0) for n in range(1000)]
    parts = list(batches(files))
    assert [file for part in parts for file in part] == files
    assert all(len({file.context for file in part}) <= MAX_CONTEXTS for part in parts)
    assert len(parts) == 8
