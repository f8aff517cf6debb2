"""The pool at work: real associations to an acceptor that does what it is told, and what is learnt from it."""

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager

from leyden.deliver.destination import Destination
from leyden.dicom.association import AssociationRequested, StoreEnded, StoreStarted
from leyden.dicom.negotiate import CALLED_UNKNOWN
from leyden.outbound.associations import Associations
from leyden.spool.stage import Stage
from support.acceptor import good, listening
from support.outbound import DATA, Parts, on_a_loop


class Working(Parts):
    """All that an outbox is made of, at work."""

    def __init__(self, root, port, **keys) -> None:
        super().__init__(root, Destination("PACS", "127.0.0.1", port, retry_delays_s=(60.0,), **keys))
        self.associations = Associations(
            self.destination, self.window, self.claims, self.capabilities, self.suspicion, self.health, self.jobs
        )

    def start(self) -> None:
        self.filling = self.jobs.start(
            self.window.run(lambda: self.associations.blocked, lambda: (), self.associations.filled)
        )

    async def until(self, holds: Callable[[], bool]) -> None:
        """Until that holds; meanwhile time passes for the pool, as in the sender."""
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.005)
                self.window.pulse()
                self.associations.act()

    async def until_counts(self, **counts) -> None:
        await self.until(lambda: not self.window.in_hand and self.counts() == counts)

    async def stop(self) -> None:
        self.filling.cancel()
        self.associations.stop()
        await self.close()


@asynccontextmanager
async def working(root, act=good, *, objects=0, **keys):
    async with listening(act) as (port, peers):
        work = Working(root, port, **keys)
        for number in range(objects):
            work.put(number)
        work.start()
        try:
            yield work, peers
        finally:
            await work.stop()


def stores(peers):
    return sum(isinstance(event, StoreEnded) for peer in peers for event in peer.events)


@on_a_loop
async def test_what_waits_is_sent_over_one_association_and_proved(tmp_path):
    async with working(tmp_path, objects=5, max_associations=1) as (work, peers):
        await work.until_counts()
        assert len(peers) == 1
        assert peers[0].received == 5 * DATA
        lines = await work.proved()
        assert [line["sop_instance_uid"] for line in lines] == [f"2.25.{n}" for n in range(5)]


@on_a_loop
async def test_each_calling_title_has_its_own_association(tmp_path):
    async with working(tmp_path, impersonate=True) as (work, peers):
        work.put(1, calling="CT1")
        work.put(2, calling="CT2")
        work.window.ring()
        await work.until_counts()
        callers = {
            event.request.calling for peer in peers for event in peer.events if isinstance(event, AssociationRequested)
        }
        assert callers == {"CT1", "CT2"}


@on_a_loop
async def test_nothing_is_opened_while_the_destination_is_not_served(tmp_path):
    async with listening() as (port, peers):
        work = Working(tmp_path, port)
        work.associations.serving = False
        work.put()
        work.start()
        await work.until(lambda: bool(work.window.waiting))
        assert work.associations.blocked
        assert not peers
        work.associations.serving = True
        await work.until_counts()
        await work.stop()


@on_a_loop
async def test_what_came_while_nothing_could_be_sent_is_looked_at_before_anything_is_sent(tmp_path):
    """So what has a higher rank, or is older, does not come behind what the window happened to hold."""
    async with listening() as (port, _peers):
        work = Working(tmp_path, port)
        work.associations.serving = False
        work.put(2)
        work.start()
        await work.until(lambda: bool(work.window.waiting))
        work.filling.cancel()
        work.put(1)
        work.associations.serving = True
        for _ in range(5):
            work.associations.act()
            await asyncio.sleep(0)
        assert not work.associations.members
        work.start()
        await work.until_counts()
        lines = await work.proved()
        assert [line["sop_instance_uid"] for line in lines] == ["2.25.1", "2.25.2"]
        await work.stop()


@on_a_loop
async def test_a_transient_answer_concerns_the_object_and_the_others_go_on(tmp_path):
    def first_is_not_now(peer, event):
        if isinstance(event, StoreEnded) and event.store.command.sop_instance == "2.25.0":
            peer.connection.store_answer(event.store, 0xA700, "full")
            return True
        return None

    async with working(tmp_path, first_is_not_now, objects=3) as (work, _):
        await work.until_counts(deferred=1)
        assert work.claims.statistics.delivered == 2
        assert not work.health.in_trouble


@on_a_loop
async def test_a_loss_is_the_objects_matter_and_the_others_go_on(tmp_path, caplog):
    def aborts_at_the_first(peer, event):
        if isinstance(event, StoreStarted) and event.command.sop_instance == "2.25.0":
            peer.connection.abort()

    async with working(tmp_path, aborts_at_the_first, objects=3) as (work, _):
        await work.until_counts(deferred=1)
        assert work.claims.statistics.delivered == 2
        (instance,) = work.look()
        assert work.suspicion.suspects(instance)
        assert not work.health.in_trouble
    assert caplog.text.count("it is tried again, alone, when others had their turn") == 1


@on_a_loop
async def test_a_rejection_backs_the_destination_off_and_moves_no_file(tmp_path, caplog):
    def rejects(peer, event):
        peer.connection.reject(CALLED_UNKNOWN)
        return True

    async with working(tmp_path, rejects, objects=3) as (work, peers):
        await work.until(lambda: work.associations.blocked)
        assert work.counts() == {"prepared": 3}
        assert len(peers) == 1
    assert "next try in 60 s" in caplog.text


@on_a_loop
async def test_after_one_unsupported_answer_no_more_of_the_kind_is_sent(tmp_path):
    def takes_no_ct(peer, event):
        if isinstance(event, StoreEnded):
            peer.connection.store_answer(event.store, 0x0122)
            return True
        return None

    async with working(tmp_path, takes_no_ct, objects=4, max_associations=1) as (work, peers):
        await work.until_counts(transform=4)
        assert stores(peers) == 1
        names = {queued.entry.syntax for queued in work.spool.waiting(Stage.TRANSFORM, "PACS", 9)}
        assert names == {"ImplicitVRLittleEndian"}


@on_a_loop
async def test_stopping_finishes_the_object_under_way_and_no_other(tmp_path):
    hangs = asyncio.Event()

    def answers_later(peer, event):
        if isinstance(event, StoreEnded):
            hangs.set()
            peer.store = event.store
            return True
        return None

    async with working(tmp_path, answers_later, objects=3, max_associations=1) as (work, peers):
        await hangs.wait()
        stopping = asyncio.create_task(work.stop())
        await asyncio.sleep(0)
        peers[0].connection.store_answer(peers[0].store, 0)
        peers[0].say()
        await stopping
        assert not work.associations.members
        assert work.claims.statistics.delivered == 1
        assert work.counts() == {"prepared": 2}


@on_a_loop
async def test_what_does_not_end_in_time_is_given_back(tmp_path):
    hangs = asyncio.Event()

    def never_answers(peer, event):
        hangs.set()
        return isinstance(event, StoreEnded)

    async with working(tmp_path, never_answers, objects=1) as (work, _):
        await hangs.wait()
        await work.until(lambda: bool(work.window.in_hand))
        work.filling.cancel()
        work.associations.stop()
        await work.jobs.drain(0.1)
        assert work.counts() == {"prepared": 1}
        assert not work.associations.members
