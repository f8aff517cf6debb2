"""What the audit log holds reaches the collector, over TLS and whatever happens to either of them."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from leyden.audit import collector, files, keeper
from leyden.audit.atna import Us
from leyden.audit.collector import Collector
from leyden.audit.keeper import Keeper
from leyden.audit.settings import AuditSettings, CollectorSettings
from leyden.journal.events import Operated
from support.audited import delivered, tell
from support.collector import Certificates, CollectorServer, counts, detail

pytestmark = pytest.mark.skipif(
    not shutil.which("openssl") and not os.environ.get("CI"), reason="openssl makes the certificates"
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls") / "certificates")


@pytest.fixture
def server(certificates: Certificates) -> Iterator[Callable[..., CollectorServer]]:
    made: list[CollectorServer] = []

    def make(**options: bool) -> CollectorServer:
        made.append(CollectorServer(certificates, **options).start())
        return made[-1]

    yield make
    for one in made:
        one.stop()


def pause(number: int) -> Operated:
    return Operated("", at_s=1.7e9 + number, who="alice", through="api", did=f"pause {number}")


class Site:
    """A keeper and a collector of one spool."""

    def __init__(self, root: Path, settings: CollectorSettings) -> None:
        self.root = root
        self.keeper = Keeper(root, root / "log", AuditSettings(enabled=True))
        self.collector = Collector(root, root / "log", settings, Us("box", "LEYDEN"), self.keeper)

    def tell(self, *numbers: int) -> None:
        tell(self.root, map(pause, numbers))
        while self.keeper.turn():
            pass

    def turn(self) -> None:
        while self.collector.turn():
            pass


def settings(server: CollectorServer, certificates: Certificates) -> CollectorSettings:
    return CollectorSettings("localhost", server.port, certificates.path("ca.pem"))


def heard(server: CollectorServer) -> list[int]:
    return [int(detail(each, "Alert Description").split()[1].rstrip(",")) for each in server.documents]


def test_what_is_kept_is_sent_in_order_and_once(
    tmp_path: Path, certificates: Certificates, server: Callable[..., CollectorServer]
) -> None:
    there = server()
    for first in (0, 3):
        site = Site(tmp_path, settings(there, certificates))
        site.tell(first, first + 1, first + 2)
        site.turn()
        there.wait(first + 3)
        site.collector.close()
    assert heard(there) == [0, 1, 2, 3, 4, 5]


def test_a_collector_that_was_down_gets_all_of_it(
    tmp_path: Path,
    certificates: Certificates,
    server: Callable[..., CollectorServer],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its connection breaks; meanwhile files are rotated and archived, and the process is another one."""
    for name in ("PAUSE_S", "LONGEST_PAUSE_S"):
        monkeypatch.setattr(collector, name, 0.0)
    monkeypatch.setattr(keeper, "ROTATE_BYTES", 700)
    there = server()
    site = Site(tmp_path, settings(there, certificates))
    site.tell(0)
    site.turn()
    there.wait(1)
    there.stop()
    for number in range(1, 9):
        site.tell(number)
        site.turn()
    assert caplog.text.count("gets nothing, and it waits") == 1
    site.collector.close()
    site = Site(tmp_path, settings(there, certificates))
    site.tell(9)
    site.turn()
    there.start()
    site.turn()
    there.wait(10)
    assert heard(there) == list(range(10))
    site.collector.close()


def test_a_message_that_was_not_sent_before_the_end_is_sent_by_the_next_process(
    tmp_path: Path, certificates: Certificates, server: Callable[..., CollectorServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group that is not whole yet is not noted, so its records are read again."""
    there = server()
    site = Site(tmp_path, settings(there, certificates))
    monkeypatch.setattr(collector.time, "time", lambda: 1.7e9 + 5)
    tell(tmp_path, map(delivered, range(3)))
    site.tell(3)
    site.turn()
    there.wait(1)
    site.collector.close()
    monkeypatch.setattr(collector.time, "time", lambda: 1.7e9 + 500)
    site = Site(tmp_path, settings(there, certificates))
    site.tell()
    site.turn()
    grouped = there.wait(2 + 1)[-2:]
    assert {"1.2": 3} in map(counts, grouped)
    site.collector.close()


def test_nobody_else_is_told_anything(
    tmp_path: Path,
    certificates: Certificates,
    server: Callable[..., CollectorServer],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its certificate has to be of the CA, and has to have its name."""
    there = server()
    for number, (right, wrong) in enumerate([("ca.pem", "other.pem"), ("localhost", "127.0.0.2")]):
        root = tmp_path / str(number)
        root.mkdir()
        good = settings(there, certificates)
        bad = replace(good, ca_file=certificates.path(wrong)) if number == 0 else replace(good, host=wrong)
        site = Site(root, bad)
        site.tell(1)
        site.turn()
        site.collector.close()
        assert right
    assert caplog.text.count("certificate verify failed") + caplog.text.count("Connection refused") == 2
    assert not there.documents


def test_a_collector_may_ask_for_a_certificate(
    tmp_path: Path,
    certificates: Certificates,
    server: Callable[..., CollectorServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("PAUSE_S", "LONGEST_PAUSE_S"):
        monkeypatch.setattr(collector, name, 0.0)
    there = server(wants_certificate=True)
    without = settings(there, certificates)
    site = Site(tmp_path, without)
    site.tell(1)
    site.turn()
    assert not there.documents
    site.collector.close()
    mine = replace(without, certificate=certificates.path("client.pem"), key=certificates.path("client.key"))
    site = Site(tmp_path, mine)
    site.tell(2)
    site.turn()
    there.wait(2)
    assert heard(there) == [1, 2]
    site.collector.close()


def test_a_record_that_was_changed_or_removed_holds_up_nothing(
    tmp_path: Path, certificates: Certificates, server: Callable[..., CollectorServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "ROTATE_BYTES", 700)
    there = server()
    site = Site(tmp_path, settings(there, certificates))
    for number in range(9):
        site.tell(number)
    files = sorted((tmp_path / "log" / "audit_archive").iterdir())
    assert len(files) >= 3
    files[1].unlink()
    site.turn()
    said = heard(there) if there.wait(3) else []
    assert said == sorted(said)
    assert said[-1] == 8
    assert len(said) < 9
    site.collector.close()


@pytest.mark.parametrize("kept", [0, 40, 150], ids=["empty", "head only", "cut off"])
def test_a_damaged_file_of_the_archive_does_not_stop_the_rest(
    tmp_path: Path,
    certificates: Certificates,
    server: Callable[..., CollectorServer],
    monkeypatch: pytest.MonkeyPatch,
    kept: int,
) -> None:
    monkeypatch.setattr(keeper, "ROTATE_BYTES", 700)
    there = server()
    site = Site(tmp_path, settings(there, certificates))
    for first in range(0, 12, 3):
        site.tell(first, first + 1, first + 2)
    damaged = sorted((tmp_path / "log" / files.ARCHIVE).iterdir())[1]
    damaged.write_bytes(damaged.read_bytes()[:kept])
    site.turn()
    there.wait(9)
    site.collector.close()
    assert {0, 1, 2, 6, 7, 8, 9, 10, 11} <= set(heard(there))
