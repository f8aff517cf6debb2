"""The prediction: which part bounds, and what follows for the configuration. Rates are worked out by hand."""

import pytest
from msgspec.structs import replace

from leyden.tune.model import (
    AS_IT_CAME,
    MB,
    Advice,
    Arrivals,
    Codec,
    Cost,
    Line,
    Load,
    Machine,
    Node,
    Situation,
    Wishes,
    advise,
    predict,
)

# An object of 1 MB: receiver 1 ms, planner 0.5, sender 1 (0.6 of the 0.5 MB that are made of it), worker 1 + codec.
MACHINE = Machine(
    counted=4,
    cores=4.0,
    passing_cores=4.0,
    disk=Cost(0.0002, 0.0003),
    roles={
        "receiver": Cost(0.0005, 0.0005),
        "planner": Cost(0.0005),
        "sender": Cost(0.0002, 0.0008),
        "worker": Cost(0.0005, 0.0005),
    },
    codecs={"JPEG2000Lossless": Codec(0.059, 0.059, 0.5), "HTJ2KLossless": Codec(0.004, 0.004, 0.5)},
)
J2K, HTJ2K = "JPEG2000Lossless", "HTJ2KLossless"
CT = Load(MB, workers=4)


@pytest.mark.parametrize(
    ("machine", "load", "bottleneck", "per_s"),
    [
        (MACHINE, CT, "receiver", 1000),
        (MACHINE, replace(CT, receivers=4), "sender", 1000),
        (replace(MACHINE, disk=Cost(0.0002, 0.0009)), replace(CT, receivers=4), "disk", 1 / 0.0011),
        (replace(MACHINE, disk=Cost(0.0002, 0.04)), replace(CT, syntax=HTJ2K), "disk", 1 / 0.0604),
        (replace(MACHINE, roles=MACHINE.roles | {"planner": Cost(0.01)}), CT, "planner", 100),
        (replace(MACHINE, disk=Cost(0.02)), CT, "disk", 50),
        (replace(MACHINE, cores=2.0), CT, "cores", 800),
        (replace(MACHINE, cores=2.0, beside=Cost(0.0015)), CT, "cores", 500),
        (replace(MACHINE, cores=2.0, passing_cores=1.5), CT, "cores", 600),
        (replace(MACHINE, cores=2.0, passing_cores=0.1, disk=Cost(0.01)), CT, "disk", 40),
        (MACHINE, replace(CT, syntax=J2K), "codec", 4 / 0.0621),
        (MACHINE, replace(CT, syntax=J2K, workers=1), "codec", 1 / 0.06),
        (MACHINE, replace(CT, syntax=J2K, workers=400), "codec", 4 / 0.0621),
        (MACHINE, replace(CT, syntax=HTJ2K), "codec", 4 / 0.0071),
        (MACHINE, replace(CT, syntax=HTJ2K, line=Line(None, 12.5)), "line", 25),
        (MACHINE, replace(CT, line=Line(None, 12.5)), "line", 12.5),
        (replace(MACHINE, lone=Cost(0.005, 0.005)), replace(CT, sources=3), "source", 300),
        (replace(MACHINE, lone=Cost(0.005, 0.005)), CT, "receiver", 1000),
        (MACHINE, replace(CT, line=Line(0.04)), "round trip", 100),
        (MACHINE, replace(CT, line=Line(None, None, 12.5)), "round trip", 50),
        (MACHINE, replace(CT, line=Line(0.04, 12.5, 5.0)), "line", 12.5),
        (MACHINE, replace(CT, line=Line(0.04, 50.0, 5.0)), "round trip", 4 / 0.24),
        (MACHINE, replace(CT, line=Line(0.04, 12.5), associations=1), "round trip", 1 / 0.12),
        (MACHINE, replace(CT, line=Line(0.04, 12.5), associations=2), "line", 12.5),
    ],
)  # fmt: skip
def test_the_lowest_bound_is_the_rate(machine: Machine, load: Load, bottleneck: str, per_s: float) -> None:
    found = predict(machine, load)
    assert found.bottleneck == bottleneck
    assert found.per_s == pytest.approx(per_s)
    assert found.mb_per_s == pytest.approx(per_s)


def test_processor_time_by_role() -> None:
    assert predict(MACHINE, replace(CT, syntax=HTJ2K)).role_ms == pytest.approx(
        {"receiver": 1.0, "planner": 0.5, "sender": 0.6, "worker": 5.0}
    )


def test_cores_that_share_are_slower_together() -> None:
    codec = Codec(0.01, 0.02, 0.5)
    assert [codec.mb_s(workers, 3) for workers in (1, 2, 3, 9)] == pytest.approx([0.01, 0.015, 0.02, 0.02])
    assert codec.mb_s(1, 1) == 0.02


@pytest.mark.parametrize(
    ("small", "large", "object_s", "mb_s"),
    [
        ((0, 1.0), (MB, 3.0), 1.0, 2.0),
        ((MB, 3.0), (3 * MB, 7.0), 1.0, 2.0),
        ((MB, 1.0), (2 * MB, 4.0), 0.0, 3.0),  # not below 0, though the line would be
        ((MB, 3.0), (2 * MB, 2.0), 3.0, 0.0),  # noise
    ],
)
def test_a_cost_is_a_line_through_two_sizes(
    small: tuple[float, float], large: tuple[float, float], object_s: float, mb_s: float
) -> None:
    assert Cost.through(small, large) == Cost(object_s, mb_s)


HERE = Situation(MB, 0.5 * MB, 1e12, [Node("PACS", J2K)], Arrivals(50.0, 5e6))


def advice(here: Situation = HERE, machine: Machine = MACHINE, **wishes: object) -> Advice:
    return advise(machine, here, Wishes(**wishes))  # type: ignore[arg-type]


def test_as_few_processes_as_are_as_quick() -> None:
    found = advice()
    assert (found.receivers, found.workers, found.main_syntax, found.main.bottleneck) == (1, 4, J2K, "codec")
    assert advice(replace(HERE, nodes=[Node("PACS")])).workers == 1
    slow_line = replace(HERE, nodes=[Node("PACS", HTJ2K, line=Line(None, 12.5))])
    assert advice(slow_line).workers == 1  # it makes more than the line carries
    slow_archive = replace(HERE, nodes=[Node("PACS", HTJ2K, line=Line(0.1, None, 1.0))])
    assert advice(slow_archive).workers == 3  # more associations may carry more


def test_more_receivers_where_one_is_the_bottleneck() -> None:
    slow = replace(MACHINE, roles=MACHINE.roles | {"receiver": Cost(0.002)})
    assert advice(replace(HERE, nodes=[Node("PACS")]), slow).receivers > 1


@pytest.mark.parametrize(
    ("node", "wanted"),
    [
        (Node("PACS", associations=4), 4),
        (Node("PACS", associations=1), 1),  # nothing is known of its line, so nothing is changed
        (Node("PACS", associations=4, line=Line(0.0005)), 4),
        (Node("PACS", associations=1, line=Line(0.04, 12.5)), 2),  # 80 ms of sending, 40 of waiting
        (Node("PACS", associations=1, line=Line(0.32, 12.5)), 5),
        (Node("PACS", associations=9, line=Line(0.32, 12.5)), 9),  # never fewer than are set
        (Node("PACS", associations=4, line=Line(10.0)), 64),
        (Node("PACS", associations=4, line=Line(None, None, 1.0)), 4),  # a slow archive may not get quicker by more
        (Node("PACS", associations=1, line=Line(0.04, None, 12.5)), 2),
    ],
)
def test_associations_that_fill_the_line(node: Node, wanted: int) -> None:
    assert advice(replace(HERE, nodes=[node])).associations == {"PACS": wanted}


def test_the_arena_grows_with_workers_and_frames() -> None:
    assert advice().arena_mib == 256
    assert advice(replace(HERE, frame_bytes=40 * (1 << 20))).arena_mib == 640
    assert advice(replace(HERE, frame_bytes=41 * (1 << 20))).arena_mib == 704


def test_whether_the_busiest_minute_passes() -> None:
    assert advice().enough is True
    assert advice(replace(HERE, arrivals=Arrivals(90.0, 5e6))).enough is False
    assert advice(replace(HERE, arrivals=None)).enough is None
    assert advice(arrival_per_s=90.0).enough is False
    assert advice(replace(HERE, arrivals=None), arrival_per_s=10.0).peak_per_s == 10.0


def test_how_long_the_disk_lasts() -> None:
    nodes = [Node("PACS", J2K), Node("OTHER", share=0.25), Node("NEVER", share=0.0)]
    lasts_s = advice(replace(HERE, nodes=nodes)).lasts_s
    assert lasts_s == pytest.approx({"PACS": 4e5, "OTHER": 8e5, "NEVER": float("inf")})
    assert advice(arrival_per_s=100.0).lasts_s == pytest.approx({"PACS": 2e4})
    assert advice(replace(HERE, arrivals=None)).lasts_s == {}


def test_what_if_there_were_more_cores() -> None:
    half_free = replace(MACHINE, counted=2, cores=1.0, passing_cores=0.9)
    found = advice(machine=half_free, cores=16)
    assert found.workers == 8  # as great a share is free: of 16 cores 8
    assert list(found.by_workers) == list(range(1, 17))
    assert len(advice(machine=half_free, cores=1e6).by_workers) == 512  # what config.yml takes
    assert found.main.per_s == pytest.approx(8 * advice(machine=half_free).main.per_s, rel=0.05)


def test_what_if_another_syntax_was_wanted() -> None:
    assert advice(syntax=HTJ2K).main_syntax == HTJ2K
    assert advice(syntax=AS_IT_CAME).main.bounds.get("codec") is None
    assert advice(line_mb_per_s=12.5, syntax=HTJ2K).main.bottleneck == "line"
    assert advice(rtt_s=0.5, syntax=AS_IT_CAME).associations == {"PACS": 64}


def test_every_measured_syntax_is_compared() -> None:
    found = advice().by_syntax
    assert list(found) == [AS_IT_CAME, J2K, HTJ2K]
    assert found[AS_IT_CAME].per_s > found[HTJ2K].per_s > found[J2K].per_s
