"""The chain of the audit log, pure: a record is a line of JSON with its number and a MAC over it and the MAC before it.

A line is `{"seq":N,…,"mac":"64 hex digits"}`: HMAC-SHA-256 over the 32 bytes of the MAC before it and the line up to
`,"mac"`. So nobody without the key can change, remove, add or swap records without breaking the chain there; whoever
has the key can write a new one from there on. The first record of a file, `opened`, repeats the MAC before it, so that
a file can be checked without those before it. That nothing was cut off at the end, a chain alone does not show: for
that one has to know its end (Link) from elsewhere.
"""

import hmac
import re
from typing import NamedTuple

import orjson

_MAC_BYTES = 32
_RECORD = re.compile(rb'(\{"seq":([1-9]\d{0,17}),.*),"mac":"([0-9a-f]{64})"\}\n', re.DOTALL)
_SEQ = re.compile(rb'\{"seq":([1-9]\d{0,17}),')


class Link(NamedTuple):
    """Where a chain ends: the number and the MAC of its last record."""

    seq: int = 0
    mac: bytes = bytes(_MAC_BYTES)


class Record(NamedTuple):
    """A line, taken apart: `text` is what the MAC is over, besides the MAC before it."""

    seq: int
    text: bytes
    mac: bytes


def sealed(key: bytes, end: Link, body: bytes) -> tuple[bytes, Link]:
    """The next line of a chain, and its new end. `body`: the members of a JSON object, without braces. 2 us."""
    text = b'{"seq":%d,%b' % (end.seq + 1, body)
    mac = hmac.digest(key, end.mac + text, "sha256")
    return b'%b,"mac":"%b"}\n' % (text, mac.hex().encode()), Link(end.seq + 1, mac)


def record_of(line: bytes) -> Record | None:
    """A line with its line feed; None if it is no record."""
    found = _RECORD.fullmatch(line)
    return Record(int(found[2]), found[1], bytes.fromhex(found[3].decode())) if found else None


def seq_of(line: bytes) -> int:
    """The number that a line claims to have; 0 if it has none."""
    found = _SEQ.match(line)
    return int(found[1]) if found else 0


def follows(key: bytes, end: Link, record: Record) -> bool:
    """Whether a record is the next one of a chain. About 1 us."""
    return record.seq == end.seq + 1 and hmac.compare_digest(
        hmac.digest(key, end.mac + record.text, "sha256"), record.mac
    )


def key_id(key: bytes) -> str:
    """What may be known of a key, to tell it from another."""
    return hmac.digest(key, b"leyden audit", "sha256")[:8].hex()


def opened(key: bytes, end: Link, at_s: float) -> bytes:
    """The body of the first record of a file."""
    members = {"event": "opened", "at_s": at_s, "key": key_id(key), "after": end.mac.hex()}
    return orjson.dumps(members)[1:-1]


def opened_after(line: bytes) -> tuple[str, Link] | None:
    """Of the first line of a file, what opened() has put there: the key_id, and where the chain stood; else None."""
    record = record_of(line)
    try:
        members = orjson.loads(record.text + b"}") if record else {}
        if record and members["event"] == "opened" and len(after := bytes.fromhex(members["after"])) == _MAC_BYTES:
            return str(members["key"]), Link(record.seq - 1, after)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        pass
    return None
