"""Resources as the bytes of an MCP-over-xDS response.

A `DiscoveryResponse` (envoy/service/discovery/v3) of MCP is a list of `Any`, each an
`istio.mcp.v1alpha1.Resource` with `Metadata` and, again in an `Any`, the spec. A resource is framed
once, when it changes; a response is a join of frames. The bytes are those of protobuf's own
deterministic output, which a property test holds us to.
"""

import calendar
from collections.abc import Iterable

from meshbridge.schemas.protobuf import VARINT, delimited, string, string_map, tag, varint
from meshbridge.schemas.resource import Kind, Resource

CREATE_TIME = calendar.timegm((2100, 1, 1, 0, 0, 0))
"""Unix seconds given as every resource's creation time. Of two entries for one host istiod lets the
older one win, and an unset time means 1970: with this one, hand-written entries keep their hosts."""

_RESOURCE_URL = "type.googleapis.com/istio.mcp.v1alpha1.Resource"
_BODY_URL = "type.googleapis.com/istio.networking.v1alpha3."
_GROUP = "networking.istio.io"
_VERSIONS = ("v1", "v1beta1", "v1alpha3")

_KINDS = {f"{_GROUP}/{version}/{kind}": kind for version in _VERSIONS for kind in Kind}
_TIMESTAMP = tag(1, VARINT) + varint(CREATE_TIME)


def kind_of(type_url: str) -> Kind | None:
    """Return the kind that this type URL asks for, None for a type we never fill.

    istiod asks for v1alpha3 up to 1.23 and for v1 since; the content is the same.
    """
    return _KINDS.get(type_url)


def frame(resource: Resource) -> bytes:
    """Return the resource as one `resources` entry of a response, tag and length included."""
    metadata = b"".join(
        (
            string(1, f"{resource.key.namespace}/{resource.key.name}"),
            delimited(2, _TIMESTAMP),
            string(3, resource.version),
            string_map(4, dict(resource.labels)),
            string_map(5, dict(resource.annotations)),
        )
    )
    body = _any(f"{_BODY_URL}{resource.key.kind}", resource.body)
    return delimited(2, _any(_RESOURCE_URL, delimited(1, metadata) + delimited(2, body)))


def response(type_url: str, version: str, nonce: str, frames: Iterable[bytes]) -> bytes:
    """Return a whole response made of framed resources."""
    return b"".join((string(1, version), *frames, string(4, type_url), string(5, nonce)))


def with_nonce(body: bytes, old: str, new: str) -> bytes:
    """Return the response with another nonce."""
    return body[: len(body) - len(string(5, old))] + string(5, new)


def _any(type_url: str, value: bytes) -> bytes:
    return string(1, type_url) + (delimited(2, value) if value else b"")
