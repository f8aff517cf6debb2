"""The number of the format of everything below cachePath: entries, receipts, journal, state/ and control/ together.

It grows by one when an older version could misread what a newer one leaves. A newer version reads every older format,
an older one refuses a newer format and touches nothing. What does not matter to an older version (a new event in the
journal, a new file in state/) leaves the number as it is. The number stands in `format`, beside the lock:

- none: before 0.1 was released; read as format 1.
- 1: 0.1.
"""

import os
from pathlib import Path

from leyden import __version__
from leyden.errors import WrongFormat
from leyden.spool.moves import sync_folder, write_whole

FORMAT = 1
_NAME = "format"
_MAX_BYTES = 200


def check(root: Path) -> None:
    """Raise WrongFormat if the spool is of a newer version, or if its format can't be told. Reads only. OSError."""
    try:
        with open(root / _NAME, "rb") as file:
            text = file.read(_MAX_BYTES).decode("ascii", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return
    number, _, writer = text.partition("\n")
    if not (number.isascii() and number.isdigit()):
        raise WrongFormat(
            f"{root / _NAME} holds no number, so what made this spool can't be told; nothing was touched. If Leyden "
            f"{__version__} was the last to use it, write {FORMAT} into that file"
        )
    if int(number) > FORMAT:
        by = f" ({writer.strip()})" if writer.strip() else ""
        raise WrongFormat(
            f"the spool {root} has format {number}, of a newer version{by}; Leyden {__version__} reads formats up to "
            f"{FORMAT}. Nothing was touched: start the newer version, or let it deliver everything and then give this "
            "one an empty cachePath"
        )


def mark(root: Path) -> None:
    """Write the format of this version into the spool, durably, before anything else is. WrongFormat, OSError."""
    check(root)
    content = f"{FORMAT}\nLeyden {__version__}\n".encode()
    path = root / _NAME
    if not path.exists() or path.read_bytes() != content:
        write_whole(os.fspath(path), content, sync=True)
        sync_folder(root)
