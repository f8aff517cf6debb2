"""The sender as a real process on a spool that the test fills."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from leyden.board import Board
from leyden.config.settings import ReceiverSettings, Settings
from leyden.deliver.destination import Destination
from leyden.dicom.negotiate import AcceptorPolicy
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_LE
from leyden.heartbeat import ROW_BYTES
from leyden.inherited import descriptors_as_text
from leyden.plan.rules import PlanSettings, Sorting
from leyden.published import Publisher
from leyden.spool import doorbell, recover
from leyden.spool.entry import Entry, ReceiptClock, key
from leyden.spool.stage import Stage
from leyden.spool.store import Spool
from support.service import ENDS_WITHIN_S, LIMIT_S, wait_for

CT = "1.2.840.10008.5.1.4.1.1.2"


class Sender:
    """`leyden role sender 0`, started as the supervisor does it, on a spool that the test fills."""

    def __init__(
        self, folder: Path, *destinations: Destination, sortings: tuple[Sorting, ...] | None = None, **settings
    ) -> None:
        self.folder, self.root = folder, folder / "cache"
        self.spool = Spool(self.root, sync=False)
        self.spool.prepare([d.ae_title for d in destinations])
        self.clock = ReceiptClock(0)
        self.settings = Settings(
            path=str(folder),
            log_dir=str(folder / "log"),
            cache_path=str(self.root),
            scp_port=0,
            my_ae_title="LEYDEN",
            receiver=ReceiverSettings(AcceptorPolicy(("LEYDEN",))),
            plan=PlanSettings("LEYDEN", {}, (), sortings=sortings),
            destinations=destinations,
            **settings,
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.lifeline = -1

    def put(
        self,
        number: int,
        data: bytes = b"",
        *,
        to="PACS",
        sop_class=CT,
        syntax=EXPLICIT_LE,
        calling="CT1",
        rank="50",
        uid="",
        series="",
        serial=False,
        stage=Stage.PREPARED,
        make="",
    ) -> str:
        """An entry in prepared/ or `stage`, as the planner leaves it; its SOP Instance UID."""
        uid = uid or f"2.25.77.{number}"
        receipt = self.clock.next(int(time.time() * 1e6))
        fd, path = self.spool.embryo(receipt)
        with open(fd, "wb") as file:
            file.write(encode_head(FileMeta(sop_class, uid, syntax, calling, calling, to)))
            file.write(data or dataset(sop_class, uid))
        entry = Entry(
            receipt, key(uid), key("2.25.1"), key(calling), key(series) if series else "", make, serial=serial
        )
        assert self.spool.plan_one(path, entry, stage, to, rank)
        return uid

    def start(self) -> "Sender":
        published, heartbeats_fd = Publisher(), os.memfd_create("heartbeats")
        published.publish(self.settings.generation, self.settings.to_json())
        os.ftruncate(heartbeats_fd, ROW_BYTES)
        board = Board([("sender", 0)])
        read_fd, self.lifeline = os.pipe()
        fds = {"settings": published.fd, "lifeline": read_fd, "heartbeats": heartbeats_fd, "board": board.fd}
        words = ["--row", "0", "--descriptors", descriptors_as_text(fds)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "leyden", "role", "sender", "0", *words],
            pass_fds=tuple(fds.values()),
            stderr=subprocess.DEVNULL,
        )
        for fd in fds.values():
            os.close(fd)
        return self

    def ring(self) -> None:
        doorbell.ring(self.root, "sender")

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(ENDS_WITHIN_S)

    def reclaim(self) -> None:
        """Give back the claims of a dead sender, as the supervisor does before it starts the next one."""
        recover.reclaim(self.spool, "sender-0")

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(ENDS_WITHIN_S)
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1

    @property
    def log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "log" / "leyden.log").read_text()
        return ""

    def wait_line(self, text: str, limit_s: float = LIMIT_S) -> None:
        wait_for(lambda: text in self.log, limit_s, f"{text!r} in {self.log[-2000:]}")

    def counts(self) -> dict[str, int]:
        """The number of objects in each folder that holds any."""
        counted: Counter[str] = Counter()
        for count in self.spool.counts():
            counted[count.stage] += count.files
        return dict(+counted)

    def wait_counts(self, limit_s: float = LIMIT_S, **expected: int) -> None:
        try:
            # Twice: an object that moves may be missed by the first look, or be seen in two places.
            wait_for(lambda: self.counts() == expected and self.counts() == expected, limit_s)
        except AssertionError:
            raise AssertionError(f"expected {expected}, there are {self.counts()}\n{self.log[-3000:]}") from None

    def whys(self) -> list[dict]:
        return [json.loads(path.read_bytes()) for path in sorted(self.root.glob("rejected/*/*.json"))]

    def receipts(self) -> list[dict]:
        paths = sorted(self.root.glob("receipts/*.log"))
        return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]


def dataset(
    sop_class: str, uid: str, size: int = 200, *, modality="", series="", number: int | str | None = None
) -> bytes:
    """A dataset in explicit little endian: SOP class and instance, and a comment of `size` bytes; and what else is
    given: modality, series and instance number."""

    def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
        value += (b"\0" if vr == b"UI" else b" ") * (len(value) & 1)
        length = len(value).to_bytes(4, "little")
        return group.to_bytes(2, "little") + number.to_bytes(2, "little") + vr + b"\0\0" + length + value

    def short(group: int, number: int, vr: bytes, value: bytes) -> bytes:
        value += (b"\0" if vr == b"UI" else b" ") * (len(value) & 1)
        head = group.to_bytes(2, "little") + number.to_bytes(2, "little") + vr
        return head + len(value).to_bytes(2, "little") + value

    return (
        short(8, 0x16, b"UI", sop_class.encode())
        + short(8, 0x18, b"UI", uid.encode())
        + (short(8, 0x60, b"CS", modality.encode()) if modality else b"")
        + (short(0x20, 0xE, b"UI", series.encode()) if series else b"")
        + (short(0x20, 0x13, b"IS", str(number).encode()) if number is not None else b"")
        + element(0x20, 0x4000, b"UT", b"x" * size)
    )


def destination(port: int, title: str = "PACS", **keys) -> Destination:
    return Destination(title, "127.0.0.1", port, **keys)
