import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from meshbridge.adapters.inventory.settings import InventoryConfig
from meshbridge.bridge import retain
from meshbridge.bridge.config.loading import load
from meshbridge.bridge.peers import PeerClient
from meshbridge.bridge.retain import Retaining
from meshbridge.bridge.state import StateFiles
from meshbridge.bridge.watching import fingerprint
from meshbridge.schemas.registry import Health, Instance, Port, ServiceKey, group, labels

BROKEN = "services: [{name: shop, instances: [{address"


def configure(site: Any, **safety: Any) -> None:
    site.configure(site.source("vms", "vms.yaml"), safety={"state_dir": str(site.state), **safety})


async def ran_once(site: Any) -> None:
    """Let a bridge read the inventory and stop."""
    site.inventory("vms.yaml", {"shop": ["10.0.0.1", "10.0.0.2"]})
    configure(site)
    async with site.running() as bridge:
        assert await bridge.view.wait_newer(0, 5.0) == 1


@pytest.mark.parametrize("trouble", ["broken", "gone"])
async def test_retained_copy_is_served_while_the_source_can_not_be_read(
    site: Any, eventually: Any, trouble: str
) -> None:
    await ran_once(site)
    if trouble == "broken":
        site.inventory("vms.yaml", BROKEN)
    else:
        (site.folder / "vms.yaml").unlink()

    async with site.connected() as (bridge, client):
        await eventually(lambda: site.held(client) == {"shop.vms.mesh": ["10.0.0.1", "10.0.0.2"]})
        await eventually(lambda: "vms.yaml" in bridge.view.sources()[0].error)

        site.inventory("vms.yaml", {"shop": ["10.0.0.2"]})
        await eventually(lambda: site.held(client) == {"shop.vms.mesh": ["10.0.0.2"]})


async def test_copy_that_is_too_old_is_not_served(site: Any, eventually: Any) -> None:
    await ran_once(site)
    files = StateFiles(site.state)
    [saved] = [path.read_bytes() for path in site.state.iterdir()]
    site.inventory("vms.yaml", BROKEN)
    configure(site, max_age="1ms")

    async with site.running() as bridge:
        await eventually(lambda: bridge.view.sources()[0].error)
        assert bridge.view.generation == 0

    assert [path.read_bytes() for path in site.state.iterdir()] == [saved], "nothing was read, so it stays"
    assert files.load("vms", "another", 1e9, time.time()) is None


async def test_copy_of_another_registry_is_not_served(site: Any, eventually: Any) -> None:
    await ran_once(site)
    site.inventory("other.yaml", BROKEN)
    site.configure(site.source("vms", "other.yaml"), safety={"state_dir": str(site.state)})

    async with site.running() as bridge:
        await eventually(lambda: bridge.view.sources()[0].error)
        assert bridge.view.generation == 0


async def test_copy_outlives_settings_that_say_how_the_registry_is_read(site: Any, eventually: Any) -> None:
    await ran_once(site)
    site.inventory("vms.yaml", BROKEN)
    source = site.source("vms", "vms.yaml", refresh="17s", rescan="18s", allow_empty=True)
    site.configure(source, safety={"state_dir": str(site.state)})

    async with site.connected() as (_, client):
        await eventually(lambda: site.held(client) == {"shop.vms.mesh": ["10.0.0.1", "10.0.0.2"]})


def test_fingerprint_outlives_an_upgrade_that_brings_new_settings() -> None:
    class Upgraded(InventoryConfig):
        brand_new: str = "default"

    class Other(InventoryConfig):
        kind: str = "other"  # type: ignore[assignment]

    said = {"name": "vms", "files": ["vms.yaml"]}
    assert fingerprint(Other(**said)) != fingerprint(InventoryConfig(**said))

    assert fingerprint(Upgraded(**said)) == fingerprint(InventoryConfig(**said))
    assert fingerprint(Upgraded(**said)) != fingerprint(Upgraded(**{**said, "files": ["other.yaml"]}))


async def test_verdict_of_a_probe_in_the_copy_does_not_outlive_the_probe(site: Any, eventually: Any) -> None:
    path = site.inventory("vms.yaml", BROKEN)
    probed = site.source("vms", "vms.yaml", probe={"tcp": {}, "interval": "1h", "timeout": "1s"})
    site.configure(probed, safety={"state_dir": str(site.state)})
    lost = Instance(
        "127.0.0.1",
        "127.0.0.1",
        (Port("http", 80),),
        metadata=labels({"document": str(path)}),
        health=Health.UNREADY,
    )
    [config] = load(site.path, {}).sources
    StateFiles(site.state).save(
        "vms", fingerprint(config), [group(ServiceKey("vms", "shop"), [lost])], time.time()
    )

    async with site.connected() as (_, client):
        await eventually(lambda: site.held(client) == {"shop.vms.mesh": ["127.0.0.1"]})


async def test_state_that_is_being_written_when_the_bridge_stops_is_written_before_the_newest(
    site: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retain, "INTERVAL", 0.01)
    save, writing, may_go_on = StateFiles.save, threading.Event(), threading.Event()
    written_groups: list[Any] = []

    def slowly(self: StateFiles, *written: Any) -> None:
        if not writing.is_set():
            writing.set()
            may_go_on.wait(5.0)
        save(self, *written)
        written_groups.append(written[2])

    monkeypatch.setattr(StateFiles, "save", slowly)
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    configure(site)

    async with site.running() as bridge:
        await eventually(writing.is_set)
        site.inventory("vms.yaml", {"shop": ["10.0.0.2"]})
        await eventually(lambda: bridge.publisher.unsaved == {"vms"})
        asyncio.get_running_loop().call_later(0.1, may_go_on.set)

    await eventually(lambda: len(written_groups) == 2)
    copy = StateFiles(site.state).load("vms", fingerprint(load(site.path, {}).sources[0]), 60, time.time())
    assert copy is not None
    [kept] = copy.groups
    assert [found.address for found in kept.instances] == ["10.0.0.2"]


async def test_mass_removal_while_the_bridge_was_down_is_held(site: Any, eventually: Any) -> None:
    everyone = [f"10.0.0.{number}" for number in range(1, 21)]
    site.inventory("vms.yaml", {"shop": everyone})
    configure(site)
    async with site.running() as bridge:
        await bridge.view.wait_newer(0, 5.0)
    site.inventory("vms.yaml", {"shop": everyone[:2]})

    for _ in range(2):  # What is held survives a restart as well.
        async with site.connected() as (bridge, client):
            await eventually(lambda: client.synced.is_set() and bridge.view.sources()[0].state == "synced")
            assert bridge.view.sources()[0].held == 18
            assert len(site.held(client)["shop.vms.mesh"]) == 20


async def test_without_a_directory_nothing_is_kept(site: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"))

    async with site.running() as bridge:
        await bridge.view.wait_newer(0, 5.0)

    assert not site.state.exists()


async def test_directory_that_can_not_be_written_is_said_once_and_the_bridge_runs(
    site: Any, eventually: Any
) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.state.write_text("a file where a directory should be")
    configure(site)

    with capture_logs() as logs:
        async with site.connected() as (bridge, client):
            await eventually(lambda: site.held(client))
            saving = Saving(site, bridge)
            await saving.now()
            await saving.now()
            site.state.unlink()
            await saving.now()

    said = [entry["event"] for entry in logs if entry["event"].startswith("state ")]
    assert said.count("state not written") == 1
    assert said.count("state written again") == 1
    assert saving.results == ["failed", "failed", "ok"]


class Saving:
    """Another writer of a running bridge's state, under the test's control."""

    def __init__(self, site: Any, bridge: Any) -> None:
        from meshbridge.bridge.config.loading import load

        self._config = load(site.path, {})
        self._bridge = bridge
        self.results: list[str] = []
        self._retaining = Retaining(
            bridge.publisher,
            self,  # type: ignore[arg-type]
            self._config.safety,
            PeerClient(self._config.safety.peers),
        )

    def state_written(self, result: str) -> None:
        self.results.append(result)

    async def now(self) -> None:
        await self._retaining.restore(self._config.sources[0])
        await self._retaining.save()


async def test_only_what_changed_is_written(site: Any, eventually: Any) -> None:
    for name in ("a", "b"):
        site.inventory(f"{name}.yaml", {"shop": ["10.0.0.1"]})
    site.configure(
        site.source("a", "a.yaml"), site.source("b", "b.yaml"), safety={"state_dir": str(site.state)}
    )

    async with site.running() as bridge:
        await bridge.view.wait_newer(0, 5.0)
        saving = Saving(site, bridge)
        await saving._retaining.restore(saving._config.sources[1])
        await saving.now()
        assert {path.name for path in site.state.iterdir()} == {"a.state", "b.state"}
        before = stamps(site.state)
        site.inventory("b.yaml", {"shop": ["10.0.0.2"]})
        await eventually(lambda: bridge.publisher.unsaved == {"b"})
        await saving.now()

        after = stamps(site.state)
        assert after["a.state"] == before["a.state"]
        assert after["b.state"] != before["b.state"]


async def test_copy_of_a_quiet_source_stays_young(
    site: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    configure(site, max_age="24h")

    async with site.running() as bridge:
        await bridge.view.wait_newer(0, 5.0)
        saving = Saving(site, bridge)
        await saving.now()
        await saving.now()
        assert saving.results == ["ok"]

        later = time.time() + 20 * 3600
        monkeypatch.setattr(retain.time, "time", lambda: later)
        await saving.now()
        assert saving.results == ["ok", "ok"]


async def test_state_is_written_every_now_and_then(
    site: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retain, "INTERVAL", 0.01)
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    configure(site)

    async with site.running() as bridge:
        await eventually((site.state / "vms.state").exists)
        await eventually(lambda: not bridge.publisher.unsaved)


async def test_source_that_was_never_read_leaves_no_copy(site: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", BROKEN)
    configure(site)

    async with site.running() as bridge:
        await eventually(lambda: bridge.view.sources()[0].error)
        assert bridge.view.release("vms") == 0
        await asyncio.sleep(0)

    assert list(site.state.iterdir()) == []


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


async def test_last_valid_form_of_a_quarantined_service_outlives_a_restart(
    site: Any, eventually: Any
) -> None:
    def configured(protocol: str) -> None:
        rules = [{"match": {"service": "shop"}, "set": {"hosts": ["more.mesh"], "protocol": protocol}}]
        site.configure(site.source("vms", "vms.yaml"), rules=rules, safety={"state_dir": str(site.state)})

    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    configured("http")
    async with site.connected() as (bridge, client):
        await eventually(lambda: site.held(client))
        before = bridge.publisher.snapshot
        configured("tcp")  # Several hosts need a protocol that names them.
        bridge.reloading.request()
        await eventually(lambda: list(bridge.view.quarantine()))

    async with site.connected() as (bridge, client):
        await eventually(lambda: site.held(client))
        [kept_out] = bridge.view.quarantine()
        assert (kept_out.host, kept_out.last_valid) == ("shop.vms.mesh", True)
        assert bridge.publisher.snapshot == before


async def test_identity_is_rolled_over_across_a_restart(site: Any, eventually: Any) -> None:
    def configured(account: str) -> None:
        rules = [{"match": {"service": "shop"}, "set": {"service_account": account}}]
        safety = {"state_dir": str(site.state), "identity_rollover": "1h"}
        site.configure(site.source("vms", "vms.yaml"), rules=rules, safety=safety)

    def accepted(client: Any) -> list[str]:
        found = client.entries["networking.istio.io/v1/ServiceEntry"].values()
        return [name for one in found for name in one.spec.subject_alt_names]

    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    configured("old")
    async with site.connected() as (_, client):
        await eventually(lambda: site.held(client))

    configured("new")
    for _ in range(2):
        async with site.connected() as (_, client):
            await eventually(lambda: any("sa/old" in name for name in accepted(client)))


async def test_damaged_file_of_what_no_source_has_is_set_aside(site: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    configure(site)
    site.state.mkdir()
    (site.state / "_mesh.state").write_bytes(b"rubbish")

    async with site.connected() as (_, client):
        await eventually(lambda: site.held(client))

    assert (site.state / "_mesh.damaged").read_bytes() == b"rubbish"
