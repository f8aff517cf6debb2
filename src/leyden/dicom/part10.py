"""The head of a Part 10 file: preamble, DICM and the file meta information (PS3.10 section 7.1), both ways.

What we write before the dataset is our own: 128 zeros, whatever preamble came in (no polyglot file passes), and a
minimal group 0002 with the AE titles of an entry. What we read may come from anybody. Nothing here opens a file.
"""

import struct

import msgspec

from leyden.dicom.elements import EXPLICIT, LONG_FORM, MISSING, ByteSource
from leyden.dicom.negotiate import ae_title
from leyden.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION, clean_uid
from leyden.errors import Corrupt

META_OFFSET = 132  # where group 0002 begins
HEAD_MAX_BYTES = 65536

_TRANSFER_SYNTAX = 0x0010
_PRIVATE_CREATOR = 0x0100
_PRIVATE = 0x0102
_SHORT_HEADER = struct.Struct("<HH2sH")
_LONG_HEADER = struct.Struct("<HH2sHL")
_AE_MAX_CHARS = 16
_NOT_IN_TITLES = dict.fromkeys((*range(0x20), 0x5C, 0x7F), "?")  # PS3.5 table 6.2-1, VR AE


class FileMeta(msgspec.Struct, frozen=True):
    """What Leyden keeps in group 0002 (PS3.10 table 7.1-1).

    `source` is (0002,0016), `sending` (0002,0017) the calling AE title, `receiving` (0002,0018) the called one.
    `flag` names the other UIDs with which the object came (dicom/identity.py), in our private element (0002,0102).
    A title is kept byte for byte as Latin-1, whatever character set the peer uses.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    source: str = ""
    sending: str = ""
    receiving: str = ""
    flag: str = ""


def encode_head(meta: FileMeta) -> bytes:
    """Everything before the dataset: preamble, DICM and group 0002 with its group length, in explicit little endian."""
    titles = ((0x0016, meta.source), (0x0017, meta.sending), (0x0018, meta.receiving))
    group = b"".join(
        (
            _VERSION,
            _element(0x0002, "UI", _padded(meta.sop_class_uid, b"\0")),
            _element(0x0003, "UI", _padded(meta.sop_instance_uid, b"\0")),
            _element(_TRANSFER_SYNTAX, "UI", _padded(meta.transfer_syntax_uid, b"\0")),
            _IMPLEMENTATION,
            *(
                _element(number, "AE", _padded(_title(title)[:_AE_MAX_CHARS], b" ", "latin-1"))
                for number, title in titles
                if title
            ),
            *_private(meta.flag),
        )
    )
    return bytes(128) + b"DICM" + _element(0x0000, "UL", struct.pack("<L", len(group))) + group


def decode_head(head: bytes) -> tuple[FileMeta, int] | None:
    """The file meta information and the offset of the dataset, from the first bytes of a file; None = too few bytes.

    The group ends where its group length says; elements of group 0002 after that belong to the dataset, as some devices
    write them. If the group length is missing or wrong (no element ends there, or no transfer syntax comes before), the
    group ends before the first element of another group. Raises Corrupt if it is no Part 10 file, for a UID of more
    than 64 characters, and if group 0002 reaches beyond 64 KiB.
    """
    if len(head) < META_OFFSET:
        return None
    if head[128:META_OFFSET] != b"DICM":
        raise Corrupt("not a Part 10 file: no DICM at byte 128")
    source = ByteSource(lambda offset, length: head[offset : offset + length], len(head), head)
    values: dict[int, bytes] = {}
    at = META_OFFSET
    declared_end = 0
    while at != declared_end or _TRANSFER_SYNTAX not in values:
        if len(head) < at + _LONG_HEADER.size and not at + _SHORT_HEADER.size <= declared_end <= len(head):
            return None
        if head[at : at + 2] != b"\x02\x00":
            break
        try:
            tag, vr, value, length = source.head(at, len(head), EXPLICIT)
        except Corrupt:
            if len(head) < at + _LONG_HEADER.size:
                return None  # a group length that ends within this element
            raise
        if vr == MISSING:
            raise Corrupt(f"file meta information without a VR at byte {at}")
        at = value + length
        if at > HEAD_MAX_BYTES - _LONG_HEADER.size:
            raise Corrupt(f"file meta information reaches beyond {HEAD_MAX_BYTES} bytes")
        if at > len(head):
            return None
        values[tag & 0xFFFF] = head[value:at]
        if tag == 0x00020000 and length == 4:
            declared_end = at + int.from_bytes(values[0], "little")
    if not values:
        raise Corrupt("no file meta information behind DICM")
    uids = [clean_uid(values.get(number, b"")) for number in (0x0002, 0x0003, _TRANSFER_SYNTAX)]
    texts = [_title(values.get(number, b"").decode("latin-1")) for number in (0x0016, 0x0017, 0x0018)]
    if _PRIVATE in values and values.get(_PRIVATE_CREATOR, b"").strip(b"\0 ") == IMPLEMENTATION_CLASS_UID.encode():
        texts.append(_title(values[_PRIVATE].decode("latin-1")))
    return FileMeta(*uids, *texts), at


def _element(number: int, vr: str, value: bytes) -> bytes:
    if vr in LONG_FORM:
        return _LONG_HEADER.pack(2, number, vr.encode(), 0, len(value)) + value
    return _SHORT_HEADER.pack(2, number, vr.encode(), len(value)) + value


def _private(flag: str) -> tuple[bytes, ...]:
    if not flag:
        return ()
    creator = _element(_PRIVATE_CREATOR, "UI", _padded(IMPLEMENTATION_CLASS_UID, b"\0"))
    return creator, _element(_PRIVATE, "OB", _padded(flag, b"\0"))


def _padded(text: str, pad: bytes, encoding: str = "ascii") -> bytes:
    value = text.encode(encoding, "replace")
    return value + pad * (len(value) & 1)


_VERSION = _element(0x0001, "OB", b"\x00\x01")
_IMPLEMENTATION = b"".join(
    (
        _element(0x0012, "UI", _padded(IMPLEMENTATION_CLASS_UID, b"\0")),
        _element(0x0013, "SH", _padded(IMPLEMENTATION_VERSION, b" ")),
    )
)


def _title(text: str) -> str:
    return ae_title(text).translate(_NOT_IN_TITLES)
