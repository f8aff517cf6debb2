"""Images that kill the codec: a segfault, a hang, a kill for memory, no memory left; and what becomes of the object.

A real service, whose workers alone load FAULTS before anything else: their OpenJPEG does the wrong thing to images of
certain heights, and nothing to others. It is tried once more alone; then an image goes on as it came, or stands in
failed/ with the reason if its destination does not take that. What came beside it is compressed and delivered. Some of
them are rows of tests/chaos, too.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest

from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, JPEG2000_LOSSLESS
from leyden.transcode import job
from leyden.transcode.arena import Arena
from support.objects import decode, make_ct, make_cts
from support.peers import Pacs, run_dcmtk
from support.service import Service, node
from support.transcoding import Bench, make

# Images of these heights are the end of a worker. Where it hangs, a deadline of a minute is one of 10 s.
SEGFAULTS, HANGS, KILLED, NO_MEMORY = 71, 72, 73, 74
FAULTS = f"""\
import sys
if "role" in sys.orig_argv and "worker" in sys.orig_argv:
    import ctypes, os, signal, threading
    from leyden.heartbeat import Heartbeat
    from leyden.transcode import openjpeg

    alive = Heartbeat.alive
    Heartbeat.alive = lambda heartbeat, for_s: alive(heartbeat, for_s / int(os.environ["DEADLINES_DIVIDED_BY"]))

    def bad(function):
        def call(*arguments, **named):
            planes = next(each for each in arguments if isinstance(each, openjpeg.Planes))
            match planes.rows:
                case {SEGFAULTS}:
                    ctypes.string_at(0)
                case {HANGS}:
                    ctypes.CDLL(None).select(0, None, None, None, None)  # for ever, in C
                case {KILLED}:
                    os.kill(os.getpid(), signal.SIGKILL)
                case {NO_MEMORY}:
                    bytearray(1 << 46)
            return function(*arguments, **named)
        return call

    openjpeg.encode, openjpeg.decode = bad(openjpeg.encode), bad(openjpeg.decode)
"""


@dataclass(frozen=True, slots=True)
class Killer:
    """An image of so many rows and frames, on its way `to` a syntax; `says`: what the log has of each death."""

    name: str
    rows: int
    says: str
    frames: int = 1
    deadlines_divided_by: int = 1

    def __str__(self) -> str:
        return self.name


KILLERS = (
    Killer("segfault", SEGFAULTS, "killed by SIGSEGV"),
    Killer("hang", HANGS, "killed by SIGKILL, as it was stuck", deadlines_divided_by=6),
    Killer("killed for memory", KILLED, "killed by SIGKILL"),
    Killer("no memory left", NO_MEMORY, "MemoryError"),
    Killer("segfault in one of many frames", SEGFAULTS, "killed by SIGSEGV", frames=6),
)


@contextmanager
def running(folder: Path, pacs: Pacs, killer: Killer, **keys: object) -> Iterator[Service]:
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(FAULTS)
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    service = Service(folder / "leyden", node(pacs.title, pacs.port, **keys))
    pacs.start()
    try:
        yield service.start(PYTHONPATH=path, DEADLINES_DIVIDED_BY=str(killer.deadlines_divided_by))
    finally:
        service.end()
        pacs.stop()


def send(service: Service, *paths: Path) -> None:
    done = run_dcmtk("dcmsend", "-dn", "-aec", "PACS", "127.0.0.1", str(service.port), *map(str, paths))
    assert done.returncode == 0, done.stderr


def killer_file(folder: Path, killer: Killer) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = make_ct(folder / "killer.dcm", 900, rows=killer.rows * killer.frames, columns=64)
    if killer.frames > 1:
        dataset = pydicom.dcmread(path)
        dataset.Rows, dataset.NumberOfFrames = killer.rows, killer.frames
        dataset.save_as(path)
    return path


def compressed(path: Path) -> Path:
    """The same image in JPEG 2000 Lossless, made by our own code in this process, which has no faults."""
    fd = os.memfd_create("codec-faults")
    os.ftruncate(fd, 16 << 20)

    made = path.with_suffix(".j2k")
    make(path, made, JPEG2000_LOSSLESS, Bench(Arena(fd)), job.Terms(8 << 20))
    os.close(fd)
    return made


def assert_tried_twice(service: Service, killer: Killer) -> None:
    """Each try was the end of its worker, and of another one where frames are shared; then it was left alone."""
    deaths = sum(killer.says in line for line in service.lines)
    assert deaths == 2 if killer.frames == 1 else 2 <= deaths <= 4, service.lines


def assert_arrived(pacs: Pacs, paths: list[Path], syntax: str) -> None:
    """Once each, in this syntax, with the pixels that were sent."""
    arrived = {arrival.sop_instance_uid: arrival for arrival in pacs.arrivals if arrival.syntax == syntax}
    assert len(arrived) == len(paths)
    for path in paths:
        sent = pydicom.dcmread(path)
        arrival = arrived[sent.SOPInstanceUID]
        assert np.array_equal(decode(arrival.syntax, arrival.data).pixel_array, sent.pixel_array)


@pytest.mark.parametrize("killer", [each for each in KILLERS if each.frames > 1 or each.rows == HANGS], ids=str)
def test_what_kills_the_codec_goes_on_as_it_came(killer: Killer, tmp_path: Path) -> None:
    """After two deaths under one object, the object goes on as it came (docs/troubleshoot.md).
    The destination takes everything; the images before and after this one arrive compressed."""
    others, bad = make_cts(tmp_path / "sent", 12, rows=64, columns=64), killer_file(tmp_path / "sent", killer)
    pacs = Pacs("PACS")
    with running(tmp_path / "run", pacs, killer, TransferSyntax="JPEG2000Lossless") as service:
        send(service, *others[:6], bad, *others[6:])
        service.wait_empty(60)
        assert service.stop() == 0
        assert "goes on as it came, not as JPEG2000Lossless: 2 workers died of it" in service.log
    assert_tried_twice(service, killer)
    assert len(pacs.arrivals) == 13
    assert_arrived(pacs, others, JPEG2000_LOSSLESS)
    assert_arrived(pacs, [bad], EXPLICIT_LE)


@pytest.mark.parametrize("killer", KILLERS, ids=str)
def test_what_kills_the_codec_is_kept_where_it_is_not_taken_as_it_came(killer: Killer, tmp_path: Path) -> None:
    """failed/: "could not be planned, read or converted; the `.json` says why" (docs/operate.md).
    The destination takes uncompressed objects only; the other images are delivered."""
    others, bad = make_cts(tmp_path / "sent", 6, rows=64, columns=64), killer_file(tmp_path / "sent", killer)
    pacs = Pacs("PACS", syntaxes=[EXPLICIT_LE, IMPLICIT_LE])
    with running(tmp_path / "run", pacs, killer) as service:
        send(service, *map(compressed, (*others[:3], bad, *others[3:])))
        pacs.wait(6, 60)
        (why,) = service.wait_ended(1, "failed")
        assert service.stop() == 0
        failed = service.spool / "failed"
        (kept,) = failed.glob("*.dcm")
        assert "2 workers died of it" in why["reason"]
        assert np.array_equal(pydicom.dcmread(kept).pixel_array, pydicom.dcmread(bad).pixel_array)
        assert [path for path in service.left() if path.parent != failed] == []
    assert_tried_twice(service, killer)
    assert len(pacs.arrivals) == 6
    assert_arrived(pacs, others, EXPLICIT_LE)
