"""The files of what is being sent: each opened when its turn has come, or while the answer to another is awaited.

What a peer needs for its answer is enough to open the next file and to read its first piece, so that the next object
follows the answer at once. Only the file is opened: it is claimed, by its name, when it is bound to the association.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from leyden.net import scu
from leyden.outbound.window import OPEN_FLAGS, Parcel


@dataclass(slots=True)
class Opened:
    """The file of one parcel; `size` counts its data set, `ahead_bytes` of which the association has read."""

    receipt: str
    fd: int
    status: os.stat_result
    size: int
    ahead_bytes: int = 0

    @classmethod
    def at(cls, path: str, parcel: Parcel) -> "Opened":
        """OSError, with nothing left open."""
        fd = os.open(path, OPEN_FLAGS)
        try:
            status = os.fstat(fd)
            return cls(parcel.receipt, fd, status, status.st_size - parcel.offset)
        except OSError:
            os.close(fd)
            raise

    def close(self) -> None:
        os.close(self.fd)


class Files:
    """What is open ahead of its turn: one file an association at most."""

    def __init__(self) -> None:
        self._ahead: dict[scu.Association, Opened] = {}

    def open(self, link: scu.Association, parcel: Parcel, path: str) -> Opened:
        """The file of a parcel that was claimed; `path` is the claim's. The caller closes it."""
        ahead = self._ahead.pop(link, None)
        if ahead is not None:
            # A receipt alone would not do: an object that was turned comes back with it, as another file.
            with suppress(OSError):
                if os.path.samestat(os.stat(path), ahead.status):
                    return ahead
            ahead.close()
        return Opened.at(path, parcel)

    def open_ahead(self, link: scu.Association, candidates: Iterable[Parcel]) -> None:
        """Open the first of the candidates that is not open yet; what hinders that is told when its turn comes."""
        others = {opened.receipt for opened in self._ahead.values()}
        parcel = next((parcel for parcel in candidates if parcel.receipt not in others), None)
        if parcel is None:
            return
        with suppress(OSError):
            opened = self._ahead[link] = Opened.at(parcel.waiting.file, parcel)
            opened.ahead_bytes = link.read_ahead(opened.fd, parcel.offset, opened.size)

    def forget(self, link: scu.Association) -> None:
        """The association has ended."""
        if (ahead := self._ahead.pop(link, None)) is not None:
            ahead.close()
