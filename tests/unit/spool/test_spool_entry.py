"""Names: all that is put into one is parsed from it again, and a foreign name is not taken for an entry."""

from pathlib import Path

import pytest

from leyden.spool.entry import (
    Entry,
    ReceiptClock,
    bucket_of,
    claim_name,
    folder,
    key,
    parse,
    parse_claim,
    title,
)
from leyden.spool.stage import Stage

RECEIPT = "1764000000123456070042"
KEYS = (key("1.2.3"), key("1.2"), key("CT1"))


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        (Entry(RECEIPT), f"{RECEIPT}.dcm"),
        (Entry(RECEIPT, *KEYS), f"{RECEIPT}.{'.'.join(KEYS)}.dcm"),
        (Entry(RECEIPT, *KEYS, key("1.2.9")), f"{RECEIPT}.{'.'.join(KEYS)}.{key('1.2.9')}.dcm"),
        (Entry(RECEIPT, *KEYS, "00000001", "RLE", 2), f"{RECEIPT}.{'.'.join(KEYS)}.00000001.RLE.2.0.dcm"),
        (Entry(RECEIPT, *KEYS, attempt=3, due_s=17640001), f"{RECEIPT}.{'.'.join(KEYS)}.3.17640001.dcm"),
        (Entry(RECEIPT, *KEYS, syntax="JPEG2000Lossless"), f"{RECEIPT}.{'.'.join(KEYS)}.JPEG2000Lossless.dcm"),
        (Entry(RECEIPT, *KEYS, syntax="1.2.840.1"), f"{RECEIPT}.{'.'.join(KEYS)}.1%2E2%2E840%2E1.dcm"),
        (Entry(RECEIPT, *KEYS, attempt=3, due_s=1764000100), f"{RECEIPT}.{'.'.join(KEYS)}.3.1764000100.dcm"),
        (Entry(RECEIPT, *KEYS, crashes=2, serial=True), f"{RECEIPT}.{'.'.join(KEYS)}.c2.s.dcm"),
        (Entry(RECEIPT, *KEYS, edits="0123456789abcdef"), f"{RECEIPT}.{'.'.join(KEYS)}.e0123456789abcdef.dcm"),
        (
            Entry(RECEIPT, *KEYS, syntax="HTJ2K", edits="a" * 16, retried_s=7, crashes=1),
            f"{RECEIPT}.{'.'.join(KEYS)}.HTJ2K.e{'a' * 16}.r7.c1.dcm",
        ),
        (
            Entry(RECEIPT, *KEYS, syntax="HTJ2K", attempt=1, crashes=1, serial=True),
            f"{RECEIPT}.{'.'.join(KEYS)}.HTJ2K.1.0.c1.s.dcm",
        ),
    ],
)
def test_a_name_says_all_of_an_entry(entry, name):
    assert entry.name == name
    assert parse(name) == entry


@pytest.mark.parametrize(
    "name",
    [
        "foo.dcm",
        "IM0001",
        f"{RECEIPT}",
        f"{RECEIPT}.dcm.json",
        f"x{RECEIPT}.dcm",
        f"{RECEIPT}.dcm\n",
        f"{RECEIPT[1:]}.dcm",
        f"{RECEIPT}.{'.'.join(KEYS)}.c.dcm",
        "１" * 22 + ".dcm",
        "",
    ],
)
def test_a_foreign_name_is_no_entry(name):
    assert parse(name) is None


@pytest.mark.parametrize("ae_title", ["PACS", "A B/C", "..", "PÄCS", "a~b.c%d", "\0\n", "x" * 16, "%41"])
def test_a_folder_stands_for_one_title_and_is_a_harmless_name(ae_title):
    name = folder(ae_title)
    assert title(name) == ae_title
    assert not set(name) & set("/~. \0\n")


def test_an_empty_title_has_no_folder():
    with pytest.raises(ValueError, match="empty AE title"):
        folder("")


def test_a_claim_carries_its_place():
    entry = Entry(RECEIPT, *KEYS, syntax="JPEG2000Lossless", crashes=1)
    path = Path("/spool/active/worker-0") / claim_name(Stage.TRANSFORM, "A B~C", "07", entry)
    claim = parse_claim(path)
    assert claim is not None
    assert (claim.stage, claim.destination, claim.rank, claim.entry) == (Stage.TRANSFORM, "A B~C", "07", entry)


@pytest.mark.parametrize(
    "name", [f"{RECEIPT}.dcm", f"new~A~00~{RECEIPT}.dcm", f"prepared~A~0~{RECEIPT}.dcm", "a~b~00~c"]
)
def test_a_foreign_name_is_no_claim(name):
    assert parse_claim(Path(name)) is None


def test_a_long_title_and_a_syntax_without_a_name_still_fit_a_file_name():
    syntax, long_s = "1.2.840.10008.1.2.4.100.1", 99999999999
    entry = Entry(
        RECEIPT,
        *KEYS,
        series_key="0" * 8,
        syntax=syntax,
        attempt=999999,
        due_s=long_s,
        crashes=9,
        serial=True,
        retried_s=long_s,
        unanswered=999999,
    )
    assert len(claim_name(Stage.TRANSFORM, "é" * 8, "99", entry)) + len(".json") <= 255


def test_receipts_rise_though_the_clock_does_not():
    clock = ReceiptClock(7, start=9998)
    receipts = [
        clock.next(now_us) for now_us in (1764000000123456, 1764000000123456, 1763999999000000, 1764000001000000)
    ]
    assert receipts == [
        "1764000000123456079999",
        "1764000000123457070000",
        "1764000000123458070001",
        "1764000001000000070002",
    ]
    assert Entry(receipts[0]).received_s == 1764000000.123456
    assert Entry(receipts[0]).bucket == bucket_of(1764000000.123456) == "17640000"


def test_a_file_that_came_by_hand_says_so():
    assert Entry(ReceiptClock(99).next(1764000000123456)).by_hand
    assert not Entry(ReceiptClock(98).next(1764000000123456)).by_hand
    with pytest.raises(ValueError, match="0 to 99"):
        ReceiptClock(100)
