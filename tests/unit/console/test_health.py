"""Whether the service can receive: what the disk says, and one finding for all who ask at once."""

import asyncio
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from leyden.admission.callers import Caller
from leyden.console import health as health_module
from leyden.console.health import Health, disk
from leyden.dicom.negotiate import CALLED_UNKNOWN, CALLING_UNKNOWN
from leyden.net.scu import AssociationRejected
from leyden.spool.store import Spool
from support.console import settings
from support.service import free_port


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    found = Spool(tmp_path / "cache")
    found.prepare(())
    return found


def test_a_disk_with_room_is_well_and_stays_clean(spool: Spool) -> None:
    assert disk(spool, 0.0) == ""
    assert os.listdir(spool.root / "embryo") == []


def test_a_disk_without_room_says_how_much_is_free(spool: Spool) -> None:
    assert "less than minFreeSpace (100 %)" in disk(spool, 100.0)


def test_a_spool_that_cant_be_written_says_why(spool: Spool) -> None:
    os.rmdir(spool.root / "embryo")
    assert disk(spool, 0.0) == "the spool can't be written: No such file or directory"
    (spool.root / "embryo").mkdir()
    os.symlink("/dev/null", spool.root / "embryo" / ".health")
    assert "the spool can't be written" in disk(spool, 0.0), "it writes through no link"


def test_a_service_that_receives_nothing_is_asked_for_nothing(tmp_path: Path, spool: Spool) -> None:
    assert asyncio.run(Health(settings(tmp_path)).reasons()) == ()


def test_a_closed_front_door_is_said(tmp_path: Path, spool: Spool) -> None:
    port = free_port()
    (reason,) = asyncio.run(Health(settings(tmp_path, scp_port=port)).reasons())
    assert reason.startswith(f"no association on port {port}: ")


@pytest.mark.parametrize(
    ("callers", "allowed", "quiet", "title"),
    [
        ((), (), ("HEALTHCHECK",), "HEALTHCHECK"),
        ((), ("CT1",), ("HEALTHCHECK",), "CT1"),
        ((), ("CT1", "Q"), ("Q",), "Q"),
        ((Caller("CT1"), Caller("HEALTHCHECK")), (), (), "HEALTHCHECK"),
        ((Caller("CT1", addresses=("10.0.0.1/32",)), Caller("MR1", identity="required"), Caller("US1")), (), (), "US1"),
        ((Caller("*", addresses=("127.0.0.1/32",)),), (), (), "HEALTHCHECK"),
        ((Caller("CT1"), Caller("CT2")), ("CT2",), (), "CT2"),
        ((Caller("CT1", certificates=("a",)),), (), (), "HEALTHCHECK"),
    ],
)
def test_the_look_at_the_front_door_calls_by_a_title_that_may_call(
    tmp_path: Path, callers: tuple[Caller, ...], allowed: tuple[str, ...], quiet: tuple[str, ...], title: str
) -> None:
    found = settings(tmp_path)
    acceptor = replace(found.receiver.acceptor, allowed_calling=allowed)
    receiver = replace(found.receiver, acceptor=acceptor, callers=callers, quiet_ae_titles=quiet)
    assert health_module._calling(replace(found, receiver=receiver)) == title


def test_a_door_that_lets_nobody_in_from_here_answers_all_the_same(
    tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejected = [CALLING_UNKNOWN, CALLED_UNKNOWN]

    async def reject(*_: object) -> None:
        raise AssociationRejected(rejected.pop(0))

    monkeypatch.setattr(health_module, "echo", reject)
    found = settings(tmp_path, scp_port=1040)
    health = Health(replace(found, receiver=replace(found.receiver, callers=(Caller("CT1", certificates=("a",)),))))
    assert asyncio.run(health.reasons()) == ()
    health.go_by(found)
    (reason,) = asyncio.run(health.reasons())
    assert "called AE title not recognized" in reason


def test_many_who_ask_at_once_get_one_finding(tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    real = health_module.disk
    monkeypatch.setattr(health_module, "disk", lambda *given: looks.append(1) or real(*given))

    async def ask() -> None:
        health = Health(settings(tmp_path))
        assert set(await asyncio.gather(*(health.reasons() for _ in range(50)))) == {()}
        await health.reasons()
        health.go_by(settings(tmp_path))
        await health.reasons()

    asyncio.run(ask())
    assert len(looks) == 2, "once for all, and once more for other settings"


def test_a_disk_that_hangs_is_said_and_keeps_one_thread(
    tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "WITHIN_S", 0.05)
    monkeypatch.setattr(health_module, "GOOD_S", 0.0)

    async def ask() -> None:
        loop, hangs = asyncio.get_running_loop(), asyncio.Event()
        looks = []

        def look(*_given: object) -> str:
            looks.append(1)
            asyncio.run_coroutine_threadsafe(hangs.wait(), loop).result(30)
            return ""

        monkeypatch.setattr(health_module, "disk", look)
        health = Health(settings(tmp_path))
        for _ in range(3):
            assert await health.reasons() == ("the spool's disk does not answer within 0.05 s",)
        hangs.set()
        while await health.reasons():
            await asyncio.sleep(0.01)
        assert len(looks) <= 2

    asyncio.run(ask())
