"""Paths of save_file with placeholders: `/archive/#{10,20}/#{8,20:0000-00-00}/` becomes one path for one dataset.

A value of a dataset is cleaned, so that it can name a folder or a file, but never lead out of the folder that the
operator named: no separators, no control characters, no leading dots, bounded length. A `/` in a mask is the operator's
own, and separates folders. A mask consists of A and a (the next letter, in upper or lower case), 0 (the next digit),
? (the next character), ! (skip one) and ` (the mask's next character as it is); any other character stands for itself.
Characters of the value that do not fit the mask are skipped. Deliberately absent: touching the disk.
"""

import re
import unicodedata
from collections.abc import Callable

from leyden.dicom.header import Header
from leyden.plan.conditions import name_of

VALUE_LIMIT_CHARS = 64
COMPONENT_LIMIT_BYTES = 232  # most file systems allow 255; the rest is room for a receipt
_PLACEHOLDER = re.compile(
    r"#\{\s*(?P<group>[0-9A-Fa-f]{1,4})\s*,\s*(?P<element>[0-9A-Fa-f]{1,4})\s*(?::(?P<mask>(?:`.|[^`}])*))?\}"
)
_FITS: dict[str, Callable[[str], bool]] = {"A": str.isalpha, "a": str.isalpha, "0": str.isdigit, "?": bool}
_SHAPES: dict[str, Callable[[str], str]] = {"A": str.upper, "a": str.lower}


def flaw(target: str) -> str:
    """What is wrong with a save_file target, as a text; "" = nothing."""
    rest = _PLACEHOLDER.sub("", target)
    if "#{" in rest:
        return f"{rest[rest.index('#{') :]} is not a placeholder; these look like #{{10,20}} or #{{10,20:0000-00}}"
    if ".." in rest.split("/"):
        return "must not hold .. as a folder"
    if target.startswith("~"):
        return "~ has no meaning here; write the absolute path"
    if "\\" in rest or re.match(r"[A-Za-z]:", rest):
        return "looks like a Windows path; write folders with /, as in /archive/"
    if any(not character.isprintable() for character in target):
        return "holds control characters"
    return ""


def split(template: str) -> tuple[str | int, ...]:
    """A text with `#{g,e}` in it, as texts and tags. ValueError: something else stands within #{}."""
    parts: list[str | int] = []
    rest = template
    while found := _PLACEHOLDER.search(rest):
        if found["mask"] is not None:
            break
        parts += [rest[: found.start()], int(found["group"].zfill(4) + found["element"].zfill(4), 16)]
        rest = rest[found.end() :]
    if "#{" in rest:
        raise ValueError(f"{rest[rest.index('#{') :]} is not a placeholder here; these look like #{{10,20}}")
    return tuple(part for part in (*parts, rest) if part != "")


def filled(parts: tuple[str | int, ...], header: Header) -> str:
    """What split() gave, with the values of a dataset and its file meta; what is absent is left out."""
    return "".join(part if isinstance(part, str) else _text(part, header) for part in parts)


def _text(tag: int, header: Header) -> str:
    texts = header.file_meta.texts(tag) if tag >> 16 == 2 else header.texts(tag)
    return "\\".join(texts or ())[:VALUE_LIMIT_CHARS]


def is_shared(target: str) -> bool:
    """Whether several instances would get the same path, as it holds nothing that is an instance's own."""
    own = {("0008", "0018"), ("0002", "0003")}
    tags = {(found["group"].zfill(4), found["element"].zfill(4)) for found in _PLACEHOLDER.finditer(target)}
    return not target.endswith("/") and not tags & own


def expand(target: str, header: Header) -> str:
    """The path that `target` (absolute, without flaw()) means for this dataset. Raises Corrupt.

    <SOPInstanceUID>.dcm is added to a target that ends in /. The path is never outside the folder that is named before
    the first placeholder.
    """
    if target.endswith("/"):
        target += "#{8,18}.dcm"
    path = _PLACEHOLDER.sub(lambda found: _value(found, header), target)
    return "/" + "/".join(_component(part) for part in path.lstrip("/").split("/"))


def masked(value: str, mask: str) -> str:
    """`value` in the shape of `mask`: 123456 in 0000-00 is 1234-56. What is left of either at the end is dropped."""
    rest = iter(value)
    out = ""
    literals = ""  # of the mask, not written yet: they are dropped if the value ends here
    symbols = iter(mask)
    for symbol in symbols:
        if symbol == "!":
            next(rest, "")
        elif symbol in _FITS:
            taken = next((character for character in rest if _FITS[symbol](character)), None)
            if taken is None:
                return out
            out += literals + _SHAPES.get(symbol, str)(taken)
            literals = ""
        else:
            literals += next(symbols, "") if symbol == "`" else symbol
    return out + literals


def _value(found: "re.Match[str]", header: Header) -> str:
    tag = found["group"].zfill(4).lower() + found["element"].zfill(4).lower()
    texts = header.texts(int(tag, 16))
    if tag == "00080018" and not any(texts or ()):
        texts = (header.meta.sop_instance_uid,) if header.meta.sop_instance_uid else None
    if texts is None:
        return name_of(tag)
    text = _clean("\\".join(texts))
    return text if found["mask"] is None else masked(text, found["mask"])


def _clean(text: str) -> str:
    """A value made safe as a part of one name; values may hold any character (PS3.5)."""
    safe = "".join("_" if _unsafe(character) else character for character in text[:VALUE_LIMIT_CHARS]).strip()
    bare = safe.lstrip(".")
    return "_" * (len(safe) - len(bare)) + bare


def _unsafe(character: str) -> bool:
    return character in "/\\" or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _component(part: str) -> str:
    if not part.strip("."):
        return "_"
    octets = part.encode("utf-8", "replace")
    return part if len(octets) <= COMPONENT_LIMIT_BYTES else octets[:COMPONENT_LIMIT_BYTES].decode("utf-8", "ignore")
