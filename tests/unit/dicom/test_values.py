"""Texts as values: what PS3.5 table 6.2-1 allows is written, and all else is refused without naming the value."""

import pydicom.charset
import pytest

from leyden.dicom.draft import Draft
from leyden.dicom.values import Unwritable, encoded
from support.datasets import LITTLE, el, whole

TAG = 0x00100020


@pytest.mark.parametrize(
    ("vr", "text"),
    [
        ("AE", "MY-PACS"), ("AS", "045Y"), ("CS", "ORIGINAL_1"), ("DA", "20260229"), ("DS", "-1.5e3"), ("DS", ".5"),
        ("DT", "2026"), ("DT", "20261129091800.123456+0100"), ("IS", "-2147483648"), ("LO", "x" * 64),
        ("LT", "a\r\nb\\c"), ("PN", "A^B=C=D"), ("SH", "x" * 16), ("ST", "x" * 1024), ("TM", "0918"),
        ("TM", "235960.1"), ("UC", "x" * 1000), ("UI", "1.2.840"), ("UR", "http://a.b/c d"), ("UT", "x" * 70000),
    ],
)  # fmt: skip
def test_a_text_that_fits_its_vr(vr: str, text: str) -> None:
    assert encoded(TAG, vr, (text,), ()) == text.encode()


@pytest.mark.parametrize(
    ("vr", "text"),
    [
        ("AE", "x" * 17), ("AE", "Ä"), ("AS", "45"), ("CS", "lower"), ("CS", "X" * 17), ("DA", "29.11.2026"),
        ("DA", "20261332"), ("DS", "1,5"), ("DS", "1.23456789012345678"), ("DT", "20261"), ("IS", "1.5"),
        ("IS", "2147483648"), ("LO", "x" * 65), ("LO", "a\nb"), ("PN", "a=b=c=d"), ("PN", "x" * 65), ("SH", "x" * 17),
        ("TM", "25"), ("UI", "1.02"), ("UI", "secret"), ("UR", " x"), ("ST", "x" * 1025), ("LT", "\0"),
        ("US", "65536"), ("US", "-1"), ("US", "x"), ("FL", "x"), ("AT", "10"), ("OB", "00"), ("SQ", "x"), ("UN", "x"),
    ],
)  # fmt: skip
def test_a_text_that_does_not_fit_its_vr(vr: str, text: str) -> None:
    with pytest.raises(Unwritable) as refused:
        encoded(TAG, vr, (text,), ())
    assert "(0010,0020)" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("sets", "text"),
    [
        ("ISO_IR 100", "Müller"),
        ("ISO_IR 192", "山田^太郎"),
        ("GB18030", "王^小东"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO 2022 IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("\\ISO 2022 IR 58", "Zhang^XiaoDong=张^小东"),
        ("ISO 2022 IR 100\\ISO 2022 IR 144", "Müller^Люкceмбypг"),
    ],
)
def test_texts_in_the_character_sets_of_the_standard(sets: str, text: str) -> None:
    declared = sets.split("\\")
    value = encoded(0x00100010, "PN", (text,), declared)
    codecs = pydicom.charset.convert_encodings(declared)
    peer = str(pydicom.valuerep.PersonName(value, codecs).decode()).replace("\x1b$)A", "")  # it leaves this one in
    assert peer == text
    draft = Draft(whole(el(0x00080005, "CS", sets.encode().ljust(len(sets) + len(sets) % 2)), LITTLE))
    draft.set_texts(0x00100010, "", (text,))
    assert draft.texts(0x00100010) == (text,)


@pytest.mark.parametrize("sets", [(), ("",), ("ISO_IR 6",), ("ISO_IR 100",), ("", "ISO 2022 IR 149"), ("ISO_IR 13",)])
def test_what_the_character_set_does_not_hold_is_refused(sets: tuple[str, ...]) -> None:
    with pytest.raises(Unwritable, match="can't be written in the character set"):
        encoded(0x00100010, "PN", ("Müller กขค",), sets)
