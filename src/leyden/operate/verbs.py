"""What all verbs of the queue have in common: the walk over what is meant, what came of it, and who is told.

A verb does one thing to one object by one rename or unlink, so it may be killed at any line. What a process works on is
left alone. Each object is told to the journal, and at the end the verb as a whole; so the process must have called
journal.lines.set_up(). Every `who` is a user or the holder of a token, every `through` how he came: command line, api
or page.
"""

from collections.abc import Callable, Collection, Sequence
from itertools import islice
from pathlib import Path

import msgspec
from msgspec.structs import replace

from leyden.journal.events import Operated
from leyden.journal.lines import tell
from leyden.operate.select import Filter, Item, select
from leyden.spool import doorbell
from leyden.spool.listing import names
from leyden.spool.stage import Stage

TOGETHER = 1024
GONE = "it has moved on meanwhile"

What = Filter | Collection[str]
"""Objects: those that suit a filter, or some by their ids."""


class Done(msgspec.Struct):
    """What came of a verb.

    `count`: with how many objects it was done. `under_way`: how many a process is working on; these were left alone.
    `left`: why others stay as they are -> how many. `not_looked_into`: see Selection.
    """

    did: str
    count: int = 0
    under_way: int = 0
    left: dict[str, int] = msgspec.field(default_factory=dict)
    not_looked_into: int = 0

    @property
    def complete(self) -> bool:
        """Whether it was done with all that is meant."""
        return not (self.under_way or self.left or self.not_looked_into)

    def leave(self, why: str) -> None:
        self.left[why] = self.left.get(why, 0) + 1


class Verb(msgspec.Struct, frozen=True):
    """`did`: its name. `stages`: where it finds what it is for. `certain`: as for Selection."""

    did: str
    stages: frozenset[Stage]
    certain: bool = False


def filter_of(what: What) -> Filter:
    return what if isinstance(what, Filter) else Filter(ids=frozenset(what))


def meant(what: What, verb: Verb) -> Filter | None:
    """The filter for what a verb is to be done with; None = there can't be anything.

    What is meant by its id is looked for everywhere, so that it can be said where it stands.
    """
    wanted = filter_of(what)
    if wanted.ids:
        return wanted
    stages = verb.stages | {Stage.ACTIVE}
    stages = stages & wanted.stages if wanted.stages else stages
    return replace(wanted, stages=stages) if stages else None


def count(root: Path, what: What, verb: Verb) -> Done:
    """How many objects a verb would be done with, without doing it. OSError."""
    return _each(root, what, verb, lambda _: "", lambda _: None)


def do(
    root: Path,
    what: What,
    verb: Verb,
    act: Callable[[Item], str],
    who: str,
    through: str,
    destination: str = "",
    look: Callable[[Sequence[Item]], None] = lambda items: None,
) -> Done:
    """Do a verb with each object that is meant, tell it, and wake the service if it runs. OSError: nothing can be read.

    `act` returns why the object stays as it is, "" = it is done; or raises OSError. `destination`: that of the verb.
    `look` is shown the next objects (TOGETHER at most) before `act` is called with them.
    """
    done = _each(root, what, verb, act, look)
    wanted = filter_of(what)
    only = next(iter(wanted.ids)) if len(wanted.ids) == 1 else ""
    if not destination and len(wanted.destinations) == 1:
        (destination,) = wanted.destinations
    if done.count:
        receipt = only[:22] if only[:22].isdigit() else ""
        tell(Operated(receipt, who=who, through=through, did=verb.did, destination=destination, count=done.count,
                      detail=str(wanted)))  # fmt: skip
        for role in names(f"{root}/bell"):
            doorbell.ring(root, role)
    return done


def _each(
    root: Path, what: What, verb: Verb, act: Callable[[Item], str], look: Callable[[Sequence[Item]], None]
) -> Done:
    done = Done(verb.did)
    wanted = meant(what, verb)
    if wanted is None:
        return done
    selection = select(root, wanted, verb.certain)
    while chosen := list(islice(selection, TOGETHER)):
        free = []
        for item in chosen:
            if item.stage in verb.stages and not item.claimant:
                free.append(item)
            elif item.stage in verb.stages:
                done.under_way += 1
            elif wanted.ids:
                done.leave(f"it stands in {item.stage}/")
        look(free)
        for item in free:
            try:
                why = act(item)
            except OSError as error:
                why = error.strerror or str(error)
            if why:
                done.leave(why)
            else:
                done.count += 1
    done.not_looked_into = selection.not_looked_into
    return done
