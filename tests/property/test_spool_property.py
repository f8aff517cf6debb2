"""Whatever is done to the spool, in any order: an acknowledged object is in exactly one stage for each destination."""

import asyncio
import os
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from leyden.spool.batch import GroupCommit
from leyden.spool.entry import Entry, Queued, ReceiptClock, claim_name, folder, key, parse, parse_claim, title
from leyden.spool.receipts import ReceiptLog, delivered
from leyden.spool.recover import reclaim, recover
from leyden.spool.stage import CLAIMED_FROM, Stage
from leyden.spool.store import Placement, Plan, Spool

DESTINATIONS = ("PACS", "A B", "C/../D")
STAGES = st.sampled_from(CLAIMED_FROM)
RANKS = st.sampled_from(("00", "07", "99"))
KEYS = st.text("0123456789abcdef", min_size=8, max_size=8)


class Trip(RuleBasedStateMachine):
    """The folder of a file tells its state (docs/operate.md): each object has one, for each destination.
    One receiver, planner, worker and sender, and an operator, take turns at random."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="leyden-spool-"))
        self.spool = Spool(self.root, sync=False)
        self.clock = ReceiptClock(0)
        self.receipts = ReceiptLog(self.root, "sender-0")
        self.now_s = 1_764_000_000
        self.unplanned: set[str] = set()
        self.bound: set[tuple[str, str]] = set()

    @initialize()
    def start(self) -> None:
        self.spool.prepare(DESTINATIONS[:2])

    def teardown(self) -> None:
        self.receipts.close()
        shutil.rmtree(self.root)

    def content(self, receipt: str) -> bytes:
        """The file of an object."""
        return receipt.encode()

    # -- the roles

    @rule(gap_s=st.integers(0, 150))
    def receive(self, gap_s: int) -> None:
        async def commit() -> str:
            receipt = self.clock.next(self.now_s * 1_000_000)
            fd, path = self.spool.embryo(receipt)
            os.write(fd, self.content(receipt))
            await GroupCommit(self.spool).commit(fd, path, receipt)
            return receipt

        self.now_s += gap_s
        self.unplanned.add(asyncio.run(commit()))

    @rule(
        ways=st.dictionaries(st.sampled_from(DESTINATIONS), st.tuples(STAGES, RANKS), min_size=1),
        limit=st.integers(1, 3),
    )
    def plan(self, ways: dict[str, tuple[str, str]], limit: int) -> None:
        plans = []
        for path in self.spool.newcomers(limit):
            placements = []
            for destination, (stage, rank) in ways.items():
                syntax = "JPEG2000Lossless" if stage is not Stage.PREPARED else ""
                entry = Entry(path.stem, key(path.stem), key("study"), key("CT"), syntax=syntax)
                placements.append(Placement(entry, stage, destination, rank))
            plans.append(Plan(path, tuple(placements)))
        for plan in plans:
            self.unplanned.remove(plan.source.stem)
            self.bound.update((plan.source.stem, destination) for destination in ways)
        if len(ways) > 1:
            self.spool.plan_many(plans, 1, "planner-0")
        else:
            for plan in plans:
                (p,) = plan.placements
                assert self.spool.plan_one(plan.source, p.entry, p.stage, p.destination, p.rank)

    @rule()
    def cannot_be_planned(self) -> None:
        for path in self.spool.newcomers(1):
            self.spool.fail(path, {"reason": "no destination"})

    @rule(stage=STAGES, destination=st.sampled_from(DESTINATIONS))
    def take(self, stage: Stage, destination: str) -> None:
        claimant = "worker-0" if stage is Stage.TRANSFORM else "sender-0"
        for waiting in self.spool.waiting(stage, destination, 1):
            assert self.spool.claim(waiting, claimant) is not None

    def held(self, claimant: str) -> list[Queued]:
        return self.spool.claims(claimant)[:1]

    @rule(how=st.sampled_from(("made", "passed on", "given back", "crashed", "failed")))
    def work(self, how: str) -> None:
        for claim in self.held("worker-0"):
            if how == "made":
                fd, made = self.spool.making(claim)
                os.write(fd, claim.path.read_bytes())
                os.close(fd)
                self.spool.transformed(claim, made)
            elif how == "passed on":
                self.spool.passed_on(claim)
            elif how == "failed":
                self.spool.fail(claim, {"reason": "broken"})
            else:
                self.spool.give_back(claim, crashed=how == "crashed")

    @rule(
        how=st.sampled_from(
            ("delivered", "died", "deferred", "rejected", "expired", "failed", "sent back", "given back")
        ),
        wait_s=st.integers(-100, 500),
    )
    def send(self, how: str, wait_s: int) -> None:
        for claim in self.held("sender-0"):
            pair = (claim.entry.receipt, claim.destination)
            if how in ("delivered", "died"):
                self.receipts.append({"receipt": pair[0], "destination": pair[1]})
                self.bound.remove(pair)
                if how == "delivered":
                    self.spool.delivered(claim)
                else:
                    reclaim(self.spool, "sender-0")
            elif how == "deferred":
                self.spool.defer(claim, self.now_s + wait_s)
            elif how == "sent back":
                self.spool.to_transform(claim, "ExplicitVRLittleEndian")
            elif how == "given back":
                self.spool.give_back(claim)
            else:
                {"rejected": self.spool.reject, "failed": self.spool.fail}.get(how, lambda c, _: self.spool.expire(c))(
                    claim, {"reason": "no"}
                )

    @rule(destination=st.sampled_from(DESTINATIONS), later_s=st.integers(0, 300))
    def time_passes(self, destination: str, later_s: int) -> None:
        self.now_s += later_s
        self.spool.due(destination, self.now_s)

    # -- the operator, and the power

    @rule(stage=st.sampled_from((Stage.REJECTED, Stage.FAILED)), destination=st.sampled_from((None, *DESTINATIONS)))
    def retry(self, stage: Stage, destination: str | None) -> None:
        self.spool.retry(stage, destination)

    @rule(retry_rejected=st.booleans())
    def restart(self, retry_rejected: bool) -> None:
        recover(self.spool, retry_rejected)
        assert os.listdir(self.root / "active") == []
        assert not any((self.root / "failed").iterdir())

    @rule(source=st.sampled_from(DESTINATIONS), to=st.sampled_from(DESTINATIONS))
    def moved_by_hand(self, source: str, to: str) -> None:
        for waiting in self.spool.waiting(Stage.PREPARED, source, 1):
            pair = (waiting.entry.receipt, to)
            if pair in self.bound or delivered(self.root, {pair}):
                continue
            place = self.root / "prepared" / folder(to) / waiting.rank / waiting.entry.bucket
            place.mkdir(parents=True, exist_ok=True)
            waiting.path.rename(place / waiting.path.name)
            self.bound.remove((waiting.entry.receipt, source))
            self.bound.add(pair)

    # -- what must hold

    def standing(self) -> tuple[Counter[str], Counter[tuple[str, str]]]:
        new: Counter[str] = Counter()
        bound: Counter[tuple[str, str]] = Counter()
        for path in self.root.rglob("*.dcm"):
            stage, *place = path.relative_to(self.root).parts
            entry = parse(path.name.rpartition("~")[2])
            assert entry is not None
            assert path.read_bytes() == self.content(entry.receipt)
            claim = parse_claim(path)
            if stage == Stage.NEW or (stage == Stage.FAILED and claim is None):
                new[entry.receipt] += 1
            else:
                bound[entry.receipt, claim.destination if claim else title(place[0])] += 1
        return new, bound

    @invariant()
    def each_is_in_exactly_one_state(self) -> None:
        new, bound = self.standing()
        assert new == Counter(self.unplanned)
        assert bound == Counter(self.bound)

    @invariant()
    def the_counts_say_so(self) -> None:
        counts = self.spool.counts()
        assert sum(count.files for count in counts) == len(self.unplanned) + len(self.bound)

    @invariant()
    def every_file_whose_trip_ended_has_its_reason(self) -> None:
        for stage in ("rejected", "failed", "expired"):
            for path in (self.root / stage).rglob("*.dcm"):
                assert path.with_name(path.name + ".json").stat().st_size


Trip.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestAnObjectIsInOneStageForEachDestination = Trip.TestCase


ENTRIES = st.builds(
    lambda receipt, keys, **more: Entry(f"{receipt:022d}", *(keys or ("", "", "")), **more),
    st.integers(0, 10**22 - 1),
    st.none() | st.tuples(KEYS, KEYS, KEYS) | st.tuples(KEYS, KEYS, KEYS, KEYS),
    syntax=st.just("") | st.sampled_from(("JPEG2000Lossless", "RLELossless", "1.2.840.10008.1.2.4.100.1")),
    attempt=st.integers(0, 999_999),
    due_s=st.integers(0, 99_999_999_999),
    crashes=st.integers(0, 9999),
    serial=st.booleans(),
    retried_s=st.integers(0, 99_999_999_999),
    unanswered=st.integers(0, 999_999),
)
TITLES = st.text(min_size=1, max_size=16)


@given(ENTRIES)
def test_the_name_of_an_entry_is_read_as_it_was_written(entry: Entry) -> None:
    """Entry: "what the name of an object's file says" (ARCHITECTURE.md)."""
    assert parse(entry.name) == entry
    assert parse(entry.name).name == entry.name


@given(TITLES, STAGES, st.integers(0, 99), ENTRIES)
def test_the_name_of_a_claim_says_where_it_came_from(destination: str, stage: Stage, rank: int, entry: Entry) -> None:
    """A claim's name carries stage, destination, rank and entry (DECISIONS.md 3)."""
    path = Path("/active/worker-0") / claim_name(stage, destination, f"{rank:02d}", entry)
    assert parse_claim(path) == Queued(str(path), entry, stage, destination, f"{rank:02d}")


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda b: b.decode("utf-8", "surrogateescape")))
def test_no_other_name_is_taken_for_an_entry(name: str) -> None:
    """No other name is read as one of ours; what is put there by hand gets "a new name" (docs/operate.md)."""
    entry = parse(name)
    assert entry is None or parse(entry.name) == entry


@given(st.lists(st.integers(0, 2 * 10**15), min_size=1, max_size=50))
def test_receipt_ids_always_rise(clock_us: list[int]) -> None:
    """Receipt id: "22 digits by which the spool knows an object, in the order of arrival" (ARCHITECTURE.md)."""
    clock = ReceiptClock(3, start=int(time.time()))
    receipts = [clock.next(now_us) for now_us in clock_us]
    assert receipts == sorted(set(receipts))
    assert all(len(receipt) == 22 for receipt in receipts)
