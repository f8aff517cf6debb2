"""A reload of the running service, with real peers: `leyden reload` and SIGHUP."""

import copy
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pydicom
import pynetdicom
import pytest

from support.objects import make_ct
from support.peers import Pacs
from support.service import LIMIT_S, Service, descriptors, node, wait_for

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
LONG = os.environ.get("LEYDEN_LONG", "0") not in ("", "0")
TO_A = "- Actions:\n    - Target: A\n"
TO_B = "- Actions:\n    - Target: B\n"
BAD = "- Actions:\n    - Target: NOBODY\n"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> pydicom.Dataset:
    """A small CT; its UID is another one in each object that is sent."""
    return pydicom.dcmread(make_ct(tmp_path_factory.mktemp("image") / "ct.dcm", 1, rows=16, columns=16))


class Modality:
    """A sender of another maker, which keeps its association open; each object has a UID of its own."""

    def __init__(self, port: int, called: str, image: pydicom.Dataset, first: int = 0) -> None:
        entity = pynetdicom.AE(ae_title="CT01")
        entity.add_requested_context(CT, EXPLICIT_LE)
        self._image = copy.deepcopy(image)
        self._number = first
        self.association = entity.associate("127.0.0.1", port, ae_title=called)
        self.sent: list[str] = []

    @property
    def accepted(self) -> bool:
        return bool(self.association.is_established)

    def store(self) -> str:
        """Send one more object; its UID once Success is answered."""
        self._number += 1
        uid = f"2.25.1001.{self._number}"
        self._image.SOPInstanceUID = self._image.file_meta.MediaStorageSOPInstanceUID = uid
        answer = self.association.send_c_store(self._image)
        assert answer.get("Status") == 0x0000, f"the association was dropped: {answer}"
        self.sent.append(uid)
        return uid

    def release(self) -> None:
        assert self.association.is_established, "the association was dropped"
        self.association.release()


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
    service: Callable[..., Service], pacs: Callable[..., Pacs], image: pydicom.Dataset
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
    service: Callable[..., Service], pacs: Callable[..., Pacs], image: pydicom.Dataset
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


def test_a_new_node_is_served_at_once(
    service: Callable[..., Service], pacs: Callable[..., Pacs], image: pydicom.Dataset
) -> None:
    """After `leyden reload` a new node is answered to and delivered to."""
    a, new = pacs("A"), pacs("NEW")
    leyden = service(node("A", a.port)).start()
    assert not Modality(leyden.port, "NEW", image).accepted
    said = reload_with(leyden, nodes=node("A", a.port) + node("NEW", new.port))
    assert "nodes.yml: NEW is added" in said
    modality = Modality(leyden.port, "NEW", image)
    uid = modality.store()
    modality.release()
    assert [arrival.sop_instance_uid for arrival in new.wait(1)] == [uid]
    assert leyden.stop() == 0


def test_what_waits_for_a_removed_node_is_kept_shown_and_sent_when_it_is_back(
    service: Callable[..., Service], pacs: Callable[..., Pacs], image: pydicom.Dataset
) -> None:
    """A removed destination's queue is kept and shown; its title is refused, an association under way goes on."""
    a, old = pacs("A"), Pacs("OLD")  # OLD is off
    nodes = node("A", a.port), node("OLD", old.port, RetryDelays="0.2")
    leyden = service("".join(nodes)).start()
    modality = Modality(leyden.port, "OLD", image)
    uids = [modality.store() for _ in range(3)]
    prepared = leyden.spool / "prepared" / "OLD"
    wait_for(lambda: len(list(prepared.rglob("*.dcm"))) == 3)
    assert "nodes.yml: OLD is removed; what waits for it stays in the spool" in reload_with(leyden, nodes=nodes[0])
    assert "files wait in the spool for OLD, which is not a node" in leyden.log
    assert not Modality(leyden.port, "OLD", image).accepted
    late = modality.store()  # its title is no node's any more
    modality.release()
    assert "no node answers to the called title OLD any more" in leyden.wait_ended(1, "failed")[0]["reason"]
    old.start()
    try:
        status = leyden.leyden("status").stdout
        assert "OLD" in status
        assert "(not a node: it stays)" in status
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


def test_a_node_that_moves_is_sent_to_at_its_new_address_and_no_delivery_is_cut_off(
    service: Callable[..., Service], pacs: Callable[..., Pacs], image: pydicom.Dataset
) -> None:
    """A delivery under way finishes where it began; what follows goes to the new address."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: object) -> int:
        begun.set()
        assert go_on.wait(LIMIT_S)
        return 0x0000

    here, there = pacs("A", answer=slow), pacs("A")
    leyden = service(node("A", here.port, MaxAssociations=1)).start()
    modality = Modality(leyden.port, "A", image)
    uids = [modality.store() for _ in range(5)]
    assert begun.wait(LIMIT_S)
    said = reload_with(leyden, nodes=node("A", there.port, MaxAssociations=1))
    assert f"nodes.yml: A: Port {here.port} -> {there.port}" in said
    go_on.set()
    there.wait(4)
    leyden.wait_empty()
    modality.release()
    assert sorted(here.uids() + there.uids()) == sorted(uids)
    assert len(here.uids()) == 1
    assert leyden.stop() == 0


def test_a_node_that_is_taken_away_and_brought_back_under_a_delivery_gets_nothing_twice(
    service: Callable[..., Service], pacs: Callable[..., Pacs], image: pydicom.Dataset
) -> None:
    """What is under way to a removed destination finishes, and only then its queue is taken up again."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: object) -> int:
        begun.set()
        assert go_on.wait(LIMIT_S)
        return 0x0000

    a, b = pacs("A", answer=slow), pacs("B")
    nodes = node("A", a.port, MaxAssociations=1) + node("B", b.port)
    leyden = service(nodes).start()
    modality = Modality(leyden.port, "A", image)
    uids = [modality.store() for _ in range(4)]
    assert begun.wait(LIMIT_S)
    reload_with(leyden, nodes=node("B", b.port))
    reload_with(leyden, nodes=nodes)
    go_on.set()
    a.wait(4)
    leyden.wait_empty()
    assert sorted(a.uids()) == sorted(uids)
    modality.release()
    assert leyden.stop() == 0


def test_what_takes_a_restart_is_said_and_stays(service: Callable[..., Service], pacs: Callable[..., Pacs]) -> None:
    """A key that takes a restart is named, with the value in force and the one that is wanted; the others change."""
    a = pacs("A")
    leyden = service(node("A", a.port)).start()
    said = reload_with(leyden, config=config_of(leyden, workers=3, arenaMib=96, clientTimeout=77))
    assert "warning: workers stays 2: it takes a restart to make it 3" in said
    assert "warning: arenaMib stays 64: it takes a restart to make it 96" in said
    assert "config.yml: clientTimeout 600.0 -> 77.0" in said
    assert len(leyden.processes()) == 1 + 2 + 2 + 1
    assert "warning: workers stays 2" in leyden.leyden("status").stdout
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


def test_a_service_that_is_reloaded_again_and_again_under_load_stays_as_it_is(
    service: Callable[..., Service], pacs: Callable[..., Pacs], image: pydicom.Dataset
) -> None:
    """A reload each second under load: no association is dropped, no process restarted, nothing grows."""
    a, b, c = pacs("A"), pacs("B"), pacs("C")
    nodes = node("A", a.port) + node("B", b.port)
    leyden = service(nodes, TO_A).start()
    variants = [(nodes + node("C", c.port, TransferSyntax="RLELossless"), TO_B), (nodes, TO_A)]

    def reload(number: int) -> None:
        more_nodes, routings = variants[number % 2]
        reload_with(leyden, nodes=more_nodes, routings=routings)

    modalities = [Modality(leyden.port, "LEYDEN", image, first) for first in (0, 1_000_000, 2_000_000)]
    to_c: list[str] = []
    with sending(modalities[0]), sending(modalities[1]), sending(modalities[2]):
        roles = {process.pid: process for process in leyden.processes()}
        for number in range(4):
            reload(number)
        before_bytes = {pid: psutil.Process(pid).memory_full_info().uss for pid in roles}
        end_s = time.monotonic() + (60.0 if LONG else 9.0)
        number = 4
        while time.monotonic() < end_s:
            due_s = time.monotonic() + 1.0
            reload(number)
            if number % 2 == 0:
                modality = Modality(leyden.port, "C", image, 3_000_000 + number)
                to_c.append(modality.store())
                modality.release()
                c.wait(len(to_c))
            number += 1
            time.sleep(max(0.0, due_s - time.monotonic()))  # the load's pace, not a wait
        if number % 2:
            reload(number)
        after_bytes = {pid: psutil.Process(pid).memory_full_info().uss for pid in roles}
        assert {process.pid for process in leyden.processes()} == roles.keys()
    sent = [uid for modality in modalities for uid in modality.sent]
    leyden.wait_empty()
    assert Counter([*a.uids(), *b.uids()]) == Counter(sent + to_c)  # the rules add A or B to what is C's, too
    assert c.uids() == to_c
    grown = {roles[pid].name(): after_bytes[pid] - before_bytes[pid] for pid in roles}
    assert max(grown.values()) < 16 << 20, grown
    assert leyden.stop() == 0


def test_reloads_leave_no_descriptor_open(service: Callable[..., Service], pacs: Callable[..., Pacs]) -> None:
    """No process has more open files after many reloads than before, whatever they change."""
    a, c = pacs("A"), pacs("C")
    nodes = node("A", a.port)
    leyden = service(nodes, TO_A).start()
    roles = leyden.processes()

    def reload(number: int) -> None:
        more = node("C", c.port, BatchSize=number + 1) if number % 2 else ""
        reload_with(leyden, nodes=nodes + more, routings=TO_A if number % 2 else TO_A + TO_A)

    def open_files() -> list[int]:
        return [descriptors(process) for process in roles]

    reload(1)
    reload(2)
    before = open_files()
    for number in range(3, 9):
        reload(number)
    wait_for(lambda: open_files() == before, why=f"{open_files()} to be {before} again")
    assert leyden.stop() == 0


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
