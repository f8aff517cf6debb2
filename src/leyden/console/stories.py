"""What the page finds: the stories of objects, and how far their studies are."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from leyden.dicom.header import peek
from leyden.errors import Corrupt
from leyden.operate import telling
from leyden.operate.study import Study, study
from leyden.operate.trace import Story, by_accession, by_instance, by_receipts, by_study

STORIES = 100  # that are shown of one search
STUDIES = 5
MISSING = 200  # of a study
TEXT_CHARS = 64  # of a UID (PS3.5 9.1); an accession number and a receipt id are shorter

_RECEIPT = re.compile(r"\d{22}")
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_PATIENT_NAME, _PATIENT_ID = 0x00100010, 0x00100020


def found(root: Path, text: str, *, names: bool = False) -> dict[str, Any]:
    """What is known of a receipt id, a SOP or Study Instance UID, or an accession number, for JSON.

    `names`: with the patients' names, as far as a file of theirs stands in the spool. Raises OSError.
    """
    stories = _stories(root, text)
    studies = sorted(
        {uid for story in stories if (uid := _study_of(story))} or ({text} if _UID.fullmatch(text) else set())
    )
    looked_at = [study(root, uid) for uid in studies[:STUDIES]]
    return {
        "inAll": len(stories),
        "stories": [_story(root, story, names=names) for story in stories[:STORIES]],
        "studies": [_study(each) for each in looked_at if each.received],
    }


def told_as(text: str) -> str:
    """What the journal may say of a search: an accession number is patient data."""
    return text if _RECEIPT.fullmatch(text) or _UID.fullmatch(text) else "by an accession number"


def _stories(root: Path, text: str) -> list[Story]:
    if _RECEIPT.fullmatch(text) and (stories := by_receipts(root, (text,))):
        return stories
    if _UID.fullmatch(text) and (stories := by_instance(root, text) or by_study(root, text)):
        return stories
    try:
        return by_accession(root, text)
    except FileNotFoundError:
        return []  # without its key no accession number was told to the journal


def _study_of(story: Story) -> str:
    return next((uid for event in story.events if (uid := str(event.get("study_instance_uid", "")))), "")


def _story(root: Path, story: Story, *, names: bool) -> dict[str, Any]:
    return {
        "receipt": story.receipt,
        "instance": story.sop_instance_uid,
        "receivedAt": story.received_s,
        "events": [{"at": event["at_s"], "words": telling.told(event)} for event in story.events],
        "now": telling.now(story),
        "patient": _patient(root, (place.path for place in story.places)) if names else "",
    }


def _patient(root: Path, paths: Iterable[str]) -> str:
    """Name and ID, as the first file says that is still there; "" if none is."""
    for path in paths:
        try:
            fd = os.open(root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            header = peek(lambda offset, length, fd=fd: os.pread(fd, length, offset), os.fstat(fd).st_size)  # type: ignore[misc]
            texts = [*(header.texts(_PATIENT_NAME) or ()), *(header.texts(_PATIENT_ID) or ())]
            return ", ".join(filter(None, texts))
        except (OSError, Corrupt):
            continue
        finally:
            os.close(fd)
    return ""


def _study(each: Study) -> dict[str, Any]:
    return {
        "uid": each.uid,
        "received": each.received,
        "dropped": each.dropped,
        "complete": each.complete,
        "destinations": [{"title": to.title, "complete": to.complete, "states": to.states} for to in each.destinations],
        "missingInAll": len(each.missing),
        "missing": [
            {
                "instance": one.sop_instance_uid,
                "destination": one.destination,
                "state": one.state,
                "reason": one.reason,
            }
            for one in each.missing[:MISSING]
        ],
    }
