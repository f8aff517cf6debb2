"""The sender as a real process against peers that others wrote, and that behave as real ones do."""

import contextlib
import json
import os
import selectors
import signal
import socket
import threading
import time
from itertools import pairwise

import pytest

from leyden.deliver.pool import IDLE_S
from leyden.dicom import associate, pdu
from leyden.dicom.negotiate import AnsweredContext, AssociateAccept
from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, JPEG2000_LOSSLESS
from leyden.spool.entry import Entry, ReceiptClock, key
from leyden.spool.stage import Stage
from support.sender import CT, dataset, destination
from support.service import ENDS_WITHIN_S, LIMIT_S, free_port, wait_for

MR = "1.2.840.10008.5.1.4.1.1.4"
SR = "1.2.840.10008.5.1.4.1.1.88.22"
PRIVATE = "1.2.826.0.1.3680043.9.9.1"


class OneAtATime:
    """A door before a peer: it takes every TCP connection, but lets one through at a time; the others get no answer."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as server:
                self._pump(client, server)

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        with selectors.DefaultSelector() as both:
            both.register(client, selectors.EVENT_READ, server)
            both.register(server, selectors.EVENT_READ, client)
            while True:
                for ready, _ in both.select():
                    data = ready.fileobj.recv(65536)
                    if not data:
                        return
                    ready.data.sendall(data)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


def test_storescp_gets_every_byte_and_the_spool_is_empty_after(sender, storescp, tmp_path):
    """Delivered: "a durable receipt and an unlink" (ARCHITECTURE.md)."""
    peer = storescp()
    one = sender(destination(peer.port))
    sizes = {one.put(n, dataset(CT, f"2.25.77.{n}", n * 7001)): n * 7001 for n in range(40)}
    one.start().wait_counts()
    files = list(peer.folder.iterdir())
    assert len(files) == 40
    for n in range(40):
        (path,) = (path for path in files if path.name.endswith(f"2.25.77.{n}"))
        assert path.read_bytes().endswith(dataset(CT, f"2.25.77.{n}", n * 7001))
    receipts = one.receipts()
    assert {line["sop_instance_uid"] for line in receipts} == set(sizes)
    assert all(line["status"] == 0 and line["destination"] == "PACS" for line in receipts)
    assert all(line["calling"] == "LEYDEN" and line["syntax"] == EXPLICIT_LE for line in receipts)
    assert one.stop() == 0
    assert one.log.count("delivered 2.25.77.") == 40


def test_the_bell_sends_at_once_over_the_association_that_is_there(sender, pacs):
    """Doorbells (FIFOs) only save waiting (ARCHITECTURE.md): an object goes at once over an open association."""
    peer = pacs("PACS")
    one = sender(destination(peer.port)).start()
    one.put(1)
    peer.wait(1)
    for n in range(2, 8):
        one.put(n)
        one.ring()
        peer.wait(n)
    pauses_s = [after.at_s - before.at_s for before, after in pairwise(peer.arrivals)]
    assert len(peer.associations_seen) <= 1 + sum(pause_s > IDLE_S / 2 for pause_s in pauses_s)
    one.wait_counts()


def test_each_modality_calls_under_its_own_title(sender, pacs):
    """Delivers "under the modality's own AE title if you wish" (README.md)."""
    peer = pacs("PACS")
    one = sender(destination(peer.port, impersonate=True))
    titles = ["CT1", "MR1", "US1", ""]
    for n in range(40):
        one.put(n, calling=titles[n % 4])
    one.start()
    arrivals = peer.wait(40)
    one.wait_counts()
    for arrival in arrivals:
        n = int(arrival.sop_instance_uid.rpartition(".")[2])
        assert arrival.calling == (titles[n % 4] or "LEYDEN")
        assert arrival.called == "PACS"


@pytest.mark.parametrize("peer_leaves_them_waiting", [False, True])
def test_several_titles_get_through_to_a_peer_that_serves_one_at_a_time(sender, pacs, peer_leaves_them_waiting):
    """Some archives serve only one at a time; Leyden notices this and uses one (docs/size.md)."""
    peer = pacs("PACS", associations=None if peer_leaves_them_waiting else 1)
    door = OneAtATime(peer.port) if peer_leaves_them_waiting else None
    one = sender(destination(door.port if door else peer.port, impersonate=True))
    for n in range(90):
        one.put(n, calling=f"CT{n % 3}")
    one.start()
    arrivals = peer.wait(90, 60)
    one.wait_counts()
    assert len(set(peer.uids())) == len(arrivals) == 90
    assert {arrival.calling for arrival in arrivals} == {"CT0", "CT1", "CT2"}
    assert len(peer.associations_seen) < 30  # in turns, not an association an object
    # That is no trouble; but a few times, perhaps, where the peer is slow to notice that an association has ended.
    assert one.log.count("next try") <= (0 if door else 5)
    if door:
        door.close()


def test_an_object_for_another_title_does_not_wait_for_the_end_of_a_long_queue(sender, pacs):
    """Calling titles take turns: an object under one of them does not wait for all objects under another one.
    One association at a time, CT1 busy with objects that came later."""
    peer = pacs("PACS", associations=1)
    one = sender(destination(peer.port, impersonate=True))
    for n in range(400):
        one.put(n, calling="CT1")
    one.start()
    peer.wait(20)
    one.put(1000, calling="MR1")
    one.ring()
    for n in range(1001, 1400):
        one.put(n, calling="CT1")
    peer.wait(800, 90)
    order = peer.uids()
    assert order.index("2.25.77.1000") < 799
    one.wait_counts()


def test_a_destination_that_is_down_gets_everything_when_it_is_up_and_costs_the_other_nothing(sender, pacs):
    """A destination is off: "its objects wait; other destinations are not affected" (docs/operate.md)."""
    port = free_port()
    living = pacs("LIVING")
    one = sender(destination(port, "DEAD", retry_delays_s=(0.3,)), destination(living.port, "LIVING"))
    for n in range(30):
        one.put(n, to="DEAD")
        one.put(100 + n, to="LIVING")
    one.start()
    living.wait(30)
    one.wait_line("DEAD: 127.0.0.1: Connection refused; next try in 0.3 s")
    one.wait_counts(prepared=30)  # a dead destination renames nothing
    dead = pacs("DEAD", port=port)
    dead.wait(30)
    one.wait_counts()
    assert one.stop() == 0
    assert one.log.count("DEAD: 127.0.0.1: Connection refused") == 1, "one line, however often it is tried"
    assert one.log.count("DEAD: works again") == 1


def test_a_connection_that_is_lost_in_mid_send_gives_the_object_back(sender, pacs):
    """If the network fails or a destination is busy, objects are tried again automatically (docs/operate.md).
    The door is shut when half of the first object is through, and opened after."""
    peer = pacs("PACS")
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as listener:
        one = sender(destination(port, retry_delays_s=(0.2,)))
        uid = one.put(1, dataset(CT, "2.25.77.1", 20_000_000))
        one.start()
        client, _ = listener.accept()
        with client, socket.create_connection(("127.0.0.1", peer.port)) as server:
            client.settimeout(10)
            server.sendall(client.recv(65536))
            client.sendall(server.recv(65536))
            for _ in range(20):
                assert client.recv(65536)
    one.wait_line("next try in")
    one.wait_counts(prepared=1)
    second = pacs("PACS", port=port)
    assert second.wait(1)[0].sop_instance_uid == uid
    one.wait_counts()


@pytest.mark.parametrize("taken", [[EXPLICIT_LE], [IMPLICIT_LE, EXPLICIT_LE], [IMPLICIT_LE]])
def test_a_syntax_that_is_refused_goes_back_to_be_made_anew(sender, pacs, taken):
    """The destination refused the syntax that it should get; it gets the next best (docs/troubleshoot.md)."""
    peer = pacs("PACS", syntaxes=taken)
    one = sender(destination(peer.port, syntax=JPEG2000_LOSSLESS), workers=0)
    for n in range(20):
        one.put(n, syntax=JPEG2000_LOSSLESS)
    one.start().wait_counts(transform=20)
    made = "ExplicitVRLittleEndian" if EXPLICIT_LE in taken else "ImplicitVRLittleEndian"
    for path in one.root.glob("transform/*/*/*/*.dcm"):
        assert f".{made}." in path.name
    assert one.stop() == 0
    assert one.log.count("it gets") == 1  # the log says so once
    state = json.loads((one.root / "state" / "PACS.json").read_bytes())
    assert state[CT]["accepted"] == sorted(taken)
    assert JPEG2000_LOSSLESS in state[CT]["refused"]
    assert peer.arrivals == []


def test_what_can_not_be_made_anew_is_rejected_and_not_sent_in_circles(sender, pacs):
    """Rejected: the destination "takes its SOP class in no syntax" (docs/troubleshoot.md).
    A worker that gives every object on as it came."""
    peer = pacs("PACS", syntaxes=[EXPLICIT_LE, IMPLICIT_LE])
    one = sender(destination(peer.port, syntax=JPEG2000_LOSSLESS))
    one.put(1, syntax=JPEG2000_LOSSLESS)
    one.start()
    for _ in range(2):  # explicit, implicit
        one.wait_counts(transform=1)
        (waiting,) = one.spool.waiting(Stage.TRANSFORM, "PACS", 10)
        claim = one.spool.claim(waiting, "worker-0")
        assert claim is not None
        one.spool.passed_on(claim)
        one.ring()
    one.wait_counts(rejected=1)
    assert "none of the syntaxes" in one.whys()[0]["reason"]


def test_a_class_that_is_refused_is_rejected_with_the_reason_and_nothing_else_is_disturbed(sender, pacs):
    """Rejected "only by an association that was opened after its turn to be sent came" (DECISIONS.md 19)."""
    peer = pacs("PACS", refuse=[SR])
    one = sender(destination(peer.port))
    for n in range(10):
        one.put(n)
        one.put(100 + n, sop_class=SR)
    one.start()
    peer.wait(10)
    one.wait_counts(rejected=10)
    assert SR in one.whys()[0]["reason"]
    assert {arrival.sop_class_uid for arrival in peer.arrivals} == {CT}
    # It has learnt better: the old association's refusal does not count for what comes back.
    peer.refuse = set()
    peer.stop()
    peer.start()
    assert one.spool.retry(Stage.REJECTED, "PACS") == 10
    one.ring()
    peer.wait(20)
    one.wait_counts()


def test_a_class_that_the_open_association_does_not_know_gets_a_new_one(sender, pacs):
    """An object whose SOP class the open association did not propose is sent over a new one."""
    peer = pacs("PACS")
    one = sender(destination(peer.port, max_associations=1)).start()
    one.put(1)
    peer.wait(1)
    one.put(2, sop_class=MR)
    one.ring()
    peer.wait(2)
    assert len(peer.associations_seen) == 2
    one.wait_counts()


def test_out_of_resources_is_tried_again(sender, pacs):
    """Deferred: the destination said "later" (docs/operate.md), and gets the object again."""
    said: list[str] = []

    def answer(arrival):
        said.append(arrival.sop_instance_uid)
        return 0xA700 if said.count(arrival.sop_instance_uid) == 1 else 0x0000

    peer = pacs("PACS", answer=answer)
    one = sender(destination(peer.port, retry_delays_s=(0.1,)))
    for n in range(5):
        one.put(n)
    one.start()
    peer.wait(5)
    one.wait_counts()
    assert one.stop() == 0
    assert one.log.count("status 0xA700") == 5
    assert len(said) == 10


def test_a_refused_object_is_tried_a_few_times_and_then_rejected_and_the_others_go_on(sender, pacs):
    """The destination refused this object for good, after three tries (docs/troubleshoot.md)."""
    said: list[str] = []

    def answer(arrival):
        said.append(arrival.sop_instance_uid)
        return 0xC000 if arrival.sop_instance_uid == "2.25.77.0" else 0x0000

    peer = pacs("PACS", answer=answer)
    one = sender(destination(peer.port, retry_delays_s=(0.1,)))
    for n in range(5):
        one.put(n)
    one.start()
    peer.wait(4)
    one.wait_counts(rejected=1)
    assert said.count("2.25.77.0") == 3
    (why,) = one.whys()
    assert why["status"] == "0xC000"
    assert why["reason"].startswith("status 0xC000")


@pytest.mark.parametrize(("status", "tries"), [(0x0122, 1), (0xA900, 3), (0x0111, 3)])
def test_an_answer_that_is_permanent_rejects_the_object(sender, pacs, status, tries):
    """The destination refused this object for good, after three tries (docs/troubleshoot.md); SOP class not supported
    (0x0122): after one."""
    said: list[str] = []

    def answer(arrival):
        said.append(arrival.sop_instance_uid)
        return status

    peer = pacs("PACS", answer=answer, syntaxes=[EXPLICIT_LE])
    one = sender(destination(peer.port, retry_delays_s=(0.1,)))
    one.put(1)
    one.start().wait_counts(rejected=1)
    assert len(said) == tries


def test_a_warning_is_a_delivery(sender, pacs):
    """A warning (0xBxxx) says that the object is stored (PS3.4 B.2.3), so it is delivered."""
    peer = pacs("PACS", answer=lambda _: 0xB007)
    one = sender(destination(peer.port))
    one.put(1)
    one.start().wait_counts()
    (line,) = one.receipts()
    assert line["status"] == 0xB007
    one.wait_line("with status 0xB007")


def test_after_a_batch_a_new_association_is_opened(sender, pacs):
    """batchSize: "objects over one association before a new one is opened" (docs/configure.md)."""
    peer = pacs("PACS")
    one = sender(destination(peer.port, batch_size=3, max_associations=1))
    for n in range(9):
        one.put(n)
    one.start()
    peer.wait(9)
    assert len(peer.associations_seen) == 3


def test_equal_instance_uids_go_one_after_the_other(sender, pacs):
    """Two objects may hold the same instance: twins (ARCHITECTURE.md), and they arrive in the order in which they came.
    The first gets a transient answer; the one that corrects it must not overtake it."""
    seen: list[bytes] = []

    def answer(arrival):
        seen.append(arrival.data)
        return 0xA700 if len(seen) == 1 else 0x0000

    peer = pacs("PACS", answer=answer)
    one = sender(destination(peer.port, retry_delays_s=(1.5,)))
    first, second = dataset(CT, "2.25.5", 10), dataset(CT, "2.25.5", 20)
    one.put(1, first, uid="2.25.5")
    one.put(2, second, uid="2.25.5", serial=True)
    one.put(3)
    one.start()
    peer.wait(3)
    assert [arrival.data for arrival in peer.arrivals if arrival.sop_instance_uid == "2.25.5"] == [first, second]
    one.wait_counts()


def test_lower_ranks_go_first(sender, pacs):
    """Queue: "the lowest rank first (SopClassPriorities), then the oldest" (ARCHITECTURE.md)."""
    peer = pacs("PACS")
    one = sender(destination(peer.port, max_associations=1))
    for n in range(20):
        one.put(n, rank="02")
    for n in range(100, 120):
        one.put(n, rank="01")
    one.start()
    peer.wait(40)
    assert peer.uids() == [f"2.25.77.{n}" for n in (*range(100, 120), *range(20))]


def test_a_private_class_goes_to_storescp_that_takes_it(sender, storescp):
    """Every storage SOP class, private ones too (README.md)."""
    peer = storescp("--promiscuous")
    one = sender(destination(peer.port))
    one.put(1, sop_class=PRIVATE)
    one.start().wait_counts()
    assert len(list(peer.folder.iterdir())) == 1


def test_an_unknown_calling_title_backs_off_alone(sender, pacs, tmp_path):
    """The destination rejects this calling AE title for good; other titles go on (docs/troubleshoot.md)."""
    import pynetdicom
    from pydicom.uid import UID

    entity = pynetdicom.AE("PACS")
    entity.require_calling_aet = ["CT1"]
    entity.add_supported_context(CT, [UID(EXPLICIT_LE)])
    seen: list[str] = []

    def on_store(event):
        seen.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(pynetdicom.evt.EVT_C_STORE, on_store)])
    try:
        one = sender(destination(server.server_address[1], impersonate=True))
        for n in range(10):
            one.put(n, calling="STRANGER")
            one.put(100 + n, calling="CT1")
        one.start().wait_counts(prepared=10)
        assert sorted(seen) == sorted(f"2.25.77.{100 + n}" for n in range(10))
        one.wait_line("calling as STRANGER: ")
        # require_calling_aet is read for each association
        entity.require_calling_aet = []
        server.ae.require_calling_aet = []
        one.wait_counts()
    finally:
        server.shutdown()


def test_a_file_that_is_no_dicom_object_goes_to_failed(sender, pacs):
    """failed/: "the file is damaged or no DICOM object" (docs/troubleshoot.md)."""
    peer = pacs("PACS")
    one = sender(destination(peer.port))
    receipt = one.clock.next(int(time.time() * 1e6))
    fd, path = one.spool.embryo(receipt)
    os.write(fd, b"not a DICOM file" * 100)
    os.close(fd)
    one.spool.plan_one(path, Entry(receipt, key("a"), key("b"), key("c")), Stage.PREPARED, "PACS", "00")
    one.put(1)
    one.start()
    peer.wait(1)
    one.wait_counts(failed=1)


def test_what_is_older_than_the_threshold_expires(sender, pacs):
    """expiryThreshold: "what could not be delivered for so long moves to expired/, where it is kept"
    (docs/configure.md)."""
    one = sender(destination(free_port(), expiry_threshold_s=2.0))
    one.put(1)
    one.start().wait_counts(prepared=1)
    old = one.clock
    one.clock = ReceiptClock(1)
    one.clock._last_us = 0
    fd, path = one.spool.embryo("0000001000000000010001")
    os.close(fd)
    one.spool.plan_one(
        path, Entry("0000001000000000010001", key("a"), key("b"), key("c")), Stage.PREPARED, "PACS", "00"
    )
    one.clock = old
    one.end()
    one.start().wait_counts(expired=2)


def test_outside_its_schedule_or_networks_a_destination_gets_nothing(sender, pacs):
    """ProcessSchedule: "times of day ... in which objects are delivered"; ProcessNetworks: "only while this machine has
    an address in one of these" (docs/configure.md)."""
    peer = pacs("PACS")
    minute = time.localtime().tm_hour * 60 + time.localtime().tm_min
    closed = ((minute + 120) % 1440, (minute + 180) % 1440)
    living = pacs("OTHER")
    one = sender(
        destination(peer.port, schedule=(closed,)),
        destination(
            living.port, "OTHER", schedule=(((minute - 60) % 1440, (minute + 60) % 1440),), networks=("127.0.0.0/8",)
        ),
        destination(peer.port, "ELSEWHERE", networks=("203.0.113.0/24",)),
    )
    one.put(1)
    one.put(2, to="OTHER")
    one.put(3, to="ELSEWHERE")
    one.start()
    living.wait(1)
    one.wait_counts(prepared=2)
    assert peer.arrivals == []
    one.wait_line("PACS: deliveries paused")
    one.wait_line("ELSEWHERE: deliveries paused")


def test_sigterm_finishes_what_is_under_way_and_gives_the_rest_back(sender, pacs):
    """What "is being received or sent is finished if that takes only seconds; the rest waits" (docs/operate.md)."""
    under_way, go_on = threading.Event(), threading.Event()

    def answer(arrival):
        under_way.set()
        go_on.wait(LIMIT_S)
        return 0x0000

    peer = pacs("PACS", answer=answer)
    one = sender(destination(peer.port, max_associations=1))
    for n in range(5):
        one.put(n)
    one.start()
    assert under_way.wait(LIMIT_S)
    assert one.process is not None
    one.process.send_signal(signal.SIGTERM)
    one.wait_line("stopping: ")
    go_on.set()
    assert one.process.wait(ENDS_WITHIN_S) == 0
    assert peer.uids() == ["2.25.77.0"]
    assert one.counts() == {"prepared": 4}
    assert len(one.receipts()) == 1


def test_sigterm_does_not_wait_for_a_peer_that_hangs(sender, pacs):
    """SIGTERM and others "stop the service within ten seconds, with exit code 0" (docs/operate.md)."""
    under_way, go_on = threading.Event(), threading.Event()

    def answer(arrival):
        under_way.set()
        go_on.wait(LIMIT_S)
        return 0x0000

    peer = pacs("PACS", answer=answer)
    one = sender(destination(peer.port, max_associations=1))
    one.put(1)
    one.start()
    assert under_way.wait(LIMIT_S)
    assert one.stop() == 0
    assert one.counts() == {"prepared": 1}
    go_on.set()


def test_a_peer_that_stalls_gets_it_again(sender, pacs):
    """StallThreshold: "a transfer in which no byte moves for so long is aborted and tried again"
    (docs/configure.md)."""
    given_up = threading.Event()

    def answer(arrival):
        given_up.wait(LIMIT_S)
        return 0x0000

    peer = pacs("PACS", answer=answer)
    one = sender(destination(peer.port, stall_threshold_s=1.0, retry_delays_s=(0.1,), max_associations=1))
    one.put(1)
    one.start()
    one.wait_line("not one byte moved for 1 s")
    given_up.set()
    peer.wait(2)
    one.wait_counts()


def test_a_duplicate_after_an_unanswered_send_is_a_delivery(sender, pacs):
    """After a send without an answer, duplicate SOP instance (0x0111) "means delivered" (DECISIONS.md 56)."""
    seen: list[str] = []
    given_up = threading.Event()

    def answer(arrival):
        seen.append(arrival.sop_instance_uid)
        if len(seen) == 1:
            given_up.wait(LIMIT_S)  # the answer comes too late
            return 0x0000
        return 0x0111

    peer = pacs("PACS", answer=answer)
    one = sender(destination(peer.port, stall_threshold_s=1.0, retry_delays_s=(0.1,), max_associations=1))
    one.put(1)
    one.start().wait_line("not one byte moved for 1 s")
    given_up.set()
    one.wait_counts()
    assert [line["status"] for line in one.receipts()] == [0x0111]


def test_a_full_destination_is_not_flooded(sender, pacs):
    """Log: "nothing but transient answers" (docs/troubleshoot.md).
    Then objects are tried one at a time, with pauses, until the destination takes them."""
    full = threading.Event()
    full.set()
    peer = pacs("PACS", answer=lambda _: 0xA700 if full.is_set() else 0x0000)
    one = sender(destination(peer.port, retry_delays_s=(0.3,)))
    for n in range(60):
        one.put(n)
    one.start()
    one.wait_line("nothing but transient answers: status 0xA700")
    full.clear()
    peer.wait(60)
    one.wait_counts()
    one.wait_line("PACS: works again")


def test_the_line_is_not_used_faster_than_allowed(sender, pacs):
    """MaximumLineSpeed: "we send no faster than this" (docs/configure.md)."""
    peer = pacs("PACS")
    one = sender(destination(peer.port, maximum_line_speed_kb_per_s=1000))
    for n in range(4):
        one.put(n, dataset(CT, f"2.25.77.{n}", 600_000))
    one.start()
    arrivals = peer.wait(4)
    # What comes after the first has started: no more than the rate and one burst.
    assert arrivals[-1].at_s - arrivals[0].at_s > 1.2
    one.wait_counts()


def test_a_study_goes_when_its_delay_is_over(sender, pacs):
    """ProcessDelay: "a study waits so long after its first object" (docs/configure.md)."""
    peer = pacs("PACS")
    one = sender(destination(peer.port, process_delay_ms=2500))
    begin_s = time.monotonic()
    one.put(1)
    one.put(2)
    one.start()
    assert all(arrival.at_s >= begin_s + 2.4 for arrival in peer.wait(2))


@pytest.mark.parametrize("end", [pdu.abort_pdu(0, 0), pdu.RELEASE_PDU, b""], ids=["abort", "release", "close"])
def test_a_peer_that_accepts_and_ends_every_association_at_once_is_backed_off(sender, end):
    """A destination is tried "for as long as it takes, with growing pauses" (docs/troubleshoot.md)."""
    seen: list[float] = []

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    head = client.recv(6, socket.MSG_WAITALL)
                    if len(head) < 6:
                        continue  # the sender was stopped just then
                    body = client.recv(int.from_bytes(head[2:6], "big"), socket.MSG_WAITALL)
                    request = associate.decode_request(head + body)
                    seen.append(time.monotonic())
                    answers = tuple(AnsweredContext(each.id, 0, each.syntaxes[0]) for each in request.contexts)
                    accept = AssociateAccept(request.called, request.calling, answers)
                    client.sendall(associate.encode_accept(accept) + end)
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(65536):
                        pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        one = sender(destination(listener.getsockname()[1], retry_delays_s=(0.5,)))
        one.put(1)
        one.start()
        wait_for(lambda: len(seen) >= 4)
        assert seen[3] - seen[0] >= 1.0  # with pauses, not as fast as it can
        assert "next try in 0.5 s" in one.log or "it is tried again, alone" in one.log  # as far as the object had got
        one.end()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
    assert sum(one.counts().values()) == 1


def test_objects_that_always_get_a_transient_answer_do_not_hold_up_others(sender, pacs):
    """Objects that always get a transient answer make room for others (DECISIONS.md 21)."""
    peer = pacs("PACS", answer=lambda a: 0x0110 if int(a.sop_instance_uid.rpartition(".")[2]) < 12 else 0x0000)
    one = sender(destination(peer.port, retry_delays_s=(0.2, 0.2, 0.2, 60.0)))
    for n in range(12):
        one.put(n)
    one.start()
    one.wait_line("nothing but transient answers")
    wait_for(lambda: one.log.count("2.25.77.0: status 0x0110") >= 2)
    for n in range(100, 105):
        one.put(n)
    peer.wait(5)
    one.wait_line("PACS: works again")


def test_a_class_that_only_the_answers_refuse_costs_a_few_transfers_and_is_tried_again_when_asked(sender, pacs):
    """What a destination refuses is believed while its oldest answer is fresh; a retry asks anew (DECISIONS.md 20)."""
    asked: list[str] = []
    knows: list[str] = [CT]

    def answer(arrival):
        asked.append(arrival.sop_class_uid)
        return 0x0000 if arrival.sop_class_uid in knows else 0x0122

    peer = pacs("PACS", answer=answer, syntaxes=[EXPLICIT_LE])
    one = sender(destination(peer.port, max_associations=1))
    for n in range(30):
        one.put(n, sop_class=SR)
        one.put(100 + n)
    one.start()
    peer.wait(30)
    one.wait_counts(rejected=30)
    assert asked.count(SR) == 1
    time.sleep(2.5)  # the association ends; the next one negotiates anew
    one.put(200, sop_class=SR)
    one.ring()
    one.wait_counts(rejected=31)
    assert asked.count(SR) == 1
    knows.append(SR)
    assert one.spool.retry(Stage.REJECTED, "PACS") == 31
    one.ring()
    peer.wait(61)
    one.wait_counts()
