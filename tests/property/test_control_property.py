"""Whatever stands in a file of control/, nobody stops because of it, and what was ordered before it holds."""

import tempfile
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from leyden.spool.control import Control, Controls, Order, change

ORDERS = st.builds(
    Order,
    st.text(max_size=20),
    st.floats(0, 4e9),
    st.one_of(st.just(0.0), st.floats(0, 4e9)),
    st.text(max_size=50),
)
CONTROLS = st.builds(Control, st.none() | ORDERS, st.none() | ORDERS)
CONTENTS = st.one_of(
    st.binary(max_size=200),
    CONTROLS.map(msgspec.json.encode),
    st.tuples(CONTROLS.map(msgspec.json.encode), st.integers(0, 200)).map(lambda cut: cut[0][: cut[1]]),
)


@given(st.lists(st.one_of(CONTROLS, CONTENTS), max_size=8))
def test_a_reader_knows_what_was_ordered_last_and_could_be_read(contents: list[Control | bytes]) -> None:
    """Orders and any other bytes in turn: the reader has the last one that is an order."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        seen, known = Controls(root), Control()
        for content in contents:
            if isinstance(content, bytes):
                (root / "control").mkdir(exist_ok=True)
                making = root / "control" / "new"
                making.write_bytes(content)
                making.rename(root / "control" / "PACS.json")
                try:
                    known = msgspec.json.decode(content, type=Control)
                except msgspec.MsgspecError:
                    assert seen.of("PACS") == known
                    assert seen.errors()
                    continue
            else:
                known = change(root, "PACS", lambda _, content=content: content)
            assert seen.of("PACS") == known
            assert not seen.errors()
