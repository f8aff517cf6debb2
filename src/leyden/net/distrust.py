"""Why the certificate of a peer is not taken, in words that say what to look at: pure, from what OpenSSL has found."""

import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any

_NOT_YET, _EXPIRED = 9, 10
_WRONG_NAME = (62, 64)  # a DNS name, an IP address
_NO_AUTHORITY = (2, 18, 19, 20, 21)  # no issuer at hand; self-signed, alone or as an authority that we do not know
_WORDS = {
    3: "can't be checked for revocation: there is no CRL of its authority, or of one above it",
    8: "can't be checked for revocation: a CRL has a wrong signature",
    11: "can't be checked for revocation: a CRL is not valid yet",
    12: "can't be checked for revocation: a CRL is out of date",
    23: "is revoked",
    24: "is signed with a certificate that is none of an authority",
    26: "is not meant for this side of a connection (extended key usage)",
    66: "has too small a key",
    67: "is signed by an authority with too small a key",
    68: "is signed by too weak a hash",
    79: "is signed with a certificate that is none of an authority",
}
"""Codes of X509_V_ERR (OpenSSL, x509_vfy.h) in words, with `its certificate` in front."""


def words(code: int, message: str, chain: Sequence[Mapping[str, Any]], name: str, trusted: str, now_s: float) -> str:
    """`chain`: what the peer has sent, its own first, as ssl.SSLSocket.getpeercert() has it; may be empty.

    `message` is OpenSSL's own. `name`: the one that was asked for; `trusted`: where our authorities are, in words.
    """
    own: Mapping[str, Any] = chain[0] if chain else {}
    if code in _WRONG_NAME:
        names = ", ".join(_names(own)) or "no name"
        return f"its certificate is for {names}, not for {name}"
    if code in _NO_AUTHORITY:
        return f"its certificate is not signed by an authority in {trusted}"
    if code in (_EXPIRED, _NOT_YET):
        return _not_now(code, chain, now_s)
    return f"its certificate {_WORDS[code]}" if code in _WORDS else f"its certificate is not good: {message}"


def _not_now(code: int, chain: Sequence[Mapping[str, Any]], now_s: float) -> str:
    field, what = ("notAfter", "expired on") if code == _EXPIRED else ("notBefore", "is not valid before")
    for number, each in enumerate(chain):
        at_s = ssl.cert_time_to_seconds(each[field])
        if (at_s < now_s) if code == _EXPIRED else (at_s > now_s):
            whose = "its certificate" if not number else f"the authority {_subject(each)} of its certificate"
            return f"{whose} {what} {time.strftime('%Y-%m-%d', time.localtime(at_s))}"
    which = "an authority of its certificate" if chain else "its certificate, or an authority of it,"
    return f"{which} {'has expired' if code == _EXPIRED else 'is not valid yet'}"


def _names(certificate: Mapping[str, Any]) -> list[str]:
    """The names that count: those of subjectAltName, else the common name (RFC 9525, and what came before it)."""
    found = [
        str(value).strip() for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")
    ]
    return found or [_subject(certificate)]


def _subject(certificate: Mapping[str, Any]) -> str:
    pairs = [pair for each in certificate.get("subject", ()) for pair in each]
    return next((str(value) for kind, value in pairs if kind == "commonName"), "")
