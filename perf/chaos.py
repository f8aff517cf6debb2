"""The fault matrix for hours: each row alone, many times, then rows mixed at random in one running service.

    python perf/chaos.py --hours 8                            everything, as often as its rows say, then mixed
    python perf/chaos.py --hours 1 --rows 'all killed'        one row alone (several: separated by commas)
    python perf/chaos.py --hours 2 --mixed                    mixed from the start
    python perf/chaos.py --page                               write the table of docs/reliability.md, and nothing else

The rows take turns, a few rounds each, so that a run that ends early has played all of them. The oracle of tests/chaos
judges each round; one that fails is shown with its seed, and the next one gets a new rig. The counts are added to
perf/chaos.json (--json: another file); several runs may do so at the same time, each with a --seed of its own. The exit
code is 1 if a round failed. What is started is ended, at SIGTERM too. Rounds of rows that cannot run here (no root, no
file system of that kind) are counted as skipped, with the reason.
"""

import argparse
import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
os.environ["LEYDEN_LONG"] = "1"

import orjson
import pytest

from chaos import oracle, page
from chaos.oracle import Seen
from chaos.rig import FOLDER, Rig, Site
from chaos.row import Row, mix, play
from chaos.rows import GROUPS
from chaos.scene import Scene
from chaos.scenes import SCENES

ROUNDS_A_TURN = 10
ROUNDS_A_RIG = 200  # its ledgers of receipts and its journal grow
FAULTS_A_LOAD = 8
FAULT_MAX_CHARS = 300


class Tally:
    """What was played: row -> rounds, objects, again, seconds, failed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._counts: dict[str, dict[str, Any]] = {}  # since the last save()
        self.failed = 0

    def add(self, name: str, seen: Seen, seconds: float, **more: int) -> None:
        arrived = sum(map(len, seen.arrivals.values()))
        again = oracle.again(seen)
        self.count(name, seconds, rounds=1, objects=len(seen.promised), arrived=arrived, again=again, **more)

    def count(self, name: str, seconds: float, **figures: int) -> None:
        row = self._counts.setdefault(name, {})
        for key, figure in figures.items():
            row[key] = row.get(key, 0) + figure
        row["seconds"] = row.get("seconds", 0.0) + seconds

    def fail(self, name: str, seed: str, why: str) -> None:
        self.failed += 1
        self._counts.setdefault(name, {}).setdefault("failed", []).append(f"{seed}: {why[:FAULT_MAX_CHARS]}")

    def skip(self, name: str, why: str) -> None:
        self._counts.setdefault(name, {})["skipped"] = why

    def save(self) -> None:
        """Add the counts to those of the file, to which another run may be adding too."""
        with open(self._path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            there = orjson.loads(file.read() or b"{}")
            for name, row in self._counts.items():
                before = there.setdefault(name, {})
                for key, value in row.items():
                    before[key] = value if key == "skipped" else before.get(key, type(value)()) + value
                before["seconds"] = round(before.get("seconds", 0.0), 1)
            file.truncate(0)
            file.write(orjson.dumps(there, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
        self._counts = {}


class Player:
    """Plays rounds on a rig that lasts until a round fails, another site is needed, or it has served long enough."""

    def __init__(self, folder: Path, tally: Tally, seed: int, until_s: float) -> None:
        self._folder, self._tally, self._seed, self.until_s = folder, tally, seed, until_s
        self._rig: Rig | None = None
        self._served = self._number = 0

    def rig(self, site: Site) -> Rig:
        if self._rig is None or self._rig.site != site or self._served >= ROUNDS_A_RIG:
            self.end()
            self._number += 1
            folder = self._folder / f"rig{self._number}"
            folder.mkdir()
            self._rig = Rig(folder, site)
            self._rig.start()
        self._served += 1
        return self._rig

    def end(self) -> None:
        if self._rig is not None:
            rig, self._rig, self._served = self._rig, None, 0
            with suppress(subprocess.CalledProcessError):
                rig.end()
            shutil.rmtree(rig.folder, ignore_errors=True)

    def round(
        self, name: str, site: Site, number: int, what: Callable[[Rig, random.Random], Seen], **more: int
    ) -> bool:
        """One round; False: it cannot be played here."""
        seed, began_s = f"{self._seed} {name} {number}", time.monotonic()
        try:
            seen = what(self.rig(site), random.Random(seed))
        except pytest.skip.Exception as why:
            self.end()
            self._tally.skip(name, str(why))
            print(f"{name}: skipped: {why}", flush=True)
            return False
        except Exception as why:
            print(f"FAILED: {seed}\n{why}\n", flush=True)
            self.end()
            self._tally.fail(name, seed, str(why))
        else:
            self._tally.add(name, seen, time.monotonic() - began_s, **more)
        return True

    def scene(self, scene: Scene, number: int) -> bool:
        """The same for a scene, which has a service of its own."""
        self.end()
        seed, began_s = f"{self._seed} {scene} {number}", time.monotonic()
        folder = self._folder / "scene"
        folder.mkdir()
        try:
            said = scene.play(folder, random.Random(seed))
        except pytest.skip.Exception as why:
            self._tally.skip(scene.name, str(why))
            print(f"{scene}: skipped: {why}", flush=True)
            return False
        except Exception as why:
            print(f"FAILED: {seed}\n{why}\n", flush=True)
            self._tally.fail(scene.name, seed, str(why))
        else:
            print(f"{scene}: {said}", flush=True)
            self._tally.count(scene.name, time.monotonic() - began_s, rounds=1)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return True

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until_s


def alone(player: Player, whole: Sequence[Row | Scene], save: Callable[[], None]) -> None:
    """All rows and scenes in turn, until each has had its rounds."""
    left = {each: each.rounds for each in whole}
    while left and not player.over:
        for each in list(left):
            for _ in range(min(ROUNDS_A_TURN, left[each])):
                if player.over:
                    return
                left[each] -= 1
                if not (
                    player.scene(each, left[each])
                    if isinstance(each, Scene)
                    else player.round(each.name, each.site, left[each], partial(play, each))
                ):
                    left[each] = 0
                    break
            print(f"{each}: {each.rounds - left[each]} of {each.rounds}", flush=True)
            save()
            if not left[each]:
                del left[each]


def mixed(player: Player, rows: Sequence[Row], save: Callable[[], None]) -> None:
    """Rows that may be there beside others, until the time is over."""
    those = [row for row in rows if row.mixes and row.site == FOLDER]
    number = 0
    while those and not player.over:
        number += 1
        player.round("mixed", FOLDER, number, partial(mix, those, count=FAULTS_A_LOAD), faults=FAULTS_A_LOAD)
        print(f"mixed: {number} loads", flush=True)
        save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--rows", default="", help="names of rows, groups or scenes, separated by commas (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=0, help="of each row (default: as the row says)")
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--page", action="store_true", help="write the table of docs/reliability.md from the counts")
    parser.add_argument("--json", type=Path, default=page.COUNTS, metavar="FILE")
    parser.add_argument("--folder", type=Path, help="where the rigs are put")
    asked = parser.parse_args()
    if asked.page:
        page.PAGE.write_text(page.with_table(page.PAGE.read_text(), GROUPS, SCENES, page.counts()))
        return
    names = {name.strip() for name in asked.rows.split(",") if name.strip()}
    rows = [row for group, rows in GROUPS.items() for row in rows if not names or {row.name, group} & names]
    scenes = [scene for scene in SCENES if not names or scene.name in names]
    whole = [replace(each, rounds=asked.rounds or each.rounds) for each in (*rows, *scenes)]
    if unknown := names - {each.name for each in whole} - GROUPS.keys():
        parser.error(f"no such rows: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tally = Tally(asked.json)
    folder = Path(tempfile.mkdtemp(prefix="leyden-chaos-", dir=asked.folder))
    player = Player(folder, tally, asked.seed, time.monotonic() + asked.hours * 3600)
    print(f"seed {asked.seed}", flush=True)
    try:
        if not asked.mixed:
            alone(player, sorted(whole, key=lambda each: str(getattr(each, "site", "~"))), tally.save)
        if not asked.rounds or asked.mixed:
            mixed(player, rows, tally.save)
    finally:
        player.end()
        tally.save()
        shutil.rmtree(folder, ignore_errors=True)
    raise SystemExit(bool(tally.failed))


if __name__ == "__main__":
    main()
