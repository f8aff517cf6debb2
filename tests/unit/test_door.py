"""The receiver's door over real sockets: who comes in, who is turned away, and what is told of it."""

import asyncio
import dataclasses
import gc
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from msgspec.structs import replace

from leyden.admission.bucket import Buckets
from leyden.admission.callers import Caller
from leyden.admission.flood import KINDS_OF_ONE
from leyden.admission.passcode import hashed
from leyden.config.settings import ReceiverSettings
from leyden.dicom import uids
from leyden.dicom.association import Accepted, Connection, Event, Rejected
from leyden.dicom.negotiate import AcceptorPolicy, AssociateRequest, UserIdentity, contexts_for
from leyden.journal.events import Event as Told
from leyden.journal.events import Received, TurnedAway
from leyden.net.link import Link
from leyden.net.tls import PeerCertificate
from leyden.receiver import door
from leyden.receiver import intake as intake_module
from leyden.receiver.receiver import Receiver
from leyden.spool.store import Spool
from support.datasets import el

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
CONTEXTS = contexts_for([(CT, uids.EXPLICIT_LE), (MR, uids.EXPLICIT_LE), (uids.VERIFICATION, uids.IMPLICIT_LE)])
SETTINGS = ReceiverSettings(AcceptorPolicy(("PACS", "RESEARCH")), min_free_percent=0.0)
HERE = ("127.0.0.0/8",)
USERS = (("dr.who", hashed(b"open sesame", bytes(16))),)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Told, bool]]:
    """What is told, and whether it is logged."""
    events: list[tuple[Told, bool]] = []

    def tell(event: Told, *, logged: bool = True) -> None:
        events.append((event, logged))

    monkeypatch.setattr(door, "tell", tell)
    monkeypatch.setattr(intake_module, "tell", tell)
    return events


@pytest.fixture
def secure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each link counts as encrypted."""
    monkeypatch.setattr(Link, "secure", True)


@asynccontextmanager
async def receiving(folder: Path, *callers: Caller, **more: object) -> AsyncIterator[tuple[Receiver, int]]:
    """A receiver that lets these in, and its port."""
    spool = Spool(folder / "cache", sync=False)
    spool.prepare([])
    receiver = Receiver(replace(SETTINGS, callers=callers, **more), spool, 0)  # type: ignore[arg-type]
    server = await asyncio.get_running_loop().create_server(receiver.connection, "127.0.0.1", 0)
    try:
        yield receiver, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await receiver.drain(1.0)
        while receiver.statistics().unassociated + receiver.statistics().associations:
            await asyncio.sleep(0.001)


class Caller_:
    """A requestor on a socket of its own."""

    def __init__(self, request: AssociateRequest) -> None:
        self.connection = Connection.requestor(request)

    @classmethod
    async def asks(
        cls,
        port: int,
        calling: str = "CT01",
        called: str = "PACS",
        identity: UserIdentity | None = None,
        address: str = "127.0.0.1",
    ) -> "Caller_":
        caller = cls(AssociateRequest(called, calling, CONTEXTS, identity=identity))
        caller.reader, caller.writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        caller.say()
        return caller

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, *pieces: bytes | memoryview) -> None:
        self.writer.write(b"".join([self.connection.output(), *pieces]))

    async def hear(self) -> Event:
        header = await self.reader.readexactly(6)
        pdu = header + await self.reader.readexactly(struct.unpack(">I", header[2:])[0])
        (event,) = self.connection.feed(memoryview(pdu))
        return event

    async def leave(self) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)


async def answer(
    port: int,
    calling: str = "CT01",
    called: str = "PACS",
    identity: UserIdentity | None = None,
    address: str = "127.0.0.1",
) -> str:
    """The answer to a request, in words: the contexts that are accepted, or the rejection."""
    caller = await Caller_.asks(port, calling, called, identity, address)
    event = await caller.hear()
    await caller.leave()
    match event:
        case Accepted(accept):
            return "".join(str(context.result) for context in accept.contexts)
        case Rejected(reject):
            return f"{reject.result},{reject.source},{reject.reason}"
        case _:
            return repr(event)


def turned_away(told: list[tuple[Told, bool]]) -> list[tuple[str, str]]:
    return [(event.calling, event.why) for event, _ in told if isinstance(event, TurnedAway)]


def test_who_is_not_let_in_gets_one_answer_and_the_journal_another(
    tmp_path: Path, told: list[tuple[Told, bool]]
) -> None:
    callers = (
        Caller("CT01", "c:1", addresses=HERE, called=("PACS",), classes=(CT,)),
        Caller("AWAY", "c:2", addresses=("192.0.2.0/24",)),
        Caller("BOUND", "c:3", certificates=("bound.example.org",)),
    )

    async def main() -> None:
        async with receiving(tmp_path, *callers) as (_, port):
            assert await answer(port) == "030", "the other SOP class is refused, C-ECHO is not"
            assert await answer(port, "AWAY") == "1,1,3"
            assert await answer(port, "BOUND") == "1,1,3"
            assert await answer(port, "NOBODY") == "1,1,3"
            assert await answer(port, "NOBODY", "NOWHERE") == "1,1,3", (
                "a stranger does not learn which titles there are"
            )
            assert await answer(port, "CT01", "RESEARCH") == "1,1,7"
            assert await answer(port, "CT01", "NOWHERE") == "1,1,7"
            for _ in range(2):
                assert await answer(port, "CT01", "RESEARCH") == "1,1,7"

    uvloop.run(main())
    assert turned_away(told) == [
        ("AWAY", "address"),
        ("BOUND", "certificate"),
        ("NOBODY", "calling title"),
        ("NOBODY", "calling title"),
        ("CT01", "called title"),
        ("CT01", "called title"),
        ("CT01", "called title"),
    ]
    events = [event for event, _ in told if isinstance(event, TurnedAway)]
    assert [event.count for event in events] == [1] * 6 + [2], "what came again is told at the end, with how often"
    assert events[0].answer == "rejected permanently: calling AE title not recognized (1,1,3)"
    assert events[0].detail == "not from this address (c:2)"
    assert events[0].peer == "127.0.0.1"


def test_who_invents_titles_is_named_and_hides_nobody(told: list[tuple[Told, bool]]) -> None:
    here = door.Door()
    for number in range(200):
        here.turned_away(TurnedAway("", calling=f"X{number}", called="PACS", peer="192.0.2.6", why="calling title"), "")
    here.turned_away(TurnedAway("", calling="CT01", called="PACS", peer="192.0.2.7", why="address"), "")
    for number in range(200):  # with an address of its own each time, as whoever has a network has
        here.turned_away(TurnedAway("", calling="X", called="PACS", peer=f"2001:db8::{number}", why="address"), "")
    here.close()
    *told_of_6, rest_6 = [event for event, _ in told if isinstance(event, TurnedAway) and ":" in event.peer]
    assert (len(told_of_6), rest_6.peer, rest_6.count) == (KINDS_OF_ONE, "2001:db8::/64", 200 - KINDS_OF_ONE)
    *apart, good, rest = [event for event, _ in told if isinstance(event, TurnedAway) and ":" not in event.peer]
    assert [event.calling for event in apart] == [f"X{number}" for number in range(KINDS_OF_ONE)]
    assert (good.calling, good.peer) == ("CT01", "192.0.2.7")
    assert (rest.calling, rest.peer, rest.why, rest.count) == ("", "192.0.2.6", "various", 200 - KINDS_OF_ONE)


def test_a_wrong_certificate_is_told_at_once_after_a_missing_one(
    tmp_path: Path, told: list[tuple[Told, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with receiving(tmp_path, Caller("BOUND", "c:1", certificates=("bound.example.org",))) as (_, port):
            assert await answer(port, "BOUND") == "1,1,3"
            monkeypatch.setattr(Link, "certificate", PeerCertificate("CN=x", ("x.example.org",), "ab" * 32))
            for _ in range(3):
                assert await answer(port, "BOUND") == "1,1,3"

    uvloop.run(main())
    events = [(event.detail, event.count) for event, _ in told if isinstance(event, TurnedAway)]
    assert events == [
        ("not without a certificate (c:1)", 1),
        (f"not with this certificate (c:1), it has x.example.org, sha256:{'ab' * 32}", 1),
        (f"not with this certificate (c:1), it has x.example.org, sha256:{'ab' * 32}", 2),
    ]


def test_a_quiet_title_is_not_logged_and_our_own_look_is_not_told(
    tmp_path: Path, told: list[tuple[Told, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with receiving(tmp_path, Caller("CT01"), quiet_ae_titles=("HEALTHCHECK",)) as (_, port):
            assert await answer(port, "HEALTHCHECK") == "1,1,3"
            assert told == []
            monkeypatch.setattr(door, "HERE", "192.0.2.1")
            assert await answer(port, "HEALTHCHECK") == "1,1,3"

    uvloop.run(main())
    assert [logged for _, logged in told] == [False]


def test_the_door_goes_by_the_newest_settings_and_ends_no_association(tmp_path: Path) -> None:
    async def main() -> None:
        async with receiving(tmp_path) as (receiver, port):
            caller = await Caller_.asks(port)
            assert isinstance(await caller.hear(), Accepted)
            receiver.go_by(replace(SETTINGS, callers=(Caller("MR01"),)))
            assert await answer(port) == "1,1,3"
            assert await answer(port, "MR01") == "000"
            caller.connection.echo_request(5, 1)
            caller.say()
            assert (await caller.hear()).command.status == 0  # type: ignore[union-attr]
            await caller.leave()

    uvloop.run(main())


def test_a_caller_has_so_many_associations_and_no_more(tmp_path: Path, told: list[tuple[Told, bool]]) -> None:
    async def main() -> None:
        async with receiving(tmp_path, Caller("CT01", "c:1", max_associations=2), Caller("MR01")) as (receiver, port):
            first, second = await Caller_.asks(port), await Caller_.asks(port)
            assert isinstance(await first.hear(), Accepted)
            assert isinstance(await second.hear(), Accepted)
            assert await answer(port) == "2,3,2"
            assert await answer(port, "MR01") == "000"
            await first.leave()
            while receiver.statistics().associations > 1:
                await asyncio.sleep(0.001)
            assert await answer(port) == "000"
            await second.leave()

    uvloop.run(main())
    assert turned_away(told) == [("CT01", "limit of the caller")]


def test_one_caller_leaves_room_for_the_next_one(tmp_path: Path, told: list[tuple[Told, bool]]) -> None:
    """ "No caller can take all associations" (docs/configure.md), without any key."""

    async def main() -> None:
        async with receiving(tmp_path, max_associations=8) as (_, port):
            flood = [await Caller_.asks(port) for _ in range(12)]
            answers = [await caller.hear() for caller in flood]
            assert [isinstance(event, Accepted) for event in answers] == [True] * 6 + [False] * 6
            assert await answer(port, "MR01") == "000"
            for caller in flood:
                await caller.leave()

    uvloop.run(main())
    assert turned_away(told) == [("CT01", "share of the caller")] * 2
    assert [event.count for event, _ in told if isinstance(event, TurnedAway)] == [1, 5]


def test_a_line_with_a_limit_is_read_slowly_and_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends faster is not read meanwhile, and does not count as silent."""
    held: list[float] = []
    really = intake_module.Intake._keep_pace

    def keep_pace(intake: intake_module.Intake, line: object) -> None:
        was = intake._slowed
        really(intake, line)  # type: ignore[arg-type]
        held.append(float(intake._slowed and not was))

    monkeypatch.setattr(intake_module.Intake, "_keep_pace", keep_pace)
    data = (
        el(0x00080016, "UI", CT.encode() + b"\0")
        + el(0x00080018, "UI", b"1.2.3\0")
        + el(0x00091001, "UN", bytes(1_600_000))
    )

    async def main() -> None:
        slow = Caller("CT01", maximum_line_speed_kb_per_s=4000)
        async with receiving(tmp_path, slow, client_timeout_s=0.1) as (receiver, port):
            caller = await Caller_.asks(port)
            assert isinstance(await caller.hear(), Accepted)
            assert held == [0.0]
            caller.connection.store_request(1, 1, CT, "1.2.3", 0)
            caller.say(caller.connection.output(), *caller.connection.data_pdus(1, memoryview(data), ends=True))
            assert (await caller.hear()).command.status == 0  # type: ignore[union-attr]
            assert receiver.statistics().object_bytes == len(data)
            await caller.leave()

    uvloop.run(main())
    assert sum(held) >= 1


# The user identity


def identity(name: bytes, passcode: bytes, *, respond: bool = False) -> UserIdentity:
    return UserIdentity(2, name, passcode, respond)


@pytest.mark.usefixtures("secure")
def test_a_user_identity_is_checked_answered_and_told(tmp_path: Path, told: list[tuple[Told, bool]]) -> None:
    right, wrong = identity(b"dr.who", b"open sesame"), identity(b"dr.who", b"open barley")

    async def main() -> None:
        required = Caller("CT01", "c:1", identity="required", users=USERS)
        async with receiving(tmp_path, required, replace(required, title="MR01", identity="optional")) as (_, port):
            assert await answer(port, identity=right) == "000"
            assert await answer(port, identity=wrong) == "1,1,1"
            assert await answer(port, identity=identity(b"nobody", b"open sesame")) == "1,1,1"
            assert await answer(port) == "1,1,1"
            assert await answer(port, "MR01") == "000"
            assert await answer(port, "MR01", identity=wrong) == "1,1,1"
            for respond, said in ((True, b""), (False, None)):
                caller = await Caller_.asks(port, identity=dataclasses.replace(right, respond=respond))
                event = await caller.hear()
                assert isinstance(event, Accepted)
                assert event.accept.identity_response == said
                caller.connection.store_request(1, 1, CT, "1.2.3", 0)
                caller.say(caller.connection.output(), *caller.connection.data_pdus(1, memoryview(bytes(8)), ends=True))
                await caller.hear()
                await caller.leave()

    uvloop.run(main())
    assert {why for _, why in turned_away(told)} == {"user identity"}
    counts = [(e.calling, e.detail, e.count) for e, _ in told if isinstance(e, TurnedAway)]
    assert counts == [
        ("CT01", "the user name or the passcode is wrong", 1),
        ("CT01", "a user identity is required", 1),
        ("MR01", "the user name or the passcode is wrong", 1),
        ("CT01", "the user name or the passcode is wrong", 1),
    ], "a missing identity is told at once after a wrong one; the second wrong one is told at the end"
    assert [event.user for event, _ in told if isinstance(event, Received)] == ["dr.who", "dr.who"]
    for event, _ in told:
        assert "sesame" not in repr(event)
        assert "barley" not in repr(event)
        assert "nobody" not in repr(event)


def test_without_tls_a_user_identity_does_not_count(tmp_path: Path) -> None:
    async def main() -> None:
        required = Caller("CT01", identity="required", users=USERS)
        async with receiving(tmp_path, required, replace(required, title="MR01", identity="optional")) as (_, port):
            assert await answer(port, identity=identity(b"dr.who", b"open sesame")) == "1,1,1"
            caller = await Caller_.asks(port, "MR01", identity=identity(b"dr.who", b"wrong", respond=True))
            event = await caller.hear()
            assert isinstance(event, Accepted)
            assert event.accept.identity_response is None, "nothing was checked, so nothing is confirmed"
            await caller.leave()

    uvloop.run(main())


def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """No check of a user identity ends before this is set."""
    go_on = threading.Event()
    really = door._user

    def slowly(*given: object) -> str:
        assert go_on.wait(30)
        return really(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(door, "_user", slowly)
    return go_on


@pytest.mark.usefixtures("secure")
def test_a_check_holds_up_nobody_and_may_be_overtaken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While checks hang, others come in; a caller that leaves or speaks out of turn is gone; too many are put off."""
    go_on = held(monkeypatch)
    right = identity(b"dr.who", b"open sesame")

    async def main() -> None:
        required = Caller("CT01", identity="required", users=USERS)
        async with receiving(tmp_path, required, Caller("MR01")) as (receiver, port):
            leaves, aborts, babbles, waits = [await Caller_.asks(port, identity=right) for _ in range(4)]
            while receiver.door._checks.total() < 4:
                await asyncio.sleep(0.001)
            assert await answer(port, "MR01") == "000"
            await leaves.leave()
            aborts.connection.abort()
            aborts.say()
            babbles.say(b"\x04\x00" + struct.pack(">I", 8) + b"\x00\x00\x00\x04\x01\x03\x00\x00")
            assert (await babbles.reader.readexactly(10))[0] == 7, "A-ABORT"
            while receiver.statistics().unassociated > 3:
                await asyncio.sleep(0.001)
            more = [await Caller_.asks(port, identity=right) for _ in range(door.CHECKS_OF_ONE_ADDRESS - 4)]
            while receiver.door._checks.total() < door.CHECKS_OF_ONE_ADDRESS:
                await asyncio.sleep(0.001)
            assert await answer(port, identity=right) == "2,3,1"
            left = door.CHECKS_MAX - door.CHECKS_OF_ONE_ADDRESS
            more += [await Caller_.asks(port, identity=right, address="127.0.0.2") for _ in range(left)]
            while receiver.door._checks.total() < door.CHECKS_MAX:
                await asyncio.sleep(0.001)
            refused = await Caller_.asks(port, identity=right, address="127.0.0.3")
            assert isinstance(await refused.hear(), Rejected)
            go_on.set()
            assert isinstance(await waits.hear(), Accepted)
            assert all([isinstance(await caller.hear(), Accepted) for caller in more])
            for caller in (*more, waits, babbles, aborts, refused):
                await caller.leave()
            while receiver.statistics().associations or receiver.door._checks:
                await asyncio.sleep(0.001)
            assert not receiver.door._inside

    uvloop.run(main())


@pytest.mark.usefixtures("secure")
def test_who_guesses_passcodes_has_to_wait_and_nobody_else(tmp_path: Path, told: list[tuple[Told, bool]]) -> None:
    now_s = 0.0
    right, wrong = identity(b"dr.who", b"open sesame"), identity(b"dr.who", b"open barley")

    async def main() -> None:
        nonlocal now_s
        async with receiving(tmp_path, Caller("CT01", "c:1", identity="required", users=USERS)) as (receiver, port):
            receiver.door._guesses = Buckets(3, 1 / door.GUESS_S, lambda: now_s)
            many = [await Caller_.asks(port, identity=wrong) for _ in range(2)]  # checked at the same time
            assert all([isinstance(await caller.hear(), Rejected) for caller in many])
            assert await answer(port, identity=right) == "000"
            assert await answer(port, identity=wrong) == "1,1,1"
            assert await answer(port, identity=wrong) == "2,3,1"
            assert await answer(port, identity=right) == "2,3,1", "right or wrong is not told any more"
            assert await answer(port, identity=UserIdentity(5, b"x.y.z")) == "1,1,1", "a token can't be guessed"
            assert await answer(port, identity=right, address="127.0.0.2") == "000"
            now_s = door.GUESS_S
            for _ in range(3):
                assert await answer(port, identity=right) == "000", "a right one takes nothing"
            for caller in many:
                await caller.leave()

    uvloop.run(main())
    assert [(e.detail, e.answer[-7:], e.count) for e, _ in told if isinstance(e, TurnedAway)] == [
        ("the user name or the passcode is wrong", "(1,1,1)", 1),
        ("too many wrong ones, again in 3 s", "(2,3,1)", 1),
        ("no Jwt is set up (c:1)", "(1,1,1)", 1),
        ("the user name or the passcode is wrong", "(1,1,1)", 2),
        ("too many wrong ones, again in 3 s", "(2,3,1)", 1),
    ]


@pytest.mark.usefixtures("secure")
def test_what_is_wrong_in_many_checks_at_once_counts_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else who asks for many at the same moment could guess so many each time that there is one left."""
    go_on = held(monkeypatch)
    wrong = identity(b"dr.who", b"open barley")

    async def main() -> None:
        async with receiving(tmp_path, Caller("CT01", identity="required", users=USERS)) as (receiver, port):
            receiver.door._guesses = Buckets(1, 1 / door.GUESS_S, lambda: 0.0)
            callers = [await Caller_.asks(port, identity=wrong) for _ in range(4)]
            while receiver.door._checks.total() < 4:
                await asyncio.sleep(0.001)
            go_on.set()
            assert all([isinstance(await caller.hear(), Rejected) for caller in callers])
            assert receiver.door._guesses.wait_s("127.0.0.1") == 4 * door.GUESS_S
            for caller in callers:
                await caller.leave()

    uvloop.run(main())


@pytest.mark.usefixtures("secure")
def test_a_check_that_fails_in_itself_lets_nobody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As by a token that a library chokes on; the text of such an error may hold what was sent."""

    def fails(*_: object) -> str:
        raise RecursionError("open sesame")

    monkeypatch.setattr(door, "_user", fails)

    async def main() -> None:
        async with receiving(tmp_path, Caller("CT01", identity="required", users=USERS)) as (_, port):
            assert await answer(port, identity=identity(b"dr.who", b"open sesame")) == "1,1,1"

    uvloop.run(main())
    assert "can't be checked: RecursionError" in caplog.text
    assert "open sesame" not in caplog.text


@pytest.mark.usefixtures("secure")
def test_what_fills_up_during_a_check_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(door, "_user", lambda *_: "dr.who" if go_on.wait(30) else "")

    async def main() -> None:
        required = Caller("CT01", identity="required", users=USERS)
        async with receiving(tmp_path, required, Caller("MR01"), max_associations=1) as (_, port):
            caller = await Caller_.asks(port, identity=identity(b"dr.who", b"x"))
            other = await Caller_.asks(port, "MR01")
            assert isinstance(await other.hear(), Accepted)
            go_on.set()
            event = await caller.hear()
            assert isinstance(event, Rejected)
            assert (event.reject.result, event.reject.source, event.reject.reason) == (2, 3, 2)
            await other.leave()
            await caller.leave()

    uvloop.run(main())


def test_a_passcode_is_forgotten_with_the_request(tmp_path: Path) -> None:
    async def main() -> None:
        async with receiving(tmp_path) as (receiver, port):
            caller = await Caller_.asks(port, identity=identity(b"dr.who", b"known to one"))
            assert isinstance(await caller.hear(), Accepted)
            (intake,) = receiver.associations
            assert intake._request is not None
            assert intake._request.identity is None
            known = [each for each in gc.get_objects() if isinstance(each, UserIdentity)]
            assert [each.secondary for each in known].count(b"known to one") == 1, "that of the caller"
            await caller.leave()

    uvloop.run(main())


def test_a_name_that_looks_like_a_hash_is_no_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An authority that signs any name that it is asked for must not let in who asks for the hash of another one."""
    pinned, own = "ab" * 32, "cd" * 32
    shown = PeerCertificate("CN=x", ("x.example.org", f"SHA256:{pinned}"), own)
    monkeypatch.setattr(Link, "certificate", shown)

    async def main() -> None:
        entries = [
            Caller(title, certificates=(name,))
            for title, name in (("PIN", f"sha256:{pinned}"), ("OWN", f"sha256:{own}"), ("NAME", "x.example.org"))
        ]
        async with receiving(tmp_path, *entries) as (_, port):
            assert await answer(port, "PIN") == "1,1,3"
            assert await answer(port, "OWN") == "000"
            assert await answer(port, "NAME") == "000"

    uvloop.run(main())
