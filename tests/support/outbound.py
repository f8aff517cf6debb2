"""The parts of the sender for one destination, on a real spool."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from typing import Any

from leyden.deliver.destination import Destination
from leyden.deliver.retry import Health
from leyden.deliver.suspicion import Suspicion
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_LE
from leyden.outbound.capabilities import Capabilities
from leyden.outbound.claims import Claims
from leyden.outbound.jobs import Jobs
from leyden.outbound.queue import Instance, SendQueue
from leyden.outbound.receipts import GroupReceipts
from leyden.outbound.window import Window
from leyden.spool.entry import Entry, key
from leyden.spool.stage import Stage
from leyden.spool.store import Spool
from support.service import LIMIT_S

CT = "1.2.840.10008.5.1.4.1.1.2"
DATA = b"the data set"


class Parts:
    """What an outbox is made of, up to the associations; to be made in an event loop."""

    def __init__(self, root: Path, destination: Destination) -> None:
        title = destination.ae_title
        self.root = root
        self.destination = destination
        self.start_s = time.time()
        self.spool = Spool(root, sync=False)
        self.spool.prepare([title])
        self.threads = ThreadPoolExecutor(2)
        self.receipts = GroupReceipts(self.spool, "sender-0")
        self.suspicion = Suspicion()
        self.health = Health(destination.max_associations, destination.retry_delays_s)
        self.jobs = Jobs(title)
        queue = SendQueue(self.spool, destination, "sender-0", "LEYDEN")
        self.window = Window(title, queue, self.suspicion, self.threads)
        self.claims = Claims(destination, self.spool, "sender-0", self.window, self.receipts, self.threads, 0)
        self.capabilities = Capabilities(self.spool.root, title, self.threads)

    def put(
        self,
        number: int = 1,
        *,
        syntax: str = EXPLICIT_LE,
        stage: Stage = Stage.PREPARED,
        to_make: str = "",
        calling: str = "CT1",
        age_s: float = 0.0,
        **names: Any,
    ) -> str:
        """An entry as the planner leaves it, with the syntax `to_make` in its name; its receipt."""
        receipt = f"{int((self.start_s - age_s) * 1e6) + number:016d}000001"
        uid = f"2.25.{number}"
        fd, path = self.spool.embryo(receipt)
        with open(fd, "wb") as file:
            file.write(encode_head(FileMeta(CT, uid, syntax, sending=calling)) + DATA)
        entry = Entry(receipt, key(uid), key("s"), key(calling), syntax=to_make, **names)
        assert self.spool.plan_one(path, entry, stage, self.destination.ae_title, "05")
        return receipt

    def look(self) -> list[Instance]:
        """What waits, as who has just started sees it; deferred ones, too."""
        self.spool.due(self.destination.ae_title, 4e9)
        return SendQueue(self.spool, self.destination, "sender-0", "LEYDEN").look(
            self.window.in_hand, (), self.start_s + 1.0
        )

    def take(self) -> Instance:
        """The only one that waits, in hand."""
        (instance,) = self.look()
        self.window.waiting[instance.receipt] = instance
        return self.window.take(instance)

    def counts(self) -> dict[str, int]:
        return {count.stage: count.files for count in self.spool.counts() if count.files}

    async def ended(self) -> None:
        """Until nothing is in hand any more."""
        deadline_s = time.monotonic() + LIMIT_S
        while self.window.in_hand:
            assert time.monotonic() < deadline_s, f"still in hand after {LIMIT_S} s: {list(self.window.in_hand)}"
            await asyncio.sleep(0.001)

    async def proved(self) -> list[dict[str, Any]]:
        """The lines of all receipts, once nothing is in hand any more."""
        await self.ended()
        paths = sorted(self.root.glob("receipts/*.log"))
        return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]

    async def close(self) -> None:
        """After all that is under way."""
        await self.jobs.drain(5)
        await self.receipts.close()
        self.threads.shutdown()


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine."""

    @wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run
