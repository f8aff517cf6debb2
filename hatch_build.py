"""Puts the manual pages into a wheel, made of the sources (docs/man.py). They are in no repository and no sdist."""

import importlib.util
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManualPages(BuildHookInterface):  # type: ignore[type-arg]
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """For a wheel that is kept; an editable one has none."""
        if version == "editable":
            return
        specification = importlib.util.spec_from_file_location("man", Path(self.root, "docs", "man.py"))
        assert specification is not None
        assert specification.loader is not None
        man = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(man)
        for path in man.write(Path(self.directory, "man")):
            build_data["shared_data"][str(path)] = f"share/man/{path.parent.name}/{path.name}"
