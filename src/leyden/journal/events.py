"""What happens to an object, as typed events: one schema for the log, the receipts and whatever else tells its story.

A role makes an event where something has happened and hands it to lines.tell(). Receipts are the two events that end
the trip in good order (receipts.py). No field holds patient data: UIDs, AE titles, figures, and reasons of our own.
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
    """An event that names the instance: its UIDs, its calling AE title, and in `flag` what its names contradict."""

    sop_class_uid: str
    sop_instance_uid: str
    calling: str
    flag: str = ""


class Received(OfInstance, frozen=True, kw_only=True):
    """It is durable in new/, and answered with Success. `syntax` is a UID, `bytes` the size of its data set."""

    called: str
    syntax: str
    bytes: int


class Planned(OfInstance, frozen=True, kw_only=True):
    """It was decided where it goes: in `deliveries`; by none, `dropped_by` names the rule that ended its trip.

    `generation`: of the settings that decided. `rules`: the places of the rules whose conditions held.
    """

    called: str
    generation: int
    deliveries: tuple["PlannedDelivery", ...] = ()
    rules: tuple[str, ...] = ()
    dropped_by: str = ""


class PlannedDelivery(msgspec.Struct, frozen=True, omit_defaults=True):
    """One copy: to whom, in which form (the words of the log), and which rule or title asks for it."""

    destination: str
    form: str
    reason: str


class Transformed(Event, frozen=True, kw_only=True):
    """A worker made it: `came` and `made` are names of transfer syntaxes; sizes of the files; seconds of work."""

    destination: str
    came: str
    made: str
    came_bytes: int
    made_bytes: int
    took_s: float


class Attempt(OfInstance, frozen=True, kw_only=True):
    """It was sent, as a whole or in part, and not delivered. `said`: the peer's answer, or how the association ended.

    `status` is that of the C-STORE-RSP; -1 = there was none.
    """

    destination: str
    said: str
    status: int = -1


class Delivered(OfInstance, frozen=True, kw_only=True):
    """The destination answered with Success or a warning. `syntax` is a UID, `bytes` the size of the data set."""

    destination: str
    status: int
    syntax: str
    bytes: int
    took_s: float = 0.0
    comment: str = ""


class Dropped(OfInstance, frozen=True, kw_only=True):
    """A rule ended its trip, and no destination gets it."""

    called: str
    dropped_by: str


class Deferred(OfInstance, frozen=True, kw_only=True):
    """It waits in deferred/ for `wait_s` seconds."""

    destination: str
    said: str
    wait_s: float


class Rejected(OfInstance, frozen=True, kw_only=True):
    """The destination refused it for good: rejected/. `last_words`: those under which it was given up as a suspect."""

    destination: str
    reason: str
    tries: int = 0
    last_words: str = ""


class Failed(Event, frozen=True, kw_only=True):
    """It could not be planned, read or made: failed/."""

    reason: str
    destination: str = ""


class Expired(Event, frozen=True, kw_only=True):
    """It was not delivered within expiryThreshold: expired/."""

    destination: str


class ByHand(Event, frozen=True, kw_only=True):
    """Somebody put a file into the spool, or took one away; `what` says which."""

    what: str
    destination: str = ""
