"""The actions anonymize and deidentify within mutations: what they ask for, and what follows if they can't be done."""

import pydicom
import pytest

from leyden.dicom.header import Header
from leyden.errors import Transient
from leyden.plan.mutate import Circumstances, Mutated, mutate
from leyden.plan.pseudonym import Keyed, Patient
from leyden.plan.rules import BurnedIn, Condition, Edit, EditType, Kind, Mutation, OnError, Place, Profile
from support.headers import header_of

NAME, ID, SOP_INSTANCE, ORIGINAL = 0x00100010, 0x00100020, 0x00080018, 0x04000561
ANONYMIZE = Edit(EditType.ANONYMIZE, "mutations.yml:3", mapping="/map.csv")
DEIDENTIFY = Edit(EditType.DEIDENTIFY, "mutations.yml:4", profile=Profile())
KEYED = Keyed(b"k" * 32)


class Known:
    """A pseudonymizer that knows some patients."""

    def __init__(self, *patients: Patient, keyed: bool = True) -> None:
        self.patients = patients
        self.has_key = keyed

    def keyed(self) -> Keyed:
        if not self.has_key:
            raise Transient("no key")
        return KEYED

    def pseudonym_of(self, mapping: str, patient: Patient) -> str:
        if patient not in self.patients:
            raise Transient(f"{mapping} does not have this patient")
        return f"TRIAL-{self.patients.index(patient)}"


JANE = Known(Patient("4711", "HOSPITAL"))


def header(**values: object) -> Header:
    made = pydicom.Dataset()
    made.SOPClassUID, made.SOPInstanceUID, made.StudyInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "2.25.7", "2.25.1"
    made.PatientName, made.PatientID, made.IssuerOfPatientID = "QZ^Jane", "4711", "HOSPITAL"
    made.StudyDescription = "HEAD"
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return header_of(made)


def run(*edits: Edit, known: Known | None = JANE, seen: Header | None = None, original: bool = False) -> Mutated:
    mutation = Mutation("mutations.yml:1", actions=edits, original_attributes=original)
    return mutate((mutation,), seen or header(), Circumstances("PACS", "1790000000123456010042", pseudonymizer=known))


def test_anonymize_gives_the_pseudonym_of_the_mapping_file() -> None:
    after = run(ANONYMIZE)
    assert after.draft.texts(ID) == after.draft.texts(NAME) == ("TRIAL-0",)
    assert after.draft.texts(0x00081030) == ("HEAD",)
    assert after.header.meta.sop_instance_uid == "2.25.7"
    assert after.changed_by == ("mutations.yml:3",)


def test_with_a_tag_only_that_element_gets_the_pseudonym() -> None:
    after = run(Edit(EditType.ANONYMIZE, "m:3", destination=Place(0x00100010), mapping="/map.csv"))
    assert (after.draft.texts(NAME), after.draft.texts(ID)) == (("TRIAL-0",), ("4711",))


def test_deidentify_takes_the_uid_of_the_file_meta_with_it() -> None:
    after = run(DEIDENTIFY)
    assert after.header.meta.sop_instance_uid == KEYED.uid("2.25.7")
    assert after.header.texts(0x00020003) == (KEYED.uid("2.25.7"),)
    assert after.draft.texts(ID) == (KEYED.pseudonym(Patient("4711", "HOSPITAL")),)
    assert run(DEIDENTIFY).draft.replacements() == after.draft.replacements()


def test_deidentify_with_a_mapping_file_takes_its_pseudonym() -> None:
    after = run(Edit(EditType.DEIDENTIFY, "m:4", mapping="/map.csv", profile=Profile()))
    assert after.draft.texts(ID) == ("TRIAL-0",)
    assert after.header.meta.sop_instance_uid == KEYED.uid("2.25.7")


@pytest.mark.parametrize(
    ("edit", "known", "kind"),
    [
        (ANONYMIZE, Known(), OnError.RETRY),
        (Edit(EditType.DEIDENTIFY, "m:4", mapping="/map.csv", profile=Profile()), Known(), OnError.RETRY),
        (DEIDENTIFY, Known(keyed=False), OnError.RETRY),
        (ANONYMIZE, None, OnError.FAIL),
        (DEIDENTIFY, None, OnError.FAIL),
    ],
)
def test_what_can_not_be_said_now_lets_the_object_wait(edit: Edit, known: Known | None, kind: OnError) -> None:
    failure = run(edit, known=known).failure
    assert failure is not None
    assert failure.kind is kind
    assert "4711" not in failure.reason


@pytest.mark.parametrize("edit", [ANONYMIZE, Edit(EditType.DEIDENTIFY, "m:4", mapping="/map.csv", profile=Profile())])
@pytest.mark.parametrize("given", ["", "47\n11"])
def test_a_patient_who_can_not_be_told_from_others_fails(edit: Edit, given: str) -> None:
    """An empty ID, or one that can't be read: two patients must never become one."""
    with pydicom.config.disable_value_validation():
        failure = run(edit, known=Known(Patient("")), seen=header(PatientID=given)).failure
    assert failure is not None
    assert failure.kind is OnError.FAIL
    assert "(0010,0020)" in failure.reason


def test_burned_in_annotation_fails() -> None:
    failure = run(DEIDENTIFY, seen=header(BurnedInAnnotation="YES")).failure
    assert failure is not None
    assert failure.kind is OnError.FAIL
    assert "Burned In Annotation" in failure.reason
    passed = Edit(EditType.DEIDENTIFY, "m:4", profile=Profile(burned_in=BurnedIn.PASS))
    assert run(passed, seen=header(BurnedInAnnotation="YES")).failure is None


def test_an_instance_that_only_the_file_meta_names_does_not_leave() -> None:
    without = header()
    del without.dataset.read()[SOP_INSTANCE]
    assert run(DEIDENTIFY, seen=without).failure is not None
    differs = header(SOPInstanceUID="1.2.840.10008.1.19")
    assert differs.meta.sop_instance_uid != "1.2.840.10008.1.19"
    failure = run(DEIDENTIFY, seen=differs).failure
    assert failure is not None
    assert "another instance" in failure.reason


def test_what_later_mutations_keep_of_the_original_is_de_identified_already() -> None:
    """The Original Attributes Sequence of a later rule holds what was there before that rule, not what came."""
    description = Place(0x00081030)
    removal = Edit(EditType.REMOVE, "m:2", destination=description)
    early = Mutation("m:1", actions=(removal,), original_attributes=True)
    middle = Mutation("m:3", actions=(DEIDENTIFY,))
    both = [Edit(EditType.ADD_OR_UPDATE, "m:6", destination=place, value="X") for place in (Place(NAME), description)]
    late = Mutation("m:5", actions=tuple(both), original_attributes=True)
    circumstances = Circumstances("PACS", "1790000000123456010042", pseudonymizer=JANE)
    after = mutate((early, middle, late), header(), circumstances)
    assert after.failure is None
    (item,) = after.draft.items(ORIGINAL)
    (old,) = item.items(0x04000550)
    assert old.tags() == [NAME]
    assert old.texts(NAME) == (KEYED.pseudonym(Patient("4711", "HOSPITAL")),)


def test_conditions_after_it_see_what_it_made() -> None:
    is_jane = Condition("00100010", Kind.LITERAL, "QZ^Jane")
    remove = Edit(EditType.REMOVE, "m:2", destination=Place(0x00200010))
    rules = (Mutation("m:1", actions=(DEIDENTIFY,)), Mutation("m:2", conditions=(is_jane,), actions=(remove,)))
    after = mutate(rules, header(StudyID="7"), Circumstances("PACS", "1790000000123456010042", pseudonymizer=JANE))
    assert [ran.held for ran in after.ran] == [True, False]
