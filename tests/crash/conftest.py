"""Scenes: tests that each run a service of their own, and wait most of the time. A few are played side by side."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pytest

AT_ONCE = 4


class Scene(Protocol):
    """The value of a test's parameter `scene`; its str() is the test's id."""

    def play(self, folder: Path) -> None: ...


@pytest.fixture(scope="session")
def played(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Scene], None]]:
    """Wait for the end of a scene: played(scene). All scenes of the tests that were asked for begin with the first."""
    called = [getattr(item, "callspec", None) for item in request.session.items]
    scenes = [spec.params["scene"] for spec in called if spec and "scene" in spec.params]
    threads = ThreadPoolExecutor(AT_ONCE)
    begun: dict[Scene, Future[None]] = {
        scene: threads.submit(scene.play, tmp_path_factory.mktemp(re.sub(r"[^\w-]", "-", str(scene))))
        for scene in scenes
    }

    def wait(scene: Scene) -> None:
        begun[scene].result()

    yield wait
    threads.shutdown(cancel_futures=True)
