"""When to read everything instead of what changed. Pure: the caller has the clock, in monotonic seconds."""

GAP = 150.0
"""Seconds without a delta after which one may have missed something: servers keep changes for 180."""
_SHARE = 20
"""Where only full answers are to be had, reading them takes at most one part in so many of the time."""


class Schedule:
    """The plan for one source."""

    def __init__(self, poll: float, full: float, confirm: float = 30.0) -> None:
        self._poll = poll
        self._confirm = confirm
        self._interval = full
        self._full_at = 0.0
        self._last_full = -full
        self._last_delta = 0.0
        self._no_delta_until = 0.0
        self._mismatches = 0
        self._patience = poll
        self._took = 0.0

    @property
    def pause(self) -> float:
        """Seconds until the next read."""
        return max(self._poll, _SHARE * self._took if self._no_delta_until else 0.0)

    @property
    def has_delta(self) -> bool:
        """Whether the server gives deltas, as far as is known."""
        return not self._no_delta_until

    @property
    def is_mismatched(self) -> bool:
        """Whether the newest delta left us with other counts than the server has."""
        return self._mismatches > 0

    def full_due(self, now: float) -> bool:
        """Whether to read everything now."""
        if self._no_delta_until > now:
            return True
        return now >= self._full_at or now - self._last_delta > GAP

    def request_full(self, at: float) -> None:
        """Read everything at this time, unless it is planned earlier."""
        self._full_at = min(self._full_at, at)

    def full_taken(self, now: float, took: float) -> None:
        """Note that everything was read, in so many seconds."""
        if self._mismatches > 1:
            # A hash that full answers don't mend must not make every read a full one.
            self._patience = min(self._patience * 2, self._interval)
        self._last_full = self._last_delta = now
        self._full_at = now + self._interval
        self._mismatches = 0
        self._took = took

    def delta_taken(self, now: float, *, matches: bool, is_news: bool = False) -> None:
        """Note that a delta was read, whether our counts are the server's after it, and whether it is new.

        A server that makes a delta while something else changes may keep the one from before that change,
        hash included, until the next change or for three minutes (seen with eureka-core 2.0.5). So news is
        followed by a full read.
        """
        self._last_delta = now
        self._no_delta_until = 0.0
        if is_news:
            self.request_full(now + max(self._confirm, _SHARE * self._took))
        if matches:
            self._mismatches, self._patience = 0, self._poll
            return
        # The first one can be due to caches that are refreshed separately.
        self._mismatches += 1
        if self._mismatches > 1:
            self.request_full(max(now, self._last_full + self._patience))

    def delta_refused(self, now: float) -> None:
        """Note that the server gives no deltas; it is asked again after a full interval."""
        self._no_delta_until = now + self._interval
