"""Restarts of the bridge below a running istiod: nothing is lost, and nothing flaps."""

import time

import pytest

from integration.bridges import Bridge
from integration.conftest import MakeBridge, MakeIstiod, Note
from integration.istiod import configz
from integration.istiod.process import Istiod
from integration.samples import PAYMENTS, PORT, SHOP, on_port, shop

BROKEN = '{"services": [{"name": "sh'


@pytest.mark.parametrize("way", ["stop", "kill"])
async def test_restart_changes_nothing_in_istiod(
    bridge: Bridge, istiod: Istiod, figure: Note, way: str
) -> None:
    before = await istiod.configz()
    async with istiod.endpoints(SHOP, PORT) as proxy:
        await proxy.wait_for_addresses(on_port("10.0.0.1", "10.0.0.2"))

        await (bridge.stop() if way == "stop" else bridge.kill())
        assert await istiod.configz() == before
        assert await istiod.is_ready()

        started = time.monotonic()
        await bridge.start()
        await bridge.wait_for_client()
        figure(f"bridge started after {way} to istiod served again", f"{time.monotonic() - started:.1f} s")
        assert await istiod.configz() == before  # Versions too.

        bridge.inventory.write(shop("10.0.0.1", "10.0.0.2", "10.0.0.3"), PAYMENTS)
        await proxy.wait_for_addresses(on_port("10.0.0.1", "10.0.0.2", "10.0.0.3"))
        assert len(proxy.updates) == 2


async def test_restart_with_a_broken_inventory_serves_the_retained_state(
    make_bridge: MakeBridge, make_istiod: MakeIstiod, tmp_path: object
) -> None:
    bridge = make_bridge(safety={"state_dir": f"{tmp_path}/state"})
    bridge.inventory.write(shop("10.0.0.1", "10.0.0.2"), PAYMENTS)
    async with bridge, make_istiod(bridge.mcp_address) as istiod:
        await istiod.wait_ready()
        before = await istiod.configz()
        async with istiod.endpoints(SHOP, PORT) as proxy:
            await proxy.wait_for_addresses(on_port("10.0.0.1", "10.0.0.2"))

            await bridge.stop()
            bridge.inventory.write_text(BROKEN)
            await bridge.start()
            await bridge.wait_for_client()

            source = (await bridge.get("sources"))[0]
            assert source["state"] == "stale"
            assert "vms.json" in source["error"]
            assert await istiod.configz() == before

            bridge.inventory.write(shop("10.0.0.2"), PAYMENTS)
            await proxy.wait_for_addresses(on_port("10.0.0.2"))
            assert len(proxy.updates) == 2


async def test_restart_with_a_broken_inventory_and_no_state_deletes_nothing(
    bridge: Bridge, istiod: Istiod
) -> None:
    before = await istiod.configz()
    async with istiod.endpoints(SHOP, PORT) as proxy:
        await proxy.wait_for_addresses(on_port("10.0.0.1", "10.0.0.2"))

        await bridge.kill()
        bridge.inventory.write_text(BROKEN)
        await bridge.start()
        await bridge.wait_for_client(acknowledged=False)

        assert not await bridge.is_ready()
        assert await istiod.configz() == before

        bridge.inventory.write(shop("10.0.0.2"), PAYMENTS)
        await proxy.wait_for_addresses(on_port("10.0.0.2"))
        assert len(proxy.updates) == 2
        assert configz.versions(before) != configz.versions(await istiod.configz())
