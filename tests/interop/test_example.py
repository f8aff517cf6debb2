"""The example that the project exists for, with the service as a process, real images and peers of others."""

import hashlib
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import pixel_array
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, ParametricMapStorage

from leyden.dicom.uids import JPEG2000_LOSSLESS, JPEG_EXTENDED, SYNTAXES
from support.objects import decode, make_cts, real, split, wg04_files
from support.peers import Arrival, Pacs, run_dcmtk
from support.service import EXAMPLE_ROUTINGS, Service, node

# Elements that JPEG 2000 Lossless changes by its nature (PS3.5 8.2.4), and what tells that the syntax before was lossy:
# all others must arrive as the bytes they were.
_OF_THE_SYNTAX = {
    "PixelData", "PhotometricInterpretation", "PlanarConfiguration",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
}  # fmt: skip
KEPT = "RG3_JPLY"  # its codestream goes beyond Bits Stored

WHEEL_IMAGES = (
    "CT_small.dcm",
    "MR_small.dcm",
    "ExplVR_BigEnd.dcm",
    "SC_rgb_jpeg_dcmd.dcm",
    "SC_rgb_small_odd.dcm",
    "examples_overlay.dcm",
    "examples_palette.dcm",
    "examples_rgb_color.dcm",
    "image_dfl.dcm",
)
WHEEL_COMPRESSED = (
    "examples_jpeg2k.dcm",
    "examples_ybr_color.dcm",
    "JPEG-lossy.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "693_J2KI.dcm",
)
WHEEL_REPORTS = ("test-SR.dcm", "reportsi.dcm")


def example(service: Callable[..., Service], images: Pacs, reports: Pacs, **config: object) -> Service:
    nodes = node("IMAGEPACS", images.port, Impersonate="true", TransferSyntax="JPEG2000Lossless", Aliases="[ARCHIVE]")
    nodes += node("REPORTPACS", reports.port, Impersonate="true")
    return service(nodes, EXAMPLE_ROUTINGS, **config).start()


def send(service: Service, calling: str, called: str, paths: Iterable[Path]) -> None:
    """What a modality does: our own SCU sends each file's dataset as the bytes that it is."""
    words = ["send", f"127.0.0.1:{service.port}", "--calling", calling, "--called", called]
    done = service.leyden(*words, *(str(p) for p in paths))
    assert done.returncode == 0, done.stdout + done.stderr


def assert_compressed(path: Path, arrival: Arrival) -> None:
    """The arrival is the file as JPEG 2000 Lossless: the same pixels, every other element equal as bytes."""
    meta, sent = split(path.read_bytes())
    before, after = decode(meta.transfer_syntax_uid, sent), decode(arrival.syntax, arrival.data)
    assert arrival.syntax == JPEG2000_LOSSLESS, path.name
    if SYNTAXES[meta.transfer_syntax_uid].lossy:  # its readers round, and widen chroma, each in its own way
        read = _by_dcmtk(path) if meta.transfer_syntax_uid == JPEG_EXTENDED else before
        differences = np.abs(pixel_array(read).astype(int) - pixel_array(after))
        assert differences.max() <= (3 if before.SamplesPerPixel > 1 else 1), path.name
    else:
        assert np.array_equal(pixel_array(before, raw=True), pixel_array(after, raw=True)), path.name
    assert_same_elements(before, after)


def _by_dcmtk(path: Path) -> pydicom.Dataset:
    """The file with native pixels: no reader behind pydicom knows JPEG of 12 bits."""
    with tempfile.TemporaryDirectory() as folder:
        native = Path(folder) / "native.dcm"
        done = run_dcmtk("dcmdjpeg", str(path), str(native))
        assert done.returncode == 0, done.stderr
        return pydicom.dcmread(native)


def assert_same_elements(before: pydicom.Dataset, after: pydicom.Dataset) -> None:
    def values(dataset: pydicom.Dataset) -> dict[str, str]:
        kept = {}
        for element in dataset:
            if element.keyword in _OF_THE_SYNTAX or element.tag.element == 0:
                continue
            kept[str(element.tag)] = (
                [values(item) for item in element.value] if element.VR == "SQ" else repr(element.value)
            )
        return kept

    assert values(before) == values(after)


def check_images(paths: list[Path], calling: str, images: Pacs) -> None:
    """Each file is there once, called for by the modality: as JPEG 2000 Lossless, or as the bytes it was."""
    by_uid: dict[str, list[Arrival]] = {}
    for arrival in images.arrivals:
        by_uid.setdefault(arrival.sop_instance_uid, []).append(arrival)
    for path in paths:
        meta, sent = split(path.read_bytes())
        arrivals = by_uid.pop(meta.sop_instance_uid)
        assert len(arrivals) == 1, path.name
        assert arrivals[0].calling == calling
        if meta.transfer_syntax_uid == JPEG2000_LOSSLESS or path.name.startswith(KEPT):
            assert arrivals[0].syntax == meta.transfer_syntax_uid, path.name
            assert hashlib.sha256(arrivals[0].data).digest() == hashlib.sha256(sent).digest(), path.name
        else:
            assert_compressed(path, arrivals[0])
    assert not by_uid


def test_images_arrive_compressed_and_reports_at_their_own_archive(
    service: Callable[..., Service], pacs: Callable[..., Pacs]
) -> None:
    """Images go to the main PACS as JPEG 2000 Lossless, structured reports to another one, each under the AE title
    of the modality that sent it (README.md)."""
    images, reports = pacs("IMAGEPACS"), pacs("REPORTPACS")
    leyden = example(service, images, reports)
    pictures = [real(name) for name in WHEEL_IMAGES + WHEEL_COMPRESSED]
    texts = [real(name) for name in WHEEL_REPORTS]
    send(leyden, "CT01", "IMAGEPACS", [*pictures, *texts])
    images.wait(len(pictures))
    reports.wait(len(texts))
    leyden.wait_empty()
    assert leyden.stop() == 0
    check_images(pictures, "CT01", images)
    assert sorted(a.data for a in reports.arrivals) == sorted(split(p.read_bytes())[1] for p in texts)
    assert {a.calling for a in reports.arrivals} == {"CT01"}


def test_the_nema_images_arrive_compressed_and_exact(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """Compressed images decode to exactly the pixels that came in (README.md)."""
    images, reports = pacs("IMAGEPACS"), pacs("REPORTPACS")
    leyden = example(service, images, reports)
    distinct: dict[str, Path] = {}
    for path in wg04_files(tmp_path):
        distinct.setdefault(split(path.read_bytes())[0].sop_instance_uid, path)
    send(leyden, "XA07", "DCP_IMAGEPACS", distinct.values())
    images.wait(len(distinct))
    leyden.wait_empty()
    check_images(list(distinct.values()), "XA07", images)
    assert reports.arrivals == []


@pytest.mark.parametrize(
    "name",
    ["MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_expb.dcm", "MR_small_padded.dcm"],
)
@pytest.mark.filterwarnings("ignore:The pixel data is .* excess padding:UserWarning")
def test_an_image_in_any_encoding_arrives_compressed_and_exact(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path, name: str
) -> None:
    """Receives "every transfer syntax of the standard" (README.md); whichever it is, the pixels arrive exactly."""
    images, reports = pacs("IMAGEPACS"), pacs("REPORTPACS")
    leyden = example(service, images, reports)
    send(leyden, "MR01", "ARCHIVE", [real(name)])
    images.wait(1)
    check_images([real(name)], "MR01", images)


def test_what_dcmtk_sends_arrives_compressed_and_exact(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """On a modality you change the address, nothing else (README.md): DCMTK's programs send as before."""
    images, reports = pacs("IMAGEPACS"), pacs("REPORTPACS")
    leyden = example(service, images, reports)
    files = make_cts(tmp_path / "cts", 20)
    for tool, options in (("storescu", ["-xe"]), ("dcmsend", ["-dn"])):
        half = files[:10] if tool == "storescu" else files[10:]
        done = run_dcmtk(
            tool, *options, "-aet", "CT02", "-aec", "IMAGEPACS", "127.0.0.1", str(leyden.port), *map(str, half)
        )
        assert done.returncode == 0, done.stderr
    images.wait(20)
    check_images(files, "CT02", images)


def test_a_report_does_not_wait_for_images(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """Reports and whatever is not compressed never wait for the codec (docs/size.md)."""
    images, reports = pacs("IMAGEPACS"), pacs("REPORTPACS")
    leyden = example(service, images, reports)
    send(leyden, "CT01", "IMAGEPACS", make_cts(tmp_path / "cts", 150))
    before = len(images.arrivals)
    send(leyden, "CT01", "IMAGEPACS", [real("test-SR.dcm")])
    report = reports.wait(1)[0]
    waiting = 150 - len([a for a in images.arrivals if a.at_s < report.at_s])
    assert before < 125, "the codec was too quick for this test to say anything"
    assert waiting > 25, "the report came after the images that waited before it"
    images.wait(150, 120)


def test_what_has_no_pixels_to_compress_goes_through_unchanged(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """What cannot be encoded "goes on as it came": 1 bit, float, "objects without pixels" (README.md)."""
    images, reports = pacs("IMAGEPACS"), pacs("REPORTPACS")
    leyden = example(service, images, reports)
    files = [real(name) for name in ("liver_1frame.dcm", "waveform_ecg.dcm", "rtplan.dcm", "rtdose.dcm")]
    files += [_float_map(tmp_path / "map.dcm"), _pdf(tmp_path / "pdf.dcm")]
    send(leyden, "WS01", "IMAGEPACS", files)
    images.wait(len(files))
    sent = {split(p.read_bytes())[0].sop_instance_uid: split(p.read_bytes()) for p in files}
    assert {a.sop_instance_uid: (a.syntax, a.data) for a in images.arrivals} == {
        uid: (meta.transfer_syntax_uid, data) for uid, (meta, data) in sent.items()
    }


def _new(path: Path, sop_class: str, uid: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, uid
    dataset.StudyInstanceUID = "2.25.77"
    return dataset


def _float_map(path: Path) -> Path:
    dataset = _new(path, ParametricMapStorage, "2.25.77.1")
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 16, 16, 2
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.BitsAllocated = 1, "MONOCHROME2", 32
    dataset.FloatPixelData = np.linspace(0, 1, 512, dtype="<f4").tobytes()
    dataset.save_as(path)
    return path


def _pdf(path: Path) -> Path:
    dataset = _new(path, EncapsulatedPDFStorage, "2.25.77.2")
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocument = b"%PDF-1.4\n" + b"x" * 1001
    dataset.save_as(path)
    return path


def test_it_answers_under_the_titles_of_its_nodes_and_no_other(
    service: Callable[..., Service], pacs: Callable[..., Pacs]
) -> None:
    """It answers under the AE titles of all the archives it serves (README.md)."""
    images, reports = pacs("IMAGEPACS"), pacs("REPORTPACS")
    leyden = example(service, images, reports)
    for called in ("IMAGEPACS", "DCP_IMAGEPACS", "ARCHIVE", "DCP_ARCHIVE", "REPORTPACS", "DCP_REPORTPACS", "LEYDEN"):
        done = run_dcmtk("echoscu", "-aec", called, "127.0.0.1", str(leyden.port))
        assert done.returncode == 0, (called, done.stderr)
    for called in ("ELSEWHERE", "imagepacs"):
        done = run_dcmtk("echoscu", "-v", "-aec", called, "127.0.0.1", str(leyden.port))
        assert done.returncode != 0
        assert "Called AE Title Not Recognized" in done.stderr
