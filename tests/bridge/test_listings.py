from meshbridge.bridge import listings
from meshbridge.bridge.admin.view import InstanceStatus
from meshbridge.schemas.registry import Health, Instance, InstanceGroup, Port, ServiceKey


def test_instances_come_by_source_and_service_with_what_the_guard_keeps() -> None:
    shop = Instance(
        "1",
        "10.0.0.1",
        (Port("web", 80, "http"), Port("admin", 90), Port("", 91)),
        labels=(("version", "v1"),),
        locality="eu/a",
        weight=0,
        health=Health.DRAINING,
    )
    groups = [
        InstanceGroup(ServiceKey("b", "shop"), (shop,), held=("1",)),
        InstanceGroup(ServiceKey("a", "pay"), (Instance("2", "10.0.0.2"),)),
    ]

    found = list(listings.instances(groups))

    assert found == [
        InstanceStatus("a", "pay", "2", "10.0.0.2", [], "unknown", None, "", {}, False),
        InstanceStatus(
            *("b", "shop", "1", "10.0.0.1", ["80/http", "90/admin", "91/auto"], "draining"),
            *(0, "eu/a", {"version": "v1"}, True),
        ),
    ]
