"""The clock of a service, which can be set while it runs: clock.c, in the library of faults.py."""

import mmap
import os
import struct
from pathlib import Path

_PAGE = struct.Struct("=qqq")


class Clock:
    """`environment` is for the service, beside that of Faults, whose library does the work."""

    def __init__(self, folder: Path) -> None:
        path = folder / "clock"
        path.write_bytes(bytes(_PAGE.size))
        self.environment = {"FAULT_CLOCK": os.fspath(path)}
        with open(path, "r+b") as file:
            self._page = mmap.mmap(file.fileno(), _PAGE.size)
        self._ahead_s = [0.0, 0.0, 0.0]

    def set(self, ahead_s: float = 0.0) -> None:
        """From now on the wall clock is so much ahead of the real one."""
        self._ahead_s[0] = ahead_s
        self._write()

    def pass_by(self, all_s: float = 0.0, sender_s: float = 0.0) -> None:
        """So much time passes at once on the monotonic clock of all processes, or of the sender."""
        self._ahead_s[1] += all_s
        self._ahead_s[2] += sender_s
        self._write()

    def _write(self) -> None:
        self._page[:] = _PAGE.pack(*(int(ahead_s * 1e9) for ahead_s in self._ahead_s))
