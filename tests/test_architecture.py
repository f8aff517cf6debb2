"""The shape of the tree: all modules are named in ARCHITECTURE.md, and roles carry no codec.

Who may import whom is held by the import-linter contracts in pyproject.toml (`tox -e contracts`).
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
MODULES = sorted(p for p in (TOP / "src" / "leyden").rglob("*.py") if p.name not in ("__init__.py", "__main__.py"))


def test_the_map_names_every_module_and_no_other() -> None:
    code_map = (TOP / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`([a-z0-9_/]+\.py)`", code_map))
    assert named == {str(p.relative_to(TOP / "src" / "leyden")) for p in MODULES}
    assert len(code_map.splitlines()) <= 150


@pytest.mark.parametrize("role", ["receiver", "planner", "sender", "supervisor"])
def test_a_role_without_a_codec_loads_none(role: str) -> None:
    heavy = ("glymur", "numpy", "PIL", "pydicom", "pynetdicom", "leyden.transcode")
    code = f"import sys, leyden.{role}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
