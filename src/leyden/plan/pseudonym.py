"""Who a patient is, and what stands for a patient, a UID or a date once nobody may know them.

A pseudonym comes from a CSV file of the operator's (leyden/pseudonyms.py) or, like everything else here, from a secret
key: the same for the same, in every process and after every restart, without a table.
"""

import base64
import hashlib
import hmac
from typing import Protocol

import msgspec

from leyden.dicom.elements import tag_name
from leyden.dicom.header import Dataset
from leyden.errors import LeydenError

PATIENT_ID = 0x00100020
ISSUER_OF_PATIENT_ID = 0x00100021
_ID_MAX_CHARS = 256
_SHIFT_MAX_DAYS = 3650


class Unsafe(LeydenError):
    """An object that must not leave, as it can't be cleaned. The text says why and holds no value of the dataset."""


class Patient(msgspec.Struct, frozen=True):
    """What tells a patient from others: Patient ID and Issuer of Patient ID."""

    id: str
    issuer: str = ""


def patient_of(dataset: Dataset) -> Patient:
    """The patient of a dataset; an empty id if it names none.

    Raises Unsafe if that can't be read without doubt: two patients must never become one.
    """
    texts = []
    for tag in (PATIENT_ID, ISSUER_OF_PATIENT_ID):
        text = "\\".join(dataset.texts(tag) or ())
        if "\ufffd" in text or not text.isprintable() or len(text) > _ID_MAX_CHARS:
            raise Unsafe(f"{tag_name(tag)} holds characters that can't be read, or too many")
        texts.append(text)
    return Patient(*texts)


class Keyed:
    """What follows from a secret key: always the same for the same, and not to be found out without the key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def uid(self, uid: str) -> str:
        """The UID that stands for another one; a UUID of version 8 below 2.25 (PS3.5 B.2)."""
        number = int.from_bytes(self._digest("uid", uid)[:16], "big")
        number = number & ~(0xF << 76) | 8 << 76
        return f"2.25.{number & ~(0x3 << 62) | 2 << 62}"

    def pseudonym(self, patient: Patient) -> str:
        """A Patient ID, where no file gives one."""
        return "ANON" + base64.b32encode(self._digest("patient", f"{patient.id}\\{patient.issuer}")[:10]).decode()

    def shift_days(self, patient: Patient, study: str) -> int:
        """By how many days the dates of a patient are shifted: at most ten years back, and at least one day.

        Without a Patient ID it follows from the study.
        """
        who = f"{patient.id}\\{patient.issuer}" if patient.id else f"\\\\{study}"
        return -1 - int.from_bytes(self._digest("dates", who)[:8], "big") % _SHIFT_MAX_DAYS

    def _digest(self, purpose: str, text: str) -> bytes:
        return hmac.digest(self._key, f"{purpose}\0{text}".encode(), hashlib.sha256)


class Pseudonymizer(Protocol):
    """What stands for whom; pseudonyms.py has it on the disk. Both raise Transient: it can't be said now."""

    def keyed(self) -> Keyed: ...

    def pseudonym_of(self, mapping: str, patient: Patient) -> str: ...
