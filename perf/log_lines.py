"""What does a log line cost: leyden.log's handler beside the standard library's WatchedFileHandler and StreamHandler?

    python perf/log_lines.py [--quick] [--rounds 9]

Processor time a line, with the same formatter: one record at a time, and 256 together (log.together(); the library has
nothing like it, because its MemoryHandler passes on each record alone). Standard error is a file too. Then two
processes append while this one renames the file every 10 ms; some lines are longer than the buffers of the library's
streams. Counted are the lines that are not complete, or not exactly once in the files.
"""

import contextlib
import logging
import logging.handlers
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import rig
from leyden import log

TOGETHER = 256
LONG_EVERY, LONG_CHARS = 50, 20_000
UID = "1.2.826.0.1.3680043.8.498.45787841905188114249811787812842563127"
OURS, JSON, LIBRARY = "leyden.log", "leyden.log as JSON", "WatchedFileHandler + StreamHandler"

logger = logging.getLogger("leyden.planner")


@contextlib.contextmanager
def logging_to(kind: str, folder: Path) -> Iterator[None]:
    shown, sys.stderr = sys.stderr, open(folder / "stderr", "a", buffering=1)  # noqa: SIM115
    try:
        log.set_up("planner-0", folder, log.LogSettings("json" if kind == JSON else "text"))
        root = logging.getLogger()
        (ours,) = root.handlers
        if kind == LIBRARY:
            ours.close()
            root.handlers = [logging.handlers.WatchedFileHandler(folder / "leyden.log"), logging.StreamHandler()]
            for handler in root.handlers:
                handler.setFormatter(ours.formatter)
        yield
    finally:
        sys.stderr.close()
        sys.stderr = shown


def microseconds(kind: str, together: bool, count: int, folder: Path) -> float:
    """Processor time a line."""
    with logging_to(kind, folder):
        begin_ns = time.process_time_ns()
        for first in range(0, count, TOGETHER):
            with log.together() if together else contextlib.nullcontext():
                for n in range(first, first + TOGETHER):
                    logger.info("%s -> %s: %s", UID, "PACS", n)
        return (time.process_time_ns() - begin_ns) / 1000 / count


def append(kind: str, folder: Path, messages: list[str]) -> None:
    log.FOLLOW_S = 0.005
    with logging_to(kind, folder):
        for message in messages:
            logger.info("%s", message)


def damaged(kind: str, count: int, folder: Path) -> float:
    """How many lines of two processes are lost, torn or there twice, while a third one rotates."""
    wanted = [
        [f"{writer} {n} {'x' * LONG_CHARS if n % LONG_EVERY == 0 else ''}" for n in range(count)] for writer in "ab"
    ]
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=append, args=(kind, folder, messages)) for messages in wanted]
    for writer in writers:
        writer.start()
    number = 0
    while any(writer.is_alive() for writer in writers):
        time.sleep(0.01)
        with contextlib.suppress(FileNotFoundError):
            os.rename(folder / "leyden.log", folder / f"leyden.log.{number}")
            number += 1
    found = Counter(
        line.partition("planner-0: ")[2]
        for path in folder.glob("leyden.log*")
        for line in path.read_text().splitlines()
    )
    print(f"{kind}: {number} rotations", file=sys.stderr)
    return sum(found[message] != 1 for messages in wanted for message in messages)


def main() -> None:
    with rig.Run(rig.parser(__doc__, rounds=9).parse_args()) as run:
        count = TOGETHER * (20 if run.quick else 80)
        for title, together in (("a line, one at a time", False), (f"a line, {TOGETHER} together", True)):
            ways = {kind: partial(microseconds, kind, together, count) for kind in (OURS, JSON, LIBRARY)}
            run.compare(title, "us", ways, ours=(OURS,))
        run.compare(
            f"damaged of {2 * count}", "lines", {kind: partial(damaged, kind, count) for kind in (OURS, LIBRARY)}
        )


if __name__ == "__main__":
    main()
