"""Objects transcoded within the test, as tests/unit/transcode does it, and gdcm in a process of its own."""

import importlib.util
import os
from collections.abc import Iterator

import pytest

from support.readers import Gdcm
from unit.transcode.conftest import arena, arena_fd, bench, image, transcode

__all__ = ["arena", "arena_fd", "bench", "gdcm", "image", "transcode"]


@pytest.fixture(scope="session")
def gdcm() -> Iterator[Gdcm]:
    """Skips by name where there is none, and fails where CI=true."""
    if importlib.util.find_spec("gdcm") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("gdcm is missing: pip install python-gdcm")
        pytest.skip("gdcm is missing: pip install python-gdcm")
    reader = Gdcm()
    yield reader
    reader.end()
