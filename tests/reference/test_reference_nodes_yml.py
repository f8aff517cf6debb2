"""nodes.yml: each sentence of the reference as a test."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pynetdicom
import pytest
from pydicom.uid import UID

from leyden.config.load import load
from leyden.config.settings import Settings
from leyden.deliver.destination import Destination, TlsSettings
from leyden.deliver.retry import delay_s
from leyden.deliver.schedule import StudyDelay, is_here, is_open
from leyden.dicom import uids
from leyden.dicom.associate import decode_request, encode_request
from leyden.dicom.negotiate import AssociateAccept, AssociateReject, AssociateRequest, ProposedContext, answer
from leyden.errors import ConfigError
from leyden.plan.match import rank_of
from support.namespaces import appear, own_network
from support.objects import make_ct
from support.peers import Pacs
from support.sender import CT, Sender, dataset, destination
from support.service import Service, free_port, node

MR, SR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.88.22"


def loaded(folder: Path, nodes: str, config: str = "") -> tuple[Settings, tuple[str, ...]]:
    (folder / "config.yml").write_text(config)
    (folder / "nodes.yml").write_text(nodes)
    return load(folder, {}, {})


def only(folder: Path, nodes: str, config: str = "") -> Destination:
    (found,) = loaded(folder, nodes, config)[0].destinations
    return found


def answered(folder: Path, called: str) -> AssociateAccept | AssociateReject:
    """What a modality hears that calls this title, in these 16 bytes. The node is IMAGEPACS, alias ARCHIVE; we are
    LEYDEN."""
    policy = loaded(folder, "- AeTitle: IMAGEPACS\n  Aliases: [ARCHIVE]\n")[0].receiver.acceptor
    request = AssociateRequest("CALLED", "CT1", (ProposedContext(1, CT, (uids.EXPLICIT_LE,)),))
    pdu = bytearray(encode_request(request))
    pdu[10:26] = called.ljust(16).encode()  # PS3.8 table 9-11
    return answer(policy, decode_request(bytes(pdu)))


def send(leyden: Service, *paths: Path, called: str = "PACS", calling: str = "CT1") -> None:
    words = ["send", f"127.0.0.1:{leyden.port}", "--called", called, "--calling", calling]
    done = leyden.leyden(*words, *map(str, paths))
    assert done.returncode == 0, done.stdout + done.stderr


# -- the keys


def test_AeTitle_is_required(tmp_path: Path) -> None:
    """AeTitle (required)."""
    with pytest.raises(ConfigError, match=r"nodes.yml:1: AeTitle: is missing"):
        loaded(tmp_path, "- Port: 104\n")


def test_the_defaults_of_a_node(tmp_path: Path) -> None:
    """Aliases [], HostName 127.0.0.1, Port 104, NodeRole Storage, TransferSyntax empty, Impersonate false, Priority 0,
    ProcessSchedule [], ProcessNetworks [], MaxAssociations 4, MaximumLineSpeed 0."""
    found = only(tmp_path, "- AeTitle: PACS\n")
    assert (found.ae_title, found.host, found.port, found.syntax) == ("PACS", "127.0.0.1", 104, "")
    assert not set(found.aliases) - {"DCP_PACS"}
    assert (found.impersonate, found.priority, found.schedule, found.networks) == (False, 0, (), ())
    assert (found.max_associations, found.maximum_line_speed_kb_per_s, found.retry_delays_s) == (4, 0, ())


@pytest.mark.parametrize("role", ["QueryRetrieve", "Worklist", "StorageCommitSCP", "StorageCommitSCU"])
def test_NodeRole_others_must_load(tmp_path: Path, role: str) -> None:
    """NodeRole Storage; the others are for later and must load."""
    settings, warnings = loaded(tmp_path, f"- AeTitle: PACS\n- AeTitle: RIS\n  NodeRole: {role}\n")
    assert [each.ae_title for each in settings.destinations] == ["PACS"]
    assert any(f"NodeRole: {role} has no effect yet" in line for line in warnings)


def test_NodeRole_two_nodes_may_share_an_AE_title_if_their_roles_differ(tmp_path: Path) -> None:
    """Two nodes may share an AE title if their roles differ."""
    assert only(tmp_path, "- AeTitle: PACS\n- AeTitle: PACS\n  NodeRole: QueryRetrieve\n").ae_title == "PACS"
    with pytest.raises(ConfigError, match="PACS is also the title of the Storage node"):
        loaded(tmp_path, "- AeTitle: PACS\n- AeTitle: PACS\n")


def test_Impersonate_the_original_callers_title_becomes_our_calling_title(sender, sink) -> None:
    """Impersonate true: the original caller's AE title becomes our calling title; else it is our own."""
    one_peer, other_peer = sink(), sink()
    one = sender(destination(one_peer.port, impersonate=True), destination(other_peer.port, "OTHER"))
    for title in ("PACS", "OTHER"):
        one.put(1, calling="CT1", to=title)
        one.put(2, calling="MR2", to=title)
    one.start()
    assert sorted(each.calling for each in one_peer.wait(2)) == ["CT1", "MR2"]
    assert {each.calling for each in other_peer.wait(2)} == {"LEYDEN"}


INHERITED = [
    ("MinimumLineSpeed", "minimumLineSpeed", "minimum_line_speed_kb_per_s", 700),
    ("BatchSize", "batchSize", "batch_size", 40),
    ("ProcessDelay", "processDelay", "process_delay_ms", 9000),
    ("StallThreshold", "stallThresholdSeconds", "stall_threshold_s", 45),
]


@pytest.mark.parametrize(("key", "general", "field", "value"), INHERITED)
def test_MinimumLineSpeed_BatchSize_ProcessDelay_StallThreshold_override_config_yml(
    tmp_path: Path, key: str, general: str, field: str, value: int
) -> None:
    """MinimumLineSpeed, BatchSize, ProcessDelay, StallThreshold override config.yml; blank or absent = inherit, any
    value overrides, 0 too."""
    config = f"{general}: {value}\n"
    written = {"absent": "", "blank": f"  {key}:\n", "another": f"  {key}: 3\n", "zero": f"  {key}: 0\n"}
    found = {how: getattr(only(tmp_path, f"- AeTitle: PACS\n{line}", config), field) for how, line in written.items()}
    assert found == {"absent": value, "blank": value, "another": 3, "zero": 0}


def test_BatchSize_instances_for_one_association(sender, sink) -> None:
    """batchSize: instances for one association."""
    peer = sink()
    one = sender(destination(peer.port, batch_size=2, max_associations=1))
    for number in range(6):
        one.put(number, dataset(CT, f"2.25.77.{number}", series="2.25.1"), series="2.25.1")
    one.start()
    assert [each.association for each in peer.wait(6)] == [1, 1, 2, 2, 3, 3]


def test_BatchSize_0_is_as_many_as_there_are_whole_series_together(sender, sink) -> None:
    """batchSize 0 = as many as there are, whole series together."""
    peer = sink()
    one = sender(destination(peer.port, max_associations=1))
    for number in range(40):
        series = f"2.25.{number % 4}"
        one.put(number, dataset(CT, f"2.25.77.{number}", series=series), series=series)
    one.start()
    seen = peer.wait(40)
    assert {each.association for each in seen} == {1}
    assert [name for name, _ in itertools.groupby(each.series for each in seen)] == [f"2.25.{n}" for n in range(4)]


@pytest.mark.parametrize(("written", "sent"), [(0, 0x0000), (1, 0x0001), (2, 0x0002)])
def test_Priority_is_the_DIMSE_priority_field(tmp_path: Path, sender, written: int, sent: int) -> None:
    """Priority (0 medium, 1 high, 2 low: the DIMSE priority field)."""
    priority = only(tmp_path, f"- AeTitle: PACS\n  Priority: {written}\n").priority
    seen: list[int] = []

    def on_store(event: pynetdicom.evt.Event) -> int:
        seen.append(event.request.Priority)
        return 0x0000

    entity = pynetdicom.AE("PACS")
    entity.add_supported_context(CT, [UID(uids.EXPLICIT_LE)])
    handlers = [(pynetdicom.evt.EVT_C_STORE, on_store)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        one = sender(destination(server.server_address[1], priority=priority))
        one.put(1)
        one.start().wait_counts()
    finally:
        server.shutdown()
    assert seen == [sent]


def test_ProcessDelay_waits_after_the_first_instance_of_a_study(sender, sink) -> None:
    """Wait so long after the first instance of a study before delivery begins, so that it goes out whole."""
    peer = sink()
    one = sender(destination(peer.port, process_delay_ms=2500))
    begin_s = time.monotonic()
    one.put(1)
    one.start()
    one.put(2)
    assert all(each.begun_s >= begin_s + 2.4 for each in peer.wait(2))


def test_ProcessDelay_goes_on_from_where_it_was_after_a_restart(sender, sink) -> None:
    """The wait is after the first instance, whatever happens in between: what has waited long enough goes at once."""
    peer = sink()
    one = sender(destination(peer.port, process_delay_ms=3_600_000))
    one.clock = _Earlier(3601)
    one.put(1)
    one.clock = _Earlier(10)
    one.put(2)  # of the same study, within the window: it goes at once
    one.start()
    assert len(peer.wait(2)) == 2


def test_ProcessDelay_what_comes_within_the_window_goes_at_once_and_0_is_no_window(tmp_path: Path) -> None:
    """Instances arriving within processDelay x multiplier after that go at once; 0 = window off."""

    def ready_s(multiplier: float, *received_s: float) -> list[float]:
        config = f"processDelay: 60000\nprocessDelayWindowMultiplier: {multiplier}\n"
        found = only(tmp_path, "- AeTitle: PACS\n", config)
        delay = StudyDelay(found.process_delay_ms / 1000, found.process_delay_window_multiplier)
        return [delay.ready_s("study", each_s) for each_s in received_s]

    assert ready_s(2, 0, 59, 61, 180, 181, 190) == [60, 60, 61, 180, 241, 241]
    assert ready_s(0, 0, 59, 61) == [60, 60, 121]


class _Earlier:
    """Makes the receipts of objects that came so many seconds ago."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def next(self, now_us: int) -> str:
        return f"{now_us - int(self._seconds * 1e6):016d}000001"


def test_ProcessSchedule_deliveries_only_within_its_windows(sender, sink) -> None:
    """ProcessSchedule: `HH:MM - HH:MM` windows in which we deliver; those of config.yml where a node has none."""
    minute = time.localtime().tm_hour * 60 + time.localtime().tm_min
    opened, closed = (((minute + hours * 60) % 1440, (minute + hours * 60 + 120) % 1440) for hours in (-1, 5))
    peer, other = sink(), sink()
    one = sender(destination(peer.port, schedule=(closed,)), destination(other.port, "OTHER", schedule=(opened,)))
    one.put(1)
    one.put(2, to="OTHER")
    one.start()
    other.wait(1)
    one.wait_counts(prepared=1)
    one.wait_line("PACS: deliveries paused")
    assert peer.seen() == []


def test_ProcessSchedule_overrides_processSchedule_and_may_cross_midnight(tmp_path: Path) -> None:
    """Windows may cross midnight; a node without windows of its own has those of config.yml."""
    config = "processSchedule:\n  - 22:00 - 06:00\n"
    inherited = only(tmp_path, "- AeTitle: PACS\n", config)
    assert [is_open(inherited.schedule, hour * 60) for hour in (21, 23, 3, 7)] == [False, True, True, False]
    own = only(tmp_path, "- AeTitle: PACS\n  ProcessSchedule:\n    - 13:30 - 23:59\n", config)
    assert [is_open(own.schedule, hour * 60) for hour in (13, 14, 23, 3)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("written", "ours", "here"),
    [
        ("192.168.1.7", "192.168.1.7", True),
        ("192.168.1.7", "192.168.1.8", False),
        ("192.168.1.0", "192.168.1.8", True),
        ("192.168.1.0", "192.168.2.8", False),
        ("10.1.0.0/16", "10.1.200.3", True),
        ("10.1.0.0/16", "10.2.0.3", False),
        ("10.1.2.3 / 255.255.0.0", "10.1.200.3", True),
        ("10.1.2.3 / 255.255.0.0", "10.2.0.3", False),
    ],
)
def test_ProcessNetworks_address_network_CIDR_and_mask(tmp_path: Path, written: str, ours: str, here: bool) -> None:
    """`ip` = has exactly that address; a network address, CIDR or `ip / mask` = lies in that subnet."""
    networks = only(tmp_path, f"- AeTitle: PACS\n  ProcessNetworks:\n    - {written}\n").networks
    assert is_here(networks, {"127.0.0.1", ours}) is here


def test_ProcessNetworks_delivers_only_while_a_local_interface_fits(sender, sink) -> None:
    """Deliver only while a local interface fits: an address that comes lets deliveries begin, without a restart."""
    with own_network():
        peer = sink()
        one = sender(destination(peer.port, networks=("10.99.0.0/16",)))
        one.put(1)
        one.start()
        one.wait_line("PACS: deliveries paused")
        assert peer.seen() == []
        appear("10.99.3.4")
        peer.wait(1)
        one.wait_line("PACS: deliveries resumed")


def test_SopClassPriorities_earlier_is_sent_first_and_FIFO_inside_a_class(tmp_path: Path, sender, sink) -> None:
    """SopClassPriorities: ordered SOP class UIDs; earlier = sent first; FIFO inside a class."""
    settings, _ = loaded(tmp_path, f"- AeTitle: PACS\n  SopClassPriorities: [{SR}, {MR}]\n")
    (target,) = settings.plan.targets
    peer = sink()
    one = sender(destination(peer.port, max_associations=1))
    for number, sop_class in enumerate([CT, MR, SR, CT, MR, SR]):
        one.put(number, sop_class=sop_class, rank=rank_of(target, sop_class))
    one.start()
    assert [each.uid[-1] for each in peer.wait(6)] == ["2", "5", "1", "4", "0", "3"]


def test_SopClassPriorities_default_places_the_unlisted_ones_else_they_come_last(tmp_path: Path) -> None:
    """The word `default` places the unlisted ones, else they come last."""

    def order(priorities: str) -> list[str]:
        settings, _ = loaded(tmp_path, f"- AeTitle: PACS\n  SopClassPriorities: [{priorities}]\n")
        return sorted((CT, MR, SR), key=lambda sop_class: rank_of(settings.plan.targets[0], sop_class))

    assert order(f"{SR}, default, {CT}") == [SR, MR, CT]
    assert order(f"{SR}, {MR}") == [SR, MR, CT]


def test_SopClassPriorities_a_batch_under_way_is_not_interrupted(sender, sink) -> None:
    """A batch under way is not interrupted: what is more urgent comes after the series that is being sent."""
    peer = sink("--delay", 0.3)
    one = sender(destination(peer.port, max_associations=1))
    for number in range(6):
        one.put(number, dataset(CT, f"2.25.77.{number}", series="2.25.1"), series="2.25.1", rank="05")
    one.start()
    peer.wait(1)
    one.put(9, dataset(CT, "2.25.77.9", series="2.25.2"), series="2.25.2", rank="00")
    one.ring()
    assert [each.uid[-1] for each in peer.wait(7)] == [*"012345", "9"]


def test_MaxAssociations_is_the_size_of_the_pool(sender, sink) -> None:
    """MaxAssociations 4 (pool size)."""
    peer = sink("--delay", 0.02)
    one = sender(destination(peer.port, max_associations=3))
    for number in range(90):
        one.put(number)
    one.start()
    assert len({each.association for each in peer.wait(90)}) == 3


def test_MaximumLineSpeed_is_a_cap(sender, sink) -> None:
    """MaximumLineSpeed 0 (KB/s cap, 0 = none), shared by all associations of the node."""
    peer = sink()
    one = sender(destination(peer.port, maximum_line_speed_kb_per_s=1000))
    for number in range(4):
        one.put(number, dataset(CT, f"2.25.77.{number}", 600_000))
    one.start()
    seen = peer.wait(4)
    assert seen[-1].ended_s - seen[0].ended_s > 1.2  # 1.8 MB behind the first, less the burst


def test_RetryDelays_are_the_waits_after_failures(tmp_path: Path, sender, sink) -> None:
    """RetryDelays: the pauses after the first, the second ... failure; the last one is kept."""
    delays_s = only(tmp_path, "- AeTitle: PACS\n  RetryDelays: [0.1, 0.5]\n").retry_delays_s
    assert [delay_s(failures, 0.9, delays_s) for failures in (1, 2, 3, 99)] == [0.1, 0.5, 0.5, 0.5]
    port = free_port()
    one = sender(destination(port, retry_delays_s=delays_s))
    one.put(1)
    one.start()
    one.wait_line("next try in 0.1 s")
    sink(port=port).wait(1)


def test_Tls_is_TLS_and_never_plain(tmp_path: Path, sender: Callable[..., Sender]) -> None:
    """Tls: what is to be encrypted is never sent in the clear, whatever the peer speaks."""
    assert only(tmp_path, "- AeTitle: PACS\n  Tls: on\n").tls == TlsSettings("127.0.0.1")
    pacs = Pacs("PACS").start()
    one = sender(destination(pacs.port, tls=TlsSettings("127.0.0.1"), retry_delays_s=(0.1,)))
    one.put(1)
    one.start()
    one.wait_line("does not speak TLS; next try in")
    one.wait_line("next try in")
    pacs.stop()
    assert (pacs.associations_seen, one.counts()) == ([], {"prepared": 1})


# -- who is answered, and for whom


@pytest.mark.parametrize("called", ["IMAGEPACS", "ARCHIVE", "DCP_IMAGEPACS", "DCP_ARCHIVE", "LEYDEN", "DCP_LEYDEN"])
def test_an_association_is_accepted_for_titles_aliases_prefix_and_ours(tmp_path: Path, called: str) -> None:
    """An association is accepted when its called AE title is a node's title, alias, prefix + title (or prefix + alias),
    or ours."""
    assert isinstance(answered(tmp_path, called), AssociateAccept)


@pytest.mark.parametrize("called", ["NOBODY", "imagepacs", "XDCP_IMAGEPACS", "IMAGE PACS"])
def test_another_called_title_is_rejected_as_not_recognized(tmp_path: Path, called: str) -> None:
    """Else it is rejected: called AE title not recognized (PS3.8 table 9-21: result 1, source 1, reason 7)."""
    said = answered(tmp_path, called)
    assert isinstance(said, AssociateReject)
    assert (said.result, said.source, said.reason) == (1, 1, 7)


@pytest.mark.parametrize("called", ["IMAGEPACS       ", "  IMAGEPACS", "IMAGEPACS\0\0\0\0\0\0\0", "ARCHIVE \0"])
def test_titles_are_compared_after_stripping_spaces_and_NULs(tmp_path: Path, called: str) -> None:
    """Compare after stripping spaces and NULs (real devices pad with either)."""
    assert isinstance(answered(tmp_path, called), AssociateAccept)


def test_what_arrives_for_a_node_is_bound_for_it_and_C_ECHO_is_answered_for_all(service, sink, tmp_path: Path) -> None:
    """What arrives for a node is bound for that node; what arrives for our own title has no destination until a rule
    adds one. C-ECHO is answered for all of these."""
    peer = sink()
    leyden: Service = service(node("PACS", peer.port, Aliases="[ARCHIVE]")).start()
    for called in ("PACS", "ARCHIVE", "DCP_PACS", "DCP_ARCHIVE", "LEYDEN"):
        done = leyden.leyden("echo", f"127.0.0.1:{leyden.port}", "--called", called)
        assert done.returncode == 0, done.stdout + done.stderr
    send(leyden, make_ct(tmp_path / "1.dcm", 1, rows=64), called="DCP_ARCHIVE")
    assert [each.number for each in peer.wait(1)] == ["1"]
    send(leyden, make_ct(tmp_path / "2.dcm", 2, rows=64), called="LEYDEN")
    (note,) = leyden.wait_ended(1, "failed")
    assert "no destination" in note["reason"]
    assert len(peer.seen()) == 1


# -- transfer syntaxes


@pytest.mark.parametrize(
    ("name", "uid"),
    [
        ("ImplicitVRLittleEndian", "1.2.840.10008.1.2"),
        ("ExplicitVRLittleEndian", "1.2.840.10008.1.2.1"),
        ("ExplicitVRBigEndian", "1.2.840.10008.1.2.2"),
        ("JPEGProcess14SV1", "1.2.840.10008.1.2.4.70"),
        ("JPEGLossless", "1.2.840.10008.1.2.4.70"),
        ("JPEGProcess14", "1.2.840.10008.1.2.4.57"),
        ("JPEG2000Lossless", "1.2.840.10008.1.2.4.90"),
        ("RLELossless", "1.2.840.10008.1.2.5"),
        ("JPEG2000Lossy", "1.2.840.10008.1.2.4.91"),
        ("JPEGLSNearLossless", "1.2.840.10008.1.2.4.81"),
        ("JPEGProcess1", "1.2.840.10008.1.2.4.50"),
        ("JPEGProcess2_4", "1.2.840.10008.1.2.4.51"),
        ("JPEGLSLossless", "1.2.840.10008.1.2.4.80"),
        ("HTJ2KLossless", "1.2.840.10008.1.2.4.201"),
        ("HTJ2KLosslessRPCL", "1.2.840.10008.1.2.4.202"),
        ("HTJ2K", "1.2.840.10008.1.2.4.203"),
        ("DeflatedExplicitVRLittleEndian", "1.2.840.10008.1.2.1.99"),
    ],
)
def test_TransferSyntax_names_in_any_case_or_a_UID(tmp_path: Path, name: str, uid: str) -> None:
    """Transfer syntax names, or a UID. Any case."""
    for written in (name, name.lower(), name.upper(), uid):
        assert only(tmp_path, f"- AeTitle: PACS\n  TransferSyntax: {written}\n").syntax == uid


def test_TransferSyntax_a_node_that_refuses_it_gets_the_best_that_it_accepts_and_the_log_says_so_once(
    service, pacs, tmp_path: Path
) -> None:
    """A node that refuses the wanted syntax in negotiation gets the best one that it does accept (never lossy unless
    asked for), and the log says so once."""
    takes = [uids.JPEG2000, uids.RLE_LOSSLESS, uids.EXPLICIT_LE, uids.IMPLICIT_LE]
    peer = pacs("PACS", syntaxes=takes)
    leyden: Service = service(node("PACS", peer.port, TransferSyntax="JPEG2000Lossless")).start()
    send(leyden, *(make_ct(tmp_path / f"{number}.dcm", number, rows=128) for number in range(3)))
    got = {arrival.syntax for arrival in peer.wait(3)}
    assert got <= {uids.RLE_LOSSLESS, uids.EXPLICIT_LE}
    leyden.wait_empty()
    assert leyden.log.count("does not take JPEG2000Lossless") == 1
