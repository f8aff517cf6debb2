"""What comes of an answer, or of none: where the object goes, and what that tells of the destination."""

import pytest
from msgspec.structs import replace

from leyden.deliver.destination import Destination
from leyden.dicom.part10 import FileMeta
from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, JPEG2000_LOSSLESS
from leyden.form.choose import Fail, Make
from leyden.form.ladder import Acceptance
from leyden.journal.events import Attempt, Deferred
from leyden.net.scu import ConnectionLost, Stalled, StoreAnswer, TooSlow
from leyden.outbound.outcome import (
    Ending,
    History,
    Record,
    Response,
    answered,
    form_after_refusal,
    given_up,
    lost,
    refused,
)
from leyden.outbound.queue import Instance
from leyden.spool.entry import Entry, Queued
from leyden.spool.stage import Stage
from support.outbound import CT

PACS = Destination("PACS", "127.0.0.1", 104, syntax=JPEG2000_LOSSLESS, retry_delays_s=(7.0, 60.0))
ACCEPTANCE = Acceptance((JPEG2000_LOSSLESS, EXPLICIT_LE, IMPLICIT_LE))
RECEIPT = f"{1:022d}"


def queued(**names):
    return Queued("somewhere", Entry(RECEIPT, **names), Stage.PREPARED, "PACS", "50")


def instance(syntax=JPEG2000_LOSSLESS):
    meta = FileMeta(CT, "2.25.1", syntax)
    return Instance("50", RECEIPT, "CT1", (CT, syntax), 0.0, queued=queued(), meta=meta, offset=300)


ANSWERS = [
    # status, the claim's entry, the record -> the ending, the response
    (0x0000, {}, Record(), Ending.DELIVERED, Response.ANSWERED),
    (0xB000, {}, Record(), Ending.DELIVERED, Response.ANSWERED),
    (0x0111, {"attempt": 1, "unanswered": 1}, Record(), Ending.DELIVERED, Response.ANSWERED),
    (0x0111, {}, Record(), Ending.DEFERRED, Response.ANSWERED),
    (0xA700, {}, Record(), Ending.DEFERRED, Response.CONGESTED),
    (0xA700, {"attempt": 1}, Record(), Ending.DEFERRED, Response.CONGESTED_AGAIN),
    (0xC001, {"attempt": 9}, Record(), Ending.DEFERRED, Response.ANSWERED),
    (0xC001, {}, Record(refusals=1), Ending.DEFERRED, Response.ANSWERED),
    (0xC001, {}, Record(refusals=2), Ending.REJECTED, Response.ANSWERED),
    (0x0122, {}, Record(), Ending.REMADE, Response.UNSUPPORTED),
    (0x0122, {}, Record(remade=(EXPLICIT_LE,)), Ending.REJECTED, Response.UNSUPPORTED),
]


@pytest.mark.parametrize(("status", "entry", "record", "ending", "response"), ANSWERS)
def test_what_an_answer_means(status, entry, record, ending, response):
    claim = queued(**entry)
    outcome = answered(
        PACS, instance(), claim, StoreAnswer(status, "words"), acceptance=ACCEPTANCE, record=record, jitter=0.5
    )
    assert (outcome.ending, outcome.response) == (ending, response)
    assert outcome.claim is claim
    assert outcome.reason == f"status 0x{status:04X} words"
    assert (outcome.status, outcome.comment, outcome.tries) == (status, "words", record.refusals + 1)
    assert outcome.syntax == (EXPLICIT_LE if ending is Ending.REMADE else "")
    attempt = claim.entry.attempt
    assert outcome.wait_s == ((7.0 if attempt == 0 else 60.0) if ending is Ending.DEFERRED else 0.0)


def test_an_unsupported_one_without_another_syntax_is_rejected():
    only = Acceptance((JPEG2000_LOSSLESS,), (EXPLICIT_LE, IMPLICIT_LE))
    answer = StoreAnswer(0x0122)
    outcome = answered(PACS, instance(), queued(), answer, acceptance=only, record=Record(), jitter=0.0)
    assert (outcome.ending, outcome.response) == (Ending.REJECTED, Response.UNSUPPORTED)


@pytest.mark.parametrize(
    ("error", "ending", "response", "wait_s"),
    [
        (ConnectionLost("x"), Ending.DEFERRED, Response.LOST, 7.0),
        (Stalled("x"), Ending.DEFERRED, Response.STALLED, 7.0),
        (TooSlow("x"), Ending.RETURNED, Response.TOO_SLOW, 0.0),
    ],
)
def test_what_the_end_of_an_association_means(error, ending, response, wait_s):
    outcome = lost(PACS, instance(), queued(), error, jitter=0.5)
    assert (outcome.ending, outcome.response, outcome.wait_s) == (ending, response, wait_s)
    assert outcome.unanswered


def test_what_is_refused_in_negotiation_is_remade_into_what_was_not_tried_yet():
    taken = Acceptance((EXPLICIT_LE, IMPLICIT_LE), (JPEG2000_LOSSLESS,))
    record = Record()
    for syntax in (EXPLICIT_LE, IMPLICIT_LE):
        outcome = refused(instance(), queued(), form_after_refusal(PACS, instance(), taken, record))
        assert (outcome.ending, outcome.syntax, outcome.response) == (Ending.REMADE, syntax, Response.NONE)
        record.remade += (syntax,)
    outcome = refused(instance(), queued(), form_after_refusal(PACS, instance(), taken, record))
    assert outcome.ending is Ending.REJECTED
    assert "let it accept that class in JPEG2000Lossless or uncompressed" in outcome.reason


def test_the_document_beside_what_is_rejected_says_what_is_known():
    answer = StoreAnswer(0xC001, "no")
    record = Record(refusals=2)
    why = answered(PACS, instance(), queued(), answer, acceptance=None, record=record, jitter=0.0).why()
    assert why == {"reason": "status 0xC001 no", "status": "0xC001", "comment": "no", "tries": 3}
    why = given_up(instance(), queued(unanswered=5), "gone").why()
    assert (why["tries"], why["last_words"]) == (5, "gone")
    assert list(refused(instance(), queued(), Fail("no")).why()) == ["reason"]


def test_the_history_remembers_what_matters_to_the_next_attempt_and_ends_with_the_instance():
    history = History()
    history.note(lost(PACS, instance(), queued(), ConnectionLost("x"), jitter=0.0))
    assert history.of(RECEIPT) == Record()
    history.note(lost(PACS, instance(), queued(), TooSlow("x"), jitter=0.0))
    no = answered(PACS, instance(), queued(), StoreAnswer(0xC001), acceptance=None, record=Record(), jitter=0.0)
    history.note(no)
    history.note(
        answered(PACS, instance(), queued(), StoreAnswer(0xA700), acceptance=None, record=Record(), jitter=0.0)
    )
    history.note(refused(instance(), queued(), Make(EXPLICIT_LE)))
    assert history.of(RECEIPT) == Record(slow_aborts=1, refusals=1, remade=(EXPLICIT_LE,))
    history.note(replace(no, ending=Ending.REJECTED))
    assert history.of(RECEIPT) == Record()


def test_an_unsupported_class_is_remade_only_where_it_is_known_what_is_accepted():
    answer = StoreAnswer(0x0122)
    for acceptance, ending in ((ACCEPTANCE, Ending.REMADE), (None, Ending.REJECTED)):
        outcome = answered(
            PACS, instance(), queued(), answer, acceptance=acceptance, record=Record(), jitter=0.0
        )  # fmt: skip
        assert outcome.ending is ending


def test_the_events_of_a_loss_are_the_attempt_and_the_wait():
    outcome = lost(PACS, instance(), queued(), ConnectionLost("gone"), jitter=0.0)
    attempt, deferred = outcome.events("PACS")
    assert (type(attempt), attempt.said) == (Attempt, "gone")
    assert (type(deferred), deferred.lost) == (Deferred, True)
