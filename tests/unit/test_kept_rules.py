"""Rules under their hash: what was kept is read back, whatever the configuration says by then."""

import pytest

from leyden.errors import Corrupt
from leyden.kept_rules import KeptRules
from leyden.plan.rules import Condition, CopyRules, Edit, EditType, Kind, Mutation, OnError, Place, Step

RULES = CopyRules(
    "PACS",
    "LEYDEN",
    (
        Mutation(
            "mutations.yml:1", ("PACS",), (Condition("00080060", Kind.LITERAL, "CT"),),
            (
                Edit(
                    EditType.ADD_OR_UPDATE, "mutations.yml:3", Place(0x00100020), "^(.+)$",
                    Place(0x00400009, (Step(0x00400275, 1), Step(0x00400008)), ""), "SH", "$1", OnError.SKIP_ACTION,
                ),
                Edit(EditType.REMOVE, "mutations.yml:4", destination=Place(0x00091001, (), "ACME")),
            ),
            original_attributes=True,
        ),
    ),
)  # fmt: skip


def test_what_was_kept_is_read_back_by_another_process(tmp_path):
    digest = KeptRules(tmp_path).keep(RULES)
    assert len(digest) == 16
    assert KeptRules(tmp_path).read(digest) == RULES
    assert KeptRules(tmp_path).keep(RULES) == digest
    (kept,) = (tmp_path / "state" / "rules").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_other_rules_have_another_hash(tmp_path):
    kept = KeptRules(tmp_path)
    other = CopyRules("OTHER", RULES.system, RULES.mutations)
    assert kept.keep(RULES) != kept.keep(other)


def test_what_is_not_what_was_kept_is_not_believed(tmp_path):
    digest = KeptRules(tmp_path).keep(RULES)
    path = tmp_path / "state" / "rules" / f"{digest}.json"
    path.write_bytes(path.read_bytes().replace(b"PACS", b"PACX"))
    with pytest.raises(Corrupt):
        KeptRules(tmp_path).read(digest)
    with pytest.raises(FileNotFoundError):
        KeptRules(tmp_path).read("0" * 16)


def test_rules_that_nothing_names_are_removed(tmp_path):
    kept = KeptRules(tmp_path)
    kept.remove_unnamed(lambda: pytest.fail("there is nothing to be named"))
    named, other = kept.keep(RULES), kept.keep(CopyRules("OTHER", "", ()))
    kept.remove_unnamed(lambda: {named})
    assert [path.stem for path in (tmp_path / "state" / "rules").iterdir()] == [named]
    assert other != named
