"""What the connections to the TLS port begin with: the certificates as their files are now.

New files are taken once they have not changed for a second, so that certificate and key can be exchanged one after the
other. While they are wrong the old ones stay in force. A context is made anew every ten minutes, too: so nobody resumes
a session whose certificate was checked longer ago.
"""

import logging
import ssl
import time

from leyden import board
from leyden.board import Cell
from leyden.net.certificates import BadFile, Listener, Stamp, server_context, stamp_of
from leyden.net.tls import Session

logger = logging.getLogger("leyden.receiver")

ANEW_S = 600.0


class Secured:
    """The TLS of one receiver. `look` may take milliseconds and waits for a disk: not for an event loop."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self._context: ssl.SSLContext | None = None
        self._made_of: tuple[Listener, Stamp] | None = None  # good or not
        self._seen: Stamp = ()
        self._made_s = 0.0
        self._wrong = ""  # what is wrong with the files as they are now
        self._read(stamp_of(listener.files))

    def session(self) -> Session | None:
        """For one connection; None: there are no certificates that can be used."""
        trusted = self.listener.authorities
        return Session(self._context, server_side=True, trusted=trusted) if self._context is not None else None

    def look(self) -> None:
        """Take over what has changed. One thread at a time."""
        listener = self.listener
        before, self._seen = self._seen, stamp_of(listener.files)
        changed = self._made_of != (listener, self._seen) and before == self._seen
        if changed or time.monotonic() - self._made_s >= ANEW_S:
            self._read(self._seen)

    def _read(self, stamp: Stamp) -> None:
        listener, known = self.listener, self._made_of is not None
        changed = self._made_of != (listener, stamp)
        self._made_of, self._made_s = (listener, stamp), time.monotonic()
        try:
            self._context = server_context(listener)
        except BadFile as error:
            board.put(Cell.TLS_STALE, 1)
            before, self._wrong = self._wrong, str(error)
            if changed or self._wrong != before:
                rest = "the old ones stay in force" if self._context else "nobody gets in on the TLS port"
                logger.error("the files of tls can't be taken, %s: %s", rest, error)
        else:
            board.put(Cell.TLS_STALE, 0)
            if (changed or self._wrong) and known:
                logger.info("the files of tls were read again: %s", ", ".join(listener.files))
            self._wrong = ""
