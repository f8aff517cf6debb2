"""Hostile images: real ones of every syntax that is read, damaged at random.

They go through job.make in a process of its own, bounded as a worker is, which says after each what became
of it; a death, a hang or an exception that is none of job.make's is a bug. Then others are sent to a service, with
images of 100 GB among them. LEYDEN_CRASH_LONG=1 in the environment makes it 10,000 of each (LEYDEN_FUZZ_INPUTS: any
number), LEYDEN_CRASH_SEED another choice.
"""

import faulthandler
import json
import multiprocessing
import os
import random
import shutil
import struct
import time
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pydicom
import pynetdicom
import pytest
from pynetdicom import build_context

from leyden import worker
from leyden.dicom import uids
from leyden.dicom.part10 import decode_head
from leyden.dicom.uids import SYNTAXES
from leyden.errors import Corrupt
from leyden.transcode import job
from leyden.transcode.arena import Arena
from leyden.transcode.pixels import Unfit
from leyden.transcode.source import Source, Unreadable
from support.objects import real
from support.peers import Pacs
from support.service import Service, node
from support.transcoding import Bench, make

LONG = os.environ.get("LEYDEN_CRASH_LONG", "0") not in ("", "0")
INPUTS = int(os.environ.get("LEYDEN_FUZZ_INPUTS", "10000" if LONG else "400"))
SEED = int(os.environ.get("LEYDEN_CRASH_SEED", "20261125"))
ARENA_MIB, MAX_FRAME_MIB = 16, 8
SERVICE_INPUTS = INPUTS if LONG else 60
LIMIT_S = 30.0  # for one input; its images are of 2 MB at most
GROWTH_BYTES = 32 << 20  # of the whole run, after the first fifth: a tenth of that is one leaked frame in 100 inputs

REAL = (
    "MR_small_jp2klossless.dcm", "JPEG2000.dcm", "SC_rgb_gdcm_KY.dcm", "JPEG2000-embedded-sequence-delimiter.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+s2.dcm", "SC_rgb_small_odd_jpeg.dcm", "JPGExtended.dcm",
    "SC_rgb_jpeg_gdcm.dcm", "MR_small_jpeg_ls_lossless.dcm", "JPEGLSNearLossless_16.dcm", "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm", "MR_small_RLE.dcm", "SC_rgb_rle_16bit_2frame.dcm", "rtdose_rle.dcm",
    "image_dfl.dcm", "MR_small.dcm", "MR_small_bigendian.dcm",
)  # fmt: skip
MADE = {
    "MR_small.dcm": (
        uids.HTJ2K_LOSSLESS, uids.HTJ2K_LOSSLESS_RPCL, uids.HTJ2K, uids.JPEG_LOSSLESS, uids.JPEG_LOSSLESS_SV1,
        uids.DEFLATED_LE, uids.JPEGXL_LOSSLESS,
    ),
    "SC_rgb_rle_2frame.dcm": (
        uids.JPEG2000_LOSSLESS, uids.HTJ2K_LOSSLESS, uids.HTJ2K, uids.JPEG_LOSSLESS, uids.JPEG_BASELINE,
        uids.JPEG_EXTENDED, uids.JPEGLS_LOSSLESS, uids.JPEGXL_LOSSLESS, uids.JPEGXL,
    ),
    "liver_1frame.dcm": (uids.DEFLATED_FRAMES,),
    "rtdose.dcm": (uids.DEFLATED_FRAMES,),
    "SC_rgb_small_odd_jpeg.dcm": (uids.JPEGXL_JPEG,),
}  # fmt: skip
TARGETS = (
    uids.EXPLICIT_LE, uids.EXPLICIT_LE, uids.IMPLICIT_LE, uids.EXPLICIT_BE, uids.DEFLATED_LE, uids.JPEG2000_LOSSLESS,
    uids.HTJ2K_LOSSLESS, uids.JPEG_LOSSLESS_SV1, uids.JPEGLS_LOSSLESS, uids.RLE_LOSSLESS, uids.JPEG_BASELINE,
    uids.JPEG2000, uids.DEFLATED_FRAMES, uids.JPEGXL_LOSSLESS, uids.JPEGXL_JPEG,
)  # fmt: skip
PIXEL_DATA = b"\xe0\x7f\x10\x00"


# -- damage


def sources(folder: Path, bench: Bench) -> list[bytes]:
    """Real files in every syntax that is read: the wheel's, and what we make of them where it has none."""
    contents = [real(name).read_bytes() for name in REAL]
    terms = job.Terms(MAX_FRAME_MIB << 20, recompress_lossy=True)
    for name, targets in MADE.items():
        for target in targets:
            made = folder / f"{target}.made"
            make(real(name), made, target, bench, terms)
            contents.append(made.read_bytes())
    return contents


def mutant(chance: random.Random, contents: list[bytes]) -> tuple[str, bytes]:
    """The syntax of one of the files, and it damaged: mostly where its pixels begin, lengths and tables being there."""
    content = chance.choice(contents)
    head = decode_head(content)
    assert head is not None
    meta, begin = head
    name = uids.syntax_name(meta.transfer_syntax_uid)
    if meta.transfer_syntax_uid == uids.DEFLATED_LE and chance.random() < 0.7:  # or the deflate stream itself
        inflated = zlib.decompress(content[begin:], -zlib.MAX_WBITS)
        deflate = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
        damaged = _damaged(chance, inflated, 0, max(0, inflated.rfind(PIXEL_DATA)))
        return name, content[:begin] + deflate.compress(damaged) + deflate.flush()
    return name, _damaged(chance, content, 132, max(begin, content.rfind(PIXEL_DATA)))


def _damaged(chance: random.Random, content: bytes, begin: int, pixels_at: int) -> bytes:
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        low = pixels_at if chance.random() < 0.85 else begin
        high = min(len(data), low + 400) if chance.random() < 0.6 else len(data)
        if low >= high:
            break
        at = chance.randrange(low, high)
        match chance.randrange(8):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at] = chance.randrange(256)
            case 2 | 3:  # a number at the edge of what its bytes hold
                size = chance.choice((1, 2, 4))
                number = chance.choice((0, 1, (1 << 8 * size - 1) - 1, 1 << 8 * size - 1, (1 << 8 * size) - 1))
                data[at : at + size] = number.to_bytes(size, chance.choice(("little", "big")))
            case 4:
                del data[at : at + chance.randrange(1, 64)]
            case 5:
                data[at:at] = chance.randbytes(chance.randrange(1, 64))
            case 6:
                there = chance.randrange(len(data))
                data[at : at + 32] = data[there : there + 32]
            case 7:
                if chance.random() < 0.3:
                    del data[at:]
    return bytes(data)


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def fuzz(folder: Path, seed: int, numbers: range, said: Connection) -> None:
    """The child: one mutant after the other. Tells of each (outcome, source syntax, seconds, resident bytes)."""
    errors = os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    faulthandler.enable()
    fd = os.memfd_create("fuzz")
    os.ftruncate(fd, ARENA_MIB << 20)
    bench = Bench(Arena(fd))
    contents = sources(folder, bench)
    worker._limit_memory(ARENA_MIB, MAX_FRAME_MIB)
    path, made = folder / "mutant.dcm", folder / "mutant.made"
    said.send(("ready", "", 0.0, 0))
    for number in numbers:
        chance = random.Random(f"{seed} {number}")
        name, content = mutant(chance, contents)
        path.write_bytes(content)
        target = chance.choice(TARGETS)
        verify = chance.choice((job.Verify.NONE, job.Verify.FIRST))
        terms = job.Terms(MAX_FRAME_MIB << 20, recompress_lossy=chance.random() < 0.5, verify=verify)
        begun_s = time.monotonic()
        outcome = _outcome(path, made, target, bench, replace(terms, alone=chance.random() < 0.5))
        said.send((outcome, name, time.monotonic() - begun_s, _resident_bytes()))
    leased, descriptors = Arena(fd, 1, 2).leased(), len(os.listdir("/proc/self/fd"))
    said.send(("end", f"{leased} slots leased", float(descriptors), 0))


def _outcome(path: Path, made: Path, target: str, bench: Bench, terms: job.Terms) -> str:
    try:
        make(path, made, target, bench, terms)
    except (Unfit, Corrupt, Unreadable) as error:
        return type(error).__name__
    except BaseException as error:  # a worker would be held to have crashed
        return f"{type(error).__name__}: {error}"
    source = Source(made)
    source.close()
    return f"what was made does not parse: {source.flaw}" if source.flaw else "made"


@dataclass
class Outcomes:
    counts: Counter[str] = field(default_factory=Counter)
    by_syntax: dict[str, Counter[str]] = field(default_factory=dict)
    worst_s: float = 0.0
    early_bytes: int = 0
    late_bytes: int = 0
    last: str = ""
    descriptors: int = 0
    bugs: list[str] = field(default_factory=list)

    def take(self, number: int, outcome: str, syntax: str, seconds: float, resident_bytes: int) -> None:
        kind = outcome if outcome in ("made", "Unfit", "Corrupt", "Differs") else "bug"
        if kind == "bug":
            self.bugs.append(f"{number}: {outcome}")
        self.counts[kind] += 1
        self.by_syntax.setdefault(syntax, Counter())[kind] += 1
        self.worst_s = max(self.worst_s, seconds)
        if number <= INPUTS // 5:
            self.early_bytes = max(self.early_bytes, resident_bytes)
        self.late_bytes = resident_bytes


def fuzzed(folder: Path, count: int) -> Outcomes:
    """All numbers below `count`; a child that dies or hangs is told of, and the next begins behind it."""
    context, done, number = multiprocessing.get_context("spawn"), Outcomes(), 0
    while number < count:
        said, theirs = context.Pipe(duplex=False)
        child = context.Process(target=fuzz, args=(folder, SEED, range(number, count), theirs), daemon=True)
        child.start()
        theirs.close()
        assert said.poll(120), "the child does not begin"
        assert said.recv()[0] == "ready"
        while True:
            if not said.poll(LIMIT_S):
                done.bugs.append(f"{number}: hangs")
                break
            try:
                outcome, syntax, seconds, resident_bytes = said.recv()
            except EOFError:
                child.join(LIMIT_S)
                done.bugs.append(f"{number}: died, exit code {child.exitcode}")
                break
            if outcome == "end":
                done.last, done.descriptors = syntax, int(seconds)
                child.join(LIMIT_S)
                return done
            done.take(number, outcome, syntax, seconds, resident_bytes)
            number += 1
        child.kill()
        child.join()
        shutil.copy(folder / "mutant.dcm", folder / f"{number}.dcm")
        number += 1
    return done


@pytest.mark.timeout(3600)
def test_damaged_images_end_in_an_image_or_a_reason(tmp_path: Path) -> None:
    """Every length is bounded before allocation (ARCHITECTURE.md): a damaged image causes no crash, hang or leak."""
    done = fuzzed(tmp_path, INPUTS)
    print(f"{INPUTS} inputs of seed {SEED}: {dict(done.counts)}; the slowest {done.worst_s:.3f} s;")
    print(f"resident {done.early_bytes >> 10} KiB after a fifth, {done.late_bytes >> 10} KiB at the end;")
    print("\n".join(f"  {name}: {dict(counts)}" for name, counts in sorted(done.by_syntax.items())))
    assert not done.bugs, f"{done.bugs}; stderr: {(tmp_path / 'stderr').read_text()[-2000:]}"
    assert done.late_bytes - done.early_bytes < GROWTH_BYTES
    assert done.last == "0 slots leased"
    assert done.descriptors < 16, "files are left open"
    assert (tmp_path / "stderr").read_text() == ""
    read = {uid for codec in job.CODECS for uid in codec.decodes} | {uids.DEFLATED_LE}
    assert {uids.syntax_name(uid) for uid in read} <= done.by_syntax.keys(), "one was not tried"
    assert done.counts["made"] > INPUTS // 20, "damage that lets nothing through tests nothing"


# -- the same through a service


def head_of(content: bytes) -> bytes:
    """A file up to its dataset."""
    head = decode_head(content)
    assert head is not None
    return content[: head[1]]


def of_100_gb(content: bytes) -> bytes:
    """An image that claims 65535 x 65535 pixels of 16 bits, in its codestream too if it has one, and 12 frames."""
    dataset = pydicom.dcmread(BytesIO(content))
    old, new = struct.pack(">II", dataset.Columns, dataset.Rows), struct.pack(">II", 65535, 65535)
    dataset.Rows = dataset.Columns = 65535
    dataset.NumberOfFrames = 12
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        siz = dataset.PixelData.index(b"\xff\x4f\xff\x51")
        at = dataset.PixelData.index(old, siz)
        dataset.PixelData = dataset.PixelData[:at] + new + dataset.PixelData[at + 8 :]
    out = BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def sent(port: int, called: str, paths: Iterable[Path]) -> int:
    """Send files as they are, byte for byte, by pynetdicom; how many were kept, as the answers say."""
    entity, answered = pynetdicom.AE("FUZZ"), 0
    association: Any = None
    for path in paths:
        head = decode_head(path.read_bytes())
        assert head is not None
        meta = head[0]
        context = build_context(meta.sop_class_uid, meta.transfer_syntax_uid)
        association = entity.associate("127.0.0.1", port, [context], ae_title=called)
        assert association.is_established, f"the receiver has no time for {path}"
        try:
            answered += association.send_c_store(path).get("Status") in (0x0000, 0xB007)
        finally:
            association.release()
    return answered


@pytest.mark.timeout(3600)
def test_damaged_images_end_no_process_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What got Success "is delivered to every destination that the rules name, or it stands in a folder with
    the reason beside it" (README.md)."""
    monkeypatch.setattr(pynetdicom._config, "STORE_SEND_CHUNKED_DATASET", True)
    fd = os.memfd_create("fuzz")
    os.ftruncate(fd, ARENA_MIB << 20)
    contents = sources(tmp_path, Bench(Arena(fd)))
    os.close(fd)
    chance, heads = random.Random(f"{SEED} service"), tuple(map(head_of, contents))
    hostile = [of_100_gb(real(name).read_bytes()) for name in ("MR_small.dcm", "MR_small_jp2klossless.dcm")]
    while len(hostile) < SERVICE_INPUTS:
        _, content = mutant(chance, contents)
        if content.startswith(heads):  # another one would not even be sent
            hostile.append(content)
    paths = [tmp_path / f"{number}.dcm" for number in range(len(hostile))]
    for path, content in zip(paths, hostile, strict=True):
        path.write_bytes(content)
    pacs = [Pacs("J2K", syntaxes=list(SYNTAXES)), Pacs("PLAIN", syntaxes=[uids.EXPLICIT_LE, uids.IMPLICIT_LE])]
    nodes = node("J2K", pacs[0].port, TransferSyntax="JPEG2000Lossless") + node("PLAIN", pacs[1].port)
    service = Service(tmp_path / "leyden", nodes, maxFrameMib=MAX_FRAME_MIB)
    try:
        for each in pacs:
            each.start()
        before = {process.pid for process in service.start().processes()}
        answered = [sent(service.port, each.title, paths) for each in pacs]
        at_rest = {service.spool / "failed", service.spool / "rejected"}
        service.wait_left(lambda left: all(at_rest & set(path.parents) for path in left), 120, "all in their place")
        assert {process.pid for process in service.processes()} == before
        assert "Traceback" not in service.log
        assert "died of it" not in service.log
        arrived = [len(each.arrivals) for each in pacs]
        assert sum(arrived) + len(service.left()) == sum(answered)
        assert all(json.loads(Path(f"{path}.json").read_bytes())["reason"] for path in service.left())
        assert min(arrived) > SERVICE_INPUTS // 10, "damage that lets nothing through tests nothing"
        assert service.stop() == 0
    finally:
        service.end()
        for each in pacs:
            each.stop()
