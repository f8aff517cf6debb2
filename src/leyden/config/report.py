"""Collects the problems of a configuration, so that an operator sees all of them at once, each with its place."""

import difflib
from collections.abc import Iterable

from leyden.config.yaml_text import At

FILES = ("config.yml", "nodes.yml", "callers.yml", "routings.yml", "mutations.yml", "sortings.yml")
_STEM_MIN_CHARS = 3


class Report:
    """Errors and warnings, each a line `file:line: place: message`, in the order of the files and their lines.

    `serves`: this process serves by what is read. Else another user may do so, who can read other files.
    """

    def __init__(self, *, serves: bool = False) -> None:
        self._serves = serves
        self._errors: dict[tuple[At, str], None] = {}
        self._warnings: dict[tuple[At, str], None] = {}

    def error(self, at: At, place: str, message: str) -> None:
        self._errors[at, _line(at, place, message)] = None

    def warn(self, at: At, place: str, message: str) -> None:
        self._warnings[at, _line(at, place, message)] = None

    def unreadable(self, at: At, place: str, message: str) -> None:
        """This user may not read a file that the service needs."""
        if self._serves:
            self.error(at, place, message)
        else:
            self.warn(at, place, f"{message}, and this user can't check it")

    @property
    def errors(self) -> tuple[str, ...]:
        return _in_order(self._errors)

    @property
    def warnings(self) -> tuple[str, ...]:
        return _in_order(self._warnings)


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """` (did you mean X?)` with the nearest of the names, or nothing."""
    name = nearest(word, names)
    return f" (did you mean {name}?)" if name else ""


def nearest(word: str, names: Iterable[str]) -> str:
    """The name that `word` most probably stands for, in any case; empty if none is near."""
    spelled = {name.casefold(): name for name in names}
    found = difflib.get_close_matches(word.casefold(), spelled, 1, 0.75 if len(word) > 3 else 0.6)  # Tsl is Tls
    return spelled[found[0]] if found else ""


def nearest_key(word: str, keys: Iterable[str]) -> str:
    """As nearest(); else the only key that the word begins, or that begins it: Host is HostName, keyFile is key."""
    keys, stem = tuple(keys), word.casefold().removesuffix("file")
    begun = [key for key in keys if _one_begins_the_other(stem, key.casefold())]
    return nearest(word, keys) or (begun[0] if len(begun) == 1 else "")


def _one_begins_the_other(word: str, key: str) -> bool:
    return min(len(word), len(key)) >= _STEM_MIN_CHARS and (key.startswith(word) or word.startswith(key))


def _line(at: At, place: str, message: str) -> str:
    text = f"{at}: {place}: {message}" if place else f"{at}: {message}"
    return text.replace("\n", " ")  # a value or a key of several lines


def _in_order(found: dict[tuple[At, str], None]) -> tuple[str, ...]:
    def rank(key: tuple[At, str]) -> tuple[int, str, int]:
        at = key[0]
        return (FILES.index(at.file) if at.file in FILES else len(FILES), at.file, at.line)

    return tuple(text for _, text in sorted(found, key=rank))
