"""Objects transcoded within the test, as tests/unit/transcode does it, and gdcm in a process of its own."""

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leyden.deliver.destination import Destination
from support.readers import Gdcm
from support.sender import Sender
from support.sink import Sink
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


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[Callable[..., Sender]]:
    """Make sender processes, not started yet: sender(destination(port))."""
    made: list[Sender] = []

    def make(*destinations: Destination, **settings: object) -> Sender:
        made.append(Sender(tmp_path / f"sender{len(made)}", *destinations, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Callable[..., Sink]]:
    """Make destinations that record what they see: sink("--delay", 0.01)."""
    made: list[Sink] = []

    def make(*options: object, **keys: object) -> Sink:
        made.append(Sink(tmp_path, *options, **keys))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.end()
