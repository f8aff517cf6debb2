"""The watcher: one process that reads the journal as it grows, for what must not hold up the other roles.

No object passes through it, and its death harms none: what it did not read yet stands in the journal.
"""

import signal
import time

from leyden.inherited import Inherited

ALIVE_S = 60.0
ROUND_S = 1.0


def run(inherited: Inherited) -> int:
    """The role's main: until SIGTERM; exit code 0."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    while not stopped:
        inherited.heartbeat.alive(ALIVE_S)
        time.sleep(ROUND_S)
    return 0
