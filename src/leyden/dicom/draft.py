"""A dataset with edits laid over it: it reads as it will leave, and says what has to be rewritten for that.

A Draft is a Dataset, so conditions, the peek and the code of derived objects see its edits. Nothing is written here:
`replacements()` goes to edit.rewrite(). Items of sequences are Drafts as well. Elements behind Pixel Data are not read,
but they can be removed or replaced.
"""

from collections.abc import Iterable, Iterator, Mapping

from leyden.dicom.edit import Edited, Items, Replacement, Replacements, swapped
from leyden.dicom.elements import (
    BIG,
    ITEM,
    PIXEL_DATA,
    WORD_BYTES,
    ByteSource,
    Element,
    dictionary_vr,
    tag_name,
)
from leyden.dicom.header import CHARACTER_SET, Dataset, resolve
from leyden.dicom.values import SINGLE_VALUE_VRS, Unwritable, encoded

_FIRST_BLOCK, _BLOCKS_END = 0x10, 0x100  # of private elements (PS3.5 section 7.8.1)


class Draft(Dataset):
    """A dataset, or an item of one, whose elements can be set and removed. Reading raises Corrupt as Dataset does."""

    __slots__ = ("_base", "_new", "_reshaped", "_sequences")

    def __init__(self, base: Dataset, parent: "Draft | None" = None) -> None:
        super().__init__(base.source, base.start, base.end, base.encoding, parent, delimited=base._delimited)
        self._base = base
        self._new: dict[int, tuple[str, bytes] | None] = {}  # VR and value in little endian; None = removed
        self._sequences: dict[int, tuple[Draft, ...]] = {}  # those that were asked for, and new ones
        self._reshaped: set[int] = set()  # the sequences that were replaced as a whole
        self.flaw = base.flaw

    # -- reading

    def read(self, *, lenient: bool = False) -> dict[int, Element]:
        """The elements by tag, edits included. The offsets of what was set are -1; its value comes with raw()."""
        if self._elements is None:
            self._elements = dict(self._base.read(lenient=lenient))
            self.flaw = self._base.flaw
        return self._elements

    def tags(self) -> list[int]:
        """The tags up to Pixel Data, in order."""
        return sorted(self.read())

    def items(self, tag: int) -> "tuple[Draft, ...]":
        """The items of a sequence, to be read and edited. Raises Corrupt if they do not parse."""
        if tag not in self._sequences:
            self._sequences[tag] = tuple(Draft(item, self) for item in super().items(tag))
        return self._sequences[tag]

    @property
    def changed(self) -> bool:
        """Whether it differs from what it was made of."""
        return bool(self._new or self._reshaped) or any(
            item.changed for items in self._sequences.values() for item in items
        )

    def _raw(self, element: Element) -> bytes:
        new = self._new.get(element[0])
        if new is None:
            return super()._raw(element)
        vr, value = new
        return swapped(value, WORD_BYTES.get(vr, 1)) if self.encoding is BIG else value

    def _items(self, element: Element) -> Iterator[Dataset]:
        tag = element[0]
        return iter(self._sequences[tag]) if tag in self._sequences else super()._items(element)

    def _find_inside(self, tag: int, element: Element) -> Iterator[tuple[str, ...]]:
        items = self._sequences.get(element[0])
        if items is None:
            yield from super()._find_inside(tag, element)
        else:
            for item in items:
                yield from item.find(tag)

    # -- writing

    def set(self, tag: int, vr: str, value: bytes) -> None:
        """Give an element a VR and a value in little endian, which is padded here. An empty SQ has no items.

        A value that it has already is no edit. ValueError: a tag that nobody may set (file meta, delimiters, Pixel
        Data).
        """
        self._refuse(tag)
        if vr == "SQ":
            if value:
                raise ValueError("a sequence is set by set_items()")
            self.set_items(tag, ())
            return
        value += (b"\0" if vr in ("UI", "OB", "UN") else b" ") * (len(value) & 1)
        present = self.read().get(tag)
        if present and present[1] == vr and present[4] == len(value) and self._little_endian(present) == value:
            return
        self._forget(tag)
        self._new[tag] = vr, value
        self.read()[tag] = tag, vr, -1, -1, len(value), -1

    def set_texts(self, tag: int, vr: str, texts: Iterable[str]) -> None:
        """Set an element to texts, in the Specific Character Set that holds here. `vr` "" = see writing_vr().

        Raises Unwritable: the VR is not known or has no text, or a text does not fit it or the character set.
        """
        vr = vr or self.writing_vr(tag)
        sets = () if tag == CHARACTER_SET else self._character_sets()
        self.set(tag, vr, encoded(tag, vr, tuple(texts), sets))

    def set_text(self, tag: int, vr: str, text: str) -> None:
        """set_texts() for a text in which backslashes separate values, where the VR has several."""
        vr = vr or self.writing_vr(tag)
        self.set_texts(tag, vr, (text,) if vr in SINGLE_VALUE_VRS else text.split("\\"))

    def remove(self, tag: int) -> None:
        """Leave an element out. One behind Pixel Data is left out if it is there."""
        self._refuse(tag)
        if self.read().pop(tag, None) is not None or (self.parent is None and tag > PIXEL_DATA):
            self._forget(tag)
            if tag in self._base or tag > PIXEL_DATA:
                self._new[tag] = None

    def set_items(self, tag: int, items: "Iterable[Draft]") -> None:
        """Give a sequence these items: its own ones (items()), and new ones (new_item())."""
        self._refuse(tag)
        taken = tuple(items)
        self._forget(tag)
        self._sequences[tag] = taken
        self._reshaped.add(tag)
        self.read()[tag] = tag, "SQ", -1, -1, 2 * len(taken), -1  # never odd

    def new_item(self) -> "Draft":
        """An item without elements, for set_items()."""
        return Draft(Dataset(ByteSource(lambda _offset, _length: b"", 0), 0, 0, self.encoding), self)

    def writing_vr(self, tag: int) -> str:
        """The VR in which an element is written: that of the file, else that of PS3.6; LO for a private one without.

        Raises Unwritable for a public tag that PS3.6 does not have.
        """
        vr = self.vr(tag) or dictionary_vr(tag)
        if " or " in vr:
            return resolve(tag, vr, self)
        if vr == "UN":
            if not tag & 0x10000:
                raise Unwritable(f"{tag_name(tag)} is not in PS3.6, so its VR must be given")
            return "LO"
        return vr

    def private_place(self, group: int, low_byte: int, creator: str) -> int:
        """The tag of a private element in the first block of its creator, which is reserved if there is none yet.

        Raises Unwritable if the group has no free block, or the creator can't be written (PS3.5 section 7.8.1).
        """
        elements = self.read()
        wanted = (creator.strip(),)
        blocks = range(_FIRST_BLOCK, _BLOCKS_END)
        block = next((each for each in blocks if self.texts(group << 16 | each) == wanted), None)
        if block is None:
            taken = {tag >> 8 & 0xFF for tag in elements if tag >> 16 == group}  # also blocks that nobody has reserved
            free = (each for each in blocks if group << 16 | each not in elements and each not in taken)
            block = next(free, None)
            if block is None:
                raise Unwritable(f"group {group:04X} has no free block for a private creator")
            self.set_texts(group << 16 | block, "LO", wanted)
        return group << 16 | block << 8 | low_byte & 0xFF

    def replacements(self, over: Mapping[int, Replacement] | None = None) -> Replacements:
        """What edit.rewrite() has to replace in the dataset that this one was made of; `over` wins over it."""
        found: dict[int, Replacement] = dict(self._new)
        for tag, items in self._sequences.items():
            if tag in self._reshaped or any(item.changed for item in items):
                found[tag] = "SQ", items
        found |= over or {}
        return {tag: _without_drafts(found[tag]) for tag in sorted(found)}

    def _little_endian(self, element: Element) -> bytes | None:
        """The value of an element; None if it is too long to be compared."""
        raw = self._raw(element)
        if len(raw) < element[4]:
            return None
        return swapped(raw, WORD_BYTES.get(element[1], 1)) if self.encoding is BIG else raw

    def _forget(self, tag: int) -> None:
        """Forget what was done to an element before."""
        self._new.pop(tag, None)
        self._sequences.pop(tag, None)
        self._reshaped.discard(tag)

    def _refuse(self, tag: int) -> None:
        group = tag >> 16
        if group in (0, 2, ITEM >> 16) or not tag & 0xFFFF or (group == PIXEL_DATA >> 16 and self.parent is None):
            raise ValueError(f"{tag_name(tag)} can't be set")


def _without_drafts(new: Replacement) -> Replacement:
    """The same replacement, with the items of Drafts as edit.rewrite() takes them."""
    if new is None or not isinstance(new[1], tuple):
        return new
    items: Items = tuple(_item(item) if isinstance(item, Draft) else item for item in new[1])
    return new[0], items


def _item(item: Draft) -> "Dataset | Edited | Replacements":
    if item._base.start == item._base.end:
        return item.replacements()
    return Edited(item._base, item.replacements()) if item.changed else item._base
