"""Legacy MCP (Istio 1.1 to 1.8): what one sink knows, and what it must be told next.

It differs from xDS in this:

* Every collection asked for is answered, and one without an answer keeps a Pilot from starting.
* At most one response of a collection is unanswered, without a time limit. A request whose nonce is not
  the one of that response is ignored; without a nonce and with nothing unanswered, it asks anew.
* A collection that did not change is never sent again: a Pilot rebuilds everything for it.
* A sink that asks for increments gets what changed, from the first answer on; it says what it has
  in the first request of a collection.
* After a NACK nothing is sent before the collection changes; then what was refused comes along.
"""

from collections.abc import Collection, Mapping

import msgspec

from meshbridge.mcp.codec import LEGACY, LEGACY_DIFF, kind_of_collection
from meshbridge.mcp.delta import TooFarBehind
from meshbridge.mcp.flow import Candidates, Due, Flow, Meaning, Outcome, Pacing
from meshbridge.mcp.view import Answer, View


class LegacyRequest(msgspec.Struct, frozen=True):
    """A sink's message about one collection."""

    collection: str
    nonce: str = ""
    error: str = ""
    """Text of the error detail; not empty means NACK."""
    incremental: bool = False
    initial: Mapping[str, str] = {}
    """Versions the sink has from an earlier stream, by name."""


class _Collection(msgspec.Struct):
    incremental: bool
    initial: Mapping[str, str]
    at: int = 0
    """Generation up to which the sink was told everything."""
    is_asked: bool = False
    refused: set[str] = set()
    in_flight: Collection[str] = ()


class LegacySubscription(Flow):
    """The collections one sink has asked for, and how far it has got with each."""

    def __init__(self, pacing: Pacing) -> None:
        super().__init__(pacing, kind_of_collection)
        self._collections: dict[str, _Collection] = {}

    @property
    def names(self) -> int:
        """How many names are remembered."""
        return sum(len(state.initial) + len(state.refused) for state in self._collections.values())

    def on_request(self, request: LegacyRequest, now: float) -> Outcome:
        """Take note of a request and return what it means."""
        name = request.collection
        state = self._collections.get(name)
        if state is None:
            self._open(name, now)
            self._collections[name] = _Collection(request.incremental, request.initial)
            return Outcome(Meaning.FIRST)
        if not self.is_pending(name):
            if self.is_answered(name) and not request.nonce:
                state.is_asked, state.at = True, 0
                state.incremental, state.initial = request.incremental, request.initial
            return Outcome(Meaning.STALE)
        outcome = self._settle(name, request.nonce, request.error, now)
        if outcome.version:
            state.incremental = request.incremental
            if request.error:
                state.refused.update(state.in_flight)
            state.in_flight = ()
        return outcome

    def due(self, now: float, view: View) -> Due:
        """Return what to send now."""
        first, replies, changed = [], [], []
        for name, state in self._collections.items():
            generation = view.changed_in(kind_of_collection(name))
            if generation is None or self.is_pending(name):
                continue
            if not self.is_answered(name):
                first.append(name)
            elif state.is_asked:
                replies.append(name)
            elif generation > state.at:
                changed.append(name)
        return self._due(now, Candidates(first, replies, changed, view.services_first))

    def answer(self, collection: str, view: View) -> Answer | None:
        """Return what to send of a collection now, None while it is held.

        Raises:
            TooFarBehind: the sink must come again.
        """
        state, kind = self._collections[collection], kind_of_collection(collection)
        if not state.incremental:
            return view.answer(LEGACY, collection)
        if not state.initial and not state.refused:
            found = view.answer(LEGACY_DIFF, collection, state.at)
            if found is None and view.generation:
                raise TooFarBehind
            return found
        names = set(state.refused)
        changed = view.changed_since(kind, state.at) if state.at else view.names(kind)
        if changed is None:
            raise TooFarBehind
        names.update(changed, state.initial)
        different = (name for name in names if not self._is_had(state, name, view.version_of(kind, name)))
        return view.answer_of(LEGACY_DIFF, collection, sorted(different))

    def note(self, collection: str, answer: Answer) -> None:
        """Take note of what a response brings."""
        state = self._collections[collection]
        state.at, state.is_asked, state.initial = answer.generation, False, {}
        state.in_flight = answer.names
        state.refused.clear()

    @staticmethod
    def _is_had(state: _Collection, name: str, version: str | None) -> bool:
        return version is not None and state.initial.get(name) == version
