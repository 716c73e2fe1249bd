"""What of a mesh service depends on others or on the past: virtual addresses, identities, other sources."""

from collections.abc import Mapping
from typing import Any

from meshbridge.bridge.config.rules import Defaults, Rule
from meshbridge.bridge.pipeline.bounds import GuardSettings
from meshbridge.bridge.pipeline.explain import explain
from meshbridge.bridge.pipeline.mesh import Mesh
from meshbridge.bridge.pipeline.rules import Rules
from meshbridge.bridge.pipeline.values import MeshKey
from meshbridge.schemas import wire
from meshbridge.schemas.istio import ServiceEntry
from meshbridge.schemas.registry import Health, Instance, InstanceGroup, Port, ServiceKey, group
from meshbridge.schemas.resource import Kind

SHOP, OTHER = ServiceKey("vms", "shop"), ServiceKey("zk", "shop")
HOST = MeshKey("meshbridge", "shop.vms.mesh")
ONE = MeshKey("meshbridge", "one.mesh")


def vm(number: int, **fields: Any) -> Instance:
    return Instance(f"vm-{number}", f"10.0.0.{number}", **{"ports": (Port("x", 80, "tcp"),), **fields})


def rules(*written: Mapping[str, Any], rollover: float = 60.0, **defaults: Any) -> Rules:
    known = [Rule.model_validate(rule) for rule in written]
    return Rules(known, Defaults.model_validate(defaults), identity_rollover=rollover)


def mesh(*written: Mapping[str, Any], **defaults: Any) -> Mesh:
    return Mesh(rules(*written, **defaults), ["vms", "zk"], GuardSettings(min_removed=10_000))


def says(made: Mesh, *groups: InstanceGroup) -> set[str]:
    """Let registries say some groups and return the names of what changes."""
    for found in groups:
        made.apply(found.key.source, made.catalog.compare([found]), 0.0)
    return settle(made)


def settle(made: Mesh) -> set[str]:
    for _ in made.settle():
        pass
    return {key.name for key in made.take_changes()}


def entry(made: Mesh, key: MeshKey) -> ServiceEntry:
    spec = wire.decode(Kind.SERVICE_ENTRY, made.services[key].converted.resources[0].body)
    assert isinstance(spec, ServiceEntry)
    return spec


def texts(made: Mesh, query: str) -> list[str]:
    return [step.text for found in explain(made, query) for step in found.steps]


def test_service_with_a_tcp_port_gets_a_virtual_address_where_that_is_wanted() -> None:
    made = mesh(virtual_ips="tcp")
    web = group(ServiceKey("vms", "web"), [vm(2, ports=(Port("http", 80, "http"),))])

    says(made, group(SHOP, [vm(1)]), web)

    [address] = entry(made, HOST).addresses
    assert address.startswith("241.")
    assert entry(made, MeshKey("meshbridge", "web.vms.mesh")).addresses == ()
    assert f"virtual address {address}" in texts(made, "shop")


def test_registry_s_own_address_goes_before_a_virtual_one() -> None:
    made = mesh(virtual_ips="all")

    says(made, group(SHOP, [vm(1)], {"addresses": "10.9.9.9"}))

    assert entry(made, HOST).addresses == ("10.9.9.9",)


def test_virtual_address_goes_when_it_is_no_longer_wanted() -> None:
    made = mesh(virtual_ips="all")
    says(made, group(SHOP, [vm(1)]))

    made.configure(rules(), ["vms", "zk"], GuardSettings())
    settle(made)

    assert entry(made, HOST).addresses == ()


def test_other_network_gives_other_addresses() -> None:
    made = mesh(virtual_ips="all")
    says(made, group(SHOP, [vm(1)]))

    made.configure(rules(virtual_ips="all", virtual_ip_range="242.0.0.0/8"), ["vms", "zk"], GuardSettings())
    settle(made)

    assert entry(made, HOST).addresses[0].startswith("242.")


def test_services_that_collide_are_published_anew_and_no_others() -> None:
    # Of 2,000 hosts in a network of 65,534 addresses about 30 collide.
    groups = [group(ServiceKey("vms", f"s{number}"), [vm(number % 250)]) for number in range(2000)]
    made = mesh(virtual_ips="all", virtual_ip_range="241.0.0.0/16")
    says(made, *groups)
    before = {key: entry(made, key).addresses for key in made.services}

    changed = says(made, *(InstanceGroup(found.key) for found in groups[::2]))

    after = {key: entry(made, key).addresses for key in made.services}
    moved = {key.host for key in after if after[key] != before[key]}
    assert len(set(after.values())) == len(after) == 1000
    assert 0 < len(moved) < 30
    assert changed == moved | {f"s{number}.vms.mesh" for number in range(0, 2000, 2)}


def test_replicas_give_the_same_addresses_whatever_came_first() -> None:
    groups = [group(ServiceKey("vms", f"s{number}"), [vm(number % 250)]) for number in range(500)]
    one, other = (mesh(virtual_ips="all", virtual_ip_range="241.0.0.0/16") for _ in range(2))

    says(one, *groups)
    for found in reversed(groups):
        says(other, found)

    assert {found.version for found in one.resources()} == {found.version for found in other.resources()}


def test_earlier_identity_is_accepted_until_its_time_is_up() -> None:
    made = mesh()
    old = "spiffe://cluster.local/ns/meshbridge/sa/old"
    made.turn_to(1000.0)
    says(made, group(SHOP, [vm(1, service_account="old")]))
    assert entry(made, HOST).subject_alt_names == ()

    says(made, group(SHOP, [vm(1, service_account="new")]))
    assert entry(made, HOST).subject_alt_names == (old,)
    assert f"also accepted for a while: {old}" in texts(made, "shop")
    new = old.replace("sa/old", "sa/new")
    assert f"clients accept any of {new}" in texts(made, "shop")
    assert "mutual TLS as spiffe://cluster.local/ns/meshbridge/sa/new" in texts(made, "shop")

    assert not made.turn_to(1059.0)
    assert made.turn_to(1060.0)
    assert settle(made) == {"shop.vms.mesh"}
    assert entry(made, HOST).subject_alt_names == ()
    assert not made.turn_to(2000.0)


def test_identities_of_a_service_are_told_in_few_words() -> None:
    made = mesh({"set": {"service_account": "{id}"}})

    says(made, group(SHOP, [vm(number) for number in range(1, 9)]))

    [told] = [text for text in texts(made, "shop") if text.startswith("clients accept any of ")]
    assert told.count("spiffe://cluster.local/ns/meshbridge/sa/vm-") == 5
    assert told.endswith(" and 3 more")


def test_earlier_identity_is_that_of_the_mesh_s_trust_domain() -> None:
    made = mesh(trust_domain="mesh.example")
    says(made, group(SHOP, [vm(1, service_account="old")]))

    says(made, group(SHOP, [vm(1, service_account="new")]))

    assert entry(made, HOST).subject_alt_names == ("spiffe://mesh.example/ns/meshbridge/sa/old",)


def test_identity_of_a_service_that_is_gone_is_forgotten() -> None:
    made = mesh()
    says(made, group(SHOP, [vm(1, service_account="old")]))

    says(made, InstanceGroup(SHOP))

    assert made.surplus.identities.dump() == {}


def test_source_that_stands_by_takes_over_and_steps_back() -> None:
    made = mesh({"set": {"host": "one.mesh", "merge": "prefer"}})
    says(made, group(SHOP, [vm(1)]), group(OTHER, [vm(2)]))
    assert [one.address for one in entry(made, ONE).endpoints] == ["10.0.0.1"]
    assert "zk/shop stand by" in texts(made, "vms/shop")
    assert "zk stands by: another source is preferred" in texts(made, "zk/shop")

    says(made, group(SHOP, [vm(1, health=Health.UNREADY)]))
    assert [one.address for one in entry(made, ONE).endpoints] == ["10.0.0.2"]

    says(made, group(SHOP, [vm(1, health=Health.READY)]))
    assert [one.address for one in entry(made, ONE).endpoints] == ["10.0.0.1"]


def test_endpoints_of_all_sources_tell_theirs_where_proxies_fail_over() -> None:
    made = mesh({"set": {"host": "one.mesh", "merge": "failover"}})

    says(made, group(SHOP, [vm(1)]), group(OTHER, [vm(2)]))

    assert [one.labels["meshbridge.io/source"] for one in entry(made, ONE).endpoints] == ["vms", "zk"]


def test_one_change_among_a_thousand_services_of_one_host_costs_one_endpoint() -> None:
    groups = [
        group(
            ServiceKey("vms", f"s{number}"),
            [Instance("a", f"10.1.{number >> 8}.{number & 255}", (Port("x", 80),))],
        )
        for number in range(1000)
    ]
    made = mesh({"set": {"host": "one.mesh"}})
    says(made, *groups)
    before = {found.member.address: found for found in made.services[ONE].converted.endpoints}

    changed = Instance("a", "10.1.0.7", (Port("x", 80),), weight=9)
    made.apply("vms", made.catalog.compare([group(ServiceKey("vms", "s7"), [changed])]), 0.0)
    pieces = sum(1 for _ in made.settle())

    after = {found.member.address: found for found in made.services[ONE].converted.endpoints}
    assert pieces == 2  # One group, one mesh service.
    assert len(after) == 1000
    assert [address for address in after if after[address] is not before[address]] == ["10.1.0.7"]


def test_five_thousand_hosts_in_conflict_are_each_told_and_each_change_concerns_one() -> None:
    both = [
        group(ServiceKey(source, f"s{number}"), [vm(1, ports=(Port("x", port, word),))])
        for number in range(5000)
        for source, port, word in (("vms", 80, "http"), ("zk", 81, "grpc"))
    ]
    made = mesh({"set": {"host": "{service}.mesh"}})
    says(made, *both)
    assert {len(built.service.conflicts) for built in made.services.values()} == {2}

    changed = says(made, group(ServiceKey("zk", "s7"), [vm(1, ports=(Port("x", 80, "http"),))]))

    assert changed == {"s7.mesh"}
    assert made.services[MeshKey("meshbridge", "s7.mesh")].service.conflicts == ()


def test_illegal_names_that_templates_give_become_legal_or_say_why_not() -> None:
    made = mesh({"match": {"service": "a"}, "set": {"host": "{metadata.nothing}"}})

    says(
        made,
        group(ServiceKey("vms", "a"), [vm(1)]),
        group(ServiceKey("vms", "Ünder_score/x.."), [vm(2)]),
        group(ServiceKey("vms", "x" * 300), [vm(3)]),
    )

    assert "its host is empty (rules[0] matched)" in texts(made, "a")
    hosts = sorted(key.host for key in made.services)
    assert hosts[0] == "under-score-x.vms.mesh"
    assert all(
        len(host) <= 253 and not built.error
        for host, built in zip(hosts, made.services.values(), strict=True)
    )
