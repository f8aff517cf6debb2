"""How fast do objects pass through that a mutation changes, beside the same objects passed on as they came?

    python perf/mutate.py [--quick] [--rounds 5] [--workers 1,2]

0.5 MB CT by our load generator through a durable Leyden to storescp --ignore, in alternating rounds: as they came; with
one add_or_update (no transcoding); with twenty actions, in items too; de-identified; and with a mutation whose
condition does not hold, which costs the planner a look. Wanted: one add_or_update at half the objects a second of a
plain forward. Then the processor time of each role, which other work on the machine changes less than the rate.
"""

import statistics
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import objects
import peers
import rig
import roles
import source
from forward import passed

KIND = "ct"
PLAIN, ONE = "as they came", "one add_or_update"
WANTED = 0.5
_PREFIX = "    - {Source: {Tag: PatientID}, Destination: {Tag: PatientID, Value: H1-$1}}\n"
_TWENTY = "".join(
    f"    - {{Source: {{Tag: PatientID, Expression: '^(.)(.*)$'}}, Destination: {{Tag: {tag}, Value: '{n} $2'}}}}\n"
    for n, tag in enumerate(("PatientComments", "StudyDescription", "SeriesDescription", "InstitutionName") * 5)
)
MUTATIONS = {
    ONE: f"- Actions:\n{_PREFIX}",
    "twenty of them": f"- Actions:\n{_TWENTY}",
    "deidentify": "- Actions: [{Type: deidentify}]\n",
    "a condition that does not hold": "- Conditions: [{Tag: Modality, MatchExpression: XX}]\n  Actions:\n" + _PREFIX,
}


Spent = dict[str, list[float]]
"""Role without its number -> processor ms an object, of each round."""
ROLES = ("receiver", "planner", "worker", "sender")


def by_leyden(count: int, workers: int, mutations: str | None, spent: Spent, folder: Path) -> float:
    """Objects a second, from the first byte sent to the last arrival. Adds to `spent`."""
    far = peers.CountingStorescp()
    with (
        peers.running(far),
        peers.leyden(folder, {"DEST": far.port}, mutations=mutations, workers=workers) as service,
    ):
        before = roles.spent(service)
        rate = passed(count, far, partial(send, count), service.port)
        took = roles.between(before, roles.spent(service))
        for role in ROLES:
            seconds = sum(each.processor_s for name, each in took.items() if name.startswith(role))
            spent[role].append(1000 * seconds / count)
        return rate


def send(count: int, port: int) -> None:
    load = source.Load(port, [objects.made(KIND)], called="DEST", associations=1, objects=count)
    peers.must_be_whole(source.run(load).objects, count)


def main() -> None:
    parser = rig.parser(__doc__)
    parser.add_argument("--workers", default="1,2")
    with rig.Run(parser.parse_args()) as run:
        count = 150 if run.quick else 400
        for workers in map(int, run.asked.workers.split(",")[: 1 if run.quick else None]):
            spent: dict[str, Spent] = defaultdict(lambda: defaultdict(list))
            ways: dict[str, Callable[[Path], float]] = {
                name: partial(by_leyden, count, workers, text, spent[name])
                for name, text in ({PLAIN: None} | MUTATIONS).items()
            }
            found = run.compare(
                f"{count} {KIND} through Leyden with {workers} workers", "objects/s", ways, limits={ONE: PLAIN}
            )
            share = found.median(ONE) / found.median(PLAIN)
            rows = [[name, *(f"{statistics.median(spent[name][role]):.2f}" for role in ROLES)] for name in ways]
            run.table("processor time", [["processor ms an object, median", *ROLES], *rows])
            run.note(f"{ONE} ÷ {PLAIN}: {share:.2f}; wanted {WANTED}{'' if share >= WANTED else ': short'}")


if __name__ == "__main__":
    main()
