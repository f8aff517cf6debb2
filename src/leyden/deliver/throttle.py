"""The line to a destination: MaximumLineSpeed as a token bucket, shared by all associations; and what it carries.

It remembers one instant, the one up to which the line is sold; callers are served in the order in which they ask.
In any stretch of t seconds no more than rate x (t + BURST_S) bytes and one chunk are let through.
"""

BURST_S = 0.25
FADING = 0.9  # what an object weighs when the next one has come: the last twenty or so count


class Throttle:
    """Lets through `bytes_per_s` on average. It reads no clock: every call brings its own `now_s`."""

    def __init__(self, bytes_per_s: float) -> None:
        if bytes_per_s <= 0:
            raise ValueError("a throttle needs a rate above 0; no limit is no throttle")
        self._bytes_per_s = bytes_per_s
        self._sold_until_s = float("-inf")

    def permit(self, size_bytes: int, now_s: float) -> float:
        """Sell the line for `size_bytes`; the seconds that the caller must wait before it sends them."""
        start_s = max(self._sold_until_s, now_s - BURST_S)
        self._sold_until_s = start_s + size_bytes / self._bytes_per_s
        return max(0.0, start_s - now_s)


class Line:
    """What a line carried lately, by the objects that went over it."""

    def __init__(self) -> None:
        self._bytes = self._s = 0.0

    def carried(self, size_bytes: float, took_s: float) -> None:
        """An object has arrived; `size_bytes` counts what others carried meanwhile as well."""
        if size_bytes and took_s:
            self._bytes = FADING * self._bytes + size_bytes
            self._s = FADING * self._s + took_s

    @property
    def bytes_per_s(self) -> float:
        """0 = nothing yet."""
        return self._bytes / self._s if self._s else 0.0
