"""The bytes of resources never change by themselves: an encoding that did would make every istiod of every
mesh rewrite everything at the next update of this program. If one of these hashes has to change, say so in
the change log."""

import hashlib
from typing import Any

from meshbridge.bridge.config.rules import Defaults, Rule
from meshbridge.bridge.pipeline.guard import GuardSettings
from meshbridge.bridge.pipeline.mesh import Mesh
from meshbridge.bridge.pipeline.rules import Rules
from meshbridge.schemas.registry import Health, Instance, InstanceGroup, Port, ServiceKey, group, labels

RULES = [
    {"match": {"service": "plain"}, "set": {"weight": ""}},
    {
        "match": {"service": "everything"},
        "set": {
            "host": "{service:upper}.mesh",
            "hosts": ["{service}.more.mesh"],
            "namespace": "legacy",
            "labels": {"team": "{metadata.team:map(a=b)}"},
            "service_account": "{service}",
            "tls_mode": "istio",
            "subject_alt_names": ["spiffe://cluster.local/ns/x/sa/y"],
            "network": "dc-1",
            "locality": "/{metadata.zone}",
            "draining": "label",
            "revision": "blue",
            "export_to": ["."],
            "virtual_ips": "all",
            "ports": {"http": 80},
        },
    },
    {"match": {"service": "apart"}, "set": {"endpoints": "workload_entries", "location": "MESH_EXTERNAL"}},
    {"match": {"service": "joined"}, "set": {"host": "joined.mesh", "merge": "failover"}},
]
VERSIONS = {
    "ServiceEntry legacy/everything.mesh": "a16dcd23541d2082f5efa8fd6efb1374",
    "ServiceEntry meshbridge/apart.vms.mesh": "30677b65f8dfc33b084885f6bbf87567",
    "ServiceEntry meshbridge/joined.mesh": "e432b129397a6450c280dcd38bfbb4c5",
    "ServiceEntry meshbridge/named.vms.mesh": "92a6b6a403d5638871d272dde6d0140e",
    "ServiceEntry meshbridge/plain.vms.mesh": "d7113c99d5d4f05de54618029811b291",
    "WorkloadEntry meshbridge/apart.vms.mesh-10.0.0.1-8081-9090": "f3933595793770f8603010172d3aefa2",
}
BODY = "e51cfa0ebe2a21a6eff2694ec61d8c4d002bc412e9c1c12009bac01f4ebb0811"


def vm(number: int, **fields: Any) -> Instance:
    known: dict[str, Any] = {
        "address": f"10.0.0.{number}",
        "ports": (Port("http", 8080 + number, "http"), Port("", 9090, "dubbo")),
        "labels": labels({"version": f"v{number}"}),
        "metadata": labels({"team": "a", "zone": "z1"}),
        "weight": 100,
    }
    return Instance(f"vm-{number}", **{**known, **fields})


def groups() -> list[InstanceGroup]:
    one = [vm(1), vm(2, health=Health.UNREADY), vm(3, health=Health.DRAINING)]
    found = [group(ServiceKey("vms", name), one) for name in ("plain", "apart", "joined")]
    web = [vm(1, ports=(Port("http", 8081, "http"),)), vm(3, ports=(Port("http", 8081, "http"),), weight=0)]
    named = group(ServiceKey("vms", "named"), [vm(1, address="vm.example")])
    return [
        *found,
        group(ServiceKey("vms", "everything"), web),
        group(ServiceKey("zk", "joined"), [vm(4)]),
        named,
    ]


def mesh(*found: InstanceGroup) -> Mesh:
    rules = Rules([Rule.model_validate(rule) for rule in RULES], Defaults(region="eu"))
    made = Mesh(rules, ["vms", "zk"], GuardSettings())
    for one in found:
        made.apply(one.key.source, made.catalog.compare([one]), 0.0)
    for _ in made.settle():
        pass
    return made


def test_resources_are_byte_for_byte_those_of_earlier_releases() -> None:
    found = sorted(mesh(*groups()).resources(), key=lambda one: one.key)

    assert {str(one.key): one.version for one in found} == VERSIONS


def test_order_in_which_things_come_makes_no_difference() -> None:
    one, other = mesh(*groups()), mesh(*reversed(groups()))

    assert set(one.resources()) == set(other.resources())


def test_hash_is_of_the_bytes() -> None:
    [found] = mesh(group(ServiceKey("vms", "plain"), [vm(1)])).resources()

    assert hashlib.sha256(found.body).hexdigest() == BODY
