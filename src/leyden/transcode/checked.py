"""The series of which an object was decoded again and compared: known to all workers, in words of shared memory.

A word holds a series' hash and how it came out; of two series that want the same word the later one has it, and the
first is compared once more. Each word is stored in one piece, so that no lock is needed.
"""

from hashlib import blake2b

_DIFFERED = 1


class CheckedSeries:
    """`words`: shared memory, of format "Q", all zero at first."""

    def __init__(self, words: memoryview) -> None:
        self._words = words

    def begin(self, *series: object) -> bool:
        """Whether the caller is to compare: it is the first to ask, or something of the series came out wrong.

        Whoever does not come to an end with an object has to forget() its series.
        """
        at, word = self._place(series)
        if self._words[at] == word:
            return False
        if self._words[at] != word | _DIFFERED:
            self._words[at] = word
        return True

    def differed(self, *series: object) -> None:
        """Something came out wrong: all that follows is compared."""
        at, word = self._place(series)
        self._words[at] = word | _DIFFERED

    def forget(self, *series: object) -> None:
        """One of the series was not made, and so perhaps not compared; what came out wrong before stays known."""
        at, word = self._place(series)
        if self._words[at] == word:
            self._words[at] = 0

    def _place(self, series: tuple[object, ...]) -> tuple[int, int]:
        digest = int.from_bytes(blake2b(ascii(series).encode(), digest_size=8).digest(), "big")
        return (digest >> 1) % len(self._words), digest & ~_DIFFERED
