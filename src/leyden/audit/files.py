"""The files of the audit log: leyden_audit.log is written, .N is full, audit_archive/ has those zipped.

N rises and is never given again. A file goes to the archive whole, with its time: written, synced, renamed, and only
then removed here. Whoever finds a file in both places takes the one that is not zipped.
"""

import contextlib
import errno
import gzip
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from leyden import crash
from leyden.spool.moves import make_folder, sync_folder

NAME = "leyden_audit.log"
ARCHIVE = "audit_archive"
_NUMBERED = re.compile(rf"{re.escape(NAME)}\.(\d{{1,9}})(?:\.gz)?")
_LAST = 10**9


def number_of(path: Path) -> int:
    """Its place in the order of the files; the one that is written comes last."""
    found = _NUMBERED.fullmatch(path.name)
    return int(found[1]) if found else _LAST


def files(log_dir: Path) -> list[Path]:
    """All files of the audit log, the oldest first. OSError."""
    found: dict[int, Path] = {}
    for folder in (log_dir / ARCHIVE, log_dir):
        with contextlib.suppress(FileNotFoundError):
            for path in folder.iterdir():
                if _NUMBERED.fullmatch(path.name):
                    found[number_of(path)] = path
    if (log_dir / NAME).exists():
        found[_LAST] = log_dir / NAME
    return [found[number] for number in sorted(found)]


def opened(path: Path) -> IO[bytes]:
    """A file, zipped or not. OSError."""
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, zipped or not, each with its line feed. OSError: it can't be read (to its end)."""
    with opened(path) as file:
        try:
            yield from file
        except (EOFError, zlib.error) as error:
            raise OSError(errno.EIO, f"{path} is damaged: {error}") from error


def next_line(file: IO[bytes]) -> bytes:
    """The next line of an open file, with its line feed; b"" at its end, or where a zipped one is damaged. OSError."""
    try:
        return file.readline()
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return b""


def set_aside(log_dir: Path) -> None:
    """Give the file that is written its number, so that the next one begins. OSError."""
    numbers = [number_of(path) for path in files(log_dir)]
    number = 1 + max((number for number in numbers if number < _LAST), default=0)
    os.rename(log_dir / NAME, log_dir / f"{NAME}.{number}")
    sync_folder(log_dir)


def archive(log_dir: Path) -> None:
    """Zip what is full. About 3 s for 100 MB, and the interpreter is free meanwhile. OSError."""
    for path in log_dir.iterdir():
        if path.suffix != ".gz" and _NUMBERED.fullmatch(path.name):
            folder = log_dir / ARCHIVE
            make_folder(os.fspath(folder))
            making = folder / f"{path.name}.gz.making"
            with path.open("rb") as full, making.open("wb") as file:
                with gzip.GzipFile(path.name, "wb", 6, file) as zipped:
                    shutil.copyfileobj(full, zipped, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
            times = path.stat()
            os.utime(making, ns=(times.st_atime_ns, times.st_mtime_ns))
            os.rename(making, folder / f"{path.name}.gz")
            sync_folder(folder)
            crash.point("audit-archived")
            path.unlink()


def expired(log_dir: Path, before_s: float) -> list[Path]:
    """The files of the archive that were last written before then, the oldest first. OSError."""
    try:
        found = sorted((log_dir / ARCHIVE).iterdir(), key=number_of)
    except FileNotFoundError:
        return []
    return [path for path in found if _NUMBERED.fullmatch(path.name) and path.stat().st_mtime < before_s]
