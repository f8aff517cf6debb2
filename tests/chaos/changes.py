"""The disk says no to one change after the other: to the first of the trip of two objects, to the second, and so on,
until they pass and no change is left. With LEYDEN_LONG=1 in the environment each of them, else a few of them.
"""

import errno
import itertools
import random
import time
from dataclasses import replace
from pathlib import Path

from chaos.rig import LONG, Rig
from chaos.rows_disk import FULL
from chaos.scene import Scene
from support.faults import Call
from support.service import wait_for

STEP = 1 if LONG else 29
LIMITS = replace(FULL, doubts=2)
ERRORS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC}
LASTS_S = 0.3  # a fault for good
MAX_CHANGES = 500  # far more than two trips make


def play(folder: Path, chance: random.Random) -> dict[str, int]:
    """How many changes the two trips make, as each of the sweeps has found."""
    found = {}
    rig = Rig(folder)
    try:
        rig.start()
        for name, for_good in itertools.product(ERRORS, (False, True)):
            found[f"{name} {'for good' if for_good else 'once'}"] = _sweep(
                rig, ERRORS[name], chance.randrange(STEP), for_good=for_good
            )
    finally:
        rig.end()
    return found


def _sweep(rig: Rig, error: int, first: int, *, for_good: bool) -> int:
    for after in range(first, MAX_CHANGES, STEP):
        if not _fails(rig, error, after, for_good=for_good):
            return after
    raise AssertionError(f"two trips of more than {MAX_CHANGES} changes")


def _fails(rig: Rig, error: int, after: int, *, for_good: bool) -> bool:
    """Whether there was a change to fail."""
    changes = Call.CHANGE | Call.SYNC | Call.FOLDER_SYNC
    times = -1 if for_good else 1
    with rig.faults.rule(changes, error, path=rig.service.spool, after=after, times=times) as rule:
        rig.load(objects=2, associations=2)
        wait_for(lambda: rule.hits or (not rig.source.loads and rig.is_empty()), why=f"change {after} to fail")
        if for_good and rule.hits:
            time.sleep(LASTS_S)
        failed = rule.hits > 0
    try:
        rig.settle(LIMITS)
    except AssertionError as fault:
        raise AssertionError(f"after change {after} failed {'for good' if for_good else 'once'}: {fault}") from None
    return failed


SCENE = Scene(
    "each change fails",
    play,
    tuple(
        (
            f"a write, rename, link, removal or sync fails with {name}, {'and all later ones' if for_good else 'once'}",
            "the first such call in the trips of two objects, then the second, and so on, until they pass",
            "",
            "",
        )
        for name in ERRORS
        for for_good in (False, True)
    ),
    rounds=1,
)
