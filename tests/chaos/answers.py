"""Destinations that do anything but what they should: one service, a destination for each case, all at the same time.

Objects for our own title go to each of them, by a rule; those for STATUSES, a status for each, and for CHANCE go there
alone. Once each case has shown itself, all are mended; what was refused for good is sent again by an operator.
"""

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos import small
from chaos.scene import Scene
from leyden.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, JPEG2000_LOSSLESS
from support import faulty
from support.faulty import Act, FaultyScp, Step, Talk, at
from support.objects import split
from support.service import Service, node, wait_for

OBJECTS = 4  # for each destination
MAX_IN_FLIGHT = 2  # associations of a destination
STALL_S = 2
RETRY_S = 0.3

# PS3.4 B.2.3 and PS3.7 annex C, and some that no table has.
DELIVERED = (0x0000, 0x0001, 0x0107, 0x0116, 0xB000, 0xB006, 0xB007, 0xBFFF)
WAITS = (0x0110, 0x0213, 0xA700, 0xA701, 0xA7FF)
REJECTED = (
    *(0x0105, 0x0106, 0x0111, 0x0113, 0x0114, 0x0115, 0x0117, 0x0118, 0x0119),
    *(0x0120, 0x0121, 0x0123, 0x0124, 0x0210, 0x0211, 0x0212),
    *(0xA800, 0xA900, 0xA9FF, 0xC000, 0xC001, 0xCFFF),
    *(0xFE00, 0xFF00, 0xFF01, 0x1234, 0xD000, 0xFFFF),
)
OF_CLASS = (0x0112, 0x0122)  # for all of the SOP class
STATUSES = (*DELIVERED, *WAITS, *REJECTED)


@dataclass(frozen=True, slots=True)
class Case:
    """What a destination does, until it is mended.

    `rejects`: it may refuse objects for good; `at_least`: how often it is to do it, for all of its objects together.
    """

    act: Act
    rejects: bool = False
    at_least: int = OBJECTS


def _contexts(answer: Callable[[Talk], list[faulty.Context]], *, rejects: bool = True) -> Case:
    return Case(at(Step.REQUESTED, faulty.answers(answer)), rejects, 1)


def _all(result: int, syntax: str | None = None) -> Case:
    """The same answer to all contexts."""
    return _contexts(lambda talk: [(n, result, s[0] if syntax is None else syntax) for n, _, s in talk.contexts])


def _only(uid: str) -> Case:
    """Only contexts with this transfer syntax are accepted."""
    return _contexts(lambda talk: [(n, 4 * (s[0] != uid), s[0]) for n, _, s in talk.contexts], rejects=False)


def _more(talk: Talk) -> list[faulty.Context]:
    """All are accepted, and some that nobody proposed; and then each is refused as well."""
    good = [(n, 0, s[0]) for n, _, s in talk.contexts]
    return [*good, *((n, 0, IMPLICIT_LE) for n in (2, 0, 255)), *((n, 3, IMPLICIT_LE) for n, _, _ in talk.contexts)]


def _instead(misdeed: faulty.Misdeed) -> Case:
    return Case(at(Step.STORED, misdeed))


def _request(misdeed: faulty.Misdeed, *, rejects: bool = False) -> Case:
    return Case(at(Step.REQUESTED, misdeed), rejects, 2)


CASES: dict[str, Case] = {
    # Rejections: for good, for now, and such as no table has (PS3.8 9.3.4).
    **{f"RJ{r}{s}{w}": _request(faulty.rejection(r, s, w)) for r, s, w in
       ((1, 1, 1), (1, 1, 2), (1, 1, 3), (1, 1, 7), (1, 2, 1), (1, 2, 2), (2, 1, 1), (2, 3, 1), (2, 3, 2),
        (1, 3, 1), (0, 0, 0), (9, 9, 9), (255, 255, 255))},
    "RQ_ABORT": _request(faulty.abort),
    "RQ_CLOSE": _request(faulty.close),
    "RQ_RESET": _request(faulty.reset),
    "RQ_SILENT": Case(at(Step.REQUESTED, faulty.stall), at_least=1),
    "RQ_HTTP": _request(faulty.garbage),
    "RQ_RELEASE": _request(faulty.release),
    "RQ_RQ": _request(faulty.a_second_request),
    "RQ_CUT": _request(faulty.accept_cut_short),
    "RQ_STRAY": _request(faulty.accept_with_stray_bytes),
    "RQ_LONG": _request(faulty.endless_pdu),
    "UNREAD": Case(at(Step.CONNECTED, faulty.stall), at_least=1),
    "AT_ONCE": Case(at(Step.CONNECTED, faulty.close), at_least=2),
    # Contexts (PS3.8 9.3.3.2).
    **{f"PC_{n}": _all(n) for n in (1, 2, 3, 4, 5, 255)},
    "PC_IMPL": _only(IMPLICIT_LE),
    "PC_BE": _all(0, EXPLICIT_BE),
    "PC_J2K": _all(0, JPEG2000_LOSSLESS),
    "PC_EMPTY": _all(0, ""),
    "PC_RUBBISH": _all(0, "no UID, but words" * 20),
    "PC_NONE": _contexts(lambda _: []),
    "PC_FIRST": _contexts(lambda talk: [(n, 0, s[0]) for n, _, s in talk.contexts[:1]]),
    "PC_IDS": _contexts(lambda _: [(n, 0, EXPLICIT_LE) for n in (2, 4, 200, 255)]),
    "PC_MORE": _contexts(_more, rejects=False),
    **{f"ST_{n:04X}": Case(at(Step.STORED, faulty.status(n)), True, 1) for n in OF_CLASS},
    # Answers to objects.
    "NO_ANSWER": _instead(faulty.stall),
    "LATE": _instead(faulty.late(STALL_S / 4)),
    "TOO_LATE": _instead(faulty.late(STALL_S * 2)),
    "ABORT": _instead(faulty.abort),
    "CLOSE": _instead(faulty.close),
    "RESET": _instead(faulty.reset),
    "CRASH": _instead(faulty.crash),
    "RELEASE": _instead(faulty.release),
    "HTTP": _instead(faulty.garbage),
    "WRONG_ID": _instead(faulty.wrong_message_id),
    "NO_ID": _instead(faulty.no_message_id),
    "BAD_STATUS": _instead(faulty.malformed_status),
    "NO_STATUS": _instead(faulty.no_status),
    "ECHO_RSP": _instead(faulty.answer_to_an_echo),
    "ECHO_RQ": _instead(faulty.a_request),
    "CUT_RSP": _instead(faulty.command_cut_short),
    "CONTEXT": _instead(faulty.on_another_context),
    "NO_END": _instead(faulty.pdu_without_an_end),
    "ENDLESS": _instead(faulty.endless_pdu),
    "RQ_AGAIN": _instead(faulty.a_second_request),
    "AC_AGAIN": _instead(faulty.a_second_accept),
    "INSTANCE": _instead(faulty.other_instance),
    "TWICE": _instead(faulty.twice),
    "OK_ABORT": _instead(faulty.success_and_abort),
    "OK_CLOSE": _instead(faulty.success_and_close),
    "EARLY_NO": Case(at(Step.BEGUN, faulty.early_refusal)),
    "IN_MIDST": Case(at(Step.BEGUN, faulty.abort)),
    "NO_READ": Case(at(Step.BEGUN, faulty.stall)),
    "NO_RP": Case(at(Step.RELEASED, faulty.stall), at_least=1),
    "RP_ABORT": Case(at(Step.RELEASED, faulty.abort), at_least=1),
    # The longest PDU that it takes.
    **{f"PDU_{n}": _request(faulty.takes_pdus_of(n)) for n in (1, 7)},
    **{f"PDU_{n}": Case(at(Step.REQUESTED, faulty.takes_pdus_of(n)), at_least=1)
       for n in (0, 8, 9, 127, 4096, 4097, 65535, 0xFFFFFFFF)},
}  # fmt: skip

RULE = "- Conditions: [{{Tag: Called, MatchExpression: LEYDEN}}]\n  Actions:\n{}"
ALONE = ("STATUSES", "CHANCE")


class Answers:
    """The service, and a destination for each case."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.size_bytes = {called: 1000 + chance.randrange(9000) for called in ("LEYDEN", *ALONE)}
        self.objects = {
            called: [f"2.25.{first}.{number}" for number in range(count)]
            for called, first, count in (("LEYDEN", 1, OBJECTS), ("STATUSES", 2, len(STATUSES)), ("CHANCE", 3, 12))
        }
        self.by_uid = dict(zip(self.objects["STATUSES"], STATUSES, strict=True))
        self.cases = CASES | {
            "STATUSES": Case(at(Step.STORED, lambda talk: talk.respond(self.by_uid[talk.uid])), True, len(STATUSES)),
            "CHANCE": Case(at(Step.STORED, lambda talk: talk.respond(chance.choice(STATUSES))), True, 12),
        }
        self.peers = {title: FaultyScp(case.act) for title, case in self.cases.items()} | {"WELL": FaultyScp()}
        keys = {"RetryDelays": f"[{RETRY_S}]", "StallThreshold": STALL_S, "MaxAssociations": MAX_IN_FLIGHT}
        nodes = "".join(node(title, peer.port, **keys) for title, peer in self.peers.items())
        rule = RULE.format("".join(f"    - Target: {title}\n" for title in self.peers if title not in ALONE))
        limits = {"sendAbandonGraceSeconds": 1, "workers": 1, "arenaMib": 16}
        self.leyden = Service(folder, nodes, rule, **limits)

    def of(self, title: str) -> list[str]:
        """What is sent to a destination."""
        return self.objects[title if title in ALONE else "LEYDEN"]

    def rejected(self, title: str) -> dict[str, dict[str, Any]]:
        """What it has refused for good, and why."""
        paths = (self.leyden.spool / "rejected" / title).glob("*.dcm")
        files = {path: Path(f"{path}.json") for path in paths}
        return {
            split(path.read_bytes())[0].sop_instance_uid: json.loads(why.read_bytes()) for path, why in files.items()
        }

    def show(self) -> None:
        """Send everything, and wait until each destination has misbehaved, and the good one has all."""
        for peer in self.peers.values():
            peer.start()
        self.leyden.start()
        for called, uids in self.objects.items():
            asyncio.run(small.send(self.leyden.port, called, uids, self.size_bytes[called]))
        wait_for(lambda: len(self.peers["WELL"].answered) == OBJECTS, why="all at a destination that is well")
        for title, case in self.cases.items():
            peer = self.peers[title]
            wait_for(
                lambda p=peer, c=case: p.misdeeds >= c.at_least, why=f"{title} to misbehave: {peer.misdeeds} times"
            )
        wait_for(lambda: len(self.rejected("STATUSES")) >= len(REJECTED), why="statuses to be believed")
        for uid, status in self.by_uid.items():
            why = self.rejected("STATUSES").get(uid)
            assert (why is not None) == (status in REJECTED), hex(status)
            assert why is None or why["status"] == f"0x{status:04X}"
            assert (self.peers["STATUSES"].answered[uid] > 0) == (status in DELIVERED), hex(status)

    def mend(self) -> dict[str, int]:
        """Mend all, and judge what became of everything. Returns how many objects each refused for good."""
        for peer in self.peers.values():
            peer.mend()
        ended = {self.leyden.spool / "rejected"}
        self.leyden.wait_left(lambda left: all(ended & set(path.parents) for path in left), 120, "all to be delivered")
        refused = {title: self.rejected(title) for title in self.peers}
        for title, peer in self.peers.items():
            assert set(peer.answered) | set(refused[title]) == set(self.of(title)), f"lost for {title}"
            assert not refused[title] or self.cases[title].rejects, f"{title}: {refused[title]}"
            assert all(why["reason"] for why in refused[title].values())
            again = peer.answered.total() - len(peer.answered)
            assert again <= MAX_IN_FLIGHT * peer.misdeeds, f"{title} got {again} again"
            assert small.came_unchanged(peer, self.size_bytes[title if title in ALONE else "LEYDEN"]), title
        return {title: len(those) for title, those in refused.items() if those}

    def retry(self) -> None:
        """An operator sends again what was refused; then each destination has everything, and one receipt for each."""
        assert self.leyden.leyden("queue", "retry").returncode == 0
        small.judge(self.leyden, {title: self.of(title) for title in self.peers})
        for title, peer in self.peers.items():
            assert set(peer.answered) == set(self.of(title)), title

    def end(self) -> None:
        self.leyden.end()
        for peer in self.peers.values():
            peer.stop()


def play(folder: Path, chance: random.Random) -> dict[str, int]:
    """All cases at once. Returns how many objects each destination refused for good. Raises AssertionError."""
    scene = Answers(folder / "leyden", chance)
    try:
        scene.show()
        refused = scene.mend()
        scene.retry()
        return refused
    finally:
        scene.end()


_HOLDS = "the other objects and destinations go on; once it is mended, everything is delivered"
SCENE = Scene(
    "answers",
    play,
    (
        ("the association is rejected: for good, for now, with values that no table has",
         "13 destinations, each with another A-ASSOCIATE-RJ", "nothing is refused for good: it is asked again", ""),
        ("no answer, or rubbish, instead of an A-ASSOCIATE-AC", "12 destinations, each with another one",
         "nothing is refused for good: it is asked again", ""),
        ("contexts are refused in every way: each result, results that no table has, no answer, wrong or unknown "
         "transfer syntaxes, wrong, even and doubled IDs", "14 destinations",
         "what can be sent in another syntax is; the rest stands in rejected/, with the reason",
         "what was made anew during a look was rejected as refused"),
        ("every status of PS3.4 B.2.3 and PS3.7 annex C, and some that no table has",
         f"one destination with a status for each of {len(STATUSES)} objects, one that answers at random, two that "
         "refuse the SOP class",
         "warnings are deliveries; what is for now waits; the rest stands in rejected/ with its "
         "status", ""),
        ("no answer to an object, a late one, a wrong one (message ID, command, class, instance, context, status), "
         "rubbish, two of them, an abort or a close instead or after it", "21 destinations",
         "no lie is believed; extra sends stay within the wrong answers times the associations",
         "an answer to another command, or a Success too early, was believed"),
        ("an abort, a refusal or silence while an object is sent, or instead of the A-RELEASE-RP", "5 destinations",
         _HOLDS, ""),
        ("PDU limits of 0, 1, 7, 8, 9, 127, 4096, 4097, 65535 and 2^32 - 1 bytes", "10 destinations",
         "down to 8 bytes every byte arrives; what takes less gets nothing, and it is said", ""),
    ),
)  # fmt: skip
