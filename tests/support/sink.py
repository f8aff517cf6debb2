"""perf/sink.py as a destination of the tests: it records what it sees, in the order of arrival."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.peers import listens
from support.service import ENDS_WITHIN_S, LIMIT_S, free_port, wait_for

SCRIPT = Path(__file__).resolve().parents[2] / "perf" / "sink.py"


@dataclass(frozen=True, slots=True)
class Seen:
    """One object: the association's number (from 1), and what else a line of --order says."""

    association: int
    calling: str
    begun_s: float
    ended_s: float
    uid: str
    sop_class: str
    series: str = ""
    number: str = ""


class Sink:
    """A process that listens on `port`."""

    def __init__(self, folder: Path, *options: object, port: int | None = None) -> None:
        self.port = port or free_port()
        self._order = folder / f"order-{self.port}"
        words = [sys.executable, str(SCRIPT), "--port", str(self.port), "--order", str(self._order)]
        self._process = subprocess.Popen([*words, *map(str, options)], stdout=subprocess.DEVNULL)
        wait_for(lambda: listens(self.port), LIMIT_S, "the sink to listen")

    def seen(self) -> list[Seen]:
        """What has arrived so far, in the order of arrival."""
        with contextlib.suppress(FileNotFoundError):
            whole = self._order.read_text().rpartition("\n")[0]
            return [Seen(**json.loads(line)) for line in whole.splitlines()]
        return []

    def wait(self, count: int, limit_s: float = LIMIT_S) -> list[Seen]:
        """Wait until at least `count` objects have arrived."""
        wait_for(
            lambda: len(self.seen()) >= count, limit_s, f"{count} objects at the sink, there are {len(self.seen())}"
        )
        return self.seen()

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(ENDS_WITHIN_S)


def by_association(seen: list[Seen]) -> Iterator[list[Seen]]:
    """What came over each association, in its order."""
    for number in sorted({each.association for each in seen}):
        yield [each for each in seen if each.association == number]
