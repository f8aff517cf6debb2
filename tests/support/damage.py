"""Checks that code survives damaged input, and gives back the memory."""

import multiprocessing
import os
from collections.abc import Callable

LIMIT_S = 120.0


def survives(work: Callable[[], None]) -> bool:
    """Run `work`, a function of a module, in a process of its own: True if that ends well and in time."""
    child = multiprocessing.get_context("spawn").Process(target=work)
    child.start()
    child.join(LIMIT_S)
    exitcode = child.exitcode
    child.kill()
    return exitcode == 0


def grown_bytes(once: Callable[[], None], rounds: int = 60) -> int:
    """The growth of the resident memory over so many rounds, after ten rounds to warm up."""
    for _ in range(10):
        once()
    before = _resident_bytes()
    for _ in range(rounds):
        once()
    return _resident_bytes() - before


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
