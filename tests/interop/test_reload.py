"""A reload of the running service, with real peers: `leyden reload` and SIGHUP."""

import asyncio
import contextlib
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from leyden.net.scu import Association, AssociationRejected
from leyden.operate.service import reload
from support.objects import make_ct, split
from support.peers import Pacs
from support.service import LIMIT_S, Service, descriptors, node, wait_for

PAIR = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")  # CT, explicit little endian
LONG = os.environ.get("LEYDEN_LONG", "0") not in ("", "0")
TO_A = "- Actions:\n    - Target: A\n"
TO_B = "- Actions:\n    - Target: B\n"
GROWTH_MAX_BYTES = 8 << 20  # of a process: what a load makes it keep, whether it is reloaded or not
BAD = "- Actions:\n    - Target: NOBODY\n"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The data set of a small CT; its UID is another one in each object that is sent."""
    path = make_ct(tmp_path_factory.mktemp("image") / "ct.dcm", 10_000_000, rows=16, columns=16)
    return split(path.read_bytes())[1]


class Modality:
    """A sender that keeps its association open; each object has a UID of its own.

    It is ours: pynetdicom's now and then takes the answer to a C-STORE for a request, and waits for it in vain.
    """

    def __init__(self, port: int, called: str, image: bytes, first: int = 0) -> None:
        self._image = image
        self._number = 10_000_000 + first
        self._fd = os.memfd_create("object")
        self.sent: list[str] = []
        self.association: Association | None = None
        with contextlib.suppress(AssociationRejected):
            opening = Association.open("127.0.0.1", port, calling="CT01", called=called, contexts=[PAIR])
            self.association = _done(opening)

    def store(self) -> str:
        """Send one more object; its UID once Success is answered."""
        assert self.association is not None
        self._number += 1
        uid = f"2.25.1001.{self._number}"
        size = os.pwrite(self._fd, self._image.replace(b"2.25.1001.10000000", uid.encode()), 0)
        answer = _done(self.association.store(self.association.accepted[PAIR], PAIR[0], uid, self._fd, 0, size))
        assert answer.status == 0x0000
        self.sent.append(uid)
        return uid

    def release(self) -> None:
        assert self.association is not None
        assert not self.association.closed, "the association was dropped"
        _done(self.association.release())
        os.close(self._fd)


_loop = asyncio.new_event_loop()
_T = TypeVar("_T")


def _done(work: Coroutine[Any, Any, _T]) -> _T:
    """The result of what is done in the event loop of the senders, which runs in a thread of its own."""
    return asyncio.run_coroutine_threadsafe(work, _loop).result(LIMIT_S)


@pytest.fixture(scope="module", autouse=True)
def loop() -> Iterator[None]:
    thread = threading.Thread(target=_loop.run_forever)
    thread.start()
    yield
    _loop.call_soon_threadsafe(_loop.stop)
    thread.join()
    _loop.close()


@contextmanager
def sending(modality: Modality) -> Iterator[Modality]:
    """It sends one object after the other meanwhile, and releases at the end."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def send() -> None:
        try:
            while not stop.is_set():
                modality.store()
            modality.release()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield modality
    finally:
        stop.set()
        thread.join(LIMIT_S)
    assert not failures, failures


def reload_with(service: Service, **files: str) -> str:
    """Put these files in place, reload, and give what was said; fails unless the reload is good."""
    for name, text in files.items():
        (service.folder / f"{name}.yml").write_text(text)
    done = service.leyden("reload")
    assert done.returncode == 0, done.stderr
    return done.stdout


def config_of(service: Service, **keys: object) -> str:
    """config.yml with these keys changed."""
    lines = (service.folder / "config.yml").read_text().splitlines()
    kept = [line for line in lines if line.split(":")[0] not in keys]
    return "\n".join(kept + [f"{key}: {value}" for key, value in keys.items()]) + "\n"


def test_a_changed_rule_moves_what_comes_after_it_and_loses_and_doubles_nothing(
    service: Callable[..., Service], pacs: Callable[..., Pacs], image: bytes
) -> None:
    """Objects that arrive during a reload go wholly by the old or wholly by the new rules (docs/operate.md)."""
    a, b = pacs("A"), pacs("B")
    leyden = service(node("A", a.port) + node("B", b.port), TO_A).start()
    modalities = [Modality(leyden.port, "LEYDEN", image, first) for first in (0, 100_000)]
    with sending(modalities[0]), sending(modalities[1]):
        a.wait(20)
        said = reload_with(leyden, routings=TO_B)
        assert "routings.yml: 1 rule changed (routings.yml:1)" in said
        assert "generation 2 is in force" in said
        after = [len(modality.sent) for modality in modalities]
        b.wait(20)
    sent = [uid for modality in modalities for uid in modality.sent]
    later = {uid for modality, count in zip(modalities, after, strict=True) for uid in modality.sent[count + 1 :]}
    leyden.wait_empty()
    arrived = Counter([*a.uids(), *b.uids()])
    assert arrived == Counter(sent)
    assert later <= set(b.uids())  # what was sent after the command had ended
    assert leyden.stop() == 0


def test_a_wrong_file_changes_nothing_and_is_told_with_its_line(
    service: Callable[..., Service], pacs: Callable[..., Pacs], image: bytes
) -> None:
    """A reload with an error in any file is refused: exit code 2, file and line, in the log and in status too."""
    a = pacs("A")
    leyden = service(node("A", a.port), TO_A).start()
    (leyden.folder / "routings.yml").write_text(BAD)
    (leyden.folder / "config.yml").write_text(config_of(leyden, batchSize="many"))
    done = leyden.leyden("reload")
    assert done.returncode == 2
    assert "generation 1 stays in force" in done.stderr
    problems = ("config.yml:", "routings.yml:2: Actions[0].Target: no node named NOBODY")
    status = leyden.leyden("status")
    assert status.returncode == 0
    for problem in problems:
        assert problem in done.stderr
        assert problem in status.stdout
        assert f"reload: {problem}" in leyden.log
    assert "refused, generation 1 stays in force" in leyden.log
    modality = Modality(leyden.port, "LEYDEN", image)
    a_uid = modality.store()
    modality.release()
    assert [arrival.sop_instance_uid for arrival in a.wait(1)] == [a_uid]
    reload_with(leyden, config=config_of(leyden, batchSize=7), routings=TO_A)
    whole = json.loads(leyden.leyden("status", "--json").stdout)["configuration"]
    assert (whole["generation"], whole["errors"], whole["result"]) == (2, [], "changed")
    assert leyden.stop() == 0


def test_a_new_node_is_served_at_once(service: Callable[..., Service], pacs: Callable[..., Pacs], image: bytes) -> None:
    """After `leyden reload` a new node is answered to and delivered to."""
    a, new = pacs("A"), pacs("NEW")
    leyden = service(node("A", a.port)).start()
    assert Modality(leyden.port, "NEW", image).association is None
    said = reload_with(leyden, nodes=node("A", a.port) + node("NEW", new.port))
    assert "node NEW is added" in said
    modality = Modality(leyden.port, "NEW", image)
    uid = modality.store()
    modality.release()
    assert [arrival.sop_instance_uid for arrival in new.wait(1)] == [uid]
    assert leyden.stop() == 0


def test_as_soon_as_a_reload_is_answered_the_receiver_and_the_planner_go_by_it(
    service: Callable[..., Service], pacs: Callable[..., Pacs], image: bytes
) -> None:
    """A title is answered to, and its objects are planned, from the moment on at which `leyden reload` ends."""
    a, new = pacs("A"), pacs("NEW")
    nodes = node("A", a.port)
    leyden = service(nodes).start()
    uids = []
    for number in range(6):
        (leyden.folder / "nodes.yml").write_text(nodes + node("NEW", new.port))
        assert reload(leyden.spool, LIMIT_S).reading is not None
        modality = Modality(leyden.port, "NEW", image, number)
        uids.append(modality.store())
        modality.release()
        new.wait(len(uids))  # else it would wait for NEW to come back
        (leyden.folder / "nodes.yml").write_text(nodes)
        assert reload(leyden.spool, LIMIT_S).reading is not None
        assert Modality(leyden.port, "NEW", image).association is None
    assert new.uids() == uids
    assert leyden.stop() == 0


def test_what_waits_for_a_removed_node_is_kept_shown_and_sent_when_it_is_back(
    service: Callable[..., Service], pacs: Callable[..., Pacs], image: bytes
) -> None:
    """A removed destination's queue is kept and shown; its title is refused, an association under way goes on."""
    a, old = pacs("A"), Pacs("OLD")  # OLD is off
    nodes = node("A", a.port), node("OLD", old.port, RetryDelays="0.2")
    leyden = service("".join(nodes)).start()
    modality = Modality(leyden.port, "OLD", image)
    uids = [modality.store() for _ in range(3)]
    prepared = leyden.spool / "prepared" / "OLD"
    wait_for(lambda: len(list(prepared.rglob("*.dcm"))) == 3)
    assert "node OLD is removed; what waits for it stays in the spool" in reload_with(leyden, nodes=nodes[0])
    assert "files wait in the spool for OLD, which is not a node" in leyden.log
    assert Modality(leyden.port, "OLD", image).association is None
    late = modality.store()  # its title is no node's any more
    modality.release()
    assert "no node answers to the called title OLD any more" in leyden.wait_ended(1, "failed")[0]["reason"]
    old.start()
    try:
        status = leyden.leyden("status").stdout
        assert "OLD" in status
        assert "is not a node: what stands here stays" in status
        rows = json.loads(leyden.leyden("status", "--json").stdout)["folders"]
        assert [row["served"] for row in rows if row["destination"] == "OLD" and row["folder"] == "prepared"] == [False]
        other = Modality(leyden.port, "A", image, 50)
        other.store()
        other.release()
        a.wait(1)  # the sender has looked, and taken nothing of OLD's
        assert len(list(prepared.rglob("*.dcm"))) == 3
        assert old.uids() == []
        reload_with(leyden, nodes="".join(nodes))
        assert sorted(arrival.sop_instance_uid for arrival in old.wait(3)) == sorted(uids)
        assert leyden.leyden("queue", "retry").returncode == 0
        old.wait_until(lambda arrivals: late in [each.sop_instance_uid for each in arrivals])
        assert leyden.stop() == 0
    finally:
        old.stop()


class HeldAnswer:
    """An answer that a peer holds back: `begun` when it has the object, Success after `go_on`."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, _: object) -> int:
        self.begun.set()
        assert self.go_on.wait(LIMIT_S)
        return 0x0000


def test_a_node_that_moves_is_sent_to_at_its_new_address_and_no_delivery_is_cut_off(
    service: Callable[..., Service], pacs: Callable[..., Pacs], image: bytes
) -> None:
    """A delivery under way finishes where it began; what follows goes to the new address."""
    slow = HeldAnswer()
    here, there = pacs("A", answer=slow), pacs("A")
    leyden = service(node("A", here.port, MaxAssociations=1)).start()
    modality = Modality(leyden.port, "A", image)
    uids = [modality.store() for _ in range(5)]
    assert slow.begun.wait(LIMIT_S)
    said = reload_with(leyden, nodes=node("A", there.port, MaxAssociations=1))
    assert f"node A: Port {here.port} -> {there.port}" in said
    slow.go_on.set()
    there.wait(4)
    leyden.wait_empty()
    modality.release()
    assert sorted(here.uids() + there.uids()) == sorted(uids)
    assert len(here.uids()) == 1
    assert leyden.stop() == 0


def test_a_node_that_is_taken_away_and_brought_back_under_a_delivery_gets_nothing_twice(
    service: Callable[..., Service], pacs: Callable[..., Pacs], image: bytes
) -> None:
    """What is under way to a removed destination finishes, and only then its queue is taken up again."""
    slow = HeldAnswer()
    a, b = pacs("A", answer=slow), pacs("B")
    nodes = node("A", a.port, MaxAssociations=1) + node("B", b.port)
    leyden = service(nodes).start()
    modality = Modality(leyden.port, "A", image)
    uids = [modality.store() for _ in range(4)]
    assert slow.begun.wait(LIMIT_S)
    reload_with(leyden, nodes=node("B", b.port))
    reload_with(leyden, nodes=nodes)
    slow.go_on.set()
    a.wait(4)
    leyden.wait_empty()
    assert sorted(a.uids()) == sorted(uids)
    modality.release()
    assert leyden.stop() == 0


def test_a_service_that_stops_while_a_removed_node_is_served_gives_everything_back(
    service: Callable[..., Service], pacs: Callable[..., Pacs], image: bytes
) -> None:
    """A stop waits for a delivery to a removed destination no longer than for others; nothing is lost."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: object) -> int:
        begun.set()
        go_on.wait(LIMIT_S)
        return 0x0000

    a, b = pacs("A", answer=slow), pacs("B")
    leyden = service(node("A", a.port, MaxAssociations=1) + node("B", b.port)).start()
    modality = Modality(leyden.port, "A", image)
    for _ in range(3):
        modality.store()
    modality.release()
    assert begun.wait(LIMIT_S)
    reload_with(leyden, nodes=node("B", b.port))
    assert leyden.stop() == 0
    go_on.set()
    assert len(list((leyden.spool / "prepared" / "A").rglob("*.dcm"))) == 3


def test_what_takes_a_restart_is_said_and_stays(service: Callable[..., Service], pacs: Callable[..., Pacs]) -> None:
    """A key that takes a restart is named, with the value in force and the one that is wanted; the others change."""
    a = pacs("A")
    leyden = service(node("A", a.port)).start()
    said = reload_with(leyden, config=config_of(leyden, workers=3, arenaMib=96, clientTimeout=77))
    assert "warning: workers stays 1: it takes a restart to make it 3" in said
    assert "warning: arenaMib stays 64: it takes a restart to make it 96" in said
    assert "config.yml: clientTimeout 600 -> 77" in said
    assert len(leyden.processes()) == 1 + 2 + 1 + 1
    assert "warning: workers stays 1" in leyden.leyden("status").stdout
    assert "nothing is new, generation 2 stays in force" in reload_with(leyden)
    assert leyden.stop() == 0


def test_reloads_that_are_asked_for_at_once_are_each_answered(
    service: Callable[..., Service], pacs: Callable[..., Pacs]
) -> None:
    """A SIGHUP during a reload is heard: who asks is told of a reading that began after it had asked."""
    a = pacs("A")
    leyden = service(node("A", a.port)).start()
    assert leyden.process is not None
    (leyden.folder / "nodes.yml").write_text(node("A", a.port, BatchSize=5))
    said: list[str] = []
    threads = [threading.Thread(target=lambda: said.append(leyden.leyden("reload").stdout)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        leyden.process.send_signal(signal.SIGHUP)
    for thread in threads:
        thread.join()
    assert len([text for text in said if "generation 2" in text]) == 3, said
    assert leyden.stop() == 0


def test_without_a_service_it_says_so(service: Callable[..., Service]) -> None:
    """`leyden reload` ends with exit code 1 if no service runs."""
    done = service(node("A", 1)).leyden("reload")
    assert done.returncode == 1
    assert "no service runs" in done.stderr


def test_a_service_that_is_reloaded_each_second_under_load_stays_as_it_is(
    service: Callable[..., Service], pacs: Callable[..., Pacs], image: bytes
) -> None:
    """A reload each second under load: no association is dropped, no process restarted, no object lost or doubled, and
    neither open files nor memory grow. One part of a few reloads gives the measure for the other, long one."""
    a, b, c = pacs("A"), pacs("B"), pacs("C")
    nodes = node("A", a.port) + node("B", b.port)
    leyden = service(nodes, TO_A, workers=1).start()  # the one worker has done everything once after the first part
    processes = leyden.processes()
    sent: list[str] = []
    to_c: list[str] = []

    def under_load(seconds: float) -> tuple[list[int], list[int]]:
        """Open files and bytes of each process afterwards."""
        modalities = [Modality(leyden.port, "LEYDEN", image, len(sent) + n * 1_000_000) for n in range(3)]
        end_s = time.monotonic() + seconds
        with sending(modalities[0]), sending(modalities[1]), sending(modalities[2]):
            while time.monotonic() < end_s:
                due_s = time.monotonic() + 1.0
                more = node("C", c.port, TransferSyntax="RLELossless", BatchSize=1 + len(to_c))
                reload_with(leyden, nodes=nodes + more, routings=TO_B)
                modality = Modality(leyden.port, "C", image, 9_000_000 + len(to_c))
                to_c.append(modality.store())
                modality.release()
                c.wait(len(to_c))
                time.sleep(max(0.0, due_s - time.monotonic()))  # the pace of the load: nothing is waited for
                reload_with(leyden, nodes=nodes, routings=TO_A)
        sent.extend(uid for modality in modalities for uid in modality.sent)
        leyden.wait_empty()
        assert leyden.processes() == processes
        wait_for(lambda: not any(established(process) for process in processes), why="all associations to be released")
        return [descriptors(process) for process in processes], [p.memory_full_info().uss for p in processes]

    before_fds, before_bytes = under_load(4.0)
    after_fds, after_bytes = under_load(60.0 if LONG else 4.0)
    assert after_fds == before_fds
    grown = [after - before for before, after in zip(before_bytes, after_bytes, strict=True)]
    print(grown, len(sent))
    assert max(grown) < GROWTH_MAX_BYTES, grown
    assert Counter([*a.uids(), *b.uids()]) == Counter(sent + to_c)  # the rules add A or B to what is C's, too
    assert c.uids() == to_c
    assert leyden.stop() == 0


def established(process: psutil.Process) -> bool:
    return any(each.status == psutil.CONN_ESTABLISHED for each in process.net_connections("tcp"))


def test_what_is_asked_of_a_service_with_another_spool_path(service: Callable[..., Service], tmp_path: Path) -> None:
    """cachePath takes a restart; SIGHUP says so in the log."""
    leyden = service(node("A", 1)).start()
    assert leyden.process is not None
    (leyden.folder / "config.yml").write_text(config_of(leyden, cachePath=tmp_path / "elsewhere"))
    leyden.process.send_signal(signal.SIGHUP)
    leyden.wait_line("cachePath stays ")
    leyden.wait_line("the files say nothing new; generation 1 stays in force")
    assert not (tmp_path / "elsewhere").exists()
    assert leyden.stop() == 0
