"""What the YAML files may hold: every key with how it is read, its default and what it means when it is absent.

A model per kind of entry; field names are the keys (camelCase in config.yml, PascalCase elsewhere, any case accepted).
None = absent or blank: inherit. `later` are keys of the format that have no effect in this version, `silent` those
that nobody needs to be told of. A key that would narrow a rule (`narrowing`) must not be misspelt: the rule would take
in more than the operator wrote. Entries within an entry are kept as they were written and read by themselves, so that
no mistake hides its neighbours. Deliberately absent: what needs a second file or entry (nodes.py, routings.py).
"""

from typing import Annotated, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SkipValidation,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.alias_generators import to_camel, to_pascal

from leyden.config import values
from leyden.config.report import Report, did_you_mean, nearest
from leyden.config.yaml_text import NOWHERE, At, Entries, Items, Node, Text

FILTERS = ("route",)
FILTERS_TO_COME = ("mutate", "sort")
ROLES = ("Storage", "QueryRetrieve", "Worklist", "StorageCommitSCP", "StorageCommitSCU")
ACTIONS = ("add_destination", "save_file", "drop")
DAY_S = 86400.0
_PLACE = "@"  # no key of a file; the alias of Entry.places
NO_EFFECT = "has no effect yet in this version"

NO_ITEMS = Items(NOWHERE)
Plain = PlainValidator
AnyText = Annotated[Text, Plain(values.text)]
Boolean = Annotated[bool, Plain(values.boolean)]
Title = Annotated[Text, Plain(values.ae_title)]
Titles = Annotated[tuple[Title, ...], BeforeValidator(values.listed)]
Uids = Annotated[tuple[Annotated[str, Plain(values.uid)], ...], BeforeValidator(values.listed)]
Windows = Annotated[tuple[Annotated[tuple[int, int], Plain(values.window)], ...], BeforeValidator(values.listed)]
LosslessSyntax = Annotated[str, Plain(values.lossless_syntax)]
Seconds = Annotated[float, Plain(values.number(0, 366 * DAY_S))]
Speed = Annotated[int, Plain(values.whole(0, 100_000_000))]
Count = Annotated[int, Plain(values.whole(0, 1_000_000))]
Milliseconds = Annotated[int, Plain(values.whole(0, 86_400_000))]


def _filter(value: Node) -> str:
    written = values.text(value).strip()
    if written.lower() in FILTERS_TO_COME:
        raise ValueError(
            f"the filter {written.lower()} is not there yet in this version, and data that it should have changed must "
            "not pass unchanged; take it out only if that is what you want"
        )
    if written.lower() not in FILTERS:
        raise ValueError(f"there is no filter {written}{did_you_mean(written, FILTERS)}; there is route")
    return written.lower()


class Entry(BaseModel):
    """Keys in any case; unknown ones and those without effect become warnings; blank ones count as absent."""

    model_config = ConfigDict(alias_generator=to_pascal, extra="ignore", frozen=True, arbitrary_types_allowed=True)
    synonyms: ClassVar[dict[str, str]] = {}
    later: ClassVar[tuple[str, ...]] = ()
    later_families: ClassVar[tuple[str, ...]] = ()
    silent: ClassVar[tuple[str, ...]] = ()
    narrowing: ClassVar[tuple[str, ...]] = ()
    keeps_blank: ClassVar[tuple[str, ...]] = ()
    required: ClassVar[tuple[str, ...]] = ()
    deciding: ClassVar[tuple[str, ...]] = ()  # while one of these is wrong, nothing is known of what the others mean

    places: SkipValidation[dict[str, At]] = Field(alias="@")  # of each key that is there, and of the entry as ""

    @property
    def at(self) -> At:
        return self.places[""]

    @classmethod
    def keys(cls) -> list[str]:
        return [alias for field in cls.model_fields.values() if (alias := field.alias or "") != _PLACE]

    @classmethod
    def name_of(cls, key: str) -> str:
        """The name, in any case, of the key that is meant by one which may be a synonym."""
        return cls.synonyms.get(key.lower(), key)

    @model_validator(mode="before")
    @classmethod
    def _by_their_names(cls, given: Node, info: ValidationInfo) -> dict[str, Node | dict[str, At]]:
        if not isinstance(given, Entries):
            raise ValueError("must hold keys and values, such as " + cls.keys()[0] + ": ...")
        report = info.context
        assert isinstance(report, Report)
        spelled = {key.lower(): key for key in (*cls.keys(), *cls.later, *cls.silent)}
        places = {"": given.at}
        named: dict[str, Node | dict[str, At]] = {_PLACE: places}
        for key, value in given.items():
            name = spelled.get(cls.name_of(key).lower())
            if name is None:
                cls._unknown(key, report)
            elif name in cls.later:
                report.warn(key.at, key, NO_EFFECT)
            elif name in named:
                raise ValueError(f"{key} in line {key.at.line} and {name} are the same")
            elif not isinstance(value, Text) or (value.strip() and not value.blank) or name in cls.keeps_blank:
                named[name], places[name] = value, key.at
        return named

    @classmethod
    def _unknown(cls, key: Text, report: Report) -> None:
        if key.lower().startswith(cls.later_families):
            report.warn(key.at, key, NO_EFFECT)
            return
        meant = did_you_mean(key, (*cls.keys(), *cls.later, *cls.silent))
        if nearest(key, cls.keys()) in cls.narrowing:
            report.error(key.at, key, f"unknown key{meant}; without it the rule would act on more than was meant")
        else:
            report.warn(key.at, key, f"unknown key{meant}")


class Api(Entry):
    """The HTTP console, which is not there yet."""

    model_config = ConfigDict(alias_generator=to_camel)
    silent = ("port", "bind", "servicePassword", "token")
    enabled: Boolean = False


class Config(Entry):
    """config.yml."""

    model_config = ConfigDict(alias_generator=to_camel)
    silent = ("activationCode",)
    later = (
        "echoInterval", "autoAdjustLineSpeed", "autoSaveLineSpeed", "maxEnumeratedFiles", "maxEnumeratedItems",
        "removeOrphanedIncomingFiles", "storageInterval", "supervisionFloorMinutes", "findScpPort",
        "queryRetrieveScpPort", "storageCommitScpPort", "limitMaxCMoveResponseRemainingCount", "suppressWebLog",
        "sendAbandonGraceSeconds", "duplicateThreshold", "holdIncomingStorageAssociations",
        "storageAssociationHoldExpectedTtlSeconds", "moveRejectedCachedFiles", "maxPDVsPerPDU", "logSuffix",
        "daysToKeepLogs",
    )  # fmt: skip
    later_families = ("worklist", "prefetch", "storagecommit", "cto", "redactedcfind")
    keeps_blank = ("aeTitlePrefix",)

    scp_port: Annotated[int, Plain(values.whole(0, 65535))] = 1040
    my_ae_title: Title = Text("LEYDEN", NOWHERE)
    ae_title_prefix: Annotated[str, Plain(values.ae_title_prefix)] = "DCP_"
    filters: Annotated[tuple[Annotated[str, Plain(_filter)], ...], BeforeValidator(values.listed)] = ()
    cache_path: Annotated[Text | None, Plain(values.folder)] = None
    default_transfer_syntax: LosslessSyntax | None = None
    minimum_age: Seconds = 0.0
    process_delay: Milliseconds = 0
    process_delay_window_multiplier: Annotated[float, Plain(values.number(0, 10_000))] = 1.0
    batch_size: Count = 0
    minimum_line_speed: Speed = 500
    stall_threshold_seconds: Seconds = 90.0
    connect_timeout_seconds: Seconds = 30.0
    client_timeout: Annotated[float, Plain(values.number(1, DAY_S))] = 600.0
    storage_timeout_floor_seconds: Annotated[float, Plain(values.number(1, 7 * DAY_S))] = 900.0
    min_free_space: Annotated[float, Plain(values.number(0, 99))] = 10.0
    expiry_threshold: Annotated[float, Plain(values.number(0, 36600 * DAY_S))] = 604800.0
    drop_unfiltered_instances: Boolean = False
    cycle_rejected_files_on_startup: Boolean = True
    storage_receipt_expiry_hours: Annotated[float, Plain(values.number(0, 87_600))] = 8.0
    process_schedule: Windows = ()
    reject_abstract_syntaxes: Uids = ()
    max_clients_per_server: Annotated[int, Plain(values.whole(0, 10_000))] = 0
    max_data_buffer: Annotated[int, Plain(values.whole(4096, 2**32 - 1))] = 1048776
    suppress_log_ae_titles: Titles = (Text("HEALTHCHECK", NOWHERE),)
    duplicate_behavior: Annotated[str, Plain(values.choice("accept", "reject", "ignore"))] = "accept"
    api: Api | None = None
    workers: Annotated[int, Plain(values.whole(0, 512))] = 0
    receivers: Annotated[int, Plain(values.whole(1, 32))] = 1
    arena_mib: Annotated[int, Plain(values.whole(16, 1_048_576))] = 256
    max_frame_mib: Annotated[int, Plain(values.whole(1, 4096))] = 128
    sync_spool: Boolean = True
    verify_compression: Annotated[str, Plain(values.choice("first-of-series", "always", "off"))] = "first-of-series"
    tls: Annotated[str, Plain(values.off)] = "off"
    allowed_calling_ae_titles: Titles = ()


class NodeEntry(Entry):
    """One entry of nodes.yml. None = as in config.yml. Without a title only while it has an error."""

    later = ("CFindFailureBehavior",)
    required = ("AeTitle",)

    ae_title: Title = Text("", NOWHERE)
    aliases: Titles = ()
    host_name: Annotated[str, Plain(values.host)] = "127.0.0.1"
    port: Annotated[int, Plain(values.whole(1, 65535))] = 104
    node_role: Annotated[str, Plain(values.choice(*ROLES))] = "Storage"
    transfer_syntax: AnyText | None = None  # read by syntax_of(): only a Storage node's has to be one that we make
    quality: Annotated[int, Plain(values.whole(1, 100))] = 90
    compression_ratio: Annotated[float, Plain(values.number(1.5, 1000))] = 10.0
    near_lossless: Annotated[int, Plain(values.whole(1, 255))] = 2
    recompress_lossy: Boolean = False
    impersonate: Boolean = False
    minimum_line_speed: Speed | None = None
    batch_size: Count | None = None
    process_delay: Milliseconds | None = None
    stall_threshold: Seconds | None = None
    priority: Annotated[int, Plain(values.whole(0, 2))] = 0
    process_schedule: Windows | None = None
    process_networks: Annotated[
        tuple[Annotated[str, Plain(values.local_network)], ...], BeforeValidator(values.listed)
    ] = ()
    sop_class_priorities: Annotated[
        tuple[Annotated[str, Plain(values.uid_or_default)], ...], BeforeValidator(values.listed)
    ] = ()
    max_associations: Annotated[int, Plain(values.whole(1, 64))] = 4
    maximum_line_speed: Speed = 0
    tls: Annotated[str, Plain(values.off)] = "off"
    retry_delays: Annotated[
        tuple[Annotated[float, Plain(values.number(0.1, 7 * DAY_S))], ...], BeforeValidator(values.listed)
    ] = ()


class ConditionEntry(Entry):
    """A condition of any rule file. The kind of its expression is decided in routings.py."""

    required = ("Tag",)
    synonyms = {"matchtag": "Tag"}
    narrowing = ("MatchExpression", "Negate", "Search", "SequenceItems", "PrivateTagCreator")
    keeps_blank = ("MatchExpression",)

    tag: Annotated[str, Plain(values.tag)] = ""  # only while there is an error
    match_expression: AnyText | None = None
    negate: Boolean = False
    search: Boolean = False
    sequence_items: Annotated[Items, Plain(values.entries)] = NO_ITEMS
    private_tag_creator: AnyText | None = None
    log: Annotated[bool, Plain(values.log_info)] = False


class ActionEntry(Entry):
    """An action of a route."""

    deciding = ("Type",)

    type: Annotated[str, Plain(values.choice(*ACTIONS))] = "add_destination"
    target: AnyText | None = None
    remove_original: Boolean = False
    description: AnyText | None = None
    log: Annotated[bool, Plain(values.log_info)] = False


class RouteEntry(Entry):
    """One entry of routings.yml."""

    narrowing = ("AeTitles", "Conditions")
    required = ("Actions",)

    ae_titles: Titles = ()
    conditions: Annotated[Items, Plain(values.entries)] = NO_ITEMS
    actions: Annotated[Items, Plain(values.some_entries)] = NO_ITEMS
    description: AnyText | None = None


Model = TypeVar("Model", bound=Entry)
Steps = tuple[int | str, ...]


def read(model: type[Model], given: Node, report: Report, steps: Steps = ()) -> Model | None:
    """The entry as a model, every error of it reported with its line; `steps` is the way to it within its outer entry.

    With errors, what remains without the wrong keys (so that further checks find further errors), or None.
    """
    wrong: dict[str, set[int | str]] = {}  # key -> numbers of its items; "" = the value as a whole
    entry: Model | None = None
    try:
        entry = model.model_validate(given, context=report)
    except ValidationError as found:
        for error in found.errors():
            message = str(error.get("ctx", {}).get("error") or error["msg"])
            report.error(error["input"].at, place((*steps, *error["loc"])), message)
            if error["loc"]:
                key, *inner = error["loc"]
                wrong.setdefault(str(key).lower(), set()).add(inner[0] if inner else "")
    if wrong and isinstance(given, Entries) and not any(key.lower() in wrong for key in model.deciding):
        rest = Entries(given.at)
        for key, value in given.items():
            right = _right_part(value, wrong.get(model.name_of(key).lower(), set()))
            if right is not None:
                rest[key] = right
        entry = model.model_validate(rest, context=Report())
    if entry is not None:
        for key in model.required:
            if key not in entry.places and key.lower() not in wrong:
                report.error(entry.at, place((*steps, key)), "is missing")
    return entry


def _right_part(value: Node, wrong: set[int | str]) -> Node | None:
    """A value without its wrong items; None = it is wrong as a whole."""
    if not wrong:
        return value
    left = Items(value.at)
    if all(isinstance(number, int) for number in wrong):
        left.extend(item for number, item in enumerate(values.listed(value)) if number not in wrong)
    return left or None


def place(steps: Steps) -> str:
    """A path within an entry as an operator writes it: Actions[0].Target."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
