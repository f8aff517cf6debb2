"""Datasets that break the rules: what two of DCMTK, pydicom and gdcm read alike is read and compressed."""

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leyden.dicom.header import Header, peek
from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, JPEG2000_LOSSLESS
from leyden.errors import Corrupt
from support import flawed
from support.flawed import FLAWED, MEANT, PIXELS
from support.objects import split
from support.peers import Pacs, run_dcmtk
from support.readers import Gdcm, by_dcmtk, by_pydicom, dcmdump, read
from support.service import Service, node

Transcode = Callable[..., Path]
pytestmark = pytest.mark.filterwarnings("ignore")  # what pydicom thinks of such files

ONE_ALONE = {
    "6 NULs behind the pixels": "NULs, of a length that trips the others",
    "12 NULs behind the pixels": "the same",
    "100 NULs behind trailing padding": "the same",
    "explicit: item delimiter behind an item of defined length": "as two read it in implicit VR",
    "explicit: no item delimiter, sequence of defined length": "the same",
    "explicit: icon cut short": "the same",
    "explicit: icon cut short in a header": "the same",
    "explicit: icon item longer than its sequence": "the same",
    "RLE and a cut icon": "the same",
    "VR in small letters": "as two read other bytes that are no VR",
    "VR of question marks": "the same",
    "RLE in small fragments, no table": "each frame begins with its header",
}
"""What only one of them reads, and why it is read nevertheless."""
NOT_READ = {
    "explicit: item delimiter behind a sequence",  # two of them end the dataset there
    "implicit: item delimiter behind a sequence",
    "sequence delimiter twice",
    "no item delimiter, sequence of undefined length",
    "VR unknown, 16-bit length",
    "16-bit length in UN",
    "32-bit length in LO",
    "explicit throughout",
}
"""What no two of them read alike goes on as it came."""


def among(name: str, names: Iterable[str]) -> bool:
    """Whether it is one of these, with its encoding or in either."""
    return bool({name, name.partition(": ")[2] or name} & set(names))


READ = [name for name in FLAWED if not among(name, NOT_READ)]
NESTED = ("sequence", "icon", "items", "item of", "in an item", "in UN", "cut icon")
"""What stands inside a sequence and is copied byte for byte where the encoding stays."""


@pytest.fixture
def flawed_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(name: str) -> Path:
        path = tmp_path / "flawed.dcm"
        path.write_bytes(flawed.as_file(name))
        return path

    return write


def peeked(path: Path) -> Header:
    data = path.read_bytes()
    return peek(lambda offset, length: data[offset : offset + length], len(data))


def seen(header: Header) -> tuple[Any, ...]:
    """What the rules see."""
    dataset = header.dataset
    (referenced,) = dataset.items(0x00081140)
    texts = [*map(dataset.texts, (0x00080060, 0x00100020, 0x0020000D)), referenced.texts(0x00081155)]
    modality, patient, study, instance = ((each or ("",))[0] for each in texts)
    return modality, instance, patient, study, dataset.integer(0x00280010)


def values(path: Path) -> tuple[Any, ...]:
    """The same by pydicom."""
    dataset = read(path)

    def text(value: Any) -> str:
        return value.rstrip(b"\0 ").decode() if isinstance(value, bytes) else str(value)

    referenced = text(dataset[0x00081140].value[0][0x00081155].value)
    modality, patient, study = (text(dataset[tag].value) for tag in (0x00080060, 0x00100020, 0x0020000D))
    return modality, referenced, patient, study, dataset.Rows


def is_meant(pixels: Any) -> bool:
    return len(pixels) in (1, 3) and all(np.array_equal(frame, PIXELS[0]) for frame in pixels)


def pydicom_reads(path: Path, _: Path, __: Gdcm) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        list(read(path).iterall())
    return values(path) == MEANT and is_meant(by_pydicom(path))


def dcmtk_reads(path: Path, folder: Path, _: Gdcm) -> bool:
    explicit = folder / "dcmtk.dcm"
    if SYNTAX_OF_RLE in path.read_bytes():
        return values(path) == MEANT and is_meant(by_dcmtk(path, folder))
    done = run_dcmtk("dcmconv", "+te", str(path), str(explicit))
    return done.returncode == 0 and values(explicit) == MEANT and is_meant(by_pydicom(explicit))


def gdcm_reads(path: Path, folder: Path, gdcm: Gdcm) -> bool:
    copied = folder / "gdcm.dcm"
    script = """\
import sys, gdcm
gdcm.Trace.WarningOff(); gdcm.Trace.ErrorOff()
reader, writer = gdcm.Reader(), gdcm.Writer()
reader.SetFileName(sys.argv[1]); writer.SetFileName(sys.argv[2])
done = reader.Read()
writer.SetFile(reader.GetFile()); writer.SetCheckFileMetaInformation(False)
sys.exit(not (done and writer.Write()))
"""
    done = subprocess.run([sys.executable, "-c", script, path, copied], capture_output=True, timeout=60)
    return done.returncode == 0 and values(copied) == MEANT and is_meant(gdcm(copied))


SYNTAX_OF_RLE = b"1.2.840.10008.1.2.5\0"
READERS = (dcmtk_reads, pydicom_reads, gdcm_reads)


def readers_of(path: Path, folder: Path, gdcm: Gdcm) -> int:
    """How many of the three read it as it is meant; who raises does not."""

    def reads(reader: Callable[[Path, Path, Gdcm], bool]) -> bool:
        try:
            return reader(path, folder, gdcm)
        except Exception:
            return False

    return sum(map(reads, READERS))


@pytest.mark.parametrize("name", FLAWED)
def test_what_two_readers_agree_on_is_read(
    name: str, flawed_file: Callable[[str], Path], gdcm: Gdcm, tmp_path: Path
) -> None:
    """A flawed data set "is read where two of DCMTK 3.6.7, pydicom 3.0 and gdcm 3.2 agree on it" (DECISIONS.md 66)."""
    path = flawed_file(name)
    agreed = readers_of(path, tmp_path, gdcm) >= 2
    assert agreed != among(name, chain(ONE_ALONE, NOT_READ))
    try:
        header = peeked(path)
        ours = not header.flaw and seen(header) == MEANT
    except Corrupt:
        ours = False
    assert ours != among(name, NOT_READ)


@pytest.mark.parametrize("target", [JPEG2000_LOSSLESS, EXPLICIT_LE, IMPLICIT_LE])
@pytest.mark.parametrize("name", READ)
def test_what_is_made_of_a_flawed_dataset_is_as_it_should_be(
    name: str, target: str, flawed_file: Callable[[str], Path], transcode: Transcode
) -> None:
    """A rewrite leaves out what holds nothing, and adds the missing VR at the top level (DECISIONS.md 66)."""
    path = flawed_file(name)
    if target == IMPLICIT_LE and "icon" in name and not name.startswith("implicit"):
        with pytest.raises(Corrupt, match=r"runs past the end|cut off"):  # nothing in implicit VR says UN
            transcode(path, target)
        return
    made = transcode(path, target)
    assert seen(peeked(made)) == MEANT
    if "VR unknown" not in name:  # it stays, as it may be one to come
        assert values(made) == MEANT
        assert is_meant(by_pydicom(made))
    if not any(each in name for each in (*NESTED, "VR unknown")):
        assert dcmdump(made) == ""
    assert ("icon" in name) == (0x00880200 in read(made))


def test_the_service_sees_and_compresses_a_flawed_dataset(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """A pass-through dataset leaves byte for byte as it came (ARCHITECTURE.md).
    Some break the rules. A rule of routings.yml sees what stands behind the flaw."""
    archive, as_is = pacs("ARCHIVE"), pacs("ASIS")
    routings = """\
- AeTitles:
    - ARCHIVE
  Conditions:
    - Tag: 0010,0020
      MatchExpression: ^ID42$
  Actions:
    - Type: add_destination
      Target: ASIS
"""
    nodes = node("ARCHIVE", archive.port, TransferSyntax="JPEG2000Lossless") + node("ASIS", as_is.port)
    leyden = service(nodes, routings).start()
    sent = {}
    for number, name in enumerate(READ, 10):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(flawed.as_file(name, number))
        sent[f"2.25.{number}"] = name, path
    done = leyden.leyden(
        "send", f"127.0.0.1:{leyden.port}", "--called", "ARCHIVE", *(str(path) for _, path in sent.values())
    )
    assert done.returncode == 0, done.stdout + done.stderr
    archive.wait(len(sent), 60)
    as_is.wait(len(sent), 60)
    leyden.wait_empty()
    assert leyden.stop() == 0
    for arrival in as_is.arrivals:
        data = split(sent[arrival.sop_instance_uid][1].read_bytes())[1]
        assert arrival.data == (data.removesuffix(b"\0") if len(data) % 2 else data)  # what is sent is even
    assert {(sent[a.sop_instance_uid][0], a.syntax) for a in archive.arrivals} == {
        (name, JPEG2000_LOSSLESS) for name in READ
    }
