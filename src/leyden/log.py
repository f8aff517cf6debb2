"""Where log lines go: standard error and <log_dir>/leyden.log, one line a record, one write a line.

Every process appends for itself (a line is one write to a file opened for appending); the supervisor alone rotates,
and the others follow the renamed file by its inode. Control characters never reach a terminal or forge a line.
Patient data does not belong in a message: callers name UIDs, AE titles and counts.
"""

import logging
import os
import sys
from logging.handlers import WatchedFileHandler
from pathlib import Path

ROTATE_BYTES = 100 * 1024 * 1024
KEPT_FILES = 5
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
_said: set[tuple[str, str]] = set()


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).split("\n")
        return (
            "\n    ".join(line.translate(_CONTROLS) for line in lines)
            if record.exc_info
            else "".join(lines).translate(_CONTROLS)
        )


def set_up(who: str, log_dir: Path | None, level: int = logging.INFO) -> None:
    """Send this process's records to standard error and, given a folder, to leyden.log in it (0600)."""
    os.umask(0o077)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log_dir is not None:
        log_dir.mkdir(parents=True, exist_ok=True)
        handlers.append(WatchedFileHandler(log_dir / "leyden.log", encoding="utf-8"))
    formatter = _Formatter(f"%(asctime)s.%(msecs)03d %(levelname)-7s {who}: %(message)s", "%Y-%m-%d %H:%M:%S")
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=handlers, force=True)


def once(logger: logging.Logger, level: int, kind: str, message: str) -> None:
    """Log the first message of a kind in this process; the others of that kind are silent."""
    if (logger.name, kind) not in _said:
        _said.add((logger.name, kind))
        logger.log(level, "%s", message)


def rotate(log_dir: Path) -> None:
    """Rename leyden.log away when it has grown beyond ROTATE_BYTES, keeping KEPT_FILES old ones. Supervisor only."""
    current = log_dir / "leyden.log"
    try:
        if current.stat().st_size < ROTATE_BYTES:
            return
    except FileNotFoundError:
        return
    for n in range(KEPT_FILES - 1, 0, -1):
        older = log_dir / f"leyden.log.{n}"
        if older.exists():
            older.replace(log_dir / f"leyden.log.{n + 1}")
    current.replace(log_dir / "leyden.log.1")
