"""The ZooKeeper adapter against real servers, alone and as an ensemble, under every fault we can inject."""

import asyncio
import importlib.util
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from kazoo.client import KazooClient
from kazoo.security import make_digest_acl

from integration.conftest import Note
from integration.processes import eventually as until
from integration.processes import stays
from integration.zookeeper.process import Ensemble, missing
from integration.zookeeper.writer import Writer, record
from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.zookeeper.adapter import ZooKeeperAdapter
from meshbridge.adapters.zookeeper.settings import DigestAuth, RootSettings, ZookeeperConfig
from meshbridge.bridge.app import running
from meshbridge.bridge.config.models import Config
from meshbridge.mcp.client import IstiodClient
from meshbridge.schemas.errors import RegistryError
from meshbridge.schemas.registry import FullSync, InstanceGroup, SourceEvent, SourceReport, SourceState

SERVICE_ENTRIES = "networking.istio.io/v1/ServiceEntry"
TESTS = Path(__file__).parent.parent / "tests"
JSON_ROOT = {"path": "/mesh", "layout": "json"}


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CONTRACT = _load("adapter_contract_for_zookeeper", TESTS / "contract.py")
LAYOUTS = TESTS / "adapters" / "zookeeper" / "layouts"
GOLDEN = _load("golden_cases_of_zookeeper", LAYOUTS / "test_golden.py")


@pytest.fixture(autouse=True, scope="module")
def _needs_zookeeper() -> None:
    if reason := missing():
        pytest.skip(reason)


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """What waits for plain conditions; a real server takes longer."""

    async def wait(condition: Callable[[], Any], *, within: float = 20.0) -> Any:
        async def check() -> Any:
            return condition()

        return await until(check, within)

    return wait


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Ensemble]:
    """A server of its own."""
    async with Ensemble(tmp_path / "zookeeper") as started:
        yield started


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[Ensemble]:
    """Three servers that know each other and may serve read-only."""
    async with Ensemble(tmp_path / "zookeeper", 3, ("readonlymode.enabled=true",)) as started:
        yield started


class Watching:
    """Runs the adapter of a root, as often as it raises, and keeps what it says."""

    def __init__(self, hosts: str, root: dict[str, object], **settings: object) -> None:
        settings = {"session_timeout": "4s", "connect_timeout": "5s"} | settings
        roots = [RootSettings.model_validate(root)]
        self.config = ZookeeperConfig.model_validate(
            {"name": "zk", "hosts": hosts, "roots": roots, **settings}
        )
        self.adapter = self.config.build(AdapterContext("zk"))
        assert isinstance(self.adapter, ZooKeeperAdapter)
        self.events: list[tuple[float, SourceEvent]] = []
        self.groups: dict[str, InstanceGroup] = {}
        self.errors: list[RegistryError] = []
        self.fewest = 10**9
        """The smallest number of instances there has been since the first full read."""
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                await self.adapter.run(self._emit)
            except RegistryError as error:
                self.errors.append(error)
            await asyncio.sleep(0.2)

    async def _emit(self, event: SourceEvent) -> None:
        self.events.append((time.monotonic(), event))
        if isinstance(event, FullSync):
            self.groups = {group.key.name: group for group in event.groups}
        elif not isinstance(event, SourceReport):
            self.groups[event.group.key.name] = event.group
        self.fewest = min(self.fewest, self.count)

    @property
    def count(self) -> int:
        """How many instances there are."""
        if self.task.done():
            self.task.result()
        return sum(len(group.instances) for group in self.groups.values())

    @property
    def state(self) -> SourceState | None:
        reports = [event for _, event in self.events if isinstance(event, SourceReport)]
        return reports[-1].state if reports else None

    def addresses(self, service: str) -> set[str]:
        found = self.groups.get(service)
        return {instance.address for instance in found.instances} if found else set()


@asynccontextmanager
async def watching(
    hosts: str, root: dict[str, object] | None = None, **settings: object
) -> AsyncIterator[Watching]:
    made = Watching(hosts, root or JSON_ROOT, **settings)
    try:
        yield made
    finally:
        made.task.cancel()
        with suppress(asyncio.CancelledError):
            await made.task


class RealZooKeeper:
    """The contract's view of a real server that wants a password."""

    kind = "zookeeper"
    label = "real zookeeper"
    secret = "reader:s3cr3t-w0rd"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ensemble = Ensemble(folder / "contract")
        self._missed: list[tuple[str, bytes | None]] = []
        self._is_broken = False

    async def start(self) -> None:
        await self._ensemble.__aenter__()
        self._writer = await Writer(self._ensemble.hosts, self.secret).__aenter__()
        user, password = self.secret.split(":")
        self._acl = [make_digest_acl(user, password, all=True)]
        await self._writer.put("/mesh", acl=self._acl)
        self._file = self._folder / "digest"
        self._file.write_text(self.secret)

    async def stop(self) -> None:
        await self._writer.__aexit__()
        await self._ensemble.__aexit__(None, None, None)

    def config(self) -> ZookeeperConfig:
        return ZookeeperConfig(
            name="tested",
            hosts=self._ensemble.hosts,
            roots=[RootSettings.model_validate(JSON_ROOT)],
            digest=DigestAuth(file=str(self._file)),
            session_timeout="4s",
            connect_timeout="2s",
        )

    async def register(self, service: str, address: str) -> None:
        await self._change(f"/mesh/{service}/{address}", record(address))

    async def deregister(self, service: str, address: str) -> None:
        await self._change(f"/mesh/{service}/{address}", None)

    async def corrupt(self, service: str, address: str) -> None:
        await self._change(f"/mesh/{service}/{address}", b'{"address": ')

    async def shuffle(self) -> None:
        """The order is the server's own."""

    async def break_(self) -> None:
        self._is_broken = True
        await self._ensemble.servers[0].kill()

    async def heal(self) -> None:
        await self._ensemble.servers[0].start()
        await self._ensemble.servers[0].wait_serving()
        self._is_broken = False
        missed, self._missed = self._missed, []
        for path, data in missed:
            await self._change(path, data)

    async def _change(self, path: str, data: bytes | None) -> None:
        if self._is_broken:
            self._missed.append((path, data))
        elif data is None:
            await self._writer.remove(path)
        else:
            await self._writer.put(path, data, acl=self._acl)


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[RealZooKeeper]:
    world = RealZooKeeper(tmp_path)
    await world.start()
    yield world
    await world.stop()


globals().update({f"{name}_zookeeper": test for name, test in CONTRACT.TESTS.items()})


@pytest.mark.parametrize("case", GOLDEN.CASES)
async def test_what_real_clients_wrote_is_read_as_expected(
    alone: Ensemble, case: str, eventually: Any
) -> None:
    dump, root = GOLDEN.CASES[case]
    nodes = json.loads((LAYOUTS / "golden" / "dumps" / f"{dump}.json").read_text())
    expected = json.loads((LAYOUTS / "golden" / "expected" / f"{case}.json").read_text())
    async with Writer(alone.hosts) as writer:
        await writer.load(nodes)
        async with watching(alone.hosts, root) as seen:
            await eventually(lambda: seen.count)

            found = [seen.groups[name] for name in sorted(seen.groups)]
            assert json.loads(msgspec.json.encode(found)) == expected


async def test_a_change_is_told_in_milliseconds(alone: Ensemble, eventually: Any, figure: Note) -> None:
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


async def test_an_expired_session_loses_nothing(alone: Ensemble, eventually: Any) -> None:
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


async def test_a_killed_leader_loses_nothing(three: Ensemble, eventually: Any, figure: Note) -> None:
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


async def test_without_a_quorum_nothing_is_deleted(three: Ensemble, eventually: Any) -> None:
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


async def test_a_frozen_server_is_left_for_another(three: Ensemble, eventually: Any, figure: Note) -> None:
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


async def test_everything_frozen_and_thawed_loses_nothing(alone: Ensemble, eventually: Any) -> None:
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


async def test_a_wiped_server_is_trouble_until_it_is_filled_again(alone: Ensemble, eventually: Any) -> None:
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


async def test_twenty_thousand_children_of_one_node_are_read(
    alone: Ensemble, eventually: Any, figure: Note
) -> None:
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


async def test_large_nodes_are_read_or_skipped(alone: Ensemble, eventually: Any) -> None:
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


async def test_one_watch_for_each_node_does_as_well(alone: Ensemble, eventually: Any) -> None:
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
