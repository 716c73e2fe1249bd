"""Resources as the bytes of a response, in each protocol.

A `DiscoveryResponse` (envoy/service/discovery/v3) of MCP is a list of `Any`, each an
`istio.mcp.v1alpha1.Resource` with `Metadata` and, again in an `Any`, the spec. A resource is framed
once, when it changes; a response is a join of frames. The bytes are those of protobuf's own
deterministic output, which a property test holds us to.

The other protocols wrap the same frame: field 2 of a delta `Resource` is the very entry of the state of
the world, and the legacy protocol has what is inside its `Any`.
"""

import calendar
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from meshbridge.schemas.protobuf import VARINT, delimited, string, string_map, strings, tag, varint
from meshbridge.schemas.resource import Kind, Resource

CREATE_TIME = calendar.timegm((2100, 1, 1, 0, 0, 0))
"""Unix seconds given as every resource's creation time. Of two entries for one host istiod lets the
older one win, and an unset time means 1970: with this one, hand-written entries keep their hosts."""

_RESOURCE_URL = "type.googleapis.com/istio.mcp.v1alpha1.Resource"
_BODY_URL = "type.googleapis.com/istio.networking.v1alpha3."
_GROUP = "networking.istio.io"
_VERSIONS = ("v1", "v1beta1", "v1alpha3")

_KINDS = {f"{_GROUP}/{version}/{kind}": kind for version in _VERSIONS for kind in Kind}
_COLLECTIONS = {
    "istio/networking/v1alpha3/serviceentries": Kind.SERVICE_ENTRY,
    "istio/networking/v1alpha3/workloadentries": Kind.WORKLOAD_ENTRY,
    "istio/networking/v1alpha3/workloadgroups": Kind.WORKLOAD_GROUP,
}
_TIMESTAMP = tag(1, VARINT) + varint(CREATE_TIME)
_RESOURCE_HEAD = string(1, _RESOURCE_URL)
_TRUE = varint(1)

Frames = Mapping[str, bytes]
"""Framed resources by namespace/name."""


def kind_of(type_url: str) -> Kind | None:
    """Return the kind that this type URL asks for, None for a type we never fill.

    istiod asks for v1alpha3 up to 1.23 and for v1 since; the content is the same.
    """
    return _KINDS.get(type_url)


def kind_of_collection(collection: str) -> Kind | None:
    """Return the kind that this collection of the legacy protocol asks for, None for one we never fill."""
    return _COLLECTIONS.get(collection)


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


class Part(msgspec.Struct, frozen=True):
    """What a response brings."""

    frames: Frames
    versions: Mapping[str, str]
    """Of at least the framed resources."""
    removed: Sequence[str] = ()


class Form(msgspec.Struct, frozen=True):
    """A protocol's responses."""

    name: str
    kind_of: Callable[[str], Kind | None]
    """The kind that a type means, None for one we never fill."""
    render: Callable[[str, str, str, Part], bytes]
    """Makes a response of type, version, nonce and content. The nonce is field 5, and the last."""


def _whole(type_url: str, version: str, nonce: str, part: Part) -> bytes:
    return response(type_url, version, nonce, part.frames.values())


def _delta(type_url: str, version: str, nonce: str, part: Part) -> bytes:
    versions = part.versions
    found = (
        delimited(2, string(1, versions[name]) + entry + string(3, name))
        for name, entry in part.frames.items()
    )
    head = (string(1, version), *found, string(4, type_url))
    return b"".join((*head, strings(6, part.removed), string(5, nonce)))


def _collection(collection: str, version: str, nonce: str, part: Part) -> bytes:
    found = (delimited(3, _inner(entry)) for entry in part.frames.values())
    return b"".join((string(1, version), string(2, collection), *found, string(5, nonce)))


def _collection_diff(collection: str, version: str, nonce: str, part: Part) -> bytes:
    found = (delimited(3, _inner(entry)) for entry in part.frames.values())
    head = (string(1, version), string(2, collection), *found)
    return b"".join((*head, strings(4, part.removed), tag(6, VARINT), _TRUE, string(5, nonce)))


SOTW = Form("sotw", kind_of, _whole)
DELTA = Form("delta", kind_of, _delta)
LEGACY = Form("legacy", kind_of_collection, _collection)
LEGACY_DIFF = Form("legacy", kind_of_collection, _collection_diff)


def with_nonce(body: bytes, old: str, new: str) -> bytes:
    """Return the response with another nonce."""
    return body[: len(body) - len(string(5, old))] + string(5, new)


def _any(type_url: str, value: bytes) -> bytes:
    return string(1, type_url) + (delimited(2, value) if value else b"")


def _inner(entry: bytes) -> bytes:
    """Return the Resource inside a frame: behind the two heads, and the URL between them."""
    at = entry.index(_RESOURCE_HEAD) + len(_RESOURCE_HEAD) + 1
    while entry[at] & 0x80:  # The length, which is no news: the rest is the Resource.
        at += 1
    return entry[at + 1 :]
