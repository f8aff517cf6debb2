"""Files for TLS are read when they change, and wrong ones never replace good ones."""

import logging
import os
from pathlib import Path

import pytest

from leyden.net.certificates import BadFile
from leyden.net.trust import Contexts, Files, client_context
from support.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def files_of(authority: Authority, stem: str = "own") -> Files:
    own = authority.signed(stem)
    return Files(str(authority.path), str(own.certificate), str(own.key))


def test_a_context_is_kept_until_a_file_changes(authority: Authority) -> None:
    contexts, files = Contexts(), files_of(authority)
    first = contexts.current(files, "PACS")
    assert contexts.current(files, "PACS") is first
    new = authority.signed("new")
    os.replace(new.certificate, files.certificate)
    os.replace(new.key, files.key)
    second = contexts.current(files, "PACS")
    assert second is not first
    assert contexts.current(files, "PACS") is second


def test_wrong_new_files_are_told_once_and_the_old_ones_stay(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    contexts, files = Contexts(), files_of(authority)
    first = contexts.current(files, "PACS")
    Path(files.authorities).write_text("half a fi")
    with caplog.at_level(logging.ERROR):
        assert [contexts.current(files, "PACS") for _ in range(3)] == [first] * 3
    (record,) = caplog.records
    assert record.getMessage().startswith("PACS: the changed files for TLS are not used, and those from before stay: ")
    os.unlink(files.authorities)
    assert contexts.current(files, "PACS") is first


def test_files_that_never_were_right_are_an_error_each_time(authority: Authority) -> None:
    contexts, files = Contexts(), files_of(authority)
    os.unlink(files.key)
    for _ in range(2):
        with pytest.raises(BadFile, match=r"own\.key: No such file"):
            contexts.current(files, "PACS")


def test_two_nodes_with_the_same_files_share_a_context(authority: Authority) -> None:
    contexts, files = Contexts(), files_of(authority)
    assert contexts.current(files, "PACS") is contexts.current(Files(*vars_of(files)), "OTHER")


def vars_of(files: Files) -> tuple[str, ...]:
    return files.authorities, files.certificate, files.key, files.revocation_lists


def test_nothing_older_than_tls_1_2_and_never_without_a_check() -> None:
    context = client_context(Files())
    assert context.minimum_version.name == "TLSv1_2"
    assert (context.check_hostname, context.verify_mode.name) == (True, "CERT_REQUIRED")
