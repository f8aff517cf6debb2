"""The board of a running service, read from outside: what its processes do at this moment.

It is found among the service's open files, so there is nothing to be told, written or cleaned up. That takes the same
user as the service's, with its capabilities, or root.
"""

import os
from pathlib import Path

import msgspec

from leyden import board
from leyden.board import Cell, Row
from leyden.spool.lock import holder

_LINK = f"/memfd:{board.NAME}"  # as /proc names it, with " (deleted)" behind


class Vital(msgspec.Struct, frozen=True):
    """A service and the rows of the roles that it has started, in the order in which it starts them."""

    pid: int
    rows: tuple[Row, ...]

    def __getitem__(self, cell: Cell) -> int:
        """The sum over all roles; for a role's own see `rows`."""
        return sum(row[cell] for row in self.rows)

    def of(self, role: str) -> tuple[Row, ...]:
        """The rows of one role."""
        return tuple(row for row in self.rows if row.role == role)


def vital(root: Path) -> Vital | None:
    """What the service on the spool under `root` does; None if there is none, or if we may not look into it."""
    pid = holder(root)
    return None if pid is None else _of(pid)


def begun_ticks(pid: int) -> int:
    """When a process began, in clock ticks since the boot (proc(5): the 22nd field of its stat); 0 = not known.

    In a container the service may have the same number at each start: this tells one from another.
    """
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def _of(pid: int) -> Vital | None:
    whose = "self" if os.getppid() == pid else pid  # a role has it open too, and may not look into one with more rights
    try:
        with os.scandir(f"/proc/{whose}/fd") as files:
            path = next((file.path for file in files if os.readlink(file.path).startswith(_LINK)), None)
        if path is None:
            return None  # it has only begun
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return Vital(pid, tuple(row for row in board.read(fd) if row[Cell.SINCE_NS]))
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)
