"""The Consul adapter against real servers, with and without streaming: the contract, and every way in which
Consul answers that there is nothing although there is something."""

import asyncio
import importlib.util
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from integration.consul.agents import ROOT_TOKEN, Agent
from integration.consul.fetch import VERSIONS, binary
from integration.processes import eventually as until
from integration.processes import stays
from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.consul.settings import ConsulConfig
from meshbridge.bridge.app import running
from meshbridge.bridge.config.models import Config
from meshbridge.bridge.supervise import Supervised
from meshbridge.mcp.client import IstiodClient
from meshbridge.schemas.registry import FullSync, GroupUpdate, SourceEvent, SourceReport, SourceState

SERVICE_ENTRIES = "networking.istio.io/v1/ServiceEntry"
ADDRESSES = {f"192.0.2.{number}" for number in range(1, 6)}
SERVICES = ("orders", "payments")
READ_ALL = 'service_prefix "" {policy = "read"} node_prefix "" {policy = "read"}'


def _contract() -> ModuleType:
    path = Path(__file__).parent.parent / "tests" / "contract.py"
    spec = importlib.util.spec_from_file_location("adapter_contract_for_consul", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """A release of Consul. Where its program is missing, tests are skipped and say so."""
    if not os.access(binary(request.param), os.X_OK):
        reason = f"{binary(request.param)} is missing; `python integration/consul/fetch.py` gets it"
        if os.environ.get("CI") == "true" and shutil.which("go"):
            pytest.fail(reason)
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """What the contract waits with; a real server takes longer."""

    async def wait(condition: Callable[[], Any], *, within: float = 15.0) -> Any:
        async def check() -> Any:
            return condition()

        return await until(check, within)

    return wait


class RealConsul:
    """The contract's view of a real server."""

    kind = "consul"
    label = "real consul"
    secret = ""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    def config(self) -> ConsulConfig:
        return ConsulConfig(name="tested", address=self.agent.url, wait="3s")

    async def register(self, service: str, address: str) -> None:
        await self.agent.register(service, address)

    async def deregister(self, service: str, address: str) -> None:
        await self.agent.deregister(service, address)

    async def corrupt(self, service: str, address: str) -> None:
        await self.agent.register(service, address, 70_000)

    async def shuffle(self) -> None:
        """A real server has an order of its own."""

    async def break_(self) -> None:
        await self.agent.kill()

    async def heal(self) -> None:
        await self.agent.start()


class BrokenThenChanged(RealConsul):
    """Changes made while it is broken are made when it is back, before anybody reads."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        self._is_broken = False
        self._missed: list[tuple[str, str, str]] = []

    async def break_(self) -> None:
        await super().break_()
        self._is_broken = True

    async def heal(self) -> None:
        await super().heal()
        self._is_broken = False
        for change, service, address in self._missed:
            await getattr(self, change)(service, address)

    async def register(self, service: str, address: str) -> None:
        if self._is_broken:
            self._missed.append(("register", service, address))
        else:
            await super().register(service, address)

    async def deregister(self, service: str, address: str) -> None:
        if self._is_broken:
            self._missed.append(("deregister", service, address))
        else:
            await super().deregister(service, address)


@pytest.fixture
async def harness(version: str, tmp_path: Path) -> AsyncIterator[RealConsul]:
    """A server under the contract's control."""
    async with Agent(version, tmp_path) as agent:
        harness = BrokenThenChanged(agent)
        yield harness
        if harness._is_broken:
            await agent.start(is_ready=False)


globals().update(_contract().TESTS)


class Watch:
    """A supervised adapter: what it holds, and the least it ever held since it was complete."""

    def __init__(self, config: ConsulConfig) -> None:
        self.held: dict[str, set[str]] = {}
        self.reports: list[SourceReport] = []
        self.syncs = 0
        self.is_complete = False
        self.least = 10**9
        self.adapter = Supervised(config.build(AdapterContext("consul")))

    async def emit(self, event: SourceEvent) -> None:
        if isinstance(event, FullSync):
            self.syncs += 1
            self.held = {g.key.name: {i.address for i in g.instances} for g in event.groups}
        elif isinstance(event, GroupUpdate):
            self.held[event.group.key.name] = {i.address for i in event.group.instances}
        else:
            self.reports.append(event)
        if self.count == len(ADDRESSES) * len(SERVICES):
            self.is_complete = True
        if self.is_complete:
            self.least = min(self.least, self.count)

    @property
    def count(self) -> int:
        return sum(len(found) for found in self.held.values())

    @property
    def state(self) -> SourceState | None:
        return self.reports[-1].state if self.reports else None

    async def has_all(self) -> bool:
        return all(self.held.get(service) == ADDRESSES for service in SERVICES)

    async def is_synced_again(self) -> bool:
        return self.state is SourceState.SYNCED and await self.has_all()

    async def lost_nothing(self) -> bool:
        return self.least == len(ADDRESSES) * len(SERVICES)


@asynccontextmanager
async def watching(config: ConsulConfig) -> AsyncIterator[Watch]:
    watch = Watch(config)
    task = asyncio.create_task(watch.adapter.run(watch.emit))
    try:
        await until(watch.has_all)
        yield watch
    finally:
        task.cancel()
        await asyncio.wait([task])


async def fill(agent: Agent) -> None:
    for service in SERVICES:
        for address in sorted(ADDRESSES):
            await agent.register(service, address, Tags=["blue"], Meta={"version": "v1"})


def config_for(agent: Agent, **settings: object) -> ConsulConfig:
    return ConsulConfig(
        **({"name": "consul", "address": agent.url, "wait": "2s", "timeout": "3s"} | settings)
    )


async def in_trouble(watch: Watch) -> bool:
    return watch.state in (SourceState.STALE, SourceState.DENIED)


@pytest.mark.parametrize("way", ["stop", "kill"])
async def test_a_restarted_server_loses_nothing(version: str, tmp_path: Path, way: str) -> None:
    async with Agent(version, tmp_path) as server:
        await fill(server)
        async with watching(config_for(server)) as watch:
            await (server.stop() if way == "stop" else server.kill())
            await until(lambda: in_trouble(watch))
            await server.start(is_ready=False)
            assert await stays(watch.lost_nothing, 3)
            await until(watch.is_synced_again)
            assert await watch.lost_nothing()

            await server.deregister("orders", "192.0.2.1")
            await until(lambda: _is(watch, "orders", ADDRESSES - {"192.0.2.1"}))


async def _is(watch: Watch, service: str, addresses: set[str]) -> bool:
    return watch.held.get(service) == addresses


@pytest.mark.parametrize("killed", ["client", "server", "both"])
async def test_a_restarted_client_agent_loses_nothing(version: str, tmp_path: Path, killed: str) -> None:
    async with (
        Agent(version, tmp_path) as server,
        Agent(version, tmp_path, "cl1", joins=server) as client,
    ):
        await fill(server)
        async with watching(config_for(client)) as watch:
            if killed in ("server", "both"):
                await server.kill()
            if killed in ("client", "both"):
                await client.kill()
                # Without servers it has nothing to say, and with streaming says so as if it were the truth.
                await client.start(is_ready=killed == "client")
            assert await stays(watch.lost_nothing, 5)
            if killed in ("server", "both"):
                await server.start()
            await until(watch.is_synced_again, 60)
            assert await watch.lost_nothing()

            await server.deregister("orders", "192.0.2.1")
            await until(lambda: _is(watch, "orders", ADDRESSES - {"192.0.2.1"}))


async def test_a_frozen_server_loses_nothing(version: str, tmp_path: Path) -> None:
    async with Agent(version, tmp_path) as server:
        await fill(server)
        async with watching(config_for(server)) as watch:
            server.freeze()
            await until(lambda: in_trouble(watch))
            server.thaw()

            await until(watch.is_synced_again)
            assert await watch.lost_nothing()


async def test_a_restored_server_loses_nothing_and_is_followed(version: str, tmp_path: Path) -> None:
    async with Agent(version, tmp_path) as server:
        await fill(server)
        snapshot = await server.call("GET", "/v1/snapshot")
        for number in range(60):  # Moves the index well beyond that of the snapshot.
            await server.register("orders", "192.0.2.99", 1000 + number)
        await server.deregister("orders", "192.0.2.99")
        async with watching(config_for(server)) as watch:
            await server.call("PUT", "/v1/snapshot", snapshot)
            await asyncio.sleep(3)
            await server.register("orders", "192.0.2.77")

            await until(lambda: _is(watch, "orders", ADDRESSES | {"192.0.2.77"}))
            assert await watch.lost_nothing()


async def _token(server: Agent, rules: str) -> tuple[str, str]:
    """Return a new token's secret and the id of its policy."""
    policy = await server.call("PUT", "/v1/acl/policy", {"Name": f"p{time.time_ns()}", "Rules": rules})
    made = await server.call("PUT", "/v1/acl/token", {"Policies": [{"ID": policy["ID"]}]})
    return made["SecretID"], policy["ID"]


async def test_without_a_token_under_default_deny_the_source_is_denied(version: str, tmp_path: Path) -> None:
    async with Agent(version, tmp_path, acl=True) as server:
        await fill(server)
        watch = Watch(config_for(server))
        task = asyncio.create_task(watch.adapter.run(watch.emit))
        try:
            await until(lambda: in_trouble(watch))
        finally:
            task.cancel()
            await asyncio.wait([task])

        assert watch.state is SourceState.DENIED
        assert watch.syncs == 0
        assert "token_file" in watch.reports[-1].reason


async def test_a_bad_token_is_denied(version: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("99999999-2222-3333-4444-555555555555")
    async with Agent(version, tmp_path, acl=True) as server:
        watch = Watch(config_for(server, token_file=str(token)))
        task = asyncio.create_task(watch.adapter.run(watch.emit))
        try:
            await until(lambda: in_trouble(watch))
        finally:
            task.cancel()
            await asyncio.wait([task])

        assert watch.state is SourceState.DENIED
        assert watch.syncs == 0


@pytest.mark.parametrize(
    "narrowed",
    [
        'node_prefix "" {policy = "read"}',
        'service_prefix "" {policy = "read"}',
        'service_prefix "pay" {policy = "read"} node_prefix "" {policy = "read"}',
        "",
    ],
    ids=["no services", "no nodes", "one service", "nothing"],
)
async def test_a_token_narrowed_while_watched_loses_nothing(
    version: str, tmp_path: Path, narrowed: str
) -> None:
    token = tmp_path / "token"
    async with Agent(version, tmp_path, acl=True) as server:
        await fill(server)
        secret, policy = await _token(server, READ_ALL)
        token.write_text(secret)
        async with watching(config_for(server, token_file=str(token))) as watch:
            rules = {"ID": policy, "Name": "narrowed", "Rules": narrowed}
            await server.call("PUT", f"/v1/acl/policy/{policy}", rules)
            await until(lambda: in_trouble(watch), 60)
            assert watch.state is SourceState.DENIED
            await server.register("other", "192.0.2.50")
            assert await stays(watch.lost_nothing, 5)

            await server.call("PUT", f"/v1/acl/policy/{policy}", rules | {"Rules": READ_ALL})
            await until(watch.is_synced_again, 90)
            assert await watch.lost_nothing()


async def test_a_token_deleted_while_watched_loses_nothing_and_may_rotate(
    version: str, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    async with Agent(version, tmp_path, acl=True) as server:
        await fill(server)
        secret, _ = await _token(server, READ_ALL)
        token.write_text(secret)
        async with watching(config_for(server, token_file=str(token))) as watch:
            accessor = (await server.call("GET", "/v1/acl/token/self", token=secret))["AccessorID"]
            await server.call("DELETE", f"/v1/acl/token/{accessor}")
            await until(lambda: in_trouble(watch), 60)
            assert watch.state is SourceState.DENIED
            assert await stays(watch.lost_nothing, 5)

            token.write_text(ROOT_TOKEN)
            await until(watch.is_synced_again, 90)
            assert await watch.lost_nothing()


async def test_changes_reach_istiod_and_a_dead_server_takes_nothing_away(
    version: str, tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    async with Agent(version, tmp_path) as server:
        await fill(server)
        source = {"name": "consul", "kind": "consul", "address": server.url, "wait": "2s"}
        config = Config.model_validate(
            {
                "sources": [source],
                "outputs": {"mcp": {"listen": "127.0.0.1:0"}},
                "admin": {"listen": "127.0.0.1:0"},
            }
        )

        def endpoints(client: IstiodClient, service: str) -> set[str]:
            held = client.entries.get(SERVICE_ENTRIES, {}).get(f"meshbridge/{service}.consul.mesh")
            return {found.address for found in held.spec.endpoints} if held else set()

        async with running(config) as bridge, IstiodClient(bridge.mcp_address) as client:
            await client.wait_for(lambda seen: seen.synced.is_set(), 30)
            await client.wait_for(lambda seen: endpoints(seen, "orders") == ADDRESSES, 30)

            started = time.monotonic()
            await server.register("orders", "192.0.2.66")
            await client.wait_for(lambda seen: "192.0.2.66" in endpoints(seen, "orders"), 30)
            figure(
                f"consul {version}: registered to held by istiod",
                f"{(time.monotonic() - started) * 1e3:.0f} ms",
            )

            await server.kill()
            await asyncio.sleep(3)
            assert endpoints(client, "orders") == ADDRESSES | {"192.0.2.66"}
            assert endpoints(client, "payments") == ADDRESSES
            await server.start()
            await server.deregister("orders", "192.0.2.66")
            await client.wait_for(lambda seen: endpoints(seen, "orders") == ADDRESSES, 30)
