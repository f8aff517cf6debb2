"""How long does one caller wait beside the flood of another? Its answer, and its arrival at two destinations.

    python perf/fairness.py [--floods none,ct,small,stack,slow] [--line-mb-per-s 20] [--seconds 20] [--rounds 3]

The quiet caller sends a CT of 0.5 MB each half second to PACS and to OTHER in turn, an association for each. The other
one floods PACS from a process of its own for as long: eight associations that send CT, objects of 10 KB or multi-frame
ones of 210 MB as fast as they are answered; or a hundred that send 1 kB/s each (slow). `none`: the quiet caller is
alone. Both destinations are processes of their own and write down when each object has come whole. PACS reads no faster
than --line-mb-per-s (0 = as fast as it can), so that what the flood sends waits for it.
Each row is a percentile of the time from the begin of the request: to its answer, and to the last byte at the
destination. What had not arrived LATE_S after the end counts as if it had come then. `flood` is what the flood got
through meanwhile, in objects a second.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import uvloop

import objects
import peers
import rig
import source
from leyden.errors import LeydenError
from leyden.net.scu import Association
from leyden.tune.load import Stock, Uids

EACH_S = 0.5
LATE_S = 30.0
WARM_S = 3.0  # the flood is there for so long before the quiet caller begins
SLOW, SLOW_BYTES_PER_S = 100, 1000
FLOODS = {"ct": 8, "small": 8, "stack": 8}  # kind of object -> associations


@dataclass(slots=True)
class Times:
    """Of the quiet caller, in ms. `flood_per_s`: what the other one got through."""

    answer: list[float] = field(default_factory=list)
    arrival: dict[str, list[float]] = field(default_factory=dict)
    failed: int = 0
    flood_per_s: float = 0.0


class Trickle:
    """A RateLimit: so many bytes a second."""

    def permit(self, size_bytes: int, now_s: float) -> float:
        return size_bytes / SLOW_BYTES_PER_S


async def quiet(port: int, seconds: float) -> tuple[dict[str, dict[str, float]], list[float], int]:
    """Send one object each EACH_S. Returns when each was begun, by destination and UID; the times to the answers in
    ms; and how many were refused."""
    ct = objects.made("ct")
    stock = Stock([ct], Uids(random.randrange(10**10)))
    begun: dict[str, dict[str, float]] = {"PACS": {}, "OTHER": {}}
    answers: list[float] = []
    failed = 0

    async def one(called: str) -> None:
        nonlocal failed
        _, uid, fd = stock.take()
        start_s = time.monotonic()
        try:
            link = await Association.open(
                "127.0.0.1", port, calling="QUIET", called=called, contexts=[(ct.sop_class, ct.syntax)]
            )
            begun[called][uid] = start_s
            said = await link.store(link.accepted[ct.sop_class, ct.syntax], ct.sop_class, uid, fd, 0, ct.size_bytes)
            answers.append((time.monotonic() - start_s) * 1e3)
            if said.status:
                failed += 1
                del begun[called][uid]
            await link.release()
        except LeydenError:
            failed += 1
            begun[called].pop(uid, None)
        finally:
            stock.give_back(ct, fd)

    tasks = []
    for number in range(int(seconds / EACH_S)):
        tasks.append(asyncio.create_task(one(("PACS", "OTHER")[number % 2])))
        await asyncio.sleep(EACH_S)
    await asyncio.gather(*tasks)
    stock.close()
    return begun, answers, failed


async def slowly(port: int, seconds: float) -> None:
    """SLOW associations, each of which sends an object at SLOW_BYTES_PER_S."""
    ct = objects.made("ct")
    stock = Stock([ct], Uids(random.randrange(10**10), 1))

    async def one() -> None:
        _, uid, fd = stock.take()
        link = await Association.open(
            "127.0.0.1", port, calling="FLOOD", called="PACS", contexts=[(ct.sop_class, ct.syntax)]
        )
        context = link.accepted[ct.sop_class, ct.syntax]
        with suppress(LeydenError, TimeoutError):
            async with asyncio.timeout(seconds):
                await link.store(context, ct.sop_class, uid, fd, 0, ct.size_bytes, throttle=Trickle())
        link.abort()

    await asyncio.gather(*(one() for _ in range(SLOW)))
    stock.close()


@contextmanager
def flood(kind: str, port: int, seconds: float) -> Iterator[Times]:
    """Another process that floods the service meanwhile."""
    times = Times()
    if kind == "none":
        yield times
        return
    if kind == "slow":
        words = [__file__, "--as-slow", str(port), "--seconds", str(seconds)]
    else:
        words = [source.__file__, f"127.0.0.1:{port}", kind, "--called", "PACS", "--calling", "FLOOD"]
        words += ["--associations", str(FLOODS[kind]), "--seconds", str(seconds), "--json"]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(WARM_S)
        yield times
        with suppress(subprocess.TimeoutExpired, json.JSONDecodeError):
            said, _ = process.communicate(timeout=peers.LIMIT_S)
            times.flood_per_s = json.loads(said)["per_s"]
    finally:
        process.kill()
        process.wait()


def arrived(order: Path) -> dict[str, float]:
    """UID -> when it had come whole, as a destination has written it down."""
    found: dict[str, float] = {}
    for line in order.read_text().splitlines():
        with suppress(json.JSONDecodeError):
            said = json.loads(line)
            if said["calling"] == "QUIET" or said["uid"] not in found:
                found.setdefault(said["uid"], said["ended_s"])
    return found


def measured(kind: str, seconds: float, line_mb_per_s: float, folder: Path) -> Times:
    orders = {title: folder / f"{title}.order" for title in ("PACS", "OTHER")}
    slow = ["--mb-per-s", str(line_mb_per_s)] if line_mb_per_s else []
    with (
        peers.running(peers.sink("--order", str(orders["PACS"]), *slow)) as pacs,
        peers.running(peers.sink("--order", str(orders["OTHER"]))) as other,
        peers.leyden(folder / "leyden", {"PACS": pacs.port, "OTHER": other.port}) as service,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop,
    ):
        loop.run(quiet(service.port, 2 * EACH_S))
        with flood(kind, service.port, WARM_S + seconds) as times:
            begun, times.answer, times.failed = loop.run(quiet(service.port, seconds))
        until_s = time.monotonic() + LATE_S
        while any(begun[title].keys() - arrived(orders[title]).keys() for title in orders):
            if time.monotonic() > until_s:
                break
            time.sleep(0.5)
        for title, uids in begun.items():
            come = arrived(orders[title])
            times.arrival[title] = [(come.get(uid, until_s) - begun_s) * 1e3 for uid, begun_s in uids.items()]
    return times


def figures(times: Times) -> Iterator[tuple[str, float]]:
    for percent in (50, 99):
        for what, found in {"answer": times.answer, **times.arrival}.items():
            yield f"{what} p{percent}", source.percentile(sorted(found), percent)


def main(words: Sequence[str] | None = None) -> None:
    parser = rig.parser(__doc__, rounds=3)
    parser.add_argument("--floods", default="none,ct,small,stack,slow")
    parser.add_argument("--line-mb-per-s", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--as-slow", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.as_slow is not None:
        uvloop.run(slowly(asked.as_slow, asked.seconds))
        return
    with rig.Run(asked) as run:
        kinds = asked.floods.split(",")
        seconds = 8.0 if run.quick else asked.seconds
        found, _ = rig.alternate(
            {kind: partial(measured, kind, seconds, asked.line_mb_per_s) for kind in kinds}, run.rounds, run.folder
        )
        table: dict[str, list[float]] = {}
        for kind, rounds in found.items():
            for times in rounds:
                for name, value in figures(times):
                    table.setdefault(f"{kind}: {name}", []).append(value)
        run.add(rig.Comparison("the quiet caller, beside a flood of", "ms", table))
        for kind, rounds in found.items():
            rates = ", ".join(f"{times.flood_per_s:.0f}" for times in rounds)
            run.note(f"{kind}: flood {rates} objects/s; refused to the quiet caller: {sum(t.failed for t in rounds)}")


if __name__ == "__main__":
    main()
