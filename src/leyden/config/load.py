"""Reads the files, the environment and the command line into one Settings, or reports every error at once.

Precedence: --config.key=value, then LEYDEN_KEY, then CAPACITOR_KEY, then config.yml, then the default. Without a
config.yml the defaults hold, without a routings.yml its filter is off; an error in a file stops the start. Nothing is
written here, and neither port nor spool is touched.
"""

import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from leyden.admission.callers import Caller, titles_of
from leyden.alerts.settings import AlertSettings, MailSettings, WebhookSettings
from leyden.audit.settings import AuditSettings, CollectorSettings
from leyden.config import doubtful_callers, doubtful_nodes, doubtful_rules
from leyden.config.api import console
from leyden.config.callers import callers
from leyden.config.listener import listener
from leyden.config.mutations import mutations, unmutated_copies
from leyden.config.node_tls import Way, ways
from leyden.config.nodes import Served, destinations, served, targets
from leyden.config.report import FILES, Report, nearest
from leyden.config.routings import routes
from leyden.config.schema import Alerts, Api, Audit, Collector, Config, ListenerEntry, Mail, Webhook, place, read
from leyden.config.settings import ConsoleSettings, ReceiverSettings, Settings
from leyden.config.sortings import sortings
from leyden.config.yaml_text import SIZE_LIMIT_BYTES, At, Entries, Node, Text, YamlError, parse
from leyden.dicom.negotiate import PDU_LIMIT_BYTES, AcceptorPolicy
from leyden.errors import ConfigError
from leyden.journal.lines import JournalSettings
from leyden.log import LogSettings
from leyden.net.certificates import Listener
from leyden.net.interfaces import local_addresses
from leyden.plan.rules import PlanSettings
from leyden.shares import ShareSettings

DEFAULT_FOLDERS = (Path("/var/lib/leyden/data"), Path("data"))
PREFIXES = ("CAPACITOR_", "LEYDEN_")  # of environment variables; the last one wins
LONGEST_TTL_S = 30.0
MAX_ASSOCIATIONS = 1000  # of all receivers together

Rule = TypeVar("Rule")


def load(
    path: Path | None,
    overrides: Mapping[str, str],
    environ: Mapping[str, str],
    log_dir: Path | None = None,
    *,
    serves: bool = False,
) -> tuple[Settings, tuple[str, ...]]:
    """The settings and the warnings to log.

    `path` is the folder of the YAML files (None = the default one), `overrides` is what --config.key=value gave,
    `log_dir` replaces <path>/log, `serves`: as for Report. Raises ConfigError with all errors and warnings.
    """
    folder = folder_of(path)
    report = Report(serves=serves)
    _misnamed(folder, report)
    config = _config(folder, overrides, environ, report)
    in_doubt = bool(report.errors) and "filters" not in config.places  # the key may stand where nothing could be read
    if report.errors and "scpPort" not in config.places:
        config = config.model_copy(update={"scp_port": 0})  # in doubt too: no node is compared with it
    known = _served(folder, config, report)
    present, document = _document(folder, "callers.yml", report)
    come_in = callers(document, known, folder, report) if present else ()
    if known is not None:
        known = replace(known, calling=titles_of(come_in, known.calling))
    reached = ways((node for node, _ in known.nodes) if known else (), folder, environ, report)

    def rules(name: str, file: str, read_all: Callable[[Node | None], tuple[Rule, ...]]) -> tuple[Rule, ...] | None:
        named = name in config.filters or (in_doubt and (folder / file).exists())
        return _rules(folder, named, name, file, read_all, report)

    plan = PlanSettings(
        my_ae_title=str(config.my_ae_title),
        titles=known.titles if known else {},
        targets=targets(known) if known else (),
        filters=config.filters,
        routes=rules("route", "routings.yml", lambda document: routes(document, known, str(folder), report)),
        sortings=rules("sort", "sortings.yml", lambda document: sortings(document, known, report)),
        mutations=rules("mutate", "mutations.yml", lambda document: mutations(document, known, str(folder), report)),
        drop_unfiltered=config.drop_unfiltered_instances,
        minimum_age_s=config.minimum_age,
    )
    if "sort" in config.filters[:-1]:
        late = "sort orders what leaves, so it runs after the other filters wherever it stands"
        report.warn(config.places["filters"], "filters", late)
    if config.drop_unfiltered_instances and not plan.routes:
        effect = "does nothing: no filter is on" if plan.routes is None else "drops everything: there are no routes"
        report.warn(config.places["dropUnfilteredInstances"], "dropUnfilteredInstances", effect)
    unmutated_copies(plan, config.places, report)
    api = console(config.api, folder, report)
    tls = listener(config, folder, report)
    if report.errors or known is None:
        raise ConfigError(report.errors, report.warnings)
    settings = _settings(folder, log_dir, config, api, tls, known, reached, plan, come_in)
    _warn_of_doubts(known, config, settings, report)
    return settings, report.warnings


def _warn_of_doubts(known: Served, config: Config, settings: Settings, report: Report) -> None:
    """Warn of what is legal and most probably wrong, but for what a file of rules shows by itself (routings.py)."""
    here = {*local_addresses(), socket.gethostname(), socket.gethostname().partition(".")[0]}
    for at, key, message in doubtful_nodes.doubts(known, config, here):
        report.warn(at, key, message)
    for at, key, message in doubtful_callers.doubts(settings.receiver.callers, config, settings.tls):
        report.warn(at, key, message)
    for where, steps, message in doubtful_rules.into_the_spool(settings.plan.routes or (), settings.cache_path):
        file, _, line = where.rpartition(":")
        report.warn(At(file, int(line)), place(steps), message)


def emptied(before: Settings, after: Settings) -> tuple[str, ...]:
    """Files that meant something before, and are empty or gone now: one may be in the middle of being written.

    For a reload: without its mutations an object would leave as it came, and without its callers the door is open.
    """
    held = {
        "config.yml": (before.plan.filters, after.plan.filters, True),
        "nodes.yml": (before.destinations, after.destinations, True),
        "callers.yml": (before.receiver.callers, after.receiver.callers, True),
        "routings.yml": (before.plan.routes, after.plan.routes, "route" in after.plan.filters),
        "mutations.yml": (before.plan.mutations, after.plan.mutations, "mutate" in after.plan.filters),
        "sortings.yml": (before.plan.sortings, after.plan.sortings, "sort" in after.plan.filters),
    }
    remedy = {"config.yml": "write a key into it"}
    return tuple(
        f"{file}: is empty or gone, and was not before, so it may be half written; if that is meant, "
        f"{remedy.get(file, 'write [] into it')}"
        for file, (was, now, used) in held.items()
        if was and not now and used and _says_nothing(Path(after.path) / file)
    )


def _says_nothing(path: Path) -> bool:
    """Whether a file is not there, or holds blanks and comments only. OSError: it can't be read."""
    try:
        lines = path.read_bytes()[:SIZE_LIMIT_BYTES].removeprefix(b"\xef\xbb\xbf").splitlines()
    except FileNotFoundError:
        return True
    return not any(line.partition(b"#")[0].strip() for line in lines)


def spool_root(path: Path | None, overrides: Mapping[str, str], environ: Mapping[str, str]) -> Path:
    """Where the spool is, as far as config.yml can be read: for commands that have to work beside wrong files.

    Raises ConfigError if config.yml hides it.
    """
    folder = folder_of(path)
    report = Report()
    config = _config(folder, overrides, environ, report)
    root = Path(_cache(folder, config))
    if report.errors and "cachePath" not in config.places and not (root / "lock").exists():
        raise ConfigError(report.errors, report.warnings)
    return root


def given(overrides: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """The keys of config.yml that the environment or the command line gives, so that the file is not asked: key ->
    name of the variable or switch."""
    return {key: value.at.file for key, value in _given(overrides, environ, Report())}


def folder_of(path: Path | None) -> Path:
    if path is not None:
        if not path.is_dir():
            why = f"{path}: no such folder (--path names that of config.yml and nodes.yml; `leyden init` makes it)"
            raise ConfigError((why,))
        return path.absolute()
    for folder in DEFAULT_FOLDERS:
        if folder.is_dir():
            return folder.absolute()
    places = " nor ".join(str(folder.absolute()) for folder in DEFAULT_FOLDERS)
    raise ConfigError((f"neither {places} is there; name the folder of config.yml and nodes.yml with --path",))


def _document(folder: Path, file: str, report: Report) -> tuple[bool, Node | None]:
    """Whether the file exists, and what could be read of it; what could not is reported."""
    try:
        with (folder / file).open("rb") as stream:
            return True, parse(stream.read(SIZE_LIMIT_BYTES + 1), file)
    except FileNotFoundError:
        return False, None
    except OSError as error:
        report.error(At(file), "", f"cannot be read: {error.strerror}")
    except YamlError as error:
        for each in (error, *error.more):
            report.error(each.at, "", str(each))
        return True, error.rest
    return False, None


def _misnamed(folder: Path, report: Report) -> None:
    """Warn of a file whose name is almost right: it is not read, so its rules would be off without a word."""
    stems = {file.removesuffix(".yml") for file in FILES}
    there = sorted(os.listdir(folder))
    missing = stems.difference(name.removesuffix(".yml") for name in there)
    for name in there:
        if not name.lower().endswith((".yml", ".yaml")) or name in FILES:
            continue
        stem = name.lower().rpartition(".")[0]
        if meant := stem if stem in stems else nearest(stem, missing):
            report.warn(At(name), "", f"is not read; the file has to be called {meant}.yml")


def _config(folder: Path, overrides: Mapping[str, str], environ: Mapping[str, str], report: Report) -> Config:
    _, document = _document(folder, "config.yml", report)
    if document is not None and not isinstance(document, Entries):
        report.error(document.at, "", "must hold keys and values, such as scpPort: 1040")
        document = None
    entries = _merged(document or Entries(At("config.yml", 1)), _given(overrides, environ, report))
    config = read(Config, entries, report) or Config.model_validate(Entries(entries.at), context=Report())
    if config.audit and config.audit.collector and not config.audit.collector.host:
        report.error(config.audit.collector.at, "audit.collector", "host is missing: nothing would be sent")
    _check_alerts(config.alerts, report)
    if config.duplicate_behavior == "ignore" and not config.move_rejected_cached_files:
        lie = "what was refused and removed would be answered Success if it came again; keep it, or write reject"
        report.error(
            config.places["duplicateBehavior"], "duplicateBehavior", f"with moveRejectedCachedFiles false, {lie}"
        )
    return config


def _given(overrides: Mapping[str, str], environ: Mapping[str, str], report: Report) -> list[tuple[str, Text]]:
    """(key of config.yml, value) from the environment and then from the command line; the last one of a key wins.

    Names are compared without case, underscores and dots. An empty variable counts as not set.
    """
    spelled = {_plain(key): key for key in (*Config.keys(), *Config.later, *Config.silent)}
    inner = (Api, ListenerEntry, Audit, Collector, Alerts, Webhook, Mail)
    spelled |= {_plain(name): name for model in inner for name in map(model.within.__add__, model.keys())}
    found: list[tuple[str, Text]] = []
    for prefix in PREFIXES:
        for name, value in sorted(environ.items()):
            if not name.upper().startswith(prefix) or not value.strip():
                continue
            key = spelled.get(_plain(name[len(prefix) :]))
            if key is not None:
                found.append((key, Text(value, At(name))))
            elif meant := nearest(_plain(name[len(prefix) :]), spelled):
                Config.tell_unknown(At(name), "", spelled[meant], report)
    for name, value in overrides.items():
        key = spelled.get(_plain(name))
        at = At(f"--config.{name}")
        if key is None:
            Config.tell_unknown(at, "", nearest(name, spelled.values()), report)
        else:
            found.append((key, Text(value, at, quoted=key == "aeTitlePrefix")))
    return found


def _plain(key: str) -> str:
    return key.replace("_", "").replace(".", "").lower()


def _merged(entries: Entries, given: Iterable[tuple[str, Text]]) -> Entries:
    """config.yml with the given values in the place of its own; api.port goes into the mapping of api."""
    merged = Entries(entries.at)
    merged.update(entries)
    for key, value in given:
        outer, _, inner = key.partition(".")
        present = next((name for name in merged if name.lower() == outer.lower()), Text(outer, value.at))
        if inner:
            nested = merged.get(present)
            value_of = nested if isinstance(nested, Entries) else Entries(value.at)
            merged[present] = _merged(value_of, [(inner, value)])
        else:
            merged.pop(present, None)
            merged[Text(present, value.at)] = value
    return merged


def _served(folder: Path, config: Config, report: Report) -> Served | None:
    """The nodes, or None where part of the file cannot be read (which is reported)."""
    before = len(report.errors)
    present, document = _document(folder, "nodes.yml", report)
    broken = len(report.errors) > before
    known = served(document, config, report)
    if broken:
        return None
    if not known.nodes and len(report.errors) == before:
        what = "holds no Storage node" if present else "is missing"
        report.warn(At("nodes.yml"), "", f"{what}: nothing can be delivered")
    return replace(known, missing=not present)


def _rules(
    folder: Path,
    named: bool,
    name: str,
    file: str,
    read_all: Callable[[Node | None], tuple[Rule, ...]],
    report: Report,
) -> tuple[Rule, ...] | None:
    """The rules of a filter, or None where it is off: config.yml does not name it, or its file is not there."""
    if not named:
        if (folder / file).exists():
            report.warn(At(file), "", f"is not used: the filter {name} is not named in filters (config.yml)")
        return None
    present, document = _document(folder, file, report)
    if not present:
        if not report.errors:  # with an error, filters may be one of the keys that could not be read
            report.warn(At(file), "", f"is missing: the filter {name}, named in filters, is off")
        return None
    return read_all(document)


def _cache(folder: Path, config: Config) -> str:
    return os.path.normpath(folder / (str(config.cache_path) if config.cache_path is not None else "cache"))


def _longest_hold_s(config: Config) -> float:
    """How long an answer may be held back: half of what the sender waits, and of what we wait for the sender."""
    patience_s = min(config.storage_association_hold_expected_ttl_seconds, LONGEST_TTL_S, config.client_timeout)
    return patience_s / 2 if config.hold_incoming_storage_associations else 0.0


def _shares(come_in: Sequence[Caller]) -> dict[str, float]:
    """Title -> its share of the disk, where callers.yml says one. Several entries of a title: the largest, 0 = none."""
    given: dict[str, list[float]] = {}
    for caller in come_in:
        if caller.disk_share_percent is not None:
            given.setdefault(caller.title, []).append(caller.disk_share_percent)
    return {title: 0.0 if 0.0 in percents else max(percents) for title, percents in given.items()}


def _settings(
    folder: Path,
    log_dir: Path | None,
    config: Config,
    api: ConsoleSettings,
    tls: Listener,
    known: Served,
    reached: Mapping[str, Way],
    plan: PlanSettings,
    come_in: tuple[Caller, ...],
) -> Settings:
    nodes = destinations(known, config, reached)
    return Settings(
        path=str(folder),
        log_dir=str((log_dir or folder / "log").absolute()),
        cache_path=_cache(folder, config),
        scp_port=config.scp_port,
        my_ae_title=str(config.my_ae_title),
        receiver=ReceiverSettings(
            acceptor=AcceptorPolicy(
                titles=tuple(known.titles),
                allowed_calling=tuple(map(str, config.allowed_calling_ae_titles)),
                rejected_abstract_syntaxes=config.reject_abstract_syntaxes,
                max_pdu_bytes=min(config.max_data_buffer, PDU_LIMIT_BYTES),
            ),
            client_timeout_s=config.client_timeout,
            max_associations=config.max_clients_per_server or MAX_ASSOCIATIONS,
            min_free_percent=config.min_free_space,
            quiet_ae_titles=tuple(map(str, config.suppress_log_ae_titles)),
            nodes=known.titles,
            duplicates=config.duplicate_behavior,
            duplicate_threshold_s=config.duplicate_threshold,
            longest_hold_s=_longest_hold_s(config),
            minimum_age_s=config.minimum_age,
            callers=come_in,
            shares=ShareSettings(
                caller_percent=config.caller_share,
                destination_percent=config.destination_share,
                of_callers=_shares(come_in),
                of_destinations={each.ae_title: each.disk_share_percent for each in nodes},
            ),
        ),
        plan=plan,
        destinations=nodes,
        receivers=config.receivers,
        workers=config.workers or len(os.sched_getaffinity(0)),
        arena_mib=config.arena_mib,
        max_frame_mib=config.max_frame_mib,
        sync_spool=config.sync_spool,
        verify_compression=config.verify_compression,
        journal=JournalSettings(config.journal_mib, config.log_suffix, config.days_to_keep_logs),
        receipt_expiry_h=config.storage_receipt_expiry_hours,
        retry_rejected_at_start=config.cycle_rejected_files_on_startup,
        console=api,
        audit=_audit(folder, config),
        log=LogSettings(config.log_format, config.log_level),
        alerts=_alerts(folder, config.alerts),
        tls=tls,
    )


def _check_alerts(alerts: Alerts | None, report: Report) -> None:
    if alerts is None:
        return
    if alerts.webhook is None and alerts.mail is None:
        report.error(alerts.at, "alerts", "neither webhook nor mail is given: nobody would be told")
    if (mail := alerts.mail) is not None and bool(mail.user) != bool(mail.password_file):
        report.error(mail.at, "alerts.mail", "user and passwordFile belong together; one of them is missing")
    for name, entry in (("webhook", alerts.webhook), ("mail", alerts.mail)):
        missing = [key for key in entry.required if key not in entry.places] if entry is not None else []
        if entry is not None and missing:
            report.error(entry.at, f"alerts.{name}", f"{', '.join(missing)} is missing: nobody would be told")


def _alerts(folder: Path, alerts: Alerts | None) -> AlertSettings:
    if alerts is None:
        return AlertSettings()

    def path(written: Text | None) -> str:
        return str(folder / written) if written else ""

    webhook, mail = WebhookSettings(), MailSettings()
    if (to := alerts.webhook) is not None:
        webhook = WebhookSettings(to.url, path(to.secret_file), to.secret_as, path(to.ca_file))
    if (by := alerts.mail) is not None:
        mail = MailSettings(
            by.server, by.port, by.security, by.user or "", path(by.password_file), path(by.ca_file), by.sender, by.to
        )
    return AlertSettings(
        destination_down_s=60 * alerts.destination_down,
        queue_older_s=60 * alerts.queue_older_than,
        disk_below_percent=alerts.disk_free_below,
        certificate_ends_s=86400 * alerts.certificate_ends,
        objects=alerts.objects,
        webhook=webhook,
        mail=mail,
    )


def _audit(folder: Path, config: Config) -> AuditSettings:
    """It is off without a journal, too: the audit log is kept by what that tells."""
    audit = config.audit or Audit.model_validate(Entries(At("config.yml")), context=Report())

    def path(written: Text | None) -> str:
        return str(folder / written) if written else ""

    collector = CollectorSettings()
    if (to := audit.collector) is not None:
        collector = CollectorSettings(to.host, to.port, path(to.ca_file), path(to.certificate), path(to.key))
    enabled = audit.enabled and config.journal_mib > 0
    return AuditSettings(enabled, audit.keep_days, path(audit.key_file), collector)
