"""The rules of routing as frozen types: what routings.yml means once its text has been checked.

config/ makes them, match.py applies them. Nothing here parses text, reads a file or knows YAML; `where` is kept so that
a log line can name the place in the file.
"""

from dataclasses import dataclass
from enum import StrEnum

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

    `tag` is eight lower-case hex digits, or `Source` (calling AE title) or `Called` (called AE title).
    """

    tag: str
    kind: Kind = Kind.PRESENT
    expression: str = ""
    negate: bool = False
    search: bool = False
    items: tuple["Condition", ...] = ()
    private_creator: str = ""
    log_info: bool = False


class ActionType(StrEnum):
    ADD_DESTINATION = "add_destination"
    SAVE_FILE = "save_file"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Action:
    """What a matching route does. `target` is a node's AE title (never an alias) or a path with placeholders."""

    type: ActionType
    target: str = ""
    remove_original: bool = False
    description: str = ""
    log_info: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One route of routings.yml. `ae_titles`: the nodes (never aliases) whose objects it looks at; empty = all."""

    where: str
    ae_titles: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    actions: tuple[Action, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What the planner must know of a destination. `syntax` is a transfer syntax UID, or "" to send as received.

    `recompress_lossy`: whether an instance that is lossy already may be made into another lossy syntax.
    """

    ae_title: str
    syntax: str = ""
    sop_class_priorities: tuple[str, ...] = ()
    recompress_lossy: bool = False


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """The settings by which the planner decides.

    `titles` maps each accepted called AE title to the title of the node that it stands for; our own title maps to "".
    `routes` is None if the route filter is off.
    """

    my_ae_title: str
    titles: dict[str, str]
    targets: tuple[Target, ...]
    routes: tuple[Route, ...] | None = None
    drop_unfiltered: bool = False
    minimum_age_s: float = 0.0
