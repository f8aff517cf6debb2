"""Digital Signatures made by DCMTK's dcmsign, through a service, and verified by it at the other end."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import CTImageStorage as CT

from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, RLE_LOSSLESS
from support.datasets import el
from support.objects import make_ct, split
from support.peers import Arrival, Pacs, run_dcmtk, store
from support.readers import tool
from support.service import Service, node, wait_for

Sign = Callable[..., Path]


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A key and its certificate."""
    folder = tmp_path_factory.mktemp("signer")
    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Leyden test"]
    done = subprocess.run(
        [tool("openssl", "openssl"), *words, "-keyout", key, "-out", certificate], capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return key, certificate


@pytest.fixture
def verifies(signer: tuple[str, str]) -> Callable[[Path], bool]:
    def verify(path: Path) -> bool:
        done = run_dcmtk("dcmsign", "--verify", "--require-sig", "--add-cert-file", signer[1], str(path))
        return done.returncode == 0

    return verify


@pytest.fixture
def sign(signer: tuple[str, str], verifies: Callable[[Path], bool], tmp_path: Path) -> Sign:
    """sign(number, *tags) -> a CT image with a signature over these elements, over all of them without any."""

    def make(number: int, *tags: str) -> Path:
        plain, path = make_ct(tmp_path / "plain.dcm", number, rows=64, columns=64), tmp_path / f"signed{number}.dcm"
        words = [word for tag in tags for word in ("--tag", tag)]

        def signed() -> bool:  # not in the second in which the certificate was made
            done = run_dcmtk("dcmsign", "--sign", *signer, "--mac-sha256", *words, str(plain), str(path))
            assert done.returncode == 0, done.stderr
            return verifies(path)

        wait_for(signed, why="a signature that verifies")
        return path

    return make


def as_file(arrival: Arrival, folder: Path) -> Path:
    path = folder / f"{arrival.called}.dcm"
    meta = FileMeta(arrival.sop_class_uid, arrival.sop_instance_uid, arrival.syntax)
    path.write_bytes(encode_head(meta) + arrival.data)
    return path


def through(service: Callable[..., Service], peer: Pacs, syntax: str, *paths: Path) -> Service:
    """A service that has delivered these to one node; stopped."""
    leyden = service(node(peer.title, peer.port, TransferSyntax=syntax), None, workers=1).start()
    done = leyden.leyden("send", f"127.0.0.1:{leyden.port}", "--called", peer.title, *map(str, paths))
    assert done.returncode == 0, done.stdout + done.stderr
    peer.wait(len(paths), 60)
    leyden.wait_empty()
    assert leyden.stop() == 0
    return leyden


@pytest.mark.parametrize("syntax", ["JPEG2000Lossless", "RLELossless", "JPEG2000Lossy"])
def test_what_is_signed_goes_on_as_it_came(
    service: Callable[..., Service], pacs: Callable[..., Pacs], sign: Sign, verifies: Callable[[Path], bool],
    tmp_path: Path, syntax: str,
) -> None:  # fmt: skip
    """What "goes on as it came": "signed objects whose signatures would break" (README.md)."""
    paths = [sign(1), sign(2, "PixelData")]
    leyden = through(service, peer := pacs("ARCHIVE"), syntax, *paths)
    assert sorted(arrival.data for arrival in peer.arrivals) == sorted(split(path.read_bytes())[1] for path in paths)
    assert all(verifies(as_file(arrival, tmp_path)) for arrival in peer.arrivals)
    assert leyden.log.count("digital signatures cover (7FE0,0010)") == 1


def test_what_is_signed_is_not_padded(
    service: Callable[..., Service], pacs: Callable[..., Pacs], signer: tuple[str, str],
    verifies: Callable[[Path], bool], tmp_path: Path,
) -> None:  # fmt: skip
    """A signed value of odd length stays too, unless the destination takes nothing else (DECISIONS.md 64).
    dcmsign signs and verifies an odd text with a NUL behind it, so a blank there would break the signature."""
    image = pydicom.dcmread(make_ct(tmp_path / "plain.dcm", 1, rows=64, columns=64))
    image.PatientComments = "odd "
    image.save_as(plain := tmp_path / "even.dcm")
    value = el(0x00104000, "LT", b"odd ")
    assert plain.read_bytes().count(value) == 1
    plain.write_bytes(plain.read_bytes().replace(value, el(0x00104000, "LT", b"odd")))
    path = tmp_path / "signed.dcm"

    def signed() -> bool:
        words = ["--sign", *signer, "--mac-sha256", "--tag", "PatientComments", str(plain), str(path)]
        assert run_dcmtk("dcmsign", *words).returncode == 0
        written = el(0x00104000, "LT", b"odd\0")
        assert path.read_bytes().count(written) == 1
        path.write_bytes(path.read_bytes().replace(written, el(0x00104000, "LT", b"odd")))
        return verifies(path)

    wait_for(signed, why="a signature that verifies")
    data = split(path.read_bytes())[1]
    assert len(data) % 2
    peer = pacs("ARCHIVE")
    leyden = service(node(peer.title, peer.port), None, workers=1).start()
    status = store(
        leyden.port, data, called=peer.title, calling="CT01", syntax=EXPLICIT_LE,
        context=CT, sop_class=CT, sop_instance=str(image.SOPInstanceUID),
    )  # fmt: skip
    assert status == 0x0000
    (arrival,) = peer.wait(1, 60)
    leyden.wait_empty()
    assert arrival.data == data
    assert verifies(as_file(arrival, tmp_path))
    leyden.wait_line("digital signatures cover (0010,4000), where lengths are odd")


def test_signatures_over_what_does_not_change_do_not_hinder_compression(
    service: Callable[..., Service], pacs: Callable[..., Pacs], sign: Sign, verifies: Callable[[Path], bool],
    tmp_path: Path,
) -> None:  # fmt: skip
    """Signed is what the MAC Parameters Sequence (4FFE,0001) names (DECISIONS.md 67), and nothing else."""
    leyden = through(service, peer := pacs("ARCHIVE"), "RLELossless", sign(1, "PatientID", "PatientName", "Rows"))
    (arrival,) = peer.arrivals
    assert arrival.syntax == RLE_LOSSLESS
    native = tmp_path / "native.dcm"  # dcmsign verifies nothing in a compressed object
    assert run_dcmtk("dcmdrle", str(as_file(arrival, tmp_path)), str(native)).returncode == 0
    assert verifies(native)
    assert "digital signatures" not in leyden.log


@pytest.mark.parametrize(
    ("syntax", "uid"), [("ImplicitVRLittleEndian", IMPLICIT_LE), ("DeflatedExplicitVRLittleEndian", None)]
)
def test_another_encoding_of_the_same_values_breaks_nothing(
    service: Callable[..., Service], pacs: Callable[..., Pacs], sign: Sign, verifies: Callable[[Path], bool],
    tmp_path: Path, syntax: str, uid: str | None,
) -> None:  # fmt: skip
    """Byte order, deflate and implicit VR break nothing (DECISIONS.md 67)."""
    leyden = through(service, peer := pacs("ARCHIVE"), syntax, sign(1))
    (arrival,) = peer.arrivals
    assert arrival.syntax != EXPLICIT_LE
    assert uid in (None, arrival.syntax)
    assert verifies(as_file(arrival, tmp_path))
    assert "digital signatures" not in leyden.log


def test_where_nothing_else_is_taken_signatures_are_broken_and_the_log_says_so(
    service: Callable[..., Service], pacs: Callable[..., Pacs], sign: Sign, verifies: Callable[[Path], bool],
    tmp_path: Path,
) -> None:  # fmt: skip
    """Only where "the destination takes no syntax in which the signatures stay valid" (docs/troubleshoot.md)."""
    leyden = through(service, peer := pacs("ARCHIVE", syntaxes=[RLE_LOSSLESS]), "RLELossless", sign(1))
    (arrival,) = peer.arrivals
    assert arrival.syntax == RLE_LOSSLESS
    native = tmp_path / "native.dcm"
    assert run_dcmtk("dcmdrle", str(as_file(arrival, tmp_path)), str(native)).returncode == 0
    assert verifies(native), "its pixels are those that were signed, once they are decoded"
    (line,) = (line for line in leyden.log.splitlines() if "signatures are broken now" in line)
    assert "WARNING" in line
    assert "digital signatures cover (7FE0,0010)" in line


def test_of_two_syntaxes_the_one_that_breaks_no_signature_is_taken(
    service: Callable[..., Service], pacs: Callable[..., Pacs], sign: Sign, verifies: Callable[[Path], bool],
    tmp_path: Path,
) -> None:  # fmt: skip
    """Signatures do not break "if the destination takes any other form" (README.md).
    It refuses what came, and takes what is wanted as well as implicit VR."""
    leyden = through(service, peer := pacs("ARCHIVE", syntaxes=[RLE_LOSSLESS, IMPLICIT_LE]), "RLELossless", sign(1))
    (arrival,) = peer.arrivals
    assert arrival.syntax == IMPLICIT_LE
    assert verifies(as_file(arrival, tmp_path))
    assert "broken now" not in leyden.log
