"""Texts as the bytes of a value: the form and the length that each VR allows, and the Specific Character Set.

The rules of PS3.5 table 6.2-1 hold for what is written here, however free the reader (header.py) is. A text that the
character set can't hold is an error, never a question mark. Values of several bytes are little endian.
Deliberately absent: reading, and VRs that have no text (OB, OW, SQ ...).
"""

import re
import struct
from collections.abc import Callable, Iterator, Sequence

from leyden.dicom.elements import SHORT_FORM, tag_name
from leyden.dicom.header import ESCAPES, codec_of
from leyden.dicom.uids import is_well_formed
from leyden.errors import LeydenError

VALUE_MAX_BYTES = 1 << 20  # so much is written; a reader takes no more for a text either
SINGLE_VALUE_VRS = frozenset({"LT", "ST", "UR", "UT"})  # a backslash is text in these
_CHARACTER_SET_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_LENGTHS = {"AE": 16, "CS": 16, "DS": 16, "LO": 64, "LT": 10240, "SH": 16, "ST": 1024, "UI": 64}  # in characters
_FORMS = {
    "AE": re.compile(r"[ -\[\]-~]*"),
    "AS": re.compile(r"[0-9]{3}[DWMY]"),
    "CS": re.compile(r"[A-Z0-9_ ]*"),
    "DA": re.compile(r"[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])"),
    "DS": re.compile(r" *[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([Ee][+-]?[0-9]+)? *"),
    "DT": re.compile(r"[0-9]{4}(([0-9]{2}){1,5}|[0-9]{10}\.[0-9]{1,6})?([+-][0-9]{4})?"),
    "IS": re.compile(r" *[+-]?[0-9]{1,11} *"),
    "TM": re.compile(r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?|60(\.[0-9]{1,6})?)?)?"),
    "UR": re.compile(r"([!-~][ -~]*)?"),
}
_CONTROL = re.compile(r"[\0-\x1f\x7f-\x9f]")
_CONTROL_IN_TEXT = re.compile(r"[\0-\x08\x0b\x0e-\x1f\x7f-\x9f]")  # TAB, LF, FF and CR may stand in LT, ST and UT
_AT = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")
_NUMBERS = {"SL": "l", "SS": "h", "SV": "q", "UL": "L", "US": "H", "UV": "Q"}
_FLOATS = {"FL": "f", "FD": "d"}
_IS_RANGE = range(-(2**31), 2**31)
_DEFAULT_REPERTOIRE = ("", "ISO_IR 6", "ISO 2022 IR 6")
_PARTS = re.compile(r"[\t\n\f\r\\^=]|[^\t\n\f\r\\^=]+")  # a delimiter ends a code extension (PS3.5 section 6.1.2.5.3)
_JAPANESE = {"87": "iso2022_jp", "159": "iso2022_jp_1"}  # these write their own escape sequences
_SIGNS = {number: sign for sign, number in ESCAPES.items()}


class Unwritable(LeydenError):
    """A value that an element can't have. The text names the tag and the reason, never the value."""


def encoded(tag: int, vr: str, texts: Sequence[str], character_sets: Sequence[str]) -> bytes:
    """The value of an element, not padded. `character_sets`: the values of (0008,0005) that hold for it.

    Raises Unwritable: `vr` has no text, a text is too long or not of its form, or the character set can't hold it.
    """
    if vr in _NUMBERS or vr in _FLOATS or vr == "AT":
        value = b"".join(_number(tag, vr, text) for text in texts)
    elif vr in SHORT_FORM or vr in ("UC", "UR", "UT"):
        for text in texts:
            _check(tag, vr, text)
        joined = "\\".join(texts)
        value = _in_character_set(tag, joined, character_sets) if vr in _CHARACTER_SET_VRS else joined.encode("ascii")
    else:
        raise Unwritable(f"{tag_name(tag)} has VR {vr}, which is not written as text")
    if len(value) > (0xFFFE if vr in SHORT_FORM else VALUE_MAX_BYTES):
        raise Unwritable(f"{tag_name(tag)} would be {len(value)} bytes long, too many for VR {vr}")
    return value


def _number(tag: int, vr: str, text: str) -> bytes:
    try:
        if vr == "AT":
            found = _AT.fullmatch(text.strip())
            return struct.pack("<HH", int(found[1], 16), int(found[2], 16)) if found else _refuse(tag, vr)
        if vr in _FLOATS:
            return struct.pack("<" + _FLOATS[vr], float(text))
        return struct.pack("<" + _NUMBERS[vr], int(text))
    except (ValueError, struct.error, OverflowError):
        return _refuse(tag, vr)


def _refuse(tag: int, vr: str) -> bytes:
    raise Unwritable(f"{tag_name(tag)} would not have the form of VR {vr}") from None


def _check(tag: int, vr: str, text: str) -> None:
    if not text:
        return
    if len(text) > _LENGTHS.get(vr, VALUE_MAX_BYTES):
        raise Unwritable(f"{tag_name(tag)} would have {len(text)} characters; VR {vr} allows {_LENGTHS.get(vr)}")
    control = _CONTROL_IN_TEXT if vr in ("LT", "ST", "UT") else _CONTROL
    if control.search(text) or ("\\" in text and vr not in SINGLE_VALUE_VRS):
        raise Unwritable(f"{tag_name(tag)} would hold a character that VR {vr} does not allow")
    form = _FORMS.get(vr)
    if form and not form.fullmatch(text):
        _refuse(tag, vr)
    if (vr == "UI" and not is_well_formed(text)) or (vr == "IS" and int(text) not in _IS_RANGE):
        _refuse(tag, vr)
    if vr == "PN" and (text.count("=") > 2 or any(len(group) > 64 for group in text.split("="))):
        raise Unwritable(f"{tag_name(tag)} would be no name: three groups of 64 characters at most")


def _in_character_set(tag: int, text: str, character_sets: Sequence[str]) -> bytes:
    if text.isascii():
        return text.encode("ascii")
    sets = [each.strip() for each in character_sets] or [""]
    ways = [_plain(sets[0]), *map(_extended, sets[1:])]
    for way in ways if len(ways) == 1 else (ways[0], lambda whole: _by_parts(whole, ways)):
        value = way(text)
        if value is not None:
            return value
    named = "\\".join(sets) or "none, so ASCII"
    raise Unwritable(f"{tag_name(tag)} can't be written in the character set of its dataset ({named})")


_Way = Callable[[str], bytes | None]


def _by_parts(text: str, ways: Sequence[_Way]) -> bytes | None:
    """Each part between delimiters in the first of the character sets that can hold it (PS3.5 section 6.1.2.5)."""
    found = [_first(part, ways) for part in _PARTS.findall(text)]
    return None if None in found else b"".join(part for part in found if part is not None)


def _first(part: str, ways: Sequence[_Way]) -> bytes | None:
    if part.isascii():
        return part.encode("ascii")
    values: Iterator[bytes | None] = (way(part) for way in ways)
    return next((value for value in values if value is not None), None)


def _plain(character_set: str) -> _Way:
    """How a text is written in the first character set, which needs no escape sequence."""
    single_byte = character_set.endswith(" 13")

    def write(text: str) -> bytes | None:
        if character_set.upper() in _DEFAULT_REPERTOIRE:
            return None
        try:
            value = text.encode(codec_of(character_set))
        except UnicodeEncodeError:
            return None
        return value if not single_byte or len(value) == len(text) else None

    return write


def _extended(character_set: str) -> _Way:
    """How a text is written in a further character set, behind its escape sequence (PS3.3 tables C.12-3, C.12-4)."""
    number = character_set.rpartition(" ")[2]

    def write(text: str) -> bytes | None:
        sign = _SIGNS.get(number)
        if sign is None:
            return None
        try:
            value = text.encode(_JAPANESE.get(number) or codec_of(character_set))
        except UnicodeEncodeError:
            return None
        if number in _JAPANESE:
            return value if b"\x1b(J" not in value else None
        return b"\x1b" + sign + value if number != "13" or len(value) == len(text) else None

    return write
