"""What networks and hosts do: one service, a destination for each case, all at the same time.

The service runs in a network of its own, with files in /etc of its own (support/namespaces.py): this takes root.
"""

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from chaos import small
from chaos.rig import Destination
from chaos.scene import Scene
from support.faulty import FaultyScp, Step, Talk
from support.nameserver import Mood, NameServer
from support.namespaces import appear, come_back, own_network, vanish, with_etc
from support.peers import listens
from support.service import Service, free_port, node, wait_for

LINE = Path(__file__).resolve().parents[2] / "perf" / "line.py"
OBJECTS, OBJECT_BYTES = 3, 50_000
STALL_S = 3
SLOW_BYTES_PER_S = 20_000
MORTAL, FIRST, SECOND, NAME_SERVER = "10.9.9.9", "127.0.0.3", "127.0.0.4", "127.0.0.9"
RULE = "- Conditions: [{{Tag: Called, MatchExpression: LEYDEN}}]\n  Actions:\n{}"
SAID = {  # of a destination in the log, while it is as it is
    "STOPPED": f"not one byte moved for {STALL_S} s",
    "HALF_OPEN": f"not one byte moved for {STALL_S} s",
    "LATER": "Connection refused",
    "NAMED": "no address of named.test",
    "ASKED": "no address of asked.test",
}


@contextmanager
def line(to: int, *options: object) -> Iterator[int]:
    """The port on this side of a line that ends at port `to`."""
    port = free_port()
    words = [sys.executable, LINE, "--port", port, "--to", to, *options]
    process = subprocess.Popen([str(word) for word in words])
    try:
        wait_for(lambda: listens(port), why="the line to be there")
        yield port
    finally:
        process.kill()
        process.wait()


class Network:
    """The service and its destinations."""

    def __init__(self, folder: Path, chance: random.Random, stack: ExitStack) -> None:
        appear(MORTAL)
        self.folder, self.chance = folder, chance
        self.well, self.slow, self.far, self.later, self.asked = (FaultyScp() for _ in range(5))
        self.half_open = FaultyScp(self._vanish, host=MORTAL)
        self.named = FaultyScp(host=FIRST)
        self.renamed = FaultyScp(host=SECOND, port=self.named.port)
        self.stopped = Destination("STOPPED", folder / "STOPPED").start()
        stack.callback(self.stopped.die)
        for peer in (self.well, self.slow, self.far, self.half_open, self.asked, self.named, self.renamed):
            stack.callback(peer.start().stop)
        stack.callback(self.later.stop)
        slow = stack.enter_context(line(self.slow.port, "--mbit-per-s", SLOW_BYTES_PER_S * 8 / 1e6))
        far = stack.enter_context(line(self.far.port, "--round-trip-ms", 300, "--loss-percent", 5))
        self.servers = NameServer(NAME_SERVER, "127.0.0.1")
        self.servers.moods = [Mood.SILENT, Mood.FAILS, Mood.UNKNOWN, Mood.RUBBISH]
        stack.callback(self.servers.end)
        mortal = {"HostName": MORTAL, "StallThreshold": STALL_S, "RetryDelays": "[1]"}
        nodes = {
            "WELL": node("WELL", self.well.port),
            "SLOW": node("SLOW", slow, MinimumLineSpeed=0, StallThreshold=10),
            "FAR": node("FAR", far, StallThreshold=10),
            "LATER": node("LATER", self.later.port, RetryDelays="[0.5]"),
            "HALF_OPEN": node("HALF_OPEN", self.half_open.port, **mortal),
            "STOPPED": node("STOPPED", self.stopped.port, StallThreshold=STALL_S, RetryDelays="[1]", MaxAssociations=1),
            "NAMED": node("NAMED", self.named.port, HostName="named.test", RetryDelays="[1]"),
            "ASKED": node("ASKED", self.asked.port, HostName="asked.test", RetryDelays="[0.2]"),
        }  # fmt: skip
        self.titles = tuple(nodes)
        rule = RULE.format("".join(f"    - Target: {title}\n" for title in nodes))
        keys = {"sendAbandonGraceSeconds": 1, "connectTimeoutSeconds": 2, "workers": 1, "arenaMib": 16}
        self.leyden = Service(folder / "leyden", "".join(nodes.values()), rule, **keys)
        self.leyden.prefix = with_etc(
            folder,
            hosts=["127.0.0.1 localhost"],
            resolv_conf=[f"nameserver {NAME_SERVER}", "options timeout:1 attempts:1"],
            nsswitch_conf=["hosts: files dns"],
        )
        stack.callback(self.leyden.end)

    def _vanish(self, talk: Talk, step: Step):  # type: ignore[no-untyped-def]
        """The host loses its power when an object is whole, before the answer."""
        if step is not Step.STORED or self.half_open.misdeeds:
            return None
        return lambda _: vanish(MORTAL)

    def name(self, address: str) -> None:
        """/etc/hosts of the service says so from now on; the file stays the same one."""
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n{address} named.test\n")

    def play(self) -> dict[str, int]:
        first, second = ([f"2.25.{batch}.{number}" for number in range(OBJECTS)] for batch in (1, 2))
        self.stopped.behave("late", delay_s=0.5)
        self.leyden.start()
        asyncio.run(small.send(self.leyden.port, "LEYDEN", first, OBJECT_BYTES))
        wait_for(self.stopped.arrivals, why="an object at STOPPED")
        self.stopped.signal(signal.SIGSTOP)
        wait_for(lambda: len(self.well.answered) == OBJECTS, why="all at a destination that is well")
        for title, words in SAID.items():
            wait_for(lambda t=title, w=words: self.says(t, w), why=f"{title}: {words}")  # type: ignore[misc]
        wait_for(
            lambda: all(self.servers.queries[mood] for mood in self.servers.moods), why="all answers of the name server"
        )
        self.stopped.signal(signal.SIGCONT)
        self.stopped.behave("good")
        come_back(MORTAL)
        self.later.start()
        self.name(FIRST)
        self.servers.moods = [Mood.ANSWERS]
        self.leyden.wait_empty(120)
        self.name(SECOND)
        wait_for(lambda: not self.named.associations, why="the association by the old address to end")
        asyncio.run(small.send(self.leyden.port, "NAMED", second, OBJECT_BYTES))
        small.judge(self.leyden, dict.fromkeys(self.titles, first) | {"NAMED": [*first, *second]})
        return self.count(first, second)

    def says(self, title: str, words: str) -> bool:
        return any(f" {title}: " in line and words in line for line in self.leyden.log.splitlines())

    def count(self, first: list[str], second: list[str]) -> dict[str, int]:
        peers = {
            "WELL": self.well, "SLOW": self.slow, "FAR": self.far, "LATER": self.later, "HALF_OPEN": self.half_open,
            "NAMED": self.named, "ASKED": self.asked,
        }  # fmt: skip
        for title, peer in peers.items():
            assert set(peer.answered) == set(first), title
            assert small.came_unchanged(peer, OBJECT_BYTES), title
            assert peer is self.half_open or peer.tries.total() == OBJECTS, f"{title} got some again"
        assert set(self.renamed.answered) == set(second)
        assert {each.uid for each in self.stopped.arrivals()} == set(first)
        return {title: peer.tries.total() for title, peer in peers.items()}


def play(folder: Path, chance: random.Random) -> dict[str, int]:
    """All of it at once. Returns how many objects came to each. Raises AssertionError."""
    with own_network(), ExitStack() as stack:
        return Network(folder, chance, stack).play()


_WAITS = "its objects wait, other destinations get theirs; once it is back, all is delivered"
SCENE = Scene(
    "network",
    play,
    (
        ("a destination stops", "SIGSTOP in the middle of an association, later SIGCONT", _WAITS, ""),
        ("a destination loses its power", "its address disappears before an answer; packets are dropped", _WAITS, ""),
        (f"a line of {SLOW_BYTES_PER_S // 1000} kB/s", "a proxy (perf/line.py), MinimumLineSpeed 0",
         "nothing is aborted", ""),
        ("a line of 300 ms with 5 % loss", "a proxy (perf/line.py) that delays, and holds what is sent again",
         "nothing is aborted", ""),
        ("a destination refuses connections", "nobody listens, and later somebody does", _WAITS, ""),
        ("a name that is gone, and one that moves to another address", "/etc/hosts changes while the service runs",
         "its objects wait; what is sent after the change goes to the new address", ""),
        ("a name server that is silent, fails (SERVFAIL), knows nothing (NXDOMAIN) or talks rubbish",
         "a name server of the test", _WAITS, ""),
    ),
)  # fmt: skip
