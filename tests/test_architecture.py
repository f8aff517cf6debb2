"""The shape of the tree: all modules are named in ARCHITECTURE.md, roles carry no codec, dependencies are those used.

Who may import whom is held by the import-linter contracts in pyproject.toml (`tox -e contracts`).
"""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
MODULES = sorted(p for p in (TOP / "src" / "leyden").rglob("*.py") if p.name not in ("__init__.py", "__main__.py"))


def test_the_map_names_every_module_and_no_other() -> None:
    """ARCHITECTURE.md "says how the code is laid out": every module, on a page that is read in one go.

    The files in commands/ are named after the commands, which `leyden --help` lists.
    """
    code_map = (TOP / "ARCHITECTURE.md").read_text()
    modules = {str(path.relative_to(TOP / "src" / "leyden")) for path in MODULES}
    named, package = set(), ""
    for bold, name in re.findall(r"\*\*(.*?)\*\*|`([a-z0-9_/]+\.py)`", code_map):
        if bold:
            package = bold if bold.endswith("/") else ""  # the names behind it are those of its modules
        else:
            named.add(package + name if package + name in modules else name)
    help_text = subprocess.run([sys.executable, "-m", "leyden", "--help"], capture_output=True, text=True, timeout=60)
    commands = {f"commands/{name.replace('-', '_')}.py" for name in re.findall(r"^    (\S+)", help_text.stdout, re.M)}
    assert named | commands >= modules >= named
    lines = code_map.splitlines()
    words = [line for line in lines if line.startswith("| ")]
    assert len(lines) - len(words) <= 150, "a page to be read in one go"
    assert len(words) <= 1 + 30, "no more words than one can learn"


@pytest.mark.parametrize("role", ["receiver", "planner", "sender", "supervisor", "console.main", "watcher"])
def test_a_role_without_a_codec_loads_none(role: str) -> None:
    """transcode/ "alone knows numpy and the codecs" (ARCHITECTURE.md), and of the roles only a worker loads it."""
    heavy = ("glymur", "numpy", "PIL", "pydicom", "pynetdicom", "leyden.transcode")
    code = f"import sys, leyden.{role}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


NEVER_IMPORTED = {  # by a statement: what glymur forgets to ask for, a library in a wheel, and pydicom's plug-ins
    "packaging",
    "pyjpegls",
    "pylibjpeg",
    "pylibjpeg-openjpeg",
}


def test_a_plain_install_has_what_the_code_imports_and_nothing_else() -> None:
    """`pip install .` and `leyden demo` "must work without a word about extras" (DECISIONS.md 92)."""
    imported = {
        name.partition(".")[0]
        for path in MODULES
        for statement in ast.walk(ast.parse(path.read_text()))
        for name in _imported(statement)
    }
    providers = importlib.metadata.packages_distributions()
    needed = {_plain(providers[name][0]) for name in imported - sys.stdlib_module_names - {"leyden"}}
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    declared = {_plain(re.split(r"[<>=; ]", line)[0]) for line in project["dependencies"]}
    assert needed | NEVER_IMPORTED == declared


def _imported(statement: ast.AST) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    return [statement.module or ""] if isinstance(statement, ast.ImportFrom) else []


def _plain(distribution: str) -> str:
    return distribution.lower().replace("_", "-")
