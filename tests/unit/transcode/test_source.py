"""Opening an object: a deflated dataset is inflated completely, up to a limit."""

import zlib
from pathlib import Path

import pytest

from leyden.transcode import source as source_module
from leyden.transcode.source import CHUNK_BYTES, Source, _inflated
from support.objects import real


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("level", [1, 9])
def test_the_output_that_zlib_holds_back_at_the_end_is_not_lost(chunks: int, level: int) -> None:
    for more in range(0, 300, 7):
        data = bytes(chunks * CHUNK_BYTES + more)
        deflate = zlib.compressobj(level, wbits=-zlib.MAX_WBITS)
        deflated = deflate.compress(data) + deflate.flush()
        halves = iter((deflated[: len(deflated) // 2], deflated[len(deflated) // 2 :]))
        assert b"".join(_inflated(halves, 1 << 30)) == data


def test_a_deflated_dataset_may_take_only_a_share_of_the_free_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deflated.dcm"
    path.write_bytes(real("image_dfl.dcm").read_bytes())
    whole = Source(path)
    assert not whole.flaw
    whole.close()
    monkeypatch.setattr(source_module, "FREE_SHARE", 1 << 60)
    bounded = Source(path)
    assert "a deflated dataset of more than" in bounded.flaw
    bounded.close()
    assert list(tmp_path.iterdir()) == [path]
