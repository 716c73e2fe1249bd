"""State of the world: what one client knows, and what it must be told next. `flow` has the rest.

A response is always the whole type, so names mean little: new ones bring the type again, that is all.
"""

import msgspec
from typing_extensions import override

from meshbridge.mcp.codec import kind_of
from meshbridge.mcp.flow import Candidates, Due, Flow, Meaning, Outcome, Pacing
from meshbridge.mcp.view import Answer, View


class Request(msgspec.Struct, frozen=True):
    """A client's message about one type."""

    type_url: str
    nonce: str = ""
    error: str = ""
    """Text of the error detail; not empty means NACK."""
    names: frozenset[str] = frozenset()


class _Type(msgspec.Struct):
    names: frozenset[str]
    again: bool = False
    """Whether the type must be sent again though it did not change."""
    version: str = ""


class Subscription(Flow):
    """The types one client has asked for, and how far it has got with each."""

    def __init__(self, pacing: Pacing) -> None:
        super().__init__(pacing, kind_of)
        self._types: dict[str, _Type] = {}

    @property
    def names(self) -> int:
        """How many names are remembered."""
        return sum(len(state.names) for state in self._types.values())

    def on_request(self, request: Request, now: float) -> Outcome:
        """Take note of a request and return what it means."""
        url = request.type_url
        state = self._types.get(url)
        if state is None:
            self._open(url, now)
            self._types[url] = _Type(request.names)
            return Outcome(Meaning.FIRST)
        outcome = self._settle(url, request.nonce, request.error, now)
        if not request.error:
            state.again |= self.is_answered(url) and bool(request.names - state.names)
            state.names = request.names
        return outcome

    def due(self, now: float, view: View) -> Due:
        """Return what to send now."""
        versions = view.versions(self._types)  # Without those that are held.
        free = {url: state for url, state in self._types.items() if url in versions}
        return self._due(
            now,
            Candidates(
                first=[url for url in free if not self.is_answered(url)],
                changed=[
                    url
                    for url, state in free.items()
                    if self.is_answered(url) and (state.again or state.version != versions[url])
                ],
                services_first=view.services_first,
            ),
        )

    def answer(self, type_url: str, view: View) -> Answer | None:
        """Return the whole type, None while it is held."""
        return view.current(type_url)

    def note(self, type_url: str, answer: Answer) -> None:
        """Do nothing: it brings all there is."""

    @override
    def on_sent(self, type_url: str, version: str, nonce: str, now: float) -> None:
        """Take note of a response, before its first byte leaves: the acknowledgement can be quick."""
        super().on_sent(type_url, version, nonce, now)
        state = self._types[type_url]
        state.version, state.again = version, False
