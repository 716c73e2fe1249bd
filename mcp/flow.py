"""What the protocols have in common: nonces, acknowledgements, and when to send. No I/O, no clock.

One `Flow` belongs to one stream; times are monotonic seconds, passed in. The rules, and why they are so:

* The first request of a type is answered whatever nonce or version it brings: istiod sends a clock
  reading, a client that reconnects what it had before.
* A nonce other than the newest is stale and never causes a response; answering it makes two pushes
  in flight chase each other for ever.
* A NACK is not answered before the content changes.
* An answer not acknowledged yet holds back pushes, but only for `ack_timeout`: istiod does not
  acknowledge everything.
* istiod gathers changes until 100 ms of quiet, so that pushes in quick succession reach its proxies
  late or not at all for seconds: the first change after quiet goes out at once, then pushes keep a
  distance. It grows with the time the client takes for a push, and with each push that had to wait
  for its turn: a storm is gathered more and more, a single change never waits.
* Workloads come before the services that select them, and go after them: in between, a service
  would be without endpoints.
"""

from collections.abc import Callable, Collection
from enum import StrEnum

import msgspec

from meshbridge.mcp.clients import TypeStatus, told
from meshbridge.schemas.resource import Kind

_WORKLOADS_FIRST = {None: 0, Kind.WORKLOAD_GROUP: 1, Kind.WORKLOAD_ENTRY: 2, Kind.SERVICE_ENTRY: 3}
"""Types of one push are sent in this order: with the services first, istiod was seen to take three times as
long for 100,000 workloads."""
_SERVICES_FIRST = _WORKLOADS_FIRST | {Kind.SERVICE_ENTRY: 1}
"""The order where workloads leave."""

_NEVER = float("inf")


class Pacing(msgspec.Struct, frozen=True):
    """How pushes to one client are spaced. All are seconds, `pause_ratio` apart."""

    min_push_interval: float = 0.15
    """Least distance of two pushes, above the 100 ms of quiet that istiod waits for."""
    ack_timeout: float = 10.0
    """How long a response that is not acknowledged holds back the next push."""
    pause_ratio: float = 1.0
    """After an acknowledgement: pause for this many times the seconds that it took."""
    max_pause_ratio: float = 6.0
    """What the ratio grows to in a storm: the second push of it has twice `pause_ratio`, and so on."""
    max_pause: float = 3.0
    first_answer_delay: float = 0.02
    """A client asks for all its types at once; waiting this long lets them be answered in order."""


class Meaning(StrEnum):
    """What a request turned out to be."""

    FIRST = "first"
    ACK = "ack"
    NACK = "nack"
    STALE = "stale"


class Outcome(msgspec.Struct, frozen=True):
    """What a request turned out to be, and to which response it refers."""

    meaning: Meaning
    version: str = ""
    """For the ACK or NACK of the newest response: its version, and the seconds since it was sent."""
    seconds: float = 0.0


class Due(msgspec.Struct, frozen=True):
    """What to send now, in this order, and when to ask again if nothing happens before."""

    types: tuple[str, ...] = ()
    wake: float = _NEVER
    """Monotonic seconds."""


class Candidates(msgspec.Struct, frozen=True):
    """Types with something to send, by what for."""

    first: Collection[str] = ()
    """Never answered so far. Those asked for together are answered together."""
    replies: Collection[str] = ()
    """Asked for by a later request: sent at once, when nothing of the type is in flight."""
    changed: Collection[str] = ()
    """Changed by themselves: a push, which keeps its distance."""
    services_first: bool = False
    """Whether workloads leave with this push, rather than come."""


class _Exchange(msgspec.Struct):
    """How far one type has got."""

    answer_at: float
    """When the first answer is due."""
    answered: bool = False
    version: str = ""
    nonce: str = ""
    shared_nonce: str = ""
    repeats: int = 0
    sent_at: float = 0.0
    deadline: float | None = None
    """While a response is in flight: when we stop waiting for its acknowledgement."""
    acked: str = ""
    latency: float | None = None
    nacks: int = 0
    nack_text: str = ""


class Flow:
    """The types one client has asked for, and which response to each is in flight."""

    def __init__(self, pacing: Pacing, kind_of: Callable[[str], Kind | None]) -> None:
        self._pacing = pacing
        self._kind_of = kind_of
        self._exchanges: dict[str, _Exchange] = {}
        self._next_push = -_NEVER
        self._pause = 0.0
        self._in_a_row = 0

    @property
    def type_urls(self) -> Collection[str]:
        """What the client has asked for."""
        return self._exchanges.keys()

    def is_answered(self, type_url: str) -> bool:
        """Whether a response was sent."""
        return self._exchanges[type_url].answered

    def is_pending(self, type_url: str) -> bool:
        """Whether a response was neither acknowledged nor refused, however long ago it was sent."""
        return self._exchanges[type_url].deadline is not None

    def nonce(self, type_url: str, shared: str) -> str:
        """Return the nonce that all clients share or, if this stream has had it, one of its own."""
        exchange = self._exchanges[type_url]
        if shared != exchange.shared_nonce:
            exchange.shared_nonce = shared
            return shared
        exchange.repeats += 1
        return f"{shared}.{exchange.repeats}"

    def on_sent(self, type_url: str, version: str, nonce: str, now: float) -> None:
        """Take note of a response, before its first byte leaves: the acknowledgement can be quick."""
        exchange = self._exchanges[type_url]
        self._count_push(now)
        exchange.answered = True
        exchange.version, exchange.nonce, exchange.sent_at = version, nonce, now
        exchange.deadline = now + self._pacing.ack_timeout
        self._next_push = max(self._next_push, now + self._pacing.min_push_interval)

    def on_written(self, type_url: str, now: float) -> None:
        """Take note that a response has left: the time for its acknowledgement runs from here."""
        exchange = self._exchanges[type_url]
        if exchange.deadline is not None:
            exchange.deadline = now + self._pacing.ack_timeout

    def statuses(self) -> list[TypeStatus]:
        """Return how far the client has got with each type."""
        return [
            TypeStatus(url, state.version, state.acked, state.latency, state.nacks, state.nack_text)
            for url, state in self._exchanges.items()
        ]

    def _open(self, type_url: str, now: float) -> None:
        self._exchanges[type_url] = _Exchange(now + self._pacing.first_answer_delay)

    def _settle(self, type_url: str, nonce: str, error: str, now: float) -> Outcome:
        """Take a request as the word on a response, and return what it says of which."""
        exchange = self._exchanges[type_url]
        if error:
            exchange.nacks += 1
            exchange.nack_text = told(error)
        if exchange.deadline is None or nonce != exchange.nonce:
            return Outcome(Meaning.NACK if error else Meaning.STALE)
        exchange.deadline = None
        took = now - exchange.sent_at
        ratio = min(self._pacing.pause_ratio * self._in_a_row, self._pacing.max_pause_ratio)
        self._pause = min(took * ratio, self._pacing.max_pause)
        self._next_push = max(self._next_push, now + self._pause)
        if error:
            return Outcome(Meaning.NACK, exchange.version, took)
        exchange.acked, exchange.latency = exchange.version, took
        return Outcome(Meaning.ACK, exchange.version, took)

    def _count_push(self, now: float) -> None:
        """Count pushes between which it was never as quiet as the pause before was long."""
        if now < self._next_push:
            return  # Another type of the same push, or an answer asked for.
        quiet = now - self._next_push > max(self._pause, self._pacing.min_push_interval)
        self._in_a_row = 1 if quiet else self._in_a_row + 1

    def _due(self, now: float, found: Candidates) -> Due:
        first_at = min((self._exchanges[url].answer_at for url in found.first), default=_NEVER)
        replies = {url: self._exchanges[url].deadline or now for url in found.replies}
        push_at = self._push_at(now) if found.changed else _NEVER
        types = [
            *(found.first if first_at <= now else ()),
            *(url for url, at in replies.items() if at <= now),
            *(found.changed if push_at <= now else ()),
        ]
        wake = min((at for at in (first_at, *replies.values(), push_at) if at > now), default=_NEVER)
        order = _SERVICES_FIRST if found.services_first else _WORKLOADS_FIRST
        return Due(tuple(sorted(types, key=lambda url: order[self._kind_of(url)])), wake)

    def _push_at(self, now: float) -> float:
        """Return when the next push may go: nothing is in flight, and the distance is kept."""
        deadlines = (state.deadline for state in self._exchanges.values() if state.deadline is not None)
        return max(self._next_push, max((at for at in deadlines if at > now), default=self._next_push))
