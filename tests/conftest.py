"""What several tests share: a service and peers that are stopped at the end, whatever the test did."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from leyden.deliver.destination import Destination
from support.peers import Pacs, Storescp
from support.sender import Sender
from support.service import Service
from support.sink import Sink

_ONE_BY_ONE = ("tests/chaos/test_scenes.py", "tests/crash/", "tests/interop/", "tests/reference/")
_BY_MODULE = ("tests/interop/test_bad_input.py", "tests/interop/test_odd_peers.py", "tests/interop/test_page.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Divide the tests among the processes of `pytest -n`, in the order in which they were collected.

    Modules stay together, so that what a module prepares for its tests is made once. But tests that have a service of
    their own, and wait for it most of the time, are divided one by one. _BY_MODULE: modules whose tests share a
    service.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module, _, test = nodeid.partition("::")
            if module == "tests/chaos/test_chaos.py":
                return test.partition(" ")[0]
            return nodeid if module.startswith(_ONE_BY_ONE) and module not in _BY_MODULE else module

    config.option.loadscopereorder = False
    return Scheduler(config, log)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Make services in folders of their own: service(nodes, routings=…, key=value)."""
    made: list[Service] = []

    def make(nodes: str, routings: str | None = None, **config: object) -> Service:
        made.append(Service(tmp_path / f"leyden{len(made)}", nodes, routings, **config))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def pacs() -> Iterator[Callable[..., Pacs]]:
    """Make started storage SCPs: pacs("IMAGEPACS", syntaxes=[…])."""
    made: list[Pacs] = []

    def make(title: str, **options: object) -> Pacs:
        made.append(Pacs(title, **options))  # type: ignore[arg-type]
        return made[-1].start()

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[Callable[..., Storescp]]:
    """Make started DCMTK storage SCPs: storescp("--ignore")."""
    made: list[Storescp] = []

    def make(*options: str, **keys: object) -> Storescp:
        made.append(Storescp(tmp_path / f"storescp{len(made)}", *options, **keys))  # type: ignore[arg-type]
        return made[-1].start()

    yield make
    for one in made:
        one.stop()


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
