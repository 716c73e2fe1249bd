import asyncio

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse

from meshbridge.mcp import codec
from meshbridge.mcp.cache import SnapshotCache
from meshbridge.mcp.view import Scope
from meshbridge.schemas.proto import meshbridge_mcp_pb2 as pb
from meshbridge.schemas.resource import EMPTY_SNAPSHOT, Kind, Publication, Resource, diff, snapshot

SE = "networking.istio.io/v1/ServiceEntry"
SE3 = "networking.istio.io/v1alpha3/ServiceEntry"
WE = "networking.istio.io/v1/WorkloadEntry"
WG = "networking.istio.io/v1/WorkloadGroup"
OTHER = "networking.istio.io/v1/DestinationRule"
MESH_CONFIG = "core/v1alpha1/MeshConfig"


def names(cache: SnapshotCache) -> list[str]:
    answer = cache.current(SE)
    assert answer is not None
    found = DiscoveryResponse.FromString(answer.body).resources
    return [pb.Resource.FromString(item.value).metadata.name for item in found]


@pytest.fixture
def framed(monkeypatch: pytest.MonkeyPatch) -> list[Resource]:
    """Every resource that was framed."""
    calls: list[Resource] = []
    frame = codec.frame

    def counting(resource: Resource) -> bytes:
        calls.append(resource)
        return frame(resource)

    monkeypatch.setattr(codec, "frame", counting)
    return calls


def test_kinds_that_we_fill_are_held_before_the_first_publication(cache) -> None:
    versions = cache.versions([SE, SE3, WE, WG, OTHER, MESH_CONFIG, "odd"])

    assert versions.keys() == {OTHER, MESH_CONFIG, "odd"}
    assert cache.current(SE) is None


def test_other_types_are_answered_empty_under_the_url_asked(cache) -> None:
    answer = cache.current(MESH_CONFIG)

    response = DiscoveryResponse.FromString(answer.body)
    assert (response.type_url, list(response.resources)) == (MESH_CONFIG, [])
    assert (response.version_info, response.nonce) == (answer.version, answer.nonce)
    assert cache.versions([MESH_CONFIG]) == {MESH_CONFIG: answer.version}


async def test_an_empty_first_publication_opens_all_types(cache, publisher) -> None:
    await publisher.put()

    assert cache.versions([SE, WE, WG]).keys() == {SE, WE, WG}
    assert names(cache) == []


async def test_answer_has_the_whole_type(cache, publisher, entry) -> None:
    await publisher.put(entry("a"), entry("b"))
    await publisher.put(entry("c"), entry("a", salt=1))

    assert names(cache) == ["legacy/a", "legacy/b", "legacy/c"]


async def test_removed_resource_leaves(cache, publisher, entry) -> None:
    await publisher.put(entry("a"), entry("b"))
    await publisher.remove(entry("a").key)

    assert names(cache) == ["legacy/b"]


async def test_all_versions_of_a_url_share_content_and_version(cache, publisher, entry) -> None:
    await publisher.put(entry("a"))

    new, old = cache.current(SE), cache.current(SE3)

    assert new.version == old.version
    assert (
        DiscoveryResponse.FromString(new.body).resources == DiscoveryResponse.FromString(old.body).resources
    )
    assert DiscoveryResponse.FromString(old.body).type_url == SE3


async def test_only_changed_resources_are_framed(cache, publisher, entry, framed) -> None:
    await publisher.put(*(entry(f"s{i}") for i in range(1200)))
    framed.clear()

    await publisher.put(entry("s7", salt=1))
    cache.current(SE)

    assert [found.key.name for found in framed] == ["s7"]


async def test_response_is_joined_once_and_shared(cache, publisher, entry) -> None:
    await publisher.put(entry("a"))

    assert cache.current(SE).body is cache.current(SE).body


async def test_change_of_one_kind_leaves_the_others_bytes_alone(cache, publisher, entry, workload) -> None:
    await publisher.put(entry("a"), workload("w"))
    entries, workloads = cache.current(SE), cache.current(WE)

    await publisher.put(workload("w", "10.0.0.2"))

    assert cache.current(SE) is entries
    assert cache.current(WE) is not workloads


async def test_nonce_differs_whenever_content_did(cache, publisher, entry) -> None:
    await publisher.put(entry("a"))
    first = cache.current(SE)
    await publisher.put(entry("a", salt=1))
    await publisher.put(entry("a"))

    assert cache.current(SE).version == first.version
    assert cache.current(SE).nonce != first.nonce


async def test_applying_twice_is_applying_once(cache, publisher, entry) -> None:
    publication = publisher.prepare(entry("a"))
    await cache.apply(publication)
    answer = cache.current(SE)

    await cache.apply(publication)

    assert cache.current(SE) is answer


async def test_missed_publications_do_no_harm(cache, publisher, entry, framed) -> None:
    await publisher.put(entry("a"), entry("b"), entry("same"))
    publisher.prepare(entry("c"))
    publisher.prepare(remove=[entry("a").key])
    framed.clear()

    await publisher.put(entry("b", salt=1))

    assert sorted(names(cache)) == ["legacy/b", "legacy/c", "legacy/same"]
    assert sorted(found.key.name for found in framed) == ["b", "c"]


async def test_replicas_agree_on_versions(publisher, entry) -> None:
    other = SnapshotCache()
    await publisher.put(entry("a"))
    await publisher.put(entry("b"))

    await other.apply(Publication(1, publisher.snapshot, publisher.prepare().delta, {}))

    assert other.versions([SE]) == publisher.cache.versions([SE])


async def test_listeners_wake_only_within_their_context(cache, publisher) -> None:
    inside, outside = asyncio.Event(), asyncio.Event()
    with cache.wakes(outside):
        pass
    with cache.wakes(inside):
        await publisher.put()

    assert (inside.is_set(), outside.is_set()) == (True, False)


async def test_nothing_is_visible_before_all_is(cache, publisher, entry) -> None:
    await publisher.put(entry("a"))
    before = cache.current(SE)
    many = publisher.prepare(*(entry(f"s{i}") for i in range(1001)))

    applying = asyncio.create_task(cache.apply(many))
    await asyncio.sleep(0)
    seen = cache.current(SE)
    await applying

    assert seen is before
    assert len(names(cache)) == 1002


async def test_oldest_event_since_a_generation_counts_for_changed_kinds_only(
    cache, publisher, entry, workload
) -> None:
    await publisher.put(entry("a"), oldest={"vms": 1.0})
    await publisher.put(entry("a", salt=1), oldest={"vms": 5.0, "dc1": 6.0})
    await publisher.put(workload("w"), oldest={"vms": 2.0})
    await publisher.put(entry("a", salt=2), oldest={"vms": 7.0})

    view = cache.view()
    assert view.oldest_since(Kind.SERVICE_ENTRY, 0) == {"vms": 1.0, "dc1": 6.0}
    assert view.oldest_since(Kind.SERVICE_ENTRY, 1) == {"vms": 5.0, "dc1": 6.0}
    assert view.oldest_since(Kind.SERVICE_ENTRY, 3) == {"vms": 7.0}
    assert view.oldest_since(Kind.WORKLOAD_ENTRY, 1) == {"vms": 2.0}
    assert view.oldest_since(None, 1) == {}


async def test_oldest_event_of_a_narrowed_view_is_of_what_it_shows(cache, publisher, entry) -> None:
    await publisher.put(entry("a"))
    narrow = cache.view(frozenset({Scope(namespaces=frozenset({"elsewhere"}))}))

    await publisher.put(entry("a", salt=1), oldest={"vms": 5.0})

    assert cache.view().oldest_since(Kind.SERVICE_ENTRY, 1) == {"vms": 5.0}
    assert narrow.oldest_since(Kind.SERVICE_ENTRY, 1) == {}


async def test_replicas_with_different_pasts_give_the_same_bytes(publisher, entry) -> None:
    other = SnapshotCache()
    await publisher.put(entry("b"), entry("d"))
    await publisher.put(entry("a"))
    await publisher.remove(entry("d").key)
    await publisher.put(entry("d", salt=1), entry("c"))
    await publisher.put(entry("b", salt=1))

    fresh = snapshot([entry("c"), entry("d", salt=1), entry("b", salt=1), entry("a")])
    await other.apply(Publication(1, fresh, diff(EMPTY_SNAPSHOT, fresh), {}))

    ours, theirs = publisher.cache.current(SE), other.current(SE)
    assert ours.version == theirs.version
    assert codec.with_nonce(ours.body, ours.nonce, "") == codec.with_nonce(theirs.body, theirs.nonce, "")


async def test_generation_is_that_of_the_newest_publication(cache, publisher) -> None:
    assert cache.generation == 0

    await publisher.put()

    assert cache.generation == 1
    assert cache.current(f"networking.istio.io/v1/{Kind.WORKLOAD_GROUP}").generation == 1
