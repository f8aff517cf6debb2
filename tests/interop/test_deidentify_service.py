"""anonymize and deidentify at work: real services, several workers, restarts, a search for what must not be there."""

import csv
import datetime
import os
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import pixel_array
from pydicom.uid import ExplicitVRLittleEndian

from leyden.dicom.uids import EXPLICIT_LE, JPEG2000_LOSSLESS, JPEG_BASELINE
from support import canary
from support.objects import decode, make_ct, real
from support.peers import Arrival, Pacs
from support.service import Service, files_below, node, wait_for

TO_RESEARCH = "- AeTitles: [RESEARCH]\n  Actions:\n    - Type: {}\n"


def started(service: Callable[..., Service], nodes: str, mutations: str, **config: object) -> Service:
    return service(nodes, mutations=mutations, **config).start()


def send(service: Service, called: str, *paths: Path) -> None:
    words = ["send", f"127.0.0.1:{service.port}", "--calling", "CT01", "--called", called]
    done = service.leyden(*words, *map(str, paths))
    assert done.returncode == 0, done.stdout + done.stderr


def dataset(arrival: Arrival) -> Dataset:
    return decode(arrival.syntax, arrival.data)


def written(dataset: Dataset, path: Path) -> Path:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def of_patient(folder: Path, patient_id: str, number: int, **values: str) -> Path:
    made = pydicom.dcmread(make_ct(folder / f"{patient_id}-{number}.dcm", number))
    made.PatientID, made.PatientName = patient_id, f"QZ^{patient_id}"
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.276.0.7230010.3.1.{number}.{patient_id[1:]}"
    for keyword, value in values.items():
        setattr(made, keyword, value)
    made.save_as(folder / f"{patient_id}-{number}.dcm")
    return folder / f"{patient_id}-{number}.dcm"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_patient_keeps_the_pseudonym_over_restarts_and_workers(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """The same patient always gets the same pseudonym, with several workers at once and after kills."""
    research = pacs("RESEARCH")
    mutations = TO_RESEARCH.format("anonymize\n      Destination: {Value: map.csv}")
    nodes = node("RESEARCH", research.port, TransferSyntax="JPEG2000Lossless")
    leyden = started(service, nodes, mutations, workers=2)
    patients = [f"P{number}" for number in range(6)]
    send(leyden, "RESEARCH", *(of_patient(tmp_path, patient, number) for number in (1, 2) for patient in patients))
    first = research.wait(12)
    leyden.kill_all()
    leyden.start()
    send(leyden, "RESEARCH", *(of_patient(tmp_path, patient, 3) for patient in [*patients, "P6"]))
    both = research.wait(19)
    leyden.wait_empty()
    assert {arrival.syntax for arrival in both} == {JPEG2000_LOSSLESS}
    assert len(first) >= 12
    given = {row["patient_id"]: row["pseudonym"] for row in rows(leyden.folder / "map.csv")}
    assert sorted(given) == [*patients, "P6"]
    assert len(set(given.values())) == 7
    for arrival in both:
        after = dataset(arrival)
        patient = f"P{arrival.sop_instance_uid.rpartition('.')[2]}"
        assert after.PatientID == after.PatientName == given[patient]
    assert oct((leyden.folder / "map.csv").stat().st_mode)[-3:] == "600"


def test_a_file_that_is_handed_in_is_used_and_kept(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    research = pacs("RESEARCH")
    mutations = TO_RESEARCH.format("anonymize\n      Destination: {Value: map.csv}")
    leyden = service(node("RESEARCH", research.port), mutations=mutations)
    text = "patient_id,issuer_of_patient_id,pseudonym,since\nP1,,TRIAL-0001,\n"
    mapping = leyden.folder / "map.csv"
    mapping.write_text(text)
    mapping.chmod(0o600)
    leyden.start()
    send(leyden, "RESEARCH", of_patient(tmp_path, "P1", 1, IssuerOfPatientID=""), of_patient(tmp_path, "P2", 1))
    names = {str(dataset(arrival).PatientID) for arrival in research.wait(2)}
    assert "TRIAL-0001" in names
    assert mapping.read_text().startswith(text)
    assert len(rows(mapping)) == 2


def test_the_canary_is_nowhere(service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path) -> None:
    """Not in what leaves, not in a log, a name, a state file, a receipt or the journal. The spool holds the object as
    it came only until it is delivered."""
    research = pacs("RESEARCH")
    mutations = TO_RESEARCH.format(
        "deidentify\n      Options: [retain_modified_dates]\n      Destination: {Value: map.csv}"
    )
    leyden = started(service, node("RESEARCH", research.port, TransferSyntax="JPEG2000Lossless"), mutations)
    made, words = canary.patient()
    made.PatientID, made.StudyInstanceUID, made.SeriesInstanceUID = "QZ999999", "1.2.3.1", "1.2.3.2"
    made.SOPInstanceUID = "1.2.276.0.7230010.3.1.77.7"
    words = {word: where for word, where in words.items() if not word.startswith("1.2.276")} | {"QZ999999": "00100020"}
    path = written(made, tmp_path / "canary.dcm")
    send(leyden, "RESEARCH", path)
    (arrival,) = research.wait(1)
    leyden.wait_empty()
    assert canary.found(path.read_bytes(), words), "the search finds what is there"
    times = {where for where in words.values() if canary.vr_of(int(where.split(" > ")[-1], 16)) == "TM"}
    assert canary.found(arrival.data, words) - times == set()
    assert dataset(arrival).PatientIdentityRemoved == "YES"
    assert leyden.stop() == 0
    places = list(everything(leyden.folder))
    assert any(name.endswith("leyden.log") for name, _ in places)
    for name, data in places:
        if not name.endswith("map.csv"):
            assert canary.found(data, words) == set(), name
            assert not canary.found(name.encode(), words), name
    said = "".join(leyden.lines).encode()
    assert canary.found(said, words) == set()
    assert rows(leyden.folder / "map.csv")[0]["patient_id"] == "QZ999999"


def everything(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every name below a folder, with the bytes of the file."""
    for path in files_below(folder):
        if path.is_file() and not path.is_fifo():
            yield os.fspath(path), path.read_bytes()


def test_what_can_not_be_cleaned_does_not_leave(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """No Patient ID, texts in the pixels, a dataset that is cut off: failed/, with a reason that names nobody."""
    research = pacs("RESEARCH")
    mutations = TO_RESEARCH.format("deidentify\n      Destination: {Value: map.csv}")
    leyden = started(service, node("RESEARCH", research.port), mutations)
    nobody = of_patient(tmp_path, "P1", 1, PatientID="")
    burned = of_patient(tmp_path, "P2", 1, BurnedInAnnotation="YES")
    fine = of_patient(tmp_path, "P3", 1)
    send(leyden, "RESEARCH", nobody, burned, fine)
    (arrival,) = research.wait(1)
    wait_for(lambda: len(list((leyden.spool / "failed").rglob("*.dcm"))) == 2)
    assert dataset(arrival).PatientIdentityRemoved == "YES"
    assert len(research.wait(1)) == 1
    reasons = sorted(path.read_text() for path in (leyden.spool / "failed").rglob("*.json"))
    assert any("(0010,0020) is absent or empty" in reason for reason in reasons)
    assert any("Burned In Annotation (0028,0301) is YES" in reason for reason in reasons)
    assert "QZ" not in "".join(reasons)


def test_a_mapping_file_that_breaks_lets_objects_wait(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """While the file can't be used, nothing leaves and nothing fails; once it is mended, the objects go on."""
    research = pacs("RESEARCH")
    mutations = TO_RESEARCH.format("anonymize\n      Destination: {Value: map.csv}")
    leyden = started(service, node("RESEARCH", research.port), mutations)
    send(leyden, "RESEARCH", of_patient(tmp_path, "P1", 1))
    research.wait(1)
    leyden.wait_empty()
    mapping = leyden.folder / "map.csv"
    good = mapping.read_text()
    mapping.write_text(f"{good}P1,,AGAIN,\n")
    send(leyden, "RESEARCH", of_patient(tmp_path, "P2", 1))
    line = leyden.wait_line("waits in new/")
    assert "map.csv:3: this patient stands in line 2 already" in line
    mapping.write_text(good)
    assert len(research.wait(2, 120.0)) == 2
    assert {str(dataset(arrival).PatientID) for arrival in research.wait(2)} == {
        row["pseudonym"] for row in rows(mapping)
    }


def test_dates_of_a_patient_keep_their_intervals_over_studies(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    research = pacs("RESEARCH")
    mutations = TO_RESEARCH.format("deidentify\n      Options: [retain_modified_dates, retain_uids]")
    leyden = started(service, node("RESEARCH", research.port), mutations, workers=2)
    days = {"20200101": 1, "20200301": 2, "20210301": 3}
    send(leyden, "RESEARCH", *(of_patient(tmp_path, "P1", number, StudyDate=day) for day, number in days.items()))
    shifts = set()
    for arrival in research.wait(3):
        after = dataset(arrival)
        number = int(arrival.sop_instance_uid.split(".")[-2])
        before = next(day for day, each in days.items() if each == number)
        moved = datetime.datetime.strptime(after.StudyDate, "%Y%m%d") - datetime.datetime.strptime(before, "%Y%m%d")
        shifts.add(moved.days)
    assert len(shifts) == 1
    assert -3650 <= shifts.pop() < 0


def test_the_file_that_arrives_is_read_by_others(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """A C-STORE of the new instance under its new UID, in the command as in the dataset."""
    research = pacs("RESEARCH")
    leyden = started(service, node("RESEARCH", research.port), TO_RESEARCH.format("deidentify"))
    path = of_patient(tmp_path, "P1", 1)
    send(leyden, "RESEARCH", path, path)
    one, two = research.wait(2)
    assert one.sop_instance_uid == two.sop_instance_uid == dataset(one).SOPInstanceUID
    assert one.sop_instance_uid.startswith("2.25.")
    assert one.data == two.data
    before = pydicom.dcmread(BytesIO(path.read_bytes()))
    assert dataset(one).PixelData == before.PixelData
    with pytest.raises(AttributeError):
        _ = dataset(one).InstitutionName


@pytest.mark.parametrize("wanted", ["", "JPEG2000Lossless"])
@pytest.mark.parametrize(
    "name", ["rle", "CT_small.dcm", "SC_rgb_jpeg_gdcm.dcm", "rtdose.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm"]
)
def test_rectangles_are_black_in_what_arrives(
    name: str, wanted: str, service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """Whatever it came in and leaves in: native, big endian, compressed with and without loss, several frames."""
    path = compressed(tmp_path) if name == "rle" else real(name)
    research = pacs("RESEARCH")
    mutations = TO_RESEARCH.format("deidentify\n      BurnedIn: blank\n      Rectangles: [[0, 0, 8, 3], [2, 5, 4, 2]]")
    keys = {"TransferSyntax": wanted} if wanted else {}
    leyden = started(service, node("RESEARCH", research.port, **keys), mutations)
    send(leyden, "RESEARCH", path)
    (arrival,) = research.wait(1)
    leyden.wait_empty()
    after, before = dataset(arrival), pydicom.dcmread(path)
    assert after.BurnedInAnnotation == "NO"
    assert "113101" in [item.CodeValue for item in after.DeidentificationMethodCodeSequence]
    old, new = (pixel_array(each, raw=False) for each in (before, after))
    frames = before.get("NumberOfFrames", 1) or 1
    old, new = (each.reshape(frames, before.Rows, before.Columns, -1) for each in (old, new))
    covered = np.zeros((before.Rows, before.Columns), bool)
    covered[0:3, 0:8] = covered[5:7, 2:6] = True
    assert len(np.unique(new[:, covered])) == 1
    assert np.array_equal(new[:, ~covered], old[:, ~covered])
    assert not np.array_equal(new[:, covered], old[:, covered])


def test_what_is_lossy_is_not_made_lossy_once_more_by_rectangles(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """The node wants the very syntax that the image came in, but that would cost quality a second time."""
    path = real("SC_rgb_dcmtk_+eb+cr.dcm")
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == JPEG_BASELINE
    research = pacs("RESEARCH")
    mutations = TO_RESEARCH.format("deidentify\n      BurnedIn: blank\n      Rectangles: [0, 0, 8, 8]")
    leyden = started(service, node("RESEARCH", research.port, TransferSyntax="JPEGProcess1"), mutations)
    send(leyden, "RESEARCH", path)
    (arrival,) = research.wait(1)
    assert arrival.syntax == EXPLICIT_LE
    after = dataset(arrival)
    assert after.LossyImageCompression == "01"
    assert len(np.unique(pixel_array(after)[:8, :8])) == 1


def compressed(folder: Path) -> Path:
    made = pydicom.dcmread(make_ct(folder / "ct.dcm", 1))
    made.compress("1.2.840.10008.1.2.5")
    made.save_as(folder / "rle.dcm")
    return folder / "rle.dcm"


def test_an_image_in_which_a_rectangle_does_not_fit_does_not_leave(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    research = pacs("RESEARCH")
    mutations = TO_RESEARCH.format("deidentify\n      BurnedIn: blank\n      Rectangles: [0, 0, 4000, 3]")
    leyden = started(service, node("RESEARCH", research.port), mutations)
    send(leyden, "RESEARCH", of_patient(tmp_path, "P1", 1))
    wait_for(lambda: len(list((leyden.spool / "failed").rglob("*.json"))) == 1)
    (note,) = (leyden.spool / "failed").rglob("*.json")
    assert "is not within the image of" in note.read_text()
    assert not research.arrivals
    assert not [path for path in files_below(leyden.spool) if path.name.endswith(".making")]
