"""The whole configuration as one frozen value, which goes to the roles as one JSON document.

Only the supervisor and the command line read YAML (config/load.py). A role gets this document through an inherited
descriptor, and after a reload the next one, and does not check it again. Types that belong to one stage are defined
there (AcceptorPolicy, PlanSettings, Destination); nothing below config/ reads a global.
"""

import dataclasses
import hashlib
import math
from operator import attrgetter
from pathlib import Path

import msgspec
from msgspec.structs import replace

from leyden.admission.callers import Caller
from leyden.alerts.settings import NO_ALERTS, AlertSettings
from leyden.audit.settings import NO_AUDIT, AuditSettings
from leyden.deliver.destination import Destination
from leyden.dicom.negotiate import AcceptorPolicy
from leyden.journal.lines import NO_JOURNAL, JournalSettings
from leyden.log import AS_EVER, LogSettings
from leyden.net.certificates import NO_LISTENER, Listener
from leyden.plan.rules import PlanSettings
from leyden.shares import NO_SHARES, ShareSettings


class ReceiverSettings(msgspec.Struct, frozen=True):
    """What the receivers go by. `max_associations` is for all of them together.

    `nodes`: the node that each called AE title stands for ("" = ours). `duplicates`: accept, reject or ignore.
    `longest_hold_s`: how long an answer is held back at most while much waits to be planned; 0 = not at all. `callers`:
    the entries of callers.yml; none = everybody may call.
    """

    acceptor: AcceptorPolicy
    client_timeout_s: float = 600.0
    max_associations: int = 1000
    min_free_percent: float = 10.0
    quiet_ae_titles: tuple[str, ...] = ()
    nodes: dict[str, str] = msgspec.field(default_factory=dict)
    duplicates: str = "accept"
    duplicate_threshold_s: float = 900.0
    longest_hold_s: float = 0.0
    minimum_age_s: float = 0.0
    callers: tuple[Caller, ...] = ()
    shares: ShareSettings = NO_SHARES


class ConsoleSettings(msgspec.Struct, frozen=True):
    """What the console goes by. `bind` is the address that it listens on, `port` the first port that it tries.

    `token` and `service_password` are SHA-256 in hex, "" = none: no settings hold a secret. `certificate` and `key` are
    paths, "" = no TLS. `host_names` in lower case, besides those of this machine.
    """

    enabled: bool = False
    port: int = 1080
    bind: str = "127.0.0.1"
    token: str = ""
    service_password: str = ""
    certificate: str = ""
    key: str = ""
    host_names: tuple[str, ...] = ()
    require_token: bool = False
    max_connections: int = 100
    requests_per_second: int = 50


class Settings(msgspec.Struct, frozen=True):
    """One generation of the configuration. Paths are absolute.

    `verify_compression` says which objects are decoded again and compared: first-of-series, always or off. `generation`
    counts from 1 at each start of the service; nothing else says which generation a role works by. A reload changes
    every field but those of AT_START.
    """

    path: str
    log_dir: str
    cache_path: str
    scp_port: int
    my_ae_title: str
    receiver: ReceiverSettings
    plan: PlanSettings
    destinations: tuple[Destination, ...]
    receivers: int = 1
    workers: int = 1
    arena_mib: int = 256
    max_frame_mib: int = 128
    sync_spool: bool = True
    verify_compression: str = "first-of-series"
    journal: JournalSettings = NO_JOURNAL
    receipt_expiry_h: float = 8.0
    retry_rejected_at_start: bool = True
    console: ConsoleSettings = ConsoleSettings()
    audit: AuditSettings = NO_AUDIT
    log: LogSettings = AS_EVER
    alerts: AlertSettings = NO_ALERTS
    tls: Listener = NO_LISTENER
    generation: int = 1

    @property
    def spool_root(self) -> Path:
        return Path(self.cache_path)

    @property
    def fingerprint(self) -> str:
        """The same for two starts or reloads that mean the same: the begin of a SHA-256, in hex digits. Of no passcode,
        as it is written down, and short ones could be found by it."""
        meant = replace(self, destinations=tuple(map(_withheld, self.destinations)), generation=0)
        return hashlib.sha256(meant.to_json()).hexdigest()[:16]

    @property
    def watched(self) -> bool:
        """Whether anything asks for the watcher."""
        return self.audit.enabled or self.alerts.enabled or self.receiver.shares.enabled

    @property
    def certificates(self) -> dict[str, str]:
        """What ends some day: whose certificates or revocation lists -> the PEM file."""
        files = {"api": self.console.certificate, "tls": self.tls.certificate}
        if self.tls.client_auth != "off":
            files |= {"tls authorities": self.tls.authorities, "tls revocation lists": self.tls.revocation_lists}
        for each in self.destinations:
            if each.tls is not None:
                of = f"node {each.ae_title}"
                files |= {of: each.tls.certificate, f"{of} authorities": each.tls.authorities}
                files[f"{of} revocation lists"] = each.tls.revocation_lists
        return {of: path for of, path in files.items() if path}

    @property
    def secrets(self) -> dict[str, str]:
        """The files that their owner alone may read: the key of the configuration -> the path."""
        files = {"tls.key": self.tls.key, "api.key": self.console.key if self.console.enabled else ""}
        for each in self.destinations:
            if each.tls is not None:
                files[f"Tls.Key of {each.ae_title}"] = each.tls.key
            if each.credentials is not None:
                files[f"Credentials of {each.ae_title}"] = each.credentials.secret_file
        return {key: path for key, path in files.items() if path}

    @property
    def of_each_receiver(self) -> ReceiverSettings:
        """What one receiver goes by: `max_associations`, of all and of a caller, is its share."""

        def share(whole: int) -> int:
            return math.ceil(whole / self.receivers)

        callers = tuple(replace(each, max_associations=share(each.max_associations)) for each in self.receiver.callers)
        return replace(self.receiver, max_associations=share(self.receiver.max_associations), callers=callers)

    def seen_by(self, role: str) -> "Settings":
        """What a role is given: no secret that it has no use for, nor what leads to one. Planner and workers, which no
        peer reaches, also get nothing of the network. The passcode of a node is the sender's alone, and the hashes of
        users' passcodes are the receiver's."""
        outside = replace(self.receiver, callers=tuple(replace(each, users=()) for each in self.receiver.callers))
        if role in ("console", "watcher"):
            return replace(self, destinations=tuple(map(_withheld, self.destinations)), receiver=outside)
        quiet = replace(self, console=ConsoleSettings(), audit=NO_AUDIT, alerts=NO_ALERTS)
        if role == "sender":
            return replace(quiet, tls=NO_LISTENER, receiver=outside)
        destinations = tuple(replace(each, tls=None, credentials=None) for each in self.destinations)
        if role == "receiver":
            return replace(quiet, destinations=destinations)
        nothing = ReceiverSettings(AcceptorPolicy(()))
        return replace(quiet, destinations=destinations, receiver=nothing, tls=NO_LISTENER)

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, document: bytes) -> "Settings":
        return msgspec.json.decode(document, type=cls)


def _withheld(node: Destination) -> Destination:
    if node.credentials is None or not node.credentials.passcode:
        return node
    return replace(node, credentials=dataclasses.replace(node.credentials, passcode="", withheld=True))


AT_START = {
    "cache_path": "cachePath",
    "scp_port": "scpPort",
    "receivers": "receivers",
    "workers": "workers",
    "arena_mib": "arenaMib",
    "max_frame_mib": "maxFrameMib",
    "sync_spool": "syncSpool",
    "console.enabled": "api.enabled",
    "console.port": "api.port",
    "console.bind": "api.bind",
    "console.certificate": "api.certificate",
    "console.key": "api.key",
    "audit.enabled": "audit.enabled",
    "tls.port": "tls.port",
}
"""The fields that the processes look at when they start, and the key of config.yml that each comes from. A field that
is not here takes effect at a reload: so whoever reads a field once only has to name it here."""


def without_restart(in_force: Settings, wanted: Settings) -> tuple[Settings, tuple[str, ...]]:
    """The next generation, as far as it can be had without a restart, and a line for each key that has to wait."""
    values = [(name, attrgetter(name)(in_force), attrgetter(name)(wanted)) for name in AT_START]
    lines = tuple(
        f"{AT_START[name]} stays {_written(kept)}: it takes a restart to make it {_written(other)}"
        for name, kept, other in values
        if kept != other
    )
    for name, kept, _ in values:
        outer, _, inner = name.rpartition(".")
        wanted = replace(
            wanted, **{outer or inner: replace(getattr(wanted, outer), **{inner: kept}) if outer else kept}
        )
    if not in_force.tls.port or not wanted.tls.files:  # the listener stays what it is: closed, or open
        wanted = replace(wanted, tls=in_force.tls)
    return replace(wanted, generation=in_force.generation + 1), lines


def _written(value: object) -> str:
    """A value as the file has it."""
    return str(value).lower() if isinstance(value, bool) else str(value) or "none"
