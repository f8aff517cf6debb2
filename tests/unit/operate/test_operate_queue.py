"""Putting things back into the queue: what goes, what stays, and who is woken."""

from pathlib import Path

import pytest

from leyden.operate.queue import Retried, UnknownDestination, retry
from leyden.spool.doorbell import Bell
from leyden.spool.store import Spool

TITLES = {"PACS": "PACS", "ARCHIVE": "PACS", "REPORTS": "REPORTS", "LEYDEN": ""}


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Two files in rejected/, one of a node that is gone, and one in failed/ that was never planned."""
    spool = Spool(tmp_path)
    spool.prepare(["PACS", "REPORTS"])
    for place in ("rejected/PACS", "rejected/GONE", "failed"):
        path = tmp_path / place / "1.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"dataset")
    return spool


def test_all_goes_back_but_what_was_bound_for_a_node_that_is_gone(spool: Spool) -> None:
    assert retry(spool, TITLES) == Retried(1, 1)
    assert [path.name for path in (spool.root / "rejected").rglob("*.dcm")] == ["1.dcm"]
    assert (spool.root / "rejected" / "GONE" / "1.dcm").exists()
    assert len(list((spool.root / "prepared" / "PACS").rglob("*.dcm"))) == 1


def test_one_destination_by_its_title_or_an_alias(spool: Spool) -> None:
    assert retry(spool, TITLES, "REPORTS") == Retried(0, 0)
    assert retry(spool, TITLES, "ARCHIVE") == Retried(1, 0)


def test_a_node_that_is_gone_is_known_while_something_of_it_stands_there(spool: Spool) -> None:
    assert retry(spool, TITLES, "GONE") == Retried(0, 0)
    with pytest.raises(UnknownDestination, match="no destination NOBODY; there are: GONE, PACS, REPORTS"):
        retry(spool, TITLES, "NOBODY")
    with pytest.raises(UnknownDestination, match="no destination LEYDEN"):
        retry(spool, TITLES, "LEYDEN")


def test_without_any_node_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnknownDestination, match=r"no destination PACS; nodes\.yml names no Storage node"):
        retry(Spool(tmp_path), {"LEYDEN": ""}, "PACS")


def test_every_role_that_listens_is_woken(spool: Spool) -> None:
    bells = [Bell(spool.root, role) for role in ("planner", "sender", "worker-0", "worker-7")]
    try:
        retry(spool, TITLES)
        assert all(bell.drain() for bell in bells)
    finally:
        for bell in bells:
            bell.close()
