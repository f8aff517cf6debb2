"""Reads what strangers might send, by the million: the targets of tests/fuzz on all cores.

    python perf/fuzz.py [--inputs 1000000] [--target NAME ...] [--seed N] [--processes N] [--minutes N] [--faults …]

Each process takes a part of the numbers of a target; input N of a seed is the same on every machine. A line for each
target: inputs, how many were read and how many refused, inputs a second, the slowest one, and the growth of the
memory. What is a fault goes to --faults as a file, with what happened beside it; mended, it belongs into
tests/fuzz/corpus. --minutes: stop each target after so long, however many are done. Ends with 1 if there was a fault.
"""

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fuzz.run import Outcomes, Target, apart, shrunk
from fuzz.targets import TARGETS

WIDTH = 110
HEAD = "target            inputs      read   refused faults  inputs/s  worst ms  grown MiB"


def parts(inputs: int, processes: int) -> list[range]:
    """The numbers below `inputs` in `processes` ranges that differ by one at most."""
    ends = [inputs * n // processes for n in range(processes + 1)]
    return [range(begin, end) for begin, end in pairwise(ends) if begin < end]


def tried(target: Target, seed: int, inputs: int, processes: int, until_s: float, logs: Path) -> Outcomes:
    """All inputs of a target, by several processes."""
    share = parts(inputs, processes)
    files = [logs / f"{target.name}.{number}" for number in range(len(share))]
    with ThreadPoolExecutor(len(share)) as threads:
        runs = [threads.submit(apart, target, seed, *each, until_s=until_s) for each in zip(share, files, strict=True)]
        done = Outcomes()
        for each in runs:
            done.add(each.result())
    return done


def row(target: Target, done: Outcomes, took_s: float) -> str:
    """One line of what became of a target's inputs."""
    read, refused, faults = (done.of(word) for word in ("read", "refused", "fault"))
    grown_mib = (done.late_bytes - done.early_bytes) / (1 << 20)
    return (
        f"{target.name:<14}{done.inputs:>10,}{read:>10,}{refused:>10,}{faults:>7}{done.inputs / took_s:>10,.0f}"
        f"{1000 * done.slowest[0]:>10.1f}{grown_mib:>11.1f}  {done.left}"
    )


def keep(target: Target, done: Outcomes, seed: int, folder: Path) -> None:
    """One file for each kind of fault, the shortest input that shows it."""
    for number, what, data in {what: (number, what, data) for number, what, data in done.faults}.values():
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{target.name}-{seed}-{number}"
        path.write_bytes(data if target.native else shrunk(target, data, what))
        path.with_suffix(".txt").write_text(f"{target.name}, seed {seed}, input {number}: {what}\n")
        print(f"    {what[:WIDTH]}\n    {path}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--target", nargs="+", default=list(TARGETS), choices=TARGETS)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--faults", type=Path, default=Path("faults"))
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.processes} processes")
    print(HEAD)
    faults = 0
    with tempfile.TemporaryDirectory() as logs:
        for name in given.target:
            begun_s = time.monotonic()
            until_s = begun_s + 60 * given.minutes if given.minutes else float("inf")
            done = tried(TARGETS[name], given.seed, given.inputs, given.processes, until_s, Path(logs))
            print(row(TARGETS[name], done, time.monotonic() - begun_s), flush=True)
            keep(TARGETS[name], done, given.seed, given.faults)
            faults += len(done.faults) + bool(done.left)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
