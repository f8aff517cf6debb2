"""What happens to an object, as typed events: one schema for the log, the receipts and other views.

A role makes an event when something has happened, and passes it to lines.tell(). Receipts are the two events that end a
trip as planned: Delivered and Dropped. No field holds patient data, only UIDs, AE titles, addresses, numbers, texts of
Leyden or of the peer, and a keyed hash of the accession number. `receipt` ties the events of an object together.
"""

import time

import msgspec


def now_s() -> float:
    """Seconds since 1970, to the millisecond."""
    return round(time.time(), 3)


class Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="event", tag=str.lower):
    """`receipt`: the object's receipt id in the spool. `at_s`: seconds since 1970."""

    receipt: str
    at_s: float = msgspec.field(default_factory=now_s)


class OfInstance(Event, frozen=True, kw_only=True):
    """An event that names the instance: its UIDs and the calling AE title.

    `flag`: what association or command said otherwise than the data set; "" = nothing. `source`: who sent it to us, if
    that is not `calling`, the title by which we call the destination; "" = it was put into the spool by hand.
    """

    sop_class_uid: str
    sop_instance_uid: str
    calling: str
    flag: str = ""
    source: str | None = None


class Received(OfInstance, frozen=True, kw_only=True):
    """It is durable in new/ and answered with Success, or with 0xB007 (`flag`).

    `syntax` is a UID, `bytes` the size of its data set, `peer` the address of the sender, `user` the one whose user
    identity was checked.
    """

    called: str
    syntax: str
    bytes: int
    peer: str = ""
    user: str = ""


class Duplicate(OfInstance, frozen=True, kw_only=True):
    """Its instance was kept for the same node a short time before, so it was not. `status`: what the sender was told.

    Nothing else is ever told of this `receipt`.
    """

    called: str
    status: int


class Planned(OfInstance, frozen=True, kw_only=True):
    """The planner has decided where it goes. Without `deliveries`, `dropped_by` names the rule that ended its trip.

    `generation`: that of the settings that decided. `rules`: the places in the file of the rules that matched.
    `saved_by`: the rules whose copies of it are saved by now; their paths may name a patient, and are not told.
    `study_instance_uid`, `series_instance_uid`: "" = it has none. `accession`: accession.keyed().
    """

    called: str
    generation: int
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    accession: str = ""
    deliveries: tuple["PlannedDelivery", ...] = ()
    rules: tuple[str, ...] = ()
    saved_by: tuple[str, ...] = ()
    dropped_by: str = ""


class PlannedDelivery(msgspec.Struct, frozen=True, omit_defaults=True):
    """One copy: its destination, its form (as the log says it), and which rule or title asks for it.

    `changed_by`: the places in the file of the mutations that change it.
    """

    destination: str
    form: str
    reason: str
    changed_by: tuple[str, ...] = ()


class PutOff(Event, frozen=True, kw_only=True):
    """The planner can't place it now: it waits in new/ and is tried again each minute. Told once for a `reason`."""

    reason: str


class Transformed(OfInstance, frozen=True, kw_only=True):
    """A worker has made another syntax of it, or padded or mutated it in its own, and the result is durable.

    `came` and `made`: the names of the transfer syntaxes; `came_bytes` and `made_bytes`: the sizes of the files.
    `changed_by`: the places in the file of the mutations that changed it.
    """

    destination: str
    came: str
    made: str
    came_bytes: int
    made_bytes: int
    took_s: float
    changed_by: tuple[str, ...] = ()


class Attempt(OfInstance, frozen=True, kw_only=True):
    """It was sent, as a whole or in part, and not answered. `said`: how the association ended."""

    destination: str
    said: str


class Delivered(OfInstance, frozen=True, kw_only=True):
    """The destination answered with Success or a warning. `syntax` is a UID, `bytes` the size of the data set."""

    destination: str
    status: int
    syntax: str
    bytes: int
    took_s: float = 0.0


class Dropped(OfInstance, frozen=True, kw_only=True):
    """A rule has ended its trip: no destination gets it."""

    called: str
    dropped_by: str


class Deferred(OfInstance, frozen=True, kw_only=True):
    """It waits in deferred/ for `wait_s` seconds. `lost`: the association ended under it, there was no answer."""

    destination: str
    said: str
    wait_s: float
    lost: bool = False


class Remade(OfInstance, frozen=True, kw_only=True):
    """It goes to transform/, to be made into `syntax` (a UID): its own was refused, or a lossy one is accepted."""

    destination: str
    syntax: str


class Rejected(OfInstance, frozen=True, kw_only=True):
    """The destination has refused it for good; it is in rejected/.

    `last_words`: how the last association ended under it, if it was given up as a suspect.
    """

    destination: str
    reason: str
    tries: int = 0
    last_words: str = ""


class Failed(Event, frozen=True, kw_only=True):
    """It could not be planned, read or transcoded; it is in failed/. "": the instance is not known."""

    reason: str
    destination: str = ""
    sop_instance_uid: str = ""
    calling: str = ""
    study_instance_uid: str = ""
    accession: str = ""


class Expired(Event, frozen=True, kw_only=True):
    """It was not delivered within expiryThreshold; it is in expired/."""

    destination: str
    sop_instance_uid: str = ""
    calling: str = ""


class Retried(Event, frozen=True, kw_only=True):
    """It goes back to `stage`, from where it came before it was rejected or failed."""

    destination: str
    stage: str


class ByHand(Event, frozen=True, kw_only=True):
    """Somebody has put a file into the spool, or taken one away, by hand; `what` says which."""

    what: str
    destination: str = ""


class Moved(Event, frozen=True, kw_only=True):
    """An operator has moved it from `stage`, where it waited for `destination`. `who`: as in Operated."""

    destination: str
    stage: str
    to_destination: str
    to_stage: str
    who: str


class Deleted(Event, frozen=True, kw_only=True):
    """An operator has deleted it for good, from `stage`, where it stood for `destination` ("" before planning)."""

    destination: str
    stage: str
    who: str
    sop_instance_uid: str = ""


class Operated(Event, frozen=True, kw_only=True):
    """Somebody has changed something, or has had something done; `receipt` is "" unless it was one object.

    `who`: the user or the holder of a token. `through`: command line, api, page or signal. `did`: the verb, such as
    pause. `count`: how many objects. `detail`: the rest, in words.
    """

    who: str
    through: str
    did: str
    destination: str = ""
    count: int = 0
    detail: str = ""


class TurnedAway(Event, frozen=True, kw_only=True):
    """Somebody was refused an association, a TLS session, or the console; `receipt` is "".

    `peer`: the address. `why`: a value of admission.callers.Why. `answer`: the rejection in words, "" = there was none.
    `detail`: the rest, in words. `count`: how often the same happened since it was told before; numbers in
    the rest, and what the peer has shown, are those of the last time. Why.VARIOUS: of this address alone, or of all.
    """

    calling: str
    called: str
    peer: str
    why: str
    answer: str = ""
    detail: str = ""
    count: int = 1


class Missed(Event, frozen=True, kw_only=True):
    """So many bytes of the journal were removed before they were audited. It stands in the audit log alone."""

    bytes: int


AnyEvent = (
    Received
    | Duplicate
    | Planned
    | PutOff
    | Transformed
    | Attempt
    | Delivered
    | Dropped
    | Deferred
    | Remade
    | Rejected
    | Failed
    | Expired
    | Retried
    | ByHand
    | Moved
    | Deleted
    | Operated
    | TurnedAway
)
"""What a line of the journal may be."""
