"""Certificates that are not good, on either side of an association over TLS: one service, a destination for each case.

What callers show at the TLS port: tests/interop/test_tls_listener.py.
"""

import asyncio
import os
import random
from collections.abc import Callable
from pathlib import Path

from chaos import small
from chaos.scene import Scene
from support.authority import HOST, Authority, Signed
from support.faulty import FaultyScp
from support.service import Service, node, wait_for

OBJECTS, OBJECT_BYTES = 3, 3000
RULE = "- Conditions: [{{Tag: Called, MatchExpression: LEYDEN}}]\n  Actions:\n{}"


class Certificates:
    """The service, and who it calls."""

    def __init__(self, folder: Path) -> None:
        self.authority, stranger = Authority(folder / "ca"), Authority(folder / "other", "stranger")
        revoked = self.authority.signed("revoked")
        lists = self.authority.revokes(revoked)
        theirs: dict[str, Signed | None] = {
            "GOOD": self.authority.signed("good"),
            "EXPIRED": self.authority.signed("expired", begin=-9, end=-1),
            "EARLY": self.authority.signed("early", begin=1),
            "STRANGER": stranger.signed("of-another"),
            "OTHER_NAME": self.authority.signed("other-name", "elsewhere.test"),
            "REVOKED": revoked,
            "PLAIN": None,
            "WE_EXPIRED": self.authority.signed("good-too"),
        }
        self.ours = self.authority.signed("ours", "leyden")
        self.expired = self.authority.signed("we", "leyden", begin=-9, end=-1)
        self.peers = {
            title: FaultyScp(tls=self.authority.server(own) if own else None) for title, own in theirs.items()
        }
        nodes = "".join(self._node(title, peer.port, lists) for title, peer in self.peers.items())
        rule = RULE.format("".join(f"    - Target: {title}\n" for title in theirs))
        self.leyden = Service(folder / "leyden", nodes, rule, workers=1, arenaMib=16)

    def _node(self, title: str, port: int, lists: Path) -> str:
        own = self.expired if title == "WE_EXPIRED" else self.ours
        tls = f"Authorities: {self.authority.path}, Certificate: {own.certificate}, Key: {own.key}, Name: {HOST}"
        return node(title, port, Tls=f"{{{tls}, RevocationLists: {lists}}}", RetryDelays="[0.5]")

    def play(self) -> dict[str, int]:
        uids = [f"2.25.{number}" for number in range(OBJECTS)]
        for peer in self.peers.values():
            peer.start()
        self.leyden.start()
        asyncio.run(small.send(self.leyden.port, "LEYDEN", uids, OBJECT_BYTES))
        wait_for(
            lambda: len(self.peers["GOOD"].answered) == OBJECTS, why="all at a destination with a good certificate"
        )
        for title, peer in self.peers.items():
            if title != "GOOD":
                wait_for(self._said(title), why=f"{title} to be tried: {self.leyden.log[-2000:]}")
                assert not peer.tries, f"{title} got an object"
                assert not peer.requests, f"{title} got a request"
        for title, peer in self.peers.items():
            peer.tls = self.authority.server(self.authority.signed(f"new-{title}"))
        new = self.authority.signed("renewed", "leyden")
        os.replace(new.key, self.expired.key)
        os.replace(new.certificate, self.expired.certificate)
        self.leyden.wait_empty(120)
        for title, peer in self.peers.items():
            assert set(peer.answered) == set(uids), title
            assert small.came_unchanged(peer, OBJECT_BYTES), title
        small.judge(self.leyden, dict.fromkeys(self.peers, uids))
        return {title: peer.tries.total() for title, peer in self.peers.items()}

    def _said(self, title: str) -> Callable[[], bool]:
        """Whether the log says of a destination that it is tried again."""
        return lambda: any(f" {title}: " in line and "next try" in line for line in self.leyden.log.splitlines())

    def end(self) -> None:
        self.leyden.end()
        for peer in self.peers.values():
            peer.stop()


def play(folder: Path, chance: random.Random) -> dict[str, int]:
    """All of them at once, and then renewed. Returns how many objects came to each. Raises AssertionError."""
    scene = Certificates(folder)
    try:
        return scene.play()
    finally:
        scene.end()


SCENE = Scene(
    "certificates",
    play,
    (
        ("a destination's certificate is expired, not valid yet, of another authority, for another name, or revoked; "
         "or it speaks no TLS at all", "6 destinations of one service",
         "not one byte of DICOM goes to it; other destinations get theirs", ""),
        ("our certificate is expired", "a destination that wants one", "its objects wait", ""),
        ("all of these are renewed", "new files in the place of the old ones, without a reload",
         "all is delivered", ""),
    ),
)  # fmt: skip
