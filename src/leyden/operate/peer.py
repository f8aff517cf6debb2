"""C-ECHO and C-STORE to any peer, over the same association code as the sender: what works here works there."""

import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from leyden.deliver.destination import Credentials, TlsSettings
from leyden.deliver.retry import Verdict, classify
from leyden.dicom import part10
from leyden.dicom.identity import as_named
from leyden.dicom.negotiate import MAX_CONTEXTS
from leyden.dicom.uids import IMPLICIT_LE, VERIFICATION, syntax_name
from leyden.errors import Corrupt, Transient
from leyden.net.scu import Association
from leyden.operate.files import files_under
from leyden.reaching import associate

_HEAD_BYTES = 1 << 16  # of a file: what is read of it to learn its SOP class, instance and transfer syntax


class Peer(msgspec.Struct, frozen=True):
    """Whom to call, as whom, over TLS or not, and how long to wait for a connection and for each answer."""

    host: str
    port: int
    called: str
    calling: str
    timeout_s: float
    tls: TlsSettings | None = None
    credentials: Credentials | None = None

    def __str__(self) -> str:
        return f"{self.called}@{self.host}:{self.port}"

    async def open(self, contexts: list[tuple[str, str]]) -> Association:
        """An association with the given (SOP class UID, transfer syntax UID). Raises Transient."""
        return await associate(
            self.host,
            self.port,
            calling=self.calling,
            called=self.called,
            contexts=contexts,
            tls=self.tls,
            credentials=self.credentials,
            connect_timeout_s=self.timeout_s,
            answer_timeout_s=self.timeout_s,
        )


class Echoed(msgspec.Struct, frozen=True):
    """The answer to a C-ECHO: its status (0 = Success), and the time from connecting to the release."""

    status: int
    duration_s: float


async def echo(peer: Peer) -> Echoed:
    """C-ECHO once (PS3.4 annex A). Raises Transient with what the peer, or the way to it, said."""
    begin_s = time.monotonic()
    association = await peer.open([(VERIFICATION, IMPLICIT_LE)])
    status = await association.echo(timeout_s=peer.timeout_s)
    await association.release()
    return Echoed(status, time.monotonic() - begin_s)


class File(msgspec.Struct, frozen=True):
    """A Part 10 file; its dataset begins at `offset`."""

    path: Path
    meta: part10.FileMeta
    offset: int

    @property
    def context(self) -> tuple[str, str]:
        """The (SOP class UID, transfer syntax UID) that it needs."""
        return self.meta.sop_class_uid, self.meta.transfer_syntax_uid


def find(paths: Iterable[Path]) -> tuple[list[File], list[tuple[Path, str]]]:
    """The DICOM files among `paths` and in the folders below, and the other files, each with the reason."""
    files: list[File] = []
    others: list[tuple[Path, str]] = []
    for path in files_under(paths):
        try:
            files.append(_file(path))
        except OSError as error:
            others.append((path, error.strerror or str(error)))
        except Corrupt as error:
            others.append((path, str(error)))
    return files, others


def _file(path: Path) -> File:
    with path.open("rb") as stream:
        beginning = stream.read(_HEAD_BYTES)
    head = part10.decode_head(beginning)
    if head is None:
        raise Corrupt("the file meta information does not end")
    meta, offset = head
    return File(path, as_named(meta, beginning[offset:]), offset)


class Sent(msgspec.Struct, frozen=True):
    """What became of a file, in words too."""

    file: File
    stored: bool
    text: str


async def send(peer: Peer, files: Sequence[File]) -> AsyncIterator[Sent]:
    """C-STORE every file as it is, and give each result at once.

    Associations are opened one after the other, each for as many files as its presentation contexts allow. Raises
    Transient where one cannot be opened, or ends with files left: those without a result were not sent.
    """
    given = 0
    for batch in batches(files):
        association = await peer.open(list(dict.fromkeys(file.context for file in batch)))
        for file in batch:
            if association.closed:
                raise Transient(f"the association has ended; {len(files) - given} files were not sent")
            yield await _store(association, file, peer.timeout_s)
            given += 1
        await association.release()


def batches(files: Iterable[File]) -> Iterator[list[File]]:
    """Cut where an association would need more presentation contexts than there can be (PS3.8 section 9.3.2.2)."""
    batch: list[File] = []
    contexts: set[tuple[str, str]] = set()
    for file in files:
        if file.context not in contexts and len(contexts) == MAX_CONTEXTS:
            yield batch
            batch, contexts = [], set()
        contexts.add(file.context)
        batch.append(file)
    if batch:
        yield batch


async def _store(association: Association, file: File, timeout_s: float) -> Sent:
    meta = file.meta
    context_id = association.accepted.get(file.context)
    if context_id is None:
        syntax = syntax_name(meta.transfer_syntax_uid)
        return Sent(file, False, f"not sent, the peer does not take {syntax} of SOP class {meta.sop_class_uid}")
    try:
        fd = os.open(file.path, os.O_RDONLY)
    except OSError as error:
        return Sent(file, False, f"not sent, {error.strerror}")
    try:
        answer = await association.store(
            context_id,
            meta.sop_class_uid,
            meta.sop_instance_uid,
            fd,
            file.offset,
            os.fstat(fd).st_size - file.offset,
            stall_s=timeout_s,
        )
    except Transient as error:
        return Sent(file, False, f"not stored, {error}")
    finally:
        os.close(fd)
    if answer.status == 0x0000:
        return Sent(file, True, "stored")
    stored = classify(answer.status) is Verdict.DELIVERED
    comment = "".join(c if c.isprintable() else "?" for c in answer.comment)  # a peer's text, for a terminal
    words = "stored with warning" if stored else "refused with"
    return Sent(file, stored, f"{words} status 0x{answer.status:04X} {comment}".rstrip())
