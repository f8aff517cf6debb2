"""A machine with too little memory is told of at the start. What other faults of it do: tests/chaos."""

from pathlib import Path

import pytest

from support.service import ENDS_WITHIN_S, Service, node


def test_an_arena_larger_than_the_memory_is_refused_at_start(tmp_path: Path) -> None:
    """`not started`, exit code 2: "`arenaMib` is larger than the memory" (docs/troubleshoot.md).
    If it were taken page by page, the kernel would kill some process instead."""
    service = Service(tmp_path / "leyden", node("ASIS", 1), arenaMib=1_048_576)
    with pytest.raises(AssertionError, match=r"no memory for the arena of 1048576 MiB.*lower arenaMib"):
        service.start()
    assert service.process is not None
    assert service.process.wait(ENDS_WITHIN_S) == 2
