"""Targets: what the service reads back from its own spool, which a crash, a bad disk or a hand may have changed.

An input of `records` names its reader in its first line; the rest is the content of the file.
"""

import os
import random
import re
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_origin

import msgspec

from fuzz.damage import Part, Seed, mutant
from leyden.alerts import alerts
from leyden.audit import chain, collector, keeper, verify
from leyden.errors import Corrupt, WrongFormat
from leyden.form import ladder
from leyden.journal import index, segments, tail
from leyden.journal.events import Delivered, Received
from leyden.kept_rules import KeptRules
from leyden.operate import outboxes, rates, reading, tokens, trace
from leyden.operate.reading import Reading, Result
from leyden.plan.rules import CopyRules
from leyden.spool import control, ended, entry, format, receipts
from leyden.spool.stage import Stage
from leyden.spool.store import Spool

RECEIPT = "0017958888000000000001"
ENTRY = entry.Entry(
    RECEIPT, "0123abcd", "0123abcd", "0123abcd", "0123abcd", "JPEG2000Lossless", 3, 1795888800, 1, True, 7, 2
)


@cache
def _names() -> list[Seed]:
    found = [ENTRY, entry.Entry(RECEIPT), entry.Entry(RECEIPT, "a" * 8, "b" * 8, "c" * 8, edits="0" * 16)]
    texts = [each.name for each in found]
    texts += [entry.claim_name(Stage.PREPARED, title, "07", each) for each in found for title in ("PACS", "ÄÖ %~/")]
    return [_divided(text.encode(), rb"[^.~%]+|[.~%]") for text in texts]


def _divided(data: bytes, form: bytes, begin: int = 0) -> Seed:
    """A seed whose parts are what a regular expression finds, from `begin` on."""
    spans = (found.span() for found in re.compile(form).finditer(data, begin))
    return Seed(data, [Part(at, at, end) for at, end in spans])


def name(chance: random.Random) -> bytes:
    return mutant(chance, _names())


def names(data: bytes) -> str:
    """A name that is read gives the same entry under its own name; a title never leaves its folder."""
    text = os.fsdecode(data)
    read = False
    found = entry.parse(text)
    if found is not None:
        read = True
        assert entry.parse(found.name) == found
        assert found.bucket.isdigit()
        assert found.received_s >= 0
        assert found.series == "" or found.series_key in found.series
    claim = entry.parse_claim(f"/spool/{text}")
    if claim is not None:
        read = True
        assert entry.is_rank(claim.rank)
        assert "/" not in entry.folder(claim.destination or "x")
        if claim.destination:
            again = entry.parse_claim(entry.claim_name(claim.stage, claim.destination, claim.rank, claim.entry))
            assert again is not None
            assert again.entry == claim.entry
    title = entry.title(text)
    if title:
        folder = entry.folder(title)
        assert folder not in (".", "..")
        assert not set(folder) & set("/\0~.")
        assert entry.title(folder) == title
    return "read" if read else "refused"


# -- files


@cache
def _root() -> Path:
    """A spool of one file. Whoever reads something else finds nothing."""
    root = Path(tempfile.mkdtemp(prefix="fuzz", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    for folder in ("state/rules", "control", "journal", "failed", "receipts", "active/planner-0"):
        (root / folder).mkdir(parents=True)
    return root


def _note(path: Path) -> None:
    file = os.fspath(path.with_suffix(""))
    ended.note(file)
    trace._reason(file)
    for destination in ("", "PACS"):
        back = ended.origin(file, destination)
        assert entry.is_rank(back.rank)


def _control(path: Path) -> None:
    for what in (control.Control, control.Flags):
        seen: control._File[Any] = control._File(path, what)
        assert isinstance(seen.value(), what if what is control.Control else dict)
    control.Controls(path.parents[1]).titles()


def _journal(path: Path) -> None:
    folder = os.fspath(path.parent)
    with open(path, "rb") as file:
        segments._begun_s(file.fileno(), 1.0)
    events = tail.Tail(folder, {})
    events.read()
    events.close()
    rates.rates(path.parents[1], 1795888800.0)
    for line in path.read_bytes().splitlines():
        index._parsed(line)
    index.find(folder, "receipt", [RECEIPT])


def _receipts(path: Path) -> None:
    found = receipts.delivered(path.parents[1], [(RECEIPT, "PACS")])
    assert found <= {(RECEIPT, "PACS")}


def _plan(path: Path) -> None:
    Spool(path.parents[2], sync=False).finish_plan(path, lambda wanted: wanted)
    path.touch()


def _audit(path: Path) -> None:
    for line in path.read_bytes().splitlines(keepends=True):
        chain.record_of(line)
        chain.seq_of(line)
        chain.opened_after(line)
        verify._at_s(line[:-1])
        keeper._at_s(line[:-1])


def _state(read: Callable[[Path], object]) -> Callable[[Path], None]:
    return lambda path: (read(path.parents[1]), None)[1]


def _accepted(path: Path) -> None:
    with suppress(Corrupt):
        ladder.parse(path.read_bytes())


def _tokens(path: Path) -> None:
    with suppress(OSError):  # it says what the file holds instead
        tokens.listed(path.parents[1])


def _format(path: Path) -> None:
    with suppress(WrongFormat):
        format.check(path.parent)


def _rules(path: Path) -> None:
    with suppress(Corrupt):
        KeptRules(path.parents[2], sync=False).read(path.stem)


READERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "note": (f"failed/{RECEIPT}.dcm.json", _note),
    "control": ("control/PACS.json", _control),
    "journal": ("journal/receiver-0.jsonl", _journal),
    "receipts": ("receipts/2026112915-sender-0.jsonl", _receipts),
    "plan": (f"active/planner-0/{RECEIPT}.plan", _plan),
    "audit": ("state/audit.jsonl", _audit),
    "audit-note": ("state/audit.json", _state(keeper.read_note)),
    "collector": ("state/collector.json", lambda path: (collector.Collector._noted(_noting(path)), None)[1]),
    "alerts": (alerts._NAME, _state(alerts.read)),
    "outboxes": (outboxes._NAME, _state(lambda root: outboxes.read(root, 1))),
    "reading": (reading._NAME, _state(reading.read)),
    "accepted": ("state/PACS.json", _accepted),
    "tokens": (tokens._NAME, _tokens),
    "format": ("format", _format),
    "rules": ("state/rules/0123456789abcdef.json", _rules),
}


def _noting(path: Path) -> Any:
    return SimpleNamespace(_note=path)


@cache
def _records() -> list[Seed]:
    received = Received(
        RECEIPT,
        1795888799.5,
        sop_class_uid="1.2",
        sop_instance_uid="1.3",
        calling="CT1",
        called="PACS",
        syntax="1.2",
        bytes=9,
    )
    delivered = Delivered(RECEIPT, 1795888799.0, **_fields(Delivered))
    lines = b"\n".join(map(msgspec.json.encode, (received, delivered))) + b"\n"
    line, end = chain.sealed(b"k", chain.Link(), chain.opened(b"k", chain.Link(), 1.5))
    claims = [entry.claim_name(Stage.PREPARED, title, "07", ENTRY) for title in ("PACS", "B")]
    order = control.Order("me", 1.0, 2.0, "why")
    acceptance: Any = ladder.Acceptance()
    contents = {
        "note": b'{"reason":"x","when":"2026","origin":{"stage":"prepared","destination":"PACS","rank":"07"}}\n',
        "control": msgspec.json.encode(control.Control(order, order)),
        "journal": lines,
        "receipts": lines,
        "plan": msgspec.json.encode({"generation": 1, "source": f"new/00179588/{RECEIPT}.dcm", "to": claims}),
        "audit": line + chain.sealed(b"k", end, b'"event":"received","at_s":1.5')[0],
        "audit-note": b'{"end":[3,"' + b"A" * 43 + b'="],"key":"0"}',
        "collector": b'{"seq":12}',
        "alerts": msgspec.json.encode(alerts.State()),
        "outboxes": b'{"service":1,"outboxes":{"PACS":{"queued":1}}}',
        "reading": msgspec.json.encode(Reading(**_fields(Reading))),
        "accepted": ladder.serialize({"1.2": acceptance}),
        "tokens": msgspec.json.encode([tokens.Token("a", "read", "0", 1.0)]),
        "format": b"1\nLeyden 0.1.0\n",
        "rules": msgspec.json.encode(CopyRules("PACS", "LEYDEN", ())),
    }
    seeds = []
    for kind, content in contents.items():
        data = kind.encode() + b"\n" + content
        seeds.append(_divided(data, rb'"[^"]*"|[\[\]{}:,]|[\d.]+|\n', len(kind) + 1))
    return seeds


def _fields(struct: Any) -> dict[str, Any]:
    """Some value for each field that has no default."""
    values = {str: "1.2", int: 7, float: 1.5, tuple: (), Result: Result.CHANGED}
    return {
        f.name: values.get(get_origin(f.type) or f.type, "x")
        for f in msgspec.structs.fields(struct)
        if f.required and f.name not in ("receipt", "at_s")
    }


_JSON = (
    b"null",
    b"[]",
    b"{}",
    b"-1",
    b"1e999",
    b"9" * 400,
    b'""',
    b"true",
    b'"\xff"',
    b'"\\ud800"',
    b"[" * 2000,
    b"NaN",
    b"\0",
)


def record(chance: random.Random) -> bytes:
    """A damaged file; often one value of it has become another kind of value."""
    seeds = _records()
    if chance.random() < 0.5:
        return mutant(chance, seeds)
    seed = chance.choice(seeds)
    part = chance.choice(seed.parts)
    data = seed.data[: part.begin] + chance.choice(_JSON) + seed.data[part.end :]
    return data if chance.random() < 0.7 else mutant(chance, [Seed(data, ())])


def records(data: bytes) -> str:
    """Every reader copes with any content of its file: it has what it had before, or nothing."""
    kind, _, content = data.partition(b"\n")
    known = kind.decode("latin-1")
    if known not in READERS:
        known = random.Random(zlib.crc32(data)).choice(list(READERS))
    place, read = READERS[known]
    path = _root() / place
    path.write_bytes(content)
    try:
        read(path)
    finally:
        path.unlink(missing_ok=True)
    return f"read {known}"
