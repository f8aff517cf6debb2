"""The fault matrix: each row alone, as short as possible, and some of them mixed (docs/reliability.md).

LEYDEN_CHAOS_SEED in the environment is the seed. perf/chaos.py runs the same rows for hours.
"""

import os
import random
from collections.abc import Callable, Iterator

import pytest

from chaos import page
from chaos.rig import FOLDER, Rig, Site
from chaos.row import Row, mix, play
from chaos.rows import GROUPS
from chaos.scenes import SCENES

SEED = int(os.environ.get("LEYDEN_CHAOS_SEED", "20261129"))
MIXED = 6


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Site], Rig]]:
    """The rig of a site, shared by its rows; a row that failed leaves none behind."""
    there: dict[Site, Rig] = {}

    def get(site: Site) -> Rig:
        if site not in there:
            for other in list(there):
                there.pop(other).end()
            there[site] = Rig(tmp_path_factory.mktemp("rig"), site)
            there[site].start()
        return there[site]

    def drop(site: Site) -> None:
        there.pop(site).end()

    get.drop = drop  # type: ignore[attr-defined]
    yield get
    for one in there.values():
        one.end()


def on(rig: Callable[[Site], Rig], site: Site, what: Callable[[Rig], object]) -> None:
    try:
        what(rig(site))
    except pytest.skip.Exception:
        raise
    except BaseException:
        print(f"LEYDEN_CHAOS_SEED={SEED}")
        rig.drop(site)  # type: ignore[attr-defined]
        raise


@pytest.mark.parametrize(
    ("group", "row"),
    [
        pytest.param(group, row, id=f"{group}-{row.site} {row}")
        for group, rows in GROUPS.items()
        for row in sorted(rows, key=lambda row: str(row.site))  # a rig serves one site at a time
    ],
)
def test_row(group: str, row: Row, rig: Callable[[Site], Rig]) -> None:
    """Whatever fails, what was acknowledged is delivered, or stands somewhere with a reason (docs/reliability.md)."""
    on(rig, row.site, lambda there: play(row, there, random.Random(f"{SEED} {row}")))


@pytest.mark.parametrize("group", [group for group, rows in GROUPS.items() if any(row.mixes for row in rows)])
def test_mixed(group: str, rig: Callable[[Site], Rig]) -> None:
    """The same while several fail at random, two at once (docs/reliability.md)."""
    rows = [row for row in GROUPS[group] if row.mixes and row.site == FOLDER]
    on(rig, FOLDER, lambda there: mix(rows, there, random.Random(f"{SEED} {group}"), MIXED))


def test_the_page_is_that_of_the_rows() -> None:
    """The table of docs/reliability.md is made of the rows and the counts: perf/chaos.py --page."""
    there = page.PAGE.read_text()
    assert there == page.with_table(there, GROUPS, SCENES, page.counts())
