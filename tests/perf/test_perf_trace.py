"""What trace.py measures is there: a day that `leyden trace` finds whole, and a search that misses is no figure."""

import importlib.util
import sys
import time
from pathlib import Path

import pytest

from leyden.journal import segments

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "perf"))

import peers

_specification = importlib.util.spec_from_file_location(
    "perf_trace", peers.HERE / "trace.py"
)  # the library has a trace, too
assert _specification is not None
assert _specification.loader is not None
perf_trace = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(perf_trace)


def test_a_day_is_written_indexed_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_MAX_BYTES", 64 << 10)
    root, count, begin_s = tmp_path / "cache", 600, time.time() - perf_trace.DAY_S
    assert perf_trace.write_day(root, count, begin_s) == 4 * count + count // 10
    closed = [each for each in segments.segments(str(root / "journal")) if each.closed_s < float("inf")]
    assert len(perf_trace.index_all(root)) == len(closed) > 10
    for words, objects in (
        ((perf_trace.uid(0, 300),), 1),
        (("--accession", "A1"), perf_trace.STUDY_OBJECTS),
        (("--study", perf_trace.uid(1, 1)), perf_trace.STUDY_OBJECTS),
        (("--receipt", perf_trace.receipt(300, count, begin_s)), 1),
    ):
        assert perf_trace.trace(tmp_path, root, True, words, objects, time.perf_counter) > 0
    with pytest.raises(peers.Failed, match="0 of 1 objects"):
        perf_trace.trace(tmp_path, root, False, (perf_trace.uid(0, count),), 1, time.perf_counter)
