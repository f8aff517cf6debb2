"""JPEG codestreams (ISO/IEC 10918-1): what their headers claim, where their data are, and what an encoder has to do.

Every length is checked against the bytes at hand and against a bound. No pixel is read here (see libjpeg.py). Lossless
JPEG gets as many bits as Bits Allocated, as DCMTK's "true lossless": it costs nothing, as the differences are the same,
and signed samples, overlays in high bits and 8 bits in 16 come back bit for bit from every reader. The dataset tells
which colour transform to undo; if the markers contradict it, the image stays as it is.
Absent: progressive, hierarchical and arithmetic processes, several scans, DNL, other subsampling than 4:4:4 to 4:2:0.
"""

import re
import struct
from collections.abc import Iterator
from itertools import islice

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from leyden.errors import Corrupt
from leyden.transcode.pixels import (
    LOSSY_PALETTE,
    MORE_THAN_16_BITS,
    OTHER_HIGH_BIT,
    Declared,
    Description,
    Obstacle,
    Planes,
    Unfit,
    first_reason,
)

MAX_SEGMENTS = 1024
MAX_SIDE = 65500  # of libjpeg
MAX_TABLES_BYTES = 8 * (17 + 256)
NO_CODE_BITS = 1 << 20  # stands for the length of a code that is not in the table

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
_ALONE = {0, 1, *range(0xD0, 0xDA)}  # markers without a segment: stuffing, TEM, RSTn, SOI, EOI
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
    (lambda d: d.signed, "signed pixels, which lossy JPEG cannot hold"),
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
    """Precision Bits Allocated, unsigned (PS3.5 section 8.2.1). `rct`: R, G and B; lossless does not transform them."""
    d = described
    return Planes(d.samples, d.rows, d.columns, d.bits_allocated, rct=d.photometric == "RGB")


def planes_lossy(described: Description) -> Planes:
    """Precision Bits Stored, unsigned; R, G and B are decorrelated."""
    d = described
    return Planes(d.samples, d.rows, d.columns, d.bits_stored, rct=d.photometric == "RGB")


def obstacle(described: Description) -> str | None:
    """Why lossless JPEG (both UIDs) cannot hold such pixels; None = it can."""
    return first_reason(_OBSTACLES, described)


def obstacle_baseline(described: Description) -> str | None:
    """Why Baseline cannot hold such pixels (PS3.5 table 8.2.1-1); None = it can."""
    return first_reason(_BASELINE_OBSTACLES, described)


def obstacle_extended(described: Description) -> str | None:
    """Why Extended cannot hold such pixels (PS3.5 table 8.2.1-1); None = it can.

    9 to 11 bits would have to be encoded as 12, and the loss could exceed Bits Stored.
    """
    return first_reason(_EXTENDED_OBSTACLES, described)


def photometric_lossy(described: Description) -> str:
    """Photometric Interpretation after lossy encoding: colour is subsampled."""
    return "YBR_FULL_422" if described.samples == 3 else described.photometric


class FrameHeader(msgspec.Struct):
    """The headers before the entropy-coded data.

    `components`: identifier, horizontal and vertical sampling factor. `kept`: marker and contents of all segments
    except APPn and COM. `code_bits`: the code length of each category, by DC table. `selectors`: the DC table of each
    component; `ac_selectors`: its AC table. `data_offset`: where the entropy-coded data begin, 0 = beyond the bytes at
    hand.
    """

    process: int = 0
    precision: int = 0
    rows: int = 0
    columns: int = 0
    components: tuple[tuple[int, int, int], ...] = ()
    jfif: bool = False
    adobe: int | None = None
    restart_interval: int = 0
    kept: list[tuple[int, bytes]] = msgspec.field(default_factory=list)
    code_bits: dict[int, NDArray[np.int64]] = msgspec.field(default_factory=dict)
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
        """Rows and columns of a minimum coded unit, MCU (A.2). A single component is never interleaved."""
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


def inspect(memory: memoryview, described: Description) -> Declared:
    """What the frame header claims: planes, and whether the process is lossy (uses the DCT).

    `rct`: the colours are YCbCr, and the decoder has to undo that; only the dataset tells.

    Corrupt: no frame header, or a broken one. Unfit: a process or a subsampling that is not read here, or markers
    (JFIF, Adobe, component names) that contradict Photometric Interpretation, so that the colours are not known.
    """
    header = read(memory)
    return replace(header.planes, rct=_from_ycbcr(header, described)), not header.lossless


def outline(memory: memoryview) -> tuple[Planes, int]:
    """The shape in the frame header of any process, and the process. Corrupt: no frame header in the bytes at hand."""
    for marker, _, content in _segments(memory):
        if marker in _FRAME_HEADERS and len(content) >= 6:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", content)
            return Planes(samples, rows, columns, precision), marker
    raise Corrupt("a JPEG codestream without a frame header")


def inspect_to_keep(memory: memoryview, described: Description) -> Declared:
    """What the frame header claims of a JPEG that will be recompressed. The dataset tells the colours.

    Unfit: a process other than Baseline and Extended, or more than 8 bits.
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
        raise Unfit("lossy JPEG with a Photometric Interpretation other than RGB, YBR_FULL and YBR_FULL_422")
    if header.adobe == 0 or (header.names_rgb and header.adobe is None and not header.jfif):
        raise Unfit("Photometric Interpretation YCbCr, but markers of RGB in the JPEG codestream")
    return True


def read(memory: memoryview) -> FrameHeader:
    """Read all segments up to the scan header. Corrupt: broken, or no frame header. Unfit: a kind that is not read."""
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
    """Marker, end and contents of each segment, up to and with SOS, or as far as bytes are at hand."""
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
        raise Unfit("a JPEG codestream that gives its number of lines after the data (DNL)")
    if precision not in _PRECISIONS[marker] or columns == 0:
        raise Corrupt(f"a JPEG codestream of impossible size or precision ({precision} bits)")
    if samples not in (1, 3) or max(rows, columns) > MAX_SIDE:
        raise Unfit(f"a JPEG codestream of {samples} components, or of more than {MAX_SIDE} rows or columns")
    components = tuple((content[at], content[at + 1] >> 4, content[at + 1] & 15) for at in range(6, len(content), 3))
    if len({identifier for identifier, _, _ in components}) != samples:
        raise Corrupt("a JPEG codestream in which two components have the same identifier")
    first_factors, *other_factors = (factors for _, *factors in components)
    known = {(1, 1)} if marker == _LOSSLESS else _SUBSAMPLING
    if tuple(first_factors) not in known or any(factors != [1, 1] for factors in other_factors):
        raise Unfit("a JPEG codestream with a subsampling other than 4:4:4, 4:2:2, 4:4:0 and 4:2:0")
    header.process, header.precision, header.rows, header.columns = marker, precision, rows, columns
    header.components = components


def _read_tables(header: FrameHeader, content: memoryview) -> None:
    """The code lengths of the DC tables, for the categories of 0 to 16 bits (B.2.4.2)."""
    for number, counts, symbols in _tables(bytes(content)):
        if number < 16:
            code_bits = header.code_bits[number] = np.full(17, NO_CODE_BITS, np.int64)
            for symbol, bits in zip(symbols, np.repeat(np.arange(1, 17), counts), strict=True):
                if symbol < 17:
                    code_bits[symbol] = bits


def _tables(content: bytes) -> Iterator[tuple[int, list[int], bytes]]:
    """For each Huffman table of a segment: class and number, how many codes of 1 to 16 bits, and their symbols."""
    if len(content) > MAX_TABLES_BYTES:
        raise Corrupt("more Huffman tables than are allowed")
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
        raise Corrupt("an invalid predictor or point transform")


def intervals(header: FrameHeader, codestream: memoryview) -> list[bytes]:
    """The entropy-coded data of each restart interval (E.1.4), without fill bytes.

    Corrupt: no EOI, a number or order of intervals that does not fit the image, or too few bytes for it.
    """
    data = codestream[header.data_offset :]
    end = _MARKER.search(data) if header.data_offset else None
    if end is None or data[end.start() + 1] != _EOI:
        raise Corrupt("a JPEG codestream without EOI, or with another marker before it")
    interval = header.restart_interval or header.units
    count = -(-header.units // interval)
    restarts = list(islice(_RESTART.finditer(data, 0, end.start()), count))
    if len(restarts) + 1 != count or any(m[1][0] != 0xD0 + number % 8 for number, m in enumerate(restarts)):
        raise Corrupt("a JPEG codestream that lacks restart markers, or has too many")
    if header.lossless and interval % header.columns:
        raise Corrupt("a JPEG codestream whose restart interval is not a number of whole rows")
    begins, ends = [0, *(m.end() for m in restarts)], [*(m.start() for m in restarts), end.start()]
    found = [bytes(data[begin:stop]).rstrip(b"\xff") for begin, stop in zip(begins, ends, strict=True)]
    if not all(found) or 8 * sum(map(len, found)) < header.units * len(header.components):
        raise Corrupt("a JPEG codestream of fewer bits than samples or blocks")
    return found


def is_whole(header: FrameHeader, interval: bytes, units: int) -> bool:
    """Whether the data of a DCT process hold exactly so many minimum coded units, by reading every code (F.2.2).

    About a microsecond for each code.
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
    """By class and number of a table: for each 16 bits, the length of their first code (0 = none), and its symbol."""
    found: dict[int, tuple[bytes, bytes]] = {}
    for marker, content in header.kept:
        for number, counts, symbols in _tables(content) if marker == _DHT else ():
            spans = [1 << (16 - bits) for bits, count in enumerate(counts, 1) for _ in range(count)]
            lengths = b"".join(bytes((17 - span.bit_length(),)) * span for span in spans)
            meanings = b"".join(bytes((symbol,)) * span for symbol, span in zip(symbols, spans, strict=True))
            found[number] = lengths.ljust(1 << 16, b"\0"), meanings.ljust(1 << 16, b"\0")
    return found


def head(header: FrameHeader) -> bytes:
    """The codestream from SOI to SOS without APPn and COM, so that nothing in it names a colour space."""
    return b"\xff\xd8" + b"".join(_segment(marker, content) for marker, content in header.kept)


def widen(header: FrameHeader, least_bits: int) -> FrameHeader:
    """Headers for the same lossless data that show more bits of each sample; prediction works modulo 2^16.

    Precision and point transform change by the same number of bits, so that the first prediction (H.1.2.1) stays the
    same. The precision is at least `least_bits`, and the library shifts as few bits as possible out of 16.
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
    """SOI to SOS with which each change in the data of a DCT process changes the image. Undamaged data stay valid.

    The quantization step of DC coefficients is 1, that of all others `worth`; samples have 12 bits, so that few are
    clipped. Codes that are missing in the Huffman tables, which the library would decode as 0, get a meaning.
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
    """A Huffman table with additional codes after its own; 5 bits follow each of them."""
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
    """A codestream from SOI to SOS (`head`) and the entropy-coded data of the restart intervals."""
    pieces = [head, data[0]]
    for number, interval in enumerate(data[1:]):
        pieces += (bytes((0xFF, 0xD0 + number % 8)), interval)
    return b"".join((*pieces, b"\xff\xd9"))
