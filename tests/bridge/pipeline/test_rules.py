from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshbridge.adapters.inventory.formats.detect import parse
from meshbridge.adapters.inventory.formats.istio_join import join
from meshbridge.adapters.inventory.formats.options import FormatOptions
from meshbridge.bridge.config.rules import Defaults, Rule
from meshbridge.bridge.pipeline.rules import Rules, health_text
from meshbridge.bridge.pipeline.settings import parse_service_ports
from meshbridge.bridge.pipeline.values import (
    Dropped,
    EndpointMode,
    Member,
    MergePolicy,
    MeshKey,
    VirtualIps,
)
from meshbridge.schemas import naming
from meshbridge.schemas.istio import Location, Resolution, ServicePort
from meshbridge.schemas.registry import Health, Instance, InstanceGroup, Port, ServiceKey, group, labels

KEY = ServiceKey("vms", "shop")
HTTP = (Port("http", 8080, "http"),)


def vm(name: str = "a", /, **fields: Any) -> Instance:
    for key in ("labels", "metadata"):
        fields[key] = labels(fields.get(key, {}))
    return Instance(name, **{"address": "10.0.0.1", "ports": HTTP, **fields})


def verdict(
    *rules: Mapping[str, Any],
    of: Instance | None = None,
    attributes: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Member | Dropped:
    made = Rules([Rule.model_validate(rule) for rule in rules], Defaults.model_validate(defaults or {}))
    instance = of or vm()
    return made.for_group(group(KEY, [instance], attributes or {})).apply(instance)


def member(*rules: Mapping[str, Any], **more: Any) -> Member:
    found = verdict(*rules, **more)
    assert isinstance(found, Member)
    return found


def test_without_rules_the_defaults_decide() -> None:
    found = member()

    assert found.mesh == MeshKey("meshbridge", "shop.vms.mesh")
    assert found.settings.location is Location.MESH_INTERNAL
    assert found.settings.resolution is None
    assert found.settings.endpoints is EndpointMode.INLINE
    assert found.settings.export_to == ()
    assert (found.id, found.address, found.ports) == ("a", "10.0.0.1", (Port("http", 8080, "HTTP"),))
    assert (found.labels, found.locality, found.network, found.service_account) == ((), "", "", "")
    assert (found.weight, found.health) == (0, Health.UNKNOWN)


def test_first_rule_that_sets_a_field_decides_it() -> None:
    found = member(
        {"match": {"source": "other"}, "set": {"network": "never"}},
        {"set": {"host": "first.mesh"}},
        {"set": {"host": "second.mesh", "namespace": "second", "labels": {"a": "2", "b": "2"}}},
        {"set": {"labels": {"a": "3", "c": "3"}, "weight": 5}},
    )

    assert found.mesh == MeshKey("second", "first.mesh")
    assert found.network == ""
    assert found.labels == (("a", "2"), ("b", "2"), ("c", "3"))
    assert found.weight == 5


def test_every_field_can_be_set() -> None:
    found = member(
        {
            "set": {
                "host": "{service}-{version}.{region}.mesh",
                "namespace": "{namespace}",
                "protocol": "grpc",
                "ports": {"http": 80},
                "labels": {"rack": "{metadata.rack|none}", "tier": "{attributes.tier}", "old": None},
                "service_account": "{labels.app}",
                "network": "net-{zone}",
                "locality": "{region}/{zone}/x",
                "weight": 7,
                "location": "MESH_EXTERNAL",
                "resolution": "DNS",
                "export_to": ["."],
                "endpoints": "workload_entries",
                "hosts": ["{service}.more.mesh", "{attributes.alias}", "{service}.more.mesh"],
                "tls_mode": "istio",
                "subject_alt_names": ["spiffe://cluster.local/ns/{namespace}/sa/old"],
                "revision": "blue",
                "merge": "prefer",
                "virtual_ips": "tcp",
            }
        },
        of=vm(labels={"app": "shop", "version": "v1", "old": "yes"}, locality="eu/1a"),
        attributes={"namespace": "legacy", "tier": "front"},
    )

    assert found.mesh == MeshKey("legacy", "shop-v1.eu.mesh")
    assert found.ports == (Port("http", 8080, "GRPC"),)
    assert found.labels == (
        ("app", "shop"),
        ("rack", "none"),
        ("security.istio.io/tlsMode", "istio"),
        ("tier", "front"),
        ("version", "v1"),
    )
    assert (found.service_account, found.network, found.locality) == ("shop", "net-1a", "eu/1a/x")
    assert found.weight == 7
    assert found.settings.service_ports == (("http", 80),)
    assert found.settings.location is Location.MESH_EXTERNAL
    assert found.settings.resolution is Resolution.DNS
    assert found.settings.export_to == (".",)
    assert found.settings.endpoints is EndpointMode.WORKLOAD_ENTRIES
    assert found.settings.more_hosts == ("shop.more.mesh",)
    assert found.settings.subject_alt_names == ("spiffe://cluster.local/ns/legacy/sa/old",)
    assert found.settings.revision == "blue"
    assert found.settings.merge is MergePolicy.PREFER
    assert found.settings.virtual_ips is VirtualIps.TCP


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{service}", "shop"),
        ("{source}", "vms"),
        ("{id}", "a"),
        ("{address}", "10.0.0.1"),
        ("{version}", "v3"),
        ("{weight|none}", "none"),
        ("{tags.env}", "prod"),
        ("{tags.tier|none}", "none"),
        ("{zone|none}", "none"),
        ("{region|none}", "none"),
        ("{metadata.version}", "v3"),
        ("{labels.x|y}", "y"),
        ("{attributes.x|y}", "y"),
    ],
)
def test_variables_of_templates(text: str, value: str) -> None:
    instance = vm(metadata={"version": "v3"}, tags=("tier", "env|prod", "env=test"))

    found = member({"set": {"network": text}}, of=instance)

    assert found.network == value


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ([{"drop": True}, {"keep": True}], "dropped by rules[0]"),
        ([{"keep": True}, {"drop": True}], ""),
        ([{"set": {"weight": 1}}, {"name": "no vms", "drop": True}], "dropped by no vms"),
        ([{"match": {"tag": "x"}, "keep": True}, {"drop": True}], "dropped by rules[1]"),
        ([{"match": {"address": "10.0.0.0/8"}, "keep": True, "set": {"weight": 2}}, {"drop": True}], ""),
    ],
)
def test_first_matching_rule_with_drop_or_keep_decides(rules: list[dict[str, Any]], reason: str) -> None:
    found = verdict(*rules)

    assert found == Dropped("a", reason) if reason else isinstance(found, Member)


@pytest.mark.parametrize(
    ("set_fields", "instance", "reason"),
    [
        ({"weight": 1}, vm(ports=()), "it has no port"),
        ({"host": "{metadata.host}"}, vm(), "its host is empty"),
        ({"namespace": "{metadata.team}"}, vm(), "its namespace is empty"),
    ],
)
def test_instance_that_has_no_place_in_the_mesh_stays_out(
    set_fields: dict[str, Any], instance: Instance, reason: str
) -> None:
    assert verdict({"set": set_fields}, of=instance) == Dropped("a", reason)


def test_registry_decides_what_no_rule_says() -> None:
    attributes = {
        "host": "Shop.Example.com",
        "namespace": "legacy",
        "location": "MESH_EXTERNAL",
        "resolution": "DNS",
        "ports": '[{"number": 80, "name": "HTTP"}, {"number": 90, "name": "x"}]',
        "protocol": "grpc",
        "export_to": ".,shops",
    }

    found = member(of=vm(ports=(Port("HTTP", 8080),)), attributes=attributes)

    assert found.mesh == MeshKey("legacy", "shop.example.com")
    assert found.ports == (Port("http", 8080, "GRPC"),)
    assert found.settings.location is Location.MESH_EXTERNAL
    assert found.settings.resolution is Resolution.DNS
    assert found.settings.export_to == (".", "shops")
    assert found.settings.service_ports == (("http", 80), ("x", 90))


def test_rules_win_over_the_registry() -> None:
    attributes = {"host": "a.b", "namespace": "x", "location": "MESH_EXTERNAL", "export_to": "."}
    fields = {"host": "c.d", "namespace": "y", "location": "MESH_INTERNAL", "export_to": [], "ports": {}}

    found = member({"set": fields}, attributes={**attributes, "ports": '[{"number": 80, "name": "http"}]'})

    assert found.mesh == MeshKey("y", "c.d")
    assert found.settings.location is Location.MESH_INTERNAL
    assert found.settings.export_to == ()
    assert found.settings.service_ports == ()


@pytest.mark.parametrize("text", ["", "[]", "{}", "http:80", '[{"name": "http"}]', "["])
def test_unusable_attributes_leave_the_defaults(text: str) -> None:
    found = member(attributes={"ports": text, "location": "NOWHERE", "resolution": "MAGIC"})

    assert found.settings.service_ports == ()
    assert found.settings.location is Location.MESH_INTERNAL
    assert found.settings.resolution is None


def test_service_ports_are_read_as_an_inventory_writes_them() -> None:
    document = b"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop, namespace: legacy}
spec:
  hosts: [shop.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  exportTo: [".", shops]
  ports: [{name: http, number: 80, protocol: HTTP, targetPort: 8080}, {name: raw, number: 9000}]
  endpoints: [{address: 10.0.0.7}]
"""
    parsed = join(parse(document, "shop.yaml", FormatOptions()).resources)
    [record] = parsed.records
    [said] = parsed.services.values()

    found = member(of=record.instance, attributes=dict(said))

    assert found.mesh == MeshKey("legacy", "shop.example.com")
    assert found.ports == (Port("http", 8080, "HTTP"), Port("raw", 9000, "TCP"))
    assert found.settings.service_ports == (("http", 80), ("raw", 9000))
    assert found.settings.export_to == (".", "shops")
    assert found.settings.resolution is Resolution.STATIC


@given(
    st.dictionaries(st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True), st.integers(1, 65535))
)
@settings(deadline=None)
def test_service_ports_survive_their_encoding(ports: dict[str, int]) -> None:
    encoded = msgspec.json.encode([ServicePort(number, name) for name, number in ports.items()]).decode()

    assert parse_service_ports(encoded) == ports


def test_version_label_comes_from_the_metadata() -> None:
    assert member(of=vm(metadata={"version": "v1 beta"})).labels == (("version", "v1-beta"),)
    assert member(of=vm(metadata={"version": "v1"}, labels={"version": "v2"})).labels == (("version", "v2"),)
    assert member(of=vm(metadata={"version": "***"})).labels == (("version", ""),)


@pytest.mark.parametrize("tag", ["version=v7", "version|v7", "version:v7"])
def test_version_label_comes_from_a_tag(tag: str) -> None:
    assert member(of=vm(tags=("x", tag))).labels == (("version", "v7"),)


def test_version_label_comes_from_where_the_defaults_say() -> None:
    defaults = {"version": "v{metadata.release:before(.)|0}"}

    assert member(of=vm(metadata={"release": "3.1"}), defaults=defaults).labels == (("version", "v3"),)
    assert member(of=vm(labels={"version": "old"}), defaults=defaults).labels == (("version", "v0"),)


def test_rule_s_own_version_label_goes_before_the_registry_s() -> None:
    rule = {"set": {"labels": {"version": "{version}-canary"}}}

    assert member(rule, of=vm(metadata={"version": "v1"})).labels == (("version", "v1-canary"),)


def test_labels_can_be_copied_renamed_mapped_and_dropped() -> None:
    names = {
        "team": "{metadata.owner}",
        "tier": "{labels.layer}",
        "layer": None,
        "env": "{labels.env:map(prod=production,*=other)}",
    }

    found = member(
        {"set": {"labels": names}}, of=vm(labels={"layer": "web", "env": "prod"}, metadata={"owner": "a"})
    )

    assert found.labels == (("env", "production"), ("team", "a"), ("tier", "web"))


@pytest.mark.parametrize(
    ("instance", "policy", "health", "labels_seen"),
    [
        (vm(weight=0, health=Health.READY), "remove", Health.DRAINING, ()),
        (vm(health=Health.DRAINING), "remove", Health.DRAINING, ()),
        (vm(health=Health.DRAINING), "label", Health.READY, (("istio.io/draining", "true"),)),
        (vm(weight=0), "label", Health.READY, (("istio.io/draining", "true"),)),
        (vm(health=Health.DRAINING), "serve", Health.READY, ()),
        (vm(health=Health.UNREADY), "label", Health.UNREADY, ()),
        (vm(health=Health.READY), "label", Health.READY, ()),
    ],
)
def test_what_leaves_is_removed_marked_or_kept_by_policy(
    instance: Instance, policy: str, health: Health, labels_seen: tuple[tuple[str, str], ...]
) -> None:
    for found in (
        member(of=instance, defaults={"draining": policy}),
        member({"set": {"draining": policy}}, of=instance),
    ):
        assert (found.health, found.labels) == (health, labels_seen)


@pytest.mark.parametrize(
    ("fields", "defaults", "weight", "remarks"),
    [
        ({}, {}, 100, ()),
        ({}, {"weights": "drop"}, 0, ()),
        ({"weight": "{weight:times(0.01)}"}, {"weights": "drop"}, 1, ()),
        ({"weight": ""}, {}, 0, ()),
        ({"weight": "{metadata.w|heavy}"}, {}, 0, ('weight "heavy" is no weight; left out',)),
        ({"weight": "99999999999"}, {}, 0, ('weight "99999999999" is no weight; left out',)),
    ],
)
def test_weights_are_mapped_or_dropped_by_policy(
    fields: dict[str, Any], defaults: dict[str, Any], weight: int, remarks: tuple[str, ...]
) -> None:
    found = member({"set": {**fields, "namespace": "x"}}, of=vm(weight=100), defaults=defaults)

    assert (found.weight, found.remarks) == (weight, remarks)


def test_instance_whose_host_belongs_to_kubernetes_stays_out() -> None:
    host = "shop.default.svc.cluster.local"

    assert verdict({"set": {"host": host}}) == Dropped(
        "a", f"its host {host} is denied by safety.hosts (*.cluster.local)"
    )


def test_further_host_that_belongs_to_kubernetes_is_left_out() -> None:
    found = member({"set": {"hosts": ["a.svc", "b.mesh"]}})

    assert found.settings.more_hosts == ("b.mesh",)
    assert found.settings.refused_hosts == ("its host a.svc is denied by safety.hosts (*.svc)",)


def test_endpoints_are_labelled_with_their_source_where_proxies_fail_over() -> None:
    assert member({"set": {"merge": "failover"}}).labels == (("meshbridge.io/source", "vms"),)


def test_region_of_a_zone_is_looked_up() -> None:
    defaults = {"region": "eu", "zones": {"1a": "us"}}

    assert member(of=vm(locality="/1a/r1"), defaults=defaults).locality == "us/1a/r1"
    assert member(of=vm(locality="/1b"), defaults=defaults).locality == "eu/1b"


def test_labels_of_an_instance_are_kept_as_they_are_where_nothing_is_added() -> None:
    instance = vm(labels={"app": "shop"})

    assert member(of=instance).labels is instance.labels


def test_label_values_of_templates_are_made_legal() -> None:
    found = member({"set": {"labels": {"rack": "{metadata.rack}"}}}, of=vm(metadata={"rack": "r 7/x"}))

    assert found.labels == (("rack", "r-7-x"),)


def test_label_can_be_removed() -> None:
    rule = {"set": {"labels": {"secret": None, "absent": None}}}

    assert member(rule, of=vm(labels={"secret": "x", "app": "shop"})).labels == (("app", "shop"),)


@pytest.mark.parametrize(
    ("weight", "health", "seen"),
    [
        (None, Health.READY, (0, Health.READY)),
        (5, Health.UNREADY, (5, Health.UNREADY)),
        (0, Health.READY, (0, Health.DRAINING)),
    ],
)
def test_weight_zero_means_draining(weight: int | None, health: Health, seen: tuple[int, Health]) -> None:
    found = member(of=vm(weight=weight, health=health))

    assert (found.weight, found.health) == seen


def test_rule_with_a_weight_does_not_bring_back_what_drains() -> None:
    found = member({"set": {"weight": 9}}, of=vm(weight=0))

    assert (found.weight, found.health) == (9, Health.DRAINING)


@pytest.mark.parametrize(
    ("locality", "region", "seen"),
    [
        ("/1a", "eu", "eu/1a"),
        ("us/1b", "eu", "us/1b"),
        ("", "eu", ""),
        ("/1a", "", "/1a"),
        ("us", "eu", "us"),
    ],
)
def test_zone_alone_gets_the_default_region(locality: str, region: str, seen: str) -> None:
    assert member(of=vm(locality=locality), defaults={"region": region}).locality == seen


def test_locality_of_a_rule_gets_the_default_region_too() -> None:
    rule = {"set": {"locality": "/{metadata.zone}"}}

    assert member(rule, of=vm(metadata={"zone": "1c"}), defaults={"region": "eu"}).locality == "eu/1c"


@pytest.mark.parametrize(
    ("ports", "seen"),
    [
        ([Port("", 80, "http")], [Port("http", 80, "HTTP")]),
        ([Port("", 80)], [Port("tcp", 80, "TCP")]),
        ([Port("", 80, "auto")], [Port("default", 80, "")]),
        ([Port("", 80, "rmi")], [Port("tcp", 80, "TCP")]),
        ([Port("Admin Port", 80, "http")], [Port("admin-port", 80, "HTTP")]),
        ([Port("", 443, "http", tls=True)], [Port("https", 443, "HTTPS")]),
        ([Port("x", 90), Port("x", 80)], [Port("x", 80, "TCP"), Port("x-2", 90, "TCP")]),
        (
            [Port("X", 80), Port("x", 81), Port("x-2", 82), Port("x", 83)],
            [Port("x", 80, "TCP"), Port("x-2", 81, "TCP"), Port("x-2-2", 82, "TCP"), Port("x-3", 83, "TCP")],
        ),
    ],
)
def test_every_port_gets_a_name_of_its_own(ports: list[Port], seen: list[Port]) -> None:
    assert member(of=vm(ports=tuple(ports))).ports == tuple(seen)


def test_long_port_names_stay_legal_when_they_collide() -> None:
    long = "p" * 63

    first, second = member(of=vm(ports=(Port(long, 80), Port(long, 81)))).ports

    assert first.name == long
    assert naming.is_dns_label(second.name)
    assert second.name != long


def test_protocol_comes_from_rule_then_instance_then_registry_then_defaults() -> None:
    bare = vm(ports=(Port("x", 80),))

    assert member({"set": {"protocol": "mongo"}}).ports[0].protocol == "MONGO"
    assert member(attributes={"protocol": "grpc"}).ports[0].protocol == "HTTP"
    assert member(of=bare, attributes={"protocol": "grpc"}).ports[0].protocol == "GRPC"
    assert member(of=bare, defaults={"protocol": "redis"}).ports[0].protocol == "REDIS"


@pytest.mark.parametrize(
    ("host", "seen"),
    [
        ("Shop_One.Mesh", "shop-one.mesh"),
        ("schöner laden.mesh", "schoner-laden.mesh"),
        ("shop.10", "shop.10.mesh"),
        ("..shop..", "shop"),
    ],
)
def test_illegal_host_is_made_legal(host: str, seen: str) -> None:
    assert member(attributes={"host": host}).mesh.host == seen


def test_illegal_namespace_is_made_legal() -> None:
    assert member(attributes={"namespace": "Team A"}).mesh.namespace == "team-a"


@pytest.mark.parametrize("host", ["{service}.mesh", "{service}-{metadata.canary|stable}.mesh", "{id}.mesh"])
@pytest.mark.parametrize("namespace", ["{namespace|none}", "{attributes.team}", "{metadata.team|none}"])
def test_instances_of_a_group_get_the_same_as_alone(host: str, namespace: str) -> None:
    rules = Rules([Rule.model_validate({"set": {"host": host, "namespace": namespace}})], Defaults())
    instances = [
        vm("a", metadata={"canary": "yes", "team": "one"}),
        vm("b", metadata={"team": "two"}),
        vm("c"),
        vm("d", metadata={"canary": "yes", "team": "one"}),
    ]
    attributes = {"team": "three"}
    together = rules.for_group(group(KEY, instances, attributes))

    found = [together.apply(instance) for instance in instances]

    assert found == [rules.for_group(group(KEY, [one], attributes)).apply(one) for one in instances]


def test_different_rules_within_a_group_give_different_services() -> None:
    rules = [{"match": {"tag": "canary"}, "set": {"host": "canary.mesh"}}]
    made = Rules([Rule.model_validate(rule) for rule in rules], Defaults())
    instances = [vm("a"), vm("b", tags=("canary",)), vm("c")]
    together = made.for_group(group(KEY, instances))

    hosts = [found.mesh.host for one in instances if isinstance(found := together.apply(one), Member)]

    assert hosts == ["shop.vms.mesh", "canary.mesh", "shop.vms.mesh"]


def test_decision_names_the_rules_that_matched() -> None:
    rules = [
        {"name": "first", "set": {"weight": 1}},
        {"match": {"tag": "x"}, "drop": True},
        {"match": {"service": "shop"}, "keep": True},
    ]
    made = Rules([Rule.model_validate(rule) for rule in rules], Defaults())

    decision = made.for_group(InstanceGroup(KEY)).decision(vm())

    assert decision.rules == ("first", "rules[2]")


def test_health_is_explained_where_it_keeps_an_instance_out() -> None:
    texts = {health: health_text(health) for health in Health}

    assert {health for health, text in texts.items() if not text} == {Health.READY, Health.UNKNOWN}


TEXTS = st.text(max_size=20)
PAIRS = st.dictionaries(TEXTS, TEXTS, max_size=3).map(labels)
INSTANCES = st.builds(
    Instance,
    id=TEXTS,
    address=TEXTS,
    ports=st.lists(st.builds(Port, TEXTS, st.integers(1, 65535), TEXTS, st.booleans()), max_size=3).map(
        tuple
    ),
    labels=PAIRS,
    metadata=PAIRS,
    tags=st.lists(TEXTS, max_size=2).map(tuple),
    locality=TEXTS,
    network=TEXTS,
    weight=st.none() | st.integers(0, 10),
    health=st.sampled_from([*Health]),
    service_account=TEXTS,
)
NAMED = ["host", "namespace", "location", "resolution", "ports", "protocol", "export_to"]
RULE = Rule.model_validate(
    {
        "match": {"metadata": {"version": "*"}, "labels": {"x": ["a*", "/.*/"]}},
        "set": {
            "labels": {"v": "{version}", "z": "{zone}", "m": "{metadata.m}"},
            "locality": "{region}/{zone}",
        },
    }
)


@given(TEXTS, st.dictionaries(st.sampled_from(NAMED), TEXTS), INSTANCES)
@settings(deadline=None)
def test_whatever_a_registry_writes_gives_a_verdict(
    service: str, attributes: dict[str, str], instance: Instance
) -> None:
    rules = Rules([RULE], Defaults())

    found = rules.for_group(group(ServiceKey("vms", service), [instance], attributes)).apply(instance)

    assert found.id == instance.id
    if isinstance(found, Member):
        assert naming.is_dns_label(found.mesh.namespace)
        assert naming.is_subdomain(found.mesh.host)
        assert len({port.name for port in found.ports}) == len(instance.ports)


def test_parts_of_a_source_share_its_hosts_unless_a_template_names_the_part() -> None:
    part = group(ServiceKey("consul/dc1", "shop"), [vm()])

    by_default = Rules([], Defaults()).for_group(part).apply(vm())
    by_part = Rules([], Defaults(host="{service}.{part}.{source}.mesh")).for_group(part).apply(vm())

    assert isinstance(by_default, Member)
    assert isinstance(by_part, Member)
    assert by_default.mesh.host == "shop.consul.mesh"
    assert by_part.mesh.host == "shop.dc1.consul.mesh"
