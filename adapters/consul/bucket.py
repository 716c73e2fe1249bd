"""A token bucket: bursts at once, then an even rate. Pure; the clock is given."""

from collections.abc import Callable


class TokenBucket:
    """Tells how long to wait before the next use, which it counts at once."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        """Fill the bucket: `rate` is uses a second, `burst` how many may follow each other at once."""
        self._step = 1.0 / rate
        self._slack = self._step * (burst - 1)
        self._clock = clock
        self._next = float("-inf")

    def take(self) -> float:
        """Return the seconds to wait before this use."""
        now = self._clock()
        wait = max(self._next - self._slack - now, 0.0)
        self._next = max(self._next, now) + self._step
        return wait
