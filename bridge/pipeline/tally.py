"""How many instances are served, and how many were at most within a window of time."""

from collections import deque


class Tally:
    """A count and its highest value of late. It reads no clock: every call says the monotonic seconds."""

    def __init__(self) -> None:
        self.served = 0
        self._peaks: deque[tuple[float, int]] = deque()
        """Falling counts; each is the highest from its time on."""

    def note(self, gained: int, drained: int, now: float, window: float) -> int:
        """Take a change and return the highest count within the window, less what was drained.

        Args:
            gained: how many more are served than before; negative for losses.
            drained: how many of the losses are on purpose.
            now: monotonic seconds.
            window: seconds.
        """
        self.served += gained
        peaks = self._peaks
        if drained:
            peaks = self._peaks = deque((at, count - drained) for at, count in peaks)
        since = now
        while peaks and peaks[-1][1] <= self.served:
            since, _ = peaks.pop()
        peaks.append((since, self.served))
        while len(peaks) > 1 and peaks[1][0] <= now - window:
            peaks.popleft()
        return peaks[0][1]

    def forget_peak(self, now: float) -> None:
        """Take the present count for the highest there was."""
        self._peaks.clear()
        self._peaks.append((now, self.served))
