"""When a certificate ends: the one field of it that an operator has to know in time (RFC 5280 section 4.1)."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_END = "-----END CERTIFICATE-----"


def ends_s(path: str) -> float:
    """When the first certificate of a PEM file ends, in seconds since 1970. OSError; ValueError: it is none."""
    pem = Path(path).read_text("ascii", "replace")
    begin = pem.find("-----BEGIN CERTIFICATE-----")
    end = pem.find(_END, begin)
    if begin < 0 or end < 0:
        raise ValueError(f"no certificate is in {path}")
    try:
        return _not_after(ssl.PEM_cert_to_DER_cert(pem[begin : end + len(_END)]))
    except (ValueError, IndexError) as error:
        raise ValueError(f"the certificate in {path} can't be read") from error


def _not_after(der: bytes) -> float:
    certificate, _ = _value(der, 0, _SEQUENCE)
    to_be_signed, _ = _value(certificate, 0, _SEQUENCE)
    at = 0
    if to_be_signed[0] == _VERSION:
        _, at = _value(to_be_signed, at)
    for _ in ("serial number", "signature", "issuer"):
        _, at = _value(to_be_signed, at)
    validity, _ = _value(to_be_signed, at, _SEQUENCE)
    _, at = _value(validity, 0)
    kind = validity[at]
    text = _value(validity, at)[0].decode("ascii")
    if kind == _UTC_TIME:  # two digits of the year: 1950 to 2049
        text = ("20" if text[:2] < "50" else "19") + text
    elif kind != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _value(der: bytes, at: int, tag: int | None = None) -> tuple[bytes, int]:
    """The value of the element there, and where the next one begins. ValueError, IndexError: it is another, or cut."""
    if tag is not None and der[at] != tag:
        raise ValueError("another element")
    length, begin = der[at + 1], at + 2
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(der[at + 2 : begin], "big")
    if begin + length > len(der):
        raise ValueError("cut off")
    return der[begin : begin + length], begin + length
