"""The head of a Part 10 file, written for pydicom to read and read from its prefixes and oddities."""

import struct
from io import BytesIO

import pydicom
import pytest
from msgspec.structs import replace
from pydicom.data import get_testdata_file

from leyden.dicom.part10 import HEAD_MAX_BYTES, FileMeta, decode_head, encode_head
from leyden.dicom.uids import EXPLICIT_LE, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from leyden.errors import Corrupt

META = FileMeta("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", EXPLICIT_LE, "LEYDEN", "CT1", "IMAGEPACS")
DATASET = struct.pack("<HH2sH", 8, 0x60, b"CS", 2) + b"CT"


def element(number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value


def test_pydicom_reads_what_we_write() -> None:
    ds = pydicom.dcmread(BytesIO(encode_head(META) + DATASET))
    meta = ds.file_meta
    assert meta.MediaStorageSOPClassUID == META.sop_class_uid
    assert meta.MediaStorageSOPInstanceUID == META.sop_instance_uid
    assert meta.TransferSyntaxUID == EXPLICIT_LE
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == IMPLEMENTATION_VERSION
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.SourceApplicationEntityTitle == "LEYDEN"
    assert meta.SendingApplicationEntityTitle == "CT1"
    assert meta.ReceivingApplicationEntityTitle == "IMAGEPACS"
    assert meta.FileMetaInformationGroupLength == len(encode_head(META)) - 144
    assert ds.Modality == "CT"
    assert ds.preamble == bytes(128)


@pytest.mark.parametrize("meta", [META, FileMeta("1.2", "1.2.3", EXPLICIT_LE), FileMeta("", "", "", sending="A" * 16)])
def test_round_trip(meta: FileMeta) -> None:
    head = encode_head(meta)
    assert decode_head(head) == (meta, len(head))
    assert decode_head(head + DATASET) == (meta, len(head))
    assert decode_head(head + b"\2\0\0\0") == (meta, len(head))  # a deflated dataset may begin so


@pytest.mark.parametrize("flag", ["SOP instance 1.2.3 in the command", "odd", "even"])
def test_a_flag_is_private_information_of_ours(flag: str) -> None:
    meta = replace(META, flag=flag)
    head = encode_head(meta)
    assert decode_head(head + DATASET) == (meta, len(head))
    read = pydicom.dcmread(BytesIO(head + DATASET)).file_meta
    assert read.PrivateInformationCreatorUID == IMPLEMENTATION_CLASS_UID
    assert read.PrivateInformation.rstrip(b"\0").decode() == flag
    theirs = head.replace(IMPLEMENTATION_CLASS_UID.encode(), b"9" * len(IMPLEMENTATION_CLASS_UID))
    assert decode_head(theirs + DATASET) == (META, len(head))


def test_titles_are_cut_to_sixteen_characters() -> None:
    decoded = decode_head(encode_head(FileMeta("1", "2", EXPLICIT_LE, "X" * 40)))
    assert decoded is not None
    assert decoded[0].source == "X" * 16


@pytest.mark.parametrize("title", ["KLINIK_M\xdc", "KLINIK_M\xc3\x9c", "\xff" * 16, "a.b c~{}"])
def test_a_title_keeps_its_bytes_in_whatever_character_set(title: str) -> None:
    head = encode_head(FileMeta("1", "2", EXPLICIT_LE, title, title, title))
    assert head.count(title.encode("latin-1")) == 3
    decoded = decode_head(head)
    assert decoded is not None
    assert (decoded[0].source, decoded[0].sending, decoded[0].receiving) == (title, title, title)


def test_controls_and_backslashes_get_into_no_title() -> None:
    head = encode_head(FileMeta("1", "2", EXPLICIT_LE, sending="A\\B\n\x1b\x7f\u0394"))
    decoded = decode_head(head)
    assert decoded is not None
    assert decoded[0].sending == "A?B????"


@pytest.mark.parametrize("title", ["CT01\0OLDNAME", " CT01 \0 X", "CT01 \0"])
def test_a_title_ends_with_the_first_nul(title: str) -> None:
    assert encode_head(FileMeta("1", "2", EXPLICIT_LE, title)) == encode_head(FileMeta("1", "2", EXPLICIT_LE, "CT01"))
    value = title.encode() + b"\0" * (len(title) % 2)
    head = bytes(128) + b"DICM" + element(3, b"UI", b"1.2.3\0") + element(0x17, b"AE", value) + DATASET * 2
    decoded = decode_head(head)
    assert decoded is not None
    assert decoded[0].sending == "CT01"


@pytest.mark.parametrize("title", ["A", "AB", "ABC", "ABCD", "ABCDE"])
def test_a_head_is_whole_although_nothing_follows_it(title: str) -> None:
    meta = FileMeta("1", "2", EXPLICIT_LE, receiving=title)
    head = encode_head(meta)
    assert decode_head(head) == (meta, len(head))


def test_every_prefix_asks_for_more() -> None:
    head = encode_head(META)
    assert [length for length in range(len(head)) if decode_head(head[:length]) is not None] == []


def test_without_group_length() -> None:
    head = bytes(128) + b"DICM" + element(2, b"UI", b"1.2\0") + element(0x10, b"UI", b"1.2.840.10008.1.2.1\0")
    assert decode_head(head) is None
    assert decode_head(head + DATASET) is None  # a dataset of ten bytes: too short for a longest header
    decoded = decode_head(head + DATASET + DATASET)
    assert decoded == (FileMeta("1.2", "", EXPLICIT_LE), len(head))


@pytest.mark.parametrize("error", [-20, -3, 7, 40])
def test_a_wrong_group_length_does_no_harm(error: int) -> None:
    head = encode_head(META)
    length = struct.unpack_from("<L", head, 140)[0]
    broken = head[:140] + struct.pack("<L", length + error) + head[144:]
    assert decode_head(broken + DATASET * 3) == (META, len(head))


SECOND = b"".join(
    (
        element(2, b"UI", b"9.8.7\0"),
        element(3, b"UI", b"9.8.7.6\0"),
        element(0x10, b"UI", b"1.2.840.10008.1.2\0"),
        element(0x17, b"AE", b"NOBODY"),
        element(0x18, b"AE", b"ELSEWHERE "),
    )
)


@pytest.mark.parametrize("second", [SECOND, element(0, b"UL", struct.pack("<L", len(SECOND))) + SECOND])
@pytest.mark.parametrize("meta", [META, FileMeta("1.2", "1.2.3", EXPLICIT_LE), FileMeta("", "", "")])
def test_a_second_group_0002_is_dataset(meta: FileMeta, second: bytes) -> None:
    head = encode_head(meta)
    assert decode_head(head + second + DATASET) == (meta, len(head))


def test_a_length_is_believed_where_the_transfer_syntax_stands_before_its_end() -> None:
    group = element(2, b"UI", b"1.2\0") + element(0x10, b"UI", b"1.2.840.10008.1.2.1\0")
    whole = bytes(128) + b"DICM" + element(0, b"UL", struct.pack("<L", len(group))) + group
    assert decode_head(whole + SECOND + DATASET) == (FileMeta("1.2", "", EXPLICIT_LE), len(whole))
    short = bytes(128) + b"DICM" + element(0, b"UL", struct.pack("<L", 12)) + group
    assert decode_head(short + DATASET * 2) == (FileMeta("1.2", "", EXPLICIT_LE), len(short))
    empty = bytes(128) + b"DICM" + element(0, b"UL", struct.pack("<L", 0)) + group
    assert decode_head(empty + DATASET * 2) == (FileMeta("1.2", "", EXPLICIT_LE), len(empty))


def test_padding_and_strange_characters() -> None:
    head = bytes(128) + b"DICM" + element(3, b"UI", b"1.2.3 \0\0") + element(0x17, b"AE", b"CT\n\xe9 \0") + DATASET * 2
    decoded = decode_head(head)
    assert decoded is not None
    assert decoded[0].sop_instance_uid == "1.2.3"
    assert decoded[0].sending == "CT?\xe9"


@pytest.mark.parametrize(
    "head",
    [
        bytes(200),
        b"GIF89a" * 40,
        bytes(128) + b"DICM" + DATASET * 2,
        bytes(128) + b"DICM" + element(3, b"UI", b"1" * 66) + DATASET * 2,
        bytes(128) + b"DICM" + element(3, b"\0I", b"1.2\0") + DATASET * 2,
        bytes(128) + b"DICM" + struct.pack("<HH2sHL", 2, 0x102, b"OB", 0, 0xFFFFFFFF),
        bytes(128) + b"DICM" + struct.pack("<HH2sHL", 2, 0x102, b"OB", 0, HEAD_MAX_BYTES),
        bytes(128) + b"DICM" + element(0x16, b"AE", b"") * 9000,
    ],
    ids=["zeros", "a picture", "no meta", "long UID", "no VR", "undefined length", "too long", "too many"],
)
def test_what_is_not_part_10_is_corrupt(head: bytes) -> None:
    with pytest.raises(Corrupt):
        decode_head(head)


def test_the_head_of_a_real_file_is_read() -> None:
    with open(str(get_testdata_file("CT_small.dcm")), "rb") as file:
        decoded = decode_head(file.read(4096))
    assert decoded is not None
    meta, offset = decoded
    assert meta.sop_class_uid == "1.2.840.10008.5.1.4.1.1.2"
    assert meta.transfer_syntax_uid == EXPLICIT_LE
    assert meta.source == "CLUNIE1"
    assert offset == 336
