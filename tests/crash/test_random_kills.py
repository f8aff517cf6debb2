"""kill -9 of random processes, the supervisor too, under load, while the archives die and come back: count.

LEYDEN_CRASH_ROUNDS in the environment is the number of rounds (a handful otherwise), LEYDEN_CRASH_SEED the first seed.
"""

import os
import random
import time
from pathlib import Path

import psutil
import pytest

from support.proof import MAX_ASSOCIATIONS, NOT_DURABLE_MAX, Archive, Rig
from support.service import ENDS_WITHIN_S

ROUNDS = int(os.environ.get("LEYDEN_CRASH_ROUNDS", "3"))
SEED = int(os.environ.get("LEYDEN_CRASH_SEED", "20261125"))
OBJECTS = 300
ASSOCIATIONS = 4
PAUSE_S = 0.4  # at most, between two deaths


def one_round(rig: Rig, chance: random.Random) -> str:
    load = rig.load(OBJECTS, ASSOCIATIONS)
    load.wait_promised(chance.randrange(1, OBJECTS // 4))
    killed, away = [], list[Archive]()
    for _ in range(chance.randrange(2, 5)):
        time.sleep(chance.random() * PAUSE_S)
        if away and chance.random() < 0.5:
            away.pop().start()
        elif chance.random() < 0.3:
            archive = chance.choice(rig.archives)
            if archive not in away:
                archive.die()
                away.append(archive)
                killed.append(archive.title)
        else:
            killed.append(kill_one(rig, chance))
    for archive in away:
        archive.start()
    load.join()
    found = rig.settle(stop=False)
    lost_answers = sum(name in ("sender", "supervisor") for name in killed) * (NOT_DURABLE_MAX + 2 * MAX_ASSOCIATIONS)
    assert found.again <= lost_answers + MAX_ASSOCIATIONS * sum(archive.deaths for archive in rig.archives), killed
    assert len(rig.promised) == OBJECTS
    rig.forget()
    torn = sum(found.torn.values())
    return f"{', '.join(killed) or 'nobody'}; sent {load.sends.total()}, arrived again {found.again}, torn {torn}"


def kill_one(rig: Rig, chance: random.Random) -> str:
    """SIGKILL of one process of the service; a dead supervisor is started again. Returns whose."""
    processes = rig.service.processes()
    victim = chance.choice(processes)
    try:
        words = victim.cmdline()
        victim.kill()
    except psutil.NoSuchProcess:
        return "nobody, it was dead"
    if victim is not processes[0]:
        return words[words.index("role") + 1] if "role" in words else "a role that began"
    assert rig.service.process is not None
    rig.service.process.wait(ENDS_WITHIN_S)
    rig.service.start(60)
    return "supervisor"


@pytest.mark.timeout(0 if ROUNDS > 10 else 300)
def test_killed_at_random_moments_nothing_is_lost(tmp_path: Path) -> None:
    """Each process is killed "at random under load" (README.md), and what was answered arrives."""
    rig, chance = Rig(tmp_path, workers=2), random.Random(SEED)
    try:
        rig.start_archives()
        rig.service.start(60)
        for number in range(ROUNDS):
            print(f"round {number}: {one_round(rig, chance)}", flush=True)
        assert rig.service.stop() == 0
    finally:
        rig.end()
