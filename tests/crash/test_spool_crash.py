"""SIGKILL at each step of the trip through the spool, recovery, and a count.

Each scenario runs in a child process that kills itself before its n-th system call on the spool (rename, link, unlink,
mkdir, rmdir, open for writing, fsync, fdatasync), for each n that there is. What the outside world saw goes to a file
beside the spool before the next step: "ack" (Success was answered), "sent" (the destination has it). Then the parent
recovers as a start of the service does, goes on to the end, and counts.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from leyden.spool.batch import GroupCommit
from leyden.spool.entry import Entry, ReceiptClock, key, parse
from leyden.spool.receipts import ReceiptLog
from leyden.spool.recover import recover
from leyden.spool.stage import Stage
from leyden.spool.store import Placement, Plan, Spool

DESTINATIONS = ("PACS", "REPORTS")
SENT_TWICE_AT_MOST = 1  # by a kill between the destination's answer and the receipt


class World:
    """The spool and what the outside saw of it."""

    def __init__(self, root: Path) -> None:
        self.spool = Spool(root / "cache")
        self.log = os.open(root / "world", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.receipts = ReceiptLog(self.spool.root, "sender-0")

    def see(self, *words: str) -> None:
        os.write(self.log, (" ".join(words) + "\n").encode())

    # -- one step of each role

    def receive(self, number: int = 2) -> None:
        async def associations() -> None:
            commit = GroupCommit(self.spool, threads=1)
            clock = ReceiptClock(0)

            async def one() -> None:
                receipt = clock.next(time.time_ns() // 1000)
                fd, path = self.spool.embryo(receipt)
                os.write(fd, f"object {receipt}".encode())
                await commit.commit(fd, path, receipt)
                self.see("ack", receipt)

            await asyncio.gather(*(one() for _ in range(number)))
            commit.close()

        asyncio.run(associations())

    def plan(self, stages: dict[str, str]) -> None:
        """Plan all of new/ for these destinations: title -> stage."""
        plans = []
        for path in self.spool.newcomers(100):
            placements = []
            for destination, stage in stages.items():
                syntax = "JPEG2000Lossless" if stage == Stage.TRANSFORM else ""
                entry = Entry(path.stem, key(path.stem), key("study"), key("CT1"), syntax=syntax)
                placements.append(Placement(entry, stage, destination, "10"))
            plans.append(Plan(path, tuple(placements)))
        if len(stages) > 1:
            self.spool.plan_many(plans, 1, "planner-0")
        else:
            for plan in plans:
                (p,) = plan.placements
                self.spool.plan_one(plan.source, p.entry, p.stage, p.destination, p.rank)

    def work(self) -> None:
        for destination in DESTINATIONS:
            for waiting in self.spool.waiting(Stage.TRANSFORM, destination, 100):
                claim = self.spool.claim(waiting, "worker-0")
                assert claim is not None
                if claim.entry.crashes >= 2:
                    self.spool.passed_on(claim)
                    continue
                fd, made = self.spool.making(claim)
                os.write(fd, claim.path.read_bytes())
                os.close(fd)
                self.spool.transformed(claim, made)

    def send(self, answer: str = "success") -> None:
        for destination in DESTINATIONS:
            self.spool.due(destination, time.time() + 1000)
            for waiting in self.spool.waiting(Stage.PREPARED, destination, 100):
                claim = self.spool.claim(waiting, "sender-0")
                assert claim is not None
                assert claim.path.read_bytes() == f"object {claim.entry.receipt}".encode()
                if answer == "defer" and not claim.entry.attempt:
                    self.spool.defer(claim, time.time() + 5)
                elif answer == "reject":
                    self.spool.reject(claim, {"reason": "no"})
                elif answer == "fail":
                    self.spool.fail(claim, {"reason": "no"})
                else:
                    self.see("sent", claim.entry.receipt, destination)
                    self.receipts.append({"receipt": claim.entry.receipt, "destination": destination})
                    self.receipts.sync()
                    self.spool.delivered(claim)


def both(stage: str) -> dict[str, str]:
    return {"PACS": "prepared", "REPORTS": stage}


# name: (destinations of each object, what went before, what is killed at each step)
SCENARIOS = {
    "receive": (1, lambda w: None, lambda w: w.receive()),
    "plan one": (1, lambda w: w.receive(), lambda w: w.plan({"PACS": Stage.PREPARED})),
    "plan many": (2, lambda w: w.receive(), lambda w: w.plan(both(Stage.TRANSFORM))),
    "transform": (1, lambda w: (w.receive(), w.plan({"PACS": Stage.TRANSFORM})), lambda w: w.work()),
    "transform one of two": (2, lambda w: (w.receive(), w.plan(both(Stage.TRANSFORM))), lambda w: w.work()),
    "send": (2, lambda w: (w.receive(), w.plan(both(Stage.PREPARED))), lambda w: w.send()),
    "defer": (1, lambda w: (w.receive(), w.plan({"PACS": Stage.PREPARED})), lambda w: (w.send("defer"), w.send())),
    "reject": (1, lambda w: (w.receive(), w.plan({"PACS": Stage.PREPARED})), lambda w: w.send("reject")),
    "fail": (1, lambda w: (w.receive(), w.plan({"PACS": Stage.PREPARED})), lambda w: w.send("fail")),
    "retry": (
        1,
        lambda w: (w.receive(), w.plan({"PACS": Stage.PREPARED}), w.send("reject")),
        lambda w: w.spool.retry(Stage.REJECTED),
    ),
    "plan, work and send": (2, lambda w: w.receive(), lambda w: (w.plan(both(Stage.TRANSFORM)), w.work(), w.send())),
    "recover a plan": (2, lambda w: (w.receive(), half_planned(w)), lambda w: recover(w.spool)),
    "recover claims": (
        2,
        lambda w: (w.receive(), w.plan(both(Stage.TRANSFORM)), claim_all(w)),
        lambda w: recover(w.spool, retry_rejected=True),
    ),
}


def half_planned(world: World) -> None:
    """A planner that died after its first link."""
    pid = os.fork()
    if pid == 0:
        die_at(2, only="rename")  # the first one is that of the plan file
        world.plan(both(Stage.PREPARED))
        os._exit(1)
    os.waitpid(pid, 0)


def claim_all(world: World) -> None:
    for stage, destination, claimant in (("transform", "REPORTS", "worker-0"), ("prepared", "PACS", "sender-0")):
        for waiting in world.spool.waiting(stage, destination, 100):
            world.spool.claim(waiting, claimant)


# -- the child


def die_at(step: int, only: str = "") -> None:
    """From now on, count the system calls that change the spool; kill this process before number `step`."""
    left = step

    def wrap(name: str):
        real = getattr(os, name)

        def call(*args, **more):
            nonlocal left
            if name == "open" and not args[1] & (os.O_WRONLY | os.O_RDWR):
                return real(*args, **more)
            if only in ("", name):
                if left == 0:
                    os.kill(os.getpid(), 9)
                left -= 1
            return real(*args, **more)

        return call

    for name in ("rename", "link", "unlink", "mkdir", "rmdir", "open", "write", "fsync", "fdatasync"):
        setattr(os, name, wrap(name))


def main(scenario: str, top: Path) -> None:
    """Run the scenario with a kill at each step; print what was wrong, one line a fault, and the number of steps."""
    number, before, during = SCENARIOS[scenario]
    os.fsync = os.fdatasync = lambda fd: None  # steps like the others, but SIGKILL does not ask the disk
    step, done = 0, False
    while not done:
        root = top / str(step)
        root.mkdir()
        pid = os.fork()
        if pid == 0:
            world = World(root)
            world.spool.prepare(DESTINATIONS)
            before(world)
            die_at(step)
            during(world)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        done = os.WIFEXITED(status)
        if done and os.WEXITSTATUS(status):
            print(f"step {step}: the child failed")
            return
        for fault in count(root, DESTINATIONS[:number]):
            print(f"step {step}: {fault}")
        step += 1
    print(f"steps {step}")


def count(root: Path, destinations: tuple[str, ...]) -> list[str]:
    """Recover, look, go on to the end; what is not as it should be."""
    faults = []
    world = World(root)
    recover(world.spool)
    if os.listdir(world.spool.root / "embryo") or os.listdir(world.spool.root / "active"):
        faults.append("something half done is left after recovery")
    acknowledged = {line.split()[1] for line in seen(root) if line.startswith("ack")}
    sent = {tuple(line.split()[1:]) for line in seen(root) if line.startswith("sent")}
    standing = Counter(places(world.spool))
    for receipt in acknowledged:
        if (receipt, "") in standing:
            wanted = {(receipt, "")}
        else:
            wanted = {(receipt, destination) for destination in destinations}
        for pair in wanted - sent:
            if standing[pair] != 1:
                faults.append(f"{pair} stands in {standing[pair]} places after recovery")
    for pair, number in standing.items():
        if number > 1:
            faults.append(f"{pair} stands in {number} places")
    world.plan(both(Stage.TRANSFORM) if len(destinations) == 2 else {"PACS": Stage.PREPARED})
    for _ in range(2):
        world.spool.retry(Stage.REJECTED)
        world.spool.retry(Stage.FAILED)
        world.work()
        world.send()
    delivered = Counter(tuple(line.split()[1:]) for line in seen(root) if line.startswith("sent"))
    for receipt in acknowledged:
        for destination in destinations:
            if not delivered[receipt, destination]:
                faults.append(f"{receipt} never reached {destination}")
    if sum(delivered.values()) - len(delivered) > SENT_TWICE_AT_MOST:
        faults.append(f"sent more than once: {delivered.most_common(3)}")
    left = [path for path in world.spool.root.rglob("*") if path.is_file() and path.parent.name != "receipts"]
    if left:
        faults.append(f"left behind: {left}")
    return faults


def seen(root: Path) -> list[str]:
    return (root / "world").read_text().splitlines()


def places(spool: Spool):
    """(receipt, destination or "") of every object in the spool."""
    for path in spool.root.rglob("*.dcm"):
        parts = path.relative_to(spool.root).parts
        entry = parse(path.name.rpartition("~")[2])
        if parts[0] == "new":
            yield entry.receipt, ""
        elif parts[0] in ("failed", "active"):
            yield entry.receipt, path.name.split("~")[1]
        else:
            yield entry.receipt, parts[1]


# -- the test


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_kill_before_any_system_call_loses_nothing(scenario, tmp_path):
    """Any process may be killed at any line; recovery is the same code as a start (ARCHITECTURE.md)."""
    source = str(Path(__file__).resolve().parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((source, os.environ.get("PYTHONPATH", "")))}
    child = subprocess.run(
        [sys.executable, __file__, scenario, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    *faults, last = child.stdout.splitlines() or ["nothing"]
    assert faults == [], child.stderr
    assert last.startswith("steps "), child.stderr
    assert int(last.split()[1]) > 3


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
