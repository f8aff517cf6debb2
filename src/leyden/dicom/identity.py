"""Which object it is: what the context, the command and the dataset itself say of SOP class and instance (PS3.4 B.2).

Some devices contradict themselves. The dataset is believed where its first bytes tell, since a file's meta information
and a C-STORE-RQ name what is in the dataset, and archives that compare refuse what does not fit. What was said besides
becomes a flag, a text for people. Only the beginning is looked at: what is deflated, or has long elements in front, is
taken at its command's word.
"""

from dataclasses import dataclass, replace

from leyden.dicom.edit import element
from leyden.dicom.elements import ByteSource, encoding_of, level
from leyden.dicom.part10 import FileMeta
from leyden.dicom.uids import SYNTAXES, clean_uid, is_storage, is_well_formed
from leyden.errors import Corrupt

LOOK_BYTES = 1024
_SOP_CLASS = 0x00080016
_SOP_INSTANCE = 0x00080018


@dataclass(frozen=True, slots=True)
class Identity:
    """The UIDs that an object goes by, and in words which others it was given ("" = none)."""

    sop_class: str
    sop_instance: str
    flag: str = ""


def uids_in(beginning: bytes, syntax: str) -> tuple[str, str] | None:
    """SOP class and instance UID that a dataset in this transfer syntax begins with; None = more of it may tell.

    "" = it does not say, or it can't be seen. 7 us for an image.
    """
    form = SYNTAXES.get(syntax)
    if form is None or form.deflated:
        return "", ""
    found = {_SOP_CLASS: "", _SOP_INSTANCE: ""}
    source = ByteSource(lambda offset, length: beginning[offset : offset + length], len(beginning), beginning)
    try:
        for tag, _, _, value, length, _ in level(source, 0, len(beginning), encoding_of(form)):
            if tag in found:
                found[tag] = clean_uid(beginning[value : value + length])
            if tag >= _SOP_INSTANCE:
                return found[_SOP_CLASS], found[_SOP_INSTANCE]
    except Corrupt:
        pass  # it ends here, or it does not parse
    return None if len(beginning) < LOOK_BYTES else (found[_SOP_CLASS], found[_SOP_INSTANCE])


def identify(
    context_class: str, command_class: str, command_instance: str, syntax: str, beginning: bytes, *, whole: bool
) -> Identity | None:
    """The identity of an object, by the abstract syntax of its presentation context, its C-STORE-RQ and its beginning.

    None = more of the dataset may tell; `whole`: there is no more. A class that can't be proposed to anybody is not
    taken from the dataset, nor is an ill-formed instance UID where the command has a well-formed one, since archives
    abort at it. The usual case, that nothing contradicts, costs a search and no reading.
    """
    form = SYNTAXES.get(syntax)
    if context_class == command_class and form is not None:
        encoding = encoding_of(form)
        usual = element(_SOP_CLASS, "UI", command_class.encode("latin-1", "replace"), encoding)
        usual += element(_SOP_INSTANCE, "UI", command_instance.encode("latin-1", "replace"), encoding)
        if usual in beginning:
            return Identity(command_class, command_instance)
    found = uids_in(beginning, syntax)
    if found is None and not whole:
        return None
    dataset_class, dataset_instance = found or ("", "")
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
    """A file's meta information with the SOP class and instance that its dataset begins with, as a C-STORE-RQ wants."""
    said = meta.sop_class_uid, meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid
    who = identify(*said, dataset[:LOOK_BYTES], whole=True)
    return replace(meta, sop_class_uid=who.sop_class, sop_instance_uid=who.sop_instance) if who else meta
