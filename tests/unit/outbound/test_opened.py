"""Files that are opened before their turn: the right one is sent, and none stays open."""

import os

import pytest

from leyden.deliver.destination import Destination
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_LE
from leyden.outbound.opened import Files
from leyden.outbound.window import Window
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
def parcels(tmp_path):
    spool = Spool(tmp_path, sync=False)
    spool.prepare(["PACS"])
    for number in range(3):
        receipt = f"{1795560000000000 + number:016d}000001"
        fd, path = spool.embryo(receipt)
        uid = f"2.25.{number}"
        os.write(fd, encode_head(FileMeta(CT, uid, EXPLICIT_LE, sending="CT1")) + b"x" * (100 + number))
        os.close(fd)
        spool.plan_one(path, Entry(receipt, key(uid), key("s"), key("CT1")), Stage.PREPARED, "PACS", "05")
    return Window(spool, Destination("PACS", "127.0.0.1", 104), "sender-0", "LEYDEN").look({}, (), 1795560001.0).parcels


@pytest.fixture(autouse=True)
def none_stays_open():
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


def content(opened, parcel):
    try:
        return os.pread(opened.fd, 10_000, parcel.offset)
    finally:
        opened.close()


def test_what_was_opened_ahead_is_what_is_sent_although_it_was_renamed(parcels):
    files, link, (first, *_) = Files(), Link(), parcels
    files.open_ahead(link, parcels)
    claimed = first.waiting.path.rename(first.waiting.path.with_name("claimed"))
    opened = files.open(link, first, os.fspath(claimed))
    assert (opened.size, opened.ahead_bytes) == (100, 100)
    assert content(opened, first) == b"x" * 100


def test_another_one_than_expected_is_opened_anew(parcels):
    files, link, (_, second, _) = Files(), Link(), parcels
    files.open_ahead(link, parcels)
    opened = files.open(link, second, second.waiting.file)
    assert (opened.size, opened.ahead_bytes) == (101, 0)
    assert content(opened, second) == b"x" * 101


def test_an_object_that_was_made_anew_meanwhile_is_not_sent_as_it_was(parcels):
    files, link, (first, *_) = Files(), Link(), parcels
    files.open_ahead(link, parcels)
    made = first.waiting.path.with_name("made")
    made.write_bytes(first.waiting.path.read_bytes()[: first.offset] + b"y" * 100)
    made.rename(first.waiting.path)
    opened = files.open(link, first, first.waiting.file)
    assert opened.ahead_bytes == 0
    assert content(opened, first) == b"y" * 100


def test_each_association_expects_another_one(parcels):
    files, links = Files(), [Link(), Link(), Link(), Link()]
    for link in links:
        files.open_ahead(link, parcels)
    for link, parcel in zip(links, parcels, strict=False):
        opened = files.open(link, parcel, parcel.waiting.file)
        assert opened.ahead_bytes == opened.size
        opened.close()
    with pytest.raises(FileNotFoundError):
        files.open(links[3], parcels[0], "/nowhere")


def test_an_association_that_ends_leaves_nothing_open(parcels):
    files, link = Files(), Link()
    files.open_ahead(link, parcels)
    files.forget(link)
    files.forget(link)


def test_what_cannot_be_read_is_told_when_its_turn_comes(parcels):
    files, (first, second, _) = Files(), parcels
    first.waiting.path.unlink()
    files.open_ahead(gone := Link(), [first])
    files.open_ahead(broken := Link(OSError(5, "Input/output error")), [second])
    with pytest.raises(FileNotFoundError):
        files.open(gone, first, first.waiting.file)
    opened = files.open(broken, second, second.waiting.file)
    assert (opened.size, opened.ahead_bytes) == (101, 0)
    opened.close()
