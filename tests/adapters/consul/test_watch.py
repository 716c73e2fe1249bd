"""How changes are found: waiting queries within the budget, lists, sweeps, anti-entropy."""

import asyncio
from typing import Any

import pytest

from meshbridge.schemas.registry import FullSync, Health

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"
SMALL = 16
"""The smallest budget: four services are waited for."""


async def many(fake: Any, count: int) -> list[str]:
    names = [f"s{number:02}" for number in range(count)]
    for name in names:
        await fake.register(name, A)
    return names


async def test_all_services_are_waited_for_within_the_budget(fake: Any, watch: Any, eventually: Any) -> None:
    await many(fake, 20)

    seen = watch(fake, wait="5s")
    await eventually(lambda: fake.open == 24)

    await eventually(lambda: seen.details.get("waited_for") == "20")
    assert seen.details["strategy"] == "all services waited for"
    assert seen.details["connections"] == "150 of 150"
    assert seen.details["agent"] == fake.url
    assert seen.counts.levels == {
        "strategy": "all",
        "connections": 150,
        "connections_configured": 150,
        "waited_for": 20,
        "read_in_turn": 0,
    }


async def test_never_more_connections_than_the_budget(fake: Any, watch: Any, eventually: Any) -> None:
    names = await many(fake, 60)
    seen = watch(fake, wait="5s", connections=SMALL)
    await eventually(lambda: seen.details.get("waited_for") == "4")

    for name in names:
        await fake.register(name, B)
    await eventually(lambda: all(seen.addresses(name) == {A, B} for name in names), within=15)

    assert seen.details["strategy"] == "hot services waited for"
    assert seen.details["read_in_turn"] == "56"
    assert seen.counts.levels["strategy"] == "hot"
    assert seen.counts.levels["read_in_turn"] == 56
    assert fake.most_open <= SMALL


@pytest.mark.parametrize(
    ("change", "address", "health"),
    [("status", A, Health.UNREADY), ("definition", B, Health.READY), ("removal", "", None)],
)
async def test_a_change_of_a_service_that_is_not_waited_for_is_found(
    fake: Any, watch: Any, eventually: Any, change: str, address: str, health: Health | None
) -> None:
    names = await many(fake, 40)
    seen = watch(fake, wait="5s", connections=SMALL)
    await eventually(lambda: seen.details.get("waited_for") == "4")
    cold = names[-1]

    if change == "status":
        await fake.set_status(cold, A, "critical")
    elif change == "definition":
        await fake.register(cold, B)
        await fake.deregister(cold, A)
    else:
        await fake.deregister(cold, A)

    await eventually(lambda: seen.addresses(cold) == ({address} if address else set()))
    await eventually(
        lambda: {i.health for i in seen.groups[cold].instances} == ({health} if health else set())
    )


async def test_a_service_that_changed_is_waited_for_from_then_on(
    fake: Any, watch: Any, eventually: Any
) -> None:
    names = await many(fake, 40)
    seen = watch(fake, wait="5s", connections=SMALL)
    await eventually(lambda: seen.details.get("waited_for") == "4")

    await fake.register(names[-1], B)
    await eventually(lambda: seen.addresses(names[-1]) == {A, B})

    path = f"/v1/health/service/{names[-1]}"
    await eventually(lambda: any(asked == path and "index" in query for asked, query in fake.requests))


async def test_a_change_of_a_service_that_is_waited_for_makes_no_other_one_read(
    fake: Any, watch: Any, eventually: Any
) -> None:
    await many(fake, 40)
    seen = watch(fake, wait="30s", connections=SMALL)
    await eventually(lambda: seen.details.get("waited_for") == "4")
    await eventually(lambda: fake.open == 8)
    before = len(fake.requests)

    await fake.register("s00", B)
    await eventually(lambda: seen.addresses("s00") == {A, B})
    await asyncio.sleep(0.5)  # What must not happen can't be waited for.

    asked = {path for path, _ in fake.requests[before:] if path.startswith("/v1/health/service/")}
    assert asked == {"/v1/health/service/s00"}


async def test_a_change_hidden_behind_one_of_a_service_that_is_waited_for_is_found(
    fake: Any, watch: Any, eventually: Any
) -> None:
    names = await many(fake, 40)
    seen = watch(fake, wait="30s", connections=SMALL, sweep_rate=2000)
    await eventually(lambda: seen.details.get("waited_for") == "4")

    fake.services[names[-1]].popitem()
    fake.services[names[-1]]["node-b/x"] = {"Service": {"ID": "x", "Address": B, "Port": 1}}
    fake.nodes["node-b"] = {"Node": "node-b", "Address": B}
    fake.index += 1
    fake.indexes[names[-1]] = fake.index  # And nobody is woken before the next write.
    await fake.register("s00", B)

    await eventually(lambda: seen.addresses(names[-1]) == {B})


async def test_a_changed_node_touches_its_services_alone(fake: Any, watch: Any, eventually: Any) -> None:
    names = await many(fake, 40)
    await fake.register(names[-1], "", ID="x")  # Its address is the node's.
    seen = watch(fake, wait="5s", connections=SMALL)
    await eventually(lambda: seen.addresses(names[-1]) == {A, "10.0.0.1"})

    fake.nodes["node-"]["Address"] = "10.0.0.77"
    await fake.bump("nodes")

    await eventually(lambda: seen.addresses(names[-1]) == {A, "10.0.0.77"})


async def test_anti_entropy_finds_what_nothing_told_of(fake: Any, watch: Any, eventually: Any) -> None:
    names = await many(fake, 10)
    seen = watch(fake, wait="30s", connections=SMALL, sweep_interval="500ms")
    await eventually(lambda: seen.details.get("waited_for") == "4")

    key = next(iter(fake.services[names[-1]]))
    fake.services[names[-1]][key]["Service"]["Port"] = 9999  # No index moves.

    await eventually(lambda: seen.groups[names[-1]].instances[0].ports[0].number == 9999)


async def test_maintenance_drains(fake: Any, watch: Any, eventually: Any) -> None:
    await fake.register("shop", A)
    seen = watch(fake)
    await eventually(lambda: seen.addresses("shop") == {A})

    (checks,) = fake.statuses.values()
    checks.append(
        {"Node": f"node-{A}", "CheckID": "_node_maintenance", "Status": "critical", "ServiceName": ""}
    )
    await fake.bump("shop")

    await eventually(lambda: seen.groups["shop"].instances[0].health is Health.DRAINING)


async def test_services_that_vanish_together_are_told_together(
    fake: Any, watch: Any, eventually: Any
) -> None:
    names = await many(fake, 30)
    seen = watch(fake)
    await eventually(lambda: seen.data)
    await eventually(lambda: seen.details.get("waited_for") == "30")

    for name in names:
        await fake.deregister(name, A)
    await eventually(lambda: not any(seen.addresses(name) for name in names), within=15)

    assert any(isinstance(event, FullSync) for event in seen.data[1:])


async def test_only_wanted_services_are_asked_for(fake: Any, watch: Any, eventually: Any) -> None:
    for name in ("shop-a", "shop-b", "other"):
        await fake.register(name, A)

    seen = watch(fake, services=["shop-*"], exclude_services=["*-b"])
    await eventually(lambda: seen.data)

    assert set(seen.groups) == {"shop-a"}
    asked = {path for path, _ in fake.requests if path.startswith("/v1/health/service/")}
    assert asked == {"/v1/health/service/shop-a"}


async def test_what_the_configuration_leaves_out_now_leaves(fake: Any, watch: Any, eventually: Any) -> None:
    for name in ("shop", "other"):
        await fake.register(name, A)
    before = watch(fake)
    await eventually(lambda: before.data)

    after = watch(fake, previous=before.groups, exclude_services=["consul", "other"])
    await eventually(lambda: after.data)

    assert set(after.groups) == {"shop"}


async def test_scope_filter_and_staleness_are_asked_for(fake: Any, watch: Any, eventually: Any) -> None:
    await fake.register("shop", A)
    settings: dict[str, Any] = {
        "datacenters": ["dc2"],
        "namespaces": ["team"],
        "partition": "p",
        "peers": ["q"],
    }

    seen = watch(fake, filter='Service.Meta.env == "prod"', **settings)
    await eventually(lambda: seen.data)

    asked = [query for path, query in fake.requests if path.endswith("/shop")]
    wanted = {"dc": "dc2", "ns": "team", "partition": "p", "peer": "q", "stale": ""}
    assert wanted.items() <= asked[0].items()
    assert asked[0]["filter"] == 'Service.Meta.env == "prod"'
    listed = [query for path, query in fake.requests if path.startswith("/v1/catalog")]
    assert "stale" not in listed[0]
    assert "filter" not in listed[0]


async def test_consistent_reads_can_be_had(fake: Any, watch: Any, eventually: Any) -> None:
    await fake.register("shop", A)

    seen = watch(fake, stale=False)
    await eventually(lambda: seen.data and fake.open >= 5)

    assert not any("stale" in query for _, query in fake.requests)


async def test_an_idle_registry_is_left_alone(fake: Any, watch: Any, eventually: Any) -> None:
    await many(fake, 5)
    watch(fake, wait="30s")
    await eventually(lambda: fake.open == 9)
    asked = len(fake.requests)

    await asyncio.sleep(0.5)  # What must not happen can't be waited for.

    assert len(fake.requests) == asked


async def test_services_of_a_peer_come_and_go_with_what_it_exports(
    fake: Any, watch: Any, eventually: Any
) -> None:
    await fake.register("shop", A)
    fake.peering = "FAILING"
    seen = watch(fake, peers=["far"])
    await eventually(lambda: seen.addresses("shop") == {A})

    await fake.register("new", A)
    await eventually(lambda: seen.addresses("new") == {A})
    await fake.deregister("shop", A)
    await eventually(lambda: seen.addresses("shop") == set())

    assert "/v1/catalog/services" not in {path for path, _ in fake.requests}
    assert all(query["peer"] == "far" for _, query in fake.requests)
