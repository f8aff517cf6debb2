"""The newest document in shared memory: read whole or not at all, whoever writes meanwhile."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from leyden import published as module
from leyden.published import Published


@pytest.fixture
def fd() -> Iterator[int]:
    made = os.memfd_create("test")
    yield made
    os.close(made)


def test_a_reader_gets_the_newest_and_each_once(fd: int) -> None:
    writer, reader = Published(fd), Published(fd)
    writer.publish(1, b"first")
    assert reader.newer_than(0) == b"first"
    assert reader.newer_than(1) is None
    writer.publish(2, b"second, which is longer")
    writer.publish(3, b"third")
    assert reader.newer_than(1) == b"third"
    assert Published(fd).newer_than(0) == b"third"


def test_what_cannot_be_published_leaves_the_last_one(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    box = Published(fd)
    box.publish(1, b"first")
    with pytest.raises(OSError, match="too large"):
        box.publish(2, bytes(module.HALF_BYTES))

    def no_memory(*_: object) -> int:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(os, "pwrite", no_memory)
    with pytest.raises(OSError, match="allocate"):
        box.publish(2, b"second")
    monkeypatch.undo()
    assert box.newer_than(0) == b"first"
    box.publish(2, b"second")
    assert box.newer_than(1) == b"second"


WRITES = """
import sys
from leyden.published import Published
box = Published(int(sys.argv[1]))
for generation in range(2, 1001):
    box.publish(generation, b"%08d" % generation * (1 + generation % 7 * 1000))
"""


def test_no_reader_sees_a_document_in_the_making(fd: int) -> None:
    box = Published(fd)
    box.publish(1, b"%08d" % 1)
    known = 1
    with subprocess.Popen([sys.executable, "-c", WRITES, str(fd)], pass_fds=[fd]) as writer:
        while known < 1000:
            document = box.newer_than(known)
            if document is None:
                assert writer.poll() in (None, 0)
                continue
            assert int(document[:8]) > known
            known = int(document[:8])
            assert document == b"%08d" % known * (1 + known % 7 * 1000)
    assert writer.returncode == 0
