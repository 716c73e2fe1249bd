"""The protocols a stream may speak: messages in and out, around the pure subscriptions. No I/O."""

from collections.abc import Iterable
from typing import Protocol

import msgspec
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest

from meshbridge.mcp import codec
from meshbridge.mcp.delta import DeltaRequest, DeltaSubscription
from meshbridge.mcp.flow import Due, Flow, Outcome, Pacing
from meshbridge.mcp.legacy import LegacyRequest, LegacySubscription
from meshbridge.mcp.limits import Limits, check_names
from meshbridge.mcp.subscription import Request, Subscription
from meshbridge.mcp.view import Answer, View
from meshbridge.schemas.proto.meshbridge_mcp_pb2 import RequestResources

_NO_REASON = "no reason"

_Subscription = Subscription | DeltaSubscription | LegacySubscription


class Heard(msgspec.Struct, frozen=True):
    """A request, understood."""

    type_url: str
    outcome: Outcome
    error: str = ""
    client: str = ""
    """What the client calls itself, "" if the request doesn't say."""
    revision: str = ""


class Dialect(Protocol):
    """One stream's side of a protocol."""

    @property
    def form(self) -> codec.Form:
        """How its responses are written."""

    @property
    def flow(self) -> Flow:
        """What is in flight."""

    def hear(self, raw: bytes, now: float) -> Heard:
        """Take in a request.

        Raises:
            DecodeError: it is none.
            TooMuch: it asks for more than the limits allow.
        """

    def due(self, now: float) -> Due:
        """Return what to send now.

        Raises:
            TooFarBehind: the client must come again.
        """

    def answer(self, type_url: str) -> Answer | None:
        """Return what to send of a type, None while it is held.

        Raises:
            TooFarBehind: the client must come again.
        """

    def note(self, type_url: str, answer: Answer) -> None:
        """Take note of what a response brings, before it is sent."""


class StateOfTheWorld:
    """xDS `StreamAggregatedResources`: what istiod speaks."""

    form = codec.SOTW

    def __init__(self, view: View, pacing: Pacing, limits: Limits) -> None:
        self.flow = self._subscription = Subscription(pacing)
        self._view = view
        self._limits = limits

    def hear(self, raw: bytes, now: float) -> Heard:
        """Take in a request."""
        message = DiscoveryRequest.FromString(raw)
        url, names = message.type_url, frozenset(message.resource_names)
        error = message.error_detail.message or _NO_REASON if message.HasField("error_detail") else ""
        outcome = self._subscription.on_request(Request(url, message.response_nonce, error, names), now)
        _check(self._limits, (url, *names), self._subscription)
        return Heard(url, outcome, error, *_node(message))

    def due(self, now: float) -> Due:
        """Return what to send now."""
        return self._subscription.due(now, self._view.versions(self._subscription.type_urls))

    def answer(self, type_url: str) -> Answer | None:
        """Return the whole type, None while it is held."""
        return self._view.current(type_url)

    def note(self, type_url: str, answer: Answer) -> None:
        """Do nothing: it brings all there is."""


class Delta:
    """xDS `DeltaAggregatedResources`."""

    form = codec.DELTA

    def __init__(self, view: View, pacing: Pacing, limits: Limits) -> None:
        self.flow = self._subscription = DeltaSubscription(pacing)
        self._view = view
        self._limits = limits

    def hear(self, raw: bytes, now: float) -> Heard:
        """Take in a request."""
        message = DeltaDiscoveryRequest.FromString(raw)
        url = message.type_url
        error = message.error_detail.message or _NO_REASON if message.HasField("error_detail") else ""
        request = DeltaRequest(
            type_url=url,
            nonce=message.response_nonce,
            error=error,
            subscribe=frozenset(message.resource_names_subscribe),
            unsubscribe=frozenset(message.resource_names_unsubscribe),
            initial=dict(message.initial_resource_versions),
        )
        outcome = self._subscription.on_request(request, now)
        names = (url, *request.subscribe, *request.unsubscribe, *request.initial)
        _check(self._limits, names, self._subscription)
        return Heard(url, outcome, error, *_node(message))

    def due(self, now: float) -> Due:
        """Return what to send now."""
        return self._subscription.due(now, self._view)

    def answer(self, type_url: str) -> Answer | None:
        """Return what the client misses of a type, None while it is held."""
        return self._subscription.answer(type_url, self._view)

    def note(self, type_url: str, answer: Answer) -> None:
        """Take note of what a response brings."""
        self._subscription.note(type_url, answer)


class Legacy:
    """`istio.mcp.v1alpha1.ResourceSource`: what Pilots spoke before xDS."""

    form = codec.LEGACY

    def __init__(self, view: View, pacing: Pacing, limits: Limits) -> None:
        self.flow = self._subscription = LegacySubscription(pacing)
        self._view = view
        self._limits = limits

    def hear(self, raw: bytes, now: float) -> Heard:
        """Take in a request."""
        message = RequestResources.FromString(raw)
        error = message.error_detail.message or _NO_REASON if message.HasField("error_detail") else ""
        request = LegacyRequest(
            collection=message.collection,
            nonce=message.response_nonce,
            error=error,
            incremental=message.incremental,
            initial=dict(message.initial_resource_versions) if message.incremental else {},
        )
        outcome = self._subscription.on_request(request, now)
        _check(self._limits, (message.collection, *request.initial), self._subscription)
        return Heard(message.collection, outcome, error, message.sink_node.id)

    def due(self, now: float) -> Due:
        """Return what to send now."""
        return self._subscription.due(now, self._view)

    def answer(self, type_url: str) -> Answer | None:
        """Return what the sink misses of a collection, None while it is held."""
        return self._subscription.answer(type_url, self._view)

    def note(self, type_url: str, answer: Answer) -> None:
        """Take note of what a response brings."""
        self._subscription.note(type_url, answer)


def _check(limits: Limits, names: Iterable[str], subscription: _Subscription) -> None:
    check_names(limits, names, subscription.names, len(subscription.type_urls))


def _node(message: DiscoveryRequest | DeltaDiscoveryRequest) -> tuple[str, str]:
    """Return the id and the revision of a request's node."""
    node: Node = message.node
    fields = node.metadata.fields
    return node.id, fields["ISTIO_REVISION"].string_value if "ISTIO_REVISION" in fields else ""
