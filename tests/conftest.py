"""What several tests share: a service that is ended, whatever the test did, and peers that are stopped."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.peers import Pacs, Storescp
from support.service import Service

_ONE_BY_ONE = ("tests/crash/", "tests/interop/")
_BY_MODULE = ("tests/interop/test_bad_input.py", "tests/interop/test_odd_peers.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Share the tests out over the processes of `pytest -n`, in the order in which they were collected.

    Module by module, so that what a module makes for its tests is made once; but one by one where a test has a service
    of its own, and waits for it most of the time. _BY_MODULE: those of which all tests share a service.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
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
