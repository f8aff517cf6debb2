import subprocess
import time
from pathlib import Path

import pytest

from leyden.operate.certificate import ends_s


@pytest.mark.parametrize("days", [30, 365 * 40])
def test_the_end_of_a_certificate_is_what_openssl_made_it(tmp_path: Path, days: int) -> None:
    """A time up to 2049 is written with two digits of the year, a later one with four."""
    path = tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=leyden", "-days", str(days), "-keyout", str(tmp_path / "key.pem"), "-out", str(path)),
        ],
        check=True,
        capture_output=True,
    )
    assert abs(ends_s(str(path)) - time.time() - days * 86400) < 120
    both = tmp_path / "both.pem"
    both.write_text((tmp_path / "key.pem").read_text() + path.read_text())
    assert ends_s(str(both)) == ends_s(str(path))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *lines[2:]]))
    with pytest.raises(ValueError, match="can't be read"):
        ends_s(str(path))


def test_what_is_no_certificate_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "certificate.pem"
    path.write_bytes(b"\xff nothing")
    with pytest.raises(ValueError, match="no certificate"):
        ends_s(str(path))
    with pytest.raises(OSError, match="missing"):
        ends_s(str(tmp_path / "missing.pem"))
