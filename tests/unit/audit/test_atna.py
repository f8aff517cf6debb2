"""Audit records become messages of the standard: grouped by study, and by who sent what to whom."""

from collections.abc import Iterable, Iterator
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from leyden.admission.callers import Why
from leyden.audit import atna
from leyden.audit.atna import Grouping, Message, Us, xml
from support.collector import check, coded, counts, detail, titles

US = Us("box", "LEYDEN")
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"


def records(events: Iterable[dict[str, Any]], first: int = 1) -> Iterator[dict[str, Any]]:
    for seq, event in enumerate(events, first):
        yield {"seq": seq, "mac": "ab" * 32, "at_s": 1000.0 + seq / 100, **event}


def of(event: str, number: int, **more: Any) -> dict[str, Any]:
    uid = f"2.25.{number}"
    return {
        "event": event,
        "receipt": str(number),
        "sop_class_uid": CT,
        "sop_instance_uid": uid,
        "calling": "CT1",
        **more,
    }


def received(number: int, **more: Any) -> dict[str, Any]:
    return of("received", number, **{"called": "PACS", "peer": "10.0.0.7", **more})


def planned(number: int, study: str = "1.2.3") -> dict[str, Any]:
    return of("planned", number, called="PACS", study_instance_uid=study)


def told(grouping: Grouping, events: Iterable[dict[str, Any]], first: int = 1) -> list[Message]:
    return [message for record in records(events, first) for message in grouping.take(record)]


def checked(messages: Iterable[Message]) -> list[Element]:
    return [check(xml(message, US)) for message in messages]


def attribute(document: Element, element: str, name: str) -> str:
    found = document.find(element)
    assert found is not None
    return found.get(name, "")


def test_a_study_from_one_sender_is_one_message() -> None:
    grouping = Grouping(US)
    events = [event for number in range(200) for event in (received(number), planned(number))]
    assert told(grouping, events) == []
    assert told(grouping, [received(900, sop_class_uid=MR), planned(900)], 401) == []
    assert grouping.first == 1
    assert list(grouping.due(1005.0)) == []
    (document,) = checked(grouping.due(1020.0))
    assert counts(document) == {CT: 200, MR: 1}
    assert titles(document) == ("CT1", "PACS")
    assert detail(document, "leyden audit record") == f"401:{'ab' * 32}"
    assert coded(document, "EventIdentification/EventID") == "110104"
    assert document.find("ActiveParticipant[@NetworkAccessPointID='10.0.0.7']") is not None
    assert grouping.first is None


def test_other_studies_senders_destinations_and_outcomes_are_other_messages() -> None:
    grouping = Grouping(US)
    told(grouping, [
        received(1), planned(1), received(2), planned(2, "1.2.4"), received(3, calling="CT2"), planned(3),
        of("delivered", 1, destination="PACS"), of("delivered", 1, destination="ARCHIVE"),
        of("rejected", 2, destination="PACS", reason="no"), received(4), of("failed", 4, reason="unreadable"),
    ])  # fmt: skip
    documents = checked(grouping.due(2000.0))
    outcomes = [(*titles(each), attribute(each, "EventIdentification", "EventOutcomeIndicator")) for each in documents]
    assert sorted(outcomes) == [
        ("CT1", "ARCHIVE", "0"), ("CT1", "PACS", "0"), ("CT1", "PACS", "0"), ("CT1", "PACS", "0"), ("CT1", "PACS", "0"),
        ("CT1", "PACS", "8"), ("CT2", "PACS", "0"),
    ]  # fmt: skip
    studies = [attribute(each, "ParticipantObjectIdentification", "ParticipantObjectID") for each in documents]
    assert sorted(studies) == ["1.2.3"] * 4 + ["1.2.4"] * 2 + ["unknown"]


def test_a_group_ends_after_a_minute_and_what_follows_is_another() -> None:
    grouping = Grouping(US)
    events = [{**event, "at_s": 1000.0 + n} for n in range(100) for event in (received(n), planned(n))]
    first = told(grouping, events)
    assert [message.classes.total() for message in first] == [62]
    assert grouping.first == first[0].first + 2 * 61 + 2


def test_an_object_that_was_planned_earlier_has_its_study() -> None:
    grouping = Grouping(US)
    for record in records([planned(1)]):
        grouping.learn(record)
    assert told(grouping, [of("delivered", 1, destination="PACS")], 2) == []
    (message,) = grouping.due(2000.0)
    assert message.study == "1.2.3"


def test_what_is_deleted_is_named_and_by_whom() -> None:
    grouping = Grouping(US)
    told(grouping, [planned(1), {"event": "deleted", "receipt": "1", "sop_instance_uid": "2.25.1", "who": "alice"}])
    (document,) = checked(grouping.due(2000.0))
    assert [each.get("UID") for each in document.iter("Instance")] == ["2.25.1"]
    assert [each.get("UserID") for each in document.iter("ActiveParticipant")] == ["alice", "leyden"]
    assert attribute(document, "EventIdentification", "EventActionCode") == "D"


def test_no_message_names_more_than_a_hundred() -> None:
    grouping = Grouping(US)
    full = told(grouping, [of("dropped", n, called="PACS", dropped_by="r:1") for n in range(250)])
    rest = list(grouping.due(2000.0))
    assert [message.classes.total() for message in full + rest] == [100, 100, 50]
    checked(full + rest)


def test_what_an_operator_does_is_told_at_once() -> None:
    operated = {"event": "operated", "receipt": "", "who": "alice", "through": "api", "did": "pause"}
    start, pause, reload = told(Grouping(US), [
        {**operated, "through": "service", "did": "start", "detail": "Leyden 1"},
        {**operated, "destination": "PA<CS\x00>", "count": 3}, {**operated, "who": "", "did": "reload"},
    ])  # fmt: skip
    begun, paused, reloaded = checked([start, pause, reload])
    assert coded(begun, "EventIdentification/EventTypeCode") == "110120"
    assert coded(paused, "EventIdentification/EventTypeCode") == "110132"
    assert coded(reloaded, "EventIdentification/EventTypeCode") == "110131"
    assert detail(paused, "Alert Description") == "pause, PA<CS\x00>, 3 objects, through api"


def test_who_was_turned_away_is_a_failed_authentication_of_a_node() -> None:
    event = {"event": "turnedaway", "receipt": "", "calling": "CT9", "called": "PACS", "peer": "10.9.9.9"}
    one, many, tls = told(Grouping(US), [
        {**event, "why": "address", "answer": "rejected permanently", "detail": "not from this address"},
        {**event, "why": "address", "answer": "rejected permanently", "count": 7},
        {**event, "why": "tls", "calling": "", "called": "", "detail": "no TLS"},
    ])  # fmt: skip
    documents = checked([one, many, tls])
    for document in documents:
        assert coded(document, "EventIdentification/EventID") == "110113"
        assert coded(document, "EventIdentification/EventTypeCode") == "110126"
        assert document.find("EventIdentification").get("EventOutcomeIndicator") == "4"
    assert [detail(document, "Alert Description") for document in documents] == [
        "address, called PACS, rejected permanently, not from this address",
        "address, called PACS, rejected permanently, 7 times",
        "tls, no TLS",
    ]
    users = [[each.get("UserID") for each in document.findall("ActiveParticipant")] for document in documents]
    assert users == [["leyden", "CT9"], ["leyden", "CT9"], ["leyden", "10.9.9.9"]]


def test_who_signs_in_or_out_and_who_tries_to() -> None:
    operated = {"event": "operated", "receipt": "", "who": "alice", "through": "page"}
    away = {"event": "turnedaway", "receipt": "", "calling": "", "called": "", "peer": "10.9.9.9", "count": 12}
    documents = checked(told(Grouping(US), [
        {**operated, "did": "sign in", "detail": "from 10.0.0.1"}, {**operated, "did": "sign out"},
        {**away, "why": Why.SECRET, "detail": "the console: no valid token or password"},
    ]))  # fmt: skip
    seen = [
        (
            coded(document, "EventIdentification/EventID"),
            coded(document, "EventIdentification/EventTypeCode"),
            document.find("EventIdentification").get("EventOutcomeIndicator"),
            [p.get("UserID") for p in document.findall("ActiveParticipant") if p.get("UserIsRequestor") == "true"],
        )
        for document in documents
    ]
    assert seen == [
        ("110114", "110122", "0", ["alice"]),
        ("110114", "110123", "0", ["alice"]),
        ("110114", "110122", "4", ["10.9.9.9"]),
    ]
    said = "token or password, the console: no valid token or password, 12 times"
    assert detail(documents[2], "Alert Description") == said


def test_a_user_whose_identity_was_checked_is_the_one_who_sent_it() -> None:
    grouping = Grouping(US)
    told(grouping, [received(1, user="dr.who"), planned(1)])
    (document,) = checked(grouping.due(2000.0))
    sender = document.find("ActiveParticipant")
    assert sender.get("UserID") == "dr.who"
    assert "CT1" in sender.get("AlternativeUserID", "")


@pytest.mark.parametrize("title", ["A\x00B", "<&\"'>", "\udcff", "ü"])
def test_no_title_breaks_the_document(title: str) -> None:
    grouping = Grouping(US)
    told(grouping, [received(1, calling=title, peer="fe80::1%eth0"), planned(1)])
    checked(grouping.due(2000.0))


def test_many_groups_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atna, "GROUPS_MAX", 10)
    grouping = Grouping(US)
    events = [{**event, "at_s": 1000.0 + n / 5} for n in range(40) for event in (received(n), planned(n, f"1.2.{n}"))]
    assert len(told(grouping, events)) >= 20
