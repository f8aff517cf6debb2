"""A small authority and certificates of it, for a trial of TLS: `leyden certificate new`.

Not for patients: its key lies beside the certificates, nobody guards it, and nothing can be revoked. Keys are of P-256:
what speaks TLS 1.2 with forward secrecy, as the profiles of PS3.15 B.12 and B.13 want it, takes them.
"""

import datetime
import ipaddress
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from leyden.errors import LeydenError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, GeneralName

OURS = "leyden"
AUTHORITY = "ca"
_EARLIER = datetime.timedelta(hours=1)  # for clocks that are slow


class NotMade(LeydenError):
    """Nothing was written; the text says why."""


class Made(msgspec.Struct, frozen=True):
    """A certificate and its key below the folder, as NAME.pem and NAME.key; `names` are those that it is for."""

    name: str
    names: tuple[str, ...]


def our_names() -> tuple[str, ...]:
    """What this machine is called, by itself and by others."""
    return tuple(dict.fromkeys((socket.gethostname(), socket.getfqdn(), "localhost", "127.0.0.1", "::1")))


def make(folder: Path, peers: Sequence[str], days: int, now: datetime.datetime) -> list[Made]:
    """Write ca.pem and ca.key, leyden.pem and leyden.key for this machine, and the same for each of `peers`: a host
    name or an IP address. Keys get mode 0600, a new folder 0755. Raises NotMade, OSError.
    """
    wanted = [Made(OURS, our_names()), *(Made(peer.replace(":", "_"), (peer,)) for peer in dict.fromkeys(peers))]
    paths = [folder / f"{each}{ending}" for each in (AUTHORITY, *(made.name for made in wanted)) for ending in _ENDINGS]
    if there := [path for path in paths if path.exists()]:
        raise NotMade(f"{there[0]} is there already, and nothing is overwritten; name another folder")
    if len(set(paths)) < len(paths):
        raise NotMade(f"{AUTHORITY} and {OURS} are names of files that are made anyway; name the hosts otherwise")
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    end = now + datetime.timedelta(days=days)
    authority, authority_key = _certificate((f"Leyden trial authority of {our_names()[0]}",), now, end)
    _write(folder / AUTHORITY, authority, authority_key)
    for each in wanted:
        _write(folder / each.name, *_certificate(each.names, now, end, (authority, authority_key)))
    return wanted


_ENDINGS = (".pem", ".key")


def _certificate(
    names: Sequence[str],
    begin: datetime.datetime,
    end: datetime.datetime,
    issuer: "tuple[Certificate, EllipticCurvePrivateKey] | None" = None,
) -> "tuple[Certificate, EllipticCurvePrivateKey]":
    """One for both sides of a connection; without `issuer`, that of an authority (RFC 5280)."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    issuer_name, issuer_key = (issuer[0].subject, issuer[1]) if issuer else (subject, key)
    usage = dict.fromkeys(_USAGES, False)
    usage |= {"digital_signature": True} if issuer else {"key_cert_sign": True, "crl_sign": True}
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - _EARLIER)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None if issuer else 0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if issuer is not None:
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_general, names))), critical=False)
    return builder.sign(issuer_key, SHA256()), key


_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def _general(name: str) -> "GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(stem: Path, certificate: "Certificate", key: "EllipticCurvePrivateKey") -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = certificate.public_bytes(Encoding.PEM)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for ending, content, mode in ((".key", secret, 0o600), (".pem", pem, 0o644)):
        fd = os.open(f"{stem}{ending}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(fd, "wb") as file:
            os.fchmod(fd, mode)  # whatever the umask is
            file.write(content)
