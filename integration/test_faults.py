"""Faults that would empty a mesh, against real processes: what istiod holds stays."""

import os
import shutil
from pathlib import Path

import pytest

from integration.bridges import Bridge
from integration.build_eureka import jar
from integration.conftest import MakeBridge, MakeIstiod, Note
from integration.eureka.process import QUICK, Clients, EurekaServer
from integration.faults import faults
from integration.processes import eventually

HOST, PORT = "shop.spring.mesh", 8080
ADDRESSES = ["192.0.2.1", "192.0.2.2"]


@pytest.fixture(scope="module")
def eureka_jar() -> Path:
    """The server's program. Where it is missing tests are skipped, in CI only if nothing can build it."""
    program = jar()
    if not program.exists() or shutil.which("java") is None:
        reason = f"{program} is missing; `python integration/build_eureka.py` builds it (half a minute)"
        if os.environ.get("CI") == "true" and shutil.which("mvn"):
            pytest.fail(reason)
        pytest.skip(reason)
    return program


async def state_of(bridge: Bridge, name: str = "spring") -> str:
    """Return the state of a source, as the bridge sees it."""
    return next(str(source["state"]) for source in await bridge.get("sources") if source["name"] == name)


async def test_bridge_without_state_does_not_believe_a_freshly_restarted_eureka(
    eureka_jar: Path, tmp_path: Path, make_bridge: MakeBridge, make_istiod: MakeIstiod, figure: Note
) -> None:
    with EurekaServer(eureka_jar, tmp_path, *QUICK) as server:
        source = {"name": "spring", "kind": "eureka", "urls": [server.url], "poll_interval": "200ms"}
        bridge = make_bridge(sources=[source], safety={"refill": "2s"})
        clients = Clients(server.url)
        for address in ADDRESSES:
            await clients.register("shop", address)
        async with bridge, make_istiod(bridge.mcp_address) as istiod:
            await istiod.wait_ready()
            before = await istiod.configz()
            async with istiod.endpoints(HOST, PORT) as proxy:
                await proxy.wait_for_addresses([f"{address}:{PORT}" for address in ADDRESSES])

                await bridge.kill()
                server.kill()
                server.start()
                await bridge.start()
                await eventually(lambda: state_is(bridge, "empty"))
                await bridge.wait_for_client(acknowledged=False)

                [spring] = await bridge.get("sources")
                assert "release spring" in spring["error"]
                assert not await bridge.is_ready()
                assert await istiod.configz() == before

                for address in ADDRESSES:
                    await clients.register("shop", address)
                await bridge.wait_for_client()
                assert await istiod.configz() == before
                assert len(proxy.updates) == 1
    figure("endpoints lost: bridge and Eureka restart, no retained state", "0")


@pytest.mark.parametrize("name", sorted(faults(None)))
async def test_fault_costs_no_endpoint(name: str, tmp_path: Path, figure: Note) -> None:
    try:
        outcome = await faults(None)[name](tmp_path)
    except PermissionError as error:
        pytest.skip(str(error))

    assert outcome.lost == 0
    figure(f"time to truth: {outcome.fault} ({outcome.injected})", f"{outcome.seconds:.1f} s")


async def state_is(bridge: Bridge, wanted: str) -> bool:
    """Whether the bridge sees the source in this state."""
    return await state_of(bridge) == wanted
