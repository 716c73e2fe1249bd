import string

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from google.protobuf.any_pb2 import Any
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.mcp import codec
from meshbridge.schemas.proto import meshbridge_mcp_pb2 as pb
from meshbridge.schemas.registry import labels
from meshbridge.schemas.resource import Kind, Resource, ResourceKey, resource

texts = st.text(st.characters(codec="utf-8"), max_size=20)
names = st.text(string.ascii_lowercase, min_size=1, max_size=200)
maps = st.dictionaries(texts, texts, max_size=4).map(labels)
# Of two keys, one the start of the other, protobuf's Python library writes the longer one first,
# unlike those for C++ and Go; we sort as these do.
plain_maps = st.dictionaries(st.text(max_size=1).map("{:>8}".format), texts, max_size=4).map(labels)
keys = st.builds(ResourceKey, st.sampled_from(Kind), names, names)
resources = st.builds(resource, keys, st.binary(max_size=300), maps, maps)
plain_resources = st.builds(resource, keys, st.binary(max_size=300), plain_maps, plain_maps)


def as_protobuf(found: Resource) -> Any:
    body = Any(type_url=f"type.googleapis.com/istio.networking.v1alpha3.{found.key.kind}", value=found.body)
    metadata = pb.Metadata(
        name=f"{found.key.namespace}/{found.key.name}",
        create_time=Timestamp(seconds=codec.CREATE_TIME),
        version=found.version,
        labels=dict(found.labels),
        annotations=dict(found.annotations),
    )
    wrapped = Any()
    wrapped.Pack(pb.Resource(metadata=metadata, body=body), deterministic=True)
    return wrapped


@given(st.lists(plain_resources, max_size=4), texts, texts, texts)
def test_response_has_the_bytes_that_protobuf_would_write(
    found: list[Resource], type_url: str, version: str, nonce: str
) -> None:
    expected = DiscoveryResponse(
        type_url=type_url, version_info=version, nonce=nonce, resources=map(as_protobuf, found)
    )

    written = codec.response(type_url, version, nonce, map(codec.frame, found))

    assert written == expected.SerializeToString(deterministic=True)


@given(resources)
def test_frame_says_the_resource(found: Resource) -> None:
    [item] = DiscoveryResponse.FromString(codec.frame(found)).resources

    assert pb.Resource.FromString(item.value) == pb.Resource.FromString(as_protobuf(found).value)


@given(st.lists(resources, max_size=2), texts, texts)
def test_nonce_can_be_exchanged_in_a_finished_response(found: list[Resource], old: str, new: str) -> None:
    frames = [codec.frame(one) for one in found]

    exchanged = codec.with_nonce(codec.response("a/b/C", "v", old, frames), old, new)

    assert exchanged == codec.response("a/b/C", "v", new, frames)


def test_create_time_is_the_start_of_2100() -> None:
    assert Timestamp(seconds=codec.CREATE_TIME).ToJsonString() == "2100-01-01T00:00:00Z"


@given(st.dictionaries(texts, texts, min_size=2, max_size=5))
def test_order_of_a_map_does_not_matter(pairs: dict[str, str]) -> None:
    key = ResourceKey(Kind.SERVICE_ENTRY, "ns", "name")
    turned = dict(reversed(pairs.items()))

    frames = {codec.frame(resource(key, b"", labels(given))) for given in (pairs, turned)}

    assert len(frames) == 1


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
@pytest.mark.parametrize("kind", Kind)
def test_every_version_of_a_type_url_means_the_kind(kind: Kind, version: str) -> None:
    assert codec.kind_of(f"networking.istio.io/{version}/{kind}") is kind


@pytest.mark.parametrize(
    "type_url",
    [
        "",
        "ServiceEntry",
        "networking.istio.io/v2/ServiceEntry",
        "networking.istio.io/v1/DestinationRule",
        "security.istio.io/v1/ServiceEntry",
        "type.googleapis.com/networking.istio.io/v1/ServiceEntry",
        "core/v1alpha1/MeshConfig",
    ],
)
def test_other_type_urls_have_no_kind(type_url: str) -> None:
    assert codec.kind_of(type_url) is None


def part(found: list[Resource], removed: list[str]) -> codec.Part:
    named = {f"{one.key.namespace}/{one.key.name}": one for one in found}
    frames = {name: codec.frame(one) for name, one in named.items()}
    return codec.Part(frames, {name: one.version for name, one in named.items()}, removed)


@given(st.lists(resources, max_size=4), st.lists(texts, max_size=3), texts, texts)
def test_delta_response_says_the_resources_and_the_removals(
    found: list[Resource], removed: list[str], type_url: str, nonce: str
) -> None:
    brought = part(found, removed)

    response = DeltaDiscoveryResponse.FromString(codec.DELTA.render(type_url, "v", nonce, brought))

    assert (response.type_url, response.system_version_info, response.nonce) == (type_url, "v", nonce)
    assert list(response.removed_resources) == removed
    assert [item.name for item in response.resources] == list(brought.frames)
    for item in response.resources:
        wrapped = pb.Resource.FromString(item.resource.value)
        assert (wrapped.metadata.name, wrapped.metadata.version) == (item.name, item.version)
        [whole] = DiscoveryResponse.FromString(brought.frames[item.name]).resources
        assert item.resource == whole


@pytest.mark.parametrize("form", [codec.LEGACY, codec.LEGACY_DIFF])
@given(found=st.lists(resources, max_size=4), removed=st.lists(texts, max_size=3), nonce=texts)
def test_legacy_response_has_the_resources_without_their_wrapping(
    form: codec.Form, found: list[Resource], removed: list[str], nonce: str
) -> None:
    brought = part(found, removed)

    response = pb.Resources.FromString(form.render("c", "v", nonce, brought))

    assert (response.collection, response.system_version_info, response.nonce) == ("c", "v", nonce)
    assert response.incremental == (form is codec.LEGACY_DIFF)
    assert list(response.removed_resources) == (removed if response.incremental else [])
    wrapped = [DiscoveryResponse.FromString(frame).resources[0].value for frame in brought.frames.values()]
    assert list(response.resources) == [pb.Resource.FromString(value) for value in wrapped]


@pytest.mark.parametrize("form", [codec.SOTW, codec.DELTA, codec.LEGACY, codec.LEGACY_DIFF])
def test_nonce_can_be_replaced_in_every_form(form: codec.Form) -> None:
    brought = codec.Part({}, {}, ["gone"])

    replaced = codec.with_nonce(form.render("t", "v", "g1", brought), "g1", "g1.2")

    assert replaced == form.render("t", "v", "g1.2", brought)
