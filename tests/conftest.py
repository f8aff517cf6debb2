"""What several tests share: a service that is ended, whatever the test did, and peers that are stopped."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.peers import Pacs, Storescp
from support.service import Service


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
