"""A spool that others can come into, or that is another user's, is refused with the remedy."""

import os
from pathlib import Path

import pytest

from leyden.errors import Unsafe
from leyden.spool.guarded import check_owner, check_rights

MISSING = Path("/still/to/be/made")


@pytest.mark.parametrize("mode", [0o701, 0o704, 0o702, 0o710, 0o740, 0o720, 0o755, 0o777, 0o1777])
def test_a_spool_that_others_have_rights_to_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(Unsafe, match=rf"\(mode {mode:04o}\).*chmod 700 {tmp_path}"):
        check_rights(tmp_path, MISSING, MISSING)


@pytest.mark.parametrize("mode", [0o700, 0o2700, 0o500])
def test_a_spool_of_its_owner_alone_is_taken(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    for spool in (tmp_path, MISSING):
        check_rights(spool, MISSING, MISSING)
        check_owner(spool)


def test_a_spool_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(Unsafe, match=r"but the service runs as user 4242.*chown -R 4242:\d+ "):
        check_owner(tmp_path)


def test_a_folder_that_everyone_may_write_into_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    check_rights(MISSING, tmp_path, tmp_path)
    tmp_path.chmod(0o757)
    with pytest.raises(Unsafe, match=rf"into {tmp_path}, the log. Remedy: chmod o-w {tmp_path}"):
        check_rights(MISSING, MISSING, tmp_path)
    with pytest.raises(Unsafe, match=rf"into {tmp_path}, the configuration"):
        check_rights(MISSING, tmp_path, MISSING)
