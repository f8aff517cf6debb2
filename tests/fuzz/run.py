"""Runs a target: mutant after mutant, bounded in time and memory, in this process or in one that may die.

What a target does not expect is a fault: an exception that is none of its own, processor time above LIMIT_S or memory
above MEMORY_BYTES for one input, a process that dies or hangs. Input N of a seed is the same on every machine.
"""

import faulthandler
import logging
import math
import multiprocessing
import os
import random
import resource
import signal
import time
import traceback
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

CORPUS = Path(__file__).parent / "corpus"
LIMIT_S = 10.0  # of processor time, for one input of some kB; the slowest of millions took a hundredth of it
HANGS_S = 120.0  # without an answer of the process, in native code too
MEMORY_BYTES = 16 << 20  # for one input; the longest value that is read has 1 MiB
ADDRESS_SPACE_BYTES = 512 << 20  # above what the process has at its begin
MEASURED = 50  # of so many inputs, the memory of one is measured
PORTION = 500  # inputs after which a process says how far it is


class TooLong(BaseException):
    """An input took more than LIMIT_S. No check can take it for one of the errors that it expects."""


@dataclass(frozen=True)
class Target:
    """Something that reads bytes of strangers.

    `mutant`: an input, by chance. `check(data)`: what became of it, in words that begin with "read" or "refused"; what
    it raises is a fault. `native`: C code that may crash reads it, so it gets a process of its own, as it has in a
    worker. `left`: what it has not given back, at the end of a run; "" = nothing.
    """

    name: str
    mutant: Callable[[random.Random], bytes]
    check: Callable[[bytes], str]
    native: bool = False
    left: Callable[[], str] = str
    limited: Callable[[], None] | None = None

    def corpus(self) -> list[Path]:
        """Inputs that once were faults, or that other tests found hard; each is a file."""
        return sorted((CORPUS / self.name).iterdir())


@dataclass
class Outcomes:
    """What became of the inputs of a run. `faults`: (number, what, the input)."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, -1)  # seconds, number
    faults: list[tuple[int, str, bytes]] = field(default_factory=list)
    early_bytes: int = 0  # resident, the most in the first fifth
    late_bytes: int = 0
    left: str = ""

    def add(self, other: "Outcomes") -> None:
        self.counts += other.counts
        self.slowest = max(self.slowest, other.slowest)
        self.faults += other.faults
        self.early_bytes = self.early_bytes or other.early_bytes
        self.late_bytes = other.late_bytes or self.late_bytes
        self.left = other.left or self.left

    @property
    def inputs(self) -> int:
        return self.counts.total()

    def of(self, word: str) -> int:
        """How many outcomes begin with this word."""
        return sum(count for outcome, count in self.counts.items() if outcome.partition(" ")[0] == word)


def input_of(target: Target, seed: int, number: int) -> bytes:
    """The input of this number."""
    return target.mutant(random.Random(f"{seed} {number}"))


def tried(target: Target, data: bytes, *, measured: bool = False) -> tuple[str, str]:
    """What became of an input, and what is wrong about that ("" = nothing)."""
    if measured:
        tracemalloc.start()
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    try:
        outcome = target.check(data)
    except (Exception, TooLong) as error:
        return "fault", f"{type(error).__name__}: {str(error)[:300]} {_where(error)}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        peak_bytes = tracemalloc.get_traced_memory()[1] if measured else 0
        tracemalloc.stop()
    if peak_bytes > MEMORY_BYTES:
        return "fault", f"{peak_bytes >> 20} MiB for an input of {len(data)} bytes"
    return outcome, ""


def _where(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"({Path(last.filename).name}:{last.lineno})"


@contextmanager
def bounded(space_bytes: int = ADDRESS_SPACE_BYTES) -> Iterator[None]:
    """Limits this process: an allocation of what a stranger claims is a MemoryError, and an endless loop a TooLong.

    Nothing is logged meanwhile: a line for each input would fill the memory of whoever keeps them.
    """

    def too_long(_number: int, _frame: FrameType | None) -> None:
        raise TooLong(f"more than {LIMIT_S:g} s")

    with open("/proc/self/statm", encoding="ascii") as file:
        now_bytes = int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGPROF, too_long)
    logging.disable()
    if space_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (now_bytes + space_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGPROF, handler)
        logging.disable(logging.NOTSET)


def run(target: Target, seed: int, numbers: range, at: Callable[[int], None] = lambda _: None) -> Outcomes:
    """Try the inputs of these numbers in this process. `at` is told each number before it is tried."""
    done = Outcomes()
    for number in numbers:
        at(number)
        data = input_of(target, seed, number)
        begun_s = time.monotonic()
        outcome, fault = tried(target, data, measured=number % MEASURED == 0)
        done.slowest = max(done.slowest, (time.monotonic() - begun_s, number))
        done.counts[outcome] += 1
        if fault:
            done.faults.append((number, fault, data))
    return done


def shrunk(target: Target, data: bytes, fault: str) -> bytes:
    """A shorter input with the same fault: parts are left out, as long as that helps."""
    place = fault.rpartition("(")[2]
    step = max(len(data) // 2, 1)
    while step:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + step :]
            if tried(target, shorter)[1].rpartition("(")[2] == place:
                data = shorter
            else:
                at += step
        step //= 2
    return data


def _child(name: str, seed: int, numbers: range, portion: int, said: Connection, current: Any, log: str) -> None:
    """Run a part in this process; tells its Outcomes after each portion."""
    from fuzz.targets import TARGETS

    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    faulthandler.enable()
    target = TARGETS[name]
    target.check(input_of(target, seed, numbers.start))  # whatever is made once is made now, before memory is bounded
    if target.limited:
        target.limited()

    def at(number: int) -> None:
        current[0] = number

    fifth = numbers.start + len(numbers) // 5
    with bounded(0 if target.limited else ADDRESS_SPACE_BYTES):
        for begin in range(numbers.start, numbers.stop, portion):
            done = run(target, seed, range(begin, min(begin + portion, numbers.stop)), at)
            if begin <= fifth:
                done.early_bytes = resident_bytes()
            done.late_bytes = resident_bytes()
            said.send(done)
    said.send(Outcomes(left=target.left()))
    said.send(None)


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def apart(target: Target, seed: int, numbers: range, log: Path, until_s: float = math.inf) -> Outcomes:
    """The same in a process of its own. One that dies or hangs is a fault, and the next begins behind that input.

    `log`: a file that gets what the process writes to its standard output and error. `until_s`: by the monotonic clock,
    when to stop before all is done.
    """
    context, done, begin = multiprocessing.get_context("spawn"), Outcomes(), numbers.start
    while begin < numbers.stop:
        said, theirs = context.Pipe(duplex=False)
        current = context.RawArray("Q", [begin])
        portion = 1 if target.native else PORTION
        given = target.name, seed, range(begin, numbers.stop), portion, theirs, current, str(log)
        child = context.Process(target=_child, args=given, daemon=True)
        child.start()
        theirs.close()
        why = "hangs"
        while said.poll(HANGS_S):
            try:
                part: Outcomes | None = said.recv()
            except EOFError:
                child.join(HANGS_S)
                why = f"dies, exit code {child.exitcode}"
                break
            if part is None:
                child.join(HANGS_S)
                return done
            done.add(part)
            if time.monotonic() > until_s:
                child.kill()
                child.join()
                return done
        child.kill()
        child.join()
        said.close()
        number = current[0]
        done.counts["fault"] += 1
        done.faults.append((number, why, input_of(target, seed, number)))
        begin = number + 1
    return done
