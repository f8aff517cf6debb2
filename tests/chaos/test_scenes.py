"""The fault matrix, where a row needs peers of its own: each scene once (docs/reliability.md).

LEYDEN_CHAOS_SEED in the environment is the seed. perf/chaos.py plays the same for hours.
"""

import os
import random
from pathlib import Path

import pytest

from chaos.scene import Scene
from chaos.scenes import SCENES

SEED = int(os.environ.get("LEYDEN_CHAOS_SEED", "20261129"))


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_scene(scene: Scene, tmp_path: Path) -> None:
    """Whatever peers do, what was acknowledged is delivered or stands somewhere with a reason (docs/reliability.md)."""
    print(f"LEYDEN_CHAOS_SEED={SEED}: {scene.play(tmp_path, random.Random(f'{SEED} {scene}'))}")
