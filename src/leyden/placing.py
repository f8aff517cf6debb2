"""Where a delivery waits once it is decided, and under which name: for the planner, and for an operator's move."""

from msgspec.structs import replace

from leyden.dicom.header import Header
from leyden.dicom.uids import syntax_name
from leyden.form.choose import AsItCame, Ask, Make
from leyden.plan.match import Delivery
from leyden.spool.entry import Entry, key
from leyden.spool.stage import Stage
from leyden.spool.store import Placement

_STUDY_INSTANCE_UID = 0x0020000D
_SERIES_INSTANCE_UID = 0x0020000E


def _as_it_leaves(entry: Entry, header: Header) -> Entry:
    """The entry of a copy that mutations change: its keys are those of the UIDs that the destination sees."""
    return replace(
        entry,
        sop_key=key(header.meta.sop_instance_uid),
        study_key=key(_first(header, _STUDY_INSTANCE_UID)),
        series_key=key(series) if (series := _first(header, _SERIES_INSTANCE_UID)) else "",
    )


def place(entry: Entry, delivery: Delivery, came: str, edits: str = "") -> Placement:
    """Where a delivery waits: for a worker, for its destination to be asked, or to be sent.

    `came`: the name of the syntax that the object came in. `edits`: the hash of the rules that change this copy, which
    a worker does first, whatever comes then.
    """
    stage = Stage.TRANSFORM if edits else Stage.PREPARED
    syntax = came if edits else ""
    match delivery.form:
        case Make(uid):
            stage = Stage.TRANSFORM
            syntax = syntax_name(uid)
        case Ask(uid):
            stage = Stage.TRANSFORM if edits else Stage.ASKING
            syntax = syntax_name(uid)
        case AsItCame(padded=True):
            stage = Stage.TRANSFORM
            syntax = came
    if edits and delivery.mutated:
        entry = _as_it_leaves(replace(entry, edits=edits), delivery.mutated.header)
    return Placement(replace(entry, syntax=syntax), stage, delivery.destination, delivery.rank)


def _first(header: Header, tag: int) -> str:
    return next(iter(header.texts(tag) or ()), "")
