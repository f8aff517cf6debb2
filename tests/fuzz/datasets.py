"""Targets: Part 10 files and data sets. The head, the peek, the identity, and whatever rewrites a data set.

Seeds are data sets made up here (nested, private, odd, in every encoding) and real ones of the pydicom wheel, their
pixels cut short. What is made up without damage is compared with pydicom.
"""

import random
import struct
import warnings
import zlib
from collections.abc import Sequence
from functools import cache
from io import BytesIO

import pydicom

from fuzz.damage import Part, Seed, bent, mutant
from leyden.dicom import derive, even, uids
from leyden.dicom.draft import Draft
from leyden.dicom.edit import Copy, Hole, Patch, Piece, Pixels, Replacements, encapsulated_inside, rewrite, swapped
from leyden.dicom.elements import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    ITEM,
    LONG_FORM,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    WORD_BYTES,
    ByteSource,
    Encoding,
    dictionary_vr,
    encoding_of,
    walk,
)
from leyden.dicom.header import Dataset, Header, peek
from leyden.dicom.identity import LOOK_BYTES, Identity, as_named, identify, uids_in
from leyden.dicom.part10 import FileMeta, decode_head, encode_head
from leyden.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, SYNTAXES
from leyden.dicom.values import Unwritable
from leyden.errors import Corrupt
from support.datasets import joined, leaves, whole
from support.objects import real

ITEM_END = 0xFFFEE00D
SYNTAX = {IMPLICIT: SYNTAXES[IMPLICIT_LE], EXPLICIT: SYNTAXES[EXPLICIT_LE], BIG: SYNTAXES[EXPLICIT_BE]}
KNOWN = (
    0x00080005, 0x00080008, 0x00080016, 0x00080018, 0x00080060, 0x00082111, 0x00100010, 0x00100020, 0x00181063,
    0x00189219, 0x0020000D, 0x00209165, 0x00280002, 0x00280008, 0x00280010, 0x00281052, 0x00282110, 0x00282112,
    0x00282114, 0x0040A160, 0x00420011, 0x00460044, 0x00660016, 0x00720082, 0x00081190, 0x00281201,
)  # fmt: skip
SEQUENCES = (0x00081140, 0x00081199, 0x00082112, 0x00089215, 0x00409096, 0x52009229, 0x52009230)
PRIVATE = (0x00091001, 0x000910FF, 0x00111010)
PRIVATE_SEQUENCE = 0x00131010
REAL = (
    "JPEG2000-embedded-sequence-delimiter.dcm", "MR_small_bigendian.dcm", "CT_small.dcm", "test-SR.dcm", "rtplan.dcm",
    "nested_priv_SQ.dcm", "UN_sequence.dcm", "image_dfl.dcm", "priv_SQ.dcm", "reportsi.dcm", "SC_rgb_rle_2frame.dcm",
    "MR_small_jpeg_ls_lossless.dcm", "liver_1frame.dcm", "ExplVR_BigEnd.dcm", "no_meta_group_length.dcm",
)  # fmt: skip
LONGEST_BYTES = 3000  # of a real data set; longer ones keep their first sequences only
COMPARED = 32  # of so many inputs, one is compared with what is slow

Tree = dict[int, "tuple[str, bytes] | list[Tree]"]
"""tag -> a VR and a value in little endian, or a list of items, which are trees."""


# -- what is valid


def tree(chance: random.Random, depth: int) -> Tree:
    """Elements by chance. A private sequence always has items: in implicit VR nothing else tells it."""
    made: Tree = {}
    for tag in chance.sample(KNOWN, chance.randrange(1, 6)):
        vr = dictionary_vr(tag)
        made[tag] = vr, _value(chance, vr)
    if chance.random() < 0.4:
        for tag in chance.sample(PRIVATE, chance.randrange(1, 3)):
            vr = chance.choice(("UN", "LO", "OB", "US", "FD", "UT"))
            made[tag] = vr, _value(chance, vr)
    if depth:
        for tag in chance.sample(SEQUENCES, chance.randrange(2)):
            made[tag] = [tree(chance, depth - 1) for _ in range(chance.randrange(3))]
        if chance.random() < 0.2:
            made[PRIVATE_SEQUENCE] = [tree(chance, depth - 1) for _ in range(chance.randrange(1, 3))]
    return dict(sorted(made.items()))


def _value(chance: random.Random, vr: str) -> bytes:
    if vr in ("UI", "DS", "IS", "DA", "TM"):
        return chance.choice((b"1.2.3 ", b"", b"12", b"20260101", b"1\\2\\34 "))
    if vr in ("CS", "LO", "PN", "SH", "ST", "LT", "UT"):
        return chance.choice((b"", b"AB", b"ISO_IR 100", b"A^B ", b"\\", b"DERIVED\\SECONDARY ", b"x" * 70))
    word_bytes = WORD_BYTES.get(vr, 2)
    return chance.randbytes(word_bytes * chance.choice((0, 1, 1, 1, 2, 3, 40)))


def encode(tree: Tree, encoding: Encoding, chance: random.Random) -> bytes:
    """The data set in an encoding, with lengths defined and undefined, written with nothing of what is tested."""
    order, data = encoding.order, b""

    def head(tag: int, vr: str, length: int) -> bytes:
        start = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
        if not encoding.explicit or not vr:
            return start + struct.pack(order + "L", length)
        if vr in LONG_FORM:
            return start + vr.encode() + struct.pack(order + "HL", 0, length)
        return start + vr.encode() + struct.pack(order + "H", length)

    def nest(tag: int, vr: str, content: bytes, end: int) -> bytes:
        if chance.random() < 0.5 or (tag == PRIVATE_SEQUENCE and not encoding.explicit):
            return head(tag, vr, UNDEFINED) + content + head(end, "", 0)
        return head(tag, vr, len(content)) + content

    for tag, what in tree.items():
        if isinstance(what, list):
            items = b"".join(nest(ITEM, "", encode(item, encoding, chance), ITEM_END) for item in what)
            data += nest(tag, "SQ", items, SEQUENCE_END)
        else:
            vr, value = what
            data += head(tag, vr, len(value)) + (swapped(value, WORD_BYTES.get(vr, 1)) if order == ">" else value)
    return data


def _parts(data: bytes, at: int, encoding: Encoding) -> list[Part]:
    """Elements, items and fragments of a valid data set that begins at `at`."""
    source = ByteSource(lambda offset, length: data[offset : offset + length], len(data))
    parts: list[Part] = []
    open_parts: list[int] = []
    for tag, vr, begin, value, length, here in walk(source, at, len(data), encoding):
        around = open_parts[-1] if open_parts else -1
        if not vr and tag in (ITEM_END, SEQUENCE_END):
            number = open_parts.pop()
            parts[number] = parts[number]._replace(end=value)
            continue
        form = here.order + ("H" if here.explicit and value - begin == 8 and vr and tag >> 16 != 0xFFFE else "L")
        length_at = -1 if length == UNDEFINED else value - struct.calcsize(form)
        nests = length == UNDEFINED or (vr == "SQ" and length) or (tag == ITEM and not vr)
        if nests:
            open_parts.append(len(parts))
        parts.append(Part(begin, value, value + (0 if nests else length), around, length_at, form))
    return parts


def _trimmed(name: str) -> bytes:
    """A real file without most of its pixels, by pydicom."""
    dataset = pydicom.dcmread(real(name))
    if "PixelData" in dataset and not dataset.file_meta.TransferSyntaxUID.is_compressed:
        dataset.PixelData = dataset.PixelData[:64]
    for tag in list(dataset.keys())[::-1]:
        out = BytesIO()
        dataset.save_as(out)
        if len(out.getvalue()) <= LONGEST_BYTES:
            break
        if tag >> 16 > 8 and tag not in (0x00280010, 0x00280011, 0x00280100):
            del dataset[tag]
    return out.getvalue()


@cache
def files() -> list[Seed]:
    """Whole files, made up and real."""
    contents = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        contents = [content for content in map(_trimmed, REAL) if len(content) < 2 * LONGEST_BYTES]
    for number in range(24):
        chance = random.Random(number)
        syntax = chance.choice((EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, uids.JPEG2000, uids.DEFLATED_LE))
        contents.append(_file(chance, syntax))
    seeds = []
    for content in contents:
        head = decode_head(content)
        assert head is not None
        meta, at = head
        parts = _parts(content[:at], 132, EXPLICIT)
        if meta.transfer_syntax_uid != uids.DEFLATED_LE:
            number = len(parts)
            inside = _parts(content, at, encoding_of(SYNTAXES[meta.transfer_syntax_uid]))
            parts += [part._replace(around=part.around + number if part.around >= 0 else -1) for part in inside]
        seeds.append(Seed(content, parts))
    return seeds


def _file(chance: random.Random, syntax: str) -> bytes:
    meta = FileMeta("1.2.840.10008.5.1.4.1.1.7", "2.25.1", syntax, "CT1", "CT1", "PACS", chance.choice(("", "odd")))
    encoding = encoding_of(SYNTAXES[syntax])
    data = encode(tree(chance, 3), encoding, chance)
    if chance.random() < 0.6:
        data += _pixels(chance, SYNTAXES[syntax].encapsulated, encoding)
    if syntax == uids.DEFLATED_LE:
        deflater = zlib.compressobj(wbits=-15)
        data = deflater.compress(data) + deflater.flush()
    return encode_head(meta) + data


def _pixels(chance: random.Random, encapsulated: bool, encoding: Encoding) -> bytes:
    if not encapsulated:
        value = chance.randbytes(2 * chance.randrange(30))
        return _head(PIXEL_DATA, "OW", len(value), encoding) + value
    fragments = [chance.randbytes(chance.randrange(20)) for _ in range(chance.randrange(1, 4))]
    items = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(each)) + each for each in (b"", *fragments))
    return _head(PIXEL_DATA, "OB", UNDEFINED, encoding) + items + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def _head(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    start = struct.pack(encoding.order + "HH", tag >> 16, tag & 0xFFFF)
    if encoding.explicit:
        return start + vr.encode() + struct.pack(encoding.order + "HL", 0, length)
    return start + struct.pack(encoding.order + "L", length)


# -- inputs


def file(chance: random.Random) -> bytes:
    """A damaged file; of a deflated one, the stream or what is in it."""
    data = mutant(chance, files())
    if chance.random() < 0.1:
        head = _decoded(data)
        if head is not None and head[0].transfer_syntax_uid == uids.DEFLATED_LE:
            try:
                inflated = zlib.decompress(data[head[1] :], -15)
            except zlib.error:
                return data
            deflater = zlib.compressobj(1, wbits=-15)
            return data[: head[1]] + deflater.compress(bent(chance, inflated)) + deflater.flush()
    return data


def valid(chance: random.Random) -> bytes:
    """A file without damage."""
    return _file(chance, chance.choice((EXPLICIT_LE, EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE)))


def _decoded(data: bytes) -> tuple[FileMeta, int] | None:
    try:
        return decode_head(data)
    except Corrupt:
        return None


def _chance(data: bytes) -> random.Random:
    return random.Random(zlib.crc32(data))


def _peeked(data: bytes) -> Header:
    return peek(lambda offset, length: data[offset : offset + length], len(data))


# -- what must hold


def head(data: bytes) -> str:
    """A beginning tells the same as the whole, or nothing yet; what is written is read again."""
    chance = _chance(data)

    def told(given: bytes) -> tuple[FileMeta, int] | str | None:
        try:
            return decode_head(given)
        except Corrupt:
            return "corrupt"

    found = told(data)
    for _ in range(4):
        beginning = told(data[: chance.randrange(len(data) + 1)])
        assert beginning is None or beginning == found
    if not isinstance(found, tuple):
        return "refused"
    meta, at = found
    assert 132 < at <= len(data)
    for uid in (meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid):
        assert len(uid) <= 64
        assert uid.isascii()
        assert uid.isprintable()
    for title in (meta.source, meta.sending, meta.receiving, meta.flag):
        assert not set(title) & set("\0\n\r\x1b\\")
    written = encode_head(meta)
    again = decode_head(written)
    assert again is not None
    assert again[1] == len(written)
    assert again[0].sop_instance_uid == meta.sop_instance_uid
    once_more = decode_head(encode_head(again[0]))
    assert once_more is not None
    assert once_more[0] == again[0]
    return "read"


def header(data: bytes) -> str:
    """Whatever somebody asks of a header is answered, or is Corrupt."""
    try:
        found = _peeked(data)
    except Corrupt:
        return "refused"
    _ask(found.dataset, 0)
    assert found.uneven in (True, False)
    for tag in found.file_meta.read():
        found.texts(tag)
    for wanted in (0x00081155, 0x00100010):
        try:
            list(found.dataset.find(wanted))
            even.odd_inside(found.dataset)
        except Corrupt:
            pass
    encapsulated_inside(found.dataset)
    derive.was_lossy(found)
    as_named(found.meta, data[found.offset :][:LOOK_BYTES])
    return "read flawed" if found.flaw else "read"


def _ask(dataset: Dataset, depth: int) -> None:
    try:
        elements = dataset.read()
    except Corrupt:
        return
    for tag in elements:
        vr, raw, texts = dataset.vr(tag), dataset.raw(tag), dataset.texts(tag)
        assert vr is not None
        assert raw is not None
        assert texts is not None
        assert all(isinstance(text, str) for text in texts)
        dataset.integer(tag)
        if depth < 3:
            try:
                for item in dataset.items(tag):
                    _ask(item, depth + 1)
            except Corrupt:
                pass
    dataset.private_tag(0x0009, 0x01, "GEMS")


def identity(data: bytes) -> str:
    """The first bytes name an instance, or not yet; more bytes never name another one."""
    decoded = _decoded(data)
    begin = decoded[1] if decoded else 0
    syntax = decoded[0].transfer_syntax_uid if decoded else EXPLICIT_LE
    beginning = data[begin:][:LOOK_BYTES]
    try:
        found = uids_in(beginning, syntax)
        part = uids_in(beginning[: _chance(data).randrange(len(beginning) + 1)], syntax)
    except Corrupt:
        return "refused uid"  # the caller keeps what the command says
    assert part is None or part == found
    who = identify("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2", "1.2.3", syntax, beginning, whole=True)
    assert isinstance(who, Identity)
    assert len(who.sop_class) <= 64
    assert 0 < len(who.sop_instance) <= 64
    assert who.flag.isprintable()
    return "read" if found and any(found) else "refused"


def agreed(data: bytes) -> str:
    """A valid data set: pydicom reads the same, nothing to change changes nothing, and there and back is the same."""
    found = _peeked(data)
    assert not found.flaw
    dataset, syntax = data[found.offset :], found.syntax
    same = _made(dataset, syntax.uid, syntax.uid)
    assert same == dataset
    explicit, big = (_made(dataset, syntax.uid, target) for target in (EXPLICIT_LE, EXPLICIT_BE))
    assert _made(explicit, EXPLICIT_LE, EXPLICIT_BE) == big
    assert _made(big, EXPLICIT_BE, EXPLICIT_LE) == explicit
    implicit = _made(explicit, EXPLICIT_LE, IMPLICIT_LE)
    assert _made(implicit, IMPLICIT_LE, IMPLICIT_LE) == implicit
    if zlib.crc32(data) % COMPARED == 0:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = pydicom.dcmread(BytesIO(data))
            mine = pydicom.dcmread(BytesIO(encode_head(FileMeta("1.2", "1.3", EXPLICIT_LE)) + explicit))
            assert [int(tag) for tag in theirs.keys()] == list(found.dataset.read())  # noqa: SIM118
            if syntax.uid == EXPLICIT_LE:
                assert list(leaves(theirs, True)) == list(leaves(mine, True))
            for element in theirs:
                if element.VR in ("US", "UL", "UI", "CS") and element.tag.group < 0x7FE0 and element.VM == 1:
                    texts = found.texts(int(element.tag))
                    assert texts is not None
                    assert texts == (str(element.value).strip("\0 "),) or not texts
    return "read"


def _made(data: bytes, syntax: str, target: str, replace: Replacements | None = None) -> bytes:
    """The data set rewritten; pixels as they are."""
    source, goal = SYNTAXES[syntax], SYNTAXES[target]
    pieces = list(rewrite(whole(data, source), goal, replace or {}))
    _check(pieces, len(data))
    return joined(data, pieces, source, goal)


def _check(pieces: Sequence[Piece], size: int) -> None:
    for piece in pieces:
        if isinstance(piece, Copy):
            assert 0 <= piece.offset <= piece.offset + piece.length <= size
            assert piece.length % piece.swap == 0
        elif isinstance(piece, Pixels):
            assert 0 <= piece.offset <= piece.offset + (piece.length or 0) <= size
        elif isinstance(piece, bytes):
            assert piece


def _inflated(data: bytes) -> tuple[bytes, Header] | None:
    """The data set as it is rewritten, and the header; None = it is not read, or is too long to be interesting."""
    try:
        found = _peeked(data)
    except Corrupt:
        return None
    if not found.syntax.deflated:
        return data[found.offset :], found
    inflater = zlib.decompressobj(-15)
    try:
        return inflater.decompress(data[found.offset :], 65536), found
    except zlib.error:
        return None


def edit(data: bytes) -> str:
    """A rewritten data set is sound: it is read again, in its order, and rewriting it once more changes nothing."""
    given = _inflated(data)
    if given is None:
        return "refused"
    dataset, found = given
    outcome = "refused"
    replace: Replacements = {0x00280004: ("CS", b"RGB"), 0x00100010: None, 0x00181063: ("DS", Hole(14, b"7\\"))}
    for target in SYNTAX.values():
        if found.pixel_data == "encapsulated" and (target.big_endian or found.syntax.big_endian):
            continue  # the caller writes native pixels there
        for changes in ({}, replace):
            try:
                made = _made(dataset, found.syntax.uid, target.uid, changes)
            except Corrupt:
                continue
            outcome = "read"
            again = whole(made, target).read()
            for tag, new in changes.items():
                assert (tag in again) == (new is not None)
            assert _made(made, target.uid, target.uid) == made
    return outcome


def padding(data: bytes) -> str:
    """What was padded has nothing odd left, and the view gives the same bytes in whatever portions."""
    given = _inflated(data)
    if given is None:
        return "refused"
    dataset, found = given
    try:
        changes, undivided = even.changes(whole(dataset, found.syntax))
    except Corrupt:
        return "refused"
    view = even.PaddedView(lambda at, length: dataset[at : at + length], len(dataset), changes)
    padded = view.read_at(0, view.size)
    assert len(padded) == view.size
    chance = _chance(data)
    for _ in range(4):
        at, length = chance.randrange(view.size + 1), chance.choice((1, 7, 100, 65536))
        assert view.read_at(at, length) == padded[at : at + length]
    if undivided:
        return "read undivided"
    assert not len(padded) % 2
    again, _ = even.changes(whole(padded, found.syntax))
    assert not again
    return "read"


def draft(data: bytes) -> str:
    """What was set in a draft is in what is written, and what was removed is not."""
    given = _inflated(data)
    if given is None:
        return "refused"
    dataset, found = given
    chance = _chance(data)
    base = whole(dataset, found.syntax)
    try:
        over = Draft(base)
        wanted: dict[int, tuple[str, ...]] = {}
        for _ in range(chance.randrange(1, 5)):
            _change(chance, over, wanted, 0)
        over.trailing()
        target = chance.choice(list(SYNTAX.values()))
        pieces = list(
            rewrite(base, target, over.replacements(), Patch((0x52009229,), 0x00089007, b"ORIGINAL", b"DERIVED"))
        )
        _check(pieces, len(dataset))
        made = whole(joined(dataset, pieces, found.syntax, target), target)
        made.read()
    except (Corrupt, Unwritable):
        return "refused"
    for tag, texts in wanted.items():
        assert made.texts(tag) == texts
    return "read"


def _change(chance: random.Random, over: Draft, wanted: dict[int, tuple[str, ...]], depth: int) -> None:
    tags = [tag for tag in over.tags() if tag >> 16 not in (0, 2, 0x7FE0, 0xFFFE) and tag & 0xFFFF] or [0x00100010]
    tag = chance.choice((chance.choice(tags), 0x00100010, 0x00100020, 0x00081030))
    match chance.randrange(5):
        case 0:
            over.remove(tag)
            if not depth:
                wanted.pop(tag, None)
        case 1:
            tag, text = chance.choice((0x00100010, 0x00100020)), chance.choice(("A^B", "", "x" * 40))
            over.set_texts(tag, "PN" if tag == 0x00100010 else "LO", [text] if text else [])
            if not depth:
                wanted[tag] = (text,) if text else ()
        case 2:
            over.set_texts(tag, "", [str(chance.randrange(100))])
            wanted.pop(tag, None)
        case 3:
            item = over.new_item()
            item.set_texts(0x00081155, "UI", ["1.2.3"])
            over.set_items(0x00081140, (*over.items(0x00081140), item))
        case 4 if depth < 2:
            sequences = [tag for tag in tags if over.items(tag)]
            if sequences:
                _change(chance, chance.choice(over.items(chance.choice(sequences))), wanted, depth + 1)


def derived(data: bytes) -> str:
    """A lossy object says so, whatever it was made of, and so does the original of which its syntax no longer tells."""
    given = _inflated(data)
    if given is None:
        return "refused"
    dataset, found = given
    if found.syntax.deflated:
        return "refused deflated"
    target = SYNTAXES[uids.JPEG2000]
    try:
        changes = derive.lossy(found, "2.25.7", target, 10.0)
        base = whole(dataset, found.syntax)
        pieces = list(rewrite(base, target, changes, derive.FRAME_TYPE))
        _check(pieces, len(dataset))
        made = whole(joined(dataset, pieces, found.syntax, target), target)
        made.read()
    except Corrupt:
        return "refused"
    assert (made.texts(0x00282110) or ())[-1:] == ("01",)
    assert made.texts(0x00080018) == ("2.25.7",)
    assert (made.texts(0x00080008) or ("",))[0] == "DERIVED"
    assert len(made.items(0x00082112)) == len(found.dataset.items(0x00082112)) + 1
    assert derive.still_lossy(found) == {} or found.syntax.lossy
    return "read"
