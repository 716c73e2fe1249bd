from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshbridge.bridge.pipeline.conflicts import Contribution
from meshbridge.bridge.pipeline.convert import (
    SERVICE_LABEL,
    SERVICES_ANNOTATION,
    Converted,
    convert,
    entry_name,
)
from meshbridge.bridge.pipeline.merge import MeshService, merge
from meshbridge.bridge.pipeline.values import EndpointMode, Member, MeshKey, ServiceSettings
from meshbridge.schemas import wire
from meshbridge.schemas.errors import ConversionError
from meshbridge.schemas.istio import Location, Resolution, ServiceEntry, WorkloadEntry
from meshbridge.schemas.manifest import to_object, to_yaml
from meshbridge.schemas.registry import Health, Note, Port, ServiceKey, labels
from meshbridge.schemas.resource import Kind
from meshbridge.schemas.validation import MAX_ENDPOINTS, TLS_MODE, has_errors, validate

GOLDEN = Path(__file__).parent / "golden"
KEY = MeshKey("legacy", "shop.mesh")
HTTP = (Port("http", 8080, "HTTP"),)
PUBLISHED = (EndpointMode.INLINE, EndpointMode.WORKLOAD_ENTRIES)
"""Modes in which endpoints are published by us."""
APART = ServiceSettings(endpoints=EndpointMode.WORKLOAD_ENTRIES)


def member(name: str, address: str, **fields: Any) -> Member:
    known: dict[str, Any] = {
        "mesh": KEY,
        "settings": ServiceSettings(),
        "ports": HTTP,
        "locality": "",
        "network": "",
        "weight": 0,
        "service_account": "",
        "health": Health.READY,
    }
    return Member(id=name, address=address, **{**known, **fields, "labels": labels(fields.get("labels", {}))})


def service(*members: Member, groups: tuple[str, ...] = ("shop",)) -> MeshService:
    first, *others = groups
    found = [Contribution(ServiceKey("vms", first), members)]
    # Others repeat what the first gives; where it counts, their names do.
    found += [Contribution(ServiceKey("vms", name), members[:1]) for name in others]
    return merge(members[0].mesh, found)


def entry(converted: Converted, number: int = 0) -> ServiceEntry:
    spec = wire.decode(Kind.SERVICE_ENTRY, converted.resources[number].body)
    assert isinstance(spec, ServiceEntry)
    return spec


def workloads(converted: Converted) -> Iterator[WorkloadEntry]:
    for found in converted.resources:
        if found.key.kind is Kind.WORKLOAD_ENTRY:
            spec = wire.decode(found.key.kind, found.body)
            assert isinstance(spec, WorkloadEntry)
            yield spec


def full_service(mode: EndpointMode) -> MeshService:
    """A service that uses everything there is."""
    chosen = ServiceSettings(
        location=Location.MESH_EXTERNAL,
        endpoints=mode,
        export_to=(".", "shops"),
        service_ports=(("http", 80),),
    )
    both = (Port("grpc", 9090, "GRPC"), Port("http", 8080, "HTTP"))
    return service(
        member(
            "a",
            "10.0.0.1",
            settings=chosen,
            ports=both,
            labels={"version": "v1", TLS_MODE: "istio"},
            locality="eu/eu-1a",
            network="dc1",
            weight=3,
            service_account="shop",
        ),
        member("b", "fd00::2", settings=chosen, ports=both, labels={"version": "v2"}),
        member("c", "10.0.0.3", settings=chosen, ports=both, health=Health.UNREADY),
        groups=("shop", "SHOP-old"),
    )


@pytest.mark.parametrize("mode", [*EndpointMode])
def test_resources_are_as_in_the_golden_file(
    mode: EndpointMode, validate_crd: Callable[[Mapping[str, Any]], None]
) -> None:
    converted = convert(full_service(mode))

    assert to_yaml(converted.resources) == (GOLDEN / f"{mode}.yaml").read_text()
    assert (converted.ready, converted.total) == (2, 3)
    assert converted.notes == ()
    for found in converted.resources:
        validate_crd(to_object(found))


@pytest.mark.parametrize("mode", [*EndpointMode])
def test_revision_is_a_label_of_every_object(mode: EndpointMode) -> None:
    chosen = ServiceSettings(endpoints=mode, revision="blue")

    made = convert(service(member("a", "10.0.0.1", settings=chosen)))

    assert {dict(found.labels)["istio.io/rev"] for found in made.resources} == {"blue"}


def test_what_could_not_be_taken_of_a_member_is_noted() -> None:
    made = convert(service(member("a", "10.0.0.1", remarks=("weight x",)), member("b", "10.0.0.2")))

    assert made.notes == (Note("a", "weight x"),)


def test_entry_is_named_after_the_host() -> None:
    made = service(member("a", "10.0.0.1"))

    assert convert(made).resources[0].key.name == entry_name(made) == "shop.mesh"


def test_host_that_is_said_twice_is_there_once() -> None:
    again = ServiceSettings(more_hosts=("b.mesh", "shop.mesh"))

    made = convert(service(member("a", "10.0.0.1", settings=again)))

    assert entry(made).hosts == ("shop.mesh", "b.mesh")


def test_host_name_makes_the_whole_service_dns_and_says_so() -> None:
    converted = convert(service(member("a", "10.0.0.1"), member("b", "db.example.com")))

    assert entry(converted).resolution is Resolution.DNS
    assert converted.notes == (
        Note(
            "b",
            "its address db.example.com is a host name, so proxies resolve the whole service by DNS",
        ),
    )


def test_wanted_resolution_needs_no_note() -> None:
    converted = convert(
        service(member("b", "db.example.com", settings=ServiceSettings(resolution=Resolution.DNS)))
    )

    assert entry(converted).resolution is Resolution.DNS
    assert converted.notes == ()


def test_host_name_of_an_unserved_instance_changes_nothing() -> None:
    converted = convert(
        service(member("a", "10.0.0.1"), member("b", "db.example.com", health=Health.UNREADY))
    )

    assert entry(converted).resolution is Resolution.STATIC


@pytest.mark.parametrize("mode", PUBLISHED)
def test_service_without_endpoints_is_static(mode: EndpointMode) -> None:
    chosen = ServiceSettings(resolution=Resolution.DNS, endpoints=mode)

    converted = convert(service(member("a", "10.0.0.1", settings=chosen, health=Health.DRAINING)))

    assert len(converted.resources) == 1
    assert entry(converted).resolution is Resolution.STATIC
    assert entry(converted).endpoints == ()
    assert (converted.ready, converted.total) == (0, 1)


@pytest.mark.parametrize("mode", PUBLISHED)
def test_bad_endpoint_is_left_out_with_a_note_and_its_neighbours_stay(mode: EndpointMode) -> None:
    chosen = ServiceSettings(endpoints=mode)

    converted = convert(
        service(
            member("a", "10.0.0.1", settings=chosen),
            member("bad", "10.0.0.2", settings=chosen, labels={"not a key": "x"}),
            member("c", "10.0.0.3", settings=chosen),
        )
    )

    found = entry(converted).endpoints or tuple(workloads(converted))
    assert [one.address for one in found] == ["10.0.0.1", "10.0.0.3"]
    [note] = converted.notes
    assert note.record == "bad"
    assert note.reason.startswith("left out: labels")
    assert (converted.ready, converted.total) == (2, 3)


def test_service_whose_endpoints_are_all_bad_is_static() -> None:
    chosen = ServiceSettings(resolution=Resolution.DNS)

    converted = convert(service(member("a", "unix:///run/shop.sock", settings=chosen)))

    assert converted.ready == 0
    assert entry(converted).resolution is Resolution.STATIC


def test_bad_addresses_that_look_like_names_do_not_make_a_service_dns() -> None:
    converted = convert(service(member("a", "10.0.0.1"), member("b", "no host name!")))

    assert entry(converted).resolution is Resolution.STATIC
    assert [one.address for one in entry(converted).endpoints] == ["10.0.0.1"]


@pytest.mark.parametrize("mode", [*EndpointMode])
def test_service_that_istiod_would_refuse_raises(mode: EndpointMode) -> None:
    wrong = ServiceSettings(export_to=(".", "*"), endpoints=mode)

    with pytest.raises(
        ConversionError, match=r"ServiceEntry legacy/shop.mesh would be refused: exportTo\[1\]"
    ):
        convert(service(member("a", "10.0.0.1", settings=wrong)))


def test_more_endpoints_than_one_entry_may_have_are_split() -> None:
    members = [
        member(f"{n:05}", f"10.{n // 62500}.{n // 250 % 250}.{n % 250}") for n in range(2 * MAX_ENDPOINTS + 1)
    ]

    converted = convert(service(*members))

    names = [found.key.name for found in converted.resources]
    assert names == ["shop.mesh", "shop.mesh-part2", "shop.mesh-part3"]
    parts = [entry(converted, number) for number in range(3)]
    assert [len(part.endpoints) for part in parts] == [MAX_ENDPOINTS, MAX_ENDPOINTS, 1]
    assert len({one.address for part in parts for one in part.endpoints}) == len(members)
    assert {(part.hosts, part.ports, part.resolution) for part in parts} == {
        (("shop.mesh",), parts[0].ports, Resolution.STATIC)
    }


@pytest.mark.parametrize(
    ("mode", "account", "kept"),
    [("istio", "", False), ("istio", "shop", True), ("disabled", "", True), ("disabled", "shop", True)],
)
def test_mutual_tls_needs_a_service_account(mode: str, account: str, kept: bool) -> None:
    converted = convert(service(member("a", "10.0.0.1", labels={TLS_MODE: mode}, service_account=account)))

    assert entry(converted).endpoints[0].labels == ({TLS_MODE: mode} if kept else {})
    assert len(converted.notes) == (not kept)


def test_unix_socket_has_no_port_of_its_own() -> None:
    chosen = ServiceSettings(service_ports=(("http", 80),))

    converted = convert(service(member("a", "unix:///run/shop.sock", settings=chosen)))

    [endpoint] = entry(converted).endpoints
    assert endpoint.address == "unix:///run/shop.sock"
    assert endpoint.ports == {}
    assert entry(converted).resolution is Resolution.STATIC


def test_instance_that_lacks_a_port_is_noted() -> None:
    both = (*HTTP, Port("admin", 9090, "HTTP"))

    converted = convert(service(member("a", "10.0.0.1", ports=both), member("b", "10.0.0.2")))

    assert converted.notes == (Note("b", "it lacks the port admin: proxies will try 9090"),)
    assert converted.ready == 2


def test_selector_chooses_the_services_own_workload_entries() -> None:
    converted = convert(service(member("a", "10.0.0.1", settings=APART, labels={"app": "x"})))

    selector = entry(converted).workload_selector
    [workload] = workloads(converted)
    assert selector is not None
    assert selector.labels == {SERVICE_LABEL: "shop.mesh"}
    assert workload.labels == {"app": "x", SERVICE_LABEL: "shop.mesh"}


def test_workload_entries_of_similar_addresses_have_names_of_their_own() -> None:
    addresses = ["fd00::1:2", "fd00:1::2", "unix:///run/a/b", "unix:///run/a-b"]

    converted = convert(service(*(member(str(n), one, settings=APART) for n, one in enumerate(addresses))))

    assert len({found.key for found in converted.resources}) == 5


def test_annotation_names_the_registries_services_up_to_a_limit() -> None:
    names = tuple(f"shop-{number:02}" for number in range(25))

    converted = convert(service(member("a", "10.0.0.1"), groups=names))

    text = dict(converted.resources[0].annotations)[SERVICES_ANNOTATION]
    assert text == ", ".join(f"vms/{name}" for name in names[:20]) + " and 5 more"


ADDRESSES = st.sampled_from(
    [
        "10.0.0.1",
        "10.0.0.2",
        "fd00::1",
        "db.example.com",
        "unix:///run/x",
        "",
        "10.0.0.300",
        "not a host",
        "*",
    ]
)
MEMBERS = st.builds(
    member,
    st.text("abc", min_size=1, max_size=2),
    ADDRESSES,
    ports=st.sampled_from([HTTP, (*HTTP, Port("admin", 1, "")), (Port("http", 81, "HTTP"),)]),
    labels=st.dictionaries(
        st.sampled_from(["version", TLS_MODE, "not a key"]), st.sampled_from(["istio", "é"])
    ),
    locality=st.sampled_from(["", "eu/1", "/1", "a/b/c/d", "*"]),
    network=st.sampled_from(["", "dc1", "\n"]),
    weight=st.sampled_from([0, 1, 2**31]),
    health=st.sampled_from([*Health]),
    service_account=st.sampled_from(["", "shop", "no\tname"]),
)
SETTINGS = st.builds(
    ServiceSettings,
    resolution=st.none() | st.sampled_from([*Resolution]),
    endpoints=st.sampled_from([*EndpointMode]),
    export_to=st.sampled_from([(), (".",), ("*", "x"), ("no place",)]),
    service_ports=st.sampled_from([(), (("http", 80),), (("http", 70000),)]),
)


@settings(deadline=None)
@given(st.lists(MEMBERS, min_size=1, max_size=5), SETTINGS)
def test_what_is_converted_is_valid_by_istiods_rules(members: list[Member], chosen: ServiceSettings) -> None:
    made = merge(KEY, [Contribution(ServiceKey("vms", "shop"), tuple(members))])
    made = MeshService(made.key, chosen, made.ports, made.members, made.groups, made.notes)

    try:
        converted = convert(made)
    except ConversionError:
        return

    for found in converted.resources:
        spec = wire.decode(found.key.kind, found.body)
        problems = validate(
            found.key.kind, found.key.namespace, found.key.name, spec, found.labels, found.annotations
        )
        assert not has_errors(problems), problems
    left_out = sum(note.reason.startswith("left out") for note in converted.notes)
    served = sum(one.health.is_served for one in made.members)
    assert converted.ready + left_out == served
    assert converted.total == len(made.members)
    assert convert(made, converted) == converted, "what is known changes nothing"


@settings(deadline=None)
@given(st.lists(MEMBERS, min_size=2, max_size=5), st.integers(1, 4), SETTINGS)
def test_an_earlier_state_saves_work_and_changes_nothing(
    members: list[Member], earlier: int, chosen: ServiceSettings
) -> None:
    before, now = (
        msgspec.structs.replace(
            merge(KEY, [Contribution(ServiceKey("vms", "shop"), tuple(some))]), settings=chosen
        )
        for some in (members[:earlier], members)
    )
    try:
        known = convert(before)
    except ConversionError:
        return

    try:
        fresh = convert(now)
    except ConversionError:
        with pytest.raises(ConversionError):
            convert(now, known)
    else:
        assert convert(now, known) == fresh


def test_endpoints_that_are_long_are_split_before_etcd_refuses_them() -> None:
    bulky = {f"label-{number}": "x" * 63 for number in range(20)}
    members = [
        member(f"{number}", f"10.0.{number // 250}.{number % 250 + 1}", labels=bulky)
        for number in range(1000)
    ]

    resources = convert(service(*members)).resources

    assert [one.key.name for one in resources] == [
        "shop.mesh",
        *(f"shop.mesh-part{number}" for number in range(2, len(resources) + 1)),
    ]
    assert len(resources) > 1
    sizes = [len(msgspec.json.encode(wire.decode(one.key.kind, one.body))) for one in resources]
    assert max(sizes) < 1_400_000
    specs = [wire.decode(one.key.kind, one.body) for one in resources]
    assert sum(len(spec.endpoints) for spec in specs if isinstance(spec, ServiceEntry)) == 1000
