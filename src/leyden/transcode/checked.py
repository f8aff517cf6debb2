"""The series of which an object was decoded again and compared, in words of memory that all workers share.

A word holds the hash of a series, and whether a comparison has found a difference. If two series have the same word,
the later one takes it, and the first is compared once more. A word is stored in one piece, so no lock is needed.
"""

from hashlib import blake2b

_DIFFERED = 1


class CheckedSeries:
    """`words`: shared memory of format "Q", all zero at first. A series is given as any objects that identify it."""

    def __init__(self, words: memoryview) -> None:
        self._words = words

    def begin(self, *series: object) -> bool:
        """Whether the caller must compare: it is the first to ask, or an object of the series differed.

        A caller that does not finish the object must call forget().
        """
        at, word = self._place(series)
        if self._words[at] == word:
            return False
        if self._words[at] != word | _DIFFERED:
            self._words[at] = word
        return True

    def differed(self, *series: object) -> None:
        """Note that an object differed: all further ones of the series are compared."""
        at, word = self._place(series)
        self._words[at] = word | _DIFFERED

    def forget(self, *series: object) -> None:
        """An object of the series was not finished, so perhaps not compared. An earlier difference is not forgotten."""
        at, word = self._place(series)
        if self._words[at] == word:
            self._words[at] = 0

    def _place(self, series: tuple[object, ...]) -> tuple[int, int]:
        digest = int.from_bytes(blake2b(ascii(series).encode(), digest_size=8).digest(), "big")
        return (digest >> 1) % len(self._words), digest & ~_DIFFERED
