"""anonymize and deidentify in mutations.yml: what the keys mean, and what stops the start."""

from pathlib import Path

import pytest

from leyden.config.load import load
from leyden.errors import ConfigError
from leyden.plan.rules import BurnedIn, Edit, EditType, Place, Profile


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


HEAD = "patient_id,issuer_of_patient_id,pseudonym,since\n"


def loaded(folder: Path, *actions: str, more: str = "") -> tuple[tuple[Edit, ...], tuple[str, ...]]:
    """The actions of one mutation, and the warnings."""
    (folder / "config.yml").write_text("filters: mutate\n")
    (folder / "nodes.yml").write_text("- AeTitle: IMAGEPACS\n")
    indented = [action.replace("\n", "\n      ") for action in actions]
    text = f"- {more}Actions:\n" + "".join(f"    - {action}\n" for action in indented)
    (folder / "mutations.yml").write_text(text)
    settings, warnings = load(folder, {}, {})
    (mutation,) = settings.plan.mutations or ()
    return mutation.actions, warnings


def edit(folder: Path, action: str) -> Edit:
    (found,), warnings = loaded(folder, action)
    assert warnings == ()
    return found


def problems(folder: Path, *actions: str, more: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, *actions, more=more)
    return "\n".join(caught.value.problems)


def test_anonymize_as_the_vendor_writes_it(folder: Path) -> None:
    found = edit(folder, "Type: anonymize\nDestination:\n  Value: map.csv")
    assert (found.type, found.mapping, found.destination) == (EditType.ANONYMIZE, str(folder / "map.csv"), None)
    assert not (folder / "map.csv").exists(), "checking makes nothing"


def test_anonymize_of_one_element(folder: Path) -> None:
    found = edit(folder, "type: Anonymize\nDestination: {Value: /tmp/map.csv, Tag: PatientID}\nLog: info")
    assert (found.destination, found.log_info, found.mapping) == (Place(0x00100020), True, "/tmp/map.csv")


def test_deidentify_with_every_key(folder: Path) -> None:
    found = edit(
        folder,
        """\
Type: deidentify
Profile: Basic
Options: [retain_safe_private, CLEAN_DESCRIPTORS, retain_modified_dates]
KeepTexts: [CT Chest, 00123]
KeepPrivate:
  - PrivateTagCreator: ACME 1.0
    Tag: 0019,1023
  - {PrivateTagCreator: OTHER, Group: 0021}
BurnedIn: strict
Destination: {Value: map.csv}
Description: for research
""",
    )
    assert found == Edit(
        EditType.DEIDENTIFY,
        "mutations.yml:2",
        mapping=str(folder / "map.csv"),
        profile=Profile(
            options=("retain_safe_private", "clean_descriptors", "retain_modified_dates"),
            words=("CT Chest", "00123"),
            private=((0x0019, 0x23, "ACME 1.0"), (0x0021, -1, "OTHER")),
            burned_in=BurnedIn.STRICT,
        ),
        description="for research",
    )


def test_deidentify_alone_is_the_basic_profile(folder: Path) -> None:
    assert edit(folder, "Type: deidentify").profile == Profile()
    assert Profile().burned_in is BurnedIn.REFUSE


@pytest.mark.parametrize("written", ["[0, 10, 512, 40]", "[[0, 10, 512, 40]]", "\n    - [0, 10, 512, 40]"])
def test_rectangles(folder: Path, written: str) -> None:
    found = edit(folder, f"Type: deidentify\nBurnedIn: blank\nRectangles: {written}")
    assert found.profile is not None
    assert found.profile.rectangles == ((0, 10, 512, 40),)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("Type: anonymize", "Actions[0].Destination: is missing"),
        ("Type: anonymize\nDestination: {Tag: PatientID}", "Destination.Value: is missing"),
        ("Type: anonymize\nDestination: {Value: none/map.csv}", "none/map.csv: can't be made: "),
        ("Type: anonymize\nDestination: {Value: 'C:\\map.csv'}", "is no path of this system"),
        ("Type: anonymize\nDestination: {Value: m.csv, Tag: '7fe0,0010'}", "is no element that can get a pseudonym"),
        ("Type: anonymize\nDestination: {Value: m.csv, Tags: PatientID}", "without Tag the whole patient"),
        (
            "Type: deidentify\nOnError: skip_action",
            "deidentify takes no OnError: it always is fail",
        ),
        ("Type: anonymize\nSource: {Tag: PatientID}\nDestination: {Value: m.csv}", "anonymize takes no Source"),
        ("Type: deidentify\nProfile: strong", "Actions[0].Profile: must be one of basic"),
        ("Type: deidentify\nOptions: [retain_uid]", "(did you mean retain_uids?)"),
        ("Type: deidentify\nOptions: [retain_full_dates, retain_modified_dates]", "exclude each other"),
        ("Type: deidentify\nKeepPrivate: [{PrivateTagCreator: A, Group: 19}]", "needs retain_safe_private"),
        (
            "Type: deidentify\nOptions: retain_safe_private\nKeepPrivate: [{PrivateTagCreator: A}]",
            "KeepPrivate[0].Tag: is missing; or name the Group",
        ),
        (
            "Type: deidentify\nOptions: retain_safe_private\nKeepPrivate: [{PrivateTagCreator: A, Tag: '10,20'}]",
            "a private tag has an odd group",
        ),
        ("Type: deidentify\nBurnedIn: maybe", "BurnedIn: must be one of refuse, strict, pass, blank"),
        ("Type: deidentify\nBurnedIn: blank", "Rectangles: is missing"),
        ("Type: deidentify\nRectangles: [0, 0, 1, 1]", "Rectangles: goes with BurnedIn: blank only"),
        ("Type: deidentify\nBurnedIn: blank\nRectangles: [0, 0, 1]", "must be left, top, width and height"),
        ("Type: deidentify\nBurnedIn: blank\nRectangles: [0, 0, 0, 5]", "must be left, top, width and height"),
        ("Type: deidentify\nDestination: {Value: m.csv, Tag: PatientID}", "deidentify takes a Value only"),
    ],
)
def test_what_is_wrong_stops_the_start(folder: Path, action: str, message: str) -> None:
    assert message in problems(folder, action)


def test_what_is_wrong_in_a_mapping_file_stops_the_start_with_its_line(folder: Path) -> None:
    path = folder / "map.csv"
    path.write_text(f"{HEAD}1,,A,\n1,,B,\n2,C\n")
    path.chmod(0o600)
    told = problems(folder, "Type: anonymize\nDestination:\n  Value: map.csv")
    assert f"mutations.yml:4: Actions[0].Destination.Value: {path}:4: is not a line of 4 columns" in told
    path.write_text(f"{HEAD}1,,A,\n1,,B,\n")
    told = problems(folder, "Type: deidentify\nDestination:\n  Value: map.csv")
    assert f"{path}:3: this patient stands in line 2 already" in told
    path.write_text(HEAD)
    path.chmod(0o644)
    assert "others may read or write it" in problems(folder, "Type: anonymize\nDestination:\n  Value: map.csv")


def test_what_would_bring_the_patient_back_stops_the_start(folder: Path) -> None:
    both = ("Type: anonymize\nDestination: {Value: m.csv}", "Type: deidentify")
    assert "deidentify gives a pseudonym too" in problems(folder, *both)
    for action in both:
        assert "would keep what these actions take away" in problems(
            folder, action, more="OriginalAttributes: true\n  "
        )


def test_texts_without_an_option_that_cleans_are_warned_of(folder: Path) -> None:
    _, warnings = loaded(folder, "Type: deidentify\nKeepTexts: [CT Chest]")
    assert warnings == ("mutations.yml:3: Actions[0].KeepTexts: has no effect without a clean option",)


def test_a_patient_who_may_be_replaced_twice_is_warned_of(folder: Path) -> None:
    (folder / "config.yml").write_text("filters: mutate\n")
    (folder / "nodes.yml").write_text("- AeTitle: A\n- AeTitle: B\n")
    one = "- AeTitles: [{}]\n  Actions:\n    - Type: deidentify\n"
    (folder / "mutations.yml").write_text(one.format("A") + one.format("B"))
    assert load(folder, {}, {})[1] == ()
    (folder / "mutations.yml").write_text(one.format("A") + one.format("B") + one.format("B, A"))
    (warning,) = load(folder, {}, {})[1]
    assert warning.startswith("mutations.yml:8: Actions: would take the pseudonym that mutations.yml:1 gives")
