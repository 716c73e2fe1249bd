"""Several bridges behind one address, and several istiods behind one bridge."""

from collections.abc import Callable
from pathlib import Path

import pytest

from integration.bridges import Bridge, Inventory
from integration.istiod import configz
from integration.istiod.process import Istiod
from integration.samples import PAYMENTS, PORT, SHOP, on_port, shop
from integration.switch import Switch

MakeReplica = Callable[[str], Bridge]


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    """What all replicas follow."""
    return Inventory(tmp_path / "vms.json")


@pytest.fixture
def make_replica(inventory: Inventory, tmp_path: Path) -> MakeReplica:
    """Makes a bridge with a name, not started."""

    def make(name: str) -> Bridge:
        (tmp_path / name).mkdir()
        source = {"name": "vms", "kind": "inventory", "files": [str(inventory.path)]}
        return Bridge(tmp_path / name, sources=[source])

    return make


async def test_istiod_that_is_moved_to_another_replica_sees_no_change(
    make_replica: MakeReplica,
    inventory: Inventory,
    make_istiod: Callable[..., Istiod],
) -> None:
    inventory.write(PAYMENTS, shop("10.0.0.9"))
    async with Switch() as switch, make_replica("first") as first:
        switch.turn_to(first.mcp_address)
        async with make_istiod(switch.address) as istiod:
            await istiod.wait_ready()
            async with istiod.endpoints(SHOP, PORT) as proxy:
                await proxy.wait_for_addresses(on_port("10.0.0.9"))
                # The first has a past that the second has not.
                inventory.write(PAYMENTS)
                await proxy.wait_for_addresses([])
                inventory.write(shop("10.0.0.2", "10.0.0.1"), PAYMENTS)
                await proxy.wait_for_addresses(on_port("10.0.0.1", "10.0.0.2"))
                before, told = await istiod.configz(), len(proxy.updates)

                async with make_replica("second") as second:
                    switch.turn_to(second.mcp_address)
                    await second.wait_for_client()
                    assert await istiod.configz() == before  # Versions too.

                    inventory.write(shop("10.0.0.1"), PAYMENTS)
                    await proxy.wait_for_addresses(on_port("10.0.0.1"))
                    assert len(proxy.updates) == told + 1


async def test_istiod_takes_what_is_for_its_revision(
    make_replica: MakeReplica, inventory: Inventory, pilot_discovery: Path, tmp_path: Path
) -> None:
    inventory.write(
        *(
            {"name": name, "protocol": "http", "port": 80, "instances": [{"address": "10.0.0.1"}]}
            for name in ("blue", "green", "everybody")
        )
    )
    source = {"name": "vms", "kind": "inventory", "files": [str(inventory.path)]}
    rules = [{"match": {"service": name}, "set": {"revision": name}} for name in ("blue", "green")]
    (tmp_path / "bridge").mkdir()
    held = {}
    async with Bridge(tmp_path / "bridge", sources=[source], rules=rules) as bridge:
        for revision in ("blue", "green", ""):
            folder = tmp_path / f"istiod-{revision}"
            folder.mkdir()
            async with Istiod(pilot_discovery, folder, bridge.mcp_address, revision=revision) as istiod:
                await istiod.wait_ready()
                names = configz.held(await istiod.configz())
                held[revision] = {name.partition("/")[2].partition(".")[0] for name in names}

    assert held == {
        "blue": {"blue", "everybody"},
        "green": {"green", "everybody"},
        "": {"blue", "green", "everybody"},
    }
