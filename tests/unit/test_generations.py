"""A reload as the supervisor does it: all or nothing, and what came of it is written down."""

import itertools
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from leyden import generations as module
from leyden.alerts.settings import AlertSettings, WebhookSettings
from leyden.audit.settings import AuditSettings, CollectorSettings
from leyden.config.settings import ConsoleSettings, ReceiverSettings, Settings
from leyden.deliver.destination import Credentials, Destination, TlsSettings
from leyden.dicom.negotiate import AcceptorPolicy
from leyden.errors import ConfigError
from leyden.generations import Generations
from leyden.inherited import DESCRIPTORS
from leyden.net.certificates import Listener
from leyden.operate.reading import Reading, Result, read
from leyden.plan.rules import Mutation, PlanSettings
from leyden.published import Published, Publisher
from leyden.spool.doorbell import Bell
from leyden.spool.store import Spool

A, B = Destination("A", "10.0.0.1", 104), Destination("B", "10.0.0.2", 104)


class Site:
    """A spool, the generations of a service on it, and what its files say now."""

    def __init__(self, root: Path) -> None:
        self.spool = Spool(root)
        self.spool.prepare(["A"])
        self.files: Settings | Exception = Settings(
            path=str(root), log_dir=str(root), cache_path=str(root), scp_port=104, my_ae_title="LEYDEN",
            receiver=ReceiverSettings(AcceptorPolicy(("A",))), plan=PlanSettings("LEYDEN", {}, ()), destinations=(A,),
        )  # fmt: skip
        self.first = self.files
        self.generations = Generations(self.first, self.spool, self._load)
        self.generations.started(("nodes.yml:1: odd",))

    def _load(self) -> tuple[Settings, tuple[str, ...]]:
        if isinstance(self.files, Exception):
            raise self.files
        return self.files, ("config.yml:7: odd",)

    def reload(self) -> Reading:
        self.generations.reload()
        return self.said()

    def said(self) -> Reading:
        found = read(self.spool.root)
        assert found is not None
        assert found.pid == os.getpid()
        return found

    def published(self) -> Settings:
        return self.read_by("sender")

    def read_by(self, role: str) -> Settings:
        return Settings.from_json(Published(self.generations.fd(role)).newer_than(0) or b"")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    for role in DESCRIPTORS:
        os.close(made.generations.fd(role))


def test_only_the_sender_reads_a_passcode(site: Site) -> None:
    secret = replace(A, tls=TlsSettings("a"), credentials=Credentials("leyden", passcode="geheim"))
    other = replace(B, tls=TlsSettings("b"), credentials=Credentials("leyden", "/etc/passcode"))
    site.files = replace(site.first, destinations=(secret, other))
    assert site.reload().changes == (
        "node B is added", "node A: Tls none -> {Name: a}", "node A: Credentials none -> (not shown)",
    )  # fmt: skip
    assert site.read_by("sender").destinations == (secret, other)
    for role in ("console", "watcher"):
        read, as_it_is = site.read_by(role).destinations
        assert (read.credentials, as_it_is) == (Credentials("leyden", withheld=True), other)
    for role in ("receiver", "planner", "worker"):
        assert all((each.tls, each.credentials) == (None, None) for each in site.read_by(role).destinations)
    longer = replace(secret, credentials=Credentials("leyden", passcode="geheimer"))
    before = site.generations.settings.fingerprint
    site.files = replace(site.files, destinations=(longer, other))
    assert site.reload().changes == ("node A: Credentials (not shown) -> (not shown)",)
    assert site.generations.settings.fingerprint == before


def test_what_the_service_starts_with_is_said(site: Site) -> None:
    said = site.said()
    assert (said.generation, said.result, said.nodes) == (1, Result.STARTED, ("A",))
    assert said.warnings == ("nodes.yml:1: odd",)


def test_a_new_generation_has_its_folders_before_the_roles_see_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bells = [Bell(site.spool.root, role) for role in ("planner", "sender", "worker-0", "reload")]
    there: list[bool] = []
    real = Publisher.put_in_force

    def put_in_force(self: Publisher, generation: int) -> None:
        there.append((site.spool.root / "prepared" / "B").is_dir())
        real(self, generation)

    monkeypatch.setattr(Publisher, "put_in_force", put_in_force)
    site.files = replace(site.first, destinations=(A, B), workers=9)
    said = site.reload()
    assert there == [True] * len(DESCRIPTORS)
    assert (said.generation, said.result, said.nodes) == (2, Result.CHANGED, ("A", "B"))
    assert said.changes == ("node B is added",)
    assert said.warnings == ("config.yml:7: odd", "workers stays 1: it takes a restart to make it 9")
    assert site.published() == site.generations.settings == replace(site.files, workers=1, generation=2)
    assert [bell.drain() for bell in bells] == [True] * 4
    assert "reload: generation 2 is in force" in caplog.text
    for bell in bells:
        bell.close()


@pytest.mark.parametrize(
    ("file", "content", "refused"),
    [
        ("mutations.yml", None, True),
        ("mutations.yml", "", True),
        ("mutations.yml", "\ufeff# later\n\n", True),
        ("mutations.yml", "[]", False),
        ("nodes.yml", "", True),
        ("nodes.yml", "[]", False),
        ("config.yml", "", True),
        ("config.yml", "scpPort: 104", False),
    ],
)
def test_a_file_that_is_suddenly_empty_is_taken_for_one_that_is_being_written(
    site: Site, file: str, content: str | None, refused: bool
) -> None:
    """Without its mutations an object would leave as it came, so that must be said in words: []."""
    plan = replace(site.first.plan, filters=("mutate",), mutations=(Mutation("mutations.yml:1"),))
    site.files = replace(site.first, plan=plan)
    site.reload()
    left = {
        "mutations.yml": {"plan": replace(plan, mutations=())},
        "nodes.yml": {"destinations": ()},
        "config.yml": {"plan": replace(plan, filters=(), mutations=None)},
    }
    site.files = replace(site.files, **left[file])  # type: ignore[arg-type]
    if content is not None:
        (site.spool.root / file).write_text(content, encoding="utf-8")
    said = site.reload()
    assert (said.result is Result.WRONG) == refused
    assert (said.generation, len(said.errors)) == ((2, 1) if refused else (3, 0))
    assert not refused or said.errors[0].startswith(f"{file}: is empty or gone")


def test_files_that_say_the_same_make_no_generation(site: Site) -> None:
    said = site.reload()
    assert (said.generation, said.result, said.changes) == (1, Result.UNCHANGED, ())
    assert site.published().generation == 1


@pytest.mark.parametrize(
    ("error", "result", "line"),
    [
        (ConfigError(("nodes.yml:3: Port: no",), ("w",)), Result.WRONG, "nodes.yml:3: Port: no"),
        (OSError(5, "Input/output error"), Result.FAILED, "Input/output error"),
        (KeyError("x"), Result.FAILED, "a fault of Leyden: KeyError('x')"),
    ],
)
def test_what_cannot_be_read_changes_nothing_and_is_said(
    site: Site, caplog: pytest.LogCaptureFixture, error: Exception, result: Result, line: str
) -> None:
    site.files = error
    said = site.reload()
    assert (said.generation, said.result, said.changes) == (1, result, ())
    assert line in said.errors[0]
    assert line in caplog.text
    assert "reload: refused, generation 1 stays in force" in caplog.text
    assert site.published() == site.first
    site.files = replace(site.first, receipt_expiry_h=1.0)
    said = site.reload()
    assert (said.generation, said.errors) == (2, ())


@pytest.mark.parametrize("what", ["prepare", "write", "second write"])
def test_what_this_machine_refuses_changes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    real, tries = Publisher.write, itertools.count(1)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def refuse_second(self: Publisher, generation: int, document: bytes) -> None:
        refuse() if next(tries) == 2 else real(self, generation, document)

    where = (Spool, "prepare") if what == "prepare" else (Publisher, "write")
    monkeypatch.setattr(*where, refuse_second if what == "second write" else refuse)
    site.files = replace(site.first, destinations=(A, B))
    said = site.reload()
    assert (said.generation, said.result, said.nodes) == (1, Result.FAILED, ("A",))
    assert "No space left" in said.errors[0]
    assert site.generations.settings == site.published() == site.first
    assert site.read_by("worker").destinations == (A,)


def test_a_result_that_cannot_be_written_down_is_in_force_all_the_same(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.reading, "write", refuse)
    site.files = replace(site.first, destinations=(A, B))
    site.generations.reload()
    assert site.published().generation == 2
    assert "what is in force can't be written down" in caplog.text


SECRET = "hunter2"


def test_each_role_reads_the_secrets_that_it_needs_and_no_other(site: Site) -> None:
    """Workers run native code over received data, and receivers what strangers send: they could give a secret away."""
    node = replace(
        A, tls=TlsSettings("a.example", key="KEY-OF-NODE"), credentials=Credentials("us", passcode="PASSCODE")
    )
    alerts = AlertSettings(webhook=WebhookSettings(url="https://chat.example/WEBHOOK"))
    audit = AuditSettings(collector=CollectorSettings("siem", key="KEY-OF-AUDIT"))
    site.files = replace(
        site.first, destinations=(node,), console=ConsoleSettings(token="TOKEN"), alerts=alerts, audit=audit
    )
    site.reload()
    everything = {"KEY-OF-NODE", "PASSCODE", "WEBHOOK", "KEY-OF-AUDIT", "TOKEN"}
    seen = {role: site.read_by(role) for role in DESCRIPTORS}
    found = {
        role: {secret for secret in everything if secret in settings.to_json().decode()}
        for role, settings in seen.items()
    }
    assert found == {
        "receiver": set(),
        "planner": set(),
        "worker": set(),
        "sender": {"KEY-OF-NODE", "PASSCODE"},
        "console": everything - {"PASSCODE"},
        "watcher": everything - {"PASSCODE"},
    }
    assert all((each.generation, each.plan) == (2, site.files.plan) for each in seen.values())
    secured = replace(site.first, tls=Listener(port=2762, key="KEY-OF-LISTENER"))
    told = {role for role in DESCRIPTORS if "KEY-OF-LISTENER" in secured.seen_by(role).to_json().decode()}
    assert told == {"receiver", "console", "watcher"}  # the last two tell when a certificate ends
