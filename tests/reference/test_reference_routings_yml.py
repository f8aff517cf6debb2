"""What the lines of routings.yml mean, sentence by sentence, from the file to what becomes of an object."""

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from leyden.config.load import load
from leyden.dicom.header import Header
from leyden.errors import ConfigError
from leyden.plan.match import Decision, plan, remarks
from support.datasets import el
from support.headers import header_from, header_of
from support.objects import real
from support.peers import Pacs
from support.service import Service, node

NODES = """\
- AeTitle: IMAGEPACS
  Aliases: ARCHIVE
- AeTitle: REPORTPACS
- AeTitle: THIRD
- AeTitle: RIS
  NodeRole: Worklist
"""
CT_TO_THIRD = "- Conditions:\n    - Tag: 8,60\n      MatchExpression: CT\n  Actions:\n    - Target: THIRD\n"


class Site:
    """The folder of a site: `decide` gives what the planner decides by this routings.yml."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "config.yml").write_text("filters: route\n")
        (folder / "nodes.yml").write_text(NODES)

    def decide(self, routings: str, header: Header | None = None) -> Decision:
        (self.folder / "routings.yml").write_text(routings)
        return plan(load(self.folder, {}, {})[0].plan, header or ct())

    def destinations(self, routings: str, header: Header | None = None) -> list[str]:
        return [delivery.destination for delivery in self.decide(routings, header).deliveries]

    def path(self, target: str, header: Header | None = None) -> str:
        """Where a save_file with this target puts the object."""
        (save,) = self.decide(f"- Actions:\n    - Type: save_file\n      Target: '{target}'\n", header).saves
        return save.path


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def ct(called: str = "IMAGEPACS", **values: object) -> Header:
    dataset = pydicom.Dataset()
    dataset.SOPInstanceUID, dataset.Modality = "2.25.7", "CT"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return header_of(dataset, called=called)


# -- the file


def test_routings_yml_that_is_missing_means_that_the_filter_is_off(site: Site) -> None:
    """A missing file = filter off."""
    settings, said = load(site.folder, {}, {})
    assert settings.plan.routes is None
    assert "routings.yml: is missing: the filter route, named in filters, is off" in said
    assert [delivery.destination for delivery in plan(settings.plan, ct()).deliveries] == ["IMAGEPACS"]


def test_routings_yml_that_is_invalid_lets_no_service_start(tmp_path: Path, service: Callable[..., Service]) -> None:
    """An invalid file = the service does not start with it."""
    wrong = service(NODES, "- Conditions: []\n")
    done = wrong.leyden("run")
    assert done.returncode == 2
    assert "routings.yml:1" in done.stdout + done.stderr
    assert not (wrong.folder / "cache" / "new").exists()


# -- AeTitles, Conditions, Actions


def test_AeTitles_are_the_destinations_that_the_rule_looks_at(site: Site) -> None:
    """AeTitles (destinations that the rule looks at; none = all)."""
    rule = "  Actions:\n    - Target: THIRD\n"
    for titles, held in (("- AeTitles:\n    - IMAGEPACS\n", True), ("- AeTitles: REPORTPACS\n", False)):
        assert ("THIRD" in site.destinations(titles + rule)) is held
    assert site.destinations("- AeTitles: [ARCHIVE]\n" + rule) == ["IMAGEPACS", "THIRD"], "an alias means its node"
    for called in ("IMAGEPACS", "ARCHIVE", "DCP_IMAGEPACS", "REPORTPACS", "LEYDEN"):
        assert "THIRD" in site.destinations("- Actions:\n    - Target: THIRD\n", ct(called))


def test_Conditions_decide_whether_the_rule_runs(site: Site) -> None:
    """A route runs if it matches: all its conditions hold; without conditions it always does."""
    assert site.destinations(CT_TO_THIRD) == ["IMAGEPACS", "THIRD"]
    assert site.destinations(CT_TO_THIRD, ct(Modality="MR")) == ["IMAGEPACS"]
    assert site.destinations("- Actions:\n    - Target: THIRD\n") == ["IMAGEPACS", "THIRD"]


def test_Actions_are_required(site: Site) -> None:
    """Actions (required)."""
    for routings in ("- AeTitles: IMAGEPACS\n", "- Actions: []\n"):
        with pytest.raises(ConfigError, match="Actions: "):
            site.decide(routings)


def test_every_matching_route_runs_in_file_order(site: Site) -> None:
    """Every matching route runs, in file order, for each (instance, destination)."""
    third, report, never = (
        "- Actions:\n    - Target: THIRD\n      RemoveOriginal: true\n",
        "- AeTitles: IMAGEPACS\n  Actions:\n    - Target: REPORTPACS\n",
        "- Conditions:\n    - Tag: 8,60\n      MatchExpression: MR\n  Actions:\n    - Target: IMAGEPACS\n",
    )
    assert site.destinations(third + never + report) == ["THIRD", "REPORTPACS"]
    assert site.destinations(report + never + third) == ["REPORTPACS", "THIRD"]
    assert [ran.route.where for ran in site.decide(third + never + report).ran] == [
        "routings.yml:1",
        "routings.yml:9",
    ]


# -- Actions


def test_Type_is_add_destination_by_default_and_Target_a_title_or_alias(site: Site) -> None:
    """Action Type: add_destination (the default; Target = AE title of a Storage node, or alias)."""
    for written in ("Target: REPORTPACS", "Type: add_destination\n      Target: REPORTPACS"):
        assert site.destinations(f"- Actions:\n    - {written}\n") == ["IMAGEPACS", "REPORTPACS"]
    by_alias = "- Actions:\n    - Target: ARCHIVE\n"
    assert site.destinations(by_alias, ct("REPORTPACS")) == ["REPORTPACS", "IMAGEPACS"]
    for target in ("RIS", "NOBODY"):
        with pytest.raises(ConfigError, match=target):
            site.decide(f"- Actions:\n    - Target: {target}\n")


def test_Type_save_file_makes_parents_and_names_the_file(
    tmp_path: Path, service: Callable[..., Service], pacs: Callable[..., Pacs]
) -> None:
    """save_file (Target = path with placeholders; parents are made; a Target that ends in / gets
    <SOPInstanceUID>.dcm)."""
    archive = pacs("IMAGEPACS")
    kept = tmp_path / "kept"
    rule = f"- Actions:\n    - Type: save_file\n      Target: '{kept}/#{{8,60}}/deep/'\n"
    running = service(node("IMAGEPACS", archive.port), rule).start()
    done = running.leyden("send", f"127.0.0.1:{running.port}", "--called", "IMAGEPACS", str(real("CT_small.dcm")))
    assert done.returncode == 0, done.stderr
    archive.wait(1)
    sent = pydicom.dcmread(real("CT_small.dcm"))
    assert [path.relative_to(kept) for path in kept.rglob("*") if path.is_file()] == [
        Path("CT", "deep", f"{sent.SOPInstanceUID}.dcm")
    ]
    assert pydicom.dcmread(kept / "CT" / "deep" / f"{sent.SOPInstanceUID}.dcm") == sent


def test_Type_drop_removes_the_original_destination(site: Site) -> None:
    """drop: the original destination is removed, always."""
    decision = site.decide("- Actions:\n    - Type: drop\n")
    assert (decision.deliveries, decision.dropped_by) == ((), "routings.yml:1 drop")


def test_RemoveOriginal_counts_after_all_actions_of_the_route(site: Site) -> None:
    """All actions of a route run first; the original destination is removed afterwards if any action had
    RemoveOriginal true (drop always)."""
    third = "    - Target: THIRD\n"
    report = "    - Target: REPORTPACS\n"
    removing = "      RemoveOriginal: true\n"
    drop = "    - Type: drop\n"
    assert site.destinations("- Actions:\n" + third + removing + report) == ["THIRD", "REPORTPACS"]
    assert site.destinations("- Actions:\n" + third + report + removing) == ["THIRD", "REPORTPACS"]
    assert site.destinations("- Actions:\n" + drop + third) == ["THIRD"]
    assert site.destinations("- Actions:\n" + third + report) == ["IMAGEPACS", "THIRD", "REPORTPACS"]


def test_Target_that_is_added_twice_is_one_delivery(site: Site) -> None:
    """Same destination added twice = one delivery."""
    twice = "- Actions:\n    - Target: THIRD\n    - Target: THIRD\n- Actions:\n    - Target: IMAGEPACS\n"
    assert site.destinations(twice) == ["IMAGEPACS", "THIRD"]


def test_Description_and_Log_of_a_route_and_its_actions(site: Site) -> None:
    """A route has also Description and each action Description and Log (debug by default; a drop is always logged as
    info)."""
    routings = """\
- Description: by the route
  Actions:
    - Target: THIRD
    - Target: REPORTPACS
      Description: by the action
      Log: info
    - Type: drop
      Log: debug
"""
    decision = site.decide(routings)
    assert list(remarks(decision, debug=False)) == [
        (True, "routings.yml:1 add_destination REPORTPACS: by the action"),
        (True, "routings.yml:1 drop: by the route"),
    ]
    assert (False, "routings.yml:1 add_destination THIRD: by the route") in remarks(decision, debug=True)


# -- placeholders


@pytest.mark.parametrize("written", ["#{0010,0020}", "#{10,20}", "#{ 10 , 20 }"])
def test_placeholders_give_the_value(site: Site, written: str) -> None:
    """Placeholders `#{g,e}` (hex, short forms) give the value."""
    assert site.path(f"/kept/{written}/x", ct(PatientID="P 1")) == "/kept/P 1/x"
    assert site.path("/kept/#{8,1A0}/x") == "/kept/0008,01a0/x"


def test_placeholders_give_the_name_of_a_tag_that_is_absent(site: Site) -> None:
    """... or the tag's name where it is absent; there is nothing then that a mask could shape."""
    assert site.path("/kept/#{10,20}/x") == "/kept/PatientID/x"
    assert site.path("/kept/#{10,20:0000-00}/x") == "/kept/PatientID/x"


@pytest.mark.parametrize(
    ("mask", "value", "shaped"),
    [
        ("0000-00", "123456", "1234-56"),
        ("0000-00-00", "20260131", "2026-01-31"),
        ("AAA", "abc", "ABC"),
        ("aaa", "ABC", "abc"),
        ("Aaaa", "sMITH", "Smit"),
        ("A00", "x-12", "X12"),
        ("???", "a-1", "a-1"),
        ("!!00", "9912", "12"),
        ("00`0`A", "12", "120A"),
        ("0``0", "12", "1`2"),
        ("(00)_x", "12", "(12)_x"),
    ],
)
def test_placeholders_with_a_mask_shape_the_value(site: Site, mask: str, value: str, shaped: str) -> None:
    """`#{g,e:mask}`: A upper-case letter, a lower-case, ? any, 0 digit, ! skip one input character, ` escape; other
    characters are literal: `#{10,20:0000-00}` turns 123456 into 1234-56."""
    assert site.path(f"/kept/#{{10,20:{mask}}}/x", ct(PatientID=value)) == f"/kept/{shaped}/x"


@pytest.mark.parametrize(
    "value",
    ["../../etc/passwd", "..", ".", "/etc", "a/../../b", "..\\..\\b", "a\0b", "a\nb", "\x1b[31m", "", " ", "/", "～/‮x"],
)
@pytest.mark.parametrize("written", ["#{10,4000}", "#{10,4000:??????????}", "#{10,4000}#{10,4000}", "x#{10,4000}"])
def test_placeholders_never_lead_out_of_the_target_folder(site: Site, value: str, written: str) -> None:
    """A placeholder's value can never leave the target folder (separators, .., control characters are replaced)."""
    utf8 = el(0x00080005, "CS", b"ISO_IR 192")
    header = header_from(ct().meta, utf8 + el(0x00104000, "LT", value.encode()))
    path = site.path(f"/kept/{written}/x", header)
    top, kept, folder, name = path.split("/")
    assert (top, kept, name) == ("", "kept", "x")
    assert folder.strip(".")
    assert folder.isprintable()
