"""Decides by which SOP class and instance UID an object goes, where context, command and dataset differ (PS3.4 B.2).

Some devices contradict themselves. Then the dataset counts, if its first bytes give the UIDs: file meta information and
C-STORE-RQ have to name what is in the dataset, and some archives compare. The other UIDs become a flag, a text for
people. Only the beginning of the dataset is read; if it is deflated, or begins with long elements, the command counts.
"""

import msgspec
from msgspec.structs import replace

from leyden.dicom.edit import element
from leyden.dicom.elements import SHORT_FORM, ByteSource, encoding_of, level
from leyden.dicom.part10 import FileMeta
from leyden.dicom.uids import SYNTAXES, clean_uid, is_storage, is_well_formed
from leyden.errors import Corrupt

LOOK_BYTES = 1024
_SOP_CLASS = 0x00080016
_SOP_INSTANCE = 0x00080018


class Identity(msgspec.Struct, frozen=True):
    """The UIDs by which an object goes, and a text about the others that it was given ("" = none)."""

    sop_class: str
    sop_instance: str
    flag: str = ""


def uids_in(beginning: bytes, syntax: str, *, whole: bool = False) -> tuple[str, str] | None:
    """SOP class and instance UID at the beginning of a dataset in this transfer syntax; None = more bytes may tell.

    "" = the dataset does not name it, or it is deflated or broken. `whole`: there are no more bytes. 7 us for an image.
    """
    form = SYNTAXES.get(syntax)
    if form is None or form.deflated:
        return "", ""
    found = {_SOP_CLASS: "", _SOP_INSTANCE: ""}
    encoding, final = encoding_of(form), whole or len(beginning) >= LOOK_BYTES
    source = ByteSource(lambda offset, length: beginning[offset : offset + length], len(beginning), beginning)
    try:
        for tag, vr, at, value, length, _ in level(source, 0, len(beginning), encoding):
            if not final and encoding.explicit and value - at == 8 and vr not in SHORT_FORM:
                return None  # it has no VR, and what follows tells how long it is
            if tag in found:
                found[tag] = clean_uid(beginning[value : value + length])
            if tag >= _SOP_INSTANCE:
                return found[_SOP_CLASS], found[_SOP_INSTANCE]
    except Corrupt:
        pass  # it ends here, or it does not parse
    return (found[_SOP_CLASS], found[_SOP_INSTANCE]) if final else None


def identify(
    context_class: str, command_class: str, command_instance: str, syntax: str, beginning: bytes, *, whole: bool
) -> Identity | None:
    """The identity of an object, from the abstract syntax of its context, its C-STORE-RQ and its first bytes.

    None = more bytes may tell; `whole`: there are no more. Not taken from the dataset are a SOP class that
    cannot be proposed, and an ill-formed instance UID if that of the command is well-formed (archives abort at such a
    UID). The usual case, no contradiction, costs a search in the bytes and no parsing.
    """
    form = SYNTAXES.get(syntax)
    if context_class == command_class and form is not None:
        encoding = encoding_of(form)
        usual = element(_SOP_CLASS, "UI", command_class.encode("latin-1", "replace"), encoding)
        usual += element(_SOP_INSTANCE, "UI", command_instance.encode("latin-1", "replace"), encoding)
        if usual in beginning:
            return Identity(command_class, command_instance)
    found = uids_in(beginning, syntax, whole=whole)
    if found is None:
        return None
    dataset_class, dataset_instance = found
    usable = is_well_formed(dataset_class) and is_storage(dataset_class)
    sop_class = dataset_class if usable else command_class
    believed = is_well_formed(dataset_instance) or not is_well_formed(command_instance)
    sop_instance = (dataset_instance if believed else "") or command_instance
    said = (
        ("class", sop_class, context_class, "context"),
        ("class", sop_class, command_class, "command"),
        ("class", sop_class, dataset_class, "data set"),
        ("instance", sop_instance, command_instance, "command"),
        ("instance", sop_instance, dataset_instance, "data set"),
    )
    others = (f"SOP {what} {other} in the {where}" for what, taken, other, where in said if other and other != taken)
    return Identity(sop_class, sop_instance, "; ".join(others))


def as_named(meta: FileMeta, dataset: bytes) -> FileMeta:
    """A file's meta information with the SOP class and instance UID of its dataset, which a C-STORE-RQ has to name."""
    said = meta.sop_class_uid, meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid
    who = identify(*said, dataset[:LOOK_BYTES], whole=True)
    return replace(meta, sop_class_uid=who.sop_class, sop_instance_uid=who.sop_instance) if who else meta
