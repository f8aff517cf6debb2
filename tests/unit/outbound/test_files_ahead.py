"""Files that are opened before their turn: the right one is sent, and none stays open."""

import os

import pytest

from leyden.deliver.destination import Destination
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_LE
from leyden.outbound.attempt import FilesAhead
from leyden.outbound.queue import SendQueue
from leyden.spool.entry import Entry, key
from leyden.spool.stage import Stage
from leyden.spool.store import Spool

CT = "1.2.840.10008.5.1.4.1.1.2"


class Link:
    """Reads ahead as an association does, or says what is wrong."""

    def __init__(self, error=None) -> None:
        self.error = error

    def read_ahead(self, fd, offset, size):
        if self.error:
            raise self.error
        return len(os.pread(fd, size, offset))


@pytest.fixture
def instances(tmp_path):
    spool = Spool(tmp_path, sync=False)
    spool.prepare(["PACS"])
    for number in range(3):
        receipt = f"{1795560000000000 + number:016d}000001"
        fd, path = spool.embryo(receipt)
        uid = f"2.25.{number}"
        os.write(fd, encode_head(FileMeta(CT, uid, EXPLICIT_LE, sending="CT1")) + b"x" * (100 + number))
        os.close(fd)
        spool.plan_one(path, Entry(receipt, key(uid), key("s"), key("CT1")), Stage.PREPARED, "PACS", "05")
    return SendQueue(spool, Destination("PACS", "127.0.0.1", 104), "sender-0", "LEYDEN").look({}, (), 1795560001.0)


@pytest.fixture(autouse=True)
def none_stays_open():
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


def content(file, instance):
    try:
        return os.pread(file.fd, 10_000, instance.offset)
    finally:
        file.close()


def test_what_was_opened_ahead_is_sent_although_it_was_renamed(instances):
    files, association, (first, *_) = FilesAhead(), Link(), instances
    files.open_ahead(association, instances)
    claimed = first.queued.path.rename(first.queued.path.with_name("claimed"))
    file = files.open(association, first, os.fspath(claimed))
    assert (file.size_bytes, file.ahead_bytes) == (100, 100)
    assert content(file, first) == b"x" * 100


def test_another_one_than_expected_is_opened_when_its_turn_comes(instances):
    files, association, (_, second, _) = FilesAhead(), Link(), instances
    files.open_ahead(association, instances)
    file = files.open(association, second, second.queued.file)
    assert (file.size_bytes, file.ahead_bytes) == (101, 0)
    assert content(file, second) == b"x" * 101


def test_an_object_that_was_made_anew_meanwhile_is_not_sent_as_it_was(instances):
    files, association, (first, *_) = FilesAhead(), Link(), instances
    files.open_ahead(association, instances)
    made = first.queued.path.with_name("made")
    made.write_bytes(first.queued.path.read_bytes()[: first.offset] + b"y" * 100)
    made.rename(first.queued.path)
    file = files.open(association, first, first.queued.file)
    assert file.ahead_bytes == 0
    assert content(file, first) == b"y" * 100


def test_no_two_associations_open_the_same_file_ahead(instances):
    files, links = FilesAhead(), [Link(), Link(), Link(), Link()]
    for association in links:
        files.open_ahead(association, instances)
    for association, instance in zip(links, instances, strict=False):
        file = files.open(association, instance, instance.queued.file)
        assert file.ahead_bytes == file.size_bytes
        file.close()
    with pytest.raises(FileNotFoundError):
        files.open(links[3], instances[0], "/nowhere")


def test_an_association_that_ends_leaves_nothing_open(instances):
    files, association = FilesAhead(), Link()
    files.open_ahead(association, instances)
    files.forget(association)
    files.forget(association)


def test_what_cannot_be_read_is_told_when_its_turn_comes(instances):
    files, (first, second, _) = FilesAhead(), instances
    first.queued.path.unlink()
    files.open_ahead(gone := Link(), [first])
    files.open_ahead(broken := Link(OSError(5, "Input/output error")), [second])
    with pytest.raises(FileNotFoundError):
        files.open(gone, first, first.queued.file)
    file = files.open(broken, second, second.queued.file)
    assert (file.size_bytes, file.ahead_bytes) == (101, 0)
    file.close()
