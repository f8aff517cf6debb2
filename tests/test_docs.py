"""The pages against the code: every key of the files."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from leyden.config.schema import ActionEntry, Api, ConditionEntry, Config, Entry, NodeEntry, RouteEntry

TOP = Path(__file__).resolve().parents[1]
DOCS = TOP / "docs"
MODELS = (Config, Api, NodeEntry, RouteEntry, ConditionEntry, ActionEntry)


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    """docs/tables.py, which is a script and in no package."""
    specification = importlib.util.spec_from_file_location("docs_tables", DOCS / "tables.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_tables_of_keys_are_those_of_the_schema(tables: ModuleType) -> None:
    written = (DOCS / "configure.md").read_text()
    assert written == tables.page(written), "docs/configure.md is not up to date: run `python docs/tables.py`"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_each_key_is_described(model: type[Entry]) -> None:
    cells = set(re.findall(r"^\|(?: [\w.]+ \|)? `(\w+)…?` \|", (DOCS / "configure.md").read_text(), re.MULTILINE))
    keys = {*model.keys(), *model.later, *model.later_families, *model.silent}
    missing = sorted(keys - cells)
    assert not missing, f"docs/configure.md does not name {missing}: give them a setting() in schema.py"
