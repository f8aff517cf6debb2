"""Mutants of valid inputs: damage that knows where parts begin and end, and which lengths count them.

A Seed is a valid input with its parts: an item of a PDU, an element of a data set, a segment of a codestream, a line. A
part is left out, doubled, put into another one, or comes from another seed, and the lengths around it follow or lie.
`bent` is the damage that knows nothing: bits, edge numbers, bytes that come and go.
"""

import random
import struct
from collections.abc import Sequence
from typing import NamedTuple

EDGES = (0, 1, 2, 3, 4, 7, 8, 0xFF, 0xFFFF, 0xFFFE, 0x7FFF, 0x8000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
MAX_BYTES = 16384  # of a mutant


class Part(NamedTuple):
    """[begin, end) of the input; `body`: where its value begins; `around`: the number of the part that holds it, or -1.

    `length_at` and `form`: where its length stands, and how, as struct says it; -1 = it has none, or an undefined one.
    """

    begin: int
    body: int
    end: int
    around: int = -1
    length_at: int = -1
    form: str = ""


class Seed(NamedTuple):
    """A valid input. `tail`: so many bytes at its end that nobody cares to see damaged often, as pixels."""

    data: bytes
    parts: Sequence[Part]


def mutant(chance: random.Random, seeds: Sequence[Seed]) -> bytes:
    """One of the seeds with one to four changes; most keep the structure around them whole."""
    seed = chance.choice(seeds)
    edits: list[tuple[int, int, bytes]] = []  # offset, how many bytes go, and what comes
    growth: dict[int, int] = {}  # part -> by how much its length is to change
    for _ in range(chance.choice((1, 1, 1, 2, 2, 4)) if seed.parts else 0):
        number = chance.randrange(len(seed.parts))
        part = seed.parts[number]
        offset, gone, put, around = part.end, 0, b"", part.around
        match chance.randrange(8):
            case 0 | 1 if part.length_at >= 0:  # a lie
                edits.append((part.length_at, struct.calcsize(part.form), _lie(chance, seed.data, part)))
                continue
            case 0 | 1 | 2:  # left out
                offset, gone = part.begin, part.end - part.begin
            case 3:  # doubled
                put = seed.data[part.begin : part.end]
            case 4:  # another part before it, perhaps of another seed
                other = chance.choice(seeds)
                there = chance.choice(other.parts or [Part(0, 0, 0)])
                offset, put = part.begin, other.data[there.begin : there.end]
            case 5:  # a part within itself
                offset, put, around = part.body, seed.data[part.begin : part.end], number
            case 6:  # another value
                old = seed.data[part.body : part.end]
                if len(old) > 512:
                    old = old[: chance.randrange(512)]
                offset, gone, put, around = part.body, part.end - part.body, bent(chance, old), number
            case 7:  # the value is cut
                left = chance.randrange(part.end - part.body + 1)
                offset, gone, around = part.body + left, part.end - part.body - left, number
        edits.append((offset, gone, put))
        while around >= 0 and chance.random() < 0.9:
            growth[around] = growth.get(around, 0) + len(put) - gone
            around = seed.parts[around].around
    for number, by in growth.items():
        part = seed.parts[number]
        if part.length_at >= 0 and by:
            size = struct.calcsize(part.form)
            (length,) = struct.unpack_from(part.form, seed.data, part.length_at)
            edits.append((part.length_at, size, struct.pack(part.form, (length + by) & ((1 << 8 * size) - 1))))
    data = _edited(seed.data, sorted(edits))
    if not edits or chance.random() < 0.2:
        data = bent(chance, data)
    if chance.random() < 0.05:
        data = data[: chance.randrange(len(data) + 1)]
    return data[:MAX_BYTES]


def _lie(chance: random.Random, data: bytes, part: Part) -> bytes:
    size = struct.calcsize(part.form)
    (length,) = struct.unpack_from(part.form, data, part.length_at)
    said = length + chance.choice((-8, -4, -2, -1, 1, 2, 4, 8)) if chance.random() < 0.5 else chance.choice(EDGES)
    return struct.pack(part.form, said & ((1 << 8 * size) - 1))


def _edited(data: bytes, edits: Sequence[tuple[int, int, bytes]]) -> bytes:
    pieces, at = [], 0
    for offset, gone, put in edits:
        if offset < at:
            continue  # within what another edit has taken away
        pieces += [data[at:offset], put]
        at = offset + gone
    return b"".join([*pieces, data[at:]])


def bent(chance: random.Random, content: bytes, begin: int = 0, near: int = 0) -> bytes:
    """Damage without a plan: bits, edge numbers, bytes removed, inserted, copied, the end cut off.

    Mostly within the 400 bytes from `near` on, where lengths and tables are, and never before `begin`.
    """
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        low = near if chance.random() < 0.85 else begin
        high = min(len(data), low + 400) if chance.random() < 0.6 else len(data)
        if low >= high:
            break
        at = chance.randrange(low, high)
        match chance.randrange(8):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at] = chance.randrange(256)
            case 2 | 3:  # a number at the edge of what its bytes hold
                size = chance.choice((1, 2, 4))
                number = chance.choice((0, 1, (1 << 8 * size - 1) - 1, 1 << 8 * size - 1, (1 << 8 * size) - 1))
                data[at : at + size] = number.to_bytes(size, chance.choice(("little", "big")))
            case 4:
                del data[at : at + chance.randrange(1, 64)]
            case 5:
                data[at:at] = chance.randbytes(chance.randrange(1, 64))
            case 6:
                there = chance.randrange(len(data))
                data[at : at + 32] = data[there : there + 32]
            case 7:
                if chance.random() < 0.3:
                    del data[at:]
    return bytes(data)
