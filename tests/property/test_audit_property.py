"""The chain of the audit log: whatever single thing is changed, removed, added or swapped, it is found."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.audit.chain import Link, opened, sealed
from leyden.audit.files import NAME
from leyden.audit.verify import Verified, verify

KEY = bytes(range(32))
bodies = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=40)
logs = st.lists(st.lists(bodies, min_size=1, max_size=6), min_size=1, max_size=4)


def lines_of(log: list[list[str]], key: bytes = KEY) -> tuple[list[list[bytes]], Link]:
    """The lines of each file, and the end of the chain."""
    end, made = Link(), []
    for texts in log:
        line, end = sealed(key, end, opened(key, end, 1.0))
        lines = [line]
        for text in texts:
            line, end = sealed(key, end, b'"event":"x","at_s":2.0,"text":"%b"' % text.encode())
            lines.append(line)
        made.append(lines)
    return made, end


def walked(contents: list[bytes], end: Link | None) -> Verified:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{NAME}.{number}") for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        return verify(KEY, paths, end=end)


def joined(made: list[list[bytes]]) -> list[bytes]:
    return [b"".join(lines) for lines in made]


@given(logs)
def test_what_was_written_is_found_to_be_so(log: list[list[str]]) -> None:
    """Any texts, over any number of files."""
    made, end = lines_of(log)
    said = walked(joined(made), end)
    assert said.fault is None
    assert (said.records, said.last, said.to_the_end) == (sum(map(len, log)), end.seq, True)


@settings(max_examples=300)
@given(logs, st.data())
def test_any_change_of_a_byte_is_found(log: list[list[str]], data: st.DataObject) -> None:
    """Any other byte in the place of any one, in the file in which it stands."""
    made, end = lines_of(log)
    contents = joined(made)
    number = data.draw(st.integers(0, len(contents) - 1))
    place = data.draw(st.integers(0, len(contents[number]) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != contents[number][place]))
    changed = bytearray(contents[number])
    changed[place] = byte
    contents[number] = bytes(changed)
    fault = walked(contents, end).fault
    assert fault is not None
    assert fault.file.endswith(f"{NAME}.{number}")
    assert fault.line == contents[number][:place].count(b"\n") + 1 or byte == 10


@settings(max_examples=300)
@given(logs, st.data())
def test_any_line_that_is_removed_repeated_or_moved_is_found(log: list[list[str]], data: st.DataObject) -> None:
    """Within a file and from one to another, the first and the last one too."""
    made, end = lines_of(log)
    places = st.sampled_from([(file, line) for file, lines in enumerate(made) for line in range(len(lines))])
    (file, line), (to_file, to_line) = data.draw(places), data.draw(places)
    how = data.draw(st.sampled_from(["removed", "repeated", "swapped"]))
    if how == "removed":
        del made[file][line]
    elif how == "repeated":
        made[to_file].insert(to_line, made[file][line])
    else:
        made[file][line], made[to_file][to_line] = made[to_file][to_line], made[file][line]
    fault = walked(joined(made), end).fault
    assert (fault is None) == (how == "swapped" and (file, line) == (to_file, to_line))


@given(logs, bodies, st.data())
def test_a_record_of_another_log_of_ours_is_found(log: list[list[str]], text: str, data: st.DataObject) -> None:
    """Such as a backup that was gone on with: its records have right numbers, and MACs by the right key."""
    made, end = lines_of(log)
    other, _ = lines_of([[f"{text} other", *texts[1:]] for texts in log])
    file = data.draw(st.integers(0, len(made) - 1))
    line = data.draw(st.integers(1 if file == 0 else 0, len(made[file]) - 1))
    made[file][line] = other[file][line]
    fault = walked(joined(made), end).fault
    assert fault is not None
    assert fault.what == "changed"


@given(logs, st.integers(1, 200))
def test_any_end_that_is_cut_off_is_found(log: list[list[str]], cut_bytes: int) -> None:
    """If it is known from elsewhere where the chain ends."""
    made, end = lines_of(log)
    contents = joined(made)
    contents[-1] = contents[-1][: max(0, len(contents[-1]) - cut_bytes)]
    fault = walked(contents, end).fault
    assert fault is not None
    assert fault.file.endswith(f"{NAME}.{len(contents) - 1}")


@given(logs, st.binary(min_size=32, max_size=32).filter(lambda key: key != KEY))
def test_a_log_that_was_written_with_another_key_is_found(log: list[list[str]], key: bytes) -> None:
    """Nobody without the key can write a log that is taken for ours."""
    made, _ = lines_of(log, key)
    assert walked(joined(made), None).fault is not None
