"""Numbers are put into the YAML files, and nothing else in them changes."""

from pathlib import Path

import pytest

from leyden.tune.write import KEPT, NotWritten, changed, replace_all, replace_file, with_keys, with_nodes_keys

CONFIG = """\
# config of the north wing
scpPort: 104          # as the modalities have it
"workers": 2   # of 8 cores

filters: [ route , mutate ]
api: {enabled: false}
# the end
"""
NODES = """\
# both archives
- AeTitle: PACS    # main
  Port: 104
  MaxAssociations: 4  # asked for by the vendor
- Port: 11112
  aetitle: 'OTHER'
  NodeRole: Storage
"""


def test_values_are_replaced_in_their_places() -> None:
    made = with_keys(CONFIG.encode(), {"workers": 16, "arenaMib": 960}).decode()
    assert made == CONFIG.replace('"workers": 2 ', '"workers": 16 ') + "arenaMib: 960\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "workers: 3\n"),
        ("# nothing yet\n", "# nothing yet\nworkers: 3\n"),
        ("scpPort: 1", "scpPort: 1\nworkers: 3\n"),
        ("WORKERS: 1", "WORKERS: 3"),
        ("workers:\nscpPort: 1\n", "workers: 3\nscpPort: 1\n"),
        ("workers: # all\n", "workers: 3 # all\n"),
        ("workers: '2'\n", "workers: 3\n"),
        ("  scpPort: 1\n", "  scpPort: 1\n  workers: 3\n"),
        ("scpPort: 1\r\n# a\r\n", "scpPort: 1\r\n# a\r\nworkers: 3\r\n"),
        ("\ufeffscpPort: 1\r\nworkers: 2\r\n", "\ufeffscpPort: 1\r\nworkers: 3\r\n"),
        ("\ufeff", "\ufeffworkers: 3\n"),
        ("café: ü\nworkers: 1\n", "café: ü\nworkers: 3\n"),
    ],
)
def test_line_ends_marks_and_blanks_stay(before: str, after: str) -> None:
    assert with_keys(before.encode(), {"workers": 3}).decode() == after


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"workers: [1, 2]\n", "more than a number"),
        (b"- a\n", "KEY: VALUE"),
        (b"{workers: 2}\n", "KEY: VALUE"),
        (b"a: b: c\n", "can't be read"),
        (b"\xff\xfe", "can't be read"),
    ],
)
def test_what_cant_be_changed_is_told(content: bytes, why: str) -> None:
    with pytest.raises(NotWritten, match=why):
        with_keys(content, {"workers": 3})


def test_nodes_get_their_key_behind_the_title() -> None:
    made = with_nodes_keys(NODES.encode(), "MaxAssociations", {"PACS": 8, "OTHER": 12}).decode()
    assert made == NODES.replace("MaxAssociations: 4 ", "MaxAssociations: 8 ").replace(
        "  aetitle: 'OTHER'\n", "  aetitle: 'OTHER'\n  MaxAssociations: 12\n"
    )


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_of_nodes(end: str) -> None:
    before = f"\ufeff- AeTitle: PACS{end}  Port: 104{end}- AeTitle: OTHER"
    made = with_nodes_keys(before.encode(), "MaxAssociations", {"PACS": 8, "OTHER": 9}).decode()
    assert made == (
        f"\ufeff- AeTitle: PACS{end}  MaxAssociations: 8{end}  Port: 104{end}- AeTitle: OTHER{end}  MaxAssociations: 9"
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"- {AeTitle: PACS, Port: 104}\n", "braces"),
        (b"- AeTitle: OTHER\n", "no node has the AE title PACS"),
        (b"", "not a list"),
        (b"AeTitle: PACS\n", "not a list"),
    ],
)
def test_nodes_that_cant_be_changed_are_told(content: bytes, why: str) -> None:
    with pytest.raises(NotWritten, match=why):
        with_nodes_keys(content, "MaxAssociations", {"PACS": 8})


def test_the_old_file_is_kept_beside_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("old")
    path.chmod(0o640)
    replace_file(path, b"new")
    replace_file(path, b"newer")
    assert path.read_text() == "newer"
    assert path.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / f"config.yml{KEPT}").read_text() == "new"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["config.yml", f"config.yml{KEPT}"]


def test_all_files_are_replaced_or_none(tmp_path: Path) -> None:
    (tmp_path / "nodes.yml").write_text("old")

    def refuse() -> None:
        assert (tmp_path / "nodes.yml").read_text() == "new"
        raise ValueError("no")

    new = {"nodes.yml": b"new", "config.yml": b"new"}
    with pytest.raises(ValueError, match="no"):
        replace_all(tmp_path, new, refuse)
    assert [each.name for each in tmp_path.iterdir()] == ["nodes.yml"]
    assert (tmp_path / "nodes.yml").read_text() == "old"
    assert replace_all(tmp_path, new, lambda: None) == {"nodes.yml": f"nodes.yml{KEPT}"}
    assert (tmp_path / "config.yml").stat().st_mode & 0o777 == 0o600


def test_only_files_that_differ_are_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    assert changed(tmp_path, {"a": lambda old: old, "b": lambda old: old + b"2"}) == {"b": b"2"}
