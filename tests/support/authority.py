"""An authority of a test, and certificates of it: good ones, and such as must not be taken."""

import datetime
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from leyden.deliver.destination import TlsSettings
from leyden.operate.trial import _certificate, _write

HOST = "127.0.0.1"
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Signed:
    """A certificate and its key as files."""

    certificate: Path
    key: Path


@dataclass
class Authority:
    """It writes below `folder`."""

    folder: Path
    name: str = "authority"
    now: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.UTC))

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.own = _certificate((self.name,), self.now - 99 * DAY, self.now + 99 * DAY)
        self.path = self.folder / f"{self.name}.pem"
        _write(self.folder / self.name, *self.own)

    def signed(self, stem: str, *names: str, begin: float = -1, end: float = 30) -> Signed:
        """For these names, 127.0.0.1 if there are none; `begin` and `end` in days from now."""
        made = _certificate(names or (HOST,), self.now + begin * DAY, self.now + end * DAY, self.own)
        _write(self.folder / stem, *made)
        return Signed(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")

    def revokes(self, *signed: Signed) -> Path:
        """A CRL with these certificates."""
        certificate, key = self.own
        builder = x509.CertificateRevocationListBuilder().issuer_name(certificate.subject)
        builder = builder.last_update(self.now - DAY).next_update(self.now + 30 * DAY)
        for each in signed:
            serial = x509.load_pem_x509_certificate(each.certificate.read_bytes()).serial_number
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(self.now - DAY).build()
            builder = builder.add_revoked_certificate(revoked)
        path = self.folder / f"{self.name}.crl"
        path.write_bytes(builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
        return path

    def server(self, own: Signed) -> ssl.SSLContext:
        """How a peer listens that wants a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own.certificate, own.key)
        context.load_verify_locations(self.path)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def trusted(self, own: Signed | None = None, **more: str) -> TlsSettings:
        """How to call a peer that this authority vouches for, with our certificate `own`."""
        files = {} if own is None else {"certificate": str(own.certificate), "key": str(own.key)}
        return TlsSettings(**{"name": HOST, "authorities": str(self.path), **files, **more})
