"""How much memory do the roles hold while one object of 2 GB goes through, and with 200 slow associations at once?

    python perf/memory.py [--rounds 3] [--quick]

First an object of 2.1 GB (4096 frames) goes in over one association and out over another; the table has the growth of
each role, from ready to its maximum. Wanted: <= 64 MB each in receiver and sender.
Then 200 associations that send one CT of 0.5 MB a second each, forwarded to a sink: none may be refused, the receiver
may grow by 1 MB an association, and the answer must come within 100 ms at p99. `begun late` is how far the load itself
was behind its timetable; with more than a second the row is not valid.
Memory is each role's own (perf/roles.py: RssAnon); shared memory and the page cache are not in it.
"""

from collections import defaultdict
from pathlib import Path

import objects
import peers
import rig
import roles
import source

ASSOCIATIONS = 200


def big_object(folder: Path) -> dict[str, float]:
    """MB of growth by role, while one big object is received and delivered."""
    with peers.running(peers.sink()) as pacs, peers.leyden(folder, {"PACS": pacs.port}) as leyden:
        with roles.Watch(leyden) as watch:
            load = source.Load(leyden.port, [objects.made("huge")], called="PACS", objects=1)
            peers.must_be_whole(source.run(load).objects, 1)
            peers.wait_delivered(leyden, "PACS", 1)
        return {role: watch.growth_bytes(role) / 1e6 for role in watch.seen}


def many_associations(folder: Path, seconds: float) -> dict[str, float]:
    """What 200 slow associations met with."""
    with peers.running(peers.sink()) as pacs, peers.leyden(folder, {"PACS": pacs.port}) as leyden:
        with roles.Watch(leyden, every_s=0.25) as watch:
            load = source.Load(
                leyden.port, [objects.made("ct")], called="PACS", associations=ASSOCIATIONS, per_s=ASSOCIATIONS,
                ramp_s=2.0, seconds=2.0 + seconds,
            )  # fmt: skip
            report = source.run(load)
            peers.wait_delivered(leyden, "PACS", report.objects)
        receivers_bytes = sum(watch.growth_bytes(role) for role in watch.seen if role.startswith("receiver-"))
        return {
            "objects/s answered": report.per_s,
            "failed or refused": float(sum(report.failures.values())),
            "associations opened": float(report.opened),
            "answered within, p50, ms": report.response_ms(50),
            "answered within, p99, ms": report.response_ms(99),
            "begun late at worst, ms": report.behind_s * 1e3,
            "receivers, MB an association": receivers_bytes / 1e6 / ASSOCIATIONS,
            **{f"{role} grew by, MB": watch.growth_bytes(role) / 1e6 for role in watch.seen},
        }


def main() -> None:
    with rig.Run(rig.parser(__doc__, rounds=3).parse_args()) as run:
        if run.quick:
            run.asked.rounds = run.asked.rounds or 1
        ways = {
            "one object of 2.1 GB, growth in MB": big_object,
            f"{ASSOCIATIONS} associations": lambda folder: many_associations(folder, 8 if run.quick else 20),
        }
        for title, way in ways.items():
            found, _ = rig.alternate({title: way}, run.rounds, run.folder)
            table: dict[str, list[float]] = defaultdict(list)
            for round_ in found[title]:
                for row, figure in round_.items():
                    table[row].append(figure)
            run.add(rig.Comparison(title, "see the row", table))


if __name__ == "__main__":
    main()
