"""Who an object says it is: by its first bytes, by its command, by its context."""

import zlib

import pytest
from msgspec.structs import replace

from leyden.dicom.identity import LOOK_BYTES, Identity, as_named, identify, uids_in
from leyden.dicom.part10 import FileMeta
from leyden.dicom.uids import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, RLE_LOSSLESS, SYNTAXES
from support.datasets import FILES, UNDEFINED, dataset_of, el
from support.readers import read

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
PRIVATE = "1.3.12.2.1107.5.9.1"


def beginning(
    syntax: str, *, front: bytes = b"", sop_class: str = CT, instance: str = "1.2.3", apart: bool = False
) -> bytes:
    form = SYNTAXES[syntax]
    order, vr = ">" if form.big_endian else "<", "UI" if form.explicit else ""

    def uid(tag: int, value: str) -> bytes:
        return el(tag, vr, (value + "\0" * (len(value) % 2)).encode(), None, order)

    between = uid(0x00080017, "9.9.9") if apart else b""
    names = uid(0x00080016, sop_class) + between + uid(0x00080018, instance)
    return front + names + el(0x00080060, "CS" if vr else "", b"CT", None, order)


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, RLE_LOSSLESS])
def test_the_first_bytes_tell(syntax: str) -> None:
    data = beginning(syntax)
    whole = data.index(b"1.2.3") + 6
    assert uids_in(data, syntax) == (CT, "1.2.3")
    assert [uids_in(data[:length], syntax) for length in range(whole)] == [None] * whole
    assert uids_in(data[:whole], syntax) == (CT, "1.2.3")


def test_what_stands_before_is_passed_over() -> None:
    second = el(0x00020010, "UI", b"1.2.840.10008.1.2\0")
    code = el(0x00080006, "SQ", el(0xFFFEE000, "", el(0x00080018, "UI", b"9.9\0")) + el(0xFFFEE0DD, ""), UNDEFINED)
    assert uids_in(beginning(EXPLICIT_LE, front=second + code), EXPLICIT_LE) == (CT, "1.2.3")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", None),
        (el(0x00080060, "CS", b"CT"), ("", "")),
        (el(0x00080018, "UI", b""), ("", "")),
        (el(0x00080018, "UI", b"1.2 \0 "), ("", "1.2")),
        (el(0x00080018, "UI", b"1" * 66), None),
        (el(0x00080005, "CS", b"x" * LOOK_BYTES) + beginning(EXPLICIT_LE), ("", "")),
        (b"\x08\0\x16\0" + b"\xff" * LOOK_BYTES, ("", "")),
    ],
)
def test_what_does_not_tell(data: bytes, said: tuple[str, str] | None) -> None:
    assert uids_in(data[:LOOK_BYTES], EXPLICIT_LE) == said


def test_deflated_and_unknown_syntaxes_do_not_tell() -> None:
    deflater = zlib.compressobj(wbits=-15)
    assert uids_in(deflater.compress(beginning(EXPLICIT_LE)) + deflater.flush(), DEFLATED_LE) == ("", "")
    assert uids_in(beginning(EXPLICIT_LE), "1.2.3") == ("", "")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_real_file_is_who_pydicom_says_or_says_nothing(path: object) -> None:
    data, syntax = dataset_of(path)  # type: ignore[arg-type]
    peer = read(path)  # type: ignore[arg-type]
    encoding = EXPLICIT_LE if syntax.deflated else syntax.uid
    said = uids_in(data[:LOOK_BYTES], encoding)
    assert said in (None, ("", ""), (str(peer.get("SOPClassUID", "")), str(peer.get("SOPInstanceUID", ""))))
    assert said not in (None, ("", "")) or "SOPInstanceUID" not in peer


@pytest.mark.parametrize(
    ("context", "command", "dataset", "taken", "flag"),
    [
        (CT, (CT, "1"), (CT, "1"), (CT, "1"), ""),
        (CT, (CT, "1"), ("", ""), (CT, "1"), ""),
        (PRIVATE, (PRIVATE, "1"), (PRIVATE, "1"), (PRIVATE, "1"), ""),
        ("", (CT, "1"), (CT, "1"), (CT, "1"), ""),
        (CT, (CT, "1"), (MR, "1"), (MR, "1"), f"SOP class {CT} in the context; SOP class {CT} in the command"),
        (MR, (CT, "1"), (CT, "1"), (CT, "1"), f"SOP class {MR} in the context"),
        (CT, (MR, "1"), (CT, "1"), (CT, "1"), f"SOP class {MR} in the command"),
        (CT, (CT, "1"), (CT, "2"), (CT, "2"), "SOP instance 1 in the command"),
        (CT, (CT, "1"), ("", "2"), (CT, "2"), "SOP instance 1 in the command"),
        (CT, (CT, "1.2"), (CT, "1.??"), (CT, "1.2"), "SOP instance 1.?? in the data set"),
        (CT, (CT, "01.2"), (CT, "1.??"), (CT, "1.??"), "SOP instance 01.2 in the command"),
        (CT, (CT, "1"), ("CT", "1"), (CT, "1"), "SOP class CT in the data set"),
        (CT, (CT, "1"), ("1.2.840.10008.1.1", "1"), (CT, "1"), "SOP class 1.2.840.10008.1.1 in the data set"),
        (MR, (CT, "1"), ("", ""), (CT, "1"), f"SOP class {MR} in the context"),
    ],
)
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, RLE_LOSSLESS])
@pytest.mark.parametrize("apart", [False, True])
def test_who_it_is(
    context: str,
    command: tuple[str, str],
    dataset: tuple[str, str],
    taken: tuple[str, str],
    flag: str,
    syntax: str,
    apart: bool,
) -> None:
    data = beginning(syntax, sop_class=dataset[0], instance=dataset[1], apart=apart)
    assert identify(context, *command, syntax, data, whole=False) == Identity(*taken, flag)


def test_who_it_is_where_the_dataset_does_not_tell() -> None:
    assert identify(CT, CT, "1.2", EXPLICIT_LE, b"\x08\0\x16\0UI", whole=False) is None
    assert identify(CT, CT, "1.2", EXPLICIT_LE, b"\x08\0\x16\0UI", whole=True) == Identity(CT, "1.2")
    assert identify(CT, CT, "1.2", DEFLATED_LE, bytes(10), whole=False) == Identity(CT, "1.2")
    assert identify(CT, CT, "1.2", "1.2.3", bytes(10), whole=False) == Identity(CT, "1.2")
    assert identify(CT, CT, "\xe4\u0394", EXPLICIT_LE, beginning(EXPLICIT_LE), whole=False) is not None


def test_a_file_is_named_as_its_dataset_says() -> None:
    meta = FileMeta(CT, "1.2.3", EXPLICIT_LE, "a", "b", "c")
    assert as_named(meta, beginning(EXPLICIT_LE)) == meta
    assert as_named(meta, beginning(EXPLICIT_LE, instance="9.8")) == replace(meta, sop_instance_uid="9.8")
    assert as_named(meta, b"") == meta
