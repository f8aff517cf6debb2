"""What a reload changes, in words for an operator: one line for each key, node or file.

The two generations are walked as the records that they are, so a new field needs no code here. Its key is
made of its name; KEYS is for the names of which that makes no key. Entries with an AE title are nodes and are compared
by it. Entries with a place (`where`) are rules of a file and are compared in their order, without their places.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import msgspec
from msgspec.structs import asdict
from pydantic.alias_generators import to_pascal

from leyden.config.settings import Settings
from leyden.dicom.uids import SYNTAXES, syntax_name

KEYS = {
    "allowed_calling": "allowedCallingAeTitles",
    "rejected_abstract_syntaxes": "rejectAbstractSyntaxes",
    "max_pdu_bytes": "maxDataBuffer",
    "min_free_percent": "minFreeSpace",
    "quiet_ae_titles": "suppressLogAeTitles",
    "drop_unfiltered": "dropUnfilteredInstances",
    "receipt_expiry_h": "storageReceiptExpiryHours",
    "retry_rejected_at_start": "cycleRejectedFilesOnStartup",
    "receiver.max_associations": "maxClientsPerServer",
    "host": "HostName",
    "syntax": "TransferSyntax",
    "receiver.duplicates": "duplicateBehavior",
    "receiver.longest_hold_s": "holdIncomingStorageAssociations",
    "receiver.shares.caller_percent": "callerShare",
    "receiver.shares.destination_percent": "destinationShare",
    "log.form": "logFormat",
    "log.level": "logLevel",
    "journal.mib": "journalMib",
    "journal.suffix": "logSuffix",
    "journal.log_days": "daysToKeepLogs",
    "audit.keep_days": "audit.keepDays",
    "audit.key_file": "audit.keyFile",
    "audit.collector.host": "audit.collector.host",
    "audit.collector.port": "audit.collector.port",
    "audit.collector.ca_file": "audit.collector.caFile",
    "audit.collector.certificate": "audit.collector.certificate",
    "audit.collector.key": "audit.collector.key",
    "alerts.destination_down_s": "alerts.destinationDown",
    "alerts.queue_older_s": "alerts.queueOlderThan",
    "alerts.disk_below_percent": "alerts.diskFreeBelow",
    "alerts.certificate_ends_s": "alerts.certificateEnds",
    "alerts.objects": "alerts.objects",
    "alerts.webhook.url": "alerts.webhook.url",
    "alerts.webhook.secret_file": "alerts.webhook.secretFile",
    "alerts.webhook.secret_as": "alerts.webhook.secretAs",
    "alerts.webhook.ca_file": "alerts.webhook.caFile",
    "alerts.mail.server": "alerts.mail.server",
    "alerts.mail.port": "alerts.mail.port",
    "alerts.mail.security": "alerts.mail.security",
    "alerts.mail.user": "alerts.mail.user",
    "alerts.mail.password_file": "alerts.mail.passwordFile",
    "alerts.mail.ca_file": "alerts.mail.caFile",
    "alerts.mail.sender": "alerts.mail.from",
    "alerts.mail.to": "alerts.mail.to",
    "console.token": "api.token",
    "console.service_password": "api.servicePassword",
    "console.host_names": "api.hostNames",
    "console.require_token": "api.requireToken",
    "console.max_connections": "api.maxConnections",
    "console.requests_per_second": "api.requestsPerSecond",
    "tls.certificate": "tls.certificate",
    "tls.key": "tls.key",
    "tls.authorities": "tls.authorities",
    "tls.revocation_lists": "tls.revocationLists",
    "tls.client_auth": "tls.clientAuth",
    "tls.profile": "tls.profile",
    "schedule": "ProcessSchedule",
    "networks": "ProcessNetworks",
}
"""Field, or its path -> the key. Any other field: its name in camel case (PascalCase for a node) without its unit."""

ONLY_IN_CONFIG = {
    "connect_timeout_s": "connectTimeoutSeconds",
    "storage_timeout_floor_s": "storageTimeoutFloorSeconds",
    "abandon_grace_s": "sendAbandonGraceSeconds",
    "process_delay_window_multiplier": "processDelayWindowMultiplier",
    "expiry_threshold_s": "expiryThreshold",
    "keep_rejected": "moveRejectedCachedFiles",
}
"""Fields of a node that have no key in nodes.yml."""

RULE_FILES = {
    "routes": "routings.yml",
    "mutations": "mutations.yml",
    "sortings": "sortings.yml",
    "callers": "callers.yml",
}
DERIVED = (
    "generation",
    "titles",
    "receiver.nodes",
    "receiver.minimum_age_s",
    "receiver.shares.of_callers",
    "receiver.shares.of_destinations",
    "plan.my_ae_title",
)  # of what is said already
UNITS = ("_kb_per_s", "_bytes", "_percent", "_ms", "_s", "_h")
PLACES_MAX = 4  # of rules that are named
SHOWN_MAX = 60  # characters of a value


def changes(old: Settings, new: Settings) -> tuple[str, ...]:
    """The lines, in the order of the files; none if both mean the same.

    A key of a node may come from nodes.yml, or from config.yml for all of them: the line does not say which.
    """
    found = _Found()
    _walk("", old, new, found)
    lines = [f"config.yml: {line}" for line in found.keys]
    lines += [f"node {title} {what}" for title, what in found.nodes.items()]
    by_line: dict[str, list[str]] = {}
    for title, changed in found.of_nodes.items():
        for line in dict.fromkeys(changed):  # the planner and the sender have some of the same keys
            by_line.setdefault(line, []).append(title)
    for line, titles in by_line.items():
        everywhere = len(titles) > 1 and len(titles) == len(found.in_both)
        which = "each node" if everywhere else f"node{'s' if len(titles) > 1 else ''} {', '.join(titles)}"
        lines.append(f"{which}: {line}")
    return tuple(lines + found.rules)


class _Found(msgspec.Struct):
    """What is different so far."""

    keys: list[str] = msgspec.field(default_factory=list)
    nodes: dict[str, str] = msgspec.field(default_factory=dict)  # by title: was added, was removed
    of_nodes: dict[str, list[str]] = msgspec.field(default_factory=dict)  # by title: the keys of those that are in both
    in_both: set[str] = msgspec.field(default_factory=set)
    rules: list[str] = msgspec.field(default_factory=list)


def _walk(path: str, old: Any, new: Any, found: _Found) -> None:
    name = path.rpartition(".")[2]
    if name in DERIVED or path in DERIVED:
        return
    if type(old) is type(new) and (names := _fields(old)):
        for each in names:
            _walk(f"{path}.{each}".lstrip("."), getattr(old, each), getattr(new, each), found)
        return
    if _entries(old, new, "ae_title"):
        _walk_nodes(old, new, found)
    elif name in RULE_FILES or _entries(old, new, "where"):
        found.rules += _rules(RULE_FILES.get(name, name), old, new)
    elif old != new:
        found.keys.append(_line(_key(path, name), old, new))


def _entries(old: Any, new: Any, identity: str) -> bool:
    """Whether these are entries that have such a field."""
    items = [*(old or ()), *(new or ())] if isinstance(old, tuple) or isinstance(new, tuple) else []
    return bool(items) and all(identity in _fields(item) for item in items)


def _fields(value: Any) -> tuple[str, ...]:
    """The names of its fields, without the computed ones; none if it has none."""
    names: tuple[str, ...] = getattr(type(value), "__match_args__", ())
    return names if isinstance(value, msgspec.Struct) or is_dataclass(value) else ()


def _walk_nodes(old: Sequence[Any], new: Sequence[Any], found: _Found) -> None:
    before, after = ({node.ae_title: node for node in nodes} for nodes in (old, new))
    for title in after.keys() - before.keys():
        found.nodes[title] = "is added"
    for title in before.keys() - after.keys():
        found.nodes[title] = "is removed; what waits for it stays in the spool"
    for title in sorted(after.keys() & before.keys()):
        found.in_both.add(title)
        for each in _fields(after[title]):
            was, becomes = getattr(before[title], each), getattr(after[title], each)
            if was != becomes and each in ONLY_IN_CONFIG:
                line = _line(ONLY_IN_CONFIG[each], was, becomes)
                found.keys += [line] if line not in found.keys else []
            elif was != becomes:
                key = _key(each, each)
                line = _line(key[0].upper() + key[1:], was, becomes)
                found.of_nodes.setdefault(title, []).append(line)


def _rules(file: str, old: Sequence[Any] | None, new: Sequence[Any] | None) -> Iterator[str]:
    if old is None or new is None:
        if old is not new:
            yield f"{file}: its filter is {'off' if new is None else f'on, with {len(new)} rules'}"
        return
    before, after = ([repr(_meaning(rule)) for rule in rules] for rules in (old, new))
    places: dict[str, list[str]] = {"changed": [], "added": [], "removed": []}
    for kind, i, i_end, j, j_end in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        common = min(i_end - i, j_end - j)
        places["changed"] += [rule.where for rule in new[j : j + common]]
        places["added"] += [rule.where for rule in new[j + common : j_end]]
        places["removed"] += [f"was {rule.where}" for rule in old[i + common : i_end]]
    for what, where in places.items():
        if where:
            entry = "caller" if file == RULE_FILES["callers"] else "rule"
            count = f"{len(where)} {entry}{'s' if len(where) > 1 else ''}"
            shown = where if len(where) <= PLACES_MAX else [*where[:PLACES_MAX], f"{len(where) - PLACES_MAX} more"]
            yield f"{file}: {count} {what} ({', '.join(shown)})"
    if file == RULE_FILES["callers"] and bool(old) != bool(new):
        yield f"{file}: {'only those in it may call now' if new else 'everybody may call now'}"


def _meaning(value: Any) -> Any:
    """A rule without the places in its file."""
    if names := _fields(value):
        return [_meaning(getattr(value, each)) for each in names if each != "where"]
    if isinstance(value, tuple):
        return [_meaning(item) for item in value]
    return value


def _key(path: str, name: str) -> str:
    if found := KEYS.get(path) or KEYS.get(name):
        return found
    for unit in UNITS:
        name = name.removesuffix(unit)
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _line(key: str, old: object, new: object) -> str:
    show = _AS_WRITTEN.get(key, _shown)
    return f"{key} {show(old)} -> {show(new)}"


def _windows(value: Any) -> str:
    """A schedule as it is written."""
    times = [[f"{minute // 60:02}:{minute % 60:02}" for minute in window] for window in value]
    return _shown(tuple(" - ".join(window) for window in times))


def _suffix(value: Any) -> str:
    """A text with placeholders as it is written."""
    parts = (part if isinstance(part, str) else f"#{{{part >> 16:x},{part & 0xFFFF:x}}}" for part in value)
    return _shown("".join(parts))


def _tls(value: Any) -> str:
    """How a node is reached, by its keys."""
    return _shown(value and {to_pascal(name): said for name, said in asdict(value).items() if said})


def _secret(value: Any) -> str:
    return "(not shown)" if value else "none"


_AS_WRITTEN: dict[str, Callable[[Any], str]] = {
    "ProcessSchedule": _windows,
    "logSuffix": _suffix,
    "alerts.webhook.url": _secret,  # chat programs have the secret in it
    "api.token": _secret,
    "api.servicePassword": _secret,
    "Tls": _tls,
    "Credentials": _secret,
}


def _shown(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.15g}"
        case str():
            return _shortened(syntax_name(value) if value in SYNTAXES else value) or "none"
        case None | ():
            return "none"
        case tuple():
            return _shortened(f"[{', '.join(_shown(item) for item in value)}]")
        case Mapping() if value:
            return _shortened(f"{{{', '.join(f'{key}: {_shown(item)}' for key, item in value.items())}}}")
        case Mapping():
            return "none"
        case _:
            return _shortened(str(value))


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"
