"""JPEG (ISO/IEC 10918-1) as bytes: what a codestream claims, where its data are, and what a dataset asks of an encoder.

Every length is held against the bytes at hand and against a bound; no pixel is touched here (libjpeg.py does that).
Lossless has as many bits as Bits Allocated, as DCMTK's "true lossless" has: it costs nothing (the differences are the
same), and signed samples, overlays in high bits and 8 bits in 16 come back bit by bit from every reader.
Which colour transform is to be undone says the dataset; where the markers contradict it, the image is left alone.
Absent: progressive, hierarchical and arithmetic processes, several scans, DNL, other subsampling than 4:4:4 to 4:2:0.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from leyden.errors import Corrupt
from leyden.transcode.pixels import (
    LOSSY_PALETTE,
    MORE_THAN_16_BITS,
    OTHER_HIGH_BIT,
    Claim,
    Description,
    Obstacle,
    Planes,
    Unfit,
    first_reason,
)

MAX_SEGMENTS = 1024
MAX_SIDE = 65500  # of libjpeg
MAX_TABLES_BYTES = 8 * (17 + 256)
NO_CODE_BITS = 1 << 20  # the length of a code that is not in the table

# The processes by their frame headers' markers (table B.1).
BASELINE = 0xC0
EXTENDED = 0xC1
_LOSSLESS = 0xC3
_PRECISIONS = {BASELINE: (8,), EXTENDED: (8, 12), _LOSSLESS: tuple(range(2, 17))}
_ABSENT = {0xC2, *range(0xC5, 0xC8), *range(0xC9, 0xD0), 0xDC, 0xDE, 0xDF}  # other SOFn, DAC, DNL, DHP, EXP
_FRAME_HEADERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DHT = 0xC4
_EOI = 0xD9
_SOS = 0xDA
_DQT = 0xDB
_DRI = 0xDD
_APP0 = 0xE0
_APP14 = 0xEE
_APP15 = 0xEF
_COM = 0xFE
_ALONE = {0, 1, *range(0xD0, 0xDA)}  # no segment follows: stuffing, TEM, RSTn, SOI, EOI
_SUBSAMPLING = {(1, 1), (2, 1), (1, 2), (2, 2)}
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_FILLED = re.compile(rb"\xff*(?=\xff)")  # fill bytes may stand before any marker (B.1.1.2), SOI too (PS3.5 A.4.1)
BEGINS = rb"\xff+\xd8\xff"

_OBSTACLES: tuple[Obstacle, ...] = (
    (lambda d: max(d.rows, d.columns) > MAX_SIDE, f"more than {MAX_SIDE} rows or columns"),
    MORE_THAN_16_BITS,
)
_LOSSY_OBSTACLES: tuple[Obstacle, ...] = (
    *_OBSTACLES,
    (lambda d: d.signed, "signed pixels, which lossy JPEG does not hold"),
    LOSSY_PALETTE,
    OTHER_HIGH_BIT,
)
_BASELINE_OBSTACLES: tuple[Obstacle, ...] = (
    *_LOSSY_OBSTACLES,
    (lambda d: (d.bits_allocated, d.bits_stored) != (8, 8), "bits allocated and stored other than 8 and 8"),
)
_EXTENDED_OBSTACLES: tuple[Obstacle, ...] = (
    *_LOSSY_OBSTACLES,
    (
        lambda d: (d.bits_allocated, d.bits_stored) not in ((8, 8), (16, 12)),
        "bits allocated and stored other than 8 and 8, 16 and 12",
    ),
    (lambda d: d.samples > 1 and d.bits_stored > 8, "colour of more than 8 bits"),
)


def planes(described: Description) -> Planes:
    """All bits allocated, no sign (PS3.5 section 8.2.1). `rct`: R, G and B, which lossless leaves as they are."""
    d = described
    return Planes(d.samples, d.rows, d.columns, d.bits_allocated, rct=d.photometric == "RGB")


def planes_lossy(described: Description) -> Planes:
    """Bits stored, no sign; R, G and B are decorrelated."""
    d = described
    return Planes(d.samples, d.rows, d.columns, d.bits_stored, rct=d.photometric == "RGB")


def obstacle(described: Description) -> str | None:
    """Why Lossless (either UID) can't hold such pixels; None = it can."""
    return first_reason(_OBSTACLES, described)


def obstacle_baseline(described: Description) -> str | None:
    """Why Baseline can't hold such pixels as table 8.2.1-1 of PS3.5 has it; None = it can."""
    return first_reason(_BASELINE_OBSTACLES, described)


def obstacle_extended(described: Description) -> str | None:
    """Why Extended can't hold such pixels as table 8.2.1-1 of PS3.5 has it; None = it can.

    9 to 11 bits would have to go in as 12, and the loss could then lead beyond Bits Stored.
    """
    return first_reason(_EXTENDED_OBSTACLES, described)


def photometric_lossy(described: Description) -> str:
    """Photometric Interpretation after lossy encoding: colour is subsampled."""
    return "YBR_FULL_422" if described.samples == 3 else described.photometric


@dataclass(slots=True)
class FrameHeader:
    """What stands before the entropy-coded data.

    `components`: identifier, horizontal and vertical sampling factor. `kept`: marker and contents of the segments but
    APPn and COM. `code_bits`: the length of the code of each category, by DC table; `selectors` names the table of each
    component, `ac_selectors` that of its AC coefficients. `data_offset` is where the entropy-coded data begin, 0 = not
    at hand.
    """

    process: int = 0
    precision: int = 0
    rows: int = 0
    columns: int = 0
    components: tuple[tuple[int, int, int], ...] = ()
    jfif: bool = False
    adobe: int | None = None
    restart_interval: int = 0
    kept: list[tuple[int, bytes]] = field(default_factory=list)
    code_bits: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    selectors: tuple[int, ...] = ()
    ac_selectors: tuple[int, ...] = ()
    predictor: int = 0
    point_transform: int = 0
    data_offset: int = 0

    @property
    def lossless(self) -> bool:
        return self.process == _LOSSLESS

    @property
    def unit(self) -> tuple[int, int]:
        """Rows and columns of a minimum coded unit (A.2); a single component is never interleaved."""
        side = 1 if self.lossless else 8
        _, wide, high = self.components[0]
        return (side, side) if len(self.components) == 1 else (high * side, wide * side)

    @property
    def units(self) -> int:
        high, wide = self.unit
        return -(-self.rows // high) * -(-self.columns // wide)

    @property
    def planes(self) -> Planes:
        return Planes(len(self.components), self.rows, self.columns, self.precision)

    @property
    def names_rgb(self) -> bool:
        return bytes(identifier for identifier, _, _ in self.components) == b"RGB"


def inspect(memory: memoryview, described: Description) -> Claim:
    """What the frame header claims: planes, and whether the process is one of the DCT.

    `rct`: there is a YCbCr transform to undo, which only the dataset says.

    Corrupt: none, or a broken one. Unfit: a process or a subsampling that is not read here, or markers (JFIF, Adobe,
    names of components) that say otherwise than Photometric Interpretation: who is right can't be known.
    """
    header = read(memory)
    return replace(header.planes, rct=_from_ycbcr(header, described)), not header.lossless


def outline(memory: memoryview) -> tuple[Planes, int]:
    """The shape that the frame header of any process claims, and the process. Corrupt: there is none at hand."""
    for marker, _, content in _segments(memory):
        if marker in _FRAME_HEADERS and len(content) >= 6:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", content)
            return Planes(samples, rows, columns, precision), marker
    raise Corrupt("a JPEG codestream without a frame header")


def inspect_to_keep(memory: memoryview, described: Description) -> Claim:
    """What the frame header claims of a JPEG that is to be kept as it is. The colours are as the dataset says.

    Unfit: of another process than Baseline and Extended, as which it can be given back, or of more than 8 bits.
    """
    found, process = outline(memory)
    if process not in (BASELINE, EXTENDED) or found.precision != 8:
        raise Unfit("a JPEG of another process than Baseline and Extended of 8 bits")
    return replace(found, rct=found.samples == 3 and described.photometric != "RGB"), True


def _from_ycbcr(header: FrameHeader, described: Description) -> bool:
    if len(header.components) == 1 or described.samples == 1:
        return False
    if described.photometric == "RGB":
        subsampled = header.components[0][1:] != (1, 1)
        only_jfif = header.jfif and header.adobe is None and not header.names_rgb
        if header.adobe not in (None, 0) or subsampled or only_jfif:
            raise Unfit("Photometric Interpretation RGB, but markers of YCbCr in the JPEG codestream")
        return False
    if header.lossless:
        return False
    if described.photometric not in ("YBR_FULL", "YBR_FULL_422"):
        raise Unfit("lossy JPEG in another Photometric Interpretation than RGB, YBR_FULL and YBR_FULL_422")
    if header.adobe == 0 or (header.names_rgb and header.adobe is None and not header.jfif):
        raise Unfit("Photometric Interpretation YCbCr, but markers of RGB in the JPEG codestream")
    return True


def read(memory: memoryview) -> FrameHeader:
    """Walk the markers to the scan header. Corrupt: broken, or no frame header at hand. Unfit: of an absent kind."""
    header = FrameHeader()
    for marker, end, content in _segments(memory):
        if marker in _PRECISIONS:
            _read_frame(header, marker, content)
        elif marker in _ABSENT:
            raise Unfit("a JPEG process other than Baseline, Extended and Lossless")
        elif marker == _DHT:
            _read_tables(header, content)
        elif marker == _DRI:
            header.restart_interval = int.from_bytes(content[:2], "big")
        elif marker == _APP0:
            header.jfif = header.jfif or bytes(content[:5]) == b"JFIF\0"
        elif marker == _APP14 and len(content) >= 12 and bytes(content[:5]) == b"Adobe":
            header.adobe = content[11]
        elif marker == _SOS:
            _read_scan(header, content)
            header.data_offset = end
        if not _APP0 <= marker <= _APP15 and marker != _COM:
            header.kept.append((marker, bytes(content)))
    if not header.process:
        raise Corrupt("a JPEG codestream without a frame header")
    return header


def _segments(memory: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Marker, end and contents of each segment, up to and including SOS or what is at hand."""
    begin = re.match(BEGINS, memory)
    if begin is None:
        raise Corrupt("no JPEG codestream")
    at = begin.end() - 1
    for _ in range(MAX_SEGMENTS):
        fill = _FILLED.match(memory, at)
        at = fill.end() if fill else at
        if at + 4 > len(memory):
            return
        prefix, marker, length = struct.unpack_from(">BBH", memory, at)
        if prefix != 0xFF or marker in _ALONE or length < 2:
            raise Corrupt("a JPEG codestream whose segments do not follow one another")
        end = at + 2 + length
        if end > len(memory):
            return
        yield marker, end, memory[at + 4 : end]
        if marker == _SOS:
            return
        at = end
    raise Corrupt(f"a JPEG codestream of more than {MAX_SEGMENTS} segments before its data")


def _read_frame(header: FrameHeader, marker: int, content: memoryview) -> None:
    """The frame header (B.2.2)."""
    if header.process or len(content) < 6 or len(content) != 6 + 3 * content[5]:
        raise Corrupt("a JPEG codestream of two frame headers, or a broken one")
    precision, rows, columns, samples = struct.unpack_from(">BHHB", content)
    if rows == 0:
        raise Unfit("a JPEG codestream that says its number of lines only afterwards")
    if precision not in _PRECISIONS[marker] or columns == 0:
        raise Corrupt(f"a JPEG codestream of impossible size or precision ({precision} bits)")
    if samples not in (1, 3) or max(rows, columns) > MAX_SIDE:
        raise Unfit(f"a JPEG codestream of {samples} components, or of more than {MAX_SIDE} rows or columns")
    components = tuple((content[at], content[at + 1] >> 4, content[at + 1] & 15) for at in range(6, len(content), 3))
    if len({identifier for identifier, _, _ in components}) != samples:
        raise Corrupt("a JPEG codestream with two components of one name")
    first_factors, *other_factors = (factors for _, *factors in components)
    known = {(1, 1)} if marker == _LOSSLESS else _SUBSAMPLING
    if tuple(first_factors) not in known or any(factors != [1, 1] for factors in other_factors):
        raise Unfit("a JPEG codestream with another subsampling than 4:4:4, 4:2:2, 4:4:0 and 4:2:0")
    header.process, header.precision, header.rows, header.columns = marker, precision, rows, columns
    header.components = components


def _read_tables(header: FrameHeader, content: memoryview) -> None:
    """Code lengths of the DC tables, one for each category of 0 to 16 bits (B.2.4.2)."""
    for number, counts, symbols in _tables(bytes(content)):
        if number < 16:
            code_bits = header.code_bits[number] = np.full(17, NO_CODE_BITS, np.int64)
            for symbol, bits in zip(symbols, np.repeat(np.arange(1, 17), counts), strict=True):
                if symbol < 17:
                    code_bits[symbol] = bits


def _tables(content: bytes) -> Iterator[tuple[int, list[int], bytes]]:
    """Class and number of each Huffman table in a segment, how many codes of 1 to 16 bits it has, and their symbols."""
    if len(content) > MAX_TABLES_BYTES:
        raise Corrupt("more Huffman tables than there can be")
    at = 0
    while at < len(content):
        counts = list(content[at + 1 : at + 17])
        symbols = content[at + 17 : at + 17 + sum(counts)]
        if len(counts) != 16 or len(symbols) != sum(counts):
            raise Corrupt("a broken Huffman table")
        yield content[at], counts, symbols
        at += 17 + len(symbols)


def _read_scan(header: FrameHeader, content: memoryview) -> None:
    """The scan header (B.2.3): one scan of all components in their order."""
    if not header.process or len(content) < 1 or len(content) != 4 + 2 * content[0]:
        raise Corrupt("a broken scan header")
    if bytes(content[1:-3:2]) != bytes(identifier for identifier, _, _ in header.components):
        raise Unfit("a JPEG codestream of several scans")
    header.selectors = tuple(selectors >> 4 for selectors in content[2:-3:2])
    header.ac_selectors = tuple(selectors & 15 for selectors in content[2:-3:2])
    header.predictor, header.point_transform = content[-3], content[-1] & 15
    if header.lossless and not (1 <= header.predictor <= 7 and header.point_transform < header.precision):
        raise Corrupt("a predictor or point transform that JPEG does not know")


def intervals(header: FrameHeader, codestream: memoryview) -> list[bytes]:
    """The entropy-coded data of each restart interval (E.1.4), without fill bytes.

    Corrupt: no end, another number or order of intervals than the image needs, or too few bytes for it.
    """
    data = codestream[header.data_offset :]
    end = _MARKER.search(data) if header.data_offset else None
    if end is None or data[end.start() + 1] != _EOI:
        raise Corrupt("a JPEG codestream without an end, or with something else before it")
    interval = header.restart_interval or header.units
    count = -(-header.units // interval)
    restarts = list(islice(_RESTART.finditer(data, 0, end.start()), count))
    if len(restarts) + 1 != count or any(m[1][0] != 0xD0 + number % 8 for number, m in enumerate(restarts)):
        raise Corrupt("a JPEG codestream that lacks restart markers, or has too many")
    if header.lossless and interval % header.columns:
        raise Corrupt("a JPEG codestream with a restart interval of no whole rows")
    begins, ends = [0, *(m.end() for m in restarts)], [*(m.start() for m in restarts), end.start()]
    found = [bytes(data[begin:stop]).rstrip(b"\xff") for begin, stop in zip(begins, ends, strict=True)]
    if not all(found) or 8 * sum(map(len, found)) < header.units * len(header.components):
        raise Corrupt("a JPEG codestream of fewer bits than samples or blocks")
    return found


def is_whole(header: FrameHeader, interval: bytes, units: int) -> bool:
    """Whether the data of a DCT process are so many minimum coded units and nothing more, code by code (F.2.2).

    It takes about a microsecond a code.
    """
    tables = _lookups(header)
    wanted = [(0x00 | dc, 0x10 | ac) for dc, ac in zip(header.selectors, header.ac_selectors, strict=True)]
    if not all(number in tables for pair in wanted for number in pair):
        return False
    alone = len(wanted) == 1
    blocks = [
        (tables[dc], tables[ac])
        for (dc, ac), (_, wide, high) in zip(wanted, header.components, strict=True)
        for _ in range(1 if alone else wide * high)
    ]
    data = interval.replace(b"\xff\0", b"\xff")
    at, end, padded = 0, 8 * len(data), data + bytes(3)
    for dc_codes, ac_codes in blocks * units:
        lengths, symbols = dc_codes
        coefficients = 0
        while coefficients < 64:
            next_16_bits = int.from_bytes(padded[at >> 3 : (at >> 3) + 3], "big") >> (8 - (at & 7)) & 0xFFFF
            length, symbol = lengths[next_16_bits], symbols[next_16_bits]
            run, size = symbol >> 4, symbol & 15
            at += length + size
            if not length or at > end:
                return False
            if not coefficients:
                coefficients, (lengths, symbols) = 1, ac_codes
            elif size or run == 15:
                coefficients += run + 1
            else:
                coefficients = 64
        if coefficients > 64:
            return False
    return (at + 7) // 8 == len(data)


def _lookups(header: FrameHeader) -> dict[int, tuple[bytes, bytes]]:
    """The length of the code (0 = none) that 16 bits begin with, and its symbol, by class and number of the table."""
    found: dict[int, tuple[bytes, bytes]] = {}
    for marker, content in header.kept:
        for number, counts, symbols in _tables(content) if marker == _DHT else ():
            spans = [1 << (16 - bits) for bits, count in enumerate(counts, 1) for _ in range(count)]
            lengths = b"".join(bytes((17 - span.bit_length(),)) * span for span in spans)
            meanings = b"".join(bytes((symbol,)) * span for symbol, span in zip(symbols, spans, strict=True))
            found[number] = lengths.ljust(1 << 16, b"\0"), meanings.ljust(1 << 16, b"\0")
    return found


def head(header: FrameHeader) -> bytes:
    """SOI to SOS without APPn and COM: nothing in it names a colour space."""
    return b"\xff\xd8" + b"".join(_segment(marker, content) for marker, content in header.kept)


def widen(header: FrameHeader, least_bits: int) -> FrameHeader:
    """A lossless process of the same data that shows more of each sample modulo 2^16, which is what is predicted from.

    Precision and point transform are less or more by as many bits, so that there are at least `least_bits` of precision
    and the library shifts as few bits as can be out of 16; the first prediction (H.1.2.1) stays the same.
    """
    bits = header.precision - header.point_transform
    precision = max(least_bits, bits)
    kept = list(header.kept)
    for at, (marker, content) in enumerate(kept):
        if marker == header.process:
            kept[at] = marker, bytes((precision,)) + content[1:]
        elif marker == _SOS:
            kept[at] = marker, content[:-1] + bytes((content[-1] & 0xF0 | precision - bits,))
    return replace(header, precision=precision, point_transform=precision - bits, kept=kept)


def revealing_head(header: FrameHeader, worth: int) -> bytes:
    """As `head`, but whatever changes in the data of a DCT process changes the image, sound data still being sound.

    DC coefficients count as little as can be, the others `worth`, and samples have 12 bits, so that little saturates;
    and codes that the Huffman tables lack, which the library takes for a 0, have a meaning.
    """
    pieces = [b"\xff\xd8", _segment(_DQT, b"".join(bytes((number, 1, *[worth] * 63)) for number in range(4)))]
    for marker, content in header.kept:
        if marker == _DHT:
            content = b"".join(_completed(*table) for table in _tables(content))
        elif marker == header.process:
            marker, content = EXTENDED, b"\x0c" + content[1:]
        if marker != _DQT:
            pieces.append(_segment(marker, content))
    return b"".join(pieces)


def _completed(number: int, counts: list[int], symbols: bytes) -> bytes:
    """A Huffman table with codes behind its own, which stay what they are: 5 bits follow each."""
    longest = max((bits for bits, count in enumerate(counts, 1) if count), default=0)
    free = (1 << longest) - sum(count << (longest - bits) for bits, count in enumerate(counts, 1) if count)
    if longest and 0 < free <= 256 - len(symbols) - 16:
        more = [free - 1 if bits == longest else int(bits > longest) for bits in range(1, 17)]
        counts = [count + extra for count, extra in zip(counts, more, strict=True)]
        symbols += bytes((5,)) * sum(more)
    return bytes((number, *counts)) + symbols


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def join(head: bytes, data: list[bytes]) -> bytes:
    """A codestream of SOI to SOS and entropy-coded intervals."""
    pieces = [head, data[0]]
    for number, interval in enumerate(data[1:]):
        pieces += (bytes((0xFF, 0xD0 + number % 8)), interval)
    return b"".join((*pieces, b"\xff\xd9"))
