"""The protocols a stream may speak: messages in and out, around the pure subscriptions. No I/O."""

from collections.abc import Callable, Collection
from typing import Generic, Protocol, TypeVar

import msgspec
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest

from meshbridge.mcp import codec
from meshbridge.mcp.clients import TypeStatus
from meshbridge.mcp.delta import DeltaRequest, DeltaSubscription
from meshbridge.mcp.flow import Due, Outcome, Pacing
from meshbridge.mcp.legacy import LegacyRequest, LegacySubscription
from meshbridge.mcp.limits import Limits, check_names
from meshbridge.mcp.subscription import Request, Subscription
from meshbridge.mcp.view import Answer, View
from meshbridge.schemas.proto.meshbridge_mcp_pb2 import RequestResources

_NO_REASON = "no reason"

R = TypeVar("R")


class Heard(msgspec.Struct, frozen=True):
    """A request, understood."""

    type_url: str
    outcome: Outcome
    error: str = ""
    names: tuple[str, ...] = ()
    """What counts against the limits."""
    client: str = ""
    """What the client calls itself, "" if the request doesn't say."""
    revision: str = ""


class State(Protocol):
    """What one client knows: a `Flow` that says what is due."""

    @property
    def type_urls(self) -> Collection[str]:
        """What the client has asked for."""

    @property
    def names(self) -> int:
        """How many names are remembered."""

    def due(self, now: float, view: View) -> Due:
        """Return what to send now."""

    def answer(self, type_url: str, view: View) -> Answer | None:
        """Return what to send of a type, None while it is held."""

    def note(self, type_url: str, answer: Answer) -> None:
        """Take note of what a response brings, before it is sent."""

    def nonce(self, type_url: str, shared: str) -> str:
        """Return the nonce to send."""

    def on_sent(self, type_url: str, version: str, nonce: str, now: float) -> None:
        """Take note of a response, before its first byte leaves."""

    def on_written(self, type_url: str, now: float) -> None:
        """Take note that a response has left."""

    def statuses(self) -> list[TypeStatus]:
        """Return how far the client has got with each type."""


class _Said(msgspec.Struct, Generic[R], frozen=True):
    """A message: the request as the subscription takes it, and the rest as `Heard` has it."""

    request: R
    type_url: str
    error: str
    names: tuple[str, ...]
    client: str = ""
    revision: str = ""


Listen = Callable[[bytes, float], Heard]


def _listening(read: Callable[[bytes], _Said[R]], take: Callable[[R, float], Outcome]) -> Listen:
    def listen(raw: bytes, now: float) -> Heard:
        said = read(raw)
        outcome = take(said.request, now)
        return Heard(said.type_url, outcome, said.error, said.names, said.client, said.revision)

    return listen


class Dialect:
    """One stream's side of a protocol."""

    def __init__(self, form: codec.Form, listen: Listen, state: State, view: View, limits: Limits) -> None:
        self.form = form
        self.state = state
        self.view = view
        self._listen = listen
        self._limits = limits

    def hear(self, raw: bytes, now: float) -> Heard:
        """Take in a request.

        Raises:
            DecodeError: it is none.
            TooMuch: it asks for more than the limits allow.
        """
        heard = self._listen(raw, now)
        check_names(self._limits, heard.names, self.state.names, len(self.state.type_urls))
        return heard

    def due(self, now: float) -> Due:
        """Return what to send now.

        Raises:
            TooFarBehind: the client must come again.
        """
        return self.state.due(now, self.view)

    def answer(self, type_url: str) -> Answer | None:
        """Return what to send of a type, None while it is held.

        Raises:
            TooFarBehind: the client must come again.
        """
        return self.state.answer(type_url, self.view)


def state_of_the_world(view: View, pacing: Pacing, limits: Limits) -> Dialect:
    """Return xDS `StreamAggregatedResources`: what istiod speaks."""
    state = Subscription(pacing)
    return Dialect(codec.SOTW, _listening(_read_request, state.on_request), state, view, limits)


def delta(view: View, pacing: Pacing, limits: Limits) -> Dialect:
    """Return xDS `DeltaAggregatedResources`."""
    state = DeltaSubscription(pacing)
    return Dialect(codec.DELTA, _listening(_read_delta, state.on_request), state, view, limits)


def legacy(view: View, pacing: Pacing, limits: Limits) -> Dialect:
    """Return `istio.mcp.v1alpha1.ResourceSource`: what Pilots spoke before xDS."""
    state = LegacySubscription(pacing)
    return Dialect(codec.LEGACY, _listening(_read_legacy, state.on_request), state, view, limits)


def _read_request(raw: bytes) -> _Said[Request]:
    message = DiscoveryRequest.FromString(raw)
    url, names, error = message.type_url, frozenset(message.resource_names), _error(message)
    request = Request(url, message.response_nonce, error, names)
    return _Said(request, url, error, (url, *names), *_node(message))


def _read_delta(raw: bytes) -> _Said[DeltaRequest]:
    message = DeltaDiscoveryRequest.FromString(raw)
    request = DeltaRequest(
        type_url=message.type_url,
        nonce=message.response_nonce,
        error=_error(message),
        subscribe=frozenset(message.resource_names_subscribe),
        unsubscribe=frozenset(message.resource_names_unsubscribe),
        initial=dict(message.initial_resource_versions),
    )
    names = (request.type_url, *request.subscribe, *request.unsubscribe, *request.initial)
    return _Said(request, request.type_url, request.error, names, *_node(message))


def _read_legacy(raw: bytes) -> _Said[LegacyRequest]:
    message = RequestResources.FromString(raw)
    request = LegacyRequest(
        collection=message.collection,
        nonce=message.response_nonce,
        error=_error(message),
        incremental=message.incremental,
        initial=dict(message.initial_resource_versions) if message.incremental else {},
    )
    names = (request.collection, *request.initial)
    return _Said(request, request.collection, request.error, names, message.sink_node.id)


def _error(message: DiscoveryRequest | DeltaDiscoveryRequest | RequestResources) -> str:
    """Return why the client refuses a response, "" if it doesn't."""
    return message.error_detail.message or _NO_REASON if message.HasField("error_detail") else ""


def _node(message: DiscoveryRequest | DeltaDiscoveryRequest) -> tuple[str, str]:
    """Return the id and the revision of a request's node."""
    fields = message.node.metadata.fields
    revision = fields["ISTIO_REVISION"].string_value if "ISTIO_REVISION" in fields else ""
    return message.node.id, revision
