"""How destinations, steps and the service as a whole stand, in the words and numbers of the page."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from leyden.config.settings import ReceiverSettings, Settings
from leyden.console.live import Live
from leyden.console.overview import Overview, Seen, look, problems, row, stands
from leyden.console.walks import Walks
from leyden.deliver.destination import Destination
from leyden.dicom.negotiate import AcceptorPolicy
from leyden.journal.events import Received
from leyden.journal.tail import Told
from leyden.operate.outboxes import Outbox
from leyden.operate.reading import Reading, Result
from leyden.plan.rules import PlanSettings
from leyden.spool.control import PREPARE, STORAGE_SCU, Control, Order
from leyden.spool.listing import Count
from leyden.spool.stage import Stage
from leyden.spool.store import Spool

PACS = Destination("PACS", "10.0.0.1", 104)
COUNTS = {
    "": [Count(Stage.EMBRYO, "", 1, 9.0), Count(Stage.NEW, "", 2, 9.0), Count(Stage.FAILED, "", 3, 9.0)],
    "PACS": [
        Count(Stage.TRANSFORM, "PACS", 4, 100.0),
        Count(Stage.ASKING, "PACS", 5, 90.0),
        Count(Stage.PREPARED, "PACS", 6, 80.0),
        Count(Stage.DEFERRED, "PACS", 7, 70.0),
        Count(Stage.REJECTED, "PACS", 8, 1.0),
        Count(Stage.FAILED, "PACS", 9, 1.0),
        Count(Stage.EXPIRED, "PACS", 10, 1.0),
    ],
}
SEEN = Seen(1000.0, COUNTS, None, {}, {}, {}, None)


def settings(root: Path) -> Settings:
    receiver = ReceiverSettings(AcceptorPolicy(("LEYDEN",)), min_free_percent=10.0)
    plan = PlanSettings("LEYDEN", {}, (), None)
    return Settings(str(root), "", str(root / "cache"), 104, "LEYDEN", receiver, plan, (PACS,))


OUTBOX, CONTROL = Outbox(), Control()


def state(outbox: Outbox = OUTBOX, control: Control = CONTROL, **flags: Order) -> tuple[str, str]:
    seen = replace(SEEN, outboxes={"PACS": outbox}, controls={"PACS": control}, flags=flags)
    now = row(PACS, seen, whole=True)
    return now["state"], now["why"]


def test_what_stands_where_is_added_up() -> None:
    assert stands(COUNTS) == {"receiving": 1, "waiting": 2, "compressing": 4, "sending": 5 + 6 + 7, "failed": 3}
    now = row(PACS, SEEN, whole=True)
    assert (now["waiting"], now["deferred"], now["rejected"], now["failed"], now["expired"]) == (15, 7, 8, 9, 10)
    assert now["oldestAt"] == 70.0, "of what may still arrive; what is rejected or failed does not wait"
    assert row(PACS, None, whole=True)["oldestAt"] is None


def test_the_state_of_a_destination_is_what_keeps_it_from_being_served() -> None:
    pause, tried = Order("alice", 1.0, reason="its disk is full"), Outbox(next_try_s=1042.0, failures=3)
    assert state() == ("open", "")
    assert state(tried)[0] == "backedoff"
    assert state(replace(tried, closed_by="ProcessSchedule")) == ("closed", "ProcessSchedule")
    assert state(replace(tried, closed_by="paused"), Control(pause)) == ("paused", "by alice: its disk is full")
    assert state(tried, **{STORAGE_SCU: pause})[0] == "paused"
    assert state(control=Control(override=pause))[0] == "open"


def test_the_last_error_is_shown_until_something_is_delivered() -> None:
    outbox = Outbox(last_error="refused", last_error_s=5.0, last_delivered_s=4.0)
    seen = replace(SEEN, outboxes={"PACS": outbox})
    assert row(PACS, seen, whole=True)["said"] == "refused"
    seen = replace(SEEN, outboxes={"PACS": replace(outbox, last_delivered_s=6.0)})
    assert row(PACS, seen, whole=True)["said"] == ""


def test_what_concerns_the_whole_service_is_said() -> None:
    assert problems(SEEN, 901.0, {"PACS"}) == []
    wrong = Reading(1, 1, 1.0, (), Result.WRONG, 1, 1.0, errors=("nodes.yml:3: …",))
    seen = replace(SEEN, unable=("the disk is full",), flags={PREPARE: Order("a", 1.0)}, reading=wrong)
    found = problems(seen, 1000.0 + 120, {"PACS"})
    assert found[0] == "it can't receive: the disk is full"
    assert [words[:20] for words in found[1:]] == [
        "planning and compres",
        "the last reload was ",
        "the spool was looked",
    ]


def test_what_is_in_no_row_is_a_problem_too() -> None:
    gone = {**COUNTS, "OLD": [Count(Stage.PREPARED, "OLD", 1, 9.0), Count(Stage.REJECTED, "OLD", 2, 9.0)]}
    assert problems(replace(SEEN, counts=gone, at_s=3000.0), 3009.0, {"PACS"}) == [
        "an object has waited for 50 minutes to be planned; the log says why",
        "3 objects for OLD stay where they are: it is not a node",
    ]


def test_what_anybody_may_see_holds_no_words_of_people_or_peers(tmp_path: Path) -> None:
    secret = "SECRET"
    outbox = Outbox(last_error=secret, last_error_s=5.0, closed_by=secret)
    seen = replace(SEEN, outboxes={"PACS": outbox}, controls={"PACS": Control(Order(secret, 1.0, reason=secret))})

    def said(whole: bool) -> str:
        return json.dumps(row(PACS, seen, whole=whole))

    assert secret in said(True)
    assert secret not in said(False)
    assert PACS.host not in said(False)


def test_the_spool_is_looked_at_only_while_somebody_asks(tmp_path: Path) -> None:
    given = settings(tmp_path)
    Spool(given.spool_root).prepare(("PACS",))
    looks = 0

    async def counts() -> tuple[Count, ...]:
        nonlocal looks
        looks += 1
        return tuple(COUNTS["PACS"])

    async def unable() -> tuple[str, ...]:
        return ("no",)

    async def watch() -> dict[str, Any]:
        overview, walks = Overview(given, Live(0.0)), Walks()
        keeping = asyncio.create_task(overview.keep(counts, unable, walks))
        await asyncio.sleep(0)
        assert looks == 0
        first = overview.document(True)
        assert first["lookedAt"] is None
        while (now := overview.document(True))["lookedAt"] is None:
            await asyncio.sleep(0.01)
        keeping.cancel()
        walks.close()
        return now

    now = asyncio.run(watch())
    assert now["destinations"][0]["waiting"] == 15
    assert now["stands"]["compressing"] == 4
    assert now["problems"] == ["it can't receive: no"]
    assert look(given.spool_root, ["PACS"], ()).vital is None


def test_a_node_is_counted_under_whichever_of_its_titles_it_was_called(tmp_path: Path) -> None:
    given = settings(tmp_path)
    titles = {"PACS": "PACS", "ALIAS": "PACS", "LEYDEN": "", "OURS": ""}
    live = Live(0.0)
    now_s = time.time()
    live.take([Told("receiver-0", _called(title, now_s)) for title in ("PACS", "ALIAS", "OURS", "GONE")])
    overview = Overview(replace(given, plan=replace(given.plan, titles=titles)), live)
    assert overview.document(True)["today"]["called"] == {"PACS": 2, "LEYDEN": 1, "GONE": 1}


def _called(title: str, at_s: float) -> Received:
    return Received(
        "1" * 22, at_s, sop_class_uid="1", sop_instance_uid="2", calling="CT", called=title, syntax="3", bytes=1
    )
