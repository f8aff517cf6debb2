"""What `leyden explain` tells of a file, as data.

It holds values of the dataset: patient data, for the operator's eyes.
"""

import msgspec

from leyden.plan.changes import Change


class Asked(msgspec.Struct, frozen=True):
    """A condition and its answer. `seen`: the values that were compared, None = there are none; `unsure`: why there is
    no answer, "" = there is one."""

    condition: str
    held: bool
    seen: tuple[str, ...] | None
    unsure: str


class Rule(msgspec.Struct, frozen=True):
    """A rule and what came of it. `skipped`: why none of its conditions was asked; "" = they were."""

    where: str
    description: str
    skipped: str
    held: bool
    conditions: tuple[Asked, ...]
    actions: tuple[str, ...]


class Seen(msgspec.Struct, frozen=True):
    """What a destination was seen to accept of a SOP class: names of transfer syntaxes; times in seconds since 1970."""

    accepted: tuple[str, ...]
    refused: tuple[str, ...]
    seen_s: float


class Sending(msgspec.Struct, frozen=True):
    """One copy that is sent. `syntax`: the name of the one that it goes in, unless the destination refuses it.

    `form` is make, ask or as_it_came, and `why` the reason for the latter; `because`: what asked for this delivery.
    `mutations`: those for this destination; `changes`: what they change; `failure`: why it can't leave, "" = it can.
    `values`: those that were asked for, by the name of the place; None = the element is absent.
    """

    destination: str
    address: str
    calling: str
    because: str
    form: str
    syntax: str
    syntax_uid: str
    padded: bool
    why: str
    rank: str
    seen: Seen | None
    sop_class_uid: str
    sop_instance_uid: str
    mutations: tuple[Rule, ...] = ()
    changes: tuple[Change, ...] = ()
    failure: str = ""
    values: dict[str, tuple[str, ...] | None] = msgspec.field(default_factory=dict)


class Saving(msgspec.Struct, frozen=True):
    """One copy that is written: its path, and the rule that asks for it."""

    path: str
    because: str


class Explained(msgspec.Struct, frozen=True):
    """What would happen to a file.

    `unread`: why it is no object that could be sent; `rejected`: why the receiver would not take it. With neither, it
    has deliveries, or was dropped, or `failed` says why it goes to failed/, or `postponed` why it waits in new/; then
    `mutations` are those that hold it back. `node`: for whom the called title stands, "" = ourselves. `flaw`: why the
    rules saw only a part of it, or nothing.
    """

    file: str
    calling: str = ""
    called: str = ""
    node: str = ""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    syntax: str = ""
    unread: str = ""
    rejected: str = ""
    flaw: str = ""
    rules: tuple[Rule, ...] = ()
    deliveries: tuple[Sending, ...] = ()
    saves: tuple[Saving, ...] = ()
    dropped_by: str = ""
    failed: str = ""
    postponed: str = ""
    mutations: tuple[Rule, ...] = ()

    @property
    def well(self) -> bool:
        """Whether it is taken, and reaches each end that a rule or a called title asks for."""
        held_back = any(sending.failure for sending in self.deliveries)
        return not (self.unread or self.rejected or self.failed or self.postponed or held_back)
