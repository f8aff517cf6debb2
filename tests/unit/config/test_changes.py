"""What a reload changes, in words; and what it cannot change."""

from collections.abc import Iterator
from operator import attrgetter
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from msgspec.structs import fields, replace

from leyden.alerts.settings import AlertSettings, WebhookSettings
from leyden.config import changes as changes_module
from leyden.config.changes import KEYS, ONLY_IN_CONFIG, changes
from leyden.config.schema import Alerts, Api, Audit, Collector, Config, ListenerEntry, Mail, NodeEntry, Webhook
from leyden.config.settings import AT_START, ReceiverSettings, Settings, without_restart
from leyden.deliver.destination import Destination
from leyden.dicom.negotiate import AcceptorPolicy
from leyden.dicom.uids import JPEG2000_LOSSLESS
from leyden.journal.lines import JournalSettings
from leyden.plan.rules import Action, ActionType, Condition, PlanSettings, Route, Target

A, B = Destination("A", "10.0.0.1", 104), Destination("B", "10.0.0.2", 104)


def settings(*destinations: Destination, routes: tuple[Route, ...] | None = None, **keys: Any) -> Settings:
    titles = {destination.ae_title: destination.ae_title for destination in destinations}
    targets = tuple(Target(destination.ae_title, destination.syntax) for destination in destinations)
    return Settings(
        path="/etc/leyden",
        log_dir="/var/log/leyden",
        cache_path="/var/spool/leyden",
        scp_port=104,
        my_ae_title="LEYDEN",
        receiver=ReceiverSettings(AcceptorPolicy(tuple(titles))),
        plan=PlanSettings("LEYDEN", titles, targets, routes),
        destinations=destinations,
        **keys,
    )


def route(line: int, target: str = "A", **keys: Any) -> Route:
    return Route(f"routings.yml:{line}", actions=(Action(ActionType.ADD_DESTINATION, target),), **keys)


def test_what_means_the_same_changes_nothing() -> None:
    assert changes(settings(A), replace(settings(A), generation=2)) == ()
    assert changes(settings(A, routes=(route(1),)), settings(A, routes=(route(7),))) == ()


def test_a_node_is_compared_by_its_title() -> None:
    new = replace(A, host="10.0.0.9", syntax=JPEG2000_LOSSLESS)
    assert changes(settings(B, A), settings(new, Destination("C", "c", 1))) == (
        "node C is added",
        "node B is removed; what waits for it stays in the spool",
        "node A: TransferSyntax none -> JPEG2000Lossless",
        "node A: HostName 10.0.0.1 -> 10.0.0.9",
    )


def test_what_is_the_same_for_each_node_is_said_once() -> None:
    slower = [replace(each, minimum_line_speed_kb_per_s=50) for each in (A, B)]
    assert changes(settings(A, B), settings(*slower)) == ("each node: MinimumLineSpeed 500 -> 50",)


def test_a_key_that_only_config_yml_has_is_not_called_one_of_the_nodes() -> None:
    new = [replace(each, expiry_threshold_s=86400.5) for each in (A, B)]
    assert changes(settings(A, B), settings(*new)) == ("config.yml: expiryThreshold 604800 -> 86400.5",)


def test_a_schedule_is_said_as_it_is_written() -> None:
    new = replace(A, schedule=((1020, 480), (810, 1439)))
    assert changes(settings(A), settings(new)) == ("node A: ProcessSchedule none -> [17:00 - 08:00, 13:30 - 23:59]",)


def test_rules_are_counted_and_their_places_said() -> None:
    old = (route(1), route(5, "B"), route(9, "C"))
    new = (route(1), route(5, "B", conditions=(Condition("00080060"),)), route(11, "C"), route(15, "D"), route(19, "E"))
    assert changes(settings(A, routes=old), settings(A, routes=new)) == (
        "routings.yml: 1 rule changed (routings.yml:5)",
        "routings.yml: 2 rules added (routings.yml:15, routings.yml:19)",
    )
    assert changes(settings(A, routes=old), settings(A, routes=old[:1])) == (
        "routings.yml: 2 rules removed (was routings.yml:5, was routings.yml:9)",
    )


def test_a_filter_that_is_switched_is_said() -> None:
    assert changes(settings(A), settings(A, routes=())) == ("routings.yml: its filter is on, with 0 rules",)
    assert changes(settings(A, routes=(route(1),)), settings(A)) == ("routings.yml: its filter is off",)


def test_keys_of_config_yml_are_said_as_they_are_written_there() -> None:
    old = settings(A)
    new = replace(
        old,
        receipt_expiry_h=9.0,
        receiver=replace(
            old.receiver, max_associations=5, acceptor=replace(old.receiver.acceptor, allowed_calling=("CT1", "CT2"))
        ),
        plan=replace(old.plan, drop_unfiltered=True, minimum_age_s=2.0),
    )
    assert changes(old, new) == (
        "config.yml: allowedCallingAeTitles none -> [CT1, CT2]",
        "config.yml: maxClientsPerServer 1000 -> 5",
        "config.yml: dropUnfilteredInstances false -> true",
        "config.yml: minimumAge 0 -> 2",
        "config.yml: storageReceiptExpiryHours 8 -> 9",
    )


def test_the_suffix_of_the_log_is_said_as_it_is_written() -> None:
    old, new = (JournalSettings(suffix=suffix) for suffix in ((0x00020003,), (0x00100020, "-", 0x00080050)))
    assert changes(settings(A, journal=old), settings(A, journal=new)) == (
        "config.yml: logSuffix #{2,3} -> #{10,20}-#{8,50}",
    )
    assert changes(settings(A, journal=old), settings(A)) == ("config.yml: logSuffix #{2,3} -> none",)


def test_a_long_value_is_cut() -> None:
    (line,) = changes(settings(A), settings(replace(A, networks=("10.0.0.1",) * 50)))
    assert line.endswith("…")
    assert len(line) < 120


def test_a_field_that_nobody_has_named_is_said_all_the_same() -> None:
    """A new field, a new kind of rules and a new key of a node appear without a line of code."""

    class Sorting(msgspec.Struct):
        where: str
        tag: str

    later = msgspec.defstruct("Later", ["hold_incoming_s", "sortings", "partners"])
    partner = msgspec.defstruct("Partner", ["ae_title", "some_limit"])
    old = later(1.0, (Sorting("sortings.yml:1", "00200013"),), (partner("X", 1),))
    new = later(2.0, (Sorting("sortings.yml:2", "00200011"),), (partner("X", 2),))
    assert changes(old, new) == (  # type: ignore[arg-type]
        "config.yml: holdIncoming 1 -> 2",
        "node X: SomeLimit 1 -> 2",
        "sortings.yml: 1 rule changed (sortings.yml:2)",
    )


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def leaves(kind: type, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, name) of each value in the settings; those of a node by its name alone."""
    hints = get_type_hints(kind)
    for each in fields(kind):  # type: ignore[arg-type]
        of = hints[each.name]
        inner = next((part for part in get_args(of) if _is_struct(part)), None)
        if _is_struct(of):
            yield from leaves(of, f"{path}{each.name}.")  # type: ignore[arg-type]
        elif inner is not None and hasattr(inner, "ae_title"):
            yield from leaves(inner)  # type: ignore[arg-type]
        else:
            yield f"{path}{each.name}", each.name


def test_the_names_are_those_of_fields_and_of_keys() -> None:
    known = {key.lower() for key in (*Config.keys(), *NodeEntry.keys(), *map("api.{}".format, Api.keys()))}
    known |= {*map("audit.{}".format, map(str.lower, Audit.keys()))}
    known |= {*map("audit.collector.{}".format, map(str.lower, Collector.keys()))}
    known |= {*map("alerts.{}".format, map(str.lower, Alerts.keys()))}
    known |= {*map("alerts.webhook.{}".format, map(str.lower, Webhook.keys()))}
    known |= {*map("alerts.mail.{}".format, map(str.lower, Mail.keys()))}
    known |= {*map("tls.{}".format, map(str.lower, ListenerEntry.keys()))}
    known |= {AT_START[name].lower() for name in AT_START}
    found = dict(leaves(Settings))
    for name, key in (KEYS | ONLY_IN_CONFIG).items():
        assert key.lower() in known, key
        assert name in found or name in found.values(), name
    said = {changes_module._key(path, name).lower() for path, name in found.items() if path not in AT_START}
    from_the_command_line = {"path", "logdir", "generation"}
    derived = {"titles", "nodes", "routes", "mutations", "sortings", "callers", "aetitle", "aliases"}
    derived |= {"ofcallers", "ofdestinations"}
    only_in_config = {changes_module._key(name, name).lower() for name in ONLY_IN_CONFIG}
    assert said - known <= from_the_command_line | derived | only_in_config


@pytest.mark.parametrize("name", AT_START)
def test_what_takes_a_restart_stays_and_is_said(name: str) -> None:
    assert AT_START[name] in {*Config.keys(), *map("api.{}".format, Api.keys()), "audit.enabled", "tls.port"}
    old = settings(A, receipt_expiry_h=1.0)
    value = attrgetter(name)(old)
    other = f"{value}2" if isinstance(value, str) else (not value if isinstance(value, bool) else value + 7)
    got, said = without_restart(old, replace(made(old, name, other), receipt_expiry_h=2.0))
    assert got == replace(old, receipt_expiry_h=2.0, generation=2)
    value, other = (str(each).lower() if isinstance(each, bool) else each for each in (value, other))  # as in YAML
    assert said == (
        f"{AT_START[name]} stays {'none' if value == '' else value}: it takes a restart to make it {other}",
    )


def made(settings: Settings, name: str, value: object) -> Settings:
    """The settings with another value of one field, such as scp_port or console.port."""
    outer, _, inner = name.rpartition(".")
    if not outer:
        return replace(settings, **{name: value})
    return replace(settings, **{outer: replace(getattr(settings, outer), **{inner: value})})


def test_a_secret_of_the_console_is_not_said() -> None:
    old, new = (made(settings(A), "console.token", token) for token in ("5f" * 32, "e0" * 32))
    assert changes(old, new) == ("config.yml: api.token (not shown) -> (not shown)",)
    assert changes(settings(A), new) == ("config.yml: api.token none -> (not shown)",)
    hook = replace(settings(A), alerts=AlertSettings(webhook=WebhookSettings("https://chat.example/services/secret")))
    assert changes(settings(A), hook) == ("config.yml: alerts.webhook.url none -> (not shown)",)


def test_what_else_of_the_console_takes_effect_at_a_reload() -> None:
    wanted = made(made(settings(A), "console.requests_per_second", 7), "console.port", 99)
    got, said = without_restart(settings(A), wanted)
    assert (got.console.requests_per_second, got.console.port) == (7, 1080)
    assert said == ("api.port stays 1080: it takes a restart to make it 99",)


def test_without_such_a_key_nothing_is_said() -> None:
    assert without_restart(settings(A), settings(B)) == (replace(settings(B), generation=2), ())
