"""A lossless JPEG encoder of one component, in Python: for codestreams that libraries read but do not write."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

_PREDICTORS: dict[int, Callable[[int, int, int], int]] = {  # of left, above, above left (ISO/IEC 10918-1 table H.1)
    1: lambda a, b, c: a,
    2: lambda a, b, c: b,
    3: lambda a, b, c: c,
    4: lambda a, b, c: a + b - c,
    5: lambda a, b, c: a + ((b - c) >> 1),
    6: lambda a, b, c: b + ((a - c) >> 1),
    7: lambda a, b, c: (a + b) >> 1,
}
# The code of each category: table K.3, and a bit more for each category that it lacks.
_CODES = ("00", "010", "011", "100", "101", "110", *(f"{'1' * ones}0" for ones in range(3, 14)))


def encoded(values: Any, precision: int, predictor: int = 1, restart_rows: int = 0, point_transform: int = 0) -> bytes:
    """The codestream of `values` (rows, columns), which may be any integers that are right modulo 2^precision.

    It encodes their differences modulo 2^16 (H.1.2.1). The shortest difference modulo 2^precision may be another one: a
    device that takes 128 for -128 writes -180 after 52 where others write 76.
    """
    rows, columns = values.shape
    interval = restart_rows or rows
    data = b"".join(
        (b"\xff" + bytes((0xD0 + (row // interval - 1) % 8,)) if row else b"")
        + _interval((values[row : row + interval] & 0xFFFF).tolist(), 1 << (precision - point_transform - 1), predictor)
        for row in range(0, rows, interval)
    )
    return b"".join((
        b"\xff\xd8",
        _segment(0xC4, bytes((0, *(sum(len(code) == bits for code in _CODES) for bits in range(1, 17)), *range(17)))),
        _segment(0xC3, struct.pack(">BHHB3B", precision, rows, columns, 1, 1, 0x11, 0)),
        _segment(0xDD, struct.pack(">H", restart_rows * columns)) if restart_rows else b"",
        _segment(0xDA, bytes((1, 1, 0, predictor, 0, point_transform))),
        data,
        b"\xff\xd9",
    ))  # fmt: skip


def like_signed(values: Any, precision: int) -> Any:
    """The same samples, the upper half of them 2^precision less."""
    values = values.astype(np.int64)
    return values - (values >> (precision - 1) << precision)


def with_shortest_differences(values: Any, precision: int) -> Any:
    """The same samples, plus multiples of 2^precision that make each difference to the left the shortest one."""
    rows = values.astype(np.int64)
    rows[:, 1:] = np.diff(rows, axis=1)
    rows[1:, 0] = np.diff(rows[:, 0])
    half = 1 << (precision - 1)
    rows = (rows + half) % (1 << precision) - half
    rows[:, 0] = np.cumsum(rows[:, 0])
    return np.cumsum(rows, axis=1)


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _interval(rows: list[list[int]], half: int, predictor: int) -> bytes:
    bits = ""
    for at, row in enumerate(rows):
        for column, value in enumerate(row):
            if at and column:
                above = rows[at - 1]
                predicted = _PREDICTORS[predictor](row[column - 1], above[column], above[column - 1])
            elif at or column:
                predicted = rows[at - 1][0] if at else row[column - 1]
            else:
                predicted = half
            bits += _code(value - predicted)
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")


def _code(difference: int) -> str:
    """The category, then the difference in as many bits; from a negative one 1 is subtracted (F.1.2.1, H.1.2.2)."""
    difference = (difference + 0x7FFF & 0xFFFF) - 0x7FFF
    category = abs(difference).bit_length()
    extra = difference if difference >= 0 else difference + (1 << category) - 1
    return _CODES[category] + (f"{extra:0{category}b}" if 0 < category < 16 else "")
