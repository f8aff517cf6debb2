"""Puts numbers into a YAML file and changes nothing else in it: comments, order, quotes, line ends, a byte order mark.

PyYAML says where a key and its value stand; only the characters of the value are replaced. What is absent is added in a
line of its own. Pure, but for replace_file().
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

KEPT = ".before-tune"
_MARK = "\ufeff"
_SUBTREES = (yaml.MappingNode, yaml.SequenceNode)


class NotWritten(Exception):
    """The file can't be changed in this way; the text says why."""


def with_keys(content: bytes, values: Mapping[str, int | str]) -> bytes:
    """config.yml with these values. Keys are found in any case; absent ones are added at the end.

    Raises NotWritten.
    """
    text, mark, root = _composed(content)
    if root is None:
        return _encoded(text + _added(text, values, 0), mark)
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise NotWritten("it is not a list of KEY: VALUE lines")
    edits, absent = _edits(root, values)
    return _encoded(_edited(text, edits) + _added(text, absent, root.start_mark.column), mark)


def with_nodes_keys(content: bytes, key: str, values: Mapping[str, int | str]) -> bytes:
    """nodes.yml with `key` set for the nodes of these AE titles; where it is absent, it follows the title.

    Raises NotWritten.
    """
    text, mark, root = _composed(content)
    if not isinstance(root, yaml.SequenceNode) or root.flow_style:
        raise NotWritten("it is not a list of nodes")
    edits: list[tuple[int, int, str]] = []
    left = dict(values)
    for node in root.value:
        title = _value(node, "AeTitle") if isinstance(node, yaml.MappingNode) else None
        if title is None or title[1].value not in left:
            continue
        name, value = title
        number = left.pop(value.value)
        if node.flow_style:
            raise NotWritten(f"the node {value.value} stands in braces")
        found, absent = _edits(node, {key: number})
        edits += found
        if absent:
            end = text.find("\n", value.end_mark.index)
            end = len(text) if end < 0 else end + 1
            line = f"{' ' * name.start_mark.column}{key}: {number}"
            newline = _newline(text)
            edits.append((end, end, line + newline if end and text[end - 1] == "\n" else newline + line))
    if left:
        raise NotWritten(f"no node has the AE title {', '.join(left)}")
    return _encoded(_edited(text, edits), mark)


def replace_file(path: Path, content: bytes, ending: str = KEPT) -> None:
    """Put `content` in the place of a file, whole or not at all; the old one is kept beside it, with this `ending`.

    The new one has its mode, and its owner if we may give that. OSError.
    """
    new = path.with_name(f"{path.name}.new")
    kept = path.with_name(path.name + ending)
    try:
        status = path.stat()
    except FileNotFoundError:
        status = None
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        if status is not None:
            os.fchmod(fd, status.st_mode & 0o7777)
            if os.geteuid() == 0:
                os.fchown(fd, status.st_uid, status.st_gid)
        os.fsync(fd)
    if status is not None:
        kept.unlink(missing_ok=True)
        os.link(path, kept)
    os.replace(new, path)


def _composed(content: bytes) -> tuple[str, str, yaml.Node | None]:
    """The text, the byte order mark before it, and where everything stands in it. Raises NotWritten."""
    try:
        text = content.decode("utf-8")
        mark = _MARK if text.startswith(_MARK) else ""
        text = text[len(mark) :]
        return text, mark, yaml.compose(text, yaml.SafeLoader)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise NotWritten(f"it can't be read: {error}") from None


def _encoded(text: str, mark: str) -> bytes:
    return (mark + text).encode()


def _value(node: yaml.MappingNode, key: str, *, listed: bool = False) -> tuple[yaml.Node, yaml.Node] | None:
    """A key in any case, and its value; None if it is absent. Raises NotWritten for a value that is no scalar, but for
    a list in brackets where it is to be `listed`."""
    for name, value in node.value:
        if isinstance(name, yaml.ScalarNode) and name.value.lower() == key.lower():
            if isinstance(value, _SUBTREES) and not (
                listed and isinstance(value, yaml.SequenceNode) and value.flow_style
            ):
                raise NotWritten(
                    f"{name.value} holds more than a number" if not listed else f"{name.value} has many lines"
                )
            return name, value
    return None


def _edits(
    node: yaml.MappingNode, values: Mapping[str, int | str]
) -> tuple[list[tuple[int, int, str]], dict[str, int | str]]:
    """What to replace, as (begin, end, text), and the values whose keys are absent."""
    edits, absent = [], {}
    for key, number in values.items():
        found = _value(node, key, listed=str(number).startswith("["))
        if found is None:
            absent[key] = number
            continue
        _, value = found
        begin, end = value.start_mark.index, value.end_mark.index
        edits.append((begin, end, str(number) if begin < end else f" {number}"))
    return edits, absent


def _edited(text: str, edits: list[tuple[int, int, str]]) -> str:
    for begin, end, new in sorted(edits, reverse=True):
        text = text[:begin] + new + text[end:]
    return text


def _added(text: str, values: Mapping[str, int | str], column: int) -> str:
    """Lines for the end of the text."""
    newline = _newline(text)
    begin = newline if values and text and not text.endswith("\n") else ""
    return begin + "".join(f"{' ' * column}{key}: {number}{newline}" for key, number in values.items())


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def restore_file(path: Path, content: bytes | None, ending: str = KEPT) -> None:
    """Take back what replace_file() did: the file that was kept, or none. OSError."""
    if content is None:
        path.unlink()
    else:
        os.replace(path.with_name(path.name + ending), path)


def changed(folder: Path, changes: Mapping[str, Callable[[bytes], bytes]]) -> dict[str, bytes]:
    """The files that these changes make different: name -> new content. Raises NotWritten, OSError."""
    found = {}
    for name, change in changes.items():
        try:
            before = (folder / name).read_bytes()
        except FileNotFoundError:
            before = b""
        if (after := change(before)) != before:
            found[name] = after
    return found


def replace_all(folder: Path, contents: Mapping[str, bytes], check: Callable[[], object]) -> dict[str, str]:
    """Replace these files, and take all back if check() raises. Returns under which names the old ones are kept."""
    present = {name for name in contents if (folder / name).exists()}
    replaced: list[str] = []
    try:
        for name, content in contents.items():
            replace_file(folder / name, content)
            replaced.append(name)
        check()
    except BaseException:
        for name in replaced:
            restore_file(folder / name, b"" if name in present else None)
        raise
    return {name: name + KEPT for name in contents if name in present}
