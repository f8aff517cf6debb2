"""Which entries a filter means: by their names, by the journal, and by their files only where these alone can tell."""

import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from leyden.journal.accession import keyed
from leyden.journal.events import Planned
from leyden.journal.lines import NO_JOURNAL, JournalSettings, set_up, tell
from leyden.operate import select as module
from leyden.operate.select import STAGES, STATES, Filter, page, select, stages_of
from leyden.operate.shape import LIMITS_S, shape
from leyden.operate.show import show
from leyden.spool.entry import key
from leyden.spool.secret import journal_key
from leyden.spool.stage import Stage
from unit.test_planner import CT, SR, Site, site

__all__ = ["site"]
DAY_S = 86400.0


def ids(root: Path, **wanted) -> list[str]:
    named = {name: frozenset(value) if isinstance(value, list | set) else value for name, value in wanted.items()}
    return [item.id for item in select(root, Filter(**named))]


def planned(site: Site, sop_class: str = SR, called: str = "REPORTS", **more) -> str:
    receipt = site.receive(sop_class, called, **more)
    site.planner.batch()
    return receipt


@pytest.fixture
def everywhere(site) -> tuple[Site, dict[str, str]]:
    """An object in each stage, the oldest in new/; where it stands -> its receipt."""
    s = site()
    where = {}
    for number, stage in enumerate((*STAGES[1:], Stage.NEW)):
        instance = f"1.2.{number}"
        if stage is Stage.NEW:
            where[stage] = s.receive(SR, "REPORTS", instance=instance, age_s=DAY_S)
            break
        called = "PACS" if stage is Stage.TRANSFORM else "REPORTS"
        where[stage] = planned(s, CT if stage is Stage.TRANSFORM else SR, called, instance=instance)
        if stage in (Stage.TRANSFORM, Stage.PREPARED):
            continue
        (waiting,) = (w for w in s.waiting(Stage.PREPARED, "REPORTS") if w.entry.receipt == where[stage])
        claim = s.spool.claim(waiting, "sender-0")
        if stage is Stage.ASKING:
            asking = replace(claim, stage=Stage.ASKING, entry=replace(claim.entry, syntax="JPEG2000Lossy"))
            s.spool.give_back(asking)
        elif stage is Stage.DEFERRED:
            s.spool.defer(claim, time.time() + 60)
        elif stage is Stage.REJECTED:
            s.spool.reject(claim, {"reason": "0xA900: no"})
        elif stage is Stage.FAILED:
            s.spool.fail(claim, {"reason": "it is damaged"})
        elif stage is Stage.EXPIRED:
            s.spool.expire(claim)
    return s, where


def test_the_oldest_comes_first_from_wherever(everywhere) -> None:
    s, where = everywhere
    found = list(select(s.spool.root, Filter()))
    assert [item.receipt for item in found] == sorted(where.values())
    assert found[0].id == where[Stage.NEW]
    assert {item.claimant: item.stage for item in found if item.claimant} == {"sender-0": Stage.PREPARED}


@pytest.mark.parametrize("stage", STAGES)
def test_by_stage(everywhere, stage: Stage) -> None:
    s, where = everywhere
    found = [item.receipt for item in select(s.spool.root, Filter(stages=frozenset({stage})))]
    claimed = [where[Stage.ACTIVE]] if stage is Stage.PREPARED else []
    assert found == sorted([where[stage], *claimed])


def test_by_destination(everywhere) -> None:
    s, where = everywhere
    assert ids(s.spool.root, destinations=["PACS"]) == [f"{where[Stage.TRANSFORM]}@PACS"]
    others = [f"{receipt}@REPORTS" for stage, receipt in where.items() if stage not in (Stage.NEW, Stage.TRANSFORM)]
    assert ids(s.spool.root, destinations=["REPORTS"]) == sorted(others)
    assert ids(s.spool.root, destinations=["NOBODY"]) == []


def test_by_age(everywhere) -> None:
    s, where = everywhere
    assert ids(s.spool.root, received_before_s=time.time() - DAY_S / 2) == [where[Stage.NEW]]
    assert len(ids(s.spool.root, received_after_s=time.time() - DAY_S / 2)) == len(where) - 1


def test_by_id(everywhere) -> None:
    s, where = everywhere
    for stage, receipt in where.items():
        (item,) = select(s.spool.root, Filter(ids=frozenset({receipt})))
        assert item.stage == (Stage.PREPARED if stage is Stage.ACTIVE else stage)
        assert ids(s.spool.root, ids=[item.id]) == [item.id]
    assert ids(s.spool.root, ids=[f"{where[Stage.PREPARED]}@PACS"]) == []


def test_what_was_put_there_by_hand_is_named_by_its_path(site) -> None:
    s = site()
    for place in ("rejected/PACS/one.dcm", "prepared/PACS/two.dcm"):
        (s.spool.root / place).write_bytes(b"")
        assert ids(s.spool.root, ids=[place]) == [place]
    assert len(ids(s.spool.root)) == 2
    assert ids(s.spool.root, received_after_s=0.0) == []


def test_keys_tell_without_a_file(site, monkeypatch: pytest.MonkeyPatch) -> None:
    s = site()
    one = planned(s, study="1.7", instance="1.7.1")
    planned(s, study="1.8", instance="1.8.1")
    monkeypatch.setattr(module, "read_head", None)  # no file is opened
    assert ids(s.spool.root, studies=["1.7"]) == [f"{one}@REPORTS"]
    assert ids(s.spool.root, instances=["1.7.1"]) == [f"{one}@REPORTS"]
    assert len(ids(s.spool.root, sources=["CT1"])) == 2
    assert ids(s.spool.root, sources=["CT2"]) == ids(s.spool.root, series=["1.7.1"]) == []


def test_a_series_has_a_key_of_its_own(site) -> None:
    s = site()
    planned(s)
    (waiting,) = s.waiting(Stage.PREPARED, "REPORTS")
    waiting.path.rename(waiting.path.with_name(replace(waiting.entry, series_key=key("1.9")).name))
    assert len(ids(s.spool.root, series=["1.9"])) == 1
    assert ids(s.spool.root, series=["1.10"]) == []


def test_what_is_not_planned_is_looked_into(site) -> None:
    s = site()
    receipt = s.receive(SR, instance="1.2.3", study="1.7")
    for wanted in ({"studies": ["1.7"]}, {"instances": ["1.2.3"]}, {"sources": ["CT1"]}, {"sop_classes": [SR]}):
        assert ids(s.spool.root, **wanted) == [receipt]
        (name,) = wanted
        assert ids(s.spool.root, **{name: ["1.99"]}) == []
        selection = select(s.spool.root, Filter(**{name: frozenset(wanted[name])}, look_into=0))
        assert (list(selection), selection.not_looked_into) == ([], 1)


def test_a_modality_is_in_the_file_alone(site) -> None:
    """The modality filter of the reference product's GET /api/queue/items; a part of the value is no match."""
    s = site()
    planned(s, study="1.7", modality=b"SR")
    other = planned(s, study="1.8", modality=b"MR")
    planned(s, study="1.9")
    waits = s.receive(SR, modality=b"MR")
    assert ids(s.spool.root, modalities=["MR"]) == [f"{other}@REPORTS", waits]
    assert ids(s.spool.root, modalities=["MR"], studies=["1.8"]) == [f"{other}@REPORTS"]
    assert ids(s.spool.root, modalities=["M"]) == []
    assert str(Filter(modalities=frozenset({"MR"}))) == "modality MR"


def test_what_the_journal_knows_counts_where_mutations_have_changed_the_uid(site) -> None:
    s = site()
    receipt = planned(s, study="1.7")
    set_up(s.spool.root, "planner-0", JournalSettings(mib=1))
    secret = journal_key(s.spool.root).read_bytes()
    of = {"sop_class_uid": SR, "sop_instance_uid": "1.2.3", "calling": "CT1", "called": "PACS", "generation": 1}
    tell(Planned(receipt, study_instance_uid="1.6", accession=keyed("A1", secret), **of))
    set_up(s.spool.root, "planner-0", NO_JOURNAL)
    assert ids(s.spool.root, studies=["1.6"]) == ids(s.spool.root, accessions=["A1"]) == [f"{receipt}@REPORTS"]
    assert ids(s.spool.root, accessions=["A2"]) == []


def test_accession_numbers_need_the_key_of_the_journal(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        select(tmp_path, Filter(accessions=frozenset({"A1"})))


def test_a_page_has_source_and_reason_and_knows_how_many_there_are(everywhere) -> None:
    s, where = everywhere
    found = page(s.spool.root, Filter(), skip=1, limit=3)
    assert [item.receipt for item in found.items] == sorted(where.values())[1:4]
    assert found.total == len(where)
    assert {item.source for item in found.items} == {"CT1"}
    (rejected,) = page(s.spool.root, Filter(stages=frozenset({Stage.REJECTED}))).items
    assert rejected.reason == "0xA900: no"
    assert page(s.spool.root, Filter(), skip=50) == module.Page((), len(where))


def test_our_stages_in_the_words_of_the_original() -> None:
    assert set(STATES) == set(STAGES) - {Stage.ACTIVE}
    assert stages_of("prepared") == {Stage.ASKING, Stage.PREPARED}
    assert stages_of("nonsense") == set()


def test_a_filter_in_words_names_no_accession_number() -> None:
    wanted = Filter(destinations=frozenset({"PACS"}), accessions=frozenset({"A17"}), stages=frozenset({Stage.FAILED}))
    assert str(wanted) == "in failed, for PACS, 1 accession numbers"
    assert str(Filter()) == "all"


def test_the_shape_counts_by_age(everywhere) -> None:
    s, where = everywhere
    now_s = time.time()
    found = shape(s.spool.root, Filter(), now_s)
    assert found.rows == {
        "": (0,) * 9 + (1,),
        "PACS": (1,) + (0,) * 9,
        "REPORTS": (len(where) - 2,) + (0,) * 9,
    }
    assert shape(s.spool.root, Filter(), now_s, by_source=True).rows == {"CT1": (len(where) - 1,) + (0,) * 8 + (1,)}
    later = shape(s.spool.root, Filter(destinations=frozenset({"PACS"})), now_s + LIMITS_S[0] + 60)
    assert later.rows == {"PACS": (0, 1) + (0,) * 8}


def test_what_is_shown_has_no_patient_data_unless_it_is_asked_for(site) -> None:
    s = site()
    receipt = planned(s, patient=b"Doe^Jane", study="1.7")
    (shown,) = show(s.spool.root, receipt)
    assert shown.facts == {"StudyInstanceUID": "1.7"}
    assert (shown.meta.receiving, shown.item.source, shown.unread) == ("REPORTS", "CT1", "")
    (whole,) = show(s.spool.root, f"{receipt}@REPORTS", patient=True)
    assert whole.facts["PatientName"] == "Doe^Jane"
    assert show(s.spool.root, "0" * 22) == []


def test_what_can_not_be_read_is_shown_all_the_same(everywhere) -> None:
    s, where = everywhere
    (failed,) = select(s.spool.root, Filter(stages=frozenset({Stage.FAILED})))
    Path(failed.path).write_bytes(b"damaged")
    (shown,) = show(s.spool.root, where[Stage.FAILED])
    assert shown.unread
    assert shown.note["reason"] == "it is damaged"
