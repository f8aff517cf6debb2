"""The story of an object, and how far a study is."""

from typing import Annotated, Any

from msgspec import Meta

from leyden.console.call import Asked, Given, Nothing, Refused, Shape
from leyden.console.console import Console
from leyden.operate import trace
from leyden.operate.study import study

STORIES_MAX = 200
RECEIPT_DIGITS = 22
_UID = Annotated[str, Meta(max_length=64, pattern=r"^[0-9.]*$")]


class TraceQuery(Given, frozen=True):
    """One of them: the SOP Instance UID, the accession number, the Study Instance UID or the receipt id."""

    uid: _UID = ""
    accession: Annotated[str, Meta(max_length=64)] = ""
    study: _UID = ""
    receipt: Annotated[str, Meta(max_length=RECEIPT_DIGITS, pattern=r"^(\d{22})?$")] = ""


class Place(Shape, frozen=True):
    """Where an object stands for a destination; times in seconds since 1970, 0 = none."""

    stage: str
    destination: str
    claimant: str
    attempts: int
    due_s: float
    reason: str


class Story(Shape, frozen=True):
    """One object. `events`: as they stand in the journal, the oldest first. `proved`: by a receipt alone."""

    receipt: str
    sop_instance_uid: str
    events: tuple[dict[str, Any], ...]
    places: tuple[Place, ...]
    proved: tuple[str, ...]


class Stories(Shape, frozen=True):
    """The oldest first; `total` of them, of which the first are shown."""

    total: int
    stories: tuple[Story, ...]


class Missing(Shape, frozen=True):
    """An instance that a destination has not got. `state`: a stage, or gone."""

    sop_instance_uid: str
    receipt: str
    destination: str
    state: str
    reason: str


class Reached(Shape, frozen=True):
    """How many instances of a study are delivered, in which stage, or gone, for one destination."""

    ae_title: str
    complete: bool
    states: dict[str, int]


class Study(Shape, frozen=True):
    """`received` and `dropped` count instances."""

    study_instance_uid: str
    received: int
    dropped: int
    complete: bool
    destinations: tuple[Reached, ...]
    missing: tuple[Missing, ...]


async def find(console: Console, asked: Asked[TraceQuery, Nothing]) -> Stories:
    query, root = asked.query, console.root
    if sum(map(bool, (query.uid, query.accession, query.study, query.receipt))) != 1:
        raise Refused(409, "not_possible", "name one of uid, accession, study and receipt")
    if query.uid:
        found = await console.walks.do(trace.by_instance, root, query.uid)
    elif query.study:
        found = await console.walks.do(trace.by_study, root, query.study)
    elif query.receipt:
        found = await console.walks.do(trace.by_receipts, root, (query.receipt,))
    else:
        try:
            found = await console.walks.do(trace.by_accession, root, query.accession)
        except FileNotFoundError:
            found = []  # without its key, no accession number was ever told to the journal
    return Stories(total=len(found), stories=tuple(map(_story, found[:STORIES_MAX])))


def _story(story: trace.Story) -> Story:
    return Story(
        receipt=story.receipt,
        sop_instance_uid=story.sop_instance_uid,
        events=story.events,
        places=tuple(
            Place(
                stage=place.stage,
                destination=place.destination,
                claimant=place.claimant,
                attempts=place.attempts,
                due_s=place.due_s,
                reason=place.reason,
            )
            for place in story.places
        ),
        proved=story.proved,
    )


async def of_study(console: Console, asked: Asked[Nothing, Nothing]) -> Study:
    uid = asked.path["uid"]
    if len(uid) > 64 or not uid.replace(".", "").isdecimal():
        raise Refused(404, "not_found", f"{uid[:64]} is no UID")
    found = await console.walks.do(study, console.root, uid)
    if not found.received:
        raise Refused(404, "not_found", "nothing is known of this study")
    return Study(
        study_instance_uid=found.uid,
        received=found.received,
        dropped=found.dropped,
        complete=found.complete,
        destinations=tuple(
            Reached(ae_title=each.title, complete=each.complete, states=dict(each.states))
            for each in found.destinations
        ),
        missing=tuple(
            Missing(
                sop_instance_uid=each.sop_instance_uid,
                receipt=each.receipt,
                destination=each.destination,
                state=each.state,
                reason=each.reason,
            )
            for each in found.missing
        ),
    )
