"""systemd as the service sees it: a socket that takes what is told, sd_notify(3)."""

import socket

from support.service import LIMIT_S


class Notified:
    """The other end of NOTIFY_SOCKET; an address that begins with @ is an abstract one."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._socket.settimeout(LIMIT_S)

    def next(self) -> dict[str, str]:
        """The next message, by its keys."""
        return dict(line.split("=", 1) for line in self._socket.recv(65536).decode().split("\n"))

    def until(self, key: str, text: str = "") -> list[dict[str, str]]:
        """The messages up to the one that has this key, with this text in its value."""
        found = [self.next()]
        while key not in found[-1] or text not in found[-1][key]:
            found.append(self.next())
        return found

    def close(self) -> None:
        self._socket.close()
