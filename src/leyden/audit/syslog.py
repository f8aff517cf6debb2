"""Syslog over TLS: messages of RFC 5424 in the frames of RFC 5425, as PS3.15 A.6 asks for."""

import contextlib
import fcntl
import os
import select
import socket
import ssl
import struct
import termios
import time
from datetime import UTC, datetime

from leyden.audit.settings import CollectorSettings

_PRIORITY = 10 * 8 + 5  # facility security/authorization, severity notice (PS3.15 A.6)
_MESSAGE_ID = "DICOM+RFC3881"
_TIMEOUT_S = 10.0
_POLL_S = 0.02
_BOM = b"\xef\xbb\xbf"


def frame(document: bytes, host: str, at_s: float) -> bytes:
    """One message with its length in front (RFC 5425 4.3)."""
    when = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = f"<{_PRIORITY}>1 {when} {host} leyden {os.getpid()} {_MESSAGE_ID} - ".encode()
    message = head + _BOM + document
    return b"%d %b" % (len(message), message)


class Connection:
    """A TLS connection to a collector. OSError: it can't be reached, is not who it should be, or is gone."""

    def __init__(self, settings: CollectorSettings) -> None:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.certificate:
            context.load_cert_chain(settings.certificate, settings.key or None)
        plain = socket.create_connection((settings.host, settings.port), _TIMEOUT_S)
        try:
            self._socket = context.wrap_socket(plain, server_hostname=settings.host)
        except BaseException:
            plain.close()
            raise

    def send(self, frames: bytes) -> None:
        """Send, and wait until the other system's TCP has it all: syslog has no answer that would say more. OSError."""
        self._look()
        self._socket.sendall(frames)
        deadline_s = time.monotonic() + _TIMEOUT_S
        while _unacknowledged(self._socket):
            self._look()
            if time.monotonic() > deadline_s:
                raise TimeoutError("it does not acknowledge what is sent")
            time.sleep(_POLL_S)
        self._look()

    def _look(self) -> None:
        """What it sends is dropped; syslog has no answers. OSError: it has closed the connection."""
        while select.select([self._socket], [], [], 0)[0]:
            self._socket.setblocking(False)
            try:
                if not self._socket.recv(4096):
                    raise ConnectionResetError("it has closed the connection")
            except ssl.SSLWantReadError:
                return
            finally:
                self._socket.settimeout(_TIMEOUT_S)

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._socket.settimeout(1.0)
            self._socket.unwrap()  # close_notify, as RFC 5425 4.4 asks for
        self._socket.close()


def _unacknowledged(connection: socket.socket) -> int:
    """How many bytes the other system's TCP has not acknowledged (tcp(7), SIOCOUTQ)."""
    (count,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))
    return int(count)
