"""promtool, which reads metrics, rules and scrape configurations as Prometheus does."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest


@cache
def _path() -> str:
    path = shutil.which("promtool")
    if path is not None:
        return path
    reason = "promtool is missing: apt-get install prometheus"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def promtool(*words: str, given: bytes = b"", folder: Path | None = None) -> str:
    """What it says; an AssertionError if it finds something wrong."""
    done = subprocess.run([_path(), *words], input=given, capture_output=True, timeout=60.0, cwd=folder)
    said = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, said
    return said
