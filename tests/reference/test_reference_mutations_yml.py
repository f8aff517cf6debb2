"""mutations.yml: each sentence of the reference, but for anonymize.

The rules are read from the file, and applied to a dataset as the planner and a worker do it. What real destinations
get: tests/interop/test_mutations_service.py.
"""

import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pydicom
import pytest

from leyden.config.load import load
from leyden.errors import ConfigError
from leyden.plan.match import Decision, plan
from leyden.plan.mutate import Circumstances, Mutated, mutate
from leyden.plan.rules import Mutation, OnError
from support.headers import header_of
from support.objects import decode, make_ct, split
from support.peers import Pacs
from support.service import Service, files_below, node, wait_for

RECEIPT = "1790000000123456010042"  # received at 1790000000.123456 s
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
Apply = Callable[..., Mutated]


@pytest.fixture
def rules(tmp_path: Path) -> Callable[..., tuple[Mutation, ...] | None]:
    """What mutations.yml means: rules("- Actions: ...")."""

    def read(text: str | None, filters: str = "mutate") -> tuple[Mutation, ...] | None:
        (tmp_path / "config.yml").write_text(f"filters: {filters}\n")
        (tmp_path / "nodes.yml").write_text("- AeTitle: IMAGEPACS\n- AeTitle: REPORTPACS\n")
        if text is not None:
            (tmp_path / "mutations.yml").write_text(text)
        return load(tmp_path, {}, {})[0].plan.mutations

    return read


@pytest.fixture
def apply(rules: Callable[..., tuple[Mutation, ...] | None]) -> Apply:
    """What a destination gets of a CT by a file: apply("- Actions: ...", destination="IMAGEPACS", PatientID="x")."""

    def run(text: str, destination: str = "IMAGEPACS", **values: object) -> Mutated:
        image = pydicom.Dataset()
        given = {"SOPClassUID": CT_IMAGE, "SOPInstanceUID": "2.25.7", "Modality": "CT", "PatientID": "4711", **values}
        for keyword, value in given.items():
            if value is not None:
                setattr(image, keyword, value)
        header = header_of(image, sop_class=CT_IMAGE)
        return mutate(rules(text) or (), header, Circumstances(destination, RECEIPT, "LEYDEN"))

    return run


@pytest.fixture
def problem(rules: Callable[..., object]) -> Callable[[str], str]:
    """Why a file stops the start."""

    def read(text: str) -> str:
        with pytest.raises(ConfigError) as caught:
            rules(text)
        return "\n".join(caught.value.problems)

    return read


def value(mutated: Mutated, keyword: str) -> str | None:
    assert mutated.failure is None, mutated.failure
    texts = mutated.header.texts(pydicom.datadict.tag_for_keyword(keyword) or 0)
    return None if texts is None else "\\".join(texts)


def put(value: str, source: str = "", to: str = "PatientID", more: str = "") -> str:
    """An action: Destination.Value, and a Source as `Tag: ..., Expression: ...`."""
    lines = [f"    - Destination: {{Tag: {to}, Value: '{value}'}}"]
    lines += [f"      Source: {{{source}}}"] if source else []
    lines += [f"      {more}"] if more else []
    return "\n".join(lines) + "\n"


def test_mutations_a_missing_file_means_the_filter_is_off(rules: Callable[..., object]) -> None:
    """A file that is missing means: this filter is off."""
    assert rules(None) is None


def test_mutations_an_invalid_file_stops_the_start(problem: Callable[[str], str]) -> None:
    """A file that is there and invalid: the service does not start, and the error names file and line."""
    assert problem("- Actions:\n    - Type: remov\n").startswith("mutations.yml:2: Actions[0].Type: ")


def test_Description_AeTitles_Conditions_and_Actions_make_a_mutation(apply: Apply) -> None:
    """A mutation has a Description, AeTitles (none = all), Conditions (all hold) and Actions."""
    text = "- Description: Prefix\n  AeTitles: [IMAGEPACS]\n  Conditions: [{Tag: Modality, MatchExpression: CT}]\n"
    text += "  Actions:\n" + put("X")
    assert value(apply(text), "PatientID") == "X"
    assert value(apply(text, destination="REPORTPACS"), "PatientID") == "4711"
    assert value(apply(text, Modality="MR"), "PatientID") == "4711"
    assert value(apply(text.replace("  AeTitles: [IMAGEPACS]\n", ""), destination="REPORTPACS"), "PatientID") == "X"


def test_mutations_run_in_order(apply: Apply) -> None:
    """The mutations, and the actions of each, run in the order of the file; each sees what was made before it."""
    text = "- Actions:\n" + put(":value:-1") + put(":value:-2") + "- Actions:\n" + put(":value:-3")
    assert value(apply(text), "PatientID") == "4711-1-2-3"


def test_Affects_is_storage_by_default(rules: Callable[..., tuple[Mutation, ...]]) -> None:
    """Affects: [storage] by default; a mutation of worklists and queries only has no effect yet."""
    assert len(rules("- Actions:\n" + put("X"))) == 1
    assert len(rules("- Affects: [storage, qr_find_result]\n  Actions:\n" + put("X"))) == 1
    for later in ("worklist_query", "worklist_result", "qr_find_query", "qr_find_result"):
        assert rules(f"- Affects: [{later}]\n  Actions:\n" + put("X")) == ()


def test_add_or_update_is_the_default_type(apply: Apply) -> None:
    """Type: add_or_update is the default; it adds an element that is absent, and updates one that is there."""
    text = "- Actions:\n" + put("X", to="PatientID") + put("Y", to="PatientComments", more="Type: add_or_update")
    assert [value(apply(text), keyword) for keyword in ("PatientID", "PatientComments")] == ["X", "Y"]


def test_Expression_takes_the_whole_value_by_default(apply: Apply) -> None:
    """Source.Expression is `^(.+)$` and Destination.Value is `$1` by default: the value is copied."""
    text = "- Actions:\n    - Source: {Tag: PatientID}\n      Destination: {Tag: PatientComments}\n"
    assert value(apply(text), "PatientComments") == "4711"


def test_Value_may_hold_capture_groups(apply: Apply) -> None:
    """Value may hold $1 and further capture groups."""
    text = "- Actions:\n" + put("$2_$1", r"Tag: PatientID, Expression: ^(\d\d)(\d\d)$")
    assert value(apply(text), "PatientID") == "11_47"


def test_Value_dollar_18_is_group_1_and_an_8_where_there_are_fewer_groups(apply: Apply) -> None:
    """`$18` is group 1 followed by 8 where there are fewer than 18 groups."""
    text = "- Actions:\n" + put("$18", r"Tag: PatientID, Expression: (\d)(\d)")
    assert value(apply(text), "PatientID") == "48"


def test_Value_uid_is_a_new_UID(apply: Apply) -> None:
    """`:uid:` is a new UID."""
    made = value(apply("- Actions:\n" + put(":uid:", to="StudyInstanceUID")), "StudyInstanceUID")
    assert made is not None
    assert pydicom.uid.UID(made).is_valid


def test_Value_timestamp_is_the_time_in_milliseconds(apply: Apply) -> None:
    """`:timestamp:` is the Unix time in ms; unquoted, as the vendor writes it."""
    text = "- Actions:\n    - Source: {Tag: PatientID}\n      Destination:\n        Tag: PatientID\n"
    text += "        Value: $1_:timestamp:\n"
    assert value(apply(text), "PatientID") == "4711_1790000000123"


def test_Value_today_is_the_day(apply: Apply) -> None:
    """`:today:` is YYYYMMDD."""
    day = datetime.fromtimestamp(1790000000).strftime("%Y%m%d")
    assert value(apply("- Actions:\n" + put(":today:", to="StudyDate")), "StudyDate") == day


def test_Value_value_is_the_present_one(apply: Apply) -> None:
    """`:value:` is the present value of the destination."""
    assert value(apply("- Actions:\n" + put("[:value:]")), "PatientID") == "[4711]"


def test_Value_hash_is_of_another_element(apply: Apply) -> None:
    """`:hash(gggg,eeee,n):` is the first n hex digits, lower case, of that element's SHA-256."""
    digits = hashlib.sha256(b"4711").hexdigest()[:16]
    assert value(apply("- Actions:\n" + put(":hash(0010,0020,16):")), "PatientID") == digits


def test_Source_may_be_absent(apply: Apply) -> None:
    """Without a Source, Value is a plain value."""
    assert value(apply("- Actions:\n" + put("a plain value")), "PatientID") == "a plain value"


def test_Expression_that_does_not_match_changes_nothing(apply: Apply) -> None:
    """An Expression that does not match changes nothing, and is no error."""
    mutated = apply("- Actions:\n" + put("X", "Tag: PatientID, Expression: ^Z") + put("Y", "Tag: PatientComments"))
    assert (mutated.changed, mutated.failure) == (False, None)


def test_remove_takes_an_element_away(apply: Apply) -> None:
    """Type remove: the element in Destination.Tag is removed; one that is absent is no error."""
    text = "- Actions:\n    - Type: remove\n      Destination: {Tag: PatientID}\n"
    assert value(apply(text), "PatientID") is None
    assert apply(text, PatientID=None).failure is None


@pytest.mark.parametrize("later", ["exclude_result", "query", "stamp"])
def test_Type_that_is_later_is_an_error(problem: Callable[[str], str], later: str) -> None:
    """exclude_result, query and stamp: an error at start, for data would pass unchanged."""
    assert f"{later} is not there yet" in problem(f"- Actions:\n    - Type: {later}\n")


def wrong(on_error: str) -> str:
    """An action that can't be made."""
    return put("no date", to="StudyDate", more=f"OnError: {on_error}")


@pytest.mark.parametrize(
    ("on_error", "patient", "comments"), [("skip_action", "next action", "next"), ("end_mutation", "4711", "next")]
)
def test_OnError_goes_on(apply: Apply, on_error: str, patient: str, comments: str) -> None:
    """OnError: skip_action = on with the next action; end_mutation = with the next mutation."""
    text = "- Actions:\n" + wrong(on_error) + put("next action") + "- Actions:\n"
    mutated = apply(text + put("next", to="PatientComments"))
    assert (value(mutated, "PatientID"), value(mutated, "PatientComments")) == (patient, comments)


@pytest.mark.parametrize(
    ("more", "kind"), [("OnError: retry", OnError.RETRY), ("OnError: fail", OnError.FAIL), ("", OnError.FAIL)]
)
def test_OnError_stops(apply: Apply, more: str, kind: OnError) -> None:
    """OnError: retry = the whole instance later; fail = to failed/, which is the default."""
    failure = apply("- Actions:\n" + put("no date", to="StudyDate", more=more)).failure
    assert failure is not None
    assert failure.kind is kind


def test_OnError_elsewhere_is_an_error(problem: Callable[[str], str]) -> None:
    """OnError belongs to add_or_update; elsewhere it is a validation error."""
    text = "- Actions:\n    - Type: remove\n      OnError: fail\n      Destination: {Tag: PatientID}\n"
    assert "remove takes no OnError" in problem(text)


def test_mutations_are_per_destination(tmp_path: Path, rules: Callable[..., object]) -> None:
    """Mutations are per destination: the copy for one never shows in another's."""
    (tmp_path / "routings.yml").write_text("- Actions: [{Target: REPORTPACS}]\n")
    rules("- AeTitles: [REPORTPACS]\n  Actions:\n" + put("theirs"), "route, mutate")
    decision = _decided(tmp_path)
    ids = {each.destination: each.mutated and each.mutated.header.texts(0x00100020) for each in decision.deliveries}
    assert ids == {"IMAGEPACS": None, "REPORTPACS": ("theirs",)}


def test_filters_run_in_the_order_written_mutate_before_route(tmp_path: Path, rules: Callable[..., object]) -> None:
    """filters run in the order written: with mutate first, the routes see what the mutations have made."""
    routings = "- Conditions: [{Tag: PatientID, MatchExpression: theirs}]\n  Actions: [{Target: REPORTPACS}]\n"
    (tmp_path / "routings.yml").write_text(routings)
    for filters, copies in (("route, mutate", 1), ("mutate, route", 2)):
        rules("- Actions:\n" + put("theirs"), filters)
        assert len(_decided(tmp_path).deliveries) == copies


def _decided(folder: Path) -> Decision:
    image = pydicom.Dataset()
    image.PatientID = "4711"
    settings = load(folder, {}, {})[0].plan
    return plan(settings, header_of(image, sop_class=CT_IMAGE, called="IMAGEPACS"), receipt=RECEIPT)


def test_OnError_retry_lets_the_instance_wait_in_new(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """retry = the whole instance later: it stays in new/, nothing of it leaves, and it is planned by the rules that
    hold when it is tried again."""
    archive = pacs("IMAGES")
    leyden = service(node("IMAGES", archive.port), mutations="- Actions:\n" + wrong("retry")).start()
    _send(leyden, make_ct(tmp_path / "ct.dcm", 1))
    line = leyden.wait_line("waits in new/, next try in 60 s")
    assert "mutations.yml:2 add_or_update: (0008,0020) would not have the form of VR DA" in line
    leyden.stop()
    assert len(list(files_below(leyden.spool / "new"))) == 1
    (leyden.folder / "mutations.yml").write_text("- Actions:\n" + put("20260102", to="StudyDate"))
    leyden.start()
    (arrival,) = archive.wait(1)
    assert decode(arrival.syntax, arrival.data).StudyDate == "20260102"


def test_mutations_never_change_the_spooled_original(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """The spooled original is never changed: while a worker has made the copy, the file that came is as it was."""
    archive = pacs("IMAGES")
    mark = tmp_path / "died"
    leyden = service(node("IMAGES", archive.port), mutations="- Actions:\n" + put("X"))
    leyden.start(LEYDEN_CRASH_AT=f"worker/encoded:1:{mark}")
    path = make_ct(tmp_path / "ct.dcm", 1)
    _send(leyden, path)
    wait_for(mark.exists)
    leyden.kill_all()
    files = [split(each.read_bytes())[1] for each in files_below(leyden.spool) if each.suffix == ".dcm"]
    assert split(path.read_bytes())[1] in files


def _send(service: Service, path: Path) -> None:
    done = service.leyden("send", f"127.0.0.1:{service.port}", "--called", "IMAGES", str(path))
    assert done.returncode == 0, done.stdout
