"""Why a peer is not trusted, in words; tests/interop/test_tls_peers.py has OpenSSL find the reasons."""

import ssl
from typing import Any

import pytest

from leyden.net.distrust import words

NOW_S = ssl.cert_time_to_seconds("Nov 29 12:00:00 2026 GMT")


def certificate(name: str, *names: tuple[str, str], begin: str = "Jan  1 00:00:00 2026 GMT",
                end: str = "Jan  1 00:00:00 2027 GMT") -> dict[str, Any]:  # fmt: skip
    return {
        "subject": ((("organizationName", "Hospital"),), (("commonName", name),)),
        "subjectAltName": names,
        "notBefore": begin,
        "notAfter": end,
    }


def said(code: int, *chain: dict[str, Any]) -> str:
    return words(code, "what OpenSSL says", chain, "pacs", "/etc/ca.pem", NOW_S)


OLD = "May  3 12:00:00 2026 GMT"


@pytest.mark.parametrize(
    ("code", "chain", "text"),
    [
        (62, (certificate("cn", ("DNS", "a.example"), ("IP Address", "10.0.0.5")),),
         "its certificate is for a.example, 10.0.0.5, not for pacs"),
        (62, (certificate("only.cn"),), "its certificate is for only.cn, not for pacs"),
        (64, (), "its certificate is for no name, not for pacs"),
        (20, (certificate("x"),), "its certificate is not signed by an authority in /etc/ca.pem"),
        (10, (certificate("x", end=OLD),), "its certificate expired on 2026-05-03"),
        (10, (certificate("x"), certificate("Middle", end=OLD)),
         "the authority Middle of its certificate expired on 2026-05-03"),
        (10, (certificate("x"),), "an authority of its certificate has expired"),
        (9, (certificate("x", begin="Dec 24 12:00:00 2026 GMT"),), "its certificate is not valid before 2026-12-24"),
        (23, (), "its certificate is revoked"),
        (12, (), "its certificate can't be checked for revocation: a CRL is out of date"),
        (999, (), "its certificate is not good: what OpenSSL says"),
    ],
)  # fmt: skip
def test_each_reason_in_words(code: int, chain: tuple[dict[str, Any], ...], text: str) -> None:
    assert said(code, *chain) == text
