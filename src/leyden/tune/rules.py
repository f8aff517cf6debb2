"""What the rules of this site cost the planner for a CT, besides what it spends without any."""

import time
from itertools import cycle, islice

from msgspec.structs import replace

from leyden.dicom.header import Header, peek
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.plan.match import plan
from leyden.plan.rules import PlanSettings
from leyden.tune import images
from leyden.tune.load import Uids

DECISIONS = 200


def cost_s(settings: PlanSettings) -> float:
    """Seconds of processor time of an object, on average over the nodes that it is called for.

    Nothing is done of what the rules decide. Mutations that workers make are not in it.
    """
    without = replace(settings, routes=None, mutations=None, sortings=None)
    return max(0.0, _decision_s(settings) - _decision_s(without))


def _decision_s(settings: PlanSettings) -> float:
    titles = [target.ae_title for target in settings.targets]
    template, uids, spent_s = images.ct_of(0), Uids(1), 0.0
    for title in islice(cycle(titles), DECISIONS if titles else 0):
        meta = FileMeta(template.sop_class, uids.next(), template.syntax, "host", "CT", title)
        header = _header(b"".join((encode_head(meta), *template.pieces)))
        begin_s = time.process_time()
        plan(settings, header, clock=time.process_time)
        spent_s += time.process_time() - begin_s
    return spent_s / DECISIONS


def _header(content: bytes) -> Header:
    return peek(lambda at, length: content[at : at + length], len(content))
