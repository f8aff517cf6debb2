"""The worker role as a real child process on a real spool: what is put into transform/ ends in the right place."""

import errno
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from msgspec.structs import replace
from pydicom.data import get_testdata_file

from leyden import worker as worker_module
from leyden.board import Board
from leyden.config.settings import ReceiverSettings, Settings
from leyden.deliver.destination import Destination
from leyden.dicom.negotiate import AcceptorPolicy
from leyden.dicom.part10 import decode_head, encode_head
from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, JPEG2000, JPEG2000_LOSSLESS, JPEG_BASELINE
from leyden.form import ladder
from leyden.heartbeat import ROW_BYTES, Heartbeat
from leyden.inherited import Inherited, descriptors_as_text
from leyden.plan.rules import PlanSettings
from leyden.published import Published, Publisher
from leyden.spool import store as store_module
from leyden.spool.doorbell import Bell, ring
from leyden.spool.entry import Entry, ReceiptClock
from leyden.spool.stage import Stage
from leyden.spool.store import Spool
from leyden.transcode import codecs, job
from leyden.transcode.arena import Arena
from leyden.transcode.pixels import Planes
from leyden.worker import Worker
from support.datasets import el

PACS = "PACS"
FINE = Destination(PACS, "127.0.0.1", 104, compression_ratio=2.0)
LIMIT_S = 30.0


def sample(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    assert path is not None
    return Path(path)


class Workers:
    """Worker processes as the supervisor would start them, and the spool that they work on."""

    def __init__(self, folder: Path, workers: int, arena_mib: int = 16, max_frame_mib: int = 8) -> None:
        settings = Settings(
            path=str(folder), log_dir=str(folder / "log"), cache_path=str(folder / "cache"), scp_port=0,
            my_ae_title="LEYDEN", receiver=ReceiverSettings(AcceptorPolicy(titles=("LEYDEN",))),
            plan=PlanSettings("LEYDEN", {}, ()), destinations=(), workers=workers, arena_mib=arena_mib,
            max_frame_mib=max_frame_mib,
        )  # fmt: skip
        self.folder = folder
        self.settings = settings
        self.spool = Spool(settings.spool_root)
        self.spool.prepare([PACS])
        self.bell = Bell(self.spool.root, "sender")
        self.clock = ReceiptClock(0)
        self.workers = workers
        self.arena_fd = self._memfd(arena_mib << 20)
        self.published = Publisher()
        self.published.publish(settings.generation, settings.to_json())
        self._heartbeats_fd = self._memfd(2 * ROW_BYTES)
        self._board = Board([("worker", number) for number in range(workers)])
        self._lifeline = os.pipe()
        self.children: list[subprocess.Popen[bytes]] = []

    @staticmethod
    def _memfd(size_bytes: int) -> int:
        fd = os.memfd_create("test")
        os.ftruncate(fd, size_bytes)
        return fd

    def start(self) -> None:
        descriptors = {
            "settings": self.published.fd, "lifeline": self._lifeline[0],
            "heartbeats": self._heartbeats_fd, "board": self._board.fd, "arena": self.arena_fd,
        }  # fmt: skip
        fds = tuple(descriptors.values())
        for number in range(self.workers):
            command = [sys.executable, "-m", "leyden", "role", "worker", str(number), "--row", str(number)]
            command += ["--descriptors", descriptors_as_text(descriptors)]
            self.children.append(subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL))
        self.wait(lambda: all(self.deadline_s(number) for number in range(self.workers)))

    def deadline_s(self, number: int) -> float:
        """Until when a worker may be silent; 0.0 = it has not started."""
        return float(struct.unpack("=d", os.pread(self._heartbeats_fd, 8, 8 * number))[0])

    def put(self, source: Path | bytes, syntax: str = "JPEG2000Lossless", crashes: int = 0, edits: str = "") -> str:
        """An object into transform/PACS; its receipt."""
        receipt = self.clock.next(time.time_ns() // 1000)
        fd, path = self.spool.embryo(receipt)
        with open(fd, "wb") as file:
            file.write(source if isinstance(source, bytes) else source.read_bytes())
        entry = Entry(receipt, "0" * 8, "0" * 8, "0" * 8, syntax=syntax, crashes=crashes, edits=edits)
        self.spool.plan_one(path, entry, Stage.TRANSFORM, PACS, "00")
        for number in range(self.workers):
            ring(self.spool.root, f"worker-{number}")
        return receipt

    def here(self) -> Worker:
        """A worker in this process, driven step by step: for a disk that fails at the right moment."""
        heartbeat, published = Heartbeat(self._heartbeats_fd, 1), Published(self.published.fd)
        return Worker(Inherited("worker", 0, self.settings, heartbeat, {"arena": self.arena_fd}, published))

    def takes(self, **classes: ladder.Acceptance) -> None:
        knowledge = {uid.replace("_", "."): taken for uid, taken in classes.items()}
        (self.spool.root / "state" / f"{PACS}.json").write_bytes(ladder.serialize(knowledge))

    def wait(self, done: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + LIMIT_S
        while not done():
            assert time.monotonic() < deadline_s, "".join(map(str, self.spool.counts()))
            assert all(child.poll() is None for child in self.children), "a worker died"
            self.bell.wait(0.02)

    def prepared(self, *receipts: str) -> list[Path]:
        """Where these objects wait for the sender, as soon as all do."""

        def found() -> dict[str, Path]:
            waiting = self.spool.waiting(Stage.PREPARED, PACS, 10000)
            return {each.entry.receipt: each.path for each in waiting}

        self.wait(lambda: set(receipts) <= set(found()))
        return [found()[receipt] for receipt in receipts]

    def failed(self, receipt: str) -> dict[str, object]:
        """The .json beside a failed object, as soon as it is there."""
        place = self.spool.root / "failed"
        self.wait(lambda: any(place.glob(f"*{receipt}*.json")))
        (why,) = place.glob(f"*{receipt}*.json")
        return json.loads(why.read_text())  # type: ignore[no-any-return]

    def log(self) -> str:
        path = self.folder / "log" / "leyden.log"
        return path.read_text() if path.exists() else ""

    def end(self) -> list[int]:
        """SIGTERM to all; their exit codes."""
        for child in self.children:
            child.send_signal(signal.SIGTERM)
        codes = [child.wait(LIMIT_S) for child in self.children]
        self.children.clear()
        return codes

    def close(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()
        self.bell.close()
        for fd in (self.arena_fd, self.published.fd, self._heartbeats_fd, self._board.fd, *self._lifeline):
            os.close(fd)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Callable[..., Workers]]:
    made: list[Workers] = []

    def start(count: int = 1, **settings: int) -> Workers:
        made.append(Workers(tmp_path, count, **settings))
        return made[-1]

    yield start
    for each in made:
        each.close()


def pixels(path: Path) -> np.ndarray:  # type: ignore[type-arg]
    return pydicom.pixels.pixel_array(pydicom.dcmread(path), raw=True)


def syntax_of(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)


def undecodable(path: Path) -> Path:
    """An object in a syntax that is not read: JPEG 2000 part 2, multi-component."""
    dataset = pydicom.dcmread(sample("JPEG2000.dcm"))
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.93"
    dataset.save_as(path)
    return path


def multi_frame(path: Path, frames: int, size: int = 256) -> Path:
    dataset = pydicom.dcmread(sample("MR_small.dcm"))
    values = np.random.default_rng(3).integers(0, 2000, (frames, size, size)).astype("<i2")
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames, size, size
    dataset.PixelData = values.tobytes()
    dataset.save_as(path)
    return path


def test_images_are_compressed_and_the_rest_goes_on_as_it_came(workers: Callable[..., Workers]) -> None:
    service = workers(2)
    service.start()
    images = ["CT_small.dcm", "MR_small_bigendian.dcm", "examples_rgb_color.dcm", "image_dfl.dcm"]
    others = ["test-SR.dcm", "liver_1frame.dcm", "rtdose.dcm", "waveform_ecg.dcm"]
    receipts = [service.put(sample(name)) for name in (*images, *others)]
    made = service.prepared(*receipts)
    for name, path in zip(images, made, strict=False):
        assert syntax_of(path) == JPEG2000_LOSSLESS
        assert np.array_equal(pixels(path), pixels(sample(name)))
    for name, path in zip(others, made[len(images) :], strict=True):
        assert path.read_bytes() == sample(name).read_bytes()
    assert service.end() == [0, 0]
    assert Arena(service.arena_fd, 9, 10).leased() == 0
    left = list(service.spool.root.glob("active/*/*")) + list(service.spool.root.glob("transform/*/*/*/*"))
    assert left == []


def test_a_reason_is_logged_once_a_kind(workers: Callable[..., Workers]) -> None:
    service = workers()
    service.start()
    service.prepared(*(service.put(sample("liver_1frame.dcm")) for _ in range(3)))
    service.prepared(service.put(sample("rtdose.dcm")))
    assert service.log().count("1 bit allocated") == 1
    assert service.log().count("bits allocated other than 8 and 16") == 1


def test_a_syntax_that_the_destination_refuses_is_not_made(workers: Callable[..., Workers]) -> None:
    service = workers()
    ct, mr = str(pydicom.dcmread(sample("CT_small.dcm")).SOPClassUID), "1.2.840.10008.5.1.4.1.1.4"
    now_s = time.time()
    service.takes(**{
        ct: ladder.Acceptance(accepted=(EXPLICIT_LE, IMPLICIT_LE), refused=(JPEG2000_LOSSLESS,), seen_s=now_s),
        mr: ladder.Acceptance(accepted=(IMPLICIT_LE,), refused=(JPEG2000_LOSSLESS, EXPLICIT_LE), seen_s=now_s),
    })  # fmt: skip
    service.start()
    as_it_was, implicit, back = service.prepared(
        service.put(sample("CT_small.dcm")),
        service.put(sample("MR_small.dcm")),
        service.put(sample("MR_small_jp2klossless.dcm"), syntax="JPEG2000Lossless"),
    )
    assert as_it_was.read_bytes() == sample("CT_small.dcm").read_bytes()
    assert syntax_of(implicit) == syntax_of(back) == IMPLICIT_LE
    assert np.array_equal(pixels(implicit), pixels(sample("MR_small.dcm")))
    assert np.array_equal(pixels(back), pixels(sample("MR_small_jp2klossless.dcm")))


def test_an_object_that_cannot_be_made_as_its_destination_needs_it_fails_with_the_reason(
    workers: Callable[..., Workers], tmp_path: Path
) -> None:
    service = workers()
    path = undecodable(tmp_path / "undecodable.dcm")
    lossy = pydicom.dcmread(path)
    refused = (str(lossy.file_meta.TransferSyntaxUID), JPEG2000_LOSSLESS)
    service.takes(**{str(lossy.SOPClassUID): ladder.Acceptance((EXPLICIT_LE,), refused, time.time())})
    service.start()
    why = service.failed(service.put(path, syntax="ExplicitVRLittleEndian"))
    assert "JPEG2000MC is not decoded by this version" in str(why["reason"])
    why = service.failed(service.put(b"rubbish"))
    assert "not readable" in str(why["reason"])


def test_an_object_of_which_all_syntaxes_were_refused_goes_on_as_it_came_to_be_proposed_again(
    workers: Callable[..., Workers], tmp_path: Path
) -> None:
    service = workers()
    ct = str(pydicom.dcmread(sample("CT_small.dcm")).SOPClassUID)
    other = undecodable(tmp_path / "undecodable.dcm")
    mr = pydicom.dcmread(other)
    refused = (str(mr.file_meta.TransferSyntaxUID), JPEG2000_LOSSLESS, EXPLICIT_LE, IMPLICIT_LE)
    now_s = time.time()
    service.takes(**{
        ct: ladder.Acceptance((), refused, now_s),
        str(mr.SOPClassUID): ladder.Acceptance((JPEG_BASELINE,), refused, now_s),
    })  # fmt: skip
    service.start()
    images = [sample("CT_small.dcm"), sample("CT_small.dcm"), other]
    receipts = [service.put(image) for image in images] + [service.put(images[0], crashes=2)]
    for path, image in zip(service.prepared(*receipts), [*images, images[0]], strict=True):
        assert path.read_bytes() == image.read_bytes()
    assert "was seen to refuse" in service.log()
    # One that it was not seen to refuse turns out not to be possible; nothing that it takes is known either.
    service.takes(**{str(mr.SOPClassUID): ladder.Acceptance((), (refused[0], JPEG2000_LOSSLESS, EXPLICIT_LE), now_s)})
    (path,) = service.prepared(service.put(other))
    assert path.read_bytes() == other.read_bytes()
    assert not list(service.spool.root.glob("failed/*"))


def test_an_object_that_cannot_be_read_fails_and_does_not_stop_the_others(workers: Callable[..., Workers]) -> None:
    service = workers()
    receipt = service.put(sample("CT_small.dcm"))
    (place,) = service.spool.root.glob(f"transform/*/*/*/*{receipt}*")
    place.unlink()
    place.mkdir()
    service.start()
    service.prepared(service.put(sample("CT_small.dcm")))
    why = service.failed(receipt)
    assert "Is a directory" in str(why["reason"])
    assert not list(service.spool.root.glob(f"active/*/*{receipt}*"))


def test_a_dataset_that_does_not_parse_goes_on_as_it_came_with_the_reason(workers: Callable[..., Workers]) -> None:
    service = workers()
    service.start()
    deflated = sample("image_dfl.dcm").read_bytes()
    broken = deflated[:1000] + bytes(len(deflated) - 1000)
    (path,) = service.prepared(service.put(broken))
    assert path.read_bytes() == broken
    assert "a dataset that does not parse: " in service.log()
    assert "ERROR" not in service.log()


def test_no_claim_is_lost_on_a_disk_that_refuses_everything(
    workers: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = workers()
    worker = service.here()
    monkeypatch.setattr(worker_module, "LOOK_S", 0.01)

    def broken_down(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for broken in (("making",), ("making", "give_back"), ("transformed",), ("transformed", "give_back")):
        receipt = service.put(sample("CT_small.dcm"))
        caplog.clear()
        with monkeypatch.context() as patch:
            for name in broken:
                patch.setattr(worker.spool, name, broken_down)
            claim = worker.queue.claim()
            assert claim is not None
            worker.do(claim)
            worker.commits.finish()
        assert re.search("will be (made|tried) again", caplog.text)
        (place,) = service.spool.root.rglob(f"*{receipt}*.dcm")
        back = place.is_relative_to(service.spool.root / "transform")
        assert back == ("give_back" not in broken)
        assert ("stay in active/" in caplog.text) == (not back)
        worker.give_back_left()
        (place,) = service.spool.root.rglob(f"*{receipt}*.dcm")
        assert place.is_relative_to(service.spool.root / "transform"), "the disk is well again"
        assert not worker.left
        worker.retry_left_at_s = 0.0
        place.unlink()
    worker.arena.close()


def test_an_object_over_which_the_disk_says_nothing_is_not_held_to_be_gone(
    workers: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = workers()
    worker = service.here()
    monkeypatch.setattr(worker_module, "LOOK_S", 0.01)
    receipt = service.put(sample("CT_small.dcm"))
    claim = worker.queue.claim()
    assert claim is not None

    def broken_down(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(worker.spool, "making", broken_down)
        patch.setattr(Path, "stat", broken_down)
        worker.do(claim)
    (place,) = service.spool.root.rglob(f"*{receipt}*.dcm")
    assert place.is_relative_to(service.spool.root / "transform")
    assert "will be tried again" in caplog.text
    worker.arena.close()


def test_without_room_on_the_disk_it_goes_on_as_it_came_if_the_destination_accepts_that(
    workers: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = workers()
    worker = service.here()
    caplog.set_level("INFO")
    monkeypatch.setattr(worker_module, "LOOK_S", 0.01)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(worker_module.job, "make", full)
    ct = str(pydicom.dcmread(sample("CT_small.dcm"), specific_tags=["SOPClassUID"]).SOPClassUID)
    for refused in ((), (EXPLICIT_LE,)):
        service.takes(**{ct: ladder.Acceptance((JPEG2000_LOSSLESS,), refused, time.time())})
        receipt = service.put(sample("CT_small.dcm"))
        while claim := worker.queue.claim():
            worker.do(claim)
            if refused:
                break
        (place,) = service.spool.root.rglob(f"*{receipt}*.dcm")
        assert place.is_relative_to(service.spool.root / ("transform" if refused else "prepared"))
    assert "the disk has no room for it" in caplog.text
    worker.arena.close()


def test_the_first_of_a_series_is_compared_and_a_difference_is_logged(
    workers: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = workers()
    worker = service.here()
    real, checks = codecs.CODECS[0], list[bool]()

    def check(codestream: memoryview, planes: Planes, pixels: memoryview, threads: int) -> None:
        checks.append(faulty)
        real.decode(codestream, planes, pixels, threads)
        if faulty:
            pixels[0] ^= 1

    monkeypatch.setattr(codecs, "CODECS", (replace(real, decode=check), *codecs.CODECS[1:]))

    def made(name: str) -> Path:
        receipt = service.put(sample(name))
        claim = worker.queue.claim()
        assert claim is not None
        worker.do(claim)
        worker.commits.finish()
        return service.prepared(receipt)[0]

    faulty = False
    assert syntax_of(made("CT_small.dcm")) == syntax_of(made("CT_small.dcm")) == JPEG2000_LOSSLESS
    assert checks == [False], "once a series"
    service.put(sample("CT_small.dcm"))
    died = worker.queue.claim()
    assert died is not None
    worker.spool.give_back(died, crashed=True)
    again = worker.queue.claim()
    assert again is not None
    worker.do(again)
    assert checks == [False, False], "its comparison may be what its worker died in"
    checks.clear()
    faulty = True
    assert made("MR_small.dcm").read_bytes() == sample("MR_small.dcm").read_bytes()
    assert "decodes to other pixels (1 since start)" in caplog.text
    faulty = False
    assert syntax_of(made("MR_small.dcm")) == syntax_of(made("MR_small.dcm")) == JPEG2000_LOSSLESS
    assert checks == [True, False, False], "a series with a fault is looked at to the end"
    worker.arena.close()


def test_an_object_that_stands_in_prepared_already_is_not_made_again(
    workers: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder cannot be synced after the link: the sender may have taken it, so a second one would arrive twice."""
    service = workers()
    worker = service.here()
    monkeypatch.setattr(worker_module, "LOOK_S", 0.01)

    def fails(_path: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    receipt = service.put(sample("CT_small.dcm"))
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "sync_folder", fails)
        claim = worker.queue.claim()
        assert claim is not None
        worker.do(claim)
        worker.commits.finish()
    (place,) = service.spool.root.rglob(f"*{receipt}*.dcm")
    assert place.is_relative_to(service.spool.root / "prepared")
    worker.arena.close()


def test_a_worker_that_waits_for_a_slow_sync_is_not_stuck(
    workers: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = workers()
    worker = service.here()
    monkeypatch.setattr(worker_module, "LOOK_S", 0.01)
    synced, transformed = threading.Event(), worker.spool.transformed
    monkeypatch.setattr(
        worker.spool, "transformed", lambda *what, **more: (synced.wait(LIMIT_S), transformed(*what, **more))
    )
    receipts = [service.put(sample("CT_small.dcm")) for _ in range(3)]
    lives: list[int] = []

    def alive(size_bytes: int) -> None:
        lives.append(len(worker.commits))
        if lives.count(worker_module.COMMITS_BEHIND) > 5:
            synced.set()  # the disk is done only when the worker has said several times that it lives

    monkeypatch.setattr(worker, "alive", alive)
    for _ in receipts:
        claim = worker.queue.claim()
        assert claim is not None
        worker.do(claim)
    assert synced.is_set()
    worker.commits.finish()
    service.prepared(*receipts)
    worker.arena.close()


def odd(name: str) -> tuple[bytes, bytes]:
    """A file with an unpadded text in front of its dataset, and the same padded."""
    data = sample(name).read_bytes()
    meta, offset = decode_head(data) or (None, 0)
    assert meta is not None
    head, text = encode_head(meta), b"\x08\0\x01\0LO\3\0ACM"
    return head + text + data[offset:], head + text.replace(b"\3", b"\4") + b" " + data[offset:]


def test_odd_values_are_padded_in_their_own_syntax_and_logged_once(workers: Callable[..., Workers]) -> None:
    service = workers()
    service.start()
    came, padded = odd("MR_small.dcm")
    for path in service.prepared(*(service.put(came, "ExplicitVRLittleEndian") for _ in range(3))):
        assert path.read_bytes() == padded
        assert path.name.count(".") == 4
    assert service.log().count("values of odd length") == 1


def test_odd_values_are_padded_whether_the_object_can_be_compressed_or_not(workers: Callable[..., Workers]) -> None:
    service = workers()
    service.start()
    made, kept = service.prepared(service.put(odd("MR_small.dcm")[0]), service.put(odd("test-SR.dcm")[0]))
    image = pydicom.dcmread(made)
    assert image.file_meta.TransferSyntaxUID == JPEG2000_LOSSLESS
    assert image.get_item(0x00080001).value == b"ACM "
    assert np.array_equal(image.pixel_array, pydicom.dcmread(sample("MR_small.dcm")).pixel_array)
    assert kept.read_bytes() == odd("test-SR.dcm")[1]
    assert "no pixel data" in service.log()


@pytest.mark.parametrize("crashes", [1, 2, 3])
def test_after_too_many_crashes_an_object_is_not_padded_any_more(workers: Callable[..., Workers], crashes: int) -> None:
    service = workers()
    service.start()
    came, padded = odd("test-SR.dcm")
    (path,) = service.prepared(service.put(came, "ExplicitVRLittleEndian", crashes=crashes))
    assert path.read_bytes() == (came if crashes == 3 else padded)


def test_odd_values_in_an_object_that_does_not_parse_further_down_stay(workers: Callable[..., Workers]) -> None:
    service = workers()
    service.start()
    came = odd("test-SR.dcm")[0] + el(0xFFFA0010, "SQ", el(0xFFFEE000, "", b"\x08\0\x18\0UI\x09\0"))
    (path,) = service.prepared(service.put(came, "ExplicitVRLittleEndian"))
    assert path.read_bytes() == came
    assert "its values of odd length can't be parsed" in service.log()


def test_odd_values_of_a_signed_object_stay(workers: Callable[..., Workers]) -> None:
    service = workers()
    service.start()
    parameters = el(0x04000020, "AT", b"\x08\0\x01\0")
    signed = el(0x4FFE0001, "SQ", el(0xFFFEE000, "", parameters)) + el(0xFFFAFFFA, "SQ", el(0xFFFEE000, ""))
    came = odd("test-SR.dcm")[0] + signed
    other = odd("test-SR.dcm")[0] + signed.replace(parameters, parameters.replace(b"\x01\0", b"\x05\0"))
    kept, padded = service.prepared(*(service.put(data, "ExplicitVRLittleEndian") for data in (came, other)))
    assert kept.read_bytes() == came
    assert padded.read_bytes() == odd("test-SR.dcm")[1] + other[len(odd("test-SR.dcm")[0]) :]
    assert service.log().count("digital signatures cover (0008,0001), where lengths are odd") == 1


def test_no_room_to_pad_it(workers: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch) -> None:
    service = workers()
    worker = service.here()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(job, "pad", full)
    came = odd("test-SR.dcm")[0]
    receipt = service.put(came, "ExplicitVRLittleEndian")
    claim = worker.queue.claim()
    assert claim is not None
    worker.do(claim)
    (path,) = service.prepared(receipt)
    assert path.read_bytes() == came


def test_reasons_that_differ_in_numbers_and_tags_are_one_kind(
    workers: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = workers()
    worker = service.here()
    kinds: set[str] = set()
    monkeypatch.setattr(worker_module, "once", lambda _logger, _level, kind, _message: kinds.add(kind))
    for reason in ("(0008,0060) at byte 17 has no VR", "(FFFC,FFFC) at byte 40000 has no VR", "1 bit allocated"):
        service.put(sample("CT_small.dcm"))
        claim = worker.queue.claim()
        assert claim is not None
        worker.tell_as_it_came(claim, reason)
    assert len(kinds) == 2
    worker.arena.close()


def test_the_codecs_threads_have_a_limit(workers: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch) -> None:
    worker = workers(1).here()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert worker.threads(worker_module.THREADS_FROM_BYTES) == 8
    worker.arena.close()


def test_an_object_that_killed_two_workers_goes_on_as_it_came(workers: Callable[..., Workers]) -> None:
    service = workers()
    service.start()
    once, twice = service.prepared(
        service.put(sample("CT_small.dcm"), crashes=1), service.put(sample("CT_small.dcm"), crashes=2)
    )
    assert syntax_of(once) == JPEG2000_LOSSLESS
    assert twice.read_bytes() == sample("CT_small.dcm").read_bytes()
    assert "2 workers died of it" in service.log()


def test_an_object_that_killed_two_workers_is_still_made_uncompressed_without_a_codec(
    workers: Callable[..., Workers],
) -> None:
    service = workers()
    ct = str(pydicom.dcmread(sample("CT_small.dcm")).SOPClassUID)
    service.takes(**{ct: ladder.Acceptance((IMPLICIT_LE, JPEG2000_LOSSLESS), (EXPLICIT_LE,), time.time())})
    service.start()
    (made,) = service.prepared(service.put(sample("CT_small.dcm"), crashes=2))
    assert syntax_of(made) == IMPLICIT_LE
    assert np.array_equal(pixels(made), pixels(sample("CT_small.dcm")))
    why = service.failed(service.put(sample("CT_small.dcm"), crashes=3))
    assert ": 3 workers died of it. Let " in str(why["reason"])


def test_a_large_object_over_all_workers_lets_small_ones_pass(workers: Callable[..., Workers], tmp_path: Path) -> None:
    service = workers(2)
    large = multi_frame(tmp_path / "large.dcm", 100)
    service.start()
    receipt = service.put(large)
    service.wait(lambda: any(service.spool.root.glob(f"active/*/*{receipt}*")))
    small = [service.put(sample("CT_small.dcm")) for _ in range(10)]
    service.prepared(*small)
    assert any(service.spool.root.glob(f"active/*/*{receipt}*")), "the large one still is at work"
    (made,) = service.prepared(receipt)
    assert np.array_equal(pixels(made), pixels(large))
    assert service.end() == [0, 0]
    assert Arena(service.arena_fd, 9, 10).leased() == 0


def test_a_lone_worker_lets_small_objects_pass(workers: Callable[..., Workers], tmp_path: Path) -> None:
    service = workers(1)
    large = multi_frame(tmp_path / "large.dcm", 60)
    service.start()
    receipt = service.put(large)
    service.put(large)
    service.wait(lambda: any(service.spool.root.glob(f"active/*/*{receipt}*")))
    service.prepared(service.put(sample("CT_small.dcm")))
    assert any(service.spool.root.glob(f"active/*/*{receipt}*")), "the large one still is at work"
    service.prepared(receipt)


def test_a_frame_larger_than_the_arena(workers: Callable[..., Workers], tmp_path: Path) -> None:
    service = workers(1, arena_mib=2, max_frame_mib=8)
    large, too_large = multi_frame(tmp_path / "2.dcm", 1, 1200), multi_frame(tmp_path / "8.dcm", 1, 2100)
    service.start()
    private, as_it_came = service.prepared(service.put(large), service.put(too_large))
    assert np.array_equal(pixels(private), pixels(large))
    assert as_it_came.read_bytes() == too_large.read_bytes()
    assert "maxFrameMib" in service.log()


def test_sigterm_in_a_large_object_gives_it_back(workers: Callable[..., Workers], tmp_path: Path) -> None:
    service = workers(1)
    receipt = service.put(multi_frame(tmp_path / "large.dcm", 600))
    service.start()
    service.wait(lambda: any(service.spool.root.glob(f"active/*/{receipt}*.making")))
    assert service.end() == [0]
    places = [str(path.parent.relative_to(service.spool.root)) for path in service.spool.root.rglob(f"*{receipt}*")]
    assert len(places) == 1, "one name, and nothing half made"
    assert places[0].startswith(("transform/", "prepared/"))


def test_a_killed_worker_frees_all_it_held(workers: Callable[..., Workers], tmp_path: Path) -> None:
    service = workers(1)
    receipt = service.put(multi_frame(tmp_path / "large.dcm", 200))
    service.start()
    seen = Arena(service.arena_fd, 9, 10)
    service.wait(lambda: seen.leased() > 0)
    service.children[0].kill()
    service.children[0].wait()
    assert seen.leased() == 0
    assert any(service.spool.root.glob(f"active/worker-0/*{receipt}*")), "for the recovery to find"


def test_the_heartbeat_is_set_before_each_object(workers: Callable[..., Workers]) -> None:
    service = workers()
    service.start()
    service.prepared(service.put(sample("CT_small.dcm")))
    assert service.deadline_s(0) > time.monotonic()


def test_a_file_taken_away_by_hand_is_no_error(workers: Callable[..., Workers]) -> None:
    service = workers()
    receipts = [service.put(sample("CT_small.dcm")) for _ in range(3)]
    shutil.rmtree(service.spool.root / "transform" / PACS)
    receipts.append(service.put(sample("CT_small.dcm")))
    service.start()
    service.prepared(receipts[-1])
    assert service.end() == [0]


def test_what_is_claimed_after_a_reload_is_made_as_the_new_settings_say(workers: Callable[..., Workers]) -> None:
    """An object goes "wholly by the old or wholly by the new" settings (docs/operate.md); one of a node that is gone is
    made as it was asked for."""
    service = workers(1)
    service.takes(**{"1.2.840.10008.5.1.4.1.1.2": ladder.Acceptance((JPEG2000,), (), time.time())})
    service.published.publish(2, replace(service.settings, generation=2, destinations=(FINE,)).to_json())
    worker = service.here()
    sizes = []
    for generation, destinations in ((3, (replace(FINE, compression_ratio=40.0),)), (4, ()), (5, (FINE,))):
        receipt = service.put(sample("CT_small.dcm"), "JPEG2000Lossy")
        claim = worker.queue.claim()
        assert claim is not None
        settings = replace(service.settings, generation=generation, destinations=destinations)
        service.published.publish(generation, settings.to_json())
        worker.do(claim)
        worker.commits.finish()
        (path,) = service.prepared(receipt)
        sizes.append(path.stat().st_size)
    assert sizes[0] == sizes[1] < sizes[2]
