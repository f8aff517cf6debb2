"""`leyden demo`, as after a plain `pip install .`: without the decoders that only these tests install.

It holds up: "It starts Leyden between four modalities and two PACS on this machine, sends real images and reports,
and prints a table" (README).
"""

import subprocess
import sys

PLAIN = """
import importlib.metadata, sys
sys.modules["gdcm"] = None
every = importlib.metadata.entry_points
importlib.metadata.entry_points = lambda **group: [
    each for each in every(**group) if each.dist.name not in ("pylibjpeg-libjpeg", "pylibjpeg-rle")
]
from leyden.cli import main
sys.exit(main(["demo"]))
"""


def test_the_demo_shows_that_all_is_as_it_should_be() -> None:
    done = subprocess.run([sys.executable, "-c", PLAIN], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nall of 18 objects are as they should be" in done.stdout
