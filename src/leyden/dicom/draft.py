"""A dataset with edits laid over it: it reads as it will leave, and says what has to be rewritten for that.

A Draft is a Dataset, so conditions, the peek and the code of derived objects see its edits. Nothing is written here:
`replacements()` goes to edit.rewrite(). Items of sequences are Drafts as well. Elements behind Pixel Data are not read,
but they can be removed or replaced. A dataset in which an element occurs twice has no Draft: only one of them would be
seen.
"""

from collections.abc import Iterable, Iterator, Mapping

from leyden.dicom.edit import Edited, Items, Replacement, Replacements, swapped
from leyden.dicom.elements import (
    BIG,
    ITEM,
    PIXEL_DATA,
    PIXEL_ELEMENTS,
    UNDEFINED,
    WORD_BYTES,
    ByteSource,
    Element,
    dictionary_vr,
    level,
    offset_behind,
    tag_name,
)
from leyden.dicom.header import CHARACTER_SET, Dataset, resolve
from leyden.dicom.values import SINGLE_VALUE_VRS, Unwritable, encoded
from leyden.errors import Corrupt

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
            elements = self._base.read(lenient=lenient)
            at = self.start
            for tag, _, begin, _, _, after in elements.values():
                if begin != at:  # read() keeps only the last of equal tags
                    raise Corrupt(f"an element occurs twice, {tag_name(tag)} or the one before it")
                at = after
            self._elements = dict(elements)
            self.flaw = self._base.flaw
        return self._elements

    def tags(self) -> list[int]:
        """The tags up to Pixel Data, in order."""
        return sorted(self.read())

    def trailing(self) -> list[int]:
        """The tags behind Pixel Data, which read() does not have: padding, private groups ... Raises Corrupt."""
        found: list[int] = []
        elements: Iterable[Element] = self._base.read().values()
        while pixels := next((element for element in elements if element[0] in PIXEL_ELEMENTS), None):
            tag, vr, _, value, length, at = pixels
            if length == UNDEFINED:
                at = offset_behind(self.source, tag, vr, value, self.end, self.encoding)
            elements = tuple(level(self.source, at, self.end, self.encoding)) if at < self.end else ()
            found += (element[0] for element in elements)
        return found

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

    def set(self, tag: int, vr: str, value: bytes) -> bool:
        """Give an element a VR and a value in little endian, which is padded here. An empty SQ has no items.

        False: it has that value already. ValueError: a tag that nobody may set (delimiters, group lengths, Pixel Data).
        """
        self._refuse(tag)
        if vr == "SQ":
            if value:
                raise ValueError("a sequence is set by set_items()")
            self.set_items(tag, ())
            return True
        value += (b"\0" if vr in ("UI", "OB", "UN") else b" ") * (len(value) & 1)
        present = self.read().get(tag)
        if present and present[1] == vr and present[4] == len(value) and self._little_endian(present) == value:
            return False
        self._forget(tag)
        self._new[tag] = vr, value
        self.read()[tag] = tag, vr, -1, -1, len(value), -1
        return True

    def set_texts(self, tag: int, vr: str, texts: Iterable[str]) -> bool:
        """Set an element to texts, in the Specific Character Set that holds here. `vr` "" = see writing_vr().

        False: it has that value already. Raises Unwritable: the VR is not known or has no text, or a text does not fit
        it or the character set.
        """
        vr = vr or self.writing_vr(tag)
        sets = () if tag == CHARACTER_SET else self._character_sets()
        return self.set(tag, vr, encoded(tag, vr, tuple(texts), sets))

    def value_of(self, tag: int, vr: str, text: str) -> tuple[str, bytes]:
        """VR and value for set(), of a text in which backslashes separate values where the VR has several.

        `vr` and errors: as for set_texts().
        """
        vr = vr or self.writing_vr(tag)
        sets = () if tag == CHARACTER_SET else self._character_sets()
        return vr, encoded(tag, vr, (text,) if vr in SINGLE_VALUE_VRS else text.split("\\"), sets)

    def remove(self, tag: int) -> bool:
        """Leave an element out. One behind Pixel Data is left out if it is there. False: there is none."""
        self._refuse(tag)
        behind = self.parent is None and tag > PIXEL_DATA
        if self.read().pop(tag, None) is None and not (behind and tag not in self._new):
            return False
        self._forget(tag)
        if behind or tag in self._base:
            self._new[tag] = None
        return True

    def edits(self, tag: int) -> bool:
        """Whether an element was set or removed (not: whether an item of it was edited)."""
        return tag in self._new or tag in self._reshaped

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

    def copy_original(self, tag: int, before: Replacements, into: "Draft") -> None:
        """Copy an element into another Draft, an item of this one, as it was when replacements() gave `before`.

        One that was not there is left out. Raises Corrupt if a sequence does not parse.
        """
        if tag in before:
            into.apply({tag: before[tag]})
            return
        element = self._base.read().get(tag)
        if element is None:
            return
        vr = self._base.vr(tag) or "UN"
        items = self._base.items(tag)
        if items or vr == "SQ":
            into.set_items(tag, (Draft(item, into) for item in items))
            return
        value = Draft(self._base)._little_endian(element)
        if value is None:
            raise Corrupt(f"{tag_name(tag)} is too long to be kept")
        into.set(tag, vr, value)

    def apply(self, changes: Replacements) -> None:
        """Make the edits that replacements() gave of another Draft."""
        for tag, new in changes.items():
            if new is None:
                self.remove(tag)
            elif isinstance(new[1], bytes):
                self.set(tag, new[0], new[1])
            elif isinstance(new[1], tuple):
                self.set_items(tag, [self._like(item) for item in new[1]])

    def _like(self, item: "Dataset | Edited | Replacements") -> "Draft":
        """An item of this dataset, made of one that edit.rewrite() takes."""
        if isinstance(item, Dataset):
            return Draft(item, self)
        made = Draft(item.item, self) if isinstance(item, Edited) else self.new_item()
        made.apply(item.replace if isinstance(item, Edited) else item)
        return made

    def _forget(self, tag: int) -> None:
        """Forget what was done to an element before."""
        self._new.pop(tag, None)
        self._sequences.pop(tag, None)
        self._reshaped.discard(tag)

    def _refuse(self, tag: int) -> None:
        group = tag >> 16
        if group in (0, ITEM >> 16) or not tag & 0xFFFF or (group == PIXEL_DATA >> 16 and self.parent is None):
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
