"""What do rules cost: one decision, and the whole planner?

    python perf/rules.py [--rounds 5] [--quick] [--objects 3000]

Rules of three conditions, each for a value of its own; literals, wildcards and regular expressions in turn; of a rule
the first two conditions hold and the third fails, if the row says nothing else. They are read from a routings.yml, as
the service does. The object is CT_small.dcm of the pydicom wheel (257 elements), each time with a new SOP Instance UID.

First table: processor time of one decision, the header peek included. Wanted: 0.3 ms with 100 rules.
Second table: the planner of the service, alone, with --objects such CT in new/ and one destination; the log at level
INFO goes to a file. Where the spool is says --folder; the default is the folder for temporary files, /dev/shm takes the
disk out of it.
"""

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pydicom.data import get_testdata_file

import rig
from leyden import log
from leyden.config.load import load
from leyden.dicom.header import peek
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.plan.match import plan
from leyden.plan.rules import PlanSettings
from leyden.planner import Planner
from leyden.spool.entry import Entry, ReceiptClock, key
from leyden.spool.store import Spool
from leyden.tune.load import UID_BYTES, Uids, of_file

NODES = "- AeTitle: PACS\n- AeTitle: OTHER\n"
HOLD = (("8,60", "CT"), ("8,70", "^GE"), ("8,8", "AXIAL"), ("8,1010", "C*"), ("8,16", "1.2.840.10008.5.1.4.1.1.2"))
FAIL = (("10,20", "P{}"), ("8,80", "^Clinic {}$"), ("8,1030", "(?i)knee {}"), ("10,10", "*^{}"), ("Source", "MR{}"))
OWN = (("8,18", "^1\\.2\\.{}\\."),)  # it differs in each object
Conditions = list[tuple[str, str]]


def by_turns(n: int) -> tuple[Conditions, Conditions]:
    """For rule number n: two conditions that hold, and one that fails."""
    fails = FAIL[n % len(FAIL)]
    return [HOLD[n % len(HOLD)], HOLD[(n + 1) % len(HOLD)]], [(fails[0], fails[1].format(n))]


def last_fails(n: int) -> Conditions:
    hold, fail = by_turns(n)
    return hold + fail


def first_fails(n: int) -> Conditions:
    hold, fail = by_turns(n)
    return fail + hold


def all_hold(n: int) -> Conditions:
    return [*by_turns(n)[0], HOLD[(n + 2) % len(HOLD)]]


def own_fails(n: int) -> Conditions:
    return [*by_turns(n)[0], (OWN[0][0], OWN[0][1].format(n))]


def settings(folder: Path, rules: int, conditions_of: Callable[[int], Conditions]) -> PlanSettings:
    """A site with so many rules."""
    lines = []
    for n in range(rules):
        lines.append("- Conditions:")
        for tag, expression in conditions_of(n):
            lines += [f"    - Tag: {tag}", f"      MatchExpression: '{expression}'"]
        lines += ["  Actions:", "    - Target: OTHER"]
    (folder / "config.yml").write_text("filters: route\n")
    (folder / "nodes.yml").write_text(NODES)
    (folder / "routings.yml").write_text("\n".join([*lines, ""]))
    return load(folder, {}, {})[0].plan


def files() -> Iterator[bytes]:
    """As the receiver writes them, without end."""
    ct = of_file(Path(str(get_testdata_file("CT_small.dcm"))))
    uids = Uids(1)
    while True:
        uid = uids.next()
        first = bytearray(ct.pieces[0])
        first[ct.uid_at : ct.uid_at + UID_BYTES] = uid.encode()
        head = encode_head(FileMeta(ct.sop_class, uid, ct.syntax, "host", "CT01", "PACS"))
        yield b"".join((head, first, *ct.pieces[1:]))


def decision_ms(folder: Path, *, rules: int, conditions_of: Callable[[int], Conditions], decisions: int) -> float:
    """Processor time of one decision, each about another object."""
    asked = settings(folder, rules, conditions_of)
    contents = list(itertools.islice(files(), decisions))

    def decide(content: bytes) -> None:
        header = peek(lambda offset, length: content[offset : offset + length], len(content))
        plan(asked, header, clock=time.process_time)

    decide(contents[0])
    begin_s = time.process_time()
    for content in contents:
        decide(content)
    return (time.process_time() - begin_s) / decisions * 1e3


def planned(folder: Path, spent_us: list[float], *, rules: int, count: int) -> float:
    """Objects a second that the planner takes out of new/; adds its processor time an object to `spent_us`."""
    spool = Spool(folder / "cache", sync=False)
    spool.prepare(["PACS", "OTHER"])
    clock = ReceiptClock(0)
    for content in itertools.islice(files(), count):
        receipt = clock.next(time.time_ns() // 1000)
        entry = Entry(receipt, key("1"), key(""), key("CT01"))
        place = spool.root / "new" / entry.bucket
        place.mkdir(mode=0o700, exist_ok=True)
        (place / entry.name).write_bytes(content)
    rig.settle()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        log.set_up("planner-0", folder)
        planner = Planner(spool, settings(folder, rules, last_fails), 1, 1, lambda: None)
        begin_s, spent_s = time.perf_counter(), time.process_time()
        done = 0
        while done < count:
            planner.batch()
            done += planner.planned
        seconds = time.perf_counter() - begin_s
        spent_us.append((time.process_time() - spent_s) / count * 1e6)
        planner.close()
    left = sum(len(names) for _, _, names in os.walk(spool.root / "prepared" / "PACS"))
    if left != count:
        sys.exit(f"{left} of {count} objects are planned")
    return count / seconds


def main() -> None:
    parser = rig.parser(__doc__)
    parser.add_argument("--objects", type=int, default=3000, help="in new/ (default 3000; 500 with --quick)")
    asked = parser.parse_args()
    with rig.Run(asked) as run:
        decisions, count = (200, 500) if run.quick else (2000, asked.objects)
        decide = partial(decision_ms, decisions=decisions)
        ways = {
            f"{rules} rules": partial(decide, rules=rules, conditions_of=last_fails) for rules in (0, 10, 100, 1000)
        }
        ways["100 rules, the first condition fails"] = partial(decide, rules=100, conditions_of=first_fails)
        ways["100 rules, all hold"] = partial(decide, rules=100, conditions_of=all_hold)
        ways["100 rules, with an expression for the instance's UID"] = partial(
            decide, rules=100, conditions_of=own_fails
        )
        run.compare("decide on one CT", "ms of processor time", ways, ours=("0 rules",))
        spent_us: dict[str, list[float]] = {}
        planners = {
            f"{rules} rules": partial(
                planned, spent_us=spent_us.setdefault(f"{rules} rules", []), rules=rules, count=count
            )
            for rules in (0, 10, 100, 1000)
        }
        run.compare("plan one CT after the other", "objects/s", planners, ours=("0 rules",))
        run.add(rig.Comparison("plan one CT after the other", "us of processor time", spent_us, ours=("0 rules",)))


if __name__ == "__main__":
    main()
