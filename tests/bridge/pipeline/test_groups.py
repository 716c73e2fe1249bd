import msgspec

from meshbridge.bridge.pipeline.conflicts import Contribution
from meshbridge.bridge.pipeline.convert import SERVICE_LABEL, convert
from meshbridge.bridge.pipeline.merge import merge
from meshbridge.bridge.pipeline.values import EndpointMode, Member, MeshKey, ServiceSettings
from meshbridge.schemas import wire
from meshbridge.schemas.istio import Location, ServiceEntry, WorkloadGroup, WorkloadSelector
from meshbridge.schemas.registry import Health, Port, ServiceKey, labels
from meshbridge.schemas.resource import Kind

KEY = MeshKey("legacy", "shop.vms.mesh")
SETTINGS = ServiceSettings(
    location=Location.MESH_INTERNAL, endpoints=EndpointMode.WORKLOAD_GROUP, output="kubernetes"
)


def member(number: int, **changed: object) -> Member:
    fields: dict[str, object] = {
        "mesh": KEY,
        "settings": SETTINGS,
        "id": f"vm-{number}",
        "address": f"10.0.0.{number}",
        "ports": (Port("http", 80, "HTTP"),),
        "labels": labels({"app": "shop", "vm": str(number)}),
        "locality": "eu/a",
        "network": "dc-1",
        "weight": 0,
        "service_account": "shop",
        "health": Health.READY,
        **changed,
    }
    return Member(**fields)  # type: ignore[arg-type]


def converted(*members: Member) -> dict[Kind, object]:
    service = merge(KEY, [Contribution(ServiceKey("vms", "shop"), members)])
    found = convert(service).resources
    assert all(one.output == "kubernetes" for one in found)
    return {one.key.kind: wire.decode(one.key.kind, one.body) for one in found}


def test_group_has_what_its_workloads_have_in_common() -> None:
    found = converted(member(1), member(2, locality="eu/b"))

    group, entry = found[Kind.WORKLOAD_GROUP], found[Kind.SERVICE_ENTRY]
    assert isinstance(group, WorkloadGroup)
    assert isinstance(entry, ServiceEntry)
    assert group.template.labels == {"app": "shop", SERVICE_LABEL: "shop.vms.mesh"}
    assert group.template.ports == {"http": 80}
    assert (group.template.network, group.template.service_account) == ("dc-1", "shop")
    assert (group.template.locality, group.template.address) == ("", "")
    assert entry.workload_selector == WorkloadSelector(labels={SERVICE_LABEL: "shop.vms.mesh"})


def test_ports_are_the_workloads_own_where_they_agree() -> None:
    chosen = msgspec.structs.replace(SETTINGS, service_ports=(("http", 80),))

    def ports(*numbers: int) -> dict[str, int]:
        members = [
            member(place, settings=chosen, ports=(Port("http", number, "HTTP"),))
            for place, number in enumerate(numbers, start=1)
        ]
        group = converted(*members)[Kind.WORKLOAD_GROUP]
        assert isinstance(group, WorkloadGroup)
        return group.template.ports

    assert ports(8080, 8080) == {"http": 8080}
    assert ports(8080, 9090) == {"http": 80}


def test_workloads_that_register_themselves_are_not_written() -> None:
    assert Kind.WORKLOAD_ENTRY not in converted(member(1), member(2))


def test_group_stays_while_none_of_its_workloads_is_ready() -> None:
    assert Kind.WORKLOAD_GROUP in converted(member(1, health=Health.UNREADY))
