"""Paths of save_file with placeholders: `/archive/#{10,20}/#{8,20:0000-00-00}/` becomes one path for one dataset.

What comes out of a dataset is cleaned, so that it can name a folder or a file but never leave the folder that the
operator named: no separators, no control characters, no leading dots, bounded length. A `/` in a mask is the
operator's and counts. Masks: A and a the next letter, as upper or lower case; 0 the next digit; ? the next character;
! skip one; ` takes the next mask character as it is; anything else stands for itself. What a mask has no place for
is passed over. Deliberately absent: touching the disk.
"""

import re
import unicodedata
from collections.abc import Callable

from leyden.dicom.header import Header
from leyden.plan.conditions import name_of

VALUE_LIMIT_CHARS = 64
COMPONENT_LIMIT_BYTES = 232  # 255 of most file systems, and room for a receipt
_PLACEHOLDER = re.compile(
    r"#\{\s*(?P<group>[0-9A-Fa-f]{1,4})\s*,\s*(?P<element>[0-9A-Fa-f]{1,4})\s*(?::(?P<mask>(?:`.|[^`}])*))?\}"
)
_FITS: dict[str, Callable[[str], bool]] = {"A": str.isalpha, "a": str.isalpha, "0": str.isdigit, "?": bool}
_SHAPES: dict[str, Callable[[str], str]] = {"A": str.upper, "a": str.lower}


def flaw(target: str) -> str:
    """What is wrong with a save_file target, in words; empty = nothing."""
    rest = _PLACEHOLDER.sub("", target)
    if "#{" in rest:
        return f"{rest[rest.index('#{') :]} is no placeholder; they look like #{{10,20}} or #{{10,20:0000-00}}"
    if ".." in rest.split("/"):
        return "must not hold .. as a folder"
    if target.startswith("~"):
        return "~ is nobody's home here; write the absolute path"
    if "\\" in rest or re.match(r"[A-Za-z]:", rest):
        return "looks like a Windows path; write folders with /, as in /archive/"
    if any(not character.isprintable() for character in target):
        return "holds control characters"
    return ""


def is_shared(target: str) -> bool:
    """Whether several instances get one and the same path: nothing in it is an instance's own."""
    own = {("0008", "0018"), ("0002", "0003")}
    tags = {(found["group"].zfill(4), found["element"].zfill(4)) for found in _PLACEHOLDER.finditer(target)}
    return not target.endswith("/") and not tags & own


def expand(target: str, header: Header) -> str:
    """The path that `target` (absolute, flawless) means for this dataset. Raises Corrupt.

    One that ends in / gets <SOPInstanceUID>.dcm. The path is never outside the folder named before the first
    placeholder.
    """
    if target.endswith("/"):
        target += "#{8,18}.dcm"
    path = _PLACEHOLDER.sub(lambda found: _value(found, header), target)
    return "/" + "/".join(_component(part) for part in path.lstrip("/").split("/"))


def masked(value: str, mask: str) -> str:
    """`value` poured into `mask`: 123456 into 0000-00 is 1234-56. What is left of either at the end is dropped."""
    rest = iter(value)
    out, literals = "", ""
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
    text = name_of(tag) if texts is None else _clean("\\".join(texts))
    return text if found["mask"] is None else masked(text, found["mask"])


def _clean(text: str) -> str:
    """A value that is safe within one name: PS3.5 values may hold anything."""
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
