"""Files of lines that several crashes may have cut short: opened so that the next line starts on its own."""

import os
from pathlib import Path


def open_lines(path: Path) -> int:
    """A descriptor that appends to a file (0600, made if it is missing). A last line that was cut off is ended.

    OSError: the disk refuses.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            os.write(fd, b"\n")
    except OSError:
        os.close(fd)
        raise
    return fd
