"""nodes.yml changed for one node: nothing but its values, and never into what the service would refuse."""

import os
from pathlib import Path

import pytest

from leyden.console import node_file
from leyden.console.node_file import NotChanged, change, restore, written

NODES = """\
# the archive of the hospital
- AeTitle: PACS   # never rename it
  HostName: 10.0.0.5
  Port: 104       # since 2019
  Aliases: [OLD, OLDER]
- AeTitle: OTHER
  Port: 105
  Aliases:
    - OTHER1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nodes.yml").write_text(NODES)
    (tmp_path / "config.yml").write_text("myAeTitle: BOX\n")
    return tmp_path


def test_only_the_values_change(folder: Path) -> None:
    assert change(folder, "PACS", {"Port": 11112, "Aliases": ["NEW"], "Impersonate": True, "HostName": "fe80::1"})
    text = (folder / "nodes.yml").read_text()
    expected = NODES.replace("Port: 104 ", "Port: 11112 ").replace("[OLD, OLDER]", "[NEW]")
    expected = expected.replace("10.0.0.5", "'fe80::1'")
    expected = expected.replace("never rename it\n", "never rename it\n  Impersonate: true\n")
    assert text == expected
    assert (folder / "nodes.yml.before-api").read_text() == NODES
    restore(folder)
    assert (folder / "nodes.yml").read_text() == NODES


def test_what_it_says_already_is_not_written(folder: Path) -> None:
    before = os.stat(folder / "nodes.yml").st_ino
    assert not change(folder, "PACS", {"Port": 104})
    assert os.stat(folder / "nodes.yml").st_ino == before


@pytest.mark.parametrize(
    ("title", "values", "why"),
    [
        ("PACS", {"Port": 70000}, "must be a whole number from 1 to 65535"),
        ("PACS", {"TransferSyntax": "JPEG9000"}, "JPEG9000"),
        ("PACS", {"Aliases": ["OTHER"]}, "OTHER"),
        ("OTHER", {"Aliases": ["NEW"]}, "with an editor"),
        ("NONE", {"Port": 1}, "NONE"),
    ],
)
def test_what_would_be_refused_is_not_written(
    folder: Path, title: str, values: dict[str, node_file.Value], why: str
) -> None:
    with pytest.raises(NotChanged, match=why):
        change(folder, title, values)
    assert (folder / "nodes.yml").read_text() == NODES


def test_two_who_change_it_do_not_undo_each_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(_folder: Path, _content: bytes) -> list[str]:
        (folder / "nodes.yml").write_text(NODES + "# mine\n")
        return []

    monkeypatch.setattr(node_file, "_problems", meanwhile)
    with pytest.raises(NotChanged, match="somebody else"):
        change(folder, "PACS", {"Port": 11112})
    assert (folder / "nodes.yml").read_text().endswith("# mine\n")


def test_a_value_is_written_as_yaml() -> None:
    assert [written(each) for each in (True, 0, "A-1.b", "a: b", "it's", ["X", "Y Z"])] == [
        "true", "0", "A-1.b", "'a: b'", "'it''s'", "[X, 'Y Z']",
    ]  # fmt: skip
