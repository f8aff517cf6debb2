"""What TLS goes by, from files: certificate, key, authorities, revocation lists; and when each of them ends.

Reading them takes milliseconds (large revocation lists: more), and a key is worked on: not for an event loop. A
context is made anew from all files, never changed: so connections go on by the one that they began with, and whoever
wants to resume a session of another one shakes hands anew, and is checked again.
"""

import os
import ssl
import stat
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import msgspec

from leyden.errors import LeydenError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_FILE_MAX_BYTES = 64 << 20  # revocation lists of a large authority have some MB
_CERTIFICATE, _KEY, _LIST = b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----", b"-----BEGIN X509 CRL-----"
_LIST_LATE = 0.1  # of its life: a revocation list is renewed every few days, and in time if more than that is left

_GCM = ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256")  # fmt: skip
_MORE = ("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
         "ECDHE-ECDSA-AES256-CCM", "ECDHE-ECDSA-AES128-CCM")  # fmt: skip
PROFILES = {
    "bcp195": _GCM,  # PS3.15 B.12, which asks for BCP 195: RFC 9325 section 4.2
    "modified": (*_GCM, *_MORE),  # PS3.15 B.13; without Camellia, which few libraries still have, and 8-byte tags
}
"""The cipher suites for TLS 1.2 of each profile, by OpenSSL's names. Those of TLS 1.3 are the same for both:
AES-256-GCM, ChaCha20-Poly1305, AES-128-GCM (RFC 8446 section 9.1), which are what OpenSSL has switched on."""

_LEVEL = "@SECLEVEL=2"  # no RSA below 2048 bits, no curve below 224, no SHA-1 (RFC 9325 section 4.5; B.13: 256 bits)


class BadFile(LeydenError):
    """A file can't be used for TLS. `key` names it in the configuration; the text says what is wrong and what to do."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


class NotOurs(BadFile):
    """This user may not read the file; the user as whom the service runs perhaps may."""


class Listener(msgspec.Struct, frozen=True):
    """The listener for TLS: its port (0 = there is none) and its PEM files by their absolute paths ("" = none).

    `client_auth`: required, optional or off; whoever shows a certificate shows a good one. `profile`: of PROFILES.
    """

    port: int = 0
    certificate: str = ""
    key: str = ""
    authorities: str = ""
    revocation_lists: str = ""
    client_auth: str = "required"
    profile: str = "bcp195"

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(path for path in (self.certificate, self.key, self.authorities, self.revocation_lists) if path)


NO_LISTENER = Listener()


def server_context(listener: Listener) -> ssl.SSLContext:
    """For the connections of those who call us. Takes some milliseconds. Raises BadFile."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    restrict(context, listener.profile)
    context.options |= ssl.OP_NO_TICKET  # and under TLS 1.3, where there are tickets nevertheless:
    context.num_tickets = 0
    load_own(context, listener.certificate, listener.key)
    if listener.client_auth != "off":
        load_trusted(context, listener.authorities, listener.revocation_lists)
        context.verify_mode = ssl.CERT_REQUIRED if listener.client_auth == "required" else ssl.CERT_OPTIONAL
    return context


def restrict(context: ssl.SSLContext, profile: str) -> None:
    """To the versions and cipher suites of a profile of PS3.15 annex B. TLS 1.3 is what both sides prefer."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join((*PROFILES[profile], _LEVEL)))
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE


def load_trusted(context: ssl.SSLContext, authorities: str, revocation_lists: str) -> None:
    """Who may vouch for a peer ("" = the authorities of the system), and whom to refuse nevertheless ("" = nobody).

    Any certificate of the file is trusted, one in between and a peer's own too. A list is needed from each authority of
    a chain; without it, or with one that has ended, the peer is refused (RFC 5280 section 6.3): else it would be enough
    to keep a list from us. Raises BadFile.
    """
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if authorities:
        _load(context, "authorities", authorities, _CERTIFICATE, "certificate")
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if revocation_lists:
        _load(context, "revocationLists", revocation_lists, _LIST, "CRL")
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _load(context: ssl.SSLContext, key: str, path: str, mark: bytes, what: str) -> None:
    content = content_of(key, path)
    if mark not in content:
        raise BadFile(key, f"{path} holds no {what} in PEM{_der(content, what)}")
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise BadFile(key, f"{path}: the {what} can't be read ({_reason(error)})") from error


def load_own(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Our certificate, with those in between, and its private key. Raises BadFile."""
    content = content_of("certificate", certificate)
    if _CERTIFICATE not in content:
        raise BadFile("certificate", f"{certificate} holds no certificate in PEM{_der(content, 'certificate')}")
    secret = content_of("key", key)
    if _KEY not in secret:
        raise BadFile("key", f"{key} holds no private key in PEM")
    if b"ENCRYPTED" in secret:
        raise BadFile("key", f"{key} has a passphrase, which nobody is here to give; openssl pkey takes it off")
    check_private("key", key)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", "") or ""
        if reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
            raise BadFile("key", f"{key} is not the key of {certificate}") from error
        if reason in ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
            words = {"E": "its key is too small", "C": "it is signed in a way that is too weak"}[reason[0]]
            remedy = "ask for RSA of 2048 bits or P-256, and SHA-256"
            raise BadFile("certificate", f"{certificate}: {words}; {remedy}") from error
        raise BadFile("certificate", f"{certificate} with {key}: {_reason(error)}") from error


def check_private(key: str, path: str) -> None:
    """That only the owner of a file has rights to it; systemd itself sees to those of a credential. Raises BadFile."""
    if os.path.dirname(path) == os.environ.get("CREDENTIALS_DIRECTORY"):
        return
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise unread(key, path, error) from error
    if mode & _OTHERS:
        raise BadFile(key, f"others than its owner have rights to {path}; chmod 600 takes them away")


def content_of(key: str, path: str) -> bytes:
    """Of a file that the configuration names. Raises BadFile."""
    try:
        with open(path, "rb", opener=_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadFile(key, f"{path} is no file")
            content = file.read(_FILE_MAX_BYTES + 1)
    except OSError as error:
        raise unread(key, path, error) from error
    if len(content) > _FILE_MAX_BYTES:
        raise BadFile(key, f"{path} is larger than {_FILE_MAX_BYTES >> 20} MiB")
    return content


def _at_once(path: str, flags: int) -> int:
    """A FIFO would wait for its writer for ever, and the service with it."""
    return os.open(path, flags | os.O_NONBLOCK)


def unread(key: str, path: str, error: OSError) -> BadFile:
    """Why a file can't be read, and what to do."""
    if isinstance(error, PermissionError):
        return NotOurs(key, f"{path}: {error.strerror}; it has to belong to the user of the service")
    remedy = "; put the file there, or mend its path" if isinstance(error, FileNotFoundError) else ""
    return BadFile(key, f"{path}: {error.strerror}{remedy}")


def _der(content: bytes, what: str) -> str:
    """What to do with a file in binary form, as authorities publish them."""
    tool = "crl" if what == "CRL" else "x509"
    return f"; it is in DER: openssl {tool} -inform DER makes PEM of it" if content[:1] == b"\x30" else ""


Stamp = tuple[tuple[int, ...] | None, ...]


def stamp_of(paths: Iterable[str]) -> Stamp:
    """Another one if one of the files was exchanged, written, removed or brought back, or is open to others now."""
    return tuple(map(_seen, paths))


def _seen(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode, status.st_uid


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(reason).replace("_", " ").lower()


class Term(NamedTuple):
    """From when until when a certificate or a revocation list holds, in seconds since 1970, and whose it is.

    `is_authority`: it may sign others.
    """

    subject: str
    begins_s: float
    ends_s: float
    is_list: bool = False
    is_authority: bool = False

    def warn_s(self, before_s: float) -> float:
        """From when on to warn, if certificates are to be warned of so long before."""
        return self.ends_s - (min(before_s, _LIST_LATE * (self.ends_s - self.begins_s)) if self.is_list else before_s)


def terms(path: str) -> list[Term]:
    """Of all certificates and revocation lists of a PEM file; at least one. OSError; ValueError: it holds none."""
    from cryptography import x509  # lazily: 0.1 s, and only who looks at ends needs it

    with open(path, "rb", opener=_at_once) as file:
        content = file.read(_FILE_MAX_BYTES)
    found = []
    for block in content.split(b"-----BEGIN ")[1:]:
        pem = b"-----BEGIN " + block
        if pem.startswith(_CERTIFICATE):
            each = x509.load_pem_x509_certificate(pem)
            begin, end = each.not_valid_before_utc.timestamp(), each.not_valid_after_utc.timestamp()
            signs = [
                extension.value.ca
                for extension in each.extensions
                if isinstance(extension.value, x509.BasicConstraints)
            ]
            found.append(Term(each.subject.rfc4514_string(), begin, end, is_authority=any(signs)))
        elif pem.startswith(_LIST) and (crl := x509.load_pem_x509_crl(pem)).next_update_utc is not None:
            begin, end = crl.last_update_utc.timestamp(), crl.next_update_utc.timestamp()
            found.append(Term(crl.issuer.rfc4514_string(), begin, end, is_list=True))
    if not found:
        raise ValueError(f"no certificate is in {path}")
    return found


class Ending(msgspec.Struct, frozen=True):
    """When the first of what a file holds ends, in seconds since 1970 (0 = it can't be read), and when to tell of it.

    `what`: it, in words.
    """

    what: str
    ends_s: float = 0.0
    told_s: float = 0.0


def ending(of: str, path: str, before_s: float) -> Ending:
    """`of`: whose file it is. `before_s`: so long before its end a certificate is told of. Not for an event loop."""
    try:
        return _ending(of, path, before_s, stamp_of((path,)))
    except (OSError, ValueError):
        return Ending(f"the certificate for {of}")


@lru_cache(maxsize=256)  # for as long as the file stays as it is: a revocation list may be long
def _ending(of: str, path: str, before_s: float, stamp: Stamp) -> Ending:
    first = min(terms(path), key=lambda term: term.warn_s(before_s))
    what = f"the revocation list for {of}" if first.is_list else f"the certificate for {of}"
    return Ending(f"{what}, {first.subject},", first.ends_s, first.warn_s(before_s))
