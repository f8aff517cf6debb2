"""What the command line does beside running the service: look at the spool, put things back, and two handy SCUs.

The SCUs use the same association code as the sender, so that what `leyden echo` sees is what a delivery will see.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from leyden.config.settings import Settings
from leyden.deliver.retry import Verdict, classify
from leyden.dicom import part10
from leyden.dicom.identity import as_named
from leyden.dicom.negotiate import MAX_CONTEXTS
from leyden.dicom.part10 import FileMeta
from leyden.dicom.uids import IMPLICIT_LE, VERIFICATION, syntax_name
from leyden.errors import Corrupt, Transient
from leyden.net.scu import Association
from leyden.spool import doorbell
from leyden.spool.lock import holder
from leyden.spool.stage import Stage
from leyden.spool.store import Spool


def status(settings: Settings, *, as_json: bool) -> int:
    """Print a line a folder and destination that holds anything: how many entries, and the age of the oldest."""
    pid = holder(settings.spool_root)
    counts = Spool(settings.spool_root, sync=settings.sync_spool).counts()
    now_s = time.time()
    if as_json:
        rows = [
            {
                "folder": c.stage,
                "destination": c.destination,
                "files": c.files,
                "oldest_s": _age_s(c.oldest_received_s, now_s),
            }
            for c in counts
        ]
        print(orjson.dumps({"pid": pid, "spool": settings.cache_path, "folders": rows}).decode())
        return 0
    print(f"service: {f'running, process {pid}' if pid else 'not running'}; spool {settings.cache_path}")
    print(f"{'folder':<12} {'destination':<18} {'files':>9}  oldest")
    for count in counts:
        oldest = _words(_age_s(count.oldest_received_s, now_s))
        print(f"{count.stage:<12} {count.destination or '-':<18} {count.files:>9}  {oldest}")
    if not any(count.files for count in counts):
        print("nothing waits")
    return 0


def _age_s(received_s: float | None, now_s: float) -> float | None:
    return None if received_s is None else max(0.0, round(now_s - received_s, 1))


def _words(age_s: float | None) -> str:
    if age_s is None:
        return "-"
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60)):
        if age_s >= seconds:
            return f"{age_s / seconds:.1f} {unit}"
    return f"{age_s:.0f} s"


def queue_retry(settings: Settings, destination: str | None) -> int:
    """Put rejected and failed entries back into the queue, and wake the service if it runs."""
    spool = Spool(settings.spool_root, sync=settings.sync_spool)
    known = {d.ae_title for d in settings.destinations} | {
        c.destination for c in spool.counts() if c.stage is Stage.REJECTED
    }
    destination = settings.plan.titles.get(destination or "") or destination  # an alias will do
    if destination is not None and destination not in known:
        print(f"leyden: no destination {destination}; there are: {', '.join(sorted(known))}", file=sys.stderr)
        return 2
    nodes = {d.ae_title for d in settings.destinations}  # what was bound for a node that is gone stays where it is
    rejected = spool.retry(Stage.REJECTED, destination, nodes)
    failed = spool.retry(Stage.FAILED, destination, nodes)
    for role in ("planner", "sender", *(f"worker-{n}" for n in range(settings.workers))):
        doorbell.ring(settings.spool_root, role)
    print(f"back in the queue: {rejected} from rejected, {failed} from failed")
    return 0


async def echo(host: str, port: int, calling: str, called: str, timeout_s: float) -> int:
    """C-ECHO once (PS3.4 annex A); 0 when the answer is Success."""
    begin_s = time.monotonic()
    contexts = [(VERIFICATION, IMPLICIT_LE)]
    try:
        association = await _open(host, port, calling, called, contexts, timeout_s)
        answer = await association.echo()
        await association.release()
    except Transient as error:
        print(f"{called}@{host}:{port}: {error}", file=sys.stderr)
        return 1
    print(f"{called}@{host}:{port}: status 0x{answer:04X} after {1000 * (time.monotonic() - begin_s):.0f} ms")
    return 0 if answer == 0 else 1


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    meta: FileMeta
    offset: int


async def send(host: str, port: int, calling: str, called: str, paths: Iterable[Path], timeout_s: float) -> int:
    """C-STORE every DICOM file under `paths`, as it is, and print a line for each; 0 when all were taken.

    Associations are opened one after the other, each for as many files as 128 presentation contexts allow.
    """
    files, bad = _read_heads(paths)
    failures = bad
    for batch in _batches(files):
        contexts = list(dict.fromkeys((f.meta.sop_class_uid, f.meta.transfer_syntax_uid) for f in batch))
        try:
            association = await _open(host, port, calling, called, contexts, timeout_s)
        except Transient as error:
            print(f"{called}@{host}:{port}: {error}", file=sys.stderr)
            return 1
        for file in batch:
            said = await _store(association, file, timeout_s)
            failures += not said.startswith("stored")
            print(f"{said}: {file.path}")
            if association.closed:
                print("the association is gone; the files after this one were not sent", file=sys.stderr)
                return 1
        await association.release()
    print(f"{len(files) + bad - failures} stored, {failures} not")
    return 1 if failures else 0


async def _open(
    host: str, port: int, calling: str, called: str, contexts: list[tuple[str, str]], timeout_s: float
) -> Association:
    return await Association.open(
        host,
        port,
        calling=calling,
        called=called,
        contexts=contexts,
        connect_timeout_s=timeout_s,
        answer_timeout_s=timeout_s,
    )


def _read_heads(paths: Iterable[Path]) -> tuple[list[_File], int]:
    files, bad = [], 0
    for path in _files_under(paths):
        try:
            with path.open("rb") as stream:
                beginning = stream.read(1 << 16)
            head = part10.decode_head(beginning)
            if head is None:
                raise Corrupt("the file meta information does not end")
            meta, offset = head
            files.append(_File(path, as_named(meta, beginning[offset:]), offset))
        except (OSError, Corrupt) as error:
            bad += 1
            why = error.strerror if isinstance(error, OSError) else error
            print(f"not sent, {why}: {path}", file=sys.stderr)
    return files, bad


def _files_under(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.is_file())
        else:
            yield path


def _batches(files: list[_File]) -> Iterator[list[_File]]:
    batch: list[_File] = []
    pairs: set[tuple[str, str]] = set()
    for file in files:
        pair = (file.meta.sop_class_uid, file.meta.transfer_syntax_uid)
        if pair not in pairs and len(pairs) == MAX_CONTEXTS:
            yield batch
            batch, pairs = [], set()
        pairs.add(pair)
        batch.append(file)
    if batch:
        yield batch


async def _store(association: Association, file: _File, timeout_s: float) -> str:
    """What became of one file, in a word or a sentence."""
    meta = file.meta
    context_id = association.accepted.get((meta.sop_class_uid, meta.transfer_syntax_uid))
    if context_id is None:
        syntax = syntax_name(meta.transfer_syntax_uid)
        return f"not sent, the peer does not take {syntax} of SOP class {meta.sop_class_uid}"
    fd = os.open(file.path, os.O_RDONLY)
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
        return f"not stored, {error}"
    finally:
        os.close(fd)
    if answer.status == 0x0000:
        return "stored"
    comment = "".join(c if c.isprintable() else "?" for c in answer.comment)  # a peer's text, on our terminal
    stored = classify(answer.status) is Verdict.DELIVERED
    return f"{'stored with warning' if stored else 'refused with'} status 0x{answer.status:04X} {comment}".rstrip()
