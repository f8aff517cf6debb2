"""A disk that fails when it is told to: faults.c, loaded before everything else by each process of a service."""

import ctypes
import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntFlag
from pathlib import Path

import pytest

_SOURCES = [Path(__file__).with_name(name) for name in ("faults.c", "clock.c")]
_RULE = struct.Struct("=IIiIqqqqII200s")
_RULES = 4
_SEEN = struct.Struct("=qq")
_SEEN_AT = 32  # of `seen` and `hits` in a rule
ROLES = ("supervisor", "receiver", "planner", "worker", "sender", "console", "watcher")


class Call(IntFlag):
    """Calls that a rule may hold for. OPEN is one that may write; NAME is a rename or a link."""

    OPEN = 1
    WRITE = 2
    SYNC = 4
    FOLDER_SYNC = 8
    NAME = 16
    UNLINK = 32
    MKDIR = 64
    READ = 128
    CHANGE = OPEN | WRITE | NAME | UNLINK | MKDIR


class Rule:
    """A rule that is in force."""

    def __init__(self, plan: mmap.mmap, at: int) -> None:
        self._plan, self._at = plan, at

    @property
    def hits(self) -> int:
        """How many calls have failed so far."""
        return int(_SEEN.unpack_from(self._plan, self._at + _SEEN_AT)[1])


class Faults:
    """The library and its plan. `environment` is for the service that shall have faults."""

    def __init__(self, folder: Path) -> None:
        self.environment = {"LD_PRELOAD": _library(folder), "FAULT_PLAN": os.fspath(folder / "faults.plan")}
        with open(folder / "faults.plan", "w+b") as file:
            file.truncate(_RULE.size * _RULES)
            self._plan = mmap.mmap(file.fileno(), _RULE.size * _RULES)

    @contextmanager
    def rule(
        self,
        calls: Call,
        error: int = 0,
        *,
        roles: Iterable[str] = ROLES,
        path: object = "",
        after: int = 0,
        times: int = -1,
        delay_s: float = 0.0,
        half: bool = False,
    ) -> Iterator[Rule]:
        """While the block runs, of these calls on paths with this text, `after` pass, and the next `times` (-1: all)
        fail with errno `error` (0: do nothing and say that it went well), come `delay_s` late, or do half of it."""
        mask = sum(1 << ROLES.index(role) for role in roles)
        number = next(at for at in range(_RULES) if not self._plan[at * _RULE.size])
        at = number * _RULE.size
        text = os.fspath(path) if isinstance(path, Path) else str(path)
        rule = _RULE.pack(0, mask, error, int(delay_s * 1000), after, times, 0, 0, half, 0, text.encode())
        self._plan[at : at + _RULE.size] = rule
        self._plan[at : at + 4] = struct.pack("=I", calls)  # now it is in force
        try:
            yield Rule(self._plan, at)
        finally:
            self._plan[at : at + 4] = bytes(4)


def _library(folder: Path) -> str:
    """Build faults.c and clock.c; the path of the library. Skips the test where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here: the library that makes a disk fail cannot be built")
    library = folder / "faults.so"
    assert not set(" :") & set(os.fspath(library)), "LD_PRELOAD is a list"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, *_SOURCES, "-ldl"], check=True)
    ctypes.CDLL(os.fspath(library))  # shows why, if it cannot be loaded
    return os.fspath(library)
