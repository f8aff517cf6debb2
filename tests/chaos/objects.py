"""What the sources of the fault matrix send: an object is a function of its number, so that any process can make it.

There are three kinds: for a destination that gets JPEG 2000, for one that gets everything as it came, and for both (a
rule adds the second). Those for both are mutated, for each of the two in another way; none may arrive without its
mutation, or with the other one's. Each object has pixels of its own, and is of the canary patient, whose words
(support/canary.py) may stand nowhere but in objects.
"""

import random
from dataclasses import dataclass
from functools import cache

from support.wire import CT, el, us

COMPRESSED, AS_IS = "COMPRESSED", "ASIS"
KINDS = (  # called title, modality, destinations
    (COMPRESSED, b"CT", frozenset({COMPRESSED})),
    (AS_IS, b"CT", frozenset({AS_IS})),
    (COMPRESSED, b"MR", frozenset({COMPRESSED, AS_IS})),
)
ROUTINGS = f"""\
- AeTitles:
    - {COMPRESSED}
  Conditions:
    - Tag: 0008,0060
      MatchExpression: ^MR$
  Actions:
    - Type: add_destination
      Target: {AS_IS}
"""
MUTATIONS = "".join(
    f"""\
- AeTitles: [{title}]
  Conditions: [{{Tag: Modality, MatchExpression: MR}}]
  Actions: [{{Destination: {{Tag: PatientName, Value: {title}}}}}]
"""
    for title in (COMPRESSED, AS_IS)
)
CANARY = {"QZ000001": "name", "QZ000002": "id", "QZ000003": "pixels", "QZ000004": "comment"}
SIDE = 64
_ROOT = "2.25.1001."
_PIXEL_BYTES = 2 * SIDE * SIDE


@dataclass(frozen=True, slots=True)
class Object:
    """One object of a load: its data set in explicit little endian, and where it must come to."""

    uid: str
    called: str
    destinations: frozenset[str]
    data: bytes

    @property
    def pixels(self) -> bytes:
        return self.data[-_PIXEL_BYTES:]


def uid_of(number: int) -> str:
    return f"{_ROOT}{number + 1_000_000}"


def number_of(uid: str) -> int:
    """-1: it is none of ours."""
    return int(uid.removeprefix(_ROOT)) - 1_000_000 if uid.startswith(_ROOT) else -1


def called_by(number: int) -> str:
    return KINDS[number % len(KINDS)][0]


def make(number: int) -> Object:
    called, modality, destinations = KINDS[number % len(KINDS)]
    own = b"QZ000003%07d\0" % number
    before, between, after = _template()
    data = before + uid_of(number).encode() + between + modality + after + own + _noise()[len(own) :]
    return Object(uid_of(number), called, destinations, data)


@cache
def _noise() -> bytes:
    chance = random.Random(1)
    return b"".join(us(int(chance.gauss(1000 + 10 * (at % SIDE), 20))) for at in range(SIDE * SIDE))


@cache
def _template() -> tuple[bytes, bytes, bytes]:
    """The data set without UID, modality and pixels."""
    uid, modality, pixels = uid_of(0).encode(), b"MODALITY", bytes(_PIXEL_BYTES)
    whole = b"".join((
        el(0x00080016, "UI", CT.encode() + b"\0"),
        el(0x00080018, "UI", uid + b"\0" * (len(uid) % 2)),
        el(0x00080060, "CS", modality, 2),
        el(0x00100010, "PN", b"QZ000001^CANARY "),
        el(0x00100020, "LO", b"QZ000002"),
        el(0x00104000, "LT", b"QZ000004"),
        el(0x0020000D, "UI", b"2.25.1001.77"),
        el(0x0020000E, "UI", b"2.25.1001.78"),
        el(0x00280002, "US", us(1)),
        el(0x00280004, "CS", b"MONOCHROME2 "),
        el(0x00280010, "US", us(SIDE)),
        el(0x00280011, "US", us(SIDE)),
        el(0x00280100, "US", us(16)),
        el(0x00280101, "US", us(16)),
        el(0x00280102, "US", us(15)),
        el(0x00280103, "US", us(0)),
        el(0x7FE00010, "OW", pixels),
    ))  # fmt: skip
    before, _, rest = whole.partition(uid)
    between, _, after = rest.partition(modality)
    return before, between, after[: -len(pixels)]
