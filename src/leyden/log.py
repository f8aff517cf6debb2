"""Where log lines go: standard error and <log_dir>/leyden.log, one line a record, one write a line.

Every process appends for itself: a line is one write to a file opened for appending. The supervisor alone rotates; the
others notice within FOLLOW_S that the name belongs to another file and open that one. Logging never raises: a line that
the file cannot take is on standard error only, and the file is tried again. Control characters are escaped, so that
a line cannot be forged and a terminal is safe. In the form json a line is one JSON object. Patient data does not belong
in a message: callers name UIDs, AE titles and counts. The standard library's WatchedFileHandler costs twice as much a
line and raises where the folder is gone.
"""

import contextlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import orjson

ROTATE_BYTES = 100 * 1024 * 1024
KEPT_FILES = 5
FOLLOW_S = 1.0
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
_JSON_CONTROLS = {code: f"\\u{code:04x}" for code in _CONTROLS if code >= 127}  # the others are escaped in any case
_COLOURS = {"WARNING": "33", "ERROR": "31", "CRITICAL": "31"}
_LEVEL = re.compile(r"^(\S+ \S+ )(WARNING|ERROR|CRITICAL)(?= )", re.MULTILINE)
_said: set[tuple[str, str]] = set()  # logger and kind of what once() has logged
_logger = logging.getLogger("leyden.log")

# No line shows the place in the code, the thread or the process id. To find them out is half of what a record costs.
logging._srcfile = None
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


class LogSettings(msgspec.Struct, frozen=True):
    """`form`: text or json; `level`: debug, info, warning or error."""

    form: str = "text"
    level: str = "info"


AS_EVER = LogSettings()
structured = False  # whether a record's `fields` are shown: to be asked for as log.structured, since adopt() sets it


def escaped(text: str) -> str:
    """One line: without line feeds, and with other control characters as \\xNN."""
    return text.replace("\n", "").translate(_CONTROLS)


class _Formatter(logging.Formatter):
    _second, _shown = 0, ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """As the superclass, but computed once a second."""
        if int(record.created) != self._second:
            self._second, self._shown = int(record.created), super().formatTime(record, datefmt)
        return self._shown

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback is the only thing that may take more, and those are indented."""
        text = super().format(record)
        if not record.exc_info:
            return escaped(text)
        return "\n    ".join(line.translate(_CONTROLS) for line in text.split("\n"))


class _JsonFormatter(logging.Formatter):
    """One JSON object: at (UTC), level, role, message, and what the record has been given besides (`fields`)."""

    _second, _shown = 0, ""

    def __init__(self, who: str) -> None:
        super().__init__()
        self._who = who

    def format(self, record: logging.LogRecord) -> str:
        if int(record.created) != self._second:
            self._second = int(record.created)
            self._shown = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self._second))
        told = {
            "at": f"{self._shown}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "role": self._who,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        try:
            text = orjson.dumps(told).decode()
        except TypeError:  # a title that is no Unicode, or a number beyond 64 bits
            text = json.dumps(told, default=str)
        return text if text.isascii() else text.translate(_JSON_CONTROLS)


class _Handler(logging.Handler):
    """Formats a record once, for standard error and for the file, if there is one."""

    def __init__(self, who: str, path: Path | None) -> None:
        super().__init__()
        self.who = who
        self.colours = False
        self._path = path
        self._fd = -1
        self._inode = (0, 0)  # of what is open: device and inode
        self._follow_at_s = 0.0
        self._failing = False
        self._gathered: list[bytes] | None = None  # lines that are to be written together

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n".encode("utf-8", "backslashreplace")
        except Exception:
            self.handleError(record)
            return
        if self._gathered is None:
            self._write(line)
        else:
            self._gathered.append(line)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Gather the lines that are logged meanwhile, and write them at the end."""
        self._gathered = []
        try:
            yield
        finally:
            with self.lock or contextlib.nullcontext():
                lines, self._gathered = self._gathered, None
                if lines:
                    self._write(b"".join(lines))

    def _write(self, lines: bytes) -> None:
        _to_stderr(coloured(lines.decode()) if self.colours else lines.decode())
        if self._path is None:
            return
        now_s = time.monotonic()
        due = now_s >= self._follow_at_s
        try:
            try:
                if due:
                    self._follow_at_s = now_s + FOLLOW_S
                    self.follow()
            finally:  # where it can't be followed, the file that is still open takes the lines
                if self._fd >= 0:
                    os.write(self._fd, lines)
        except OSError as error:
            if not self._failing:
                self._failing = True
                _to_stderr(f"leyden: {self._path} can't be written, see standard error: {error.strerror}\n")
        else:
            if due:
                self._failing = False

    def follow(self) -> None:
        """Open the file that has the name now, unless it is open already. OSError: what is open stays open."""
        if self._path is None:
            return
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(self._path)
            if (status.st_dev, status.st_ino) == self._inode:
                return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        status = os.fstat(fd)
        self._fd, old_fd, self._inode = fd, self._fd, (status.st_dev, status.st_ino)
        if old_fd >= 0:
            os.close(old_fd)

    def close(self) -> None:
        with self.lock or contextlib.nullcontext():
            if self._fd >= 0:
                os.close(self._fd)
                self._fd, self._inode, self._path = -1, (0, 0), None
        super().close()


def _to_stderr(lines: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # it may be full, closed, or not there
        sys.stderr.write(lines)  # line-buffered: flushed by the end of the line


def set_up(who: str, log_dir: Path | None, settings: LogSettings = AS_EVER) -> None:
    """Send this process's records to standard error and, given a folder, to leyden.log in it (0600).

    OSError: the file cannot be opened. Records go to standard error then, and the file is tried again.
    """
    handler = _Handler(who, log_dir / "leyden.log" if log_dir is not None else None)
    logging.basicConfig(handlers=[handler], force=True)
    adopt(settings)
    handler.follow()


def adopt(settings: LogSettings) -> None:
    """From now on, log at this level and in this form. What libraries say below INFO is never logged."""
    global structured
    structured = settings.form == "json"
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    logging.getLogger("leyden").setLevel(level if level < logging.INFO else logging.NOTSET)
    logging.getLogger().setLevel(max(level, logging.INFO))
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Handler):
            handler.colours = not structured and _is_a_terminal()
            handler.setFormatter(
                _JsonFormatter(handler.who)
                if structured
                else _Formatter(
                    f"%(asctime)s.%(msecs)03d %(levelname)-7s {handler.who}: %(message)s", "%Y-%m-%d %H:%M:%S"
                )
            )


def _is_a_terminal() -> bool:
    """Whether standard error is one that is to show colours (https://no-color.org)."""
    with contextlib.suppress(ValueError, AttributeError):
        return sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    return False


def coloured(lines: str) -> str:
    """Lines for a terminal, with the levels above INFO in their colour."""
    return _LEVEL.sub(lambda found: f"{found[1]}\x1b[{_COLOURS[found[2]]}m{found[2]}\x1b[0m", lines)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Gather the lines that are logged meanwhile, and write them at the end, all at once. One thread at a time."""
    with contextlib.ExitStack() as stack:
        for handler in logging.getLogger().handlers:
            if isinstance(handler, _Handler):
                stack.enter_context(handler.together())
        yield


def once(logger: logging.Logger, level: int, kind: str, message: str) -> None:
    """Log the first message of a kind in this process, and no other of that kind."""
    if (logger.name, kind) not in _said:
        _said.add((logger.name, kind))
        logger.log(level, "%s", message)


def rotate(log_dir: Path) -> None:
    """Rename leyden.log when it has grown beyond ROTATE_BYTES, and keep KEPT_FILES old ones. Only the supervisor does.

    A file that cannot be renamed goes on growing; that is logged once.
    """
    current = log_dir / "leyden.log"
    try:
        if current.stat().st_size < ROTATE_BYTES:
            return
        for n in range(KEPT_FILES - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                os.replace(log_dir / f"leyden.log.{n}", log_dir / f"leyden.log.{n + 1}")
        os.replace(current, log_dir / "leyden.log.1")
    except FileNotFoundError:
        return
    except OSError as error:
        once(_logger, logging.WARNING, "rotate", f"leyden.log is not rotated: {error}")
