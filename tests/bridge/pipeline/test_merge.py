from typing import Any

import pytest

from meshbridge.bridge.pipeline.conflicts import MAX_CONFLICTS, Conflict, Contribution
from meshbridge.bridge.pipeline.merge import MeshService, merge
from meshbridge.bridge.pipeline.values import Member, MergePolicy, MeshKey, ServiceSettings
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


def test_mixed_protocols_of_one_source_are_left_to_proxies() -> None:
    found = merged(
        member("a", "10.0.0.1", Port("x", 80, "")),
        member("b", "10.0.0.2", Port("x", 80, "GRPC")),
        member("c", "10.0.0.3", Port("x", 80, "")),
    )

    assert found.ports == (ServicePort(80, "x", ""),)
    assert found.notes == (
        Note("x", "instances have protocols auto, GRPC; proxies find out: set `protocol` in a rule"),
    )


def test_mixed_protocols_of_a_service_with_several_hosts_give_the_first() -> None:
    both = ServiceSettings(more_hosts=("b.mesh",))

    found = merged(
        member("a", "10.0.0.1", Port("x", 80, "HTTP"), settings=both),
        member("b", "10.0.0.2", Port("x", 80, "GRPC"), settings=both),
    )

    assert found.ports == (ServicePort(80, "x", "HTTP"),)
    assert found.notes == (Note("x", "instances have protocols HTTP, GRPC; the service gets the first"),)


def test_first_source_decides_what_can_be_decided_only_once() -> None:
    outside = ServiceSettings(location=Location.MESH_EXTERNAL)
    first = Contribution(EUREKA, (member("e", "10.0.0.9", settings=outside),))
    second = Contribution(VMS, (member("a"),))

    found = merge(KEY, [first, second])

    assert found.settings == outside
    assert found.groups == (EUREKA, VMS)
    first_listed = "its source is listed first"
    texts = ("settings", "location", "eureka/SHOP", "MESH_EXTERNAL", "vms/shop", "MESH_INTERNAL")
    assert found.conflicts == (Conflict(*texts, first_listed),)
    assert found.notes == (
        Note(
            "vms/shop",
            "it wants location MESH_INTERNAL; MESH_EXTERNAL of eureka/SHOP wins: its source is listed first",
        ),
    )


@pytest.mark.parametrize("health", [Health.READY, Health.UNREADY])
def test_ports_and_protocols_are_those_of_the_source_listed_first_ready_or_not(health: Health) -> None:
    first = Contribution(EUREKA, (member("e", "10.0.0.9", Port("http", 8080, "HTTP"), health=health),))
    second = Contribution(VMS, (member("a", "10.0.0.1", Port("http", 80, "GRPC"), Port("x", 90, "TCP")),))

    found = merge(KEY, [first, second])

    assert found.ports == (ServicePort(90, "x", "TCP"), ServicePort(8080, "http", "HTTP"))
    assert [(one.kind, one.field, one.value, one.other) for one in found.conflicts] == [
        ("port", "port http", "8080", "80"),
        ("protocol", "protocol http", "HTTP", "GRPC"),
    ]
    assert {(one.winner, one.loser) for one in found.conflicts} == {("eureka/SHOP", "vms/shop")}


def test_number_that_two_sources_use_for_different_ports_goes_to_the_source_listed_first() -> None:
    first = Contribution(VMS, (member("a", "10.0.0.1", Port("tcp", 80, "TCP")),))
    second = Contribution(EUREKA, (member("e", "10.0.0.9", Port("http", 80, "HTTP")),))

    found = merge(KEY, [first, second])

    assert found.ports == (ServicePort(80, "tcp", "TCP"),)
    assert [(one.field, one.winner, one.value, one.loser, one.other) for one in found.conflicts] == [
        ("port 80", "vms/shop", "tcp TCP", "eureka/SHOP", "http HTTP")
    ]


def test_port_that_a_rule_chose_is_no_conflict() -> None:
    chosen = ServiceSettings(service_ports=(("http", 80),))
    first = Contribution(EUREKA, (member("e", "10.0.0.9", Port("http", 8080, "HTTP"), settings=chosen),))
    second = Contribution(VMS, (member("a", "10.0.0.1", Port("http", 8081, "HTTP"), settings=chosen),))

    assert merge(KEY, [first, second]).conflicts == ()


@pytest.mark.parametrize(
    ("health", "winner", "why"),
    [(Health.READY, "z", "its source is listed first"), (Health.UNREADY, "a", "it is ready")],
)
def test_two_identities_of_one_endpoint_are_a_conflict(health: Health, winner: str, why: str) -> None:
    first = Contribution(EUREKA, (member("z", health=health, service_account="shop"),))
    second = Contribution(VMS, (member("a"),))

    found = merge(KEY, [first, second])

    assert [one.id for one in found.members] == [winner]
    [conflict] = found.conflicts
    assert (conflict.kind, conflict.why) == ("identity", why)
    assert {conflict.value, conflict.other} == {"shop", "none"}


@pytest.mark.parametrize(
    ("first", "second", "used", "standby"),
    [
        (Health.READY, Health.READY, ["e"], (VMS,)),
        (Health.UNREADY, Health.READY, ["a"], (EUREKA,)),
        (Health.UNREADY, Health.UNREADY, ["e"], (VMS,)),
        (Health.DRAINING, Health.UNKNOWN, ["a"], (EUREKA,)),
    ],
)
def test_preferred_is_the_first_source_with_ready_endpoints(
    first: Health, second: Health, used: list[str], standby: tuple[ServiceKey, ...]
) -> None:
    prefer = ServiceSettings(merge=MergePolicy.PREFER)
    both = [
        Contribution(EUREKA, (member("e", "10.0.0.9", settings=prefer, health=first),)),
        Contribution(VMS, (member("a", settings=prefer, health=second),)),
    ]

    found = merge(KEY, both)

    assert [one.id for one in found.members] == used
    assert found.standby == standby
    assert found.groups == (EUREKA, VMS)


def test_preferred_source_gives_the_endpoints_of_all_its_services() -> None:
    prefer = ServiceSettings(merge=MergePolicy.PREFER)
    groups = [ServiceKey("eureka", "a"), VMS, ServiceKey("eureka", "b")]
    members = [member(key.name, f"10.0.0.{n}", settings=prefer) for n, key in enumerate(groups)]

    found = merge(KEY, [Contribution(key, (one,)) for key, one in zip(groups, members, strict=True)])

    assert [one.id for one in found.members] == ["a", "b"]
    assert found.standby == (VMS,)


def test_thousand_services_with_one_host_are_told_in_few_words() -> None:
    ports = [Port("http", 8000 + number % 50, "HTTP") for number in range(1000)]
    contributions = [
        Contribution(
            ServiceKey("vms" if number else "eureka", f"shop-{number}"),
            (member(str(number), f"10.0.{number >> 8}.{number & 255}", ports[number]),),
        )
        for number in range(1000)
    ]

    found = merge(KEY, contributions)

    assert len(found.members) == 1000
    assert len(found.conflicts) == MAX_CONFLICTS
    assert sum(len(note.reason) + len(note.record) for note in found.notes) < 5000
    assert "shop-101, shop-102 and 994 more map to this one host" in found.notes[0].reason


def test_refused_hosts_are_noted() -> None:
    settings = ServiceSettings(refused_hosts=("its host a.svc is denied",))

    assert merged(member("a", settings=settings)).notes == (Note("shop.mesh", "its host a.svc is denied"),)


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
