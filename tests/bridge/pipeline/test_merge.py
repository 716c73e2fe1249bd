from typing import Any

import pytest

from meshbridge.bridge.pipeline.merge import Contribution, MeshService, merge
from meshbridge.bridge.pipeline.values import Member, MeshKey, ServiceSettings
from meshbridge.schemas.istio import Location, ServicePort
from meshbridge.schemas.registry import Health, Note, Port, ServiceKey

KEY = MeshKey("meshbridge", "shop.mesh")
VMS = ServiceKey("vms", "shop")
EUREKA = ServiceKey("eureka", "SHOP")


def member(name: str, address: str = "10.0.0.1", *ports: Port, **fields: Any) -> Member:
    known: dict[str, Any] = {
        "settings": ServiceSettings(),
        "labels": (),
        "locality": "",
        "network": "",
        "weight": 0,
        "service_account": "",
        "health": Health.READY,
    }
    return Member(
        mesh=KEY,
        id=name,
        address=address,
        ports=ports or (Port("http", 80, "HTTP"),),
        **{**known, **fields},
    )


def merged(*members: Member) -> MeshService:
    return merge(KEY, [Contribution(VMS, members)])


def test_one_contribution_gives_a_service() -> None:
    found = merged(member("b", "10.0.0.2"), member("a"))

    assert found.key == KEY
    assert found.ports == (ServicePort(80, "http", "HTTP"),)
    assert [one.id for one in found.members] == ["a", "b"]
    assert found.groups == (VMS,)
    assert found.notes == ()


def test_endpoints_are_sorted_by_address_and_ports() -> None:
    found = merged(
        member("a", "10.0.0.2"), member("b", "10.0.0.1", Port("http", 81, "HTTP")), member("c", "10.0.0.1")
    )

    assert [one.id for one in found.members] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        (member("b"), member("a"), "a"),
        (member("a"), member("b"), "a"),
        (member("a", health=Health.UNREADY), member("b"), "b"),
        (member("b"), member("a", health=Health.DRAINING), "b"),
        (member("b", health=Health.UNKNOWN), member("c"), "b"),
        (member("b", health=Health.UNREADY), member("a", health=Health.UNREADY), "a"),
        (member("b", "10.0.0.1", Port("x", 80, "TCP")), member("a"), "a"),
    ],
)
def test_of_two_at_one_place_a_served_one_wins_then_the_smaller_id(
    first: Member, second: Member, winner: str
) -> None:
    assert [one.id for one in merged(first, second).members] == [winner]


def test_same_address_with_other_ports_is_another_endpoint() -> None:
    found = merged(member("a"), member("b", "10.0.0.1", Port("http", 81, "HTTP")))

    assert len(found.members) == 2


def test_port_that_all_instances_have_is_the_services() -> None:
    ports = (Port("admin", 90, "GRPC"), Port("http", 8080, "HTTP"))

    found = merged(member("a", "10.0.0.1", *ports), member("b", "10.0.0.2", *ports))

    assert found.ports == (ServicePort(90, "admin", "GRPC"), ServicePort(8080, "http", "HTTP"))
    assert found.notes == ()


def test_differing_ports_give_the_smallest_and_a_note() -> None:
    members = [
        member(str(number), f"10.0.0.{number}", Port("http", 8000 + number, "HTTP")) for number in range(9)
    ]

    found = merged(*reversed(members))

    assert found.ports == (ServicePort(8000, "http", "HTTP"),)
    [note] = found.notes
    assert note.record == "http"
    assert note.reason == (
        "instances have ports 8000, 8001, 8002, 8003, 8004; the service gets 8000: set `ports` in a rule"
    )


def test_chosen_port_wins_without_a_note() -> None:
    chosen = ServiceSettings(service_ports=(("http", 80),))

    found = merged(
        member("a", "10.0.0.1", Port("http", 8080, "HTTP"), settings=chosen),
        member("b", "10.0.0.2", Port("http", 8081, "HTTP"), settings=chosen),
    )

    assert found.ports == (ServicePort(80, "http", "HTTP"),)
    assert found.notes == ()


def test_port_of_an_unserved_instance_counts_so_that_numbers_do_not_flap() -> None:
    members = [member("a", "10.0.0.1", Port("http", 8080, "HTTP"), health=Health.UNREADY)]
    members.append(member("b", "10.0.0.2", Port("http", 8081, "HTTP")))

    assert merged(*members).ports == (ServicePort(8080, "http", "HTTP"),)


def test_two_ports_with_one_number_leave_one_out_with_a_note() -> None:
    found = merged(member("a", "10.0.0.1", Port("admin", 80, "HTTP"), Port("http", 80, "HTTP")))

    assert found.ports == (ServicePort(80, "admin", "HTTP"),)
    assert found.notes == (Note("http", "its port 80 is taken by admin; left out"),)


def test_conflict_of_protocols_is_noted_and_the_first_wins() -> None:
    found = merged(
        member("a", "10.0.0.1", Port("x", 80, "")),
        member("b", "10.0.0.2", Port("x", 80, "GRPC")),
        member("c", "10.0.0.3", Port("x", 80, "")),
    )

    assert found.ports == (ServicePort(80, "x", ""),)
    assert found.notes == (Note("x", "instances have protocols auto, GRPC; the service gets the first"),)


def test_first_source_decides_what_can_be_decided_only_once() -> None:
    outside = ServiceSettings(location=Location.MESH_EXTERNAL)
    first = Contribution(EUREKA, (member("e", "10.0.0.9", settings=outside),))
    second = Contribution(VMS, (member("a"),))

    found = merge(KEY, [first, second])

    assert found.settings == outside
    assert found.groups == (EUREKA, VMS)
    assert found.notes == (Note("vms/shop", "it wants other service settings; those of eureka/SHOP win"),)


def test_sources_that_agree_are_joined_without_a_note() -> None:
    found = merge(KEY, [Contribution(EUREKA, (member("e", "10.0.0.9"),)), Contribution(VMS, (member("a"),))])

    assert [one.id for one in found.members] == ["a", "e"]
    assert found.notes == ()


def test_services_of_one_source_that_become_one_are_noted() -> None:
    groups = [ServiceKey("vms", "shop_1"), ServiceKey("vms", "shop-1"), ServiceKey("zk", "shop")]

    found = merge(
        KEY, [Contribution(key, (member(key.name, f"10.0.0.{n}"),)) for n, key in enumerate(groups)]
    )

    assert found.notes == (Note("vms", "its services shop-1, shop_1 map to this one host and are merged"),)
