"""What we go by when we call a peer over TLS: its authorities, revocation lists, our own certificate; all from files.

Reading them takes some milliseconds, and a key is worked on: not for an event loop. A context is kept until one of its
files changes, so that a certificate is exchanged while the service runs; as long as new files are wrong, it goes on by
the old ones and says so. Deliberately absent: a call without checks.
"""

import logging
import os
import ssl
import stat
import threading
from dataclasses import dataclass, field

from leyden.errors import LeydenError

logger = logging.getLogger("leyden.sender")

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_FILE_MAX_BYTES = 16 << 20  # the CRLs of a large authority have some MB
_CERTIFICATE, _KEY, _LIST = b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----", b"-----BEGIN X509 CRL-----"

Stamp = tuple[tuple[int, int, int] | None, ...]


class BadFile(LeydenError):
    """A file that can't be used for TLS; `key` is the one of nodes.yml that names it, the text says what is wrong."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


@dataclass(frozen=True, slots=True)
class Files:
    """The PEM files of a call, by their paths; "" = none, for `authorities` those of the system."""

    authorities: str = ""
    certificate: str = ""
    key: str = ""
    revocation_lists: str = ""


def client_context(files: Files) -> ssl.SSLContext:
    """For calls of a peer that one of the authorities has to vouch for. Raises BadFile."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an authority in between, or the peer's own, may be enough
    if files.authorities:
        _load(context, "Authorities", files.authorities, _CERTIFICATE, "certificate")
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if files.revocation_lists:
        _load(context, "RevocationLists", files.revocation_lists, _LIST, "CRL")
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    if files.certificate:
        _load_own(context, files)
    return context


def _load(context: ssl.SSLContext, key: str, path: str, mark: bytes, what: str) -> None:
    content = _content(key, path)
    if mark not in content:
        raise BadFile(key, f"{path} holds no {what} in PEM")
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise BadFile(key, f"{path}: the {what} can't be read ({_reason(error)})") from error


def _load_own(context: ssl.SSLContext, files: Files) -> None:
    if _CERTIFICATE not in _content("Certificate", files.certificate):
        raise BadFile("Certificate", f"{files.certificate} holds no certificate in PEM")
    secret = _content("Key", files.key)
    if _KEY not in secret:
        raise BadFile("Key", f"{files.key} holds no private key in PEM")
    if b"ENCRYPTED" in secret:
        raise BadFile("Key", f"{files.key} has a passphrase, which nobody could type; take it off (openssl pkey)")
    check_private("Key", files.key)
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ValueError) as error:
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            raise BadFile("Key", f"{files.key} is not the key of {files.certificate}") from error
        raise BadFile("Certificate", f"{files.certificate} with {files.key}: {_reason(error)}") from error


def check_private(key: str, path: str) -> None:
    """That only the owner of a file has rights to it; systemd itself sees to those of a credential. Raises BadFile."""
    held = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if held and os.path.dirname(path) == held:
        return
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise BadFile(key, f"{path}: {error.strerror}") from error
    if mode & _OTHERS:
        raise BadFile(key, f"others than its owner have rights to {path}; chmod 600 takes them away")


def _content(key: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(_FILE_MAX_BYTES + 1)
    except OSError as error:
        raise BadFile(key, f"{path}: {error.strerror}") from error
    if len(content) > _FILE_MAX_BYTES:
        raise BadFile(key, f"{path} is larger than {_FILE_MAX_BYTES >> 20} MiB")
    return content


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(reason).replace("_", " ").lower()


@dataclass(slots=True)
class _Kept:
    stamp: Stamp  # of the files when they were last looked at, good or not
    context: ssl.SSLContext


@dataclass(slots=True)
class Contexts:
    """The contexts in use, for several threads."""

    _kept: dict[Files, _Kept] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def current(self, files: Files, whose: str) -> ssl.SSLContext:
        """As the files are now; as they were, while they are wrong, which the log says of the peer `whose`.

        Raises BadFile: they never were right.
        """
        with self._lock:
            stamp = _stamp(files)
            kept = self._kept.get(files)
            if kept is not None and kept.stamp == stamp:
                return kept.context
            try:
                self._kept[files] = _Kept(stamp, client_context(files))
            except BadFile as error:
                if kept is None:
                    raise
                kept.stamp = stamp
                logger.error("%s: the changed files for TLS are not used, and those from before stay: %s", whose, error)
            return self._kept[files].context


def _stamp(files: Files) -> Stamp:
    system = ssl.get_default_verify_paths()
    authorities = (files.authorities,) if files.authorities else (system.cafile or "", system.capath or "")
    paths = (*authorities, files.certificate, files.key, files.revocation_lists)
    return tuple(_seen(path) for path in paths if path)


def _seen(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
