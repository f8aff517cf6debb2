"""Audit records as the audit messages of DICOM (PS3.15 A.5), pure: which record is told how, in which groups, as XML.

A thousand images that one system sends of one study are one message: it says how many instances of which SOP classes
were transferred between two AE titles within about a minute. Which they were stands in the audit log, whose record
`seq:mac` the message names: so the collector knows a record that has to be there. What has no message of its own in the
standard (a retry, a plan) stands in the audit log alone.
"""

import base64
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from xml.etree import ElementTree

import msgspec

from leyden.admission.callers import Why

QUIET_S = 10.0  # a group to which nothing was added for so long is whole
LONGEST_S = 60.0
GROUPS_MAX = 500
NAMED_MAX = 100  # instances that a message names; one of more would be too long for some collectors
STUDIES_MAX = 200_000  # objects of which the study is remembered, some 40 MB
UNKNOWN = "unknown"
_ILLEGAL = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")  # XML 1.0, 2.2

Record = Mapping[str, Any]


class Code(NamedTuple):
    """A coded value (PS3.15 A.5.1): code, scheme, meaning."""

    code: str
    scheme: str
    meaning: str


ACTIVITY = Code("110100", "DCM", "Application Activity")  # A.5.3.1
ACCESSED = Code("110103", "DCM", "DICOM Instances Accessed")  # A.5.3.6
TRANSFERRED = Code("110104", "DCM", "DICOM Instances Transferred")  # A.5.3.7
ALERT = Code("110113", "DCM", "Security Alert")  # A.5.3.11
START, STOP = Code("110120", "DCM", "Application Start"), Code("110121", "DCM", "Application Stop")
USER, LOGIN = Code("110114", "DCM", "User Authentication"), Code("110122", "DCM", "Login")  # A.5.3.12
LOGOUT = Code("110123", "DCM", "Logout")
SOFTWARE = Code("110131", "DCM", "Software Configuration")
AUTHENTICATION = Code("110126", "DCM", "Node Authentication")
RESTRICTED = Code("110132", "DCM", "Use of Restricted Function")
APPLICATION, LAUNCHER = Code("110150", "DCM", "Application"), Code("110151", "DCM", "Application Launcher")
DESTINATION, SOURCE = Code("110152", "DCM", "Destination Role ID"), Code("110153", "DCM", "Source Role ID")
STUDY = Code("110180", "DCM", "Study Instance UID")
PATIENT, URI = Code("2", "RFC-3881", "Patient Number"), Code("12", "RFC-3881", "URI")
SUCCESS, MINOR, SERIOUS = "0", "4", "8"


class Participant(NamedTuple):
    """Who took part. `address`: an IP address, or "" = not known; `role`: None = none is given."""

    user: str
    title: str = ""
    address: str = ""
    role: Code | None = None
    asked: bool = False


class Message(msgspec.Struct):
    """What one audit message tells: of the records `first` to `end` (its `seq:mac`). `classes`: instances by SOP class.

    `instances`: those that are named, by SOP class. `study`: "" = it is not about instances.
    """

    event: Code
    action: str
    outcome: str
    first: int
    begin_s: float
    last_s: float
    end: str
    participants: tuple[Participant, ...] = ()
    kind: Code | None = None
    study: str = ""
    classes: Counter[str] = msgspec.field(default_factory=Counter)
    instances: dict[str, list[str]] = msgspec.field(default_factory=dict)
    alert: str = ""


class Us(NamedTuple):
    """This service: the name of its host, and its AE title."""

    host: str
    title: str

    def as_participant(self, role: Code | None = None, *, asked: bool = False, title: str = "") -> Participant:
        return Participant("leyden", title or self.title, self.host, role, asked)


def _received(us: Us, record: Record) -> tuple[Participant, ...]:
    user = record.get("user") or record["calling"]
    sender = Participant(user, record["calling"], record.get("peer", ""), SOURCE, asked=True)
    return sender, us.as_participant(DESTINATION, title=record["called"])


def _sent(us: Us, record: Record) -> tuple[Participant, ...]:
    receiver = Participant(record["destination"], record["destination"], role=DESTINATION)
    return us.as_participant(SOURCE, asked=True, title=record.get("calling", "")), receiver


def _by_us(us: Us, record: Record) -> tuple[Participant, ...]:
    return (us.as_participant(asked=True),)


def _by_somebody(us: Us, record: Record) -> tuple[Participant, ...]:
    return Participant(record["who"] or UNKNOWN, asked=True), us.as_participant()


class _OfInstances(NamedTuple):
    """How a record about an instance is told."""

    event: Code
    action: str
    participants: Callable[[Us, Record], tuple[Participant, ...]]
    outcome: str = SUCCESS
    names: bool = False  # whether the instances are named


TOLD: dict[str, _OfInstances] = {
    "received": _OfInstances(TRANSFERRED, "C", _received),
    "delivered": _OfInstances(TRANSFERRED, "R", _sent),  # R, as we do not know what the receiver held before
    "rejected": _OfInstances(TRANSFERRED, "R", _sent, SERIOUS, names=True),
    "transformed": _OfInstances(ACCESSED, "U", _by_us),
    "dropped": _OfInstances(ACCESSED, "D", _by_us, names=True),
    "deleted": _OfInstances(ACCESSED, "D", _by_somebody, names=True),
}
"""The records about an instance that have a message in the standard."""


_OPERATED = {"reload": (ALERT, SOFTWARE), "sign in": (USER, LOGIN), "sign out": (USER, LOGOUT)}


class Grouping:
    """Puts records together to messages. Time is that of the records, so it does not matter how late they are read."""

    def __init__(self, us: Us) -> None:
        self._us = us
        self._groups: OrderedDict[tuple[Any, ...], Message] = OrderedDict()  # the oldest first
        self._studies: OrderedDict[str, str] = OrderedDict()  # by receipt
        self._waiting: dict[str, tuple[int, str, Record]] = {}  # received, by receipt: the planner tells the study
        self._looked_s = 0.0

    @property
    def first(self) -> int | None:
        """The number of the first record that is in no message yet; None: all are."""
        numbers = [message.first for message in self._groups.values()] + [seq for seq, _, _ in self._waiting.values()]
        return min(numbers, default=None)

    def learn(self, record: Record) -> None:
        """Remember of which study an object is."""
        if study := record.get("study_instance_uid"):
            self._studies[record["receipt"]] = study
            if len(self._studies) > STUDIES_MAX:
                self._studies.popitem(last=False)

    def take(self, record: Record) -> Iterator[Message]:
        """Take the next record; gives the messages that are whole."""
        event, seq, at_s = record["event"], record["seq"], record["at_s"]
        end = f"{seq}:{record['mac']}"
        if at_s > self._looked_s + 1.0:
            yield from self.due(at_s)
        self.learn(record)
        if event == "operated":
            yield self._operated(record, end)
        elif event == "turnedaway":
            yield self._turned_away(record, end)
        elif event == "received" and record["receipt"] not in self._studies:
            self._waiting[record["receipt"]] = seq, end, record
        elif told := TOLD.get(event):
            yield from self._grouped(seq, end, record, told)
        elif event in ("planned", "failed") and (received := self._waiting.pop(record["receipt"], None)):
            yield from self._grouped(*received, TOLD["received"])

    def due(self, now_s: float) -> Iterator[Message]:
        """The messages that are whole by now, because nothing was added for a while."""
        self._looked_s = now_s
        for receipt, (seq, end, record) in list(self._waiting.items()):
            if record["at_s"] + LONGEST_S < now_s:
                del self._waiting[receipt]
                yield from self._grouped(seq, end, record, TOLD["received"])
        for key, message in list(self._groups.items()):
            whole = message.last_s + QUIET_S < now_s or message.begin_s + LONGEST_S < now_s
            if whole or len(self._groups) > GROUPS_MAX:
                yield self._groups.pop(key)

    def _grouped(self, seq: int, end: str, record: Record, told: _OfInstances) -> Iterator[Message]:
        study = self._studies.get(record["receipt"]) or UNKNOWN
        participants = told.participants(self._us, record)
        key = (told, study, participants)
        message = self._groups.get(key)
        if message is None:
            message = self._groups[key] = Message(
                told.event,
                told.action,
                told.outcome,
                seq,
                record["at_s"],
                record["at_s"],
                end,
                participants,
                study=study,
            )
        message.last_s, message.end = max(message.last_s, record["at_s"]), end
        sop_class = record.get("sop_class_uid", UNKNOWN)
        message.classes[sop_class] += 1
        if told.names:
            message.instances.setdefault(sop_class, []).append(record.get("sop_instance_uid") or UNKNOWN)
            if message.classes.total() >= NAMED_MAX:
                yield self._groups.pop(key)

    def _operated(self, record: Record, end: str) -> Message:
        did, who = record["did"], record["who"] or UNKNOWN
        begin = SUCCESS, record["seq"], record["at_s"], record["at_s"], end
        if record["through"] == "service":
            participants = self._us.as_participant(APPLICATION), Participant(who, role=LAUNCHER, asked=True)
            return Message(ACTIVITY, "E", *begin, participants, START if did == "start" else STOP)
        words = [did, record.get("destination"), record.get("detail"), f"through {record['through']}"]
        if count := record.get("count"):
            words.insert(2, f"{count} objects")
        participants = Participant(who, asked=True), self._us.as_participant()
        event, kind = _OPERATED.get(did, (ALERT, RESTRICTED))
        return Message(event, "E", *begin, participants, kind, alert=", ".join(filter(None, words)))

    def _turned_away(self, record: Record, end: str) -> Message:
        """Who was not let in: the attempt failed, so the outcome is a minor failure (PS3.15 A.5.3.11, A.5.3.12)."""
        login = record["why"] == Why.SECRET
        user = record["calling"] or record["peer"] or UNKNOWN
        who = Participant(user, record["calling"], record["peer"], asked=login)
        times = record.get("count", 1)
        called = f"called {record['called']}" if record["called"] else ""
        words = [record["why"], called, record.get("answer"), record.get("detail"), f"{times} times" * (times != 1)]
        event, kind = (USER, LOGIN) if login else (ALERT, AUTHENTICATION)
        return Message(
            event,
            "E",
            MINOR,
            record["seq"],
            record["at_s"],
            record["at_s"],
            end,
            (self._us.as_participant(asked=not login), who),
            kind,
            alert=", ".join(filter(None, words)),
        )


def xml(message: Message, us: Us) -> bytes:
    """The document of a message, by the schema of PS3.15 A.5.1.1."""
    root = ElementTree.Element("AuditMessage")
    when = datetime.fromtimestamp(message.last_s, UTC).isoformat(timespec="milliseconds")
    attributes = {
        "EventActionCode": message.action, "EventDateTime": when, "EventOutcomeIndicator": message.outcome,
    }  # fmt: skip
    event = _child(root, "EventIdentification", attributes)
    _coded(event, "EventID", message.event)
    if message.kind:
        _coded(event, "EventTypeCode", message.kind)
    for each in message.participants:
        _participant(root, each)
    source = _child(root, "AuditSourceIdentification", {"AuditSourceID": us.host})
    _child(source, "AuditSourceTypeCode", {"csd-code": "4"})  # an application server
    if message.study:
        study = _object(root, message.study, "2", "3", STUDY, message.study)
        _detail(study, "leyden audit record", message.end)
        description = _child(study, "ParticipantObjectDescription")
        for sop_class, count in message.classes.items():
            of_class = _child(description, "SOPClass", {"UID": sop_class, "NumberOfInstances": str(count)})
            for uid in message.instances.get(sop_class, ()):
                _child(of_class, "Instance", {"UID": uid})
        _object(root, UNKNOWN, "1", "1", PATIENT, UNKNOWN)  # one is demanded, and no patient is in the journal
    if message.alert:
        alert = _object(root, f"leyden://{us.host}", "2", "13", URI, "Leyden")
        _detail(alert, "Alert Description", message.alert)
        _detail(alert, "leyden audit record", message.end)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _child(parent: ElementTree.Element, name: str, attributes: Mapping[str, str] | None = None) -> ElementTree.Element:
    return ElementTree.SubElement(
        parent, name, {key: _ILLEGAL.sub("?", value) for key, value in (attributes or {}).items()}
    )


def _coded(parent: ElementTree.Element, name: str, code: Code) -> None:
    _child(parent, name, {"csd-code": code.code, "codeSystemName": code.scheme, "originalText": code.meaning})


def _participant(root: ElementTree.Element, who: Participant) -> None:
    attributes = {"UserID": who.user, "UserIsRequestor": str(who.asked).lower()}
    if who.title:
        attributes["AlternativeUserID"] = f"AETITLES={who.title}"
    if who.address:
        is_ip = re.fullmatch(r"[0-9.]+|[0-9a-fA-F:]*:[0-9a-fA-F:.]*(%.*)?", who.address)
        attributes |= {"NetworkAccessPointID": who.address, "NetworkAccessPointTypeCode": "2" if is_ip else "1"}
    element = _child(root, "ActiveParticipant", attributes)
    if who.role:
        _coded(element, "RoleIDCode", who.role)


def _object(
    root: ElementTree.Element, identifier: str, kind: str, role: str, code: Code, name: str
) -> ElementTree.Element:
    attributes = {
        "ParticipantObjectID": identifier,
        "ParticipantObjectTypeCode": kind,
        "ParticipantObjectTypeCodeRole": role,
    }
    element = _child(root, "ParticipantObjectIdentification", attributes)
    _coded(element, "ParticipantObjectIDTypeCode", code)
    _child(element, "ParticipantObjectName").text = _ILLEGAL.sub("?", name)
    return element


def _detail(element: ElementTree.Element, kind: str, value: str) -> None:
    encoded = base64.b64encode(value.encode("utf-8", "backslashreplace")).decode()
    _child(element, "ParticipantObjectDetail", {"type": kind, "value": encoded})
