"""One side of a TLS connection, without I/O: ciphertext in, plaintext out, and the other way round (RFC 8446, 5246).

`ssl.SSLObject` over two memory BIOs. A link gives it what the socket brought and sends what it has made. The work of a
handshake is `advance`, which may take milliseconds (a signature, a chain of certificates) and is run in a thread; it
frees the interpreter meanwhile. Everything else is as fast as the cipher.
"""

import hashlib
import ipaddress
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, cast

import msgspec

from leyden.errors import Transient
from leyden.net import distrust

SEAL_BYTES = 64 * 1024  # encrypted at a time: what OpenSSL holds of a connection stays as small as that


class ConnectionLost(Transient):
    """The connection ended in the middle of an association, or before there was one."""


class TlsFailed(ConnectionLost):
    """What came is no good TLS, or the peer has sent an alert; the text says why, in plain words."""


class HandshakeFailed(TlsFailed):
    """There is no TLS connection with this peer; the text says why, in plain words."""


class Closed(Exception):
    """The peer has said in good order that it sends no more (close_notify)."""


class PeerCertificate(msgspec.Struct, frozen=True):
    """What the certificate says that the peer has proved to hold. `names`: its common name and the DNS names, IP
    addresses and URIs of its subjectAltName (RFC 5280 section 4.2.1.6). `sha256`: of the whole of it (DER), in hex.
    """

    subject: str
    names: tuple[str, ...]
    sha256: str


class Session:
    """One side of one connection. `ready` = the handshake is done; `certificate` is known from then on.

    `trusted`: where the authorities are that may vouch for the peer, in words, for the text of an error.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_name: str | None = None,
        trusted: str = "the files of our authorities",
    ) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side, server_name)
        self._read_into = cast(Callable[[int, memoryview], int], self._tls.read)
        self._failure: Exception | None = None  # of reading, to be told when what came before it was handled
        self._trusted = trusted
        self.ready = False
        self.certificate: PeerCertificate | None = None

    def __repr__(self) -> str:
        return f"<Session {self.version} {self.suite}>"

    @property
    def version(self) -> str:
        """Such as TLSv1.3; "" = not agreed yet."""
        return (self._tls.version() or "") if self.ready else ""

    @property
    def suite(self) -> str:
        """The cipher suite, as OpenSSL calls it; "" = not agreed yet."""
        cipher = self._tls.cipher() if self.ready else None
        return cipher[0] if cipher else ""

    def take(self, ciphertext: memoryview) -> None:
        """This came from the peer; it is copied."""
        self._incoming.write(ciphertext)

    def output(self) -> bytes:
        """What is to be sent to the peer now; may be empty."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def advance(self) -> None:
        """Go on with the handshake as far as what came allows. HandshakeFailed; there may be an alert to be sent."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        except (ssl.SSLError, ssl.CertificateError) as error:
            raise HandshakeFailed(f"no TLS connection: {self._why(error)}") from error
        self.certificate = _certificate(self._tls)
        self.ready = True

    def _why(self, error: Exception) -> str:
        if not isinstance(error, ssl.SSLCertVerificationError):
            return why(error)
        name = self._tls.server_hostname or ""
        return distrust.words(
            error.verify_code, error.verify_message, _sent_chain(self._tls), name, self._trusted, time.time()
        )

    def read(self, into: memoryview) -> int:
        """Decrypt as much as has come and fits; returns the bytes, 0 = more has to come.

        Closed: the peer sends no more. ConnectionLost: what came is no good TLS, or the peer has sent an alert.
        """
        done = 0
        try:
            while done < len(into) and self._failure is None:
                nbytes = self._read_into(len(into) - done, into[done:])  # of one record, at most 16 KiB
                done += nbytes
                if not nbytes:
                    self._failure = Closed()
        except ssl.SSLWantReadError:
            return done
        except ssl.SSLZeroReturnError:  # the same, when we have said it first
            self._failure = Closed()
        except ssl.SSLError as error:
            self._failure = TlsFailed(f"TLS ended: {why(error)}")
        if self._failure is not None and not done:
            raise self._failure
        return done

    def seal(self, pieces: Sequence[bytes | memoryview]) -> Iterator[bytes]:
        """The ciphertext of these pieces, to be sent in this order. They are not needed any more afterwards."""
        whole = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))  # few and full records
        for at in range(0, len(whole), SEAL_BYTES):
            self._tls.write(whole[at : at + SEAL_BYTES])
            yield self._outgoing.read()

    def close(self) -> None:
        """Say that we send no more (close_notify); it is in output()."""
        if self.ready:
            with suppress(ssl.SSLError):  # the peer has not said it yet, or the session has failed
                self._tls.unwrap()


_WORDS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the peer has shown no certificate",
    "NO_SHARED_CIPHER": "no cipher suite of the peer is allowed here",
    "UNSUPPORTED_PROTOCOL": "the peer offers no TLS 1.2 or newer",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the peer takes none of our TLS versions",
    "WRONG_VERSION_NUMBER": "the peer does not speak TLS",
    "HTTP_REQUEST": "the peer speaks HTTP",
    "HTTPS_PROXY_REQUEST": "the peer speaks HTTP",
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not know the authority of our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the peer does not take our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the peer does not take our certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the peer does not take certificates like ours",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the peer says that our certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the peer says that our certificate is revoked",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer wants a certificate from us",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the peer takes none of our cipher suites, or wants a certificate from us",
    "TLSV1_ALERT_INTERNAL_ERROR": "the peer has failed",
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": "a record was changed on the way",
}
"""OpenSSL's reasons (err.h) in words."""


def why(error: Exception) -> str:
    """What is wrong with the TLS of a peer, in plain words."""
    reason = getattr(error, "reason", None) or ""
    return _WORDS.get(reason) or (reason.replace("_", " ").lower() if reason else str(error))


def _sent_chain(tls: ssl.SSLObject) -> list[dict[str, Any]]:
    """The certificates that the peer has sent, though they are not good. Python has no public way to them."""
    with suppress(AttributeError, ValueError):
        return [each.get_info() for each in tls._sslobj.get_unverified_chain() or ()]  # type: ignore[attr-defined]
    return []


def _certificate(tls: ssl.SSLObject) -> PeerCertificate | None:
    der = tls.getpeercert(binary_form=True)
    fields = cast(dict[str, Any], tls.getpeercert() or {})
    if not der:
        return None
    subject = [pair for rdn in fields.get("subject", ()) for pair in rdn]
    names = [value for kind, value in subject if kind == "commonName"]
    for kind, name in fields.get("subjectAltName", ()):
        if kind in ("DNS", "URI", "IP Address"):
            names.append(_address(name) if kind == "IP Address" else name)
    return PeerCertificate(
        subject=", ".join(f"{_SHORT.get(kind, kind)}={value}" for kind, value in subject),
        names=tuple(dict.fromkeys(names)),
        sha256=hashlib.sha256(der).hexdigest(),
    )


_SHORT = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU", "countryName": "C",
          "localityName": "L", "stateOrProvinceName": "ST", "domainComponent": "DC"}  # fmt: skip


def _address(text: str) -> str:
    """OpenSSL writes IPv6 addresses at full length."""
    with suppress(ValueError):
        return str(ipaddress.ip_address(text.strip()))
    return text
