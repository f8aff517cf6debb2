"""mutations.yml, action anonymize: each sentence of the reference as a test, under the key's name."""

from pathlib import Path

import pydicom

from leyden.config.load import load
from leyden.plan.mutate import Circumstances, Mutated, mutate
from leyden.plan.rules import Mutation, OnError
from leyden.pseudonyms import Pseudonymizer
from support.headers import header_of

VENDORS_EXAMPLE = """\
# Example 4: Anonymize patient data with mapping file
- Description: Anonymize patient information
  Actions:
    - Type: anonymize
      Destination:
        Value: {}/mappings.csv
"""


def configured(folder: Path) -> tuple[Mutation, ...]:
    (folder / "config.yml").write_text("filters: mutate\n")
    (folder / "nodes.yml").write_text("- AeTitle: IMAGEPACS\n")
    (folder / "mutations.yml").write_text(VENDORS_EXAMPLE.format(folder))
    return load(folder, {}, {})[0].plan.mutations or ()


def mutated(folder: Path, pseudonymizer: Pseudonymizer, patient_id: str, receipt: int = 1) -> Mutated:
    made = pydicom.Dataset()
    made.PatientID, made.PatientName, made.SOPInstanceUID = patient_id, f"QZ^{patient_id}", f"1.2.{receipt}"
    circumstances = Circumstances("IMAGEPACS", f"{receipt:022d}", pseudonymizer=pseudonymizer)
    return mutate(configured(folder), header_of(made), circumstances)


def pseudonym(folder: Path, pseudonymizer: Pseudonymizer, patient_id: str, receipt: int = 1) -> str:
    after = mutated(folder, pseudonymizer, patient_id, receipt)
    assert after.failure is None
    (text,) = after.draft.texts(0x00100020) or ("",)
    assert after.draft.texts(0x00100010) == (text,)
    return text


def test_anonymize_Destination_Value_is_a_csv_mapping_file(tmp_path: Path) -> None:
    """anonymize: Destination Value = a CSV mapping file. It is made with the first patient, and one of each line."""
    mapping = tmp_path / "mappings.csv"
    planner = Pseudonymizer(tmp_path, writes=True)
    configured(tmp_path)
    assert not mapping.exists()
    given = pseudonym(tmp_path, planner, "4711")
    lines = mapping.read_text().splitlines()
    assert lines[0] == "patient_id,issuer_of_patient_id,pseudonym,since"
    assert [line.split(",")[:3] for line in lines[1:]] == [["4711", "", given]]


def test_anonymize_the_same_patient_always_gets_the_same_pseudonym(tmp_path: Path) -> None:
    """The same patient always gets the same pseudonym, and no other patient gets it."""
    planner = Pseudonymizer(tmp_path, writes=True)
    first = [pseudonym(tmp_path, planner, patient, 1) for patient in ("4711", "0815", "4712")]
    again = [pseudonym(tmp_path, planner, patient, 2) for patient in ("4711", "0815", "4712")]
    assert first == again
    assert len(set(first)) == 3
    assert not {"4711", "0815", "4712"} & set(first)


def test_anonymize_across_restarts(tmp_path: Path) -> None:
    """... across restarts. So do the workers, which only read the file."""
    before = Pseudonymizer(tmp_path, writes=True)
    given = pseudonym(tmp_path, before, "4711")
    before.close()
    after = Pseudonymizer(tmp_path, writes=True)
    assert pseudonym(tmp_path, after, "4711", 2) == given
    assert pseudonym(tmp_path, Pseudonymizer(tmp_path, writes=False), "4711", 3) == given


def test_anonymize_passes_nothing_on_that_it_could_not_clean(tmp_path: Path) -> None:
    """Never send what a rule could not clean: without a Patient ID, or without a file to look into, nothing leaves."""
    planner, worker = Pseudonymizer(tmp_path, writes=True), Pseudonymizer(tmp_path, writes=False)
    failure = mutated(tmp_path, planner, "").failure
    assert failure is not None
    assert failure.kind is OnError.FAIL
    failure = mutated(tmp_path, worker, "4711").failure
    assert failure is not None
    assert failure.kind is OnError.RETRY
