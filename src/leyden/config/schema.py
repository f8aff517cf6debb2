"""What the YAML files may hold: every key, how its value is read, its default, and its effect.

docs/tables.py makes the tables of docs/configure.md of what stands here.

A model for each kind of entry; the names of its fields are the keys (camelCase in config.yml, PascalCase elsewhere, any
case accepted). A default of None means that the value comes from config.yml or that there is none. Entries within an
entry are kept as they were written and read on their own, so that no mistake hides another. What can only be checked
with a second file or entry at hand is in nodes.py and routings.py.
"""

from typing import Annotated, Any, ClassVar, TypeVar

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

from leyden.admission.token import ALGORITHMS
from leyden.config import values
from leyden.config.report import Report, did_you_mean, nearest_key
from leyden.config.yaml_text import NOWHERE, At, Entries, Items, Node, Text
from leyden.plan.profile import Option
from leyden.plan.rules import BurnedIn, OnError, Place

FILTERS = ("route", "mutate", "sort")
ROLES = ("Storage", "QueryRetrieve", "Worklist", "StorageCommitSCP", "StorageCommitSCU")
ACTIONS = ("add_destination", "save_file", "drop")
SORT_TYPES = ("integer", "string")
EDITS = ("add_or_update", "remove", "anonymize", "deidentify")
EDITS_TO_COME = ("exclude_result", "query", "stamp")
AFFECTED = ("storage", "worklist_query", "worklist_result", "qr_find_query", "qr_find_result")
DAY_S = 86400.0
_PLACE = "@"  # no key of a file; the alias of Entry.places
_ACTS_ON_MORE = "the rule would act on more than was meant"
NO_EFFECT = "has no effect yet in this version"

NO_ITEMS = Items(NOWHERE)
NO_ENTRIES = Entries(NOWHERE)
NO_PLACE = Place(0)  # only while there is an error
Plain = PlainValidator
AnyText = Annotated[Text, Plain(values.text)]
AnyEntries = Annotated[Entries, Plain(values.mapping)]
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
Share = Annotated[float, Plain(values.number(0, 100))]


def _filter(value: Node) -> str:
    written = values.text(value).strip()
    if written.lower() not in FILTERS:
        raise ValueError(
            f"there is no filter {written}{did_you_mean(written, FILTERS)}; there are {', '.join(FILTERS)}"
        )
    return written.lower()


def _edit_type(value: Node) -> str:
    written = values.text(value).strip().lower()
    if written in EDITS_TO_COME:
        raise ValueError(f"{written} is not there yet in this version; without it data would pass unchanged")
    return values.choice(*EDITS)(value)


def setting(
    default: Any, effect: str, unit: str = "", *, shown: str = "", since: str = "0.1", key: str | None = None
) -> Any:
    """A key of a file. `shown` says in words what an absent key means, where the default does not; `since` names the
    version that brought the key; `key` is how it is spelt, where the field's name does not tell."""
    return Field(
        default, alias=key, description=effect, json_schema_extra={"unit": unit, "shown": shown, "since": since}
    )


class Entry(BaseModel):
    """An entry of a file: its keys in any case. A blank value counts as absent, but for `never_blank`; an unknown key,
    and one that has no effect yet, is a warning."""

    model_config = ConfigDict(
        alias_generator=to_pascal,
        extra="ignore",
        frozen=True,
        arbitrary_types_allowed=True,
        defer_build=True,  # of rules that nobody has: 45 of 355 ms of processor time at each start
    )
    synonyms: ClassVar[dict[str, str]] = {}  # another name in lower case -> the key
    later: ClassVar[dict[str, str]] = {}  # keys of DICOM Capacitor that have no effect yet -> what Leyden does instead
    later_families: ClassVar[dict[str, str]] = {}  # the same, by how they begin, in lower case
    silent: ClassVar[dict[str, str]] = {}  # keys without effect of which nobody needs to be told -> why
    vital: ClassVar[dict[str, str]] = {}  # keys whose misspelling is an error -> what would happen without them
    keeps_blank: ClassVar[tuple[str, ...]] = ()  # keys for which a blank value is a value
    never_blank: ClassVar[tuple[str, ...]] = ()  # those of `vital` whose absence opens something: blank is an error
    required: ClassVar[tuple[str, ...]] = ()
    deciding: ClassVar[tuple[str, ...]] = ()  # keys without which the others cannot be understood
    within: ClassVar[str] = ""  # what stands before its keys where they are named, such as `tls.`

    places: SkipValidation[dict[str, At]] = Field(alias="@")  # of each key that is given, and of the entry itself as ""

    @property
    def at(self) -> At:
        return self.places[""]

    @classmethod
    def keys(cls) -> list[str]:
        return [alias for field in cls.model_fields.values() if (alias := field.alias or "") != _PLACE]

    @classmethod
    def name_of(cls, key: str) -> str:
        """The key for a synonym; any other name unchanged."""
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
                raise ValueError(f"{key} in line {key.at.line} and {name} are the same; remove one of them")
            elif name in cls.never_blank and cls._says_nothing(value):
                places[name] = key.at
                remedy = "Write its value behind it, or below it and indented further; or remove the key"
                report.error(key.at, cls.within + key, f"is empty; without it {cls.vital[name]}. {remedy}")
            elif not isinstance(value, Text) or (value.strip() and not value.blank) or name in cls.keeps_blank:
                named[name], places[name] = value, key.at
        return named

    @classmethod
    def _says_nothing(cls, value: Node) -> bool:
        return isinstance(value, Text) and (value.blank or not value.strip(", \n"))

    @classmethod
    def _unknown(cls, key: Text, report: Report) -> None:
        if key.lower().startswith(tuple(cls.later_families)):
            report.warn(key.at, key, NO_EFFECT)
        else:
            meant = nearest_key(key, (*cls.keys(), *cls.later, *cls.silent))
            cls.tell_unknown(key.at, cls.within + key, meant, report)

    @classmethod
    def tell_unknown(cls, at: At, where: str, meant: str, report: Report) -> None:
        """Report an unknown key; `meant` is the one that it probably stands for, or empty."""
        message = f"unknown key (did you mean {meant}?)" if meant else "unknown key"
        if meant in cls.vital:
            report.error(at, where, f"{message}; without {meant} {cls.vital[meant]}")
        else:
            report.warn(at, where, message)


class Strict(Entry):
    """An entry in which an unknown key is an error: what was meant would not be checked. [] and {} are blank, too."""

    @classmethod
    def tell_unknown(cls, at: At, where: str, meant: str, report: Report) -> None:
        report.error(at, where, f"unknown key (did you mean {meant}?)" if meant else "unknown key")

    @classmethod
    def _says_nothing(cls, value: Node) -> bool:
        return super()._says_nothing(value) or not value


class Api(Entry):
    """The HTTP console: a mapping of its own under the key api of config.yml."""

    model_config = ConfigDict(alias_generator=to_camel)
    within = "api."
    vital = {
        "token": "nobody could use it",
        "requireToken": "what shows no patient data would be open",
        "certificate": "there is no TLS",
    }
    never_blank = ("requireToken",)

    enabled: Boolean = setting(False, "true: the console runs")
    port: Annotated[int, Plain(values.whole(1, 65535))] = setting(
        1080, "the port of the console; if it is busy, the next one is tried, ten in all, and the log says which it is"
    )
    bind: Annotated[str, Plain(values.address)] = setting(
        "127.0.0.1",
        "the IP address that it listens on. One that others can reach needs certificate and key, or allowPlainHttp",
    )
    token: Annotated[str, Plain(values.secret)] = setting(
        "", "a token that may do everything; better ones are made by `leyden token new`", shown="none"
    )
    service_password: Annotated[str, Plain(values.secret)] = setting(
        "", "the password with which one logs in on the page; it may do everything", shown="none"
    )
    certificate: Annotated[Text | None, Plain(values.folder)] = setting(
        None,
        "file of the certificate in PEM, with those in between; with it, the console speaks TLS only",
        shown="none",
    )
    key: Annotated[Text | None, Plain(values.folder)] = setting(
        None, "file of its private key in PEM, without a passphrase; only its owner may have rights to it", shown="none"
    )
    allow_plain_http: Boolean = setting(
        False,
        "true: without TLS on an address that others can reach; then tokens and data can be read on the way",
    )
    host_names: Annotated[tuple[Annotated[str, Plain(values.host)], ...], BeforeValidator(values.listed)] = setting(
        (),
        "names by which browsers and tools call it; a request for another name is refused. The addresses and the name "
        "of this machine always fit",
    )
    require_token: Boolean | None = setting(
        None,
        "true: all but /health needs a token or a session; false: what shows no patient data and changes nothing is "
        "open, /metrics too",
        shown="false on 127.0.0.1 and ::1, else true",
    )
    max_connections: Annotated[int, Plain(values.whole(4, 10_000))] = setting(
        100, "connections at once; one more is closed", "connections"
    )
    requests_per_second: Annotated[int, Plain(values.whole(1, 10_000))] = setting(
        50, "from one address, on average over ten seconds; more are answered 429", "requests/s"
    )


class Collector(Entry):
    """Who gets ATNA messages: a mapping of its own under the key collector of audit."""

    model_config = ConfigDict(alias_generator=to_camel)
    within = "audit.collector."
    required = ("host",)
    vital = {"caFile": "any authority of the system may vouch for it"}
    never_blank = ("caFile",)

    host: Annotated[str, Plain(values.host)] = setting("", "name or IP address of the audit repository")
    port: Annotated[int, Plain(values.whole(1, 65535))] = setting(6514, "its port for syslog over TLS")
    ca_file: Annotated[Text | None, Plain(values.folder)] = setting(
        None, "PEM file of the authority that its certificate is checked with", shown="those of the system"
    )
    certificate: Annotated[Text | None, Plain(values.folder)] = setting(
        None, "PEM file of our own certificate, if it asks for one", shown="none"
    )
    key: Annotated[Text | None, Plain(values.folder)] = setting(
        None, "PEM file of the key of that certificate", shown="in the file of the certificate"
    )


class Audit(Entry):
    """The audit log: a mapping of its own under the key audit of config.yml."""

    model_config = ConfigDict(alias_generator=to_camel)
    within = "audit."
    vital = {"collector": "nobody else gets the audit messages", "keyFile": "the key is beside the spool"}

    enabled: Boolean = setting(True, "false: no audit log is written")
    key_file: Annotated[Text | None, Plain(values.folder)] = setting(
        None,
        "file of the key, 32 random bytes, that the records are chained with. It is made if it is missing",
        shown="state/audit.key below cachePath",
    )
    keep_days: Annotated[int, Plain(values.whole(0, 36600))] = setting(
        0, "how long files in audit_archive/ are kept; 0: they are never removed", "days"
    )
    collector: Collector | None = setting(
        None, "an audit repository that gets the same as ATNA messages (below)", shown="none"
    )


class Webhook(Entry):
    """Who gets alerts as JSON: a mapping of its own under the key webhook of alerts."""

    model_config = ConfigDict(alias_generator=to_camel)
    within = "alerts.webhook."
    required = ("url",)
    vital = {"secretFile": "messages would be unsigned"}
    never_blank = ("secretFile",)

    url: Annotated[str, Plain(values.web_address)] = setting("", "the URL that a message is sent to (POST)")
    secret_file: Annotated[Text | None, Plain(values.folder)] = setting(
        None, "file of a secret, in its first line, that shows that a message is from us", shown="none"
    )
    secret_as: Annotated[str, Plain(values.word("hmac", "bearer"))] = setting(
        "hmac", "hmac: the body is signed with it (X-Leyden-Signature); bearer: it is sent as a token (Authorization)"
    )
    ca_file: Annotated[Text | None, Plain(values.folder)] = setting(
        None, "PEM file of the authority that its certificate is checked with", shown="those of the system"
    )


class Mail(Entry):
    """Who gets alerts as mail: a mapping of its own under the key mail of alerts."""

    model_config = ConfigDict(alias_generator=to_camel)
    within = "alerts.mail."
    required = ("server", "from", "to")
    vital = {"security": "the default holds", "passwordFile": "there is no login"}

    server: Annotated[str, Plain(values.host)] = setting("", "name or IP address of the mail server")
    port: Annotated[int, Plain(values.whole(1, 65535))] = setting(587, "its port; 465 is usual for tls, 25 for none")
    security: Annotated[str, Plain(values.word("starttls", "tls", "none"))] = setting(
        "starttls", "starttls: encrypted after the greeting; tls: from the beginning; none: not at all"
    )
    user: Annotated[Text | None, Plain(values.text)] = setting(None, "the name of a login", shown="no login")
    password_file: Annotated[Text | None, Plain(values.folder)] = setting(
        None, "file of its password, in the first line", shown="none"
    )
    ca_file: Annotated[Text | None, Plain(values.folder)] = setting(
        None, "PEM file of the authority that its certificate is checked with", shown="those of the system"
    )
    sender: Annotated[str, Plain(values.mail_address)] = setting("", "the address that mail comes from", key="from")
    to: Annotated[tuple[Annotated[str, Plain(values.mail_address)], ...], BeforeValidator(values.listed)] = setting(
        (), "the addresses that get it"
    )


class Alerts(Entry):
    """Alerts: a mapping of its own under the key alerts of config.yml."""

    model_config = ConfigDict(alias_generator=to_camel)
    within = "alerts."
    vital = {"webhook": "nobody is told", "mail": "nobody is told"}

    destination_down: Annotated[float, Plain(values.number(0, 10_080))] = setting(
        15.0, "when a destination has taken nothing for so long while objects wait for it; 0: never", "min"
    )
    queue_older_than: Annotated[float, Plain(values.number(0, 100_000))] = setting(
        120.0,
        "when an object has waited for so long; not while its destination is paused or closed; 0: never",
        "min",
    )
    disk_free_below: Annotated[float, Plain(values.number(0, 99))] = setting(
        15.0, "when less of the spool's volume is free; 0: never", "%"
    )
    certificate_ends: Annotated[float, Plain(values.number(0, 3650))] = setting(
        30.0, "so long before a certificate ends; a revocation list: when a tenth of its time is left", "days"
    )
    objects: Boolean = setting(
        True, "when objects are rejected, fail or expire, or associations end again and again under one"
    )
    webhook: Webhook | None = setting(None, "who gets messages as JSON (below)", shown="none")
    mail: Mail | None = setting(None, "who gets messages as mail (below)", shown="none")


class ListenerEntry(Strict):
    """The listener for TLS: a mapping under the key tls of config.yml. The files are in PEM."""

    model_config = ConfigDict(alias_generator=to_camel)
    within = "tls."
    required = ("certificate", "key")
    vital = {
        "authorities": "no caller's certificate can be checked",
        "revocationLists": "a certificate that was revoked is taken",
        "clientAuth": "every caller needs a certificate",
    }
    never_blank = tuple(vital)

    port: Annotated[int, Plain(values.whole(1, 65535))] = setting(
        2762, "port for C-STORE and C-ECHO over TLS, on all addresses"
    )
    certificate: Annotated[Text | None, Plain(values.folder)] = setting(
        None, "our certificate, with those in between behind it"
    )
    key: Annotated[Text | None, Plain(values.folder)] = setting(
        None, "its private key, without a passphrase; only its owner may have rights to the file"
    )
    authorities: Annotated[Text | None, Plain(values.folder)] = setting(
        None,
        "certificates of the authorities that may vouch for a caller; needed unless clientAuth is off",
        shown="none",
    )
    revocation_lists: Annotated[Text | None, Plain(values.folder)] = setting(
        None,
        "revocation lists (CRLs) of the authorities, one of each in one file. Callers whose authority has none there, "
        "or one that has ended, are refused",
        shown="nothing is checked",
    )
    client_auth: Annotated[str, Plain(values.word("required", "optional", "off"))] = setting(
        "required",
        "required: who shows no good certificate is refused; optional: who shows a bad one is; off: none is asked for",
    )
    profile: Annotated[str, Plain(values.word("bcp195", "modified"))] = setting(
        "bcp195", "cipher suites under TLS 1.2, as PS3.15 B.12 (bcp195) or B.13 (modified) says"
    )


class Config(Entry):
    """config.yml."""

    model_config = ConfigDict(alias_generator=to_camel)
    silent = {"activationCode": "Leyden needs none", "suppressWebLog": "requests are not logged, only what they change"}
    later = {
        "echoInterval": "no echo is sent by itself; use `leyden echo`",
        "autoAdjustLineSpeed": "minimumLineSpeed stays as it is written",
        "autoSaveLineSpeed": "no file of the configuration is ever written",
        "maxEnumeratedFiles": "a queue may be of any length",
        "maxEnumeratedItems": "a queue may be of any length",
        "removeOrphanedIncomingFiles": "what was received in part is removed at each start",
        "storageInterval": "an object is sent as soon as it may",
        "supervisionFloorMinutes": "a process that hangs is killed after a minute, or later if its object is large",
        "findScpPort": "there is no worklist service",
        "queryRetrieveScpPort": "there is no query/retrieve service",
        "storageCommitScpPort": "there is no storage commitment",
        "limitMaxCMoveResponseRemainingCount": "there is no C-MOVE",
    }
    later_families = {
        "worklist": "there is no worklist service",
        "prefetch": "nothing is prefetched",
        "storagecommit": "there is no storage commitment",
        "cto": "is not read",
        "redactedcfind": "there is no C-FIND",
    }
    vital = {
        "filters": "no rule is applied",
        "allowedCallingAeTitles": "everybody may send",
        "alerts": "nobody is told",
        "audit": "its defaults hold, and nobody else gets the audit messages",
        "tls": "there is no listener for TLS",
    }
    keeps_blank = ("aeTitlePrefix", "logSuffix")
    never_blank = ("allowedCallingAeTitles", "tls")

    scp_port: Annotated[int, Plain(values.whole(0, 65535))] = setting(
        1040, "port for C-STORE and C-ECHO, on all addresses; 0: nothing is received"
    )
    my_ae_title: Title = setting(
        Text("LEYDEN", NOWHERE),
        "our own AE title; we call with it unless the node has Impersonate. What is sent to it goes where rules say",
    )
    ae_title_prefix: Annotated[str, Plain(values.ae_title_prefix)] = setting(
        "DCP_", "each node also answers to this and its title or alias; an empty text ('') switches that off"
    )
    filters: Annotated[tuple[Annotated[str, Plain(_filter)], ...], BeforeValidator(values.listed)] = setting(
        (),
        "rule files to apply, in this order: route (routings.yml), mutate (mutations.yml), sort (sortings.yml)",
    )
    cache_path: Annotated[Text | None, Plain(values.folder)] = setting(
        None, "folder of the spool, absolute or below the folder of config.yml", shown="cache"
    )
    default_transfer_syntax: LosslessSyntax | None = setting(
        None, "transfer syntax for nodes that name none, by name or UID; no lossy one", shown="as received"
    )
    minimum_age: Seconds = setting(0.0, "an object is looked at by the rules once it is this old", "s")
    process_delay: Milliseconds = setting(
        0, "a study waits so long after its first object, so that it leaves as a whole; 0: no wait", "ms"
    )
    process_delay_window_multiplier: Annotated[float, Plain(values.number(0, 10_000))] = setting(
        1.0,
        "objects of the study that come up to processDelay times this after the wait go at once; 0: each waits anew",
    )
    batch_size: Count = setting(
        0,
        "objects over one association before a new one is opened; 0: as many as there are. Series go together",
        "objects",
    )
    minimum_line_speed: Speed = setting(
        500,
        "a transfer that is slower over 10 s or more is aborted and tried again; after three aborts the object goes "
        "without this limit, with a warning. 0: no limit",
        "KB/s",
    )
    stall_threshold_seconds: Seconds = setting(
        90.0, "a transfer in which no byte moves for so long is aborted and tried again; 0: never", "s"
    )
    connect_timeout_seconds: Seconds = setting(
        30.0, "limit for a connection to a destination, over all its addresses; 0: that of the system", "s"
    )
    client_timeout: Annotated[float, Plain(values.number(1, DAY_S))] = setting(
        600.0, "an association of a sender that says nothing for so long is aborted", "s"
    )
    storage_timeout_floor_seconds: Annotated[float, Plain(values.number(1, 7 * DAY_S))] = setting(
        900.0,
        "an object may take this, and in addition the time that its size takes at minimumLineSpeed; without "
        "minimumLineSpeed there is no such limit",
        "s",
    )
    send_abandon_grace_seconds: Annotated[float, Plain(values.number(0, DAY_S))] = setting(
        30.0,
        "when stallThresholdSeconds or storageTimeoutFloorSeconds is over and the destination has all of the object, "
        "its answer may be on its way: we wait so much longer for it. Otherwise the association is aborted at once",
        "s",
    )
    hold_incoming_storage_associations: Boolean = setting(
        True,
        "while more than 1,024 objects wait to be planned, senders are slowed down: an answer is held back 1 s for "
        "each 200 more. What waits for a destination or for compression does not count",
    )
    storage_association_hold_expected_ttl_seconds: Seconds = setting(
        30.0, "how long senders wait for an answer; it is held back for half of this at most, and never over 15 s", "s"
    )
    min_free_space: Annotated[float, Plain(values.number(0, 99))] = setting(
        10.0,
        "with less of the spool's volume free, space or inodes, objects are refused for now (0xA700); with less than "
        "1.25 times this, new associations are, too",
        "%",
    )
    caller_share: Share = setting(
        0.0,
        "what one caller has sent may take so much of the spool's volume, all stages together; with more, its objects "
        "are refused for now (0xA700), and from nine tenths on its new associations; others go on. 0: no limit",
        "%",
    )
    destination_share: Share = setting(
        0.0,
        "what is for one node may take so much of the spool's volume; with more, what is sent to a title of that node "
        "is refused in the same way. 0: no limit",
        "%",
    )
    expiry_threshold: Annotated[float, Plain(values.number(0, 36600 * DAY_S))] = setting(
        604800.0, "what could not be delivered for so long moves to expired/, where it is kept; 0: never", "s"
    )
    drop_unfiltered_instances: Boolean = setting(False, "objects that no route matched are dropped, with a receipt")
    move_rejected_cached_files: Boolean = setting(
        True,
        "what a destination refused for good stays in rejected/; false: what it refused by its answer is removed, once "
        "a durable receipt says so",
    )
    cycle_rejected_files_on_startup: Boolean = setting(
        True, "what stands in rejected/ is tried again at each start (failed/ always is)"
    )
    storage_receipt_expiry_hours: Annotated[float, Plain(values.number(0, 87_600))] = setting(
        8.0, "how long receipts are kept; those of the running hour always are", "h"
    )
    process_schedule: Windows = setting(
        (), "times of day, as HH:MM - HH:MM, in which objects are delivered", "local time", shown="always"
    )
    reject_abstract_syntaxes: Uids = setting((), "SOP class UIDs that are refused in negotiation")
    max_clients_per_server: Annotated[int, Plain(values.whole(0, 10_000))] = setting(
        0, "associations at once, of all senders together; 0: 1000", "associations"
    )
    max_data_buffer: Annotated[int, Plain(values.whole(4096, 2**32 - 1))] = setting(
        1048776, "longest PDU that we announce and take; 262144 at most", "bytes"
    )
    max_pdvs_per_pdu: Count = setting(
        1,
        "most PDVs in a PDU that we send. We always send one, which every value allows; what we take may hold any "
        "number",
        "PDVs",
        key="maxPDVsPerPDU",
    )
    suppress_log_ae_titles: Titles = setting(
        (Text("HEALTHCHECK", NOWHERE),), "calling AE titles whose associations are not logged"
    )
    log_suffix: Annotated[tuple[str | int, ...], Plain(values.log_suffix)] = setting(
        values.LOG_SUFFIX,
        "what the log's lines about an object end with, with values as `#{g,e}`; what a line names already is not said "
        "again. Patient data stands in the log if you ask for it here; an empty text (''): nothing",
        shown="#{2,3}",
    )
    log_format: Annotated[str, Plain(values.choice("text", "json"))] = setting(
        "text", "text: lines for people; json: an object a line, for programs. Both for the file and standard error"
    )
    log_level: Annotated[str, Plain(values.choice("debug", "info", "warning", "error"))] = setting(
        "info", "what is logged: that and what is more serious: debug, info, warning, error"
    )
    days_to_keep_logs: Annotated[int, Plain(values.whole(0, 3660))] = setting(
        0, "a log of each instance, logs/DATE/DEST/SOURCE/SOPUID.log below cachePath, is kept so long; 0: none", "days"
    )
    journal_mib: Annotated[int, Plain(values.whole(0, 1_048_576))] = setting(
        2048, "the journal, which `leyden trace` reads, takes so much space at most; 0: there is none", "MiB"
    )
    duplicate_behavior: Annotated[str, Plain(values.choice("accept", "reject", "ignore"))] = setting(
        "accept",
        "what is done with an instance that comes again for the same node within duplicateThreshold. accept: it is "
        "kept and delivered again; reject: it is answered 0x0111 and not kept; ignore: it is answered Success and not "
        "kept",
    )
    duplicate_threshold: Seconds = setting(
        900.0, "for so long an instance that was kept makes the next one a duplicate", "s"
    )
    api: Api | None = setting(None, "the HTTP console (below)", shown="off")
    alerts: Alerts | None = setting(None, "who is told when something is wrong (below)", shown="nobody")
    audit: Audit | None = setting(None, "the audit log (below)", shown="on")
    workers: Annotated[int, Plain(values.whole(0, 512))] = setting(
        0, "processes that compress; 0: one for each core that we may use", "processes"
    )
    receivers: Annotated[int, Plain(values.whole(1, 32))] = setting(1, "processes that receive", "processes")
    arena_mib: Annotated[int, Plain(values.whole(16, 1_048_576))] = setting(
        256, "shared memory for pixels in work, taken at the start", "MiB"
    )
    max_frame_mib: Annotated[int, Plain(values.whole(1, 4096))] = setting(
        128, "an image with a larger frame goes on as it came", "MiB"
    )
    sync_spool: Boolean = setting(
        True, "Success is answered once the disk has the object; false: earlier, and a power cut may lose objects"
    )
    verify_compression: Annotated[str, Plain(values.choice("first-of-series", "always", "off"))] = setting(
        "first-of-series", "what was compressed is decoded and compared: first-of-series, always or off"
    )
    tls: Annotated[ListenerEntry | None, BeforeValidator(values.switch_or_keys)] = setting(
        None, "a second listener, for TLS (below)", shown="off"
    )
    allowed_calling_ae_titles: Titles = setting((), "the only AE titles that may call us", shown="all")

    @property
    def ports(self) -> dict[int, str]:
        """Those on which we receive, and the key that names each."""
        return {self.scp_port: "scpPort"} | ({self.tls.port: "tls.port"} if self.tls else {})


class TlsEntry(Strict):
    """How a node is reached over TLS: true, or a mapping under its key Tls. The files are in PEM."""

    within = "Tls."
    vital = {
        "Authorities": "any authority of the system may vouch for the node",
        "RevocationLists": "a certificate that was revoked is taken",
    }
    never_blank = tuple(vital)

    authorities: Annotated[Text | None, Plain(values.folder)] = setting(
        None, "certificates of the authorities, one of which must have signed the node's", shown="those of the system"
    )
    certificate: Annotated[Text | None, Plain(values.folder)] = setting(
        None, "our certificate, with those in between, for a node that asks for one", shown="none"
    )
    key: Annotated[Text | None, Plain(values.folder)] = setting(
        None, "its private key, without a passphrase; only its owner may have rights to the file", shown="none"
    )
    revocation_lists: Annotated[Text | None, Plain(values.folder)] = setting(
        None, "CRLs of the authorities: one for each that signs; what they name is refused", shown="nothing is checked"
    )
    name: Annotated[str, Plain(values.host)] = setting(
        "", "name or IP address that must stand in the node's certificate", shown="HostName"
    )


class CredentialsEntry(Strict):
    """With which user identity a node is called (PS3.7 D.3.3.7): a mapping under its key Credentials."""

    within = "Credentials."
    vital = dict.fromkeys(("PasscodeFile", "Credential", "Passcode"), "no passcode is sent")
    never_blank = tuple(vital)

    username: Annotated[str, Plain(values.one_line)] = setting("", "the user's name", shown="none")
    passcode_file: Annotated[Text | None, Plain(values.folder)] = setting(
        None, "file of the passcode, in its first line; only its owner may have rights to it", shown="none"
    )
    credential: Annotated[str, Plain(values.credential_name)] = setting(
        "",
        "instead of a file, the name of a credential of systemd (LoadCredential=): the passcode; without Username the "
        "JWT",
        shown="none",
    )
    jwt_file: Annotated[Text | None, Plain(values.folder)] = setting(
        None, "file of a JSON Web Token, instead of Username and passcode", shown="none"
    )
    passcode: Annotated[str, Plain(values.one_line)] = setting(
        "", "the passcode itself, with a warning: who reads nodes.yml or a backup of it has it", shown="none"
    )


class NodeEntry(Entry):
    """One entry of nodes.yml. None = as in config.yml. The title is empty only where there is an error."""

    later = {"CFindFailureBehavior": "there is no C-FIND"}
    required = ("AeTitle",)
    vital = {
        "HostName": "the node's address is 127.0.0.1",
        "Port": "the node's port is 104",
        "Tls": "what is sent can be read on the way",
        "Credentials": "the node is not told who calls",
    }
    never_blank = ("Tls", "Credentials")

    ae_title: Title = setting(Text("", NOWHERE), "AE title of the destination, which we answer to as well")
    aliases: Titles = setting((), "further titles that we answer to for this node")
    host_name: Annotated[str, Plain(values.host)] = setting("127.0.0.1", "name or IP address, without a port")
    port: Annotated[int, Plain(values.whole(1, 65535))] = setting(104, "port of the destination")
    node_role: Annotated[str, Plain(values.choice(*ROLES))] = setting(
        "Storage", f"only Storage has an effect yet; {', '.join(ROLES[1:])} are read, with a warning"
    )
    transfer_syntax: AnyText | None = setting(  # read in nodes.py: only a Storage node's has to be one that we make
        None, "transfer syntax that the node is to get, by name or UID", shown="defaultTransferSyntax"
    )
    quality: Annotated[int, Plain(values.whole(1, 100))] = setting(90, "how good lossy JPEG and JPEG XL are; 100: best")
    compression_ratio: Annotated[float, Plain(values.number(1.5, 1000))] = setting(
        10.0, "how many times smaller lossy JPEG 2000 and HTJ2K are"
    )
    near_lossless: Annotated[int, Plain(values.whole(1, 255))] = setting(
        2, "greatest difference of a sample in JPEGLSNearLossless", "grey levels"
    )
    recompress_lossy: Boolean = setting(False, "also what is lossy already is made lossy once more")
    impersonate: Boolean = setting(False, "we call with the AE title of the modality that sent the object")
    minimum_line_speed: Speed | None = setting(None, "as minimumLineSpeed", "KB/s", shown="minimumLineSpeed")
    batch_size: Count | None = setting(None, "as batchSize", "objects", shown="batchSize")
    process_delay: Milliseconds | None = setting(None, "as processDelay", "ms", shown="processDelay")
    stall_threshold: Seconds | None = setting(None, "as stallThresholdSeconds", "s", shown="stallThresholdSeconds")
    priority: Annotated[int, Plain(values.whole(0, 2))] = setting(
        0, "priority in the C-STORE request: 0 medium, 1 high, 2 low; no effect on our own order"
    )
    process_schedule: Windows | None = setting(None, "as processSchedule", "local time", shown="processSchedule")
    process_networks: Annotated[
        tuple[Annotated[str, Plain(values.local_network)], ...], BeforeValidator(values.listed)
    ] = setting(
        (),
        "objects are delivered only while this machine has an address in one of these: an address, 10.1.0.0/16, or "
        "10.1.0.0 / 255.255.0.0",
        shown="everywhere",
    )
    sop_class_priorities: Annotated[
        tuple[Annotated[str, Plain(values.uid_or_default)], ...], BeforeValidator(values.listed)
    ] = setting(
        (), "SOP class UIDs, the first of which is sent first; `default` stands for all others, which else come last"
    )
    max_associations: Annotated[int, Plain(values.whole(1, 64))] = setting(
        4, "associations to the node at once", "associations"
    )
    maximum_line_speed: Speed = setting(0, "we send no faster than this; 0: no limit", "KB/s")
    tls: Annotated[TlsEntry | None, BeforeValidator(values.switch_or_keys)] = setting(
        None, "true: the node is reached over TLS, and never without. Or the keys of the table below", shown="plain TCP"
    )
    credentials: CredentialsEntry | None = setting(
        None, "the user identity with which we call, over TLS only; its keys are in the table below", shown="none"
    )
    disk_share: Share | None = setting(None, "as destinationShare", "%", shown="destinationShare")
    retry_delays: Annotated[
        tuple[Annotated[float, Plain(values.number(0.1, 7 * DAY_S))], ...], BeforeValidator(values.listed)
    ] = setting(
        (),
        "waits after the first, the second ... failure; the last one is kept for all that follow",
        "s",
        shown="1, 2, 4 ... 300, each give or take a quarter",
    )


class ConditionEntry(Entry):
    """A condition of any rule file. The kind of its expression is decided in conditions.py."""

    required = ("Tag",)
    synonyms = {"matchtag": "Tag"}
    vital = dict.fromkeys(("MatchExpression", "Negate", "Search", "SequenceItems", "PrivateTagCreator"), _ACTS_ON_MORE)
    keeps_blank = ("MatchExpression",)

    tag: Annotated[str, Plain(values.tag)] = setting(  # empty only while there is an error
        "",
        "what to look at: 0008,0060, 8,60, 00080060 or a keyword; 0002,xxxx is the file meta; Source and Called are "
        "the AE titles of the association. MatchTag is the same key",
    )
    match_expression: AnyText | None = setting(
        None,
        "only digits and dots: that text; `^` in front or one of `[](){}|+\\`: a regular expression, searched; `*` or "
        "`?`: a wildcard for the whole value; else that text",
        shown="the tag is there",
    )
    negate: Boolean = setting(False, "the condition holds where it would not; what cannot be told never holds")
    search: Boolean = setting(False, "looks at that tag within sequences, too")
    sequence_items: Annotated[Items, Plain(values.entries)] = setting(
        NO_ITEMS, "conditions that one item of the sequence in Tag fulfils together"
    )
    private_tag_creator: AnyText | None = setting(
        None, "the private creator whose block is meant, wherever it stands; Tag gives the last two digits"
    )
    log: Annotated[bool, Plain(values.log_info)] = setting(
        False,
        "level at which this condition's outcome is logged: debug (not shown), or anything else: info",
        shown="debug",
    )


class ActionEntry(Entry):
    """An action of a route."""

    deciding = ("Type",)

    type: Annotated[str, Plain(values.choice(*ACTIONS))] = setting("add_destination", f"one of {', '.join(ACTIONS)}")
    target: AnyText | None = setting(
        None,
        "add_destination: title or alias of a Storage node. save_file: a path, with placeholders such as #{10,20} or "
        "#{8,20:0000-00-00}; one that ends in / gets a file name. drop: none",
        shown="an error, but for drop",
    )
    remove_original: Boolean = setting(False, "the destination that the sender called does not get the object")
    description: AnyText | None = setting(None, "a text for the log")
    log: Annotated[bool, Plain(values.log_info)] = setting(
        False,
        "level of the action's line: debug (not shown), or anything else: info; drop is always info",
        shown="debug",
    )


class RouteEntry(Entry):
    """One entry of routings.yml."""

    vital = dict.fromkeys(("AeTitles", "Conditions"), _ACTS_ON_MORE)
    required = ("Actions",)

    ae_titles: Titles = setting((), "the rule looks at objects that were sent to these nodes", shown="all")
    conditions: Annotated[Items, Plain(values.entries)] = setting(
        NO_ITEMS, "all of them must hold; each has the keys of the table below", shown="always"
    )
    actions: Annotated[Items, Plain(values.some_entries)] = setting(
        NO_ITEMS, "what is done; each has the keys of the table below"
    )
    description: AnyText | None = setting(None, "a text for the log")


class SourceEntry(Entry):
    """Where the text comes from that an action of a mutation works with."""

    required = ("Tag",)
    vital = {"Expression": "the whole value would be taken", "PrivateTagCreator": _ACTS_ON_MORE}

    tag: Annotated[Place, Plain(values.element)] = setting(
        NO_PLACE,
        "the element: 0008,0060, 8,60, 00080060 or a keyword; in a sequence 0040,0275[1].0040,0009 for an item, [*] "
        "for each; 0002,xxxx is the file meta. Several values are one text, joined by backslashes",
    )
    expression: AnyText = setting(
        Text("^(.+)$", NOWHERE), "a regular expression, searched in that text; if it does not match, nothing changes"
    )
    private_tag_creator: AnyText | None = setting(
        None, "the private creator whose block is meant, wherever it stands; Tag gives the last two digits"
    )


class DestinationEntry(Entry):
    """What an action of a mutation changes."""

    required = ("Tag",)
    vital = dict.fromkeys(("Value", "Vr", "PrivateTagCreator"), "another value would be written")
    keeps_blank = ("Value",)

    tag: Annotated[Place, Plain(values.element)] = setting(
        NO_PLACE, "the element that is written or removed; as in Source, but not in the file meta, and no pixel data"
    )
    value: AnyText | None = setting(
        None,
        "the text that is written: `$1` ... and `${name}` are groups of Expression, `$$` a dollar sign, `:uid:` a new "
        "UID, `:timestamp:` the time of reception (ms since 1970), `:today:` its day (YYYYMMDD), `:value:` what stands "
        "there, `:hash(0010,0020,16):` the first 16 hex digits of that element's SHA-256; a backslash separates values",
        shown="$1",
    )
    vr: Annotated[str, Plain(values.vr)] = setting(
        "", "VR of the element, if neither the object nor PS3.6 has it", shown="as there, else by PS3.6; private: LO"
    )
    private_tag_creator: AnyText | None = setting(
        None, "the private creator; a block is reserved for it if there is none"
    )


class EditEntry(Entry):
    """An action of a mutation."""

    deciding = ("Type",)
    required = ("Destination",)
    vital = {"Source": "a fixed value would be written", "OnError": "the object would not leave after an error"}

    type: Annotated[str, Plain(_edit_type)] = setting("add_or_update", f"one of {', '.join(EDITS)}")
    source: Annotated[Entries | None, Plain(values.mapping)] = setting(
        None, "where the text comes from; its keys are in the table below", shown="Value is written as it is"
    )
    destination: Annotated[Entries | None, Plain(values.mapping)] = setting(
        None, "what is changed; its keys are in the table below"
    )
    on_error: Annotated[str, Plain(values.choice(*OnError))] = setting(
        "fail",
        "if the value can't be written (too long, not of its form, not in the character set, no such item): "
        "skip_action (on with the next action), end_mutation (with the next mutation), retry (the object waits, and is "
        "tried each minute), fail (it moves to failed/). For add_or_update only",
    )
    description: AnyText | None = setting(None, "a text for the log")
    log: Annotated[bool, Plain(values.log_info)] = setting(
        False, "level of the action's line: debug (not shown), or anything else: info", shown="debug"
    )


class MappingEntry(Entry):
    """The Destination of anonymize and deidentify: the file that says which pseudonym a patient has."""

    required = ("Value",)
    vital: ClassVar[dict[str, str]] = {"Tag": "the whole patient would be replaced"}

    value: AnyText = setting(
        Text("", NOWHERE),
        "a CSV file, made if it is missing; a relative path is below the folder of mutations.yml",
    )
    tag: Annotated[Place, Plain(values.element)] = setting(
        NO_PLACE,
        "anonymize only: the one element that gets the pseudonym",
        shown="ID and name, and the rest of the patient is cleaned",
    )


class AnonymizeEntry(Entry):
    """The action anonymize."""

    required: ClassVar[tuple[str, ...]] = ("Destination",)

    type: AnyText | None = setting(None, "anonymize", shown="required")
    destination: Annotated[Entries | None, Plain(values.mapping)] = setting(
        None, "the mapping file; its keys are in the table below"
    )
    description: AnyText | None = setting(None, "a text for the log")
    log: Annotated[bool, Plain(values.log_info)] = setting(
        False, "level of the action's line: debug (not shown), or anything else: info", shown="debug"
    )


class PrivateEntry(Entry):
    """Private elements that stay."""

    required = ("PrivateTagCreator",)
    vital: ClassVar[dict[str, str]] = {"Tag": "all elements of that creator would stay"}

    private_tag_creator: AnyText = setting(Text("", NOWHERE), "their private creator")
    tag: Annotated[str, Plain(values.tag)] = setting(
        "", "the element; its last two digits count, in whatever block it is", shown="all of the creator in Group"
    )
    group: Annotated[str, Plain(values.group)] = setting("", "the group, if Tag is not given: 0019")


class DeidentifyEntry(AnonymizeEntry):
    """The action deidentify."""

    required = ()

    type: AnyText | None = setting(None, "deidentify", shown="required")
    profile: Annotated[str, Plain(values.choice("basic"))] = setting(
        "basic", "basic: the Basic Application Level Confidentiality Profile of DICOM PS3.15 Annex E"
    )
    options: Annotated[tuple[Annotated[str, Plain(values.choice(*Option))], ...], BeforeValidator(values.listed)] = (
        setting((), f"what is kept or cleaned besides (PS3.15 E.3): {', '.join(Option)}")
    )
    keep_texts: Annotated[tuple[AnyText, ...], BeforeValidator(values.listed)] = setting(
        (), "texts that the clean options may leave, each a whole value, in any case"
    )
    keep_private: Annotated[Items, Plain(values.entries)] = setting(
        NO_ITEMS,
        "with retain_safe_private: private elements that stay beside those that PS3.15 lists as safe; the keys are in "
        "the table below",
    )
    burned_in: Annotated[str, Plain(values.choice(*BurnedIn))] = setting(
        "refuse",
        "images with texts in their pixels. refuse: if Burned In Annotation (0028,0301) is YES, it moves to failed/. "
        "strict: so does one of a kind that often has such texts and does not say NO. pass: nothing is looked at. "
        "blank: Rectangles are made black",
    )
    rectangles: Annotated[tuple[tuple[int, int, int, int], ...], Plain(values.rectangles)] = setting(
        (), "with BurnedIn: blank: [left, top, width, height] of each, in every frame", "pixels"
    )
    destination: Annotated[Entries | None, Plain(values.mapping)] = setting(
        None, "a mapping file, as for anonymize", shown="pseudonyms follow from the key of the spool"
    )


class MutationEntry(Entry):
    """One entry of mutations.yml."""

    vital = dict.fromkeys(("AeTitles", "Conditions"), _ACTS_ON_MORE)
    required = ("Actions",)

    ae_titles: Titles = setting((), "what goes to these nodes is changed", shown="all")
    conditions: Annotated[Items, Plain(values.entries)] = setting(
        NO_ITEMS, "all of them must hold; each has the keys of the table below", shown="always"
    )
    affects: Annotated[tuple[Annotated[str, Plain(values.choice(*AFFECTED))], ...], BeforeValidator(values.listed)] = (
        setting(
            ("storage",),
            f"what is changed: storage; {', '.join(AFFECTED[1:])} are for services that are not there yet",
        )
    )
    actions: Annotated[Items, Plain(values.some_entries)] = setting(
        NO_ITEMS, "what is changed, in this order; each has the keys of the table below"
    )
    original_attributes: Boolean = setting(
        False, "the old values are kept in the object, in the Original Attributes Sequence (0400,0561)"
    )
    description: AnyText | None = setting(None, "a text for the log")


class SortActionEntry(Entry):
    """An action of a sorting."""

    required = ("SortTag", "SortType", "SortDirection")

    type: Annotated[str, Plain(values.choice("sort"))] = setting("sort", "sort, the only one")
    sort_tag: Annotated[str, Plain(values.tag)] = setting("", "the element whose value counts, as in Tag")
    sort_type: Annotated[str, Plain(values.word(*SORT_TYPES))] = setting(
        "integer",
        "integer: by number, what is no whole number counts as 0; string: by character (code point)",
    )
    sort_direction: Annotated[str, Plain(values.word("asc", "desc"))] = setting(
        "asc", "asc: the lowest first; desc: the highest first. What has no such element is last in both"
    )
    description: AnyText | None = setting(None, "a text for people")


class SortingEntry(Entry):
    """One entry of sortings.yml."""

    vital = dict.fromkeys(("AeTitles", "Conditions"), _ACTS_ON_MORE)
    required = ("Actions",)

    ae_titles: Titles = setting((), "the nodes for which it orders", shown="all")
    conditions: Annotated[Items, Plain(values.entries)] = setting(
        NO_ITEMS, "all of them must hold for an instance to be ordered; as in routings.yml", shown="always"
    )
    actions: Annotated[Items, Plain(values.some_entries)] = setting(
        NO_ITEMS, "each orders anew, so the last one decides; each has the keys of the table below"
    )
    description: AnyText | None = setting(None, "a text for people")


class JwtEntry(Strict):
    """Which JSON Web Tokens count: the value of Jwt of a caller."""

    within = "Jwt."
    required = ("KeyFiles", "Issuer", "Audience")

    key_files: Annotated[tuple[Annotated[Text, Plain(values.folder)], ...], BeforeValidator(values.listed)] = setting(
        (), "files of the public keys that sign them: PEM (a key or a certificate) or a JSON Web Key Set"
    )
    issuer: AnyText = setting(Text("", NOWHERE), "who has to have made a token (`iss`)")
    audience: AnyText = setting(Text("", NOWHERE), "for whom it has to be made (`aud`)")
    algorithms: Annotated[
        tuple[Annotated[str, Plain(values.choice(*ALGORITHMS))], ...], BeforeValidator(values.listed)
    ] = setting(
        ALGORITHMS,
        "how it may be signed; none of these works with a shared secret",
        shown="all of these: " + ", ".join(ALGORITHMS),
    )


class CallerEntry(Strict):
    """One entry of callers.yml."""

    required = ("AeTitle",)
    vital = {
        "Addresses": "it may call from anywhere",
        "Certificates": "it needs no certificate",
        "CalledAeTitles": "it may call every title of ours",
        "SopClasses": "it may send every SOP class",
        "Identity": "no user identity is asked for",
        "Users": "no passcode is asked for",
        "Jwt": "no token is asked for",
    }
    never_blank = tuple(vital)

    ae_title: Title = setting(
        Text("", NOWHERE),
        "calling AE title, upper and lower case as the device sends it; `*`: every title that has no entry of its own",
    )
    addresses: Annotated[tuple[Annotated[str, Plain(values.caller_network)], ...], BeforeValidator(values.listed)] = (
        setting(
            (), "IP addresses or networks (10.1.0.0/16, 2001:db8::/32) that it calls from; no host names", shown="all"
        )
    )
    certificates: Annotated[
        tuple[Annotated[str, Plain(values.certificate_name)], ...], BeforeValidator(values.listed)
    ] = setting(
        (),
        "its certificate has one of these names (common name, or DNS name, IP address or URI in subjectAltName), or "
        "one of these hashes (sha256:9f86d0…); so it has to call with TLS",
        shown="any or none",
    )
    called_ae_titles: Titles = setting((), "titles of ours that it may call", shown="all")
    sop_classes: Annotated[tuple[Annotated[str, Plain(values.sop_class)], ...], BeforeValidator(values.listed)] = (
        setting(
            (),
            "SOP classes that it may send, by UID or by name (CTImageStorage); others are refused in negotiation: "
            "abstract syntax not supported",
            shown="all",
        )
    )
    max_associations: Annotated[int, Plain(values.whole(0, 10_000))] = setting(
        0,
        "associations at once from one address; one more is rejected for now (2,3,2). 0: no limit of its own. Several "
        "receivers divide it up, each gets one at least",
        "associations",
    )
    maximum_line_speed: Speed = setting(
        0,
        "what comes from one address is read no faster than this, by each receiver; nothing is refused. 0: no limit",
        "KB/s",
    )
    disk_share: Share | None = setting(None, "as callerShare; 0: no limit", "%", shown="callerShare")
    identity: Annotated[str, Plain(values.word("off", "optional", "required"))] = setting(
        "off",
        "the user identity that it sends with its request, which counts under TLS only. off: it is ignored; optional: "
        "one that is sent has to be right; required: there has to be one",
    )
    users: Annotated[Entries, Plain(values.mapping)] = setting(
        NO_ENTRIES, "user names, each with the hash of its passcode as `leyden passcode` gives it", shown="none"
    )
    jwt: Annotated[Entries | None, Plain(values.mapping)] = setting(
        None, "which JSON Web Tokens count; its keys are in the table below", shown="none"
    )
    description: AnyText | None = setting(None, "a text for people")


class ExpectedDeliveryEntry(Strict):
    """A delivery that a case expects."""

    required = ("To",)

    to: Title = setting(Text("", NOWHERE), "title or alias of the Storage node")
    as_: Annotated[str | None, Plain(values.form)] = setting(  # `as` is a word of Python
        None, "the transfer syntax, by name or UID; or `as it came`", shown="any", key="As"
    )
    calling: Title | None = setting(None, "the AE title that we call with", shown="any")
    values: AnyEntries = setting(
        NO_ENTRIES,
        "tags or keywords, in an item too (0040,0275[1].0040,0009), each with the value that the destination gets; "
        "several values with `\\` between them, '' is "
        "an empty one, and no value at all means that the element is absent",
        shown="any",
    )


class ExpectEntry(Strict):
    """What a case expects. What is not named must not happen."""

    deliveries: Annotated[Items, Plain(values.entries)] = setting(
        NO_ITEMS, "every delivery; each has the keys of the table below"
    )
    saved: Annotated[tuple[AnyText, ...], BeforeValidator(values.listed)] = setting(
        (), "the path of every copy (save_file), as it is written"
    )
    dropped: AnyText | None = setting(
        None, "true, or a part of what is said: the rule (`routings.yml:12`) or its Description", shown="not dropped"
    )
    failed: AnyText | None = setting(
        None,
        "it, or the copy for a destination, goes to failed/ or waits in new/: true, or a part of the reason",
        shown="does not fail",
    )
    rejected: AnyText | None = setting(
        None, "it would not be received: true, or a part of the reason", shown="is received"
    )


class CaseEntry(Strict):
    """One entry of cases.yml."""

    required = ("File", "Expect")

    file: AnyText = setting(
        Text("", NOWHERE), "a DICOM file, or a folder of them, below the folder of cases.yml; each must fulfil Expect"
    )
    from_: Title | None = setting(None, "calling AE title", shown="that of the file (0002,0017), or ours", key="From")
    to: Title | None = setting(None, "called AE title", shown="that of the file (0002,0018), or ours")
    expect: Entries | None = setting(None, "what must happen; it has the keys of the table below")
    description: AnyText | None = setting(None, "a text for the output")


Model = TypeVar("Model", bound=Entry)
Steps = tuple[int | str, ...]


def read(model: type[Model], given: Node, report: Report, steps: Steps = ()) -> Model | None:
    """Read an entry, and report each of its errors with the line; `steps` is the way to it within its outer entry.

    After an error, the entry without the wrong values, so that later checks find more errors; None where nothing of it
    can be understood.
    """
    wrong: dict[str, set[int | str]] = {}  # key -> numbers of the wrong items, or "" for the whole value
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
    """A value without its wrong items; None if the whole value is wrong."""
    if not wrong:
        return value
    left = Items(value.at)
    if all(isinstance(number, int) for number in wrong):
        left.extend(item for number, item in enumerate(values.listed(value)) if number not in wrong)
    return left or None


def place(steps: Steps) -> str:
    """A path within an entry as an operator writes it: Actions[0].Target."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
