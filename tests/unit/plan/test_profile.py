"""The tables of PS3.15 Annex E: their shape, and whether they fit PS3.6 as pydicom has it."""

from collections import Counter

from pydicom.datadict import DicomDictionary, RepeatersDictionary
from pydicom.sr.codedict import codes

from leyden.plan.profile import CODES, PIXELS_CODE, PROFILE_CODE, Act, Option, actions, safe_private, table

ROWS = list(table("profile.csv"))
CONTENT = list(table("content.csv"))
BASIC = {"D", "Z", "X", "U", "Z/D", "X/Z", "X/D", "X/Z/D", "X/Z/U*"}
# In PS3.6 since 2025, so pydicom 3.0 does not have them yet.
NEWER = {
    "00081301", "00081302", "00081303", "00081304", "00100011", "00100012", "00100013", "00100014", "00100015",
    "00100016", "00100041", "00100042", "00100043", "00100044", "00100045", "00100046", "00100047", "00102162",
    "3004007f", "0040a034", "0040a035", "0040b034", "0040b036", "0040b03b", "0040b03f", "0040e012",
}  # fmt: skip


def test_the_table_is_complete() -> None:
    """Rows by basic action, as two other people read table E.1-1 of 2026c and 2026d."""
    counts = {"X": 417, "D": 93, "U": 55, "Z": 42, "X/D": 23, "X/Z": 11, "X/Z/D": 8, "Z/D": 6, "X/Z/U*": 2}
    assert Counter(row["basic"] for row in ROWS) == counts
    assert len({row["tag"] for row in ROWS}) == len(ROWS) == 657


def test_options_keep_or_clean() -> None:
    """An option says K or C, and the two date options stand at the same attributes."""
    assert {row[option] for row in (*ROWS, *CONTENT) for option in Option if option in row} == {"", "K", "C"}
    for row in (*ROWS, *CONTENT):
        assert bool(row[Option.RETAIN_FULL_DATES]) == bool(row[Option.RETAIN_MODIFIED_DATES]), row
    assert set(ROWS[0]) == {"tag", "name", "basic", *Option}


def test_each_row_fits_the_dictionary() -> None:
    for row in ROWS:
        _fits(row)


def _fits(row: dict[str, str]) -> None:
    assert row["basic"] in BASIC
    if row["tag"] == "private":
        assert row["basic"] == "X"
    elif "x" in row["tag"]:
        assert row["tag"] == "50xxxxxx" or RepeatersDictionary[row["tag"]][2] == row["name"]
    elif row["tag"] in NEWER:
        assert int(row["tag"], 16) not in DicomDictionary, "pydicom knows it now: take it out of NEWER"
    else:
        vr, _, name, _, _ = DicomDictionary[int(row["tag"], 16)]
        assert name.lower().replace("generationmode", "generation mode") == row["name"].lower()
        assert (vr == "UI") >= (row["basic"] == "U")
        assert row[Option.RETAIN_UIDS] == "" or vr in ("UI", "SQ")
        if row[Option.RETAIN_MODIFIED_DATES]:
            assert vr in ("DA", "DT", "TM", "OB") or name == "Timezone Offset From UTC", vr


def test_content_items_have_known_codes() -> None:
    keys = [(row["scheme"], row["code"], row["value_type"]) for row in CONTENT]
    assert len(set(keys)) == len(keys) == 214
    assert {row["basic"] for row in CONTENT} == {"X", "D", "X/D"}


def test_method_codes_are_those_of_cid_7050() -> None:
    known = {getattr(codes.CID7050, name) for name in codes.CID7050.dir()}
    assert {(code.value, code.meaning) for code in known} == {
        PROFILE_CODE,
        PIXELS_CODE,
        *CODES.values(),
        ("113102", "Clean Recognizable Visual Features Option"),
    }
    assert set(CODES) == set(Option)


def test_an_option_goes_before_the_profile() -> None:
    """PS3.15 E.1.1: a requirement of an option overrides the one of the profile."""
    study_date, uid, allergies = 0x00080020, 0x00080018, 0x00102110
    assert actions(()).get(study_date).act is Act.EMPTY
    assert actions(("retain_full_dates",)).get(study_date).act is Act.KEEP
    assert actions(("retain_modified_dates",)).get(study_date).act is Act.SHIFT
    assert actions(("retain_modified_dates",)).get(study_date).basic is Act.EMPTY
    assert actions(()).get(uid).act is Act.UID
    assert actions(("retain_uids",)).get(uid).act is Act.KEEP
    assert actions(("clean_descriptors",)).get(allergies).act is Act.WORDS


def test_where_the_type_decides_what_keeps_an_object_valid_is_done() -> None:
    """X/Z/D and its kin: a dummy before an empty value before removal."""
    found = {row["basic"]: actions(()).get(int(row["tag"], 16)).act for row in ROWS if row["tag"].isalnum()
             and "x" not in row["tag"] and row["tag"] != "private"}  # fmt: skip
    assert found == {
        "X": Act.REMOVE, "Z": Act.EMPTY, "D": Act.DUMMY, "U": Act.UID, "Z/D": Act.DUMMY, "X/Z": Act.EMPTY,
        "X/D": Act.DUMMY, "X/Z/D": Act.DUMMY, "X/Z/U*": Act.UID,
    }  # fmt: skip


def test_no_overlay_and_no_curve_stays() -> None:
    for tag in (0x60003000, 0x60020010, 0x60FE4000, 0x50000005, 0x501E3000):
        assert actions(("clean_graphics",)).get(tag).act is Act.REMOVE


def test_safe_private_elements_hold_numbers_or_codes() -> None:
    assert {row["vr"] for row in table("private.csv")} <= {"DS", "IS", "CS", "US", "SS", "SL", "FL", "FD"}
    assert (0x0019, 0x0C, "SIEMENS MR HEADER") in safe_private()
    assert all(group & 1 for group, _, _ in safe_private())
