"""What istiod makes of a response, by facts of its own code: replace, compare versions, skip, sync."""

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from google.protobuf.any_pb2 import Any

from meshbridge.mcp.client_store import MESH_CONFIG, ConfigStore, istio_types
from meshbridge.schemas.proto import meshbridge_mcp_pb2 as pb
from meshbridge.schemas.proto import meshbridge_networking_pb2 as networking
from meshbridge.schemas.resource import Kind

SE = "networking.istio.io/v1/ServiceEntry"
BODY = "type.googleapis.com/istio.networking.v1alpha3.ServiceEntry"


def item(name: str, version: str = "1", host: str = "a.mesh", body_type: str = BODY, rev: str = "") -> Any:
    body = networking.ServiceEntry(hosts=[host]).SerializeToString()
    metadata = pb.Metadata(name=name, version=version, labels={"istio.io/rev": rev} if rev else {})
    wrapped = Any()
    wrapped.Pack(pb.Resource(metadata=metadata, body=Any(type_url=body_type, value=body)))
    return wrapped


def response(*items: Any, type_url: str = SE) -> DiscoveryResponse:
    return DiscoveryResponse(type_url=type_url, resources=items)


@pytest.fixture
def store() -> ConfigStore:
    return ConfigStore((MESH_CONFIG, SE))


def hosts(store: ConfigStore) -> dict[str, str]:
    return {name: held.spec.hosts[0] for name, held in store.entries[SE].items()}


def test_types_are_those_of_istiod() -> None:
    new, old = istio_types(), istio_types(before_1_24=True)

    assert (len(new), len(old)) == (16, 15)
    assert new[0] == old[0] == MESH_CONFIG
    assert [url.rpartition("/")[2] for url in new[1:4]] == [
        "AuthorizationPolicy",
        "DestinationRule",
        "EnvoyFilter",
    ]
    assert SE in new
    assert "networking.istio.io/v1alpha3/ServiceEntry" in old


def test_response_replaces_everything(store: ConfigStore) -> None:
    store.apply(response(item("ns/a"), item("ns/b")), 0, 0.0)

    change = store.apply(response(item("ns/b"), item("ns/c")), 9, 2.5)

    assert (change.added, change.changed, change.removed) == (("ns/c",), (), ("ns/a",))
    assert (change.size, change.at) == (9, 2.5)
    assert hosts(store).keys() == {"ns/b", "ns/c"}


def test_equal_version_leaves_the_old_content(store: ConfigStore) -> None:
    store.apply(response(item("ns/a", host="old.mesh")), 0, 0.0)

    change = store.apply(response(item("ns/a", host="new.mesh")), 0, 0.0)

    assert change.changed == ()
    assert hosts(store) == {"ns/a": "old.mesh"}


@pytest.mark.parametrize("version", ["2", ""])
def test_other_or_empty_version_replaces_the_content(store: ConfigStore, version: str) -> None:
    store.apply(response(item("ns/a", version and "1", host="old.mesh")), 0, 0.0)

    change = store.apply(response(item("ns/a", version, host="new.mesh")), 0, 0.0)

    assert change.changed == ("ns/a",)
    assert hosts(store) == {"ns/a": "new.mesh"}


@pytest.mark.parametrize(
    "broken",
    [
        Any(type_url="type.googleapis.com/other", value=b""),
        Any(type_url="type.googleapis.com/istio.mcp.v1alpha1.Resource", value=b"\xff"),
        item("a", "2"),
        item("x/ns/a", "2"),
        item("ns/a", "2", body_type="type.googleapis.com/istio.networking.v1alpha3.Unknown"),
        item("ns/a", "2", body_type="type.googleapis.com/ServiceEntry"),
    ],
    ids=["no resource", "bad bytes", "no namespace", "three parts", "unknown body", "other package"],
)
def test_what_can_not_be_read_is_deleted(store: ConfigStore, broken: Any) -> None:
    store.apply(response(item("ns/a")), 0, 0.0)

    change = store.apply(response(broken, item("ns/b")), 0, 0.0)

    assert change.removed == ("ns/a",)
    assert len(change.skipped) == 1
    assert hosts(store).keys() == {"ns/b"}


def test_undecodable_body_is_skipped(store: ConfigStore) -> None:
    broken = Any()
    broken.Pack(pb.Resource(metadata=pb.Metadata(name="ns/a"), body=Any(type_url=BODY, value=b"\xff")))

    change = store.apply(response(broken), 0, 0.0)

    assert len(change.skipped) == 1
    assert hosts(store) == {}


@pytest.mark.parametrize(("revision", "held"), [("", {"any", "blue", "green"}), ("blue", {"any", "blue"})])
def test_revision_decides_what_is_taken(revision: str, held: set[str]) -> None:
    store = ConfigStore((SE,), revision)

    store.apply(response(item("ns/any"), *(item(f"ns/{rev}", rev=rev) for rev in ("blue", "green"))), 0, 0.0)

    assert {name.removeprefix("ns/") for name in store.entries[SE]} == held


def test_type_is_synced_by_its_first_answer_even_if_empty(store: ConfigStore) -> None:
    assert store.unsynced == {SE}

    store.apply(response(), 0, 0.0)

    assert store.unsynced == set()


def test_answer_under_a_url_not_asked_is_stored_nowhere(store: ConfigStore) -> None:
    change = store.apply(response(item("ns/a"), type_url="networking.istio.io/v1beta1/ServiceEntry"), 0, 0.0)

    assert change.added == ()
    assert store.entries == {SE: {}}
    assert store.unsynced == {SE}


def test_held_entry_keeps_what_the_metadata_says(store: ConfigStore) -> None:
    store.apply(response(item("ns/a", rev="blue")), 0, 0.0)

    held = store.entries[SE]["ns/a"]
    assert (held.kind, held.version, held.labels) == (Kind.SERVICE_ENTRY, "1", (("istio.io/rev", "blue"),))
