"""The ZooKeeper adapter against real servers, alone and as an ensemble, under every fault we can inject."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kazoo.client import KazooClient
from kazoo.security import make_digest_acl

from integration.conftest import Note
from integration.processes import eventually as until
from integration.processes import stays
from integration.zookeeper.contract import TESTS, RealZooKeeper, load
from integration.zookeeper.process import Ensemble, Kind, missing
from integration.zookeeper.watching import JSON_ROOT, Watching, eventually, watching
from integration.zookeeper.writer import Writer, record
from meshbridge.bridge.app import running
from meshbridge.bridge.config.models import Config
from meshbridge.mcp.client import IstiodClient
from meshbridge.schemas.registry import SourceReport, SourceState

SERVICE_ENTRIES = "networking.istio.io/v1/ServiceEntry"
READ_ONLY = Kind(properties=("readonlymode.enabled=true",))
CONTRACT = load("adapter_contract_for_zookeeper", TESTS / "contract.py")
LAYOUTS = TESTS / "adapters" / "zookeeper" / "layouts"
GOLDEN = load("golden_cases_of_zookeeper", LAYOUTS / "test_golden.py")


@pytest.fixture(autouse=True, scope="module")
def _needs_zookeeper() -> None:
    if reason := missing():
        pytest.skip(reason)


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., Any]:
    """What the contract waits with; a real server takes longer."""

    async def wait(condition: Callable[[], Any], *, within: float = 20.0) -> Any:
        return await eventually(condition, within)

    return wait


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Ensemble]:
    """A server of its own."""
    async with Ensemble(tmp_path / "zookeeper") as started:
        yield started


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[Ensemble]:
    """Three servers that know each other and may serve read-only."""
    async with Ensemble(tmp_path / "zookeeper", 3, READ_ONLY) as started:
        yield started


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[RealZooKeeper]:
    world = RealZooKeeper(tmp_path)
    await world.start()
    yield world
    await world.stop()


globals().update({f"{name}_zookeeper": test for name, test in CONTRACT.TESTS.items()})


@pytest.mark.parametrize("case", GOLDEN.CASES)
async def test_what_real_clients_wrote_is_read_as_expected(alone: Ensemble, case: str) -> None:
    dump, root = GOLDEN.CASES[case]
    nodes = json.loads((LAYOUTS / "golden" / "dumps" / f"{dump}.json").read_text())
    expected = json.loads((LAYOUTS / "golden" / "expected" / f"{case}.json").read_text())
    async with Writer(alone.hosts) as writer:
        await writer.load(nodes)
        async with watching(alone.hosts, root) as seen:
            await eventually(lambda: seen.count)

            found = [seen.groups[name] for name in sorted(seen.groups)]
            assert json.loads(msgspec.json.encode(found)) == expected


async def test_a_change_is_told_in_milliseconds(alone: Ensemble, figure: Note) -> None:
    async with Writer(alone.hosts) as writer, watching(alone.hosts) as seen:
        await writer.put("/mesh")
        await eventually(lambda: seen.state is SourceState.SYNCED)
        times = []
        for number in range(20):
            started = time.monotonic()
            await writer.put(f"/mesh/orders/{number}", record(f"10.0.0.{number}"), ephemeral=True)
            await eventually(lambda number=number: f"10.0.0.{number}" in seen.addresses("orders"))
            times.append(next(at for at, _ in reversed(seen.events)) - started)
        figure("zookeeper: node created to group emitted, median of 20", f"{sorted(times)[10] * 1e3:.1f} ms")


async def test_an_expired_session_loses_nothing(alone: Ensemble) -> None:
    async with Writer(alone.hosts) as writer, watching(alone.hosts) as seen:
        await writer.put("/mesh/orders/a", record("10.0.0.1"))
        await eventually(lambda: seen.count == 1)
        seen.fewest = 1
        session = seen.adapter._session._client.client_id

        thief = KazooClient(hosts=alone.hosts, client_id=session)
        await asyncio.to_thread(thief.start)
        await writer.put("/mesh/orders/b", record("10.0.0.2"))
        await asyncio.to_thread(thief.stop)  # Ends the session that both have.
        thief.close()
        await writer.put("/mesh/orders/c", record("10.0.0.3"))

        await eventually(lambda: seen.count == 3)
        await eventually(lambda: seen.state is SourceState.SYNCED)
        assert seen.adapter._session._client.client_id != session
        assert seen.fewest >= 1
        await writer.remove("/mesh/orders/a")
        await eventually(lambda: seen.addresses("orders") == {"10.0.0.2", "10.0.0.3"})
        assert not seen.errors


async def test_a_killed_leader_loses_nothing(three: Ensemble, figure: Note) -> None:
    async with Writer(three.hosts) as writer, watching(three.hosts) as seen:
        for number in range(20):
            await writer.put(f"/mesh/orders/{number}", record(f"10.0.0.{number}"))
        await eventually(lambda: seen.count == 20)
        seen.fewest = seen.count

        leader = await three.leader()
        started = time.monotonic()
        await leader.kill()
        await writer.put("/mesh/orders/new", record("10.0.1.1"))
        await eventually(lambda: "10.0.1.1" in seen.addresses("orders"))
        figure("zookeeper: leader killed to next change told", f"{time.monotonic() - started:.1f} s")
        await leader.start()
        await leader.wait_serving()
        await writer.remove("/mesh/orders/new")
        await eventually(lambda: seen.count == 20)

        assert seen.fewest >= 20


async def test_without_a_quorum_nothing_is_deleted(three: Ensemble) -> None:
    async with Writer(three.hosts) as writer:
        for number in range(20):
            await writer.put(f"/mesh/orders/{number}", record(f"10.0.0.{number}"))
        async with watching(three.hosts) as seen:
            await eventually(lambda: seen.count == 20)
            seen.fewest = 20
            first, second, last = three.servers

            await first.kill()
            await second.kill()
            await eventually(lambda: seen.state is SourceState.STALE)
            read_only = "the server is read-only, cut off from its quorum"
            await eventually(
                lambda: read_only in {e.reason for _, e in seen.events if isinstance(e, SourceReport)}
            )
            assert await last.mode() == "read-only"
            assert seen.count == 20

            await first.start()
            await writer.remove("/mesh/orders/7")
            await eventually(lambda: seen.count == 19)
            await eventually(lambda: seen.state is SourceState.SYNCED)
            assert seen.fewest >= 19


async def test_a_frozen_server_is_left_for_another(three: Ensemble, figure: Note) -> None:
    async with Writer(three.hosts) as writer, watching(three.hosts) as seen:
        await writer.put("/mesh/orders/a", record("10.0.0.1"))
        await eventually(lambda: seen.count == 1)
        seen.fewest = 1
        port = seen.adapter._session._client._connection._socket.getpeername()[1]
        frozen = next(server for server in three.servers if server.port == port)

        started = time.monotonic()
        frozen.signal(signal.SIGSTOP)
        await writer.put("/mesh/orders/b", record("10.0.0.2"))
        await eventually(lambda: seen.count == 2, within=30)
        figure(
            "zookeeper: server frozen to next change told (session 4 s)",
            f"{time.monotonic() - started:.1f} s",
        )
        frozen.signal(signal.SIGCONT)
        assert seen.fewest >= 1


async def test_everything_frozen_and_thawed_loses_nothing(alone: Ensemble) -> None:
    async with Writer(alone.hosts) as writer, watching(alone.hosts) as seen:
        for number in range(20):
            await writer.put(f"/mesh/orders/{number}", record(f"10.0.0.{number}"))
        await eventually(lambda: seen.count == 20)
        seen.fewest = 20

        alone.servers[0].signal(signal.SIGSTOP)
        await eventually(lambda: seen.state is SourceState.STALE)
        alone.servers[0].signal(signal.SIGCONT)
        await eventually(lambda: seen.state is SourceState.SYNCED)
        await writer.put("/mesh/orders/20", record("10.0.0.20"))
        await eventually(lambda: seen.count == 21)

        assert seen.fewest == 20


async def test_a_wiped_server_is_trouble_until_it_is_filled_again(alone: Ensemble) -> None:
    server = alone.servers[0]
    async with Writer(alone.hosts) as writer:
        for number in range(20):
            await writer.put(f"/mesh/orders/{number}", record(f"10.0.0.{number}"))
    async with watching(alone.hosts) as seen:
        await eventually(lambda: seen.count == 20)

        await server.kill()
        server.wipe()
        await server.start()
        await server.wait_serving()

        async def complains() -> bool:
            return seen.state is SourceState.STALE and seen.count == 20

        await until(complains)
        assert await stays(complains, 2)
        async with Writer(alone.hosts) as writer:
            await writer.put("/mesh")
            for number in range(20):
                await writer.put(f"/mesh/orders/{number}", record(f"10.0.1.{number}"))
            await eventually(lambda: seen.addresses("orders") == {f"10.0.1.{n}" for n in range(20)})
        await eventually(lambda: seen.state is SourceState.SYNCED)


async def test_twenty_thousand_children_of_one_node_are_read(alone: Ensemble, figure: Note) -> None:
    async with Writer(alone.hosts) as writer:
        await writer.put("/mesh/orders")
        nodes = {
            f"/mesh/orders/instance-with-a-long-name-{number:05}": record(
                f"10.{number >> 8}.{number & 255}.1"
            )
            for number in range(20_000)
        }
        await writer.put_many(nodes)
        started = time.monotonic()
        async with watching(alone.hosts) as seen:
            await eventually(lambda: seen.count == 20_000, within=60)
            figure("zookeeper: 20,000 instances of one service read", f"{time.monotonic() - started:.2f} s")

            await writer.remove("/mesh/orders/instance-with-a-long-name-00007")
            await eventually(lambda: seen.count == 19_999)
            assert not seen.errors


async def test_large_nodes_are_read_or_skipped(alone: Ensemble) -> None:
    async with Writer(alone.hosts) as writer:
        await writer.put("/mesh/orders/a", record("10.0.0.1"))
        for number in range(12):
            padding = b" " * (1_000_000 if number % 2 else 400_000)
            await writer.put(f"/mesh/orders/large-{number}", padding + record(f"10.0.1.{number}"))
        async with watching(alone.hosts, max_node_size=500_000) as seen:
            await eventually(lambda: seen.count)

            assert seen.count == 7
            report = next(event for _, event in seen.events if isinstance(event, SourceReport))
            assert ("unreadable nodes", "6") in report.details


async def test_wrong_credentials_are_said_and_take_nothing_away(
    alone: Ensemble, tmp_path: Path, eventually: Any
) -> None:
    acl = [make_digest_acl("reader", "right", all=True)]
    file = tmp_path / "digest"
    file.write_text("reader:wrong")
    async with Writer(alone.hosts, "reader:right") as writer:
        await writer.put("/mesh", acl=acl)
        await writer.put("/mesh/orders", acl=acl)
        await writer.put("/mesh/orders/a", record("10.0.0.1"), acl=acl)
        async with watching(alone.hosts, digest={"file": str(file)}) as seen:
            await eventually(lambda: seen.errors)
            assert str(seen.errors[0]) == "zk: read: /mesh may not be read"

            file.write_text("reader:right")
            await eventually(lambda: seen.count == 1)


async def test_one_watch_for_each_node_does_as_well(alone: Ensemble) -> None:
    async with Writer(alone.hosts) as writer:
        for number in range(300):
            await writer.put(f"/mesh/s{number % 30}/{number}", record(f"10.0.{number // 250}.{number % 250}"))
        made = Watching(alone.hosts, JSON_ROOT)
        made.adapter._session.is_recursive = False
        try:
            await eventually(lambda: made.count == 300)
            await writer.put("/mesh/new/a", record("10.9.0.1"))
            await eventually(lambda: made.addresses("new") == {"10.9.0.1"})
            await writer.put("/mesh/new/b", record("10.9.0.2"))
            await writer.put("/mesh/new/a", record("10.9.0.3"))
            await eventually(lambda: made.addresses("new") == {"10.9.0.2", "10.9.0.3"})
            await writer.remove("/mesh/s3")
            await eventually(lambda: not made.addresses("s3"))
            assert made.count == 292
        finally:
            made.task.cancel()
            with suppress(asyncio.CancelledError):
                await made.task


async def test_a_bridge_brings_zookeeper_to_istiod(three: Ensemble, figure: Note) -> None:
    expected = {f"10.0.0.{number}" for number in range(20)}
    config = Config.model_validate(
        {
            "sources": [{"name": "zk", "kind": "zookeeper", "hosts": three.hosts, "roots": [JSON_ROOT]}],
            "outputs": {"mcp": {"listen": "127.0.0.1:0"}},
            "admin": {"listen": "127.0.0.1:0"},
        }
    )

    def endpoints(client: IstiodClient, service: str) -> set[str]:
        held = client.entries.get(SERVICE_ENTRIES, {}).get(f"meshbridge/{service}.zk.mesh")
        return {found.address for found in held.spec.endpoints} if held else set()

    async with Writer(three.hosts) as writer:
        for number in range(20):
            await writer.put(f"/mesh/orders/{number}", record(f"10.0.0.{number}"))
        async with running(config) as bridge, IstiodClient(bridge.mcp_address) as client:
            await client.wait_for(lambda seen: endpoints(seen, "orders") == expected, 30)

            started = time.monotonic()
            await writer.put("/mesh/orders/new", record("10.0.1.1"))
            await client.wait_for(lambda seen: "10.0.1.1" in endpoints(seen, "orders"), 30)
            figure(
                "zookeeper: node created to held by istiod", f"{(time.monotonic() - started) * 1e3:.0f} ms"
            )

            await (await three.leader()).kill()
            await writer.remove("/mesh/orders/new")
            await client.wait_for(lambda seen: endpoints(seen, "orders") == expected, 30)

            await writer.remove("/mesh/orders")
            await asyncio.sleep(2)
            assert len(endpoints(client, "orders")) >= 10, "the guard let a mass loss pass"
