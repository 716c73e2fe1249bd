import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from structlog.testing import capture_logs

from meshbridge.adapters.probing.checks import Checks
from meshbridge.schemas.errors import SinkError
from meshbridge.schemas.registry import SourceState
from meshbridge.schemas.resource import Kind

SERVICE_ENTRIES = "networking.istio.io/v1/ServiceEntry"
ONE_HOST = [{"set": {"host": "one.mesh"}}]
BROKEN = "services: [{name: shop, instances: [{address"


async def test_client_sees_what_the_inventory_lists_and_how_it_changes(site: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1", "10.0.0.2"], "pay": ["10.0.0.3"]})
    site.configure(site.source("vms", "vms.yaml"))

    async with site.connected() as (_, client):
        await eventually(
            lambda: (
                site.held(client) == {"shop.vms.mesh": ["10.0.0.1", "10.0.0.2"], "pay.vms.mesh": ["10.0.0.3"]}
            )
        )
        site.inventory("vms.yaml", {"shop": ["10.0.0.1", "10.0.0.9"], "news": ["10.0.0.4"]})
        await eventually(
            lambda: (
                site.held(client)
                == {"shop.vms.mesh": ["10.0.0.1", "10.0.0.9"], "news.vms.mesh": ["10.0.0.4"]}
            )
        )


async def test_two_sources_share_one_host(site: Any, eventually: Any) -> None:
    site.inventory("a.yaml", {"shop": ["10.0.0.1"]})
    site.inventory("b.yaml", {"store": ["10.0.0.2"]})
    site.configure(site.source("a", "a.yaml"), site.source("b", "b.yaml"), rules=ONE_HOST)

    async with site.connected() as (bridge, client):
        await eventually(lambda: site.held(client) == {"one.mesh": ["10.0.0.1", "10.0.0.2"]})
        [service] = bridge.view.services()
        assert (service.sources, service.services) == (["a", "b"], ["a/shop", "b/store"])


async def test_unreadable_source_without_a_retained_copy_holds_the_answers(
    site: Any, eventually: Any
) -> None:
    site.inventory("good.yaml", {"shop": ["10.0.0.1"]})
    site.inventory("bad.yaml", BROKEN)
    site.configure(site.source("good", "good.yaml"), site.source("bad", "bad.yaml"))

    async with site.connected() as (bridge, client):
        held_back = {f"networking.istio.io/v1/{kind}" for kind in Kind}
        await eventually(lambda: client.unsynced == held_back)
        assert list(bridge.view.readiness().waiting_for) == ["bad"]
        assert [found.steps[-1].verdict for found in bridge.view.explain("10.0.0.1")] == ["waiting"]
        [bad, good] = bridge.view.sources()
        assert (bad.state, good.state) == (SourceState.CONNECTING, SourceState.SYNCED)
        assert "bad.yaml" in bad.error

        site.inventory("bad.yaml", {"pay": ["10.0.0.2"]})
        await eventually(lambda: len(site.held(client)) == 2)
        assert client.synced.is_set()
        assert bridge.view.readiness().ready
        assert [found.served for found in bridge.view.explain("10.0.0.1")] == [True]


async def test_optional_source_holds_the_answers_no_longer_than_its_grace(site: Any, eventually: Any) -> None:
    site.inventory("good.yaml", {"shop": ["10.0.0.1"]})
    site.inventory("bad.yaml", BROKEN)
    bad = site.source("bad", "bad.yaml", required=False)
    site.configure(site.source("good", "good.yaml"), bad, safety={"grace": "50ms"})

    async with site.connected() as (_, client):
        await eventually(lambda: site.held(client) == {"shop.good.mesh": ["10.0.0.1"]})


async def test_inventory_that_breaks_while_it_runs_changes_nothing(site: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"))

    async with site.connected() as (bridge, client):
        await eventually(lambda: site.held(client))
        generation = bridge.view.generation
        site.inventory("vms.yaml", BROKEN)
        await eventually(lambda: bridge.view.sources()[0].state == SourceState.STALE)

        assert site.held(client) == {"shop.vms.mesh": ["10.0.0.1"]}
        assert bridge.view.generation == generation


async def test_bug_in_the_probing_of_one_source_ends_nothing_else(
    site: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(_checks: Checks) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Checks, "__aenter__", breaks)
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(
        site.source("a", "vms.yaml"), site.source("b", "vms.yaml", required=False, probe={"tcp": {}})
    )

    async with site.running() as bridge:
        await eventually(lambda: "a bug" in bridge.view.sources()[1].error)
        await eventually(lambda: bridge.view.sources()[0].state == "synced")


async def test_clients_keep_what_they_have_when_the_bridge_stops(site: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"))

    async with AsyncExitStack() as stack:
        async with site.running() as bridge:
            client = await stack.enter_async_context(site.client(bridge))
            await eventually(lambda: site.held(client))

        await eventually(lambda: not client.is_connected)
        assert site.held(client) == {"shop.vms.mesh": ["10.0.0.1"]}


async def test_mass_removal_is_held_until_it_is_released(site: Any, eventually: Any) -> None:
    everyone = [f"10.0.0.{number}" for number in range(1, 21)]
    site.inventory("vms.yaml", {"shop": everyone})
    site.configure(site.source("vms", "vms.yaml"))

    async with site.connected() as (bridge, client):
        await eventually(lambda: len(site.held(client).get("shop.vms.mesh", [])) == 20)
        site.inventory("vms.yaml", {"shop": everyone[:2]})
        await eventually(lambda: bridge.view.sources()[0].held == 18)
        assert next(bridge.view.services()).held == 18
        assert len(site.held(client)["shop.vms.mesh"]) == 20
        assert await site.metric(bridge, 'meshbridge_guard_trips_total{source="vms"}') == 1

        assert bridge.view.release("vms") == 18
        await eventually(lambda: site.held(client) == {"shop.vms.mesh": everyone[:2]})


async def test_view_shows_what_is_served(site: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"), rules=[{"set": {"endpoints": "workload_entries"}}])

    async with site.connected() as (bridge, client):
        await eventually(client.synced.is_set)
        view = bridge.view
        await eventually(lambda: view.clients()[0].types[0].acked)

        assert view.generation == 1
        assert await view.wait_newer(0, 1.0) == 1
        [entry], [workload] = view.resources(Kind.SERVICE_ENTRY), view.resources(Kind.WORKLOAD_ENTRY)
        assert entry.object["metadata"]["name"] == "shop.vms.mesh"
        assert workload.object["spec"]["address"] == "10.0.0.1"
        assert (entry.ready, entry.total, list(entry.sources)) == (1, 1, ["vms"])
        assert entry.created == workload.created > 0
        [service] = view.services()
        assert (service.host, service.ports, service.quarantined) == ("shop.vms.mesh", ["80/tcp"], False)
        [source] = view.sources()
        assert (source.services, source.instances, source.kind, source.required) == (1, 1, "inventory", True)


async def test_quarantined_service_is_shown_with_its_reason(site: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"], "pay": ["10.0.0.2"]})
    rule = {"match": {"service": "pay"}, "set": {"export_to": [".", "*"]}}
    site.configure(site.source("vms", "vms.yaml"), rules=[rule])

    async with site.connected() as (bridge, client):
        await eventually(lambda: site.held(client) == {"shop.vms.mesh": ["10.0.0.1"]})

        pay, shop = bridge.view.services()
        assert (pay.quarantined, shop.quarantined) == (True, False)
        assert "exportTo" in pay.problems[0]
        assert bridge.view.quarantined() == 1


async def test_what_sources_say_differently_is_shown_with_who_wins(site: Any, eventually: Any) -> None:
    site.inventory("a.yaml", {"shop": ["10.0.0.1"]})
    site.inventory("b.yaml", {"shop": ["10.0.0.2"]})
    rules = [
        {"match": {"source": "b"}, "set": {"host": "one.mesh", "protocol": "http"}},
        {"set": {"host": "one.mesh", "ports": {}}},
    ]
    site.configure(site.source("a", "a.yaml"), site.source("b", "b.yaml"), rules=rules)

    async with site.connected() as (bridge, client):
        await eventually(lambda: site.held(client) == {"one.mesh": ["10.0.0.1", "10.0.0.2"]})

        [conflict] = bridge.view.conflicts()
        assert (conflict.namespace, conflict.host, conflict.kind) == ("meshbridge", "one.mesh", "port")
        assert (conflict.winner, conflict.value) == ("a/shop", "tcp TCP")
        assert (conflict.loser, conflict.other) == ("b/shop", "http HTTP")
        assert conflict.sources == ["a", "b"]
        assert bridge.view.conflict_counts() == {"port": 1}


async def test_problems_of_a_service_include_what_its_registry_has_wrong(site: Any, eventually: Any) -> None:
    machines = "[{address: 10.0.0.1}, {address: 10.0.0.2, port: 0}]"
    listed = f"services:\n- {{name: shop, port: 80, instances: {machines}}}\n"
    site.inventory("vms.yaml", listed)
    site.configure(site.source("vms", "vms.yaml"))

    async with site.running() as bridge:
        [shop] = await eventually(lambda: list(bridge.view.services()))
        [problem] = shop.problems
        assert "vms.yaml:2: 10.0.0.2: port 0 is not a number from 1 to 65535" in problem


async def test_address_that_is_taken_is_one_plain_error(site: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"))

    async with site.running() as first:
        for part in ("outputs", "admin"):
            mcp, admin = "127.0.0.1:0", "127.0.0.1:0"
            if part == "outputs":
                mcp = first.mcp_address
            else:
                admin = first.admin_address
            site.configure(
                site.source("vms", "vms.yaml"), outputs={"mcp": {"listen": mcp}}, admin={"listen": admin}
            )
            with pytest.raises(SinkError, match="in use"):
                async with site.running():
                    pytest.fail("it runs")


async def test_error_in_the_body_comes_out_as_itself_and_everything_ends(site: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"))
    before = asyncio.all_tasks()

    with pytest.raises(TimeoutError, match="mine"):
        async with site.running():
            raise TimeoutError("mine")

    assert asyncio.all_tasks() == before


async def test_bridge_without_mcp_serves_no_clients(site: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"), outputs={"mcp": {"enabled": False}})

    async with site.running() as bridge:
        assert await bridge.view.wait_newer(0, 5.0) == 1
        assert bridge.mcp_address == ""
        assert bridge.view.clients() == []


async def test_gauges_follow_the_sources(site: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"))

    with capture_logs():
        async with site.running() as bridge:
            assert await site.metric(bridge, 'meshbridge_source_state{source="vms"}') is not None
            assert await site.metric(bridge, "meshbridge_gate_open") is not None
