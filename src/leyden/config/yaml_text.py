"""YAML as texts with places: no scalar is ever turned into a number, a date or a truth value.

Loading is safe and bounded: no tags, no anchors, no aliases, no two equal keys, limited size and depth. Some values
that strict YAML refuses or loses can mean only one thing (`$1_:timestamp:`, `*CT*`, `[0-9]+`, `#{2,2}`): they are read
as text up to the end of the line. What could mean two things is an error that says what to write.
"""

import re
from bisect import bisect
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

SIZE_LIMIT_BYTES = 4 << 20
DEPTH_LIMIT = 24
ERRORS_MAX = 50  # told of one file; the others are told once these are mended

_KEY = r"[\w.,]+(?:\[[0-9*]+\][\w.,]+)*"  # of cases.yml, too: 0008,0060 or 0040,0275[1].0040,0009
_HEAD = re.compile(rf"""(?P<head>\s*(?:-\s+)*(?:["']?{_KEY}["']?\s*:\s+)?)(?P<rest>\S.*?)\s*""")
_COMMENT = re.compile(r"\s#(?!\{[0-9A-Fa-f]{1,4},)")  # but #{10,20} is a placeholder
_LOST = re.compile(r"[ \t]+#\{[0-9A-Fa-f]{1,4},")
_REMEDIES = (  # what PyYAML says -> what to do about it; the first that fits
    ("found character '\\t'", "a tab; indent with blanks"),
    ("found character '%'", "a text that begins with % belongs in single quotes"),
    ("found character '@'", "a text that begins with @ belongs in single quotes"),
    ("found character '`'", "a text that begins with ` belongs in single quotes"),
    ("unknown escape character", r"in double quotes \ is special; put the text in single quotes"),
    ("while scanning a quoted scalar", "a quote that is never closed"),
    ("while parsing a flow", "a [ or { that is not closed; if it is part of a text, put that in single quotes"),
    ("while scanning an alias", "a text that begins with * belongs in single quotes"),
    ("while scanning an anchor", "a text that begins with & belongs in single quotes"),
    ("while scanning a tag", "a text that begins with ! belongs in single quotes"),
    ("while scanning a block scalar", "a text that begins with | or > belongs in single quotes"),
    ("mapping values are not allowed", "a colon where none may be; use single quotes, or mend the indentation"),
    ("sequence entries are not allowed", "a list begins on its own line; for a text with a dash use single quotes"),
    ("could not find expected ':'", "a key without a colon and a blank after it; write KEY: VALUE"),
    ("expected <block end>", "this does not continue what stands above: check indentation, dashes and closing quotes"),
    ("expected the node content", "a text that begins with a special character belongs in single quotes"),
)  # fmt: skip
_BEGUN_EARLIER = (
    "quoted scalar",
    "parsing a flow",
    "simple key",
)  # errors to be told where the thing begins, not where the parser stopped


class At(msgspec.Struct, frozen=True, order=True):
    """Where something is given: a file and its line; or a whole file, an environment variable or a switch (line 0)."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


NOWHERE = At("default")


class Text(str):
    """A scalar as it was written. `quoted`: it stood in quotes or in a block, so an empty one is meant to be empty."""

    at: At
    quoted: bool

    def __new__(cls, text: str, at: At, quoted: bool = False) -> "Text":
        made = super().__new__(cls, text)
        made.at, made.quoted = at, quoted
        return made

    @property
    def blank(self) -> bool:
        """Whether nothing stands here (as in `Port:`)."""
        return not self.quoted and self in ("", "~", "null", "Null", "NULL")


class Items(list["Node"]):
    """A sequence. `source`: what was written from [ to ], if that could have been meant as text; else empty."""

    def __init__(self, at: At, source: str = "") -> None:
        super().__init__()
        self.at, self.source = at, source


class Entries(dict[Text, "Node"]):
    """A mapping. `source` as in Items, for { }."""

    def __init__(self, at: At, source: str = "") -> None:
        super().__init__()
        self.at, self.source = at, source


Node = Text | Items | Entries


class YamlError(Exception):
    """What is wrong in a file, and what to write instead. `more`: its other errors. `rest`: what could be read."""

    def __init__(
        self, at: At, message: str, more: "tuple[YamlError, ...]" = (), rest: "Items | Entries | None" = None
    ) -> None:
        super().__init__(message)
        self.at, self.more, self.rest = at, more, rest


def parse(data: bytes, file: str) -> Node | None:
    """The document in `data`; None if it is empty.

    Raises YamlError with the errors of all entries of the outermost list or mapping: none hides another.
    """
    lines = _decoded(data, file).split("\n")
    node, errors = None, list[YamlError]()
    try:
        node, errors = _read(lines, file)
    except YamlError as error:
        node, errors = _by_entries(lines, file, error)
    if errors:
        first, *more = errors
        rest = None if isinstance(node, Text) else node
        raise YamlError(first.at, str(first), tuple(more), rest)
    return node


def _by_entries(lines: list[str], file: str, trouble: YamlError) -> tuple[Node | None, list[YamlError]]:
    """Leave out each entry that cannot be read: what is left of the document, and what is wrong with those left out.

    An entry that can be read alone, but not behind the ones above it, is told too. What only follows from an earlier
    mistake (a quote that the next quote closes) is not told. `trouble` is why the document cannot be read as a whole.
    """
    pieces = _Pieces(lines, file)
    parts: list[Node] = []
    errors: list[YamlError] = []
    number = 0
    while number < len(pieces) and len(errors) < ERRORS_MAX:
        number, found, stopped_by = pieces.longest(number)
        if found is not None:
            part, repeated = found
            errors += repeated
            if part is not None:
                parts.append(part)
        if number < len(pieces):
            errors += pieces.wrong_alone(number) or [stopped_by or trouble]
            number += 1
    return _joined(parts, errors), errors or [trouble]


class _Pieces:
    """The outermost entries of a document, to be read some at a time; each keeps its lines of the file."""

    def __init__(self, lines: list[str], file: str) -> None:
        self._lines, self._file = lines, file
        entries = _entries(lines)
        self._proper = list(entries.values())
        self._begins = [*entries, len(lines)]

    def __len__(self) -> int:
        return len(self._proper)

    def _read(self, low: int, high: int) -> tuple[Node | None, list[YamlError]]:
        """The entries from `low` up to `high`. Raises YamlError."""
        begin = self._begins[low] if low else 0
        return _read([""] * begin + self._lines[begin : self._begins[high]], self._file)

    def longest(self, low: int) -> tuple[int, tuple[Node | None, list[YamlError]] | None, YamlError | None]:
        """Read as many entries from `low` on as can be read together.

        Gives the number of the next entry, what was read (None = nothing), and the error that the next entry makes.
        """
        high, error = len(self) if self._proper[low] else low, None
        while low < high:
            try:
                return high, self._read(low, high), error
            except YamlError as found:
                error = found
                at_fault = bisect(self._begins, found.at.line - 1) - 1
                high = max(low, min(high - 1, at_fault))
        return low, None, error

    def wrong_alone(self, number: int) -> list[YamlError]:
        """What is wrong with one entry, whatever stands around it."""
        if not self._proper[number]:
            at = At(self._file, self._begins[number] + 1)
            return [YamlError(at, "an entry of a list begins with a dash and a blank")]
        try:
            self._read(number, number + 1)
        except YamlError as own:
            return [*own.more, own]
        return []


def _entries(lines: list[str]) -> dict[int, bool]:
    """The lines (counted from 0) in which the entries of the outermost list or mapping begin -> whether they may.

    False: in a list, a line as far out as the dashes, but without one. The lines that follow it belong to it.
    """
    found: dict[int, bool] = {}
    column, listed, proper = -1, False, True
    for number, line in enumerate(lines):
        text = line.lstrip(" ")
        if not text or text[0] in "#]}\t" or (column < 0 and (text[0] == "%" or text.startswith("---"))):
            continue
        if column < 0:
            column, listed = len(line) - len(text), text[0] == "-"
        dash = text == "-" or text.startswith("- ")
        if len(line) - len(text) <= column and (dash or proper if listed else not dash):
            found[number] = proper = dash or not listed
    return found


def _joined(parts: list[Node], errors: list[YamlError]) -> Node | None:
    """The parts that could be read as one document, of the kind of the first list or mapping among them."""
    whole = next((part for part in parts if not isinstance(part, Text)), None)
    for part in parts[parts.index(whole) + 1 :] if whole is not None else ():
        if isinstance(whole, Items) and isinstance(part, Items):
            whole += part
        elif isinstance(whole, Entries) and isinstance(part, Entries):
            for key, value in part.items():
                present = next((given for given in whole if given.casefold() == key.casefold()), None)
                if present is None:
                    whole[key] = value
                else:
                    errors.append(_given_twice(key, present.at.line))
    return whole


def _given_twice(key: Text, first_line: int) -> YamlError:
    return YamlError(key.at, f"{key} is given twice (first in line {first_line})")


def _read(lines: list[str], file: str) -> tuple[Node | None, list[YamlError]]:
    """The document, and an error for each key that is given twice. Raises YamlError."""
    try:
        return _document(list(lines), file, ahead=True)
    except _Overreached:
        return _document(list(lines), file, ahead=False)


def _document(lines: list[str], file: str, *, ahead: bool) -> tuple[Node | None, list[YamlError]]:
    """Read; quote the value of the line that stops the reader, where that can help; read again.

    `ahead`: with the first such line mend all that would stop it later, or a file with a thousand of them would be read
    a thousand times.
    """
    mended: set[int] = set()
    guessed: set[int] = set()
    while True:
        reader = _Reader("\n".join(lines), file, guessed)
        try:
            return reader.document(), reader.repeated
        except YamlError as error:
            raise YamlError(error.at, str(error), tuple(reader.repeated)) from None
        except _Repairable as trouble:
            better = _quoted_rest(lines[trouble.line]) if trouble.line not in mended | guessed else None
            if better is None:
                raise YamlError(At(file, trouble.line + 1), trouble.message, tuple(reader.repeated)) from None
            lines[trouble.line] = better
            if ahead and not mended:
                for n in range(trouble.line + 1, len(lines)):
                    if _hopeless(lines[n]):
                        lines[n] = _quoted_rest(lines[n]) or lines[n]
                        guessed.add(n)
            mended.add(trouble.line)


class _Overreached(Exception):
    """A line that was mended ahead is part of a text of several lines: nothing was wrong with it."""


class _Repairable(Exception):
    """A line (counted from 0) that stops the reader; quotes around its value may help."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line, self.message = line, message


def _decoded(data: bytes, file: str) -> str:
    if len(data) > SIZE_LIMIT_BYTES:
        raise YamlError(At(file), f"larger than {SIZE_LIMIT_BYTES >> 20} MiB: not a configuration file")
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise YamlError(At(file, line), "not UTF-8; save the file in that encoding") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    odd = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if odd:
        line = text.count("\n", 0, odd.start()) + 1
        raise YamlError(At(file, line), f"a control character (code {ord(odd[0])}); remove it")
    return text if text.endswith("\n") else text + "\n"


def _quoted_rest(line: str) -> str | None:
    """The line with its value in single quotes, if nothing else can have been meant; else None."""
    head, text = _parts(line)
    if not text:
        return None
    opens_like_text = text[0] in "*%@`|>,]}?" or (text[0] in "[{" and _balanced(text))
    if opens_like_text or _has_odd_colon(text) or "#{" in text:
        return head + "'" + text.replace("'", "''") + "'"
    return None


def _hopeless(line: str) -> bool:
    """Whether YAML must refuse or lose the line's value, unless the line is part of a longer text."""
    head, text = _parts(line)
    if not text or text[0] in "\"'":
        return False
    in_flow = ", " in text or text[-1] in ",]}"  # perhaps: within a [ or { of several lines
    alone = head.rstrip().endswith(":") and not in_flow
    closed_early = text[0] in "[{" and text[-1] not in "]}" and not set(text) & set("\"',") and _balanced(text)
    return text[0] in "*%@`" or closed_early or (alone and _has_odd_colon(text)) or bool(_LOST.search(" " + text))


def _parts(line: str) -> tuple[str, str]:
    """(dashes and key, value without its comment) of a line; both empty if it has neither dash nor key."""
    parts = _HEAD.fullmatch(line)
    if parts is None or not parts["head"].strip():
        return "", ""
    rest = parts["rest"]
    comment = _COMMENT.search(" " + rest)
    return parts["head"], rest[: comment.start()].rstrip() if comment else rest


def _has_odd_colon(text: str) -> bool:
    return text[0] not in "\"'&![{" and not text.startswith("- ") and (": " in text or text.endswith(":"))


def _balanced(text: str) -> bool:
    return all(text.count(opening) == text.count(closing) for opening, closing in ("[]", "{}"))


class _Reader:
    """One pass over the parser's events of a document. `guessed` are the lines that were mended ahead."""

    def __init__(self, text: str, file: str, guessed: set[int]) -> None:
        self._text, self._file, self._guessed = text, file, guessed
        self.repeated: list[YamlError] = []
        self._anchors: set[str] = set(re.findall(r"[\s\[{,]&([\w-]+)", text))

    def document(self) -> Node | None:
        events = self._events()
        node: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if node is not None:
                    raise YamlError(self._at(event), "a second document (---); one file holds one")
                node = self._node(next(events), events, 0)
        return None if isinstance(node, Text) and node.blank else node

    def _events(self) -> Iterator[Any]:
        try:
            yield from yaml.parse(self._text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            said = f"{error.context or ''} {error.problem or ''}".strip()
            remedy = next((remedy for sign, remedy in _REMEDIES if sign in said), said)
            last = self._text.rstrip().count("\n")
            line = error.problem_mark.line if error.problem_mark else last + 1
            opening = error.context_mark.line if error.context_mark else line
            if line > last or (line > opening and any(sign in said for sign in _BEGUN_EARLIER)):
                raise YamlError(At(self._file, min(opening, last) + 1), remedy) from None
            raise _Repairable(line, remedy) from None

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        line = event.start_mark.line
        if depth > DEPTH_LIMIT:
            raise YamlError(self._at(event), f"nested more than {DEPTH_LIMIT} deep")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _Repairable(line, "a text that begins with * belongs in single quotes")
            raise YamlError(self._at(event), "aliases (*name) are not taken; write it out, or use single quotes")
        if event.anchor is not None:
            raise YamlError(self._at(event), "anchors (&name) are not taken; write it out, or use single quotes")
        if event.tag is not None:
            raise YamlError(self._at(event), "tags (!name) are not taken; put the text in single quotes")
        if isinstance(event, yaml.ScalarEvent):
            return self._text_of(event)
        ends = yaml.SequenceEndEvent if isinstance(event, yaml.SequenceStartEvent) else yaml.MappingEndEvent
        node: Items | Entries = (Items if ends is yaml.SequenceEndEvent else Entries)(self._at(event))
        keys: dict[str, int] = {}
        while not isinstance(inner := next(events), ends):
            if isinstance(node, Items):
                node.append(self._node(inner, events, depth + 1))
                continue
            key = self._node(inner, events, depth + 1)
            if not isinstance(key, Text):
                raise YamlError(self._at(inner), "a key must be a plain word; put a text with [ or { in single quotes")
            value = self._node(next(events), events, depth + 1)
            if key.casefold() in keys:
                self.repeated.append(_given_twice(key, keys[key.casefold()]))
                continue
            keys[key.casefold()] = key.at.line
            node[key] = value
        end: Any = inner.end_mark
        if event.flow_style and line == end.line:
            source = self._text[event.start_mark.index : end.index]
            node.source = source if not set(source) & set("\"'") else ""
        return node

    def _text_of(self, event: Any) -> Text:
        line, last = event.start_mark.line, event.end_mark.line - (event.end_mark.column == 0)
        if self._guessed and any(n in self._guessed for n in range(line + 1, last + 1)):
            raise _Overreached
        if event.style is None and line == event.end_mark.line:
            end = self._text.find("\n", event.end_mark.index)
            after = self._text[event.end_mark.index : end if end >= 0 else None]
            if _LOST.match(after):
                raise _Repairable(line, "#{ begins a comment here; put the text in single quotes")
        return Text(event.value, self._at(event), quoted=event.style is not None)

    def _at(self, event: Any) -> At:
        return At(self._file, event.start_mark.line + 1)
