"""What waits in a syntax that its destination does not take."""

import asyncio
import threading
import time

from leyden.deliver.destination import Destination
from leyden.deliver.pool import Member, Phase
from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, JPEG2000_LOSSLESS, JPEG_BASELINE, syntax_name
from leyden.form.ladder import KNOWN_FOR_S, Acceptance
from leyden.outbound import capabilities, capability_file
from leyden.outbound.refusals import RENEGOTIATE_S, Refusals
from leyden.spool.stage import Stage
from support.outbound import CT, Parts, on_a_loop
from support.service import LIMIT_S

PACS = Destination("PACS", "127.0.0.1", 104, syntax=JPEG2000_LOSSLESS)
SYNTAXES = (JPEG2000_LOSSLESS, EXPLICIT_LE, IMPLICIT_LE)


class World(Parts):
    """One window and what applies to it."""

    def __init__(self, root, destination=PACS) -> None:
        super().__init__(root, destination)
        self.refusals = Refusals(destination, self.window, self.claims, self.capabilities, self.jobs)

    def negotiate(self, *accepted, proposed=SYNTAXES, opened_s=None):
        """An association that the peer has answered."""
        now_s = time.monotonic() if opened_s is None else opened_s
        member = Member("LEYDEN", now_s, frozenset((CT, syntax) for syntax in proposed))
        self.refusals.negotiated(member, [(CT, syntax) for syntax in accepted])
        member.phase, member.established_s = Phase.IDLE, now_s
        return member

    def refill(self):
        self.window.waiting = {instance.receipt: instance for instance in self.look()}

    def in_transform(self):
        return [queued.entry.syntax for queued in self.spool.waiting(Stage.TRANSFORM, "PACS", 9)]

    def made(self):
        (queued,) = self.spool.waiting(Stage.TRANSFORM, "PACS", 9)
        self.spool.passed_on(self.spool.claim(queued, "worker-0"))


@on_a_loop
async def test_refused_in_negotiation_remade_as_long_as_there_is_another_syntax_then_rejected(tmp_path):
    world = World(tmp_path)
    world.put(syntax=JPEG2000_LOSSLESS)
    for name in ("ExplicitVRLittleEndian", "ImplicitVRLittleEndian"):
        world.refill()
        assert world.refusals.apply([world.negotiate(EXPLICIT_LE, IMPLICIT_LE)])
        await world.ended()
        assert world.in_transform() == [name]
        world.made()
    world.refill()
    assert world.refusals.apply([world.negotiate(EXPLICIT_LE, IMPLICIT_LE)])
    await world.ended()
    assert world.counts() == {"rejected": 1}
    assert world.claims.statistics.remade == 2
    await world.close()


@on_a_loop
async def test_what_is_accepted_or_comes_from_another_title_is_left_alone(tmp_path):
    world = World(tmp_path)
    world.put(syntax=JPEG2000_LOSSLESS)
    world.refill()
    assert not world.refusals.apply([world.negotiate(JPEG2000_LOSSLESS)])
    other = world.negotiate(EXPLICIT_LE)
    other.calling = "CT9"
    assert not world.refusals.apply([other])
    opening = Member("LEYDEN", 0.0, frozenset({(CT, JPEG2000_LOSSLESS)}))
    assert not world.refusals.apply([opening])
    assert len(world.window.waiting) == 1
    await world.close()


@on_a_loop
async def test_only_an_association_that_was_asked_for_later_may_reject_what_has_no_other_syntax(tmp_path):
    world = World(tmp_path)
    world.put(syntax=EXPLICIT_LE)
    world.refill()
    (instance,) = world.window.waiting.values()
    earlier = world.negotiate(opened_s=instance.since_s - 1)
    assert not world.refusals.apply([earlier])
    assert set(world.refusals.on_hold(instance.since_s)) == {("LEYDEN", CT)}
    assert not world.refusals.on_hold(earlier.opened_s + RENEGOTIATE_S)
    assert world.refusals.apply([world.negotiate()])
    await world.ended()
    assert world.counts() == {"rejected": 1}
    await world.close()


@on_a_loop
async def test_no_worker_gets_an_object_before_it_can_read_what_the_destination_accepts(tmp_path, monkeypatch):
    """It would make what the destination refuses, or pass the object on as it came, to be rejected then."""
    writing, may_write, write = threading.Event(), threading.Event(), capabilities.write

    def slow(*what):
        writing.set()
        assert may_write.wait(LIMIT_S)
        write(*what)

    monkeypatch.setattr(capabilities, "write", slow)
    world = World(tmp_path)
    world.put(syntax=JPEG2000_LOSSLESS)
    world.refill()
    assert world.refusals.apply([world.negotiate(EXPLICIT_LE, IMPLICIT_LE)])
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, writing.wait, LIMIT_S)
    await loop.run_in_executor(world.threads, lambda: None)  # behind a move that did not wait
    assert world.counts() == {"prepared": 1}
    may_write.set()
    await world.ended()
    assert world.in_transform() == ["ExplicitVRLittleEndian"]
    assert capability_file.read(world.spool.root, "PACS")[CT].refused == (JPEG2000_LOSSLESS,)
    await world.close()


@on_a_loop
async def test_what_was_seen_too_long_ago_rejects_nothing_that_came_later(tmp_path):
    """The destination may have learnt since: the object waits for an association that asks it anew."""
    world = World(tmp_path)
    member = world.negotiate()
    known = world.capabilities.knowledge[CT]
    world.capabilities.knowledge = {CT: Acceptance(known.accepted, known.refused, known.seen_s - KNOWN_FOR_S)}
    world.put(syntax=EXPLICIT_LE)
    world.refill()
    assert not world.refusals.apply([member])
    assert len(world.window.waiting) == 1
    assert set(world.refusals.on_hold(member.opened_s)) == {("LEYDEN", CT)}
    await world.close()


@on_a_loop
async def test_what_waits_to_be_asked_for_is_made_lossy_once_the_destination_is_seen_to_take_it(tmp_path):
    world = World(tmp_path, Destination("PACS", "127.0.0.1", 104, syntax=JPEG_BASELINE))
    name = syntax_name(JPEG_BASELINE)
    world.put(stage=Stage.ASKING, syntax=EXPLICIT_LE, to_make=name)
    world.refill()
    assert not world.refusals.apply([])
    assert len(world.window.waiting) == 1
    world.negotiate(JPEG_BASELINE, EXPLICIT_LE, proposed=(JPEG_BASELINE, EXPLICIT_LE))
    assert not world.refusals.apply([])
    await world.ended()
    assert world.in_transform() == [name]
    assert (tmp_path / "state" / "PACS.json").exists(), "the workers read it"
    await world.close()


@on_a_loop
async def test_an_answer_that_says_unsupported_counts_for_all_associations_until_somebody_asks_again(tmp_path):
    world = World(tmp_path)
    pair = (CT, EXPLICIT_LE)
    members = [world.negotiate(EXPLICIT_LE), world.negotiate(JPEG2000_LOSSLESS)]
    world.refusals.unsupported(pair, members)
    assert members[0].accepted == frozenset()
    assert pair in members[0].refused
    assert members[1].accepted == {(CT, JPEG2000_LOSSLESS)}
    assert world.negotiate(EXPLICIT_LE).accepted == frozenset()
    world.put(retried_s=int(time.time()) + 5)
    world.refill()
    world.refusals.ask_again()
    assert world.negotiate(EXPLICIT_LE).accepted == {pair}
    await world.close()
