"""What the service tells systemd, sd_notify(3): that it is ready, how it is, that it lives. Without systemd: nothing.

A message is one datagram of KEY=value lines to the socket that NOTIFY_SOCKET names.
"""

import logging
import socket
import time
from collections.abc import MutableMapping

_SEND_LIMIT_S = 1.0  # systemd reads at once; a socket that is full must not hold up the service for long
_logger = logging.getLogger("leyden.systemd")


class Systemd:
    """The one who started this process, if that was systemd."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Takes the variables out of `environ`, so that no child speaks for the service (sd_notify(3))."""
        address = environ.pop("NOTIFY_SOCKET", "")
        usec = environ.pop("WATCHDOG_USEC", "")
        environ.pop("WATCHDOG_PID", None)
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        watched = bool(address) and usec.isascii() and usec.isdigit() and int(usec) > 0
        self._ping_every_s = int(usec) / 2e6 if watched else 0.0
        self._ping_at_s = 0.0
        self._failing = False

    def tell(self, **fields: object) -> None:
        """Send the fields, for example READY=1, STATUS="...". Never raises; the first failure is logged."""
        if not self._address:
            return
        message = "\n".join(f"{key}={' '.join(str(value).splitlines())}" for key, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(_SEND_LIMIT_S)
                channel.sendto(message.encode("utf-8", "backslashreplace"), self._address)
            self._failing = False
        except OSError as error:
            if not self._failing:
                self._failing = True
                _logger.warning("systemd can't be told how the service is: %s", error)

    def tell_reloading(self) -> None:
        """To be followed by READY=1. The time tells this reload from an earlier one (Type=notify-reload)."""
        self.tell(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)

    def ping_due(self) -> bool:
        """Whether WATCHDOG=1 is to be sent now: twice in WatchdogSec=, and never without it."""
        now_s = time.monotonic()
        if not self._ping_every_s or now_s < self._ping_at_s:
            return False
        self._ping_at_s = now_s + self._ping_every_s
        return True
