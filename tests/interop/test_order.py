"""What the destination sees: which instance came before which, over which association, as perf/sink.py records it."""

import signal
from itertools import groupby, pairwise

import pytest

from leyden.plan.rules import SortAction, Sorting, SortType
from support.objects import make_cts, real
from support.sender import CT, Sender, dataset, destination
from support.service import Service, free_port, node, wait_for
from support.sink import Seen, Sink, by_association

ASCENDING = Sorting("sortings.yml:1", actions=(SortAction("00200013"),))
DESCENDING = Sorting("sortings.yml:1", actions=(SortAction("00200013", descending=True),))
AS_TEXT = Sorting("sortings.yml:1", actions=(SortAction("00200013", SortType.STRING),))
AS_TEXT_DOWN = Sorting("sortings.yml:1", actions=(SortAction("00200013", SortType.STRING, descending=True),))


def put(one: Sender, place: int, series: str, number: int | str | None = None, **keys) -> None:
    """An instance that came in this place."""
    data = dataset(CT, f"2.25.77.{place}", series=series, number=number)
    one.put(place, data, series=series, **keys)


def places(seen: list[Seen]) -> list[int]:
    return [int(each.uid.rpartition(".")[2]) for each in seen]


def series(seen: list[Seen]) -> list[str]:
    """The series as they follow one another, each named once as long as it goes on."""
    return [name for name, _ in groupby(each.series for each in seen)]


def test_over_one_association_what_came_first_arrives_first(sender, sink):
    """Queue: "the lowest rank first (SopClassPriorities), then the oldest" (ARCHITECTURE.md)."""
    peer = sink()
    one = sender(destination(peer.port, max_associations=1))
    for place in range(40):
        put(one, place, f"2.25.{place // 10}")
    one.start()
    assert places(peer.wait(40)) == list(range(40))


def test_series_that_came_mixed_arrive_whole_the_one_that_began_first_first(sender, sink):
    """batchSize 0: "as many as there are. Series go together" (docs/configure.md)."""
    peer = sink()
    one = sender(destination(peer.port, max_associations=1))
    for place in range(60):
        put(one, place, "2.25.1" if place % 3 == 0 else "2.25.2" if place % 3 == 1 else "2.25.3")
    one.start()
    seen = peer.wait(60)
    assert places(seen) == [*range(0, 60, 3), *range(1, 60, 3), *range(2, 60, 3)]
    assert {each.association for each in seen} == {1}


def test_over_four_associations_no_series_comes_between_the_instances_of_another(sender, sink):
    """An association that has sent one object of a series goes on with what waits of it (docs/configure.md)."""
    peer = sink("--delay", 0.01)
    one = sender(destination(peer.port, max_associations=4))
    for place in range(120):
        put(one, place, f"2.25.{place % 3}")
    one.start()
    seen = peer.wait(120)
    assert sorted(places(seen)) == list(range(120))
    assert len({each.association for each in seen}) == 4
    for over_one in by_association(seen):
        assert len(series(over_one)) == len(set(series(over_one))), series(over_one)


def test_an_association_carries_a_batch_and_the_next_one_the_rest_of_the_series(sender, sink):
    """BatchSize: "objects over one association before a new one is opened" (docs/configure.md)."""
    peer = sink()
    one = sender(destination(peer.port, max_associations=1, batch_size=4))
    for place in range(10):
        put(one, place, "2.25.1")
    one.start()
    seen = peer.wait(10)
    assert places(seen) == list(range(10))
    assert [len(over_one) for over_one in by_association(seen)] == [4, 4, 2]


def test_after_an_outage_what_came_first_arrives_first(sender, tmp_path):
    """Queue: "the lowest rank first (SopClassPriorities), then the oldest" (ARCHITECTURE.md), after any number of
    tries."""
    port = free_port()
    one = sender(destination(port, max_associations=1, retry_delays_s=(2.0,)))
    for place in range(5):
        put(one, place, "2.25.1", rank="01")
    for place in range(5, 10):
        put(one, place, "2.25.2", rank="00")
    one.start()
    one.wait_line("next try in")
    peer = Sink(tmp_path, port=port)
    try:
        assert places(peer.wait(10)) == [*range(5, 10), *range(5)]
    finally:
        peer.end()


@pytest.mark.parametrize(("batch_size", "expected"), [(0, ["X", "HIGH", "Y"]), (5, ["X", "HIGH", "X", "Y"])])
def test_a_batch_under_way_is_not_interrupted_by_a_higher_rank(sender, sink, batch_size, expected):
    """The association goes on with its series "even if objects of a higher rank or older ones have come meanwhile"; "a
    small BatchSize lets a higher rank go sooner" (docs/configure.md)."""
    names = {"X": "2.25.1", "Y": "2.25.2", "HIGH": "2.25.3"}
    peer = sink("--delay", 0.3)
    one = sender(destination(peer.port, max_associations=1, batch_size=batch_size))
    for place in range(10):
        put(one, place, names["X"], rank="05")
    for place in range(10, 13):
        put(one, place, names["Y"], rank="05")
    one.start()
    peer.wait(1)
    put(one, 99, names["HIGH"], rank="00")
    one.ring()
    assert series(peer.wait(14)) == [names[name] for name in expected]


@pytest.mark.parametrize(
    ("rule", "numbers", "expected"),
    [
        (ASCENDING, [3, 10, None, 1, 2], [1, 2, 3, 10, None]),
        (DESCENDING, [3, 10, None, 1, 2], [10, 3, 2, 1, None]),
        (ASCENDING, [3, -5, "x", 1], [-5, "x", 1, 3]),
        (AS_TEXT, [3, 10, None, 1, 2], [1, 10, 2, 3, None]),
        (AS_TEXT_DOWN, [3, 10, None, 1, 2], [3, 2, 10, 1, None]),
    ],
    ids=["up", "down", "no number is 0", "text", "text down"],
)
def test_a_sorted_series_arrives_in_its_order(sender, sink, rule, numbers, expected):
    """asc: "the lowest first; desc: the highest first. What has no such element is last in both"
    (docs/configure.md)."""
    peer = sink()
    one = sender(destination(peer.port), sortings=(rule,))
    for place, number in enumerate(numbers):
        put(one, place, "2.25.1", number)
    one.start()
    seen = peer.wait(len(numbers))
    assert [each.number for each in seen] == ["" if number is None else str(number) for number in expected]


def test_sorted_series_arrive_in_their_order_over_four_associations(sender, sink):
    """One instance of the series goes after the other, so that it arrives in this order, whatever MaxAssociations says
    (docs/configure.md)."""
    peer = sink("--delay", 0.01)
    one = sender(destination(peer.port, max_associations=4), sortings=(DESCENDING,))
    for place in range(160):
        put(one, place, f"2.25.{place % 4}", place)
    one.start()
    seen = peer.wait(160)
    assert len({each.association for each in seen}) > 1
    for name in range(4):
        of_one = [each for each in seen if each.series == f"2.25.{name}"]
        assert [int(each.number) for each in of_one] == sorted(range(name, 160, 4), reverse=True)
        assert all(one.ended_s <= next_one.begun_s for one, next_one in pairwise(of_one))


def test_a_sorted_series_goes_on_in_its_order_after_the_sender_was_killed(sender, sink):
    """The window is ordered anew at each look, so a restart needs no care (DECISIONS.md 123)."""
    peer = sink("--delay", 0.05)
    one = sender(destination(peer.port), sortings=(DESCENDING,))
    for place in range(30):
        put(one, place, "2.25.1", place)
    one.start()
    peer.wait(10)
    assert one.process is not None
    one.process.send_signal(signal.SIGKILL)
    one.process.wait(60)
    one.reclaim()
    one.start().wait_counts()
    arrived = list(dict.fromkeys(int(each.number) for each in peer.seen()))  # some twice, as nobody knew the answer
    assert arrived == list(range(29, -1, -1))


def test_what_comes_while_a_sorted_series_leaves_is_sorted_into_the_rest(sender, sink):
    """What comes later is sorted into the rest (docs/configure.md)."""
    peer = sink("--delay", 0.3)
    one = sender(destination(peer.port), sortings=(DESCENDING,))
    for place in range(10):
        put(one, place, "2.25.1", 2 * place)
    one.start()
    peer.wait(1)
    put(one, 99, "2.25.1", 3)
    one.ring()
    assert [int(each.number) for each in peer.wait(11)] == [18, 16, 14, 12, 10, 8, 6, 4, 3, 2, 0]


def test_a_compressed_series_arrives_in_its_order_too(service, sink, tmp_path):
    """The values count as they leave; the series waits for those of it that are still to be compressed
    (docs/configure.md)."""
    peer = sink()
    nodes = node("IMAGEPACS", peer.port, TransferSyntax="JPEG2000Lossless", ProcessDelay=3000)
    leyden = service(nodes, filters="sort")
    (leyden.folder / "sortings.yml").write_text(
        "- AeTitles: IMAGEPACS\n  Actions:\n    - SortTag: InstanceNumber\n      SortType: integer\n"
        "      SortDirection: desc\n"
    )
    leyden.start()
    send(leyden, *make_cts(tmp_path / "cts", 20, rows=256, columns=256))
    assert [int(each.number) for each in peer.wait(20)] == list(range(20, 0, -1))
    leyden.wait_empty()


CT_IMAGE, MR_IMAGE, REPORT = real("CT_small.dcm"), real("MR_small.dcm"), real("reportsi.dcm")
CT_CLASS, MR_CLASS = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
REPORT_CLASS = "1.2.840.10008.5.1.4.1.1.88.11"


@pytest.mark.parametrize(
    ("priorities", "expected"),
    [
        (f"[{REPORT_CLASS}, {MR_CLASS}]", [REPORT_CLASS, MR_CLASS, CT_CLASS]),
        (f"[{MR_CLASS}, default, {CT_CLASS}]", [MR_CLASS, REPORT_CLASS, CT_CLASS]),
        ("[default]", [CT_CLASS, MR_CLASS, REPORT_CLASS]),
    ],
)
def test_the_classes_named_first_arrive_first(service, tmp_path, priorities, expected):
    """SopClassPriorities: "SOP class UIDs, the first of which is sent first; `default` stands for all others, which
    else come last" (docs/configure.md)."""
    port = free_port()
    nodes = node("PACS", port, SopClassPriorities=priorities, MaxAssociations=1, RetryDelays=0.5)
    leyden: Service = service(nodes).start()
    for path in (CT_IMAGE, MR_IMAGE, REPORT):
        send(leyden, path, called="PACS")
    prepared = leyden.spool / "prepared"
    wait_for(lambda: len(list(prepared.rglob("*.dcm"))) == 3, why="all to be planned")
    peer = Sink(tmp_path, port=port)
    try:
        assert [each.sop_class for each in peer.wait(3)] == expected
    finally:
        peer.end()


def send(leyden: Service, *paths, called: str = "IMAGEPACS") -> None:
    done = leyden.leyden("send", f"127.0.0.1:{leyden.port}", "--called", called, *map(str, paths))
    assert done.returncode == 0, done.stdout + done.stderr
