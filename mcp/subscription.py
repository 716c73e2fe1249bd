"""What one client knows, and what it must be told next: the state-of-the-world rules of xDS.

One `Subscription` belongs to one stream. It does no I/O and reads no clock; times are monotonic
seconds, passed in. The rules, and why they are so:

* The first request of a type is answered whatever nonce or version it brings: istiod sends a clock
  reading, a client that reconnects what it had before.
* A nonce other than the newest is stale and never causes a response; answering it makes two pushes
  in flight chase each other for ever.
* A NACK is not answered before the content changes.
* An answer not acknowledged yet holds back pushes, but only for `ack_timeout`: istiod does not
  acknowledge everything.
* istiod gathers changes until 100 ms of quiet, so that pushes in quick succession reach its proxies
  late or not at all for seconds: the first change after quiet goes out at once, then pushes keep a
  distance, which grows with the time the client takes for them.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum

import msgspec

from meshbridge.mcp.clients import TypeStatus
from meshbridge.mcp.codec import kind_of
from meshbridge.schemas.resource import Kind

_ORDER = {None: 0, Kind.WORKLOAD_GROUP: 1, Kind.WORKLOAD_ENTRY: 2, Kind.SERVICE_ENTRY: 3}
"""Types of one push are sent in this order. Workloads first: with the services first, istiod was seen
to take three times as long for 100,000 of them."""


_NEVER = float("inf")


class Pacing(msgspec.Struct, frozen=True):
    """How pushes to one client are spaced. All are seconds, `pause_ratio` apart."""

    min_push_interval: float = 0.15
    """Least distance of two pushes, above the 100 ms of quiet that istiod waits for."""
    ack_timeout: float = 10.0
    """How long a response that is not acknowledged holds back the next push."""
    pause_ratio: float = 1.0
    """After an acknowledgement: pause for this many times the seconds that it took."""
    max_pause: float = 5.0
    first_answer_delay: float = 0.02
    """A client asks for all its types at once; waiting this long lets them be answered in order."""


class Request(msgspec.Struct, frozen=True):
    """A client's message about one type."""

    type_url: str
    nonce: str = ""
    error: str = ""
    """Text of the error detail; not empty means NACK."""
    names: frozenset[str] = frozenset()


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


class _Type(msgspec.Struct):
    names: frozenset[str]
    answer_at: float
    """When the first answer is due."""
    answered: bool = False
    again: bool = False
    """Whether the type must be sent again though it did not change."""
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

    def lags(self, version: str) -> bool:
        return self.answered and (self.again or self.version != version)


class Subscription:
    """The types one client has asked for, and how far it has got with each."""

    def __init__(self, pacing: Pacing) -> None:
        self._pacing = pacing
        self._types: dict[str, _Type] = {}
        self._next_push = -_NEVER

    @property
    def type_urls(self) -> Collection[str]:
        """What the client has asked for."""
        return self._types.keys()

    def on_request(self, request: Request, now: float) -> Outcome:
        """Take note of a request and return what it means."""
        state = self._types.get(request.type_url)
        if state is None:
            self._types[request.type_url] = _Type(
                names=request.names, answer_at=now + self._pacing.first_answer_delay
            )
            return Outcome(Meaning.FIRST)
        outcome = self._settle(state, request, now)
        if request.error:
            state.nacks += 1
        else:
            state.again |= state.answered and bool(request.names - state.names)
            state.names = request.names
        return outcome

    def due(self, now: float, versions: Mapping[str, str]) -> Due:
        """Return what to send now; `versions` has the newest version of each type that is not held."""
        free = {url: state for url, state in self._types.items() if url in versions}
        first = {url: state.answer_at for url, state in free.items() if not state.answered}
        answer_at = min(first.values(), default=_NEVER)  # Those asked for together are answered together.
        changed = [url for url, state in free.items() if state.lags(versions[url])]
        push_at = self._push_at(now) if changed else _NEVER
        types = [*(first if answer_at <= now else ()), *(changed if push_at <= now else ())]
        wake = min((at for at in (answer_at, push_at) if at > now), default=_NEVER)
        return Due(tuple(sorted(types, key=lambda url: _ORDER[kind_of(url)])), wake)

    def nonce(self, type_url: str, shared: str) -> str:
        """Return the nonce that all clients share or, if this stream has had it, one of its own."""
        state = self._types[type_url]
        if shared != state.shared_nonce:
            state.shared_nonce = shared
            return shared
        state.repeats += 1
        return f"{shared}.{state.repeats}"

    def on_sent(self, type_url: str, version: str, nonce: str, now: float) -> None:
        """Take note of a response, before its first byte leaves: the acknowledgement can be quick."""
        state = self._types[type_url]
        state.answered, state.again = True, False
        state.version, state.nonce, state.sent_at = version, nonce, now
        state.deadline = now + self._pacing.ack_timeout
        self._next_push = max(self._next_push, now + self._pacing.min_push_interval)

    def on_written(self, type_url: str, now: float) -> None:
        """Take note that a response has left: the time for its acknowledgement runs from here."""
        state = self._types[type_url]
        if state.deadline is not None:
            state.deadline = now + self._pacing.ack_timeout

    def statuses(self) -> list[TypeStatus]:
        """Return how far the client has got with each type."""
        return [
            TypeStatus(url, state.version, state.acked, state.latency, state.nacks)
            for url, state in self._types.items()
        ]

    def _settle(self, state: _Type, request: Request, now: float) -> Outcome:
        if state.deadline is None or request.nonce != state.nonce:
            return Outcome(Meaning.NACK if request.error else Meaning.STALE)
        state.deadline = None
        took = now - state.sent_at
        pause = min(took * self._pacing.pause_ratio, self._pacing.max_pause)
        self._next_push = max(self._next_push, now + pause)
        if request.error:
            return Outcome(Meaning.NACK, state.version, took)
        state.acked, state.latency = state.version, took
        return Outcome(Meaning.ACK, state.version, took)

    def _push_at(self, now: float) -> float:
        """Return when the next push may go: nothing is in flight, and the distance is kept."""
        deadlines = (state.deadline for state in self._types.values() if state.deadline is not None)
        return max(self._next_push, max((at for at in deadlines if at > now), default=self._next_push))
