"""Whatever operators do to the queue meanwhile, an object is in exactly one stage for each destination, or was deleted.

A filter means what a simple look at every file says that it means, and a verb is done with just that.
"""

import os
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_LE, JPEG2000_LOSSLESS
from leyden.operate import queue
from leyden.operate.queue import Filter, Verb
from leyden.plan.rules import PlanSettings, Target
from leyden.spool.entry import parse_claim
from leyden.spool.receipts import delivered
from leyden.spool.recover import recover
from leyden.spool.stage import BY_DESTINATION, Stage
from property.test_spool_property import DESTINATIONS, RANKS, STAGES, Trip
from unit.test_planner import CT, dataset

NODES = DESTINATIONS[:2]
RULES = PlanSettings("LEYDEN", {each: each for each in NODES}, (Target(NODES[0], JPEG2000_LOSSLESS), Target(NODES[1])))
BY = {"who": "alice", "through": "command line"}
FILTERS = st.builds(
    Filter,
    destinations=st.frozensets(st.sampled_from(DESTINATIONS), max_size=2),
    stages=st.just(frozenset()) | st.frozensets(st.sampled_from([*Stage][1:]), max_size=5),
)


@dataclass(frozen=True)
class Stands:
    receipt: str
    destination: str
    stage: Stage
    claimed: bool


class Operated(Trip):
    """`leyden queue` (docs/operate.md) between the steps of the roles."""

    @rule(ways=st.dictionaries(st.sampled_from(DESTINATIONS), st.tuples(STAGES, RANKS), min_size=1))
    def several_come(self, ways: dict[str, tuple[str, str]]) -> None:
        for gap_s in (0, 0, 120):
            self.receive(gap_s)
        self.plan(ways, 2)

    def content(self, receipt: str) -> bytes:
        return encode_head(FileMeta(CT, receipt, EXPLICIT_LE, "host", "CT1", "PACS")) + dataset(CT, receipt, "1.2")

    def all(self) -> set[Stands]:
        """Every object, by a look at all files."""
        found = set()
        for path in self.root.rglob("*.dcm"):
            stage, *place = path.relative_to(self.root).parts
            claim = parse_claim(path)
            destination = claim.destination if claim else ""
            if stage in BY_DESTINATION:
                destination = next(each for each in DESTINATIONS if queue.folder(each) == place[0])
            where = claim.stage if claim and stage == Stage.ACTIVE else Stage(stage)
            found.add(Stands(path.name.rpartition("~")[2][:22], destination, where, stage == Stage.ACTIVE))
        return found

    def meant(self, wanted: Filter, verb: Verb) -> tuple[set[Stands], int]:
        """What a verb has to be done with, and how many objects are under way."""
        suits = {
            each
            for each in self.all()
            if each.stage in verb.stages
            and (not wanted.destinations or each.destination in wanted.destinations)
            and (not wanted.stages or each.stage in wanted.stages or (each.claimed and Stage.ACTIVE in wanted.stages))
        }
        return {each for each in suits if not each.claimed}, sum(each.claimed for each in suits)

    @rule(wanted=FILTERS)
    def are_listed(self, wanted: Filter) -> None:
        meant, under_way = self.meant(wanted, Verb("list", frozenset(Stage)))
        found = queue.page(self.root, wanted, limit=1000)
        assert found.total == len(found.items) == len(meant) + under_way
        assert [item.receipt for item in found.items] == sorted(item.receipt for item in found.items)
        assert {item.id for item in found.items if not item.claimant} == {
            f"{each.receipt}@{each.destination}" if each.destination else each.receipt for each in meant
        }

    @rule(wanted=FILTERS)
    def are_rejected(self, wanted: Filter) -> None:
        meant, under_way = self.meant(wanted, queue.REJECT)
        done = queue.reject(self.root, wanted, **BY)
        no_destination = {each for each in meant if each.stage is Stage.FAILED and not each.destination}
        assert (done.count, done.under_way) == (len(meant - no_destination), under_way)
        stand = {(each.receipt, each.destination): each.stage for each in self.all()}
        for each in meant:
            now = Stage.REJECTED if each.destination else Stage.FAILED
            assert stand[each.receipt, each.destination] is now

    @rule(wanted=FILTERS)
    def are_brought_back(self, wanted: Filter) -> None:
        meant, _ = self.meant(wanted, queue.RETRY)
        done = queue.retry(self.root, wanted, **BY)
        assert (done.count, done.complete) == (len(meant), True)
        assert not self.meant(wanted, queue.RETRY)[0]

    @rule(wanted=FILTERS)
    def are_released(self, wanted: Filter) -> None:
        meant, _ = self.meant(wanted, queue.RELEASE)
        assert queue.release(self.root, wanted, **BY).count == len(meant)
        assert not self.meant(wanted, queue.RELEASE)[0]

    @rule(number=st.integers(0, 99), of_all=st.booleans())
    def one_is_deleted(self, number: int, of_all: bool) -> None:
        """`of_all`: for every destination."""
        everything = sorted(self.all(), key=lambda each: (each.receipt, each.destination))
        if not everything:
            return
        one = everything[number % len(everything)]
        wanted = one.receipt if of_all or not one.destination else f"{one.receipt}@{one.destination}"
        meant = [each for each in everything if each.receipt == one.receipt and (wanted == one.receipt or each == one)]
        free = [each for each in meant if not each.claimed]
        done = queue.delete(self.root, {wanted}, **BY)
        assert (done.count, done.under_way) == (len(free), len(meant) - len(free))
        for each in free:
            if each.destination:
                self.bound.remove((each.receipt, each.destination))
            else:
                self.unplanned.remove(each.receipt)

    @rule(wanted=FILTERS, to=st.sampled_from(NODES))
    def are_moved(self, wanted: Filter, to: str) -> None:
        meant, under_way = self.meant(wanted, queue.MOVE)
        move = {each for each in meant if each.destination not in ("", to)}
        done = queue.move(self.root, wanted, to, **BY, settings=RULES, keep=lambda rules: "")
        assert (done.count, done.under_way, sum(done.left.values())) == (len(move), under_way, len(meant) - len(move))
        for each in move:
            self.bound.remove((each.receipt, each.destination))
            if not delivered(self.root, {(each.receipt, to)}):
                self.bound.add((each.receipt, to))

    @rule(retry_rejected=st.booleans())
    def restart(self, retry_rejected: bool) -> None:
        ended = [path for stage in ("failed", "rejected") for path in (self.root / stage).rglob("*.dcm")]
        by_hand = {path for path in ended if b'"by": "alice"' in path.with_name(f"{path.name}.json").read_bytes()}
        recover(self.spool, retry_rejected)
        assert os.listdir(self.root / "active") == []
        assert by_hand <= {path for path in ended if path.exists()}
        assert set((self.root / "failed").glob("*.dcm")) <= by_hand
        assert not retry_rejected or set((self.root / "rejected").rglob("*.dcm")) <= by_hand


Operated.TestCase.settings = settings(
    max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestWhateverAnOperatorDoesNothingIsLost = Operated.TestCase
