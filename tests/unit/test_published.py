"""The newest document in shared memory: read whole or not at all, whoever writes meanwhile."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from leyden import published as module
from leyden.published import Published, Publisher


@pytest.fixture
def writer() -> Iterator[Publisher]:
    made = Publisher()
    yield made
    os.close(made.fd)


def test_a_reader_gets_the_newest_and_each_once(writer: Publisher) -> None:
    reader = Published(writer.fd)
    writer.publish(1, b"first")
    assert reader.newer_than(0) == b"first"
    assert reader.newer_than(1) is None
    writer.publish(2, b"second, which is longer")
    writer.publish(3, b"third")
    assert reader.newer_than(1) == b"third"
    assert Published(writer.fd).newer_than(0) == b"third"


def test_what_cannot_be_published_leaves_the_last_one(writer: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    box = Published(writer.fd)
    writer.publish(1, b"first")
    with pytest.raises(OSError, match="grown too large for a reload"):
        writer.publish(2, bytes(module.LEAST_BYTES))

    def no_memory(*_: object) -> int:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(os, "posix_fallocate", no_memory)
    with pytest.raises(OSError, match="allocate"):
        writer.publish(2, b"second")
    monkeypatch.undo()
    assert box.newer_than(0) == b"first"
    writer.publish(2, b"second")
    assert box.newer_than(1) == b"second"


READS = """
import os, sys
from leyden.published import Published
box, known = Published(int(sys.argv[1])), 0
while known < 1000:
    document = box.newer_than(known)
    if document is not None:
        assert int(document[:8]) > known
        known = int(document[:8])
        assert document == b"%08d" % known * (1 + known % 7 * 1000)
        print(known, flush=True)
"""


def test_no_reader_sees_a_document_in_the_making(writer: Publisher) -> None:
    writer.publish(1, b"%08d" % 1 * 1001)
    command = [sys.executable, "-c", READS, str(writer.fd)]
    with subprocess.Popen(command, pass_fds=[writer.fd], stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"1\n"
        for generation in range(2, 1001):
            writer.publish(generation, b"%08d" % generation * (1 + generation % 7 * 1000))
        seen = reader.stdout.read().split()
    assert reader.returncode == 0
    assert seen[-1] == b"1000"


WRITES = """
import mmap, os, sys
fd = os.open(f"/proc/self/fd/{sys.argv[1]}", os.O_RDWR)
for write in (
    lambda: os.pwrite(fd, b"x", 0), lambda: os.ftruncate(fd, 0), lambda: mmap.mmap(fd, 4096),
    lambda: mmap.mmap(int(sys.argv[1]), 4096),
):
    try:
        write()
    except PermissionError:
        continue
    sys.exit("it was written to")
"""


def test_a_role_can_not_write_to_it(writer: Publisher) -> None:
    """One that runs native code over received data could give the others another configuration."""
    writer.publish(1, b"first")
    command = [sys.executable, "-c", WRITES, str(writer.fd)]
    subprocess.run(command, pass_fds=[writer.fd], check=True)
    writer.publish(2, b"second")
    assert Published(writer.fd).newer_than(1) == b"second"


def test_there_is_room_for_a_configuration_that_grows() -> None:
    """Without much address space: the supervisor has such memory for each role."""
    large = Publisher(first_bytes=10 << 20)
    try:
        large.publish(1, bytes(10 << 20))
        large.publish(2, b"x" * (70 << 20))
        assert Published(large.fd).newer_than(1) == b"x" * (70 << 20)
    finally:
        os.close(large.fd)
