"""The watcher keeps what it is to keep, takes over new settings, and ends if a part of it has a fault."""

import signal
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from leyden import watcher
from leyden.audit.keeper import Keeper
from leyden.audit.settings import AuditSettings
from leyden.config.settings import ReceiverSettings, Settings
from leyden.dicom.negotiate import AcceptorPolicy
from leyden.heartbeat import Heartbeat
from leyden.inherited import Inherited
from leyden.plan.rules import PlanSettings
from support.audited import delivered, numbers, tell


class Stub:
    """What the watcher asks of Inherited. `later`: the generations that reloads make, one at each question."""

    def __init__(self, root: Path, *later: AuditSettings) -> None:
        self.settings = Settings(
            path=str(root), log_dir=str(root / "log"), cache_path=str(root), scp_port=0, my_ae_title="LEYDEN",
            receiver=ReceiverSettings(AcceptorPolicy(())), plan=PlanSettings("LEYDEN", {}, ()), destinations=(),
            audit=AuditSettings(enabled=True),
        )  # fmt: skip
        self.heartbeat = cast(Heartbeat, self)
        self.asked = 0
        self._later = iter(later)

    def alive(self, for_s: float) -> None:
        self.asked += 1

    def newer(self) -> Settings | None:
        if (audit := next(self._later, None)) is not None:
            self.settings = replace(self.settings, audit=audit)
            return self.settings
        return None


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> dict[int, Any]:
    """What is to be done at each signal."""
    found: dict[int, Any] = {}
    monkeypatch.setattr(signal, "signal", found.__setitem__)
    monkeypatch.setattr(watcher, "ROUND_S", 0.01)
    return found


def run(stub: Stub) -> int:
    return watcher.run(cast(Inherited, stub))


def test_it_keeps_what_was_told_before_it_ends(
    tmp_path: Path, handlers: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(tmp_path, map(delivered, range(5)))
    real = Keeper.turn

    def turn(self: Keeper, *, last: bool = False) -> bool:
        more = real(self, last=last)
        if not last:
            tell(tmp_path, [delivered(5)], "sender-1")
            handlers[signal.SIGTERM](signal.SIGTERM, None)
        return more

    monkeypatch.setattr(Keeper, "turn", turn)
    assert run(Stub(tmp_path)) == 0
    assert numbers(tmp_path)[:6] == [0, 1, 2, 3, 4, 5]


def test_a_reload_is_taken_over(tmp_path: Path, handlers: dict[int, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[str] = []

    def turn(self: Keeper, *, last: bool = False) -> bool:
        keys.append(self._settings.key_file)
        if self._settings.key_file:
            handlers[signal.SIGTERM](signal.SIGTERM, None)
        return False

    monkeypatch.setattr(Keeper, "turn", turn)
    assert run(Stub(tmp_path, AuditSettings(enabled=True, key_file="/k"))) == 0
    assert keys[-1] == "/k"


def test_it_ends_if_a_part_of_it_has_a_fault(
    tmp_path: Path, handlers: dict[int, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The supervisor starts another one: what one thread has left undone is not forgotten."""

    def broken(self: Keeper, *, last: bool = False) -> bool:
        raise RuntimeError("broken")

    monkeypatch.setattr(Keeper, "turn", broken)
    assert run(Stub(tmp_path)) == 1
    assert "a fault of ours" in caplog.text
