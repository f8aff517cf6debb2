"""One destination per transfer syntax: what the service delivers, as pydicom, gdcm and dciodvfy see it."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate

from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import (
    DEFLATED_FRAMES,
    EXPLICIT_BE,
    EXPLICIT_LE,
    HTJ2K_LOSSLESS,
    IMPLICIT_LE,
    JPEG2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LOSSLESS_SV1,
    JPEGLS_LOSSLESS,
    JPEGXL_JPEG,
    MADE,
    SYNTAXES,
)
from support import lossless, readers
from support.objects import real, split
from support.peers import Arrival, Pacs
from support.readers import JPEGXL_FAMILY, Gdcm, by_dcmtk, by_pydicom, codestreams, jpeg_by_djxl, others, read
from support.service import Service, node

REPORT = "test-SR.dcm"
FILES = (
    "CT_small.dcm", "MR_small_jp2klossless.dcm", "SC_rgb_rle_2frame.dcm", "examples_rgb_color.dcm", REPORT,
)  # fmt: skip
LOSSLESS = sorted(uid for uid in MADE if not SYNTAXES[uid].lossy)
LOSSY = sorted(uid for uid in MADE - {JPEGXL_JPEG} if SYNTAXES[uid].lossy)
ASIS = "ASIS"


def title(uid: str) -> str:
    return f"T{uid.removeprefix('1.2.840.10008.1.2').replace('.', '_')}"


def leyden_for(service: Callable[..., Service], archives: dict[str, Pacs], syntaxes: list[str]) -> Service:
    """What is sent to ASIS goes to all of them; each takes everything."""
    nodes = node(ASIS, archives[ASIS].port)
    nodes += "".join(node(title(uid), archives[title(uid)].port, TransferSyntax=SYNTAXES[uid].name) for uid in syntaxes)
    routings = "- Actions:\n" + "".join(f"    - Target: {title(uid)}\n" for uid in syntaxes)
    return service(nodes, routings).start()


def send(service: Service, *paths: Path) -> None:
    done = service.leyden("send", f"127.0.0.1:{service.port}", "--called", ASIS, *map(str, paths))
    assert done.returncode == 0, done.stdout + done.stderr


def as_file(arrival: Arrival, folder: Path) -> Path:
    path = folder / f"{arrival.called}.{arrival.sop_instance_uid}.dcm"
    meta = FileMeta(arrival.sop_class_uid, arrival.sop_instance_uid, arrival.syntax)
    path.write_bytes(encode_head(meta) + arrival.data)
    return path


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_each_destination_gets_its_syntax(
    service: Callable[..., Service], pacs: Callable[..., Pacs], gdcm: Gdcm, tmp_path: Path
) -> None:
    """The entry of a destination names the transfer syntax that it gets (README.md)."""
    archives = {name: pacs(name) for name in (ASIS, *map(title, LOSSLESS))}
    leyden = leyden_for(service, archives, LOSSLESS)
    paths = [real(name) for name in FILES]
    metas = {path: split(path.read_bytes())[0] for path in paths}
    send(leyden, *paths)
    for archive in archives.values():
        archive.wait(len(paths), 60)
    leyden.wait_empty()
    assert leyden.stop() == 0
    for archive in archives.values():
        assert sorted(archive.uids()) == sorted(meta.sop_instance_uid for meta in metas.values())
    for path, meta in metas.items():
        as_it_came = meta.transfer_syntax_uid, split(path.read_bytes())[1]
        arrived = {
            a.called: a
            for archive in archives.values()
            for a in archive.arrivals
            if a.sop_instance_uid == meta.sop_instance_uid
        }
        assert (arrived[ASIS].syntax, arrived[ASIS].data) == as_it_came
        pixels = None if path.name == REPORT else by_pydicom(path)
        for uid in LOSSLESS:
            arrival = arrived[title(uid)]
            if path.name == REPORT and SYNTAXES[uid].encapsulated:
                assert (arrival.syntax, arrival.data) == as_it_came
                continue
            assert arrival.syntax == uid, path.name
            made = as_file(arrival, tmp_path)
            if uid != EXPLICIT_BE:  # whose words pydicom gives as they come
                assert others(made) == others(path), path.name
            if pixels is not None:
                assert np.array_equal(by_pydicom(made), pixels), (path.name, uid)
                assert uid in (DEFLATED_FRAMES, *JPEGXL_FAMILY) or np.array_equal(gdcm(made), pixels), (path.name, uid)


LEFT_ALONE = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "a codestream of impossible size",
    "liver_1frame.dcm": "1-bit pixel data can't be HTJ2KLossless",
    "SC_ybr_full_422_uncompressed.dcm": "a Photometric Interpretation other than",
}


def test_what_cannot_be_made_arrives_as_it_came_and_the_log_says_why(
    service: Callable[..., Service], pacs: Callable[..., Pacs]
) -> None:
    """What cannot be encoded exactly goes on as it came, with the reason logged once (ARCHITECTURE.md)."""
    archives = {name: pacs(name) for name in (ASIS, title(JPEGLS_LOSSLESS), title(HTJ2K_LOSSLESS))}
    leyden = leyden_for(service, archives, [JPEGLS_LOSSLESS, HTJ2K_LOSSLESS])
    sent = [split(real(name).read_bytes()) for name in LEFT_ALONE]
    send(leyden, *map(real, LEFT_ALONE))
    for archive in archives.values():
        archive.wait(len(sent), 60)
    leyden.wait_empty()
    assert leyden.stop() == 0
    as_they_came = sorted((meta.sop_instance_uid, meta.transfer_syntax_uid, data) for meta, data in sent)
    for archive in archives.values():
        assert sorted((a.sop_instance_uid, a.syntax, a.data) for a in archive.arrivals) == as_they_came
    for reason in LEFT_ALONE.values():
        assert reason in leyden.log


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_each_destination_gets_its_lossy_syntax_from_the_first_object_on(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """What a destination accepts "its first association shows before anything is compressed" (docs/configure.md).
    Nothing is known of any of them when these come: they are asked first."""
    archives = {name: pacs(name) for name in (ASIS, *map(title, LOSSY))}
    leyden = leyden_for(service, archives, LOSSY)
    sent = tmp_path / "sent.dcm"
    dataset = read(real("examples_rgb_color.dcm"))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.4711"
    dataset.save_as(sent)
    send(leyden, sent, real(REPORT))
    for archive in archives.values():
        archive.wait(2, 60)
    leyden.wait_empty()
    assert leyden.stop() == 0
    images = {
        title: next(a for a in archive.arrivals if a.sop_class_uid == dataset.SOPClassUID)
        for title, archive in archives.items()
    }
    assert {len(archive.arrivals) for archive in archives.values()} == {2}
    assert images[ASIS].sop_instance_uid == "2.25.4711"
    assert len({image.sop_instance_uid for image in images.values()}) == len(archives)
    for uid in LOSSY:
        arrival = images[title(uid)]
        assert arrival.syntax == uid
        made = as_file(arrival, tmp_path)
        after = read(made)
        assert after.SOPInstanceUID == arrival.sop_instance_uid
        assert after.LossyImageCompression == "01"
        assert after.SourceImageSequence[-1].ReferencedSOPInstanceUID == "2.25.4711"
        assert readers.dcmdump(made) == ""
        assert not readers.new_errors(sent, made, tmp_path)


def test_a_destination_that_refuses_its_lossy_syntax_gets_everything_as_it_came(
    service: Callable[..., Service], pacs: Callable[..., Pacs]
) -> None:
    """A lossy syntax "is used only for a destination that accepts it" (docs/configure.md)."""
    archives = {ASIS: pacs(ASIS), title(JPEG_BASELINE): pacs(title(JPEG_BASELINE), syntaxes=[EXPLICIT_LE])}
    leyden = leyden_for(service, archives, [JPEG_BASELINE])
    image = real("examples_rgb_color.dcm")
    for count in (1, 2):  # before and after it was seen to
        send(leyden, image)
        archives[title(JPEG_BASELINE)].wait(count, 60)
    leyden.wait_empty()
    meta, data = split(image.read_bytes())
    for arrival in archives[title(JPEG_BASELINE)].arrivals:
        assert (arrival.sop_instance_uid, arrival.syntax, arrival.data) == (meta.sop_instance_uid, EXPLICIT_LE, data)


def test_lossless_jpeg_of_devices_that_take_samples_for_signed_is_decoded_exactly(
    service: Callable[..., Service], pacs: Callable[..., Pacs], image: Callable[..., Path], tmp_path: Path
) -> None:
    """A check of a codestream is never stricter than its standard (DECISIONS.md 57).
    An archive that takes nothing compressed gets what DCMTK makes of it, and so does one of JPEG 2000."""
    paths = []
    for bits, allocated in ((8, 8), (12, 16)):
        values = np.random.default_rng(bits).integers(0, 1 << bits, (40, 50))
        path = image(values[None, :, :, None], stored=bits, allocated=allocated, name=f"{bits}.dcm")
        dataset = read(path)
        codestream = lossless.encoded(lossless.like_signed(values, bits), bits)
        dataset.PixelData = encapsulate([codestream])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEG_LOSSLESS_SV1
        dataset.save_as(path)
        assert np.array_equal(by_dcmtk(path, tmp_path) & ((1 << bits) - 1), values[None, :, :, None])
        paths.append(path)
    native, small = title(EXPLICIT_LE), title(JPEG2000_LOSSLESS)
    archives = {ASIS: pacs(ASIS), native: pacs(native, syntaxes=[EXPLICIT_LE]), small: pacs(small)}
    leyden = leyden_for(service, archives, [EXPLICIT_LE, JPEG2000_LOSSLESS])
    send(leyden, *paths)
    for name, archive in archives.items():
        for arrival in archive.wait(2, 60):
            made = as_file(arrival, tmp_path)
            if name != ASIS:
                assert arrival.syntax in (EXPLICIT_LE, JPEG2000_LOSSLESS)
                bits = read(made).BitsStored
                values = np.random.default_rng(bits).integers(0, 1 << bits, (40, 50))
                assert np.array_equal(by_pydicom(made), values[None, :, :, None])
    leyden.wait_empty()


UNCOMMON = ("liver_1frame.dcm", "rtdose.dcm")  # 1 bit, and 32 bits in several frames


def test_deflated_frames_are_taken_made_and_opened(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """A node never gets "a syntax that it did not ask for" (DECISIONS.md 59).
    One archive asks for them; what it got is sent again, and one that takes nothing compressed gets it as it was."""
    frames, native, small = title(DEFLATED_FRAMES), title(EXPLICIT_LE), title(JPEG2000_LOSSLESS)
    archives = {
        ASIS: pacs(ASIS),
        frames: pacs(frames),
        native: pacs(native, syntaxes=[EXPLICIT_LE]),
        small: pacs(small),
    }
    leyden = leyden_for(service, archives, [DEFLATED_FRAMES, EXPLICIT_LE, JPEG2000_LOSSLESS])
    send(leyden, *map(real, UNCOMMON))
    wanted = {split(real(name).read_bytes())[0].sop_instance_uid: by_pydicom(real(name)) for name in UNCOMMON}
    deflated = []
    for arrival in archives[frames].wait(2, 60):
        assert arrival.syntax == DEFLATED_FRAMES
        path = as_file(arrival, tmp_path)
        assert np.array_equal(by_pydicom(path), wanted[arrival.sop_instance_uid])
        deflated.append(path)
    for arrival in archives[small].wait(2, 60):  # no codec of its syntax takes them: never what it did not ask for
        assert arrival.syntax not in (DEFLATED_FRAMES, JPEG2000_LOSSLESS)
    archives[ASIS].wait(2, 60)
    send(leyden, *deflated)
    for arrival in archives[native].wait(4, 60):
        assert arrival.syntax == EXPLICIT_LE
        assert np.array_equal(by_pydicom(as_file(arrival, tmp_path)), wanted[arrival.sop_instance_uid])
    for arrival in archives[ASIS].wait(4, 60)[2:]:
        assert arrival.syntax == DEFLATED_FRAMES
    leyden.wait_empty()
    assert "1-bit pixel data can't be JPEG2000Lossless" in leyden.log


def test_float_pixels_go_on_as_they_came_where_frames_are_to_be_deflated(
    service: Callable[..., Service], pacs: Callable[..., Pacs], image: Callable[..., Path]
) -> None:
    """Floating-point pixels are not encoded so (DECISIONS.md 59, PS3.5 8.2.16)."""
    path = image(np.zeros((1, 4, 4, 1)), stored=16)
    dataset = read(path)
    del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    dataset.BitsAllocated = 32
    dataset.FloatPixelData = np.linspace(0, 1, 16, dtype="<f4").tobytes()
    dataset.save_as(path)
    frames = title(DEFLATED_FRAMES)
    archives = {ASIS: pacs(ASIS), frames: pacs(frames)}
    leyden = leyden_for(service, archives, [DEFLATED_FRAMES])
    send(leyden, path)
    (arrival,) = archives[frames].wait(1, 60)
    assert (arrival.syntax, arrival.data) == (EXPLICIT_LE, split(path.read_bytes())[1])
    leyden.wait_empty()
    assert "float pixel data can't be DeflatedImageFrameCompression" in leyden.log


# -- a JPEG that is made smaller and comes out again

JPEG = "SC_rgb_dcmtk_+eb+cy+s2.dcm"


def test_a_jpeg_goes_to_jpeg_xl_and_comes_back_as_the_very_bitstream(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """A JPEG can be recompressed as JPEG XL and restored to the bit (README.md).
    To the archive as JPEG XL; from there to one that wants JPEG, and to one that knows no JPEG XL."""
    sent = real(JPEG)
    meta, _ = split(sent.read_bytes())
    archive = pacs("ARCHIVE")
    nodes = node("ARCHIVE", archive.port, TransferSyntax="jpegxljpegrecompression")
    leyden = service(nodes).start()
    done = leyden.leyden("send", f"127.0.0.1:{leyden.port}", "--called", "ARCHIVE", str(sent), str(real(REPORT)))
    assert done.returncode == 0, done.stdout + done.stderr
    archive.wait(2, 60)
    leyden.wait_empty()
    assert leyden.stop() == 0
    (stored,) = (arrival for arrival in archive.arrivals if arrival.sop_instance_uid == meta.sop_instance_uid)
    assert stored.syntax == JPEGXL_JPEG
    kept = as_file(stored, tmp_path)
    assert others(kept) == others(sent)
    assert [jpeg_by_djxl(each) for each in codestreams(kept)] == codestreams(sent)
    assert len(codestreams(kept)[0]) < len(codestreams(sent)[0])

    wants = pacs("WANTS")
    old = pacs("OLD", syntaxes=[IMPLICIT_LE, EXPLICIT_LE, JPEG_BASELINE])
    nodes = node(ASIS, pacs(ASIS).port) + node("OLD", old.port)
    nodes += node("WANTS", wants.port, TransferSyntax="JPEGProcess1")
    back = service(nodes, "- Actions:\n    - Target: WANTS\n    - Target: OLD\n").start()
    send(back, kept)
    for peer in (wants, old):
        peer.wait(1, 60)
        (arrival,) = peer.arrivals
        assert (arrival.sop_instance_uid, arrival.syntax) == (meta.sop_instance_uid, JPEG_BASELINE)
        made = as_file(arrival, tmp_path)
        assert codestreams(made) == codestreams(sent)
        assert others(made) == others(sent)
    back.wait_empty()
    assert back.stop() == 0


def test_a_progressive_jpeg_that_was_recompressed_goes_to_failed_with_what_helps(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """Progressive JPEG (under whatever name) ... has no syntax of its own to be restored to (DECISIONS.md 62).
    It is not decoded, and no destination gets it under the name of another JPEG process."""
    dataset = read(real(JPEG))
    progressive = BytesIO()
    Image.open(BytesIO(codestreams(real(JPEG))[0])).save(progressive, "JPEG", progressive=True)
    dataset.PixelData = encapsulate([imagecodecs.jpegxl_encode_jpeg(progressive.getvalue())])
    dataset.file_meta.TransferSyntaxUID = JPEGXL_JPEG
    dataset.save_as(tmp_path / "sent.dcm")
    old = pacs("OLD", syntaxes=[IMPLICIT_LE, EXPLICIT_LE, JPEG_BASELINE])
    leyden = service(node("OLD", old.port)).start()
    done = leyden.leyden("send", f"127.0.0.1:{leyden.port}", "--called", "OLD", str(tmp_path / "sent.dcm"))
    assert done.returncode == 0, done.stdout + done.stderr
    (why,) = leyden.wait_ended(1, "failed")
    reason = why["reason"]
    # Of the syntaxes that were tried, one after the other; the worker may look before the sender has noted all of them.
    assert "a recompressed JPEG of another process" in reason or "a JPEG process other than Baseline" in reason
    assert "Let OLD accept JPEGXLJPEGRecompression" in reason
    assert leyden.stop() == 0
    assert not old.arrivals


def test_what_is_no_jpeg_goes_as_it_came_where_recompressed_ones_are_wanted(
    service: Callable[..., Service], pacs: Callable[..., Pacs]
) -> None:
    """JPEGXLJPEGRecompression: "all else goes as it came" (docs/configure.md)."""
    archive = pacs("ARCHIVE")
    leyden = service(node("ARCHIVE", archive.port, TransferSyntax="JPEGXLJPEGRecompression")).start()
    sent = [real("CT_small.dcm"), real("MR_small_jp2klossless.dcm")]
    done = leyden.leyden("send", f"127.0.0.1:{leyden.port}", "--called", "ARCHIVE", *map(str, sent))
    assert done.returncode == 0, done.stdout + done.stderr
    archive.wait(2, 60)
    leyden.wait_empty()
    assert leyden.stop() == 0
    as_they_came = sorted((meta.transfer_syntax_uid, data) for meta, data in (split(p.read_bytes()) for p in sent))
    assert sorted((arrival.syntax, arrival.data) for arrival in archive.arrivals) == as_they_came
    assert "is not a JPEG that can be made into JPEGXLJPEGRecompression" in leyden.log
