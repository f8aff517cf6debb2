"""What does a reload cost while objects pass through?

    python perf/reload.py [--quick] [--rounds 5]

0.5 MB CT pass as they came through a durable Leyden to storescp --fork --ignore, over four associations. The
configuration has 50 nodes and 100 rules of two conditions, none of which matches. One way leaves it alone; the other
one changes a rule and a node and reloads, at once and then each second, until the last object has arrived. Beside it:
how long a reload takes under that load, from the signal until the service has said what came of it, and the processor
time of each role an object, which other work on the machine changes less than the clock.
"""

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import forward
import peers
import rig
import roles
from leyden.operate.reading import Result
from leyden.operate.service import reload
from support.service import node

ASSOCIATIONS, OTHER_NODES, RULES = 4, 49, 100
EACH_S = 1.0
RULE = """\
- Conditions:
    - {{Tag: "0008,0060", MatchExpression: CT}}
    - {{Tag: "0008,1030", MatchExpression: "PROTOCOL {number}"}}
  Actions:
    - {{Target: OTHER0}}
"""


def nodes(port: int, generation: int) -> str:
    others = (node(f"OTHER{number}", 20_000 + number) for number in range(OTHER_NODES - generation % 2))
    return node("DEST", port) + "".join(others)


def routings(generation: int) -> str:
    return "".join(RULE.format(number=number + generation % 2) for number in range(RULES))


@contextmanager
def reloading(service: peers.Service, port: int, took_s: list[float]) -> Iterator[None]:
    """Change the configuration and reload, each second, meanwhile."""
    stop = threading.Event()
    wrong: list[str] = []

    def run() -> None:
        generation = 0
        while not wrong:
            generation += 1
            (service.folder / "nodes.yml").write_text(nodes(port, generation))
            (service.folder / "routings.yml").write_text(routings(generation))
            begin_s = time.monotonic()
            said = reload(service.spool, 30.0).reading
            if said is None or said.result is not Result.CHANGED:
                wrong.append(f"a reload failed: {said}")
            took_s.append(time.monotonic() - begin_s)
            if stop.wait(max(0.0, EACH_S - took_s[-1])):
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if wrong:
        raise peers.Failed(wrong[0])


def by_leyden(count: int, spent_s: dict[str, list[float]], took_s: list[float] | None, folder: Path) -> float:
    """Objects a second; with `took_s`, reloads go on meanwhile, and how long they take is added.

    The processor seconds of each role are added to `spent_s`.
    """
    far = peers.CountingStorescp("--fork")
    with peers.running(far):
        service = peers.Service(folder, nodes(far.port, 0), routings(0), workers=1, arenaMib=64)
        with peers.serving(service):
            send = partial(forward.with_source, count, ASSOCIATIONS)
            before = roles.spent(service)
            with nullcontext() if took_s is None else reloading(service, far.port, took_s):
                per_s = forward.passed(count, far, send, service.port)
            for role, spent in roles.between(before, roles.spent(service)).items():
                spent_s.setdefault(role, []).append(spent.processor_s)
            return per_s


def main() -> None:
    with rig.Run(rig.parser(__doc__).parse_args()) as run:
        count = 1200 if run.quick else 4000
        took_s: list[float] = []
        spent_s: tuple[dict[str, list[float]], dict[str, list[float]]] = {}, {}
        often = "a reload each second"
        run.compare(
            f"forward {count} ct, {ASSOCIATIONS} associations",
            "objects/s",
            {
                "no reload": partial(by_leyden, count, spent_s[0], None),
                often: partial(by_leyden, count, spent_s[1], took_s),
            },
            ours=(often,),
        )
        rows = [("processor time, ms an object (median)", "no reload", often)]
        for role in spent_s[0]:
            rows.append((role, *(rig.number(1000 * statistics.median(each[role]) / count) for each in spent_s)))
        run.table("processor time", rows)
        median_ms, most_ms = (1000 * figure(took_s) for figure in (statistics.median, max))
        run.note(f"{len(took_s)} reloads under that load: {median_ms:.0f} ms each (median), {most_ms:.0f} ms at most")


if __name__ == "__main__":
    main()
