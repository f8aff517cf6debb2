"""The rules as frozen types: what routings.yml, mutations.yml and sortings.yml mean once their text is checked.

config/ makes them; match.py, mutate.py and sort.py apply them. Nothing here parses text, reads a file or knows YAML;
`where` is kept so that a log line can name the place in the file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

PSEUDO_TAGS = ("Source", "Called")  # a condition may also ask for these: the calling and the called AE title


class Kind(StrEnum):
    """How a condition compares. It is decided once, when the configuration is read."""

    PRESENT = "present"
    LITERAL = "literal"
    WILDCARD = "wildcard"
    REGEX = "regex"


@dataclass(frozen=True, slots=True)
class Condition:
    """One question about a dataset.

    `tag` is eight lower-case hex digits, or `Source` (calling AE title) or `Called` (called AE title). Computed from
    the others: `number`, the tag as a number (None = a pseudo-tag); `direct`, whether it is about one element that is
    simply looked up; `element`, the same text for all conditions about that element.
    """

    tag: str
    kind: Kind = Kind.PRESENT
    expression: str = ""
    negate: bool = False
    search: bool = False
    items: tuple["Condition", ...] = ()
    private_creator: str = ""
    log_info: bool = False

    number: int | None = field(init=False, repr=False, compare=False)
    direct: bool = field(init=False, repr=False, compare=False)
    element: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        pseudo = self.tag in PSEUDO_TAGS or not self.tag  # without one: a stand-in after an error
        object.__setattr__(self, "number", None if pseudo else int(self.tag, 16))
        object.__setattr__(self, "direct", pseudo or not (self.search or self.items))
        object.__setattr__(self, "element", f"{self.tag} {self.private_creator}" if self.private_creator else self.tag)


class ActionType(StrEnum):
    ADD_DESTINATION = "add_destination"
    SAVE_FILE = "save_file"
    DROP = "drop"


class Action(msgspec.Struct, frozen=True):
    """What a matching route does. `target` is a node's AE title (never an alias) or a path with placeholders."""

    type: ActionType
    target: str = ""
    remove_original: bool = False
    description: str = ""
    log_info: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One route of routings.yml. `ae_titles`: the nodes (never aliases) whose objects it looks at; empty = all.

    `told` is computed from the others: whether the log says at level INFO if one of its conditions holds.
    """

    where: str
    ae_titles: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    actions: tuple[Action, ...] = ()
    description: str = ""
    told: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        told = any(condition.log_info for condition in self.conditions)
        object.__setattr__(self, "told", told)


class Step(msgspec.Struct, frozen=True):
    """A step into a sequence: its tag, and which item, counted from 1 (PS3.5 section 7.5); 0 = each of them."""

    sequence: int
    item: int = 0


class Place(msgspec.Struct, frozen=True):
    """Where an element stands in a dataset: its tag, the steps to its item, its private creator ("" = it is public).

    With a creator, the last two digits of the tag count within the creator's block (PS3.5 section 7.8.1).
    """

    tag: int
    within: tuple[Step, ...] = ()
    private_creator: str = ""


class EditType(StrEnum):
    ADD_OR_UPDATE = "add_or_update"
    REMOVE = "remove"
    ANONYMIZE = "anonymize"
    DEIDENTIFY = "deidentify"


class OnError(StrEnum):
    """What happens if an edit can't be made: on with the next edit, on with the next mutation, another try later, or
    failed/."""

    SKIP_ACTION = "skip_action"
    END_MUTATION = "end_mutation"
    RETRY = "retry"
    FAIL = "fail"


class BurnedIn(StrEnum):
    """What happens to an image in whose pixels a patient may be named (Burned In Annotation, PS3.3 C.7.6.1.1.5).

    `refuse`: it does not leave if it says so itself. `strict`: nor if its kind often does and it does not say NO.
    `blank`: rectangles of it are made black.
    """

    REFUSE = "refuse"
    STRICT = "strict"
    PASS = "pass"
    BLANK = "blank"


class Profile(msgspec.Struct, frozen=True):
    """How a dataset is de-identified: the Basic Profile of PS3.15 Annex E with `options` (profile.py has their names).

    `words`: the texts that cleaning may leave. `private`: group, low byte of the element (-1 = all) and creator of
    private elements that stay. `rectangles`: left, top, width and height in pixels.
    """

    options: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    private: tuple[tuple[int, int, str], ...] = ()
    burned_in: BurnedIn = BurnedIn.REFUSE
    rectangles: tuple[tuple[int, int, int, int], ...] = ()


class Edit(msgspec.Struct, frozen=True):
    """One action of a mutation.

    `expression` is a regular expression, searched in the source's text; `value` is a template (mutate.py). `vr`: the VR
    of the destination, "" = that of the file or of PS3.6. `mapping`: the absolute path of a CSV file of pseudonyms.
    `profile` is for a de-identification only.
    """

    type: EditType
    where: str
    source: Place | None = None
    expression: str = ""
    destination: Place | None = None
    vr: str = ""
    value: str = ""
    on_error: OnError = OnError.FAIL
    mapping: str = ""
    profile: Profile | None = None
    description: str = ""
    log_info: bool = False


class Mutation(msgspec.Struct, frozen=True):
    """One mutation of mutations.yml. `ae_titles`: the nodes (never aliases) whose copies it changes; empty = all.

    `original_attributes`: the old values go into the Original Attributes Sequence (PS3.3 C.12.1.1.9).
    """

    where: str
    ae_titles: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    actions: tuple[Edit, ...] = ()
    description: str = ""
    original_attributes: bool = False


def for_destination(mutations: Sequence[Mutation], destination: str) -> tuple[Mutation, ...]:
    """The mutations that look at what goes to a destination (AE title; "" = nowhere in particular)."""
    return tuple(each for each in mutations if not each.ae_titles or destination in each.ae_titles)


class SortType(StrEnum):
    INTEGER = "integer"
    STRING = "string"


class SortAction(msgspec.Struct, frozen=True):
    """Order by one element. `tag` is eight lower-case hex digits."""

    tag: str
    type: SortType = SortType.INTEGER
    descending: bool = False
    description: str = ""


class Sorting(msgspec.Struct, frozen=True):
    """One entry of sortings.yml. `ae_titles`: the nodes (never aliases) for which it orders; empty = all."""

    where: str
    ae_titles: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    actions: tuple[SortAction, ...] = ()
    description: str = ""


class CopyRules(msgspec.Struct, frozen=True):
    """By what one copy is to be changed: the mutations for a destination, and the AE title of who changes it."""

    destination: str
    system: str
    mutations: tuple[Mutation, ...]


class Target(msgspec.Struct, frozen=True):
    """What the planner must know of a destination. `syntax` is a transfer syntax UID, or "" to send as received.

    `recompress_lossy`: whether an instance that is lossy already may be made into another lossy syntax.
    """

    ae_title: str
    syntax: str = ""
    sop_class_priorities: tuple[str, ...] = ()
    recompress_lossy: bool = False


class PlanSettings(msgspec.Struct, frozen=True):
    """The settings that say what happens to an object.

    `titles` maps each accepted called AE title to the title of the node that it stands for; our own title maps to "".
    `filters`: the names of the filters, in the order in which they run. `routes`, `mutations` and `sortings` are None
    if that filter is off.
    """

    my_ae_title: str
    titles: dict[str, str]
    targets: tuple[Target, ...]
    routes: tuple[Route, ...] | None = None
    drop_unfiltered: bool = False
    minimum_age_s: float = 0.0
    filters: tuple[str, ...] = ()
    mutations: tuple[Mutation, ...] | None = None
    sortings: tuple[Sorting, ...] | None = None

    @property
    def mutates_first(self) -> bool:
        """Whether the mutations run before the routes, which then see what they have made."""
        filters = self.filters
        return "mutate" in filters and "route" in filters and filters.index("mutate") < filters.index("route")
