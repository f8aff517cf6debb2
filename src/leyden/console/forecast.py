"""How long the disk lasts, if it goes on to fill as it has done lately. Pure."""

import math
from collections import deque

WINDOW_S = 900.0
STEP_S = 10.0


class Forecast:
    """What was free on the spool's volume during the last quarter of an hour, a sample every ten seconds at most."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def see(self, now_s: float, free_bytes: float) -> None:
        """So much is free now."""
        while self._seen and now_s - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        if not self._seen or now_s - self._seen[-1][0] >= STEP_S:
            self._seen.append((now_s, free_bytes))

    def lasts_s(self, left_bytes: float) -> float:
        """In how many seconds these bytes are used up; infinity if the disk does not fill, or if nobody knows yet."""
        if left_bytes <= 0:
            return 0.0
        if len(self._seen) < 2:
            return math.inf
        (first_s, first_bytes), (last_s, last_bytes) = self._seen[0], self._seen[-1]
        filled_bytes = first_bytes - last_bytes
        return left_bytes * (last_s - first_s) / filled_bytes if filled_bytes > 0 else math.inf
