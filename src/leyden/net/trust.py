"""What we go by when we call a peer over TLS: its authorities, revocation lists, our own certificate; all from files.

Reading them takes some milliseconds, and a key is worked on: not for an event loop. A context is kept until one of its
files changes, so that a certificate is exchanged while the service runs; as long as new files are wrong, it goes on by
the old ones and says so. Deliberately absent: a call without checks.
"""

import logging
import ssl
import threading

import msgspec

from leyden.net.certificates import BadFile, Stamp, load_own, load_trusted, restrict, stamp_of

logger = logging.getLogger("leyden.sender")


class Files(msgspec.Struct, frozen=True):
    """The PEM files of a call, by their paths; "" = none, for `authorities` those of the system."""

    authorities: str = ""
    certificate: str = ""
    key: str = ""
    revocation_lists: str = ""


def client_context(files: Files) -> ssl.SSLContext:
    """For calls of a peer that one of the authorities has to vouch for. Raises BadFile."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and name
    restrict(context, "modified")  # the suites of both profiles: the peer chooses
    load_trusted(context, files.authorities, files.revocation_lists)
    if files.certificate:
        load_own(context, files.certificate, files.key)
    return context


class _Kept(msgspec.Struct):
    stamp: Stamp  # of the files when they were last looked at, good or not
    context: ssl.SSLContext


class Contexts(msgspec.Struct):
    """The contexts in use, for several threads."""

    _kept: dict[Files, _Kept] = msgspec.field(default_factory=dict)
    _lock: threading.Lock = msgspec.field(default_factory=threading.Lock)

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
    return stamp_of(path for path in paths if path)
