"""`leyden demo`, as after a plain `pip install .`: without the decoders that only these tests install."""

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
    """The demo "prints a table: who sent what, where it arrived, in which transfer syntax, and whether the pixels are
    identical" (README.md)."""
    done = subprocess.run([sys.executable, "-c", PLAIN], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nall of 18 objects are as they should be" in done.stdout
