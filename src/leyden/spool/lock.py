"""The lock of a spool: only one service, with its roles, may work on it at a time.

A lock by flock(2) belongs to the open file, not to the process. The roles inherit the descriptor, so the lock is held
until the last of them is gone. The lock is never stale: after a crash the file is still there, but not locked.
Beside it, the lock of those who change small files of one folder.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from leyden.errors import Transient
from leyden.spool.moves import make_folder

_POLL_S = 0.05
_DYING_S = 0.25  # a killed process is still there for a moment


class SpoolInUse(Transient):
    """Another service works on this spool. The message names its process id and the lock file."""


class SpoolLock:
    """Held from construction until release() and the end of every process that inherited `fd`, or until take_back()."""

    fd: int

    def __init__(self, root: Path, wait_s: float = 5.0) -> None:
        """Take the lock of the spool in the folder `root`, which is made if it is missing.

        SpoolInUse: after 0.25 s if the process recorded in the file lives; after `wait_s` if that process is gone, but
        one of its children still holds the lock.
        """
        make_folder(os.fspath(root))
        path = root / "lock"
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        start_s = time.monotonic()
        try:
            while not _take(self.fd, fcntl.LOCK_EX):
                pid = _recorded(self.fd)
                waited_s = time.monotonic() - start_s
                if waited_s > _DYING_S and _lives(pid):
                    raise SpoolInUse(f"the service with process id {pid} works on this spool ({path}); stop it first")
                if waited_s > wait_s:
                    raise SpoolInUse(
                        f"process {pid} is gone, but one that it started still holds {path} (`fuser {path}` names it)"
                    )
                time.sleep(_POLL_S)
            # Overwritten, then truncated: if it were emptied first, a full disk might have no room for the new text.
            os.ftruncate(self.fd, os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0))
        except BaseException:
            os.close(self.fd)
            raise

    def release(self) -> None:
        """Close the descriptor; children that inherited it still hold the lock."""
        os.close(self.fd)

    def take_back(self) -> None:
        """Unlock for the children as well: for children that were killed but cannot end yet."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        os.close(self.fd)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Those who change the files of a folder do so one after the other; it is made if it is missing. OSError."""
    make_folder(os.fspath(folder))
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def holder(root: Path) -> int | None:
    """The process id of the service that works on this spool; it is safe to send it a signal.

    None if there is no service, or if only its roles are left, which are about to end.
    """
    try:
        fd = os.open(root / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if _take(fd, fcntl.LOCK_SH):
            return None
        pid = _recorded(fd)
        return pid if _lives(pid) else None
    finally:
        os.close(fd)


def _take(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _recorded(fd: int) -> int:
    """The process id in the lock file; 0 if there is none yet."""
    with contextlib.suppress(ValueError):
        return int(os.pread(fd, 32, 0).partition(b"\n")[0])
    return 0


def _lives(pid: int) -> bool:
    """Whether this process lives and may be a service. To kill(2), 0 and less are process groups; 1 is init."""
    if pid <= 1:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    # A zombie (a process that has ended, but was not reaped yet) holds no lock any more.
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
