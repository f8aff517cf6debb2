"""A patient whose data are easy to find again: each value that may name somebody is another word of its own."""

import itertools
import re
from collections.abc import Iterator

import pydicom
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from leyden.plan.profile import table

# Sequences in which everything is repeated: what is removed, made a dummy, emptied, has its UIDs replaced, or stays.
DEEP = (0x00101002, 0x0040A073, 0x0040A730, 0x00700001, 0x00081110, 0x00081140, 0x00081111, 0x0018100A, 0x00400275)
TEXTS = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
_NEWER = {  # of the table, not in pydicom's dictionary yet
    "Sequence": "SQ", "DateTime": "DT", "Comment": "UT", "Label": "LO", "Name": "LO", "URI": "UR", "Groups": "UC",
    "Reference": "UR", "Use": "LT",
}  # fmt: skip


def vr_of(tag: int, name: str = "") -> str:
    """The VR of a public tag; of one that pydicom does not know, one that fits its name."""
    found = DicomDictionary.get(tag)
    return str(found[0]) if found else next((vr for end, vr in _NEWER.items() if name.endswith(end)), "LT")


def value(vr: str, word: str) -> object:
    """A value of the VR from which `word` can be told, where the VR has room for it."""
    number = int(word[2:])
    match vr:
        case "DA":
            return f"{1921 + number // 337 % 79}{1 + number // 28 % 12:02d}{1 + number % 28:02d}"
        case "DT":
            return f"{value('DA', word)}{number % 24:02d}{number % 60:02d}11.{number:06d}"
        case "TM":
            return f"{number % 24:02d}{number % 60:02d}13.{number:06d}"
        case "UI":
            return f"1.2.276.0.7230010.3.1.77.{1000000 + number}"
        case "DS" | "IS":
            return str(770000 + number)
        case "AS":
            return f"{number % 900 + 100:03d}Y"
        case "UR":
            return f"http://{word.lower()}.example/"
        case "OB" | "UN" | "OW" | "OD" | "OF" | "OL" | "OV":
            return word.ljust(8 * (-(-len(word) // 8))).encode()
        case "AT":
            return 0x00100010
        case "FD" | "FL" | "SL" | "SS" | "SV" | "UL" | "US" | "UV":
            return 7
        case _:
            return word


def words() -> Iterator[str]:
    return (f"QZ{number:06d}" for number in itertools.count(1))


def phi_rows() -> list[tuple[int, str, str]]:
    """Tag, VR and basic action of each row of the table that names one tag of a dataset."""
    rows = [(row["tag"], row["name"], row["basic"]) for row in table("profile.csv")]
    plain = [(int(tag, 16), name, basic) for tag, name, basic in rows if "x" not in tag and tag != "private"]
    return [(tag, vr_of(tag, name), basic) for tag, name, basic in plain if tag >> 16 not in (0, 2, 0xFFFA, 0xFFFC)]


def item(fresh: Iterator[str], depth: int) -> tuple[Dataset, dict[str, str]]:
    """A dataset with everything that names a person, a place, a device, a time or an object; word -> where it is."""
    found: dict[str, str] = {}
    dataset = Dataset()
    free = [
        (tag, row[0])
        for tag, row in DicomDictionary.items()
        if row[0] in ("PN", "LT", "ST", "UT", "UR", "DA", "DT") and tag >> 16 > 4 and (tag >> 16) % 2 == 0
    ]
    for tag, vr, *_ in (*phi_rows(), *free):
        if tag in dataset:
            continue
        if vr == "SQ":
            deep = depth and tag in DEEP
            inner, more = item(fresh, depth - 1) if deep else (Dataset(), {})
            if not deep:
                word = next(fresh)
                inner.add_new(0x00100010, "PN", word)
                more = {word: f"{tag:08x} > 00100010"}
            dataset.add_new(tag, "SQ", Sequence([inner]))
            found |= {word: f"{tag:08x} > {where}" for word, where in more.items()}
        else:
            word = next(fresh)
            given = value(vr, word)
            dataset.add_new(tag, vr, given)
            text = given.decode().strip() if isinstance(given, bytes) else str(given)
            if vr in (*TEXTS, "UI", "DT", "TM", "OB", "UN"):
                found[text] = f"{tag:08x}"
    for group in (0x0009, 0x0019, 0x7FDF):
        word = next(fresh)
        dataset.add_new(group << 16 | 0x0010, "LO", "CANARY 1.0")
        dataset.add_new(group << 16 | 0x1001, "UN", word.encode())
        found[word] = f"{group:04x}1001"
    word = next(fresh)
    dataset.add_new(0x00081119, "LT", word)  # PS3.6 does not have it
    found[word] = "00081119"
    return dataset, found


def patient(depth: int = 1) -> tuple[Dataset, dict[str, str]]:
    """A small image of the canary patient; depth: how many sequences deep everything is repeated."""
    dataset, found = item(words(), depth)
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.Modality = "OT"
    dataset.BurnedInAnnotation = "NO"
    dataset.Rows = dataset.Columns = 2
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = b"\1\2\3\4"
    for tag in (0x7FE11010, 0xFFFCFFFC):
        dataset.add_new(tag, "OB", f"QZBEHIND{tag:08X}".encode())
        found[f"QZBEHIND{tag:08X}"] = f"{tag:08x}"
    signature = pydicom.Dataset()
    signature.add_new(0x04000115, "OB", b"QZSIGNED")
    dataset.add_new(0xFFFAFFFA, "SQ", Sequence([signature]))
    found["QZSIGNED"] = "fffafffa"
    return dataset, found


_TOKENS = re.compile(
    rb"QZ[0-9]{6}|QZBEHIND[0-9A-F]{8}|QZSIGNED|1\.2\.276\.0\.7230010\.3\.1\.77\.[0-9]{7}|[0-9]{14}\.[0-9]{6}"
    rb"|[0-9]{6}\.[0-9]{6}|http://qz[0-9]{6}\.example/"
)


def found(data: bytes, words: dict[str, str]) -> set[str]:
    """Where those of the words stood that these bytes hold."""
    tokens = {token.decode() for token in _TOKENS.findall(data)}
    return {where for word, where in words.items() if word in tokens}
