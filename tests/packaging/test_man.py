"""The manual pages, read by the two programs that show them."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from leyden.cli import whole_parser
from leyden.config.schema import Config, NodeEntry
from support.debian import TOP


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    specification = importlib.util.spec_from_file_location("man", TOP / "docs" / "man.py")
    assert specification is not None
    assert specification.loader is not None
    man = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(man)
    written: list[Path] = man.write(tmp_path_factory.mktemp("man"))
    return written


def shown(page: Path) -> str:
    """The page as `man` shows it, if mandoc has nothing to say against it."""
    if shutil.which("mandoc") is None:
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing("no mandoc here: apt-get install mandoc")
    linted = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True)
    assert (linted.returncode, linted.stdout) == (0, "")
    text = subprocess.run(["mandoc", "-T", "utf8", "-O", "width=300", page], capture_output=True, text=True).stdout
    return re.sub(r".\x08", "", text)


def test_the_manual_names_every_command_and_option(pages: list[Path]) -> None:
    """Each command of `leyden --help` is there."""
    text = shown(pages[0])
    for name in re.findall(r"^    ([a-z][a-z-]*) ", whole_parser().format_help(), re.MULTILINE):
        assert re.search(rf"^   {name}\b", text, re.MULTILINE), name
    assert "--node TITLE=HOST:PORT[,SYNTAX]" in text
    assert "\\" not in text


def test_the_manual_names_every_key(pages: list[Path]) -> None:
    """With its default and its unit, as docs/configure.md has them."""
    text = shown(pages[1])
    fields = (*Config.model_fields.values(), *NodeEntry.model_fields.values())
    described = [field.alias for field in fields if field.json_schema_extra is not None]
    assert [key for key in described if not re.search(rf"^ +{key}( |$)", text, re.MULTILINE)] == []
    assert "all addresses; 0: nothing is received (default: 1040)" in text
