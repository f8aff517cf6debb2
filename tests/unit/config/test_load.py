"""Files, environment and command line to Settings; every error at once, each with its file, line and place."""

from collections.abc import Callable
from pathlib import Path

import pytest

from leyden.alerts.settings import MailSettings, WebhookSettings
from leyden.audit.settings import AuditSettings, CollectorSettings
from leyden.config.load import load, spool_root
from leyden.config.settings import Settings
from leyden.dicom.uids import MADE, SYNTAXES
from leyden.errors import ConfigError
from leyden.journal.lines import JournalSettings
from leyden.plan.rules import Action, ActionType, Condition, Kind

NODES = """\
- AeTitle: IMAGEPACS
  Aliases: [PACS, ARCHIVE]
  HostName: 192.168.1.200
  TransferSyntax: JPEG2000Lossless
- AeTitle: REPORTPACS
  HostName: reports.example.org
  Port: 11112
  Impersonate: yes
"""
EXAMPLE = r"""- AeTitles:
    - IMAGEPACS
  Conditions:
    - Tag: 0008,0016
      MatchExpression: ^1\.2\.840\.10008\.5\.1\.4\.1\.1\.88\.[\d]{1,2}$
  Actions:
    - Description: Re-route to REPORTPACS
      Type: add_destination
      Target: REPORTPACS
      RemoveOriginal: true
"""

Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Write:
    """Write the files: folder(config="…", nodes="…", routings="…"), and give the folder."""

    def write(nodes: str | None = NODES, **files: str) -> Path:
        for name, content in ({"nodes": nodes} if nodes is not None else {}).items() | files.items():
            (tmp_path / f"{name}.yml").write_text(content)
        return tmp_path

    return write


def loaded(folder: Path, /, environ: dict[str, str] | None = None, **overrides: str) -> Settings:
    return load(folder, overrides, environ or {})[0]


def warnings(folder: Path, /, environ: dict[str, str] | None = None, **overrides: str) -> tuple[str, ...]:
    return load(folder, overrides, environ or {})[1]


def problems(folder: Path, /, environ: dict[str, str] | None = None, **overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(folder, overrides, environ or {})
    return caught.value.problems


def test_the_example_of_the_reference(folder: Write) -> None:
    settings, said = load(folder(config="scpPort: 1040\nfilters: route\n", routings=EXAMPLE), {}, {})
    assert said == ()
    assert settings.scp_port == 1040
    images, reports = settings.destinations
    assert (images.ae_title, images.host, images.port, images.syntax) == (
        "IMAGEPACS", "192.168.1.200", 104, "1.2.840.10008.1.2.4.90",
    )  # fmt: skip
    assert set(images.aliases) == {"PACS", "ARCHIVE", "DCP_IMAGEPACS", "DCP_PACS", "DCP_ARCHIVE"}
    assert (reports.port, reports.impersonate, reports.syntax) == (11112, True, "")
    assert settings.plan.routes is not None
    (route,) = settings.plan.routes
    assert route.where == "routings.yml:1"
    assert route.ae_titles == ("IMAGEPACS",)
    expression = r"^1\.2\.840\.10008\.5\.1\.4\.1\.1\.88\.[\d]{1,2}$"
    assert route.conditions == (Condition("00080016", Kind.REGEX, expression),)
    assert route.actions == (Action(ActionType.ADD_DESTINATION, "REPORTPACS", True, "Re-route to REPORTPACS"),)


def test_settings_survive_the_trip_to_a_role(folder: Write) -> None:
    config = "filters: route\nprocessSchedule: 13:30 - 23:59, 0:00 - 5:00\nallowedCallingAeTitles: [CT1, MR1]\n"
    settings = loaded(folder(config=config, routings=EXAMPLE))
    assert Settings.from_json(settings.to_json()) == settings
    assert Settings.from_json(settings.to_json()).destinations[0].schedule == ((810, 1439), (0, 300))


def test_every_called_title_leads_somewhere(folder: Write) -> None:
    titles = loaded(folder()).plan.titles
    assert titles == {
        "IMAGEPACS": "IMAGEPACS", "PACS": "IMAGEPACS", "ARCHIVE": "IMAGEPACS",
        "DCP_IMAGEPACS": "IMAGEPACS", "DCP_PACS": "IMAGEPACS", "DCP_ARCHIVE": "IMAGEPACS",
        "REPORTPACS": "REPORTPACS", "DCP_REPORTPACS": "REPORTPACS", "LEYDEN": "", "DCP_LEYDEN": "",
    }  # fmt: skip
    settings = loaded(folder(), aeTitlePrefix="", myAeTitle="ROUTER")
    assert set(settings.plan.titles) == {"IMAGEPACS", "PACS", "ARCHIVE", "REPORTPACS", "ROUTER"}
    assert set(settings.receiver.acceptor.titles) == set(settings.plan.titles)


def test_a_prefix_makes_no_title_that_is_too_long_or_written_for_another(folder: Write) -> None:
    nodes = "- AeTitle: THIRTEEN_LONG\n- AeTitle: A\n- AeTitle: B\n  Aliases: DCP_A\n"
    settings, said = load(folder(nodes), {}, {})
    assert "DCP_THIRTEEN_LONG" not in settings.plan.titles
    assert settings.plan.titles["DCP_A"] == "B"
    assert said == (
        "nodes.yml:1: aeTitlePrefix: DCP_THIRTEEN_LONG has more than 16 characters: not a title we answer to",
        "nodes.yml:2: aeTitlePrefix: DCP_A is not A with the prefix, it means B",
    )


def test_the_bound_of_associations_is_that_of_all_receivers_together(folder: Write) -> None:
    path = folder()
    for given, receivers, each in (("20", "3", 7), ("1", "2", 1), ("0", "4", 250)):
        settings = loaded(path, maxClientsPerServer=given, receivers=receivers)
        assert settings.of_each_receiver.max_associations == each


def test_defaults_with_nothing_but_an_empty_folder(folder: Write) -> None:
    settings, said = load(folder(None), {}, {})
    assert said == ("nodes.yml: is missing: nothing can be delivered",)
    assert (settings.scp_port, settings.my_ae_title, settings.plan.routes) == (1040, "LEYDEN", None)
    assert settings.cache_path == str(folder(None) / "cache")
    assert settings.log_dir == str(folder(None) / "log")
    assert settings.workers >= 1
    assert settings.receiver.max_associations == 1000
    assert settings.receiver.acceptor.max_pdu_bytes == 262144
    assert settings.receiver.quiet_ae_titles == ("HEALTHCHECK",)


@pytest.mark.parametrize("content", ["", "\ufeff", "# nothing\r\n", "---\n"])
def test_empty_files_are_normal(folder: Write, content: str) -> None:
    path = folder(content, config="filters: route\n", routings=content)
    assert loaded(path).plan.routes == ()
    assert warnings(path) == ("nodes.yml: holds no Storage node: nothing can be delivered",)
    (path / "config.yml").write_text(content)
    (path / "routings.yml").unlink()
    assert loaded(path).plan.routes is None


def test_config_values_reach_their_places(folder: Write) -> None:
    config = """\
SCPPORT: 11112
MyAeTitle: ROUTER
cachePath: spool/here
minimumAge: 1.5
maxClientsPerServer: 20
maxDataBuffer: 65536
clientTimeout: 60
minFreeSpace: 5
suppressLogAeTitles: [PING, PONG]
rejectAbstractSyntaxes: 1.2.840.10008.5.1.4.1.1.7
workers: 3
receivers: 2
arenaMib: 512
maxFrameMib: 64
syncSpool: Off
verifyCompression: off
storageReceiptExpiryHours: 0
cycleRejectedFilesOnStartup: no
"""
    path = folder(config=config)
    settings = loaded(path)
    assert warnings(path) == ()
    receiver = settings.of_each_receiver
    assert (settings.scp_port, settings.my_ae_title, settings.plan.minimum_age_s) == (11112, "ROUTER", 1.5)
    assert settings.cache_path == str(path / "spool/here")
    assert (receiver.max_associations, receiver.client_timeout_s, receiver.min_free_percent) == (10, 60.0, 5.0)
    assert receiver.acceptor.max_pdu_bytes == 65536
    assert receiver.acceptor.rejected_abstract_syntaxes == ("1.2.840.10008.5.1.4.1.1.7",)
    assert receiver.quiet_ae_titles == ("PING", "PONG")
    assert (settings.workers, settings.receivers, settings.arena_mib, settings.max_frame_mib) == (3, 2, 512, 64)
    assert (settings.sync_spool, settings.receipt_expiry_h, settings.retry_rejected_at_start) == (False, 0.0, False)
    assert settings.verify_compression == "off"


def test_how_compression_is_verified(folder: Write) -> None:
    path = folder()
    assert loaded(path).verify_compression == "first-of-series"
    for written, meant in (("ALWAYS", "always"), ("First-of-Series", "first-of-series"), ("Off", "off")):
        assert loaded(path, verifyCompression=written).verify_compression == meant


@pytest.mark.parametrize("uid", sorted(MADE))
def test_a_node_may_name_every_syntax_that_is_made_and_the_default_none_that_loses(folder: Write, uid: str) -> None:
    syntax = SYNTAXES[uid]
    path = folder(f"- AeTitle: A\n  TransferSyntax: {syntax.name.upper()}\n- AeTitle: B\n  TransferSyntax: {uid}\n")
    settings, said = load(path, {}, {})
    assert ([d.syntax for d in settings.destinations], said) == ([uid, uid], ())
    if syntax.lossy:
        (problem,) = problems(path, defaultTransferSyntax=syntax.name)
        assert problem.endswith(
            f"{syntax.name} is lossy: name it in each node that is to get it (TransferSyntax in nodes.yml)"
        )
    else:
        path = folder("- AeTitle: A\n")
        assert loaded(path, defaultTransferSyntax=syntax.name).destinations[0].syntax == uid


def test_how_much_may_be_lost_is_said_by_the_node(folder: Write) -> None:
    nodes = """\
- AeTitle: PLAIN
- AeTitle: JPEG
  TransferSyntax: JPEGProcess1
  Quality: 75
  RecompressLossy: yes
- AeTitle: J2K
  TransferSyntax: JPEG2000Lossy
  CompressionRatio: 1.5
- AeTitle: HT
  TransferSyntax: HTJ2K
  compressionratio: 1000
- AeTitle: LS
  TransferSyntax: JPEGLSNearLossless
  NearLossless: 255
"""
    settings, said = load(folder(nodes), {}, {})
    assert said == ()
    assert [
        (d.ae_title, d.quality, d.compression_ratio, d.near_lossless, d.recompress_lossy) for d in settings.destinations
    ] == [
        ("PLAIN", 90, 10.0, 2, False),
        ("JPEG", 75, 10.0, 2, True),
        ("J2K", 90, 1.5, 2, False),
        ("HT", 90, 1000.0, 2, False),
        ("LS", 90, 10.0, 255, False),
    ]
    assert [target.ae_title for target in settings.plan.targets if target.recompress_lossy] == ["JPEG"]
    assert Settings.from_json(settings.to_json()) == settings


def test_a_key_of_loss_that_does_not_concern_the_syntax_of_its_node_is_warned_of(folder: Write) -> None:
    nodes = """\
- AeTitle: A
  TransferSyntax: JPEGLSNearLossless
  Quality: 80
  CompressionRatio:
- AeTitle: B
  CompressionRatio: 8
  NearLossless: 1
- AeTitle: C
  TransferSyntax: JPEG2000Lossless
  RecompressLossy: true
"""
    assert warnings(folder(nodes)) == (
        "nodes.yml:3: Quality: does nothing: it is for JPEGProcess1, JPEGProcess2_4, JPEGXL; "
        "this node's syntax is JPEGLSNearLossless",
        "nodes.yml:6: CompressionRatio: does nothing: it is for JPEG2000Lossy, HTJ2K; "
        "this node's syntax is as received",
        "nodes.yml:7: NearLossless: does nothing: it is for JPEGLSNearLossless; this node's syntax is as received",
        "nodes.yml:10: RecompressLossy: does nothing: it is for JPEGProcess1, JPEGProcess2_4, JPEGLSNearLossless, "
        "JPEG2000Lossy, JPEGXL, HTJ2K; this node's syntax is JPEG2000Lossless",
    )


@pytest.mark.parametrize("address", ["", "  HostName: localhost\n", "  HostName: 127.0.0.1\n"])
def test_a_destination_that_is_leyden_itself_is_refused(folder: Write, address: str) -> None:
    (found,) = problems(folder(f"- AeTitle: A\n{address}  Port: 1040\n"))
    assert found.startswith("nodes.yml:2: HostName: ")
    assert "is Leyden itself (scpPort)" in found


def test_a_node_inherits_what_it_leaves_blank_and_overrides_with_zero(folder: Write) -> None:
    config = "minimumLineSpeed: 300\nbatchSize: 7\nprocessDelay: 250\nstallThresholdSeconds: 30\n" + (
        "processSchedule:\n  - 20:00 - 06:00\ndefaultTransferSyntax: ExplicitVRLittleEndian\n"
    )
    nodes = """\
- AeTitle: A
  MinimumLineSpeed:
  BatchSize: ''
- AeTitle: B
  MinimumLineSpeed: 0
  BatchSize: 0
  ProcessDelay: 0
  StallThreshold: 0
  ProcessSchedule: []
  TransferSyntax: 1.2.840.10008.1.2
  ProcessNetworks: [10.1.0.0/16, 10.2.0.0 / 255.255.0.0, 192.168.1.7]
  SopClassPriorities: [1.2.840.10008.5.1.4.1.1.1, Default, 1.2.840.10008.5.1.4.1.1.2]
  Priority: 1
  MaxAssociations: 2
  MaximumLineSpeed: 2000
  RetryDelays: 1, 2.5, 60
"""
    settings = loaded(folder(nodes, config=config))
    a, b = settings.destinations
    assert (a.minimum_line_speed_kb_per_s, a.batch_size, a.process_delay_ms, a.stall_threshold_s) == (300, 7, 250, 30)
    assert (a.schedule, a.syntax) == (((1200, 360),), "1.2.840.10008.1.2.1")
    assert (b.minimum_line_speed_kb_per_s, b.batch_size, b.process_delay_ms, b.stall_threshold_s) == (0, 0, 0, 0)
    assert (b.schedule, b.syntax, b.priority) == ((), "1.2.840.10008.1.2", 1)
    assert b.networks == ("10.1.0.0/16", "10.2.0.0 / 255.255.0.0", "192.168.1.7")
    assert (b.max_associations, b.maximum_line_speed_kb_per_s, b.retry_delays_s) == (2, 2000, (1.0, 2.5, 60.0))
    classes = ("1.2.840.10008.5.1.4.1.1.1", "default", "1.2.840.10008.5.1.4.1.1.2")
    assert settings.plan.targets[1].sop_class_priorities == classes


def test_precedence_of_switch_environment_file_and_default(folder: Write) -> None:
    path = folder(config="myAeTitle: FILE\n")
    assert loaded(path).my_ae_title == "FILE"
    environ = {"CAPACITOR_MY_AE_TITLE": "CAPACITOR"}
    assert loaded(path, environ).my_ae_title == "CAPACITOR"
    environ |= {"LEYDEN_MYAETITLE": "LEYDENS", "LEYDEN_SCP_PORT": ""}
    assert loaded(path, environ).my_ae_title == "LEYDENS"
    assert loaded(path, environ, my_ae_title="SWITCH").my_ae_title == "SWITCH"
    assert loaded(path, environ, myAeTitle="").my_ae_title == "LEYDEN"
    assert loaded(path, environ).scp_port == 1040


def test_environment_and_switches_reach_lists_and_nested_keys(folder: Write) -> None:
    path = folder(config="api:\n  port: 99\n", routings="")
    environ = {"LEYDEN_FILTERS": "route", "CAPACITOR_API_ENABLED": "true"}
    assert loaded(path, environ).plan.routes == ()
    assert (loaded(path, environ).console.enabled, loaded(path, environ).console.port) == (True, 99)
    assert not loaded(path, environ, **{"api.enabled": "no"}).console.enabled


def test_errors_of_environment_and_switches_name_them(folder: Write) -> None:
    found = problems(folder(), {"LEYDEN_SCP_PORT": "70000"}, workers="many")
    assert found == (
        "--config.workers: workers: must be a whole number from 0 to 512, not 'many'",
        "LEYDEN_SCP_PORT: scpPort: must be a whole number from 0 to 65535, not '70000'",
    )


def test_unknown_names_are_warned_of_with_the_nearest(folder: Write) -> None:
    path = folder(NODES + "  MaxAssociation: 4\n", config="scpProt: 1\nnonsense: 2\nactivationCode: AB\n")
    environ = {"LEYDEN_SCP_PROT": "1", "LEYDEN_HOME": "/x"}
    assert warnings(path, environ, myAeTitel="X") == (
        "config.yml:1: scpProt: unknown key (did you mean scpPort?)",
        "config.yml:2: nonsense: unknown key",
        "nodes.yml:9: MaxAssociation: unknown key (did you mean MaxAssociations?)",
        "--config.myAeTitel: unknown key (did you mean myAeTitle?)",
        "LEYDEN_SCP_PROT: unknown key (did you mean scpPort?)",
    )


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("- AeTitle: A\n  HostNmae: x\n  Port: 104", "nodes.yml:2: HostNmae: unknown key (did you mean HostName?); "),
        ("- AeTitle: A\n  HostName: x\n  Prot: 104", "nodes.yml:3: Prot: unknown key (did you mean Port?); "),
        ("- AeTitle: A\n  Host: x\n  Port: 104", "nodes.yml:2: Host: unknown key (did you mean HostName?); "),
    ],
)
def test_a_misspelt_key_of_an_address_is_an_error(folder: Write, lines: str, problem: str) -> None:
    (found,) = problems(folder(lines + "\n"))
    assert found.startswith(problem)
    assert "; without " in found


def test_a_misspelt_key_of_who_may_send_is_an_error_wherever_it_is_given(folder: Write) -> None:
    said = "unknown key (did you mean allowedCallingAeTitles?); without allowedCallingAeTitles everybody may send"
    assert problems(
        folder(config="allowedCallingTitles: CT1\n"),
        {"LEYDEN_ALLOWED_CALLING_AE_TITLE": "CT1"},
        allowedCallingAeTitle="CT1",
    ) == (
        f"config.yml:1: allowedCallingTitles: {said}",
        f"--config.allowedCallingAeTitle: {said}",
        f"LEYDEN_ALLOWED_CALLING_AE_TITLE: {said}",
    )


@pytest.mark.parametrize(
    ("config", "place", "effect"),
    [
        ("allowedCallingAeTitles:\n", "allowedCallingAeTitles", "everybody may send"),
        ("allowedCallingAeTitles: ','\n", "allowedCallingAeTitles", "everybody may send"),
        ("tls:\n", "tls", "there is no listener for TLS"),
        ("api: {requireToken: }\n", "api.requireToken", "what shows no patient data would be open"),
    ],
)
def test_an_empty_key_whose_absence_opens_something_is_an_error(
    folder: Write, config: str, place: str, effect: str
) -> None:
    (found,) = problems(folder(config=config))
    assert found.startswith(f"config.yml:1: {place}: is empty; without it {effect}. Write its value behind it")


def test_an_empty_list_of_who_may_send_is_a_warning(folder: Write) -> None:
    path = folder(config="allowedCallingAeTitles: []\n")
    assert "config.yml:1: allowedCallingAeTitles: names nobody, so it keeps nobody out" in warnings(path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "audit: {colector: {host: a}}",
            "audit.colector: unknown key (did you mean collector?); without collector nobody",
        ),
        ("audits: {collector: {host: a}}", "audits: unknown key (did you mean audit?); without audit its defaults"),
        ("alert: {mail: {server: a}}", "alert: unknown key (did you mean alerts?); without alerts nobody is told"),
    ],
)
def test_a_misspelt_key_of_who_is_told_is_an_error(folder: Write, line: str, said: str) -> None:
    (found,) = problems(folder(config=line + "\n"))
    assert found.startswith(f"config.yml:1: {said}")


def test_errors_come_with_the_warnings_but_with_none_that_they_cause(folder: Write) -> None:
    nodes = "- AeTitle: A\n  TransferSyntax: JPEGProces1\n  Quality: 80\n  MaxAssociation: 2\n"
    with pytest.raises(ConfigError) as caught:
        load(folder(nodes), {}, {})
    assert [line.split(": ")[0] for line in caught.value.problems] == ["nodes.yml:2"]
    assert caught.value.warnings == ("nodes.yml:4: MaxAssociation: unknown key (did you mean MaxAssociations?)",)


@pytest.mark.parametrize(
    ("line", "suffix"),
    [
        ("", (0x00020003,)),
        ("logSuffix:", (0x00020003,)),
        ("logSuffix: ''", ()),
        ("logSuffix: '#{2,2}-#{8,50}'", (0x00020002, "-", 0x00080050)),
        ("logSuffix: #{2,2}-#{8,50}-#{10,20}", (0x00020002, "-", 0x00080050, "-", 0x00100020)),
    ],
)
def test_the_suffix_of_log_lines(folder: Write, line: str, suffix: tuple[str | int, ...]) -> None:
    settings = loaded(folder(NODES, config=f"{line}\n"))
    assert settings.journal.suffix == suffix
    assert Settings.from_json(settings.to_json()) == settings


def test_the_keys_of_the_journal(folder: Write) -> None:
    assert loaded(folder(NODES)).journal == JournalSettings(2048, (0x00020003,), 0)
    journal = loaded(folder(NODES, config="journalMib: 0\ndaysToKeepLogs: 7\n")).journal
    assert (journal.mib, journal.log_days) == (0, 7)
    (problem,) = problems(folder(NODES, config="logSuffix: '#{PatientID}'\n"))
    assert problem.startswith("config.yml:1: logSuffix: #{PatientID} is not a placeholder here")


def test_keys_without_effect_are_warned_of_once(folder: Write) -> None:
    config = "echoInterval: 5\nworklistScpPort: 1043\nctoConvert: true\nstorageInterval: 5\n"
    nodes = (
        NODES
        + "  CFindFailureBehavior: empty\n- AeTitle: RIS\n  NodeRole: worklist\n- AeTitle: REPORTPACS\n"
        + ("  NodeRole: QueryRetrieve\n  TransferSyntax: JPEGProcess1\n")
    )
    path = folder(nodes, config=config)
    assert warnings(path) == (
        "config.yml:1: echoInterval: has no effect yet in this version",
        "config.yml:2: worklistScpPort: has no effect yet in this version",
        "config.yml:3: ctoConvert: has no effect yet in this version",
        "config.yml:4: storageInterval: has no effect yet in this version",
        "nodes.yml:9: CFindFailureBehavior: has no effect yet in this version",
        "nodes.yml:11: NodeRole: Worklist has no effect yet in this version",
        "nodes.yml:13: NodeRole: QueryRetrieve has no effect yet in this version",
    )
    assert [d.ae_title for d in loaded(path).destinations] == ["IMAGEPACS", "REPORTPACS"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("scpPort: 65536", "scpPort: must be a whole number from 0 to 65535, not '65536'"),
        ("scpPort: 1040.5", "scpPort: must be a whole number from 0 to 65535, not '1040.5'"),
        ("minimumAge: soon", "minimumAge: must be a number from 0 to 31622400, not 'soon'"),
        ("syncSpool: maybe", "syncSpool: must be true or false, not 'maybe'"),
        ("myAeTitle: SEVENTEEN_LETTERS", "myAeTitle: an AE title has 1 to 16 characters, 'SEVENTEEN_LETTERS' has 17"),
        (r"myAeTitle: A\B", r"myAeTitle: an AE title is plain ASCII without a backslash, not 'A\\B'"),
        (
            "duplicateBehavior: ignore\nmoveRejectedCachedFiles: false",
            "duplicateBehavior: with moveRejectedCachedFiles false, what was refused and removed would be answered "
            "Success if it came again; keep it, or write reject",
        ),
        ("filters: lua", "filters[0]: there is no filter lua; there are route, mutate, sort"),
        ("filters: rout", "filters[0]: there is no filter rout (did you mean route?)"),
        ("filters: {route: yes}", "filters: must be a list, each item with a dash; not keys and values"),
        (
            "defaultTransferSyntax: MPEG4HP41",
            "defaultTransferSyntax: this version can't make MPEG4HP41; it makes ImplicitVRLittleEndian, ExplicitVR",
        ),
        ("defaultTransferSyntax: JPEGProcess1", "defaultTransferSyntax: JPEGProcess1 is lossy: name it in each node"),
        (
            "verifyCompression: sometimes",
            "verifyCompression: must be one of first-of-series, always, off, not 'sometimes'",
        ),
        ("defaultTransferSyntax: JPEG2000Losles", "did you mean JPEG2000Lossless?"),
        ("processSchedule: 25:00 - 06:00", "processSchedule[0]: must be HH:MM - HH:MM"),
        ("processSchedule: 8 - 6", "processSchedule[0]: must be HH:MM - HH:MM"),
        ("rejectAbstractSyntaxes: [CTImageStorage]", "rejectAbstractSyntaxes[0]: 'CTImageStorage' is not a UID"),
        ("duplicateBehavior: drop", "duplicateBehavior: must be one of accept, reject, ignore, not 'drop'"),
        ("cachePath:\n  - x: y", "cachePath: must be one text"),
        ("cachePath: ~/spool", "cachePath: ~ does not stand for a home folder here; write the whole path"),
        (r"cachePath: C:\ProgramData\cache", "is no folder of this system"),
        ("api: yes", "api: must hold keys and values"),
        ("maxDataBuffer: 0", "maxDataBuffer: must be a whole number from 4096"),
    ],
)
def test_one_wrong_line_of_config_yml(folder: Write, line: str, problem: str) -> None:
    (found,) = problems(folder(config=f"workers: 1\n{line}\nreceivers: 1\n"))
    assert found.startswith(("config.yml:2: ", "config.yml:3: "))
    assert problem in found


@pytest.mark.parametrize(
    ("lines", "line", "problem"),
    [
        ("- HostName: x", 1, "AeTitle: is missing"),
        ("- AeTitle:\n  Port: 1", 1, "AeTitle: is missing"),
        ("- IMAGEPACS", 1, "must hold keys and values, such as AeTitle: ..."),
        ("AeTitle: A", 1, "must be a list: each node begins with a dash (- AeTitle: ...)"),
        ("- AeTitle: A\n  Port: 0", 2, "Port: must be a whole number from 1 to 65535, not '0'"),
        ("- AeTitle: A\n  HostName: 'a b'", 2, "HostName: 'a b' is not a host name or an IP address"),
        ("- AeTitle: A\n  HostName: 10.0.0.1:104", 2, "a port has a key of its own, Port"),
        (
            "- AeTitle: A\n  NodeRole: Storrage",
            2,
            "StorageCommitSCU, not 'Storrage' (did you mean Storage?)",
        ),
        (
            "- AeTitle: A\n  NodeRole: Printer",
            2,
            "NodeRole: must be one of Storage, QueryRetrieve, Worklist, StorageCommitSCP, ",
        ),
        (
            "- AeTitle: A\n  TransferSyntax: 1.2.840.10008.1.2.4.92",
            2,
            "TransferSyntax: this version can't make JPEG2000MCLossless; it makes ImplicitVRLittleEndian, ",
        ),
        ("- AeTitle: A\n  Quality: 0", 2, "Quality: must be a whole number from 1 to 100, not '0'"),
        ("- AeTitle: A\n  CompressionRatio: 1", 2, "CompressionRatio: must be a number from 1.5 to 1000, not '1'"),
        ("- AeTitle: A\n  NearLossless: 256", 2, "NearLossless: must be a whole number from 1 to 255, not '256'"),
        ("- AeTitle: A\n  RecompressLossy: once", 2, "RecompressLossy: must be true or false, not 'once'"),
        (
            "- AeTitle: A\n  TransferSyntax: zip",
            2,
            "TransferSyntax: there is no transfer syntax zip; this version makes",
        ),
        ("- AeTitle: A\n  Impersonate: perhaps", 2, "Impersonate: must be true or false, not 'perhaps'"),
        ("- AeTitle: A\n  Priority: 3", 2, "Priority: must be a whole number from 0 to 2, not '3'"),
        ("- AeTitle: A\n  ProcessNetworks: office", 2, "ProcessNetworks[0]: 'office' is not an address"),
        ("- AeTitle: A\n  SopClassPriorities:\n    - default\n    - CT", 4, "SopClassPriorities[1]: 'CT' is not a UID"),
        ("- AeTitle: A\n  RetryDelays: 1, never", 2, "RetryDelays[1]: must be a number"),
        ("- AeTitle: A\n  Aliases:\n    - TOO_LONG_FOR_A_TITLE", 3, "Aliases[0]: an AE title has 1 to 16 characters"),
        (
            "- AeTitle: A\n- AeTitle: B\n- AeTitle: A",
            3,
            "AeTitle: A is also the title of the Storage node in nodes.yml:1",
        ),
        ("- AeTitle: A\n- AeTitle: B\n  Aliases: A", 3, "Aliases[0]: A is also a title of the node A in nodes.yml:1"),
        (
            "- AeTitle: A\n  Aliases: X\n- AeTitle: B\n  Aliases: X",
            4,
            "Aliases[0]: X is also a title of the node A in nodes",
        ),
        ("- AeTitle: A\n  aetitle: B", 2, "aetitle is given twice (first in line 1)"),
        ("- AeTitle: A\n   Port: 104", 2, "indentation"),
    ],
)
def test_one_wrong_line_of_nodes_yml(folder: Write, lines: str, line: int, problem: str) -> None:
    (found,) = problems(folder(lines + "\n"))
    assert found.startswith(f"nodes.yml:{line}: ")
    assert problem in found


def test_every_error_of_every_file_at_once(folder: Write) -> None:
    path = folder(
        NODES.replace("Port: 11112", "Port: none"),
        config="scpPort: x\nworkers: y\nfilters: route\n",
        routings=EXAMPLE.replace("Target: REPORTPACS", "Target: REPORTPAC").replace("0008,0016", "0008"),
    )
    assert [line.split(" must")[0] for line in problems(path)] == [
        "config.yml:1: scpPort:",
        "config.yml:2: workers:",
        "nodes.yml:7: Port:",
        "routings.yml:4: Conditions[0].Tag: '0008' is no tag (8,60, 0008,0060 or a keyword)",
        "routings.yml:9: Actions[0].Target: no node named REPORTPAC (did you mean REPORTPACS?)",
    ]


def test_a_file_that_is_no_yaml_does_not_hide_the_errors_of_the_others(folder: Write) -> None:
    path = folder("- AeTitle: [\n", config="filters: route\nworkers: x\n", routings=EXAMPLE.replace("add_d", "ad_d"))
    assert [line.split(": ")[0] for line in problems(path)] == ["config.yml:2", "nodes.yml:1", "routings.yml:8"]


def test_a_port_that_can_not_be_read_is_compared_with_no_node(folder: Write) -> None:
    path = folder("- AeTitle: A\n  HostName: 127.0.0.1\n  Port: 104\n", config="scpPort: [1\n")
    assert [line.split(": ")[0] for line in problems(path)] == ["config.yml:1"]


@pytest.mark.parametrize(
    ("config", "lines"),
    [
        ("scpPort: [\nfilters: route\n", ["config.yml:1"]),
        ("scpPort: 1\nscpport: 2\nfilters: route\nworkers: 1\nworkers: 2\n", ["config.yml:2", "config.yml:5"]),
        ("filters: rout\n", ["config.yml:1"]),
        ("- scpPort: 1\n", ["config.yml:1"]),
    ],
)
def test_a_broken_config_yml_does_not_hide_the_errors_of_the_others(
    folder: Write, config: str, lines: list[str]
) -> None:
    path = folder(NODES.replace("11112", "none"), config=config, routings=EXAMPLE.replace("add_d", "ad_d"))
    assert [line.split(": ")[0] for line in problems(path)] == [*lines, "nodes.yml:7", "routings.yml:8"]


def test_one_wrong_item_takes_nothing_from_its_neighbours(folder: Write) -> None:
    nodes = "- AeTitle: A\n  Aliases: ALIAS, TOO_LONG_FOR_A_TITLE\n- Aliases: [X, Y]\n  Port: 0\n"
    path = folder(nodes, config="filters: route\n", routings="- AeTitles: ALIAS\n  Actions:\n    - Type: drop\n")
    assert [line.partition(": ")[2].partition(": ")[0] for line in problems(path)] == ["Aliases[1]", "AeTitle", "Port"]


def test_without_nodes_yml_no_rule_finds_its_node_and_says_why(folder: Write) -> None:
    path = folder(None, config="filters: route\n", routings="- Actions:\n    - Target: PACS\n")
    (found,) = problems(path)
    assert found == "routings.yml:2: Actions[0].Target: no node named PACS: nodes.yml is missing"


def test_which_rule_files_are_used_is_said(folder: Write) -> None:
    path = folder(config="", mutations="- nonsense", sortings="]", routings="]")
    assert warnings(path) == (
        "routings.yml: is not used: the filter route is not named in filters (config.yml)",
        "mutations.yml: is not used: the filter mutate is not named in filters (config.yml)",
        "sortings.yml: is not used: the filter sort is not named in filters (config.yml)",
    )
    (path / "mutations.yml").unlink()
    (path / "sortings.yml").unlink()
    (path / "routings.yml").rename(path / "Routings.yaml")
    (path / "caller.yml").touch()
    (path / "nodes-of-last-year.yml").touch()
    (path / "cases.yml").touch()
    (path / "node.yml").touch()  # that one is there under its name
    said = warnings(path, filters="route")
    assert said == (
        "routings.yml: is missing: the filter route, named in filters, is off",
        "Routings.yaml: is not read; the file has to be called routings.yml",
        "caller.yml: is not read; the file has to be called callers.yml",
    )


def test_drop_unfiltered_without_routes_is_warned_of(folder: Write) -> None:
    path = folder(config="dropUnfilteredInstances: true\n")
    assert warnings(path) == ("config.yml:1: dropUnfilteredInstances: does nothing: no filter is on",)
    (path / "routings.yml").write_text("")
    assert any("drops everything" in line for line in warnings(path, filters="route"))


def test_our_own_title_may_not_hide_a_node(folder: Write) -> None:
    path = folder(config="myAeTitle: PACS\n")
    assert loaded(path).plan.titles["PACS"] == "IMAGEPACS"
    assert warnings(path) == (
        "config.yml:1: myAeTitle: PACS is also a title of the node IMAGEPACS: calls to it go there",
    )


def test_the_first_default_folder_that_exists_is_used_and_a_missing_one_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        load(tmp_path / "nowhere", {}, {})
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("leyden.config.load.DEFAULT_FOLDERS", (tmp_path / "absent", Path("data")))
    settings, _ = load(None, {}, {}, log_dir=Path("logs"))
    assert (settings.path, settings.log_dir) == (str(tmp_path / "data"), str(tmp_path / "logs"))
    (tmp_path / "data").rmdir()
    with pytest.raises(ConfigError, match="--path"):
        load(None, {}, {})


def test_a_file_that_cannot_be_read(folder: Write) -> None:
    path = folder(None)
    (path / "nodes.yml").mkdir()
    assert problems(path) == ("nodes.yml: cannot be read: Is a directory",)


def test_where_the_spool_is_can_be_told_beside_wrong_files(folder: Write) -> None:
    path = folder("- AeTitle: [\n", config="cachePath: /elsewhere\nworkers: many\n", routings="nonsense: [")
    assert spool_root(path, {}, {}) == Path("/elsewhere")
    assert spool_root(path, {"cachePath": "here"}, {}) == path / "here"
    assert spool_root(path, {}, {"LEYDEN_CACHE_PATH": "there"}) == path / "there"
    assert spool_root(folder(config="workers: 1\n"), {}, {}) == path / "cache"


def test_where_the_spool_is_is_not_guessed_unless_there_is_one(folder: Write) -> None:
    path = folder(config="{ cachePath: /elsewhere\n")
    with pytest.raises(ConfigError):
        spool_root(path, {}, {})
    (path / "cache").mkdir()
    (path / "cache" / "lock").touch()
    assert spool_root(path, {}, {}) == path / "cache"


def test_the_audit_log_is_on_unless_it_is_switched_off_or_there_is_no_journal(folder: Write) -> None:
    assert loaded(folder(NODES)).audit == AuditSettings(enabled=True)
    assert not loaded(folder(NODES, config="journalMib: 0\n")).watched
    assert not loaded(folder(NODES), {"LEYDEN_AUDIT_ENABLED": "no"}).watched
    given = {"audit.keyFile": "keys/a.key", "audit.collector.host": "arr", "audit.collector.caFile": "/etc/ca.pem"}
    path = folder(NODES, config="audit:\n  keepDays: 90\n")
    assert loaded(path, **given).audit == AuditSettings(
        True, 90, str(path / "keys/a.key"), CollectorSettings("arr", 6514, "/etc/ca.pem")
    )
    assert any("collector: host is missing" in line for line in problems(path, **{"audit.collector.port": "6514"}))


def test_alerts_go_to_whoever_is_named(folder: Write) -> None:
    assert not loaded(folder(NODES)).alerts.enabled
    mail = "{server: mx, from: a@example.org, to: [b@example.org], user: u, passwordFile: p}"
    hook = "{url: 'https://h/x', secretFile: /s, secretAs: bearer}"
    path = folder(NODES, config=f"alerts: {{queueOlderThan: 5, certificateEnds: 1, mail: {mail}, webhook: {hook}}}\n")
    got = loaded(path).alerts
    assert (got.enabled, got.queue_older_s, got.certificate_ends_s, got.destination_down_s) == (True, 300, 86400, 900)
    assert got.webhook == WebhookSettings("https://h/x", "/s", "bearer")
    assert got.mail == MailSettings(
        "mx", user="u", password_file=str(path / "p"), sender="a@example.org", to=("b@example.org",)
    )
    assert loaded(path, **{"alerts.mail.port": "25"}).alerts.mail.port == 25


@pytest.mark.parametrize(
    ("alerts", "said"),
    [
        ("{diskFreeBelow: 5}", "neither webhook nor mail is given"),
        ("{webhook: {secretFile: s}}", "alerts.webhook: url is missing"),
        ("{webhook: {url: 'ftp://h/'}}", "is no URL such as"),
        ("{webhook: {url: 'https://u:p@h/'}}", "a URL must hold no user and no password"),
        ("{mail: {server: mx}}", "alerts.mail: from, to is missing"),
        ("{mail: {server: mx, from: a, to: b@c}}", "'a' is no e-mail address"),
        ("{mail: {server: mx, from: a@b, to: 'c@d, e f@g'}}", "'e f@g' is no e-mail address"),
        ("{mail: {server: mx, from: a@b, to: c@d, user: u}}", "user and passwordFile belong together"),
        ("{mail: {server: mx, from: a@b, to: c@d, security: off}}", "alerts.mail.security"),
    ],
)
def test_alerts_that_could_not_be_sent_are_errors(folder: Write, alerts: str, said: str) -> None:
    assert any(said in line for line in problems(folder(NODES, config=f"alerts: {alerts}\n")))
