"""From a registry to traffic: what is registered is called, by clients that istiod alone configures."""

import asyncio
import math
import os
import time
from collections.abc import Sequence

import pytest

from integration.conftest import Note, StartBackend
from integration.istiod.endpoints import Endpoint
from integration.mesh import policies
from integration.mesh.clients import Call, Client
from integration.mesh.kinds import EVERY_KIND
from integration.mesh.mesh import Mesh
from integration.mesh.registries import PORT, Instance
from integration.processes import eventually

ROUNDS = 5
STOPPED_AFTER = 2.0
"""Seconds after which nobody may call what was taken out; a fifth of a second is usual."""
CANARY_RATE = 400.0
CANARY_CALLS = 1200
AFTER_CALLS = 400
LOCALITY_CALLS = 1000
SURE = 5.0
"""Standard deviations by which a share may be off: one run in two million fails by chance."""
RATE = 200.0
SECONDS = float(os.environ.get("MESH_SECONDS", "15"))
"""How long the traffic goes on; a quarter of it, the registry fails in each way."""
QUIET_CALLS = 100
MOVES = 2


@EVERY_KIND
async def test_registered_instance_is_called_until_it_is_deregistered(
    mesh: Mesh, backend: StartBackend, figure: Note
) -> None:
    stays, comes_and_goes = await backend("stays"), await backend("comes-and-goes")
    await mesh.registry.register("shop", Instance(stays))
    arrived, left = [], []
    async with mesh, Client(mesh.istiod.address, [mesh.host("shop")]) as client:
        await client.wait_for_answer(stays.name)

        for _ in range(ROUNDS):
            registered = time.monotonic()
            await mesh.registry.register("shop", Instance(comes_and_goes))
            first = await client.wait_for_answer(comes_and_goes.name, since=registered)
            arrived.append(first.sent + first.seconds - registered)

            deregistered = time.monotonic()
            await mesh.registry.deregister("shop", comes_and_goes)
            await client.quiet(comes_and_goes.name)
            last = max(call.sent for call in client.calls if call.server == comes_and_goes.name)
            left.append(last - deregistered)

        await client.finish()
    assert client.failed == []
    assert max(left) < STOPPED_AFTER
    figure(f"{mesh.kind}: registered to first call, {ROUNDS} times", spread(arrived))
    figure(f"{mesh.kind}: deregistered to last call, {ROUNDS} times", spread(left))


async def test_service_whose_instances_are_all_deregistered_is_not_called(
    mesh: Mesh, backend: StartBackend
) -> None:
    only, other = await backend("only"), await backend("other")
    await mesh.registry.register("shop", Instance(only))
    await mesh.registry.register("cart", Instance(other))
    async with mesh, Client(mesh.istiod.address, [mesh.host("shop"), mesh.host("cart")]) as client:
        await client.wait_for_answer(only.name)

        await mesh.registry.deregister("shop", only)

        await client.wait_for(lambda call: call.error.startswith("UNAVAILABLE"))
        later = await client.next(QUIET_CALLS)
    assert {(call.host, call.server) for call in later} == {
        (mesh.host("shop"), ""),
        (mesh.host("cart"), "other"),
    }


@EVERY_KIND
async def test_canary_by_version_gets_its_share(mesh: Mesh, backend: StartBackend, figure: Note) -> None:
    shop = mesh.host("shop")
    for version in ("v1", "v2"):
        await mesh.registry.register("shop", Instance(await backend(version), version=version))
    mesh.istiod.write_policy("subsets", policies.subsets(shop, ["v1", "v2"]))
    mesh.istiod.write_policy("split", policies.split(shop, {"v1": 90, "v2": 10}))
    async with mesh, Client(mesh.istiod.address, [shop], rate=CANARY_RATE) as client:
        calls = await client.next(CANARY_CALLS)
        share = share_of("v2", calls)

        mesh.istiod.write_policy("split", policies.split(shop, {"v1": 0, "v2": 100}))
        await client.quiet("v1")
        after = await client.next(AFTER_CALLS)

        await client.finish()
    assert client.failed == []
    assert share == pytest.approx(0.1, abs=tolerance(0.1, CANARY_CALLS))
    assert share_of("v2", after) == 1
    figure(
        f"{mesh.kind}: canary 90/10 by version, {CANARY_CALLS} calls",
        f"{share:.1%} to v2; 0/100: all of {len(after)}",
    )


@EVERY_KIND
async def test_locality_and_weight_reach_endpoints_and_traffic(
    mesh: Mesh, backend: StartBackend, figure: Note
) -> None:
    near, far = await backend("near"), await backend("far")
    await mesh.registry.register("shop", Instance(near, region="eu", zone="a", weight=3))
    await mesh.registry.register("shop", Instance(far, region="us", zone="b", weight=1))
    known = {Endpoint(f"127.0.0.1:{near.port}", "eu/a", 3), Endpoint(f"127.0.0.1:{far.port}", "us/b", 1)}
    shop = mesh.host("shop")
    async with mesh, mesh.istiod.endpoints(shop, PORT) as proxy:
        await proxy.wait_for(lambda update: set(update.endpoints) == known)

        async with Client(mesh.istiod.address, [shop], rate=CANARY_RATE) as client:
            share = share_of("near", await client.next(LOCALITY_CALLS))
            await client.finish()

        await mesh.registry.register("shop", Instance(far, region="us", zone="c", weight=5))
        moved = {
            Endpoint(f"127.0.0.1:{near.port}", "eu/a", 3),
            Endpoint(f"127.0.0.1:{far.port}", "us/c", 5),
        }
        await proxy.wait_for(lambda update: set(update.endpoints) == moved)
    assert client.failed == []
    assert share == pytest.approx(0.75, abs=tolerance(0.75, LOCALITY_CALLS))
    figure(
        f"{mesh.kind}: weights 3 and 1 in two localities, {LOCALITY_CALLS} calls",
        f"{share:.1%} to the heavier one",
    )


@pytest.mark.parametrize("settings", [{"defaults": {"endpoints": "workload_entries"}}])
async def test_no_call_fails_while_endpoints_move_into_their_service_and_out_again(
    mesh: Mesh, backend: StartBackend, figure: Note
) -> None:
    for name in ("first", "second"):
        await mesh.registry.register("shop", Instance(await backend(name)))
    async with mesh, Client(mesh.istiod.address, [mesh.host("shop")], rate=RATE) as client:
        await client.wait_for_answer("second")

        for _ in range(MOVES):
            for mode, workloads in (("inline", 0), ("workload_entries", 2)):
                mesh.bridge.change(defaults={"endpoints": mode})
                await eventually(lambda count=workloads: has_workloads(mesh, count))
                await client.next(QUIET_CALLS)

        await client.finish()
    assert client.failed == []
    figure("endpoints moved into their service and out", f"0 of {len(client.calls)} calls failed")


@EVERY_KIND
async def test_no_call_fails_whatever_is_restarted_or_down(
    mesh: Mesh, backend: StartBackend, figure: Note
) -> None:
    first, second, third = [await backend(name) for name in ("first", "second", "third")]
    await mesh.registry.register("shop", Instance(first))
    await mesh.registry.register("shop", Instance(second))
    async with mesh, Client(mesh.istiod.address, [mesh.host("shop")], rate=RATE) as client:
        await client.wait_for_answer(second.name)
        started = time.monotonic()

        for end in (mesh.bridge.stop, mesh.bridge.kill):
            await end()
            await client.next(QUIET_CALLS)
            await mesh.bridge.start()
            await mesh.bridge.wait_for_client()

        for way in mesh.registry.ways_to_fail:
            await mesh.registry.fail(way)
            await eventually(lambda: mesh.registry_is("stale"))
            await asyncio.sleep(SECONDS / 4)
            assert await mesh.registry_is("stale")
            await mesh.registry.heal()
            await eventually(lambda: mesh.registry_is("synced"))

        await mesh.istiod.stop()
        await client.next(QUIET_CALLS)
        await mesh.istiod.start()
        await mesh.istiod.wait_ready()
        await mesh.bridge.wait_for_client()
        await client.wait_for_sent(started + SECONDS)

        await mesh.registry.register("shop", Instance(third))
        await client.wait_for_answer(third.name)
        took = time.monotonic() - started
        await client.finish()
    assert client.failed == []
    assert len(client.calls) > 0.9 * RATE * took
    slowest = max(call.seconds for call in client.calls)
    figure(
        f"{mesh.kind}: {RATE:.0f} calls/s for {took:.0f} s; bridge, registry, istiod down in turn",
        f"0 of {len(client.calls)} failed, slowest {slowest * 1000:.0f} ms",
    )


async def has_workloads(mesh: Mesh, count: int) -> bool:
    """Whether so many workload entries are published, and istiod has them."""
    found = await mesh.bridge.get("workloadentries")
    return len(found) == count and await mesh.bridge.clients(acknowledged=True) > 0


def share_of(server: str, calls: Sequence[Call]) -> float:
    """Return the share of the calls that this one answered."""
    return sum(call.server == server for call in calls) / len(calls)


def tolerance(share: float, calls: int) -> float:
    """Return by how much the share of independent calls may be off."""
    return SURE * math.sqrt(share * (1 - share) / calls)


def spread(seconds: Sequence[float]) -> str:
    """Return the middle and the longest of some times, for the table."""
    return f"median {sorted(seconds)[len(seconds) // 2] * 1000:.0f} ms, longest {max(seconds) * 1000:.0f} ms"
