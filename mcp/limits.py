"""How much clients may ask for: streams, requests, names. No I/O."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import msgspec

_MAX_NAME = 512
"""Characters; namespace/name of Kubernetes has at most 317."""


class Limits(msgspec.Struct, frozen=True):
    """Bounds for all clients together, and for each."""

    streams: int = 1000
    streams_per_peer: int = 200
    """A peer is a certificate's identity or, without one, an IP address."""
    requests_per_second: float = 100.0
    """Per stream, on average; who sends more is read more slowly. istiod asks for 16 types, then it only
    acknowledges."""
    request_burst: int = 500
    request_bytes: int = 4 << 20
    types: int = 100
    """Types one stream may ask for; istiod asks for 16."""
    names: int = 100_000
    """Names one stream may have us remember."""
    first_request: float = 30.0
    """Seconds in which a stream must say what it wants."""


class TooMuch(Exception):  # noqa: N818 - it is how a stream ends
    """A client asks for more than the limits allow."""


class TokenBucket:
    """Lets `burst` pass at once, and then `rate` a second."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = -float("inf")

    def take(self, now: float, cost: float = 1.0) -> float:
        """Take tokens, and return for how many seconds to wait before going on."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - cost
        self._at = now
        return max(0.0, -self._tokens / self._rate)


class Admission:
    """Counts streams."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._peers: Counter[str] = Counter()

    @contextmanager
    def admitted(self, peer: str) -> Iterator[None]:
        """Count a stream of a peer for as long as the context lasts.

        Raises:
            TooMuch: there are too many.
        """
        if self._peers.total() >= self._limits.streams:
            raise TooMuch("too many streams")
        if self._peers[peer] >= self._limits.streams_per_peer:
            raise TooMuch("too many streams of this client")
        self._peers[peer] += 1
        try:
            yield
        finally:
            self._peers[peer] -= 1
            if not self._peers[peer]:
                del self._peers[peer]


def check_names(limits: Limits, names: Iterable[str], remembered: int, types: int) -> None:
    """Accept the names of a request.

    Raises:
        TooMuch: they are too long, or with those remembered too many; or there are too many types.
    """
    if types > limits.types:
        raise TooMuch("too many types")
    if remembered > limits.names:
        raise TooMuch("too many names")
    if any(len(name) > _MAX_NAME for name in names):
        raise TooMuch("too long names")
