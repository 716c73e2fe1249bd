"""How fast is right: pauses that the API server asks for, and patience with what does not pass by itself."""

import asyncio
import random
from collections import deque
from collections.abc import Callable

from meshbridge.schemas.resource import ResourceKey

_FIRST = 0.1
_LONGEST = 10.0
_FIGHT = 5
"""Repairs of one object ..."""
FIGHT_WINDOW = 600.0
"""... within so many seconds, after which somebody is known to keep undoing them."""


def jitter(low: float, high: float) -> float:
    """Return a number between these, another one each time: bridges must not ask in step."""
    return random.uniform(low, high)  # noqa: S311 - no secret


def backoff(failures: int, longest: float = _LONGEST) -> float:
    """Return the seconds to wait after so many failures in a row, with jitter."""
    most = min(longest, _FIRST * 2 ** min(failures, 16))
    return jitter(most / 2, most)


class Pace:
    """All requests together: they pause when the server is busy or away."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = 0.0
        self._failures = 0

    def failed(self, retry_after: float = 0.0) -> None:
        """Pause after a failure, as long as the server asks or a little longer each time."""
        now = self._clock()
        if now < self._until:
            return  # Requests that were under way together fail together.
        self._failures += 1
        wait = max(backoff(self._failures), retry_after * jitter(1.0, 1.2))
        self._until = now + wait

    def succeeded(self) -> None:
        """Take that the server answers."""
        self._failures = 0

    async def ready(self) -> None:
        """Return when the pause is over."""
        while (wait := self._until - self._clock()) > 0:  # noqa: ASYNC110 - it is time that is waited for
            await asyncio.sleep(wait)


class Repairs:
    """How often objects were put right."""

    def __init__(self) -> None:
        self._times: dict[ResourceKey, deque[float]] = {}

    def is_fight(self, key: ResourceKey, now: float) -> bool:
        """Whether an object was put right too often to do it once more."""
        times = self._times.get(key)
        return times is not None and len(times) == _FIGHT and now - times[0] < FIGHT_WINDOW

    def note(self, key: ResourceKey, now: float) -> None:
        """Take that an object was put right."""
        self._times.setdefault(key, deque(maxlen=_FIGHT)).append(now)

    def forget(self, key: ResourceKey) -> None:
        """Take that an object is gone."""
        self._times.pop(key, None)
