"""What `leyden audit show` prints, of texts that peers have given."""

import subprocess
import sys
from pathlib import Path

import msgspec

from leyden.audit import files
from support.audited import delivered, keep, tell


def test_a_title_forges_no_line_and_moves_no_cursor(tmp_path: Path) -> None:
    tell(tmp_path, [msgspec.structs.replace(delivered(1), calling="A\x1b[2J\n9  forged")])
    keep(tmp_path)
    (tmp_path / "config.yml").write_text("scpPort: 11112\n")
    (tmp_path / "nodes.yml").write_text("[]\n")
    command = [sys.executable, "-m", "leyden", "audit", "show", "--path", tmp_path, tmp_path / "log" / files.NAME]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "\x1b" not in shown
    assert not any(line.startswith("9  forged") for line in shown.splitlines())
    assert "calling=A\\x1b[2J" in shown
