"""A certificate for this machine, made by openssl."""

import subprocess
from pathlib import Path


def make_certificate(folder: Path, days: int = 30) -> tuple[Path, Path]:
    """(certificate, key) for 127.0.0.1 and localhost; whoever trusts the certificate trusts itself."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-days", str(days), "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key
