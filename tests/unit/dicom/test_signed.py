"""What a signature covers, on datasets written by hand; real signatures are in tests/interop/test_signatures.py."""

import struct

import pytest

from leyden.dicom.derive import FRAME_TYPE
from leyden.dicom.header import peek
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.signed import broken, touched
from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, JPEG2000_LOSSLESS, RLE_LOSSLESS, SYNTAXES
from leyden.errors import Corrupt
from support.datasets import ITEM, PIXELS, SEQUENCE_END, el

MODALITY, PRIVATE, FUNCTIONAL_GROUPS = 0x00080060, 0x00091001, 0x52009229
UNDEFINED = 0xFFFFFFFF
TARGET = SYNTAXES[JPEG2000_LOSSLESS]
SIGNATURES = el(0xFFFAFFFA, "SQ", el(ITEM, "", el(0x04000100, "UI", b"1.2\0")))


def parameters(*tags: int) -> bytes:
    value = b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in tags)
    return el(0x4FFE0001, "SQ", el(ITEM, "", el(0x04000020, "AT", value)))


def dataset(*parts: bytes, syntax: str = EXPLICIT_LE):
    content = encode_head(FileMeta("1.2", "1.3", syntax)) + el(MODALITY, "CS", b"CT") + b"".join(parts)
    return peek(lambda offset, length: content[offset : offset + length], len(content)).dataset


NATIVE = el(PIXELS, "OW", bytes(4))
FRAGMENTS = el(PIXELS, "OB", el(ITEM, "") + el(ITEM, "", b"ab"), UNDEFINED) + el(SEQUENCE_END, "")


@pytest.mark.parametrize(("pixels", "syntax"), [(NATIVE, EXPLICIT_LE), (FRAGMENTS, RLE_LOSSLESS), (b"", EXPLICIT_LE)])
def test_what_changes_and_is_signed(pixels: bytes, syntax: str) -> None:
    signed = dataset(parameters(MODALITY, PIXELS), pixels, SIGNATURES, syntax=syntax)
    assert broken(signed, {PIXELS, 0x00080008, MODALITY}, TARGET, ()) == (MODALITY, PIXELS)
    assert broken(signed, {0x00080008}, TARGET, ()) == ()
    assert broken(signed, (), TARGET, ()) == ()


@pytest.mark.parametrize("pixels", [NATIVE, FRAGMENTS, b""])
def test_without_a_signature_nothing_is_signed(pixels: bytes) -> None:
    assert broken(dataset(parameters(PIXELS), pixels), {PIXELS}, TARGET, ()) == ()
    assert broken(dataset(pixels, SIGNATURES), {PIXELS}, TARGET, ()) == ()


def test_private_elements_lose_their_vr_in_implicit() -> None:
    signed = dataset(parameters(MODALITY, PRIVATE), NATIVE, SIGNATURES)
    assert broken(signed, (), SYNTAXES[IMPLICIT_LE], ()) == (PRIVATE,)
    assert broken(signed, (), SYNTAXES[EXPLICIT_LE], ()) == ()


def test_what_changes_in_functional_groups() -> None:
    inner = el(0x00089007, "CS", b"ORIGINAL")
    groups = el(FUNCTIONAL_GROUPS, "SQ", el(ITEM, "", inner))
    signed = dataset(parameters(FUNCTIONAL_GROUPS), groups, NATIVE, SIGNATURES)
    assert broken(signed, (), TARGET, FRAME_TYPE.sequences) == (FUNCTIONAL_GROUPS,)
    assert broken(signed, (), TARGET, ()) == ()
    item = dataset(el(FUNCTIONAL_GROUPS, "SQ", el(ITEM, "", inner + parameters(0x00089007) + SIGNATURES)), NATIVE)
    assert broken(item, (), TARGET, FRAME_TYPE.sequences) == (FUNCTIONAL_GROUPS,)
    assert broken(item, {PIXELS}, TARGET, ()) == ()
    assert broken(dataset(groups, NATIVE), {PIXELS}, TARGET, FRAME_TYPE.sequences) == ()


def test_what_grows_and_is_signed() -> None:
    inside = el(0x00089007, "CS", b"ODD")
    groups = el(FUNCTIONAL_GROUPS, "SQ", el(ITEM, "", inside + parameters(0x00089007) + SIGNATURES))
    for pixels in (NATIVE, FRAGMENTS):
        signed = dataset(parameters(MODALITY, PIXELS), groups, pixels, SIGNATURES)
        assert touched(signed, {MODALITY, 0x00080008}, TARGET) == (MODALITY,)
        assert touched(signed, {PIXELS, FUNCTIONAL_GROUPS}, TARGET) == (FUNCTIONAL_GROUPS, PIXELS)
        assert touched(signed, {0x00080008}, TARGET) == ()


def test_what_can_not_be_told_is_corrupt() -> None:
    with pytest.raises(Corrupt):
        broken(dataset(el(0x4FFE0001, "SQ", b"rubbish!!"), NATIVE, SIGNATURES), {PIXELS}, TARGET, ())
