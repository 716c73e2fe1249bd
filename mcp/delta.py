"""Delta: what one client knows, and what it must be told next. `flow` has the rest.

A client is at a generation: it was told everything up to there. What it must be told next is what changed
since, and names that are owed to it for another reason:

* A first request without names asks for everything (until a name is subscribed to), and is answered even
  if there is nothing. `*` asks for everything by name.
* The versions that a client brings save it what it has. What is no more is listed as removed: a client
  that isn't told keeps it for ever.
* A name subscribed to is sent even if the client should have it: it may have forgotten. A name that doesn't
  exist is reported as removed, and stays subscribed.
* Unsubscribing from a name while everything is wanted is answered with the resource, or its removal.
* Names count whatever nonce they come with.
* What a client refused it doesn't have. It is sent again with the next change of the type, not before.
"""

from collections.abc import Collection, Mapping

import msgspec

from meshbridge.mcp.codec import DELTA, kind_of
from meshbridge.mcp.flow import Candidates, Due, Flow, Meaning, Outcome, Pacing
from meshbridge.mcp.view import Answer, View

WILDCARD = "*"


class DeltaRequest(msgspec.Struct, frozen=True):
    """A client's message about one type."""

    type_url: str
    nonce: str = ""
    error: str = ""
    """Text of the error detail; not empty means NACK."""
    subscribe: frozenset[str] = frozenset()
    unsubscribe: frozenset[str] = frozenset()
    initial: Mapping[str, str] = {}
    """Versions the client has from an earlier stream, by name; only the first request has them."""


class TooFarBehind(Exception):  # noqa: N818 - it is how a stream ends
    """What the client misses isn't known any more; on a new stream it can say what it has."""


class _Type(msgspec.Struct):
    is_wildcard: bool
    is_implied: bool
    """Whether everything is wanted because no name was given; a name ends it."""
    names: set[str]
    initial: Mapping[str, str]
    at: int = 0
    """Generation up to which the client was told everything."""
    everything: bool = False
    """Whether all there is must be sent, known or not."""
    owed: set[str] = set()
    """Names to be told at once, changed or not."""
    changed: set[str] = set()
    """Wanted names that changed up to `at`."""
    refused: set[str] = set()
    """What the client doesn't have though it was sent."""
    in_flight: Collection[str] = ()

    def subscribe(self, names: frozenset[str]) -> None:
        if names and self.is_implied:
            self.is_wildcard = self.is_implied = self.everything = False
        if WILDCARD in names:
            self.is_wildcard = self.everything = True
        self.names |= names - {WILDCARD}
        self.owed |= names - {WILDCARD}

    def unsubscribe(self, names: frozenset[str]) -> None:
        if WILDCARD in names:
            self.is_wildcard = self.is_implied = self.everything = False
        names -= {WILDCARD}
        self.names -= names
        if self.is_wildcard:
            self.owed |= names
        else:
            self.owed -= names
            self.changed -= names
            self.refused -= names

    @property
    def is_asked(self) -> bool:
        return self.everything or bool(self.owed)

    def is_changed(self, generation: int) -> bool:
        return bool(self.changed) or (self.is_wildcard and generation > self.at)


class DeltaSubscription(Flow):
    """The types one client has asked for, and how far it has got with each."""

    def __init__(self, pacing: Pacing) -> None:
        super().__init__(pacing, kind_of)
        self._types: dict[str, _Type] = {}

    @property
    def names(self) -> int:
        """How many names are remembered."""
        return sum(
            len(state.names) + len(state.owed) + len(state.initial) + len(state.refused)
            for state in self._types.values()
        )

    def on_request(self, request: DeltaRequest, now: float) -> Outcome:
        """Take note of a request and return what it means."""
        url = request.type_url
        state = self._types.get(url)
        if state is None:
            self._open(url, now)
            implied = not request.subscribe
            state = self._types[url] = _Type(implied, implied, set(), request.initial, everything=implied)
            outcome = Outcome(Meaning.FIRST)
        else:
            outcome = self._settle(url, request.nonce, request.error, now)
            if outcome.version and outcome.meaning is Meaning.NACK:
                state.refused.update(state.in_flight)
            if outcome.version:
                state.in_flight = ()
        state.subscribe(request.subscribe)
        state.unsubscribe(request.unsubscribe)
        return outcome

    def due(self, now: float, view: View) -> Due:
        """Return what to send now.

        Raises:
            TooFarBehind: the client must come again.
        """
        first, replies, changed = [], [], []
        for url, state in self._types.items():
            generation = view.changed_in(kind_of(url))
            if generation is None:
                continue
            _catch_up(state, url, view, generation)
            if not self.is_answered(url):
                if state.is_wildcard or state.is_asked or state.changed:
                    first.append(url)
            elif state.is_asked:
                replies.append(url)
            elif state.is_changed(generation):
                changed.append(url)
        return self._due(now, Candidates(first, replies, changed, view.services_first))

    def answer(self, type_url: str, view: View) -> Answer | None:
        """Return what to send of a type now, None while it is held.

        Raises:
            TooFarBehind: the client must come again.
        """
        kind, state = kind_of(type_url), self._types[type_url]
        generation = view.changed_in(kind)
        if generation is None:
            return None
        _catch_up(state, type_url, view, generation)
        names = state.owed | state.changed
        if state.is_changed(generation):
            names |= state.refused
        if not state.is_wildcard:
            return view.answer_of(DELTA, type_url, sorted(names))
        if state.at and view.changed_since(kind, state.at) is None:
            raise TooFarBehind
        if not names and not (state.everything and state.at):  # What others get, too.
            return view.answer(DELTA, type_url, state.at)
        names.update(view.changed_since(kind, state.at) or () if state.at else ())
        names.update(view.names(kind) if state.everything else ())
        return view.answer_of(DELTA, type_url, sorted(names))

    def note(self, type_url: str, answer: Answer) -> None:
        """Take note of what a response brings."""
        state = self._types[type_url]
        state.at = answer.generation
        state.everything, state.in_flight = False, answer.names
        state.owed.clear()
        state.changed.clear()
        if state.refused:
            state.refused.difference_update(answer.names)


def _catch_up(state: _Type, url: str, view: View, generation: int) -> None:
    """Make names of what the client said it has, and of what changed of what it wants."""
    if state.initial:
        _compare(state, url, view)
        state.initial, state.everything, state.at = {}, False, generation
    if not state.is_wildcard and generation > state.at:
        found = view.changed_since(kind_of(url), state.at) if state.at else ()
        state.changed |= state.names if found is None else state.names.intersection(found)
        state.at = generation


def _compare(state: _Type, url: str, view: View) -> None:
    kind, has = kind_of(url), state.initial
    wanted = set(view.names(kind)) if state.is_wildcard else state.names
    state.owed = {name for name in state.owed | wanted if name not in has} | {
        name
        for name, version in has.items()
        if (found := view.version_of(kind, name)) != version and (found is None or name in wanted)
    }
