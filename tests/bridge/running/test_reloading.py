import asyncio
import gc
import json
import os
import signal
import sys
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from meshbridge.adapters.inventory.settings import InventoryConfig
from meshbridge.bridge.app import running, serve
from meshbridge.bridge.config.loading import load

BROKEN = "services: [{name: shop, instances: [{address"


async def reloads(site: Any, bridge: Any, result: str) -> float:
    return await site.metric(bridge, f'meshbridge_config_reloads_total{{result="{result}"}}') or 0.0


async def test_changed_file_is_taken_up_without_asking(site: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"))

    async with site.connected() as (bridge, client):
        await eventually(lambda: site.held(client) == {"shop.vms.mesh": ["10.0.0.1"]})

        def rewritten() -> dict[str, list[str]]:
            # Again and again, since the watch of the folder takes a moment to begin.
            site.configure(site.source("vms", "vms.yaml"), defaults={"host": "{service}.new"})
            return site.held(client)

        await eventually(lambda: rewritten() == {"shop.new": ["10.0.0.1"]})
        assert await reloads(site, bridge, "applied") == 1


async def test_changed_source_keeps_its_old_groups_until_its_new_adapter_has_synced(
    site: Any, eventually: Any
) -> None:
    site.inventory("old.yaml", {"shop": ["10.0.0.1"]})
    site.inventory("new.yaml", BROKEN)
    site.configure(site.source("vms", "old.yaml"))

    async with site.connected() as (bridge, client):
        await eventually(lambda: site.held(client) == {"shop.vms.mesh": ["10.0.0.1"]})
        site.configure(site.source("vms", "new.yaml"))
        bridge.reloading.request()
        await eventually(lambda: "new.yaml" in bridge.view.sources()[0].error)
        assert site.held(client) == {"shop.vms.mesh": ["10.0.0.1"]}

        site.inventory("new.yaml", {"pay": ["10.0.0.2"]})
        await eventually(lambda: site.held(client) == {"pay.vms.mesh": ["10.0.0.2"]})


async def test_source_that_is_taken_out_leaves_and_one_that_is_added_comes(
    site: Any, eventually: Any
) -> None:
    for name in ("a", "b", "c"):
        site.inventory(f"{name}.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("a", "a.yaml"), site.source("b", "b.yaml"))

    async with site.connected() as (bridge, client):
        await eventually(lambda: site.held(client).keys() == {"shop.a.mesh", "shop.b.mesh"})
        assert await site.metric(bridge, 'meshbridge_adapter_attempts_total{kind="inventory",source="b"}')
        with capture_logs() as logs:
            site.configure(site.source("a", "a.yaml"), site.source("c", "c.yaml"))
            bridge.reloading.request()
            await eventually(lambda: site.held(client).keys() == {"shop.a.mesh", "shop.c.mesh"})

        assert [source.name for source in bridge.view.sources()] == ["a", "c"]
        assert {"event": "source removed", "source": "b", "log_level": "info"} in logs
        assert not [entry for entry in logs if entry["event"] == "source replaced"]
        assert not await site.metric(bridge, 'meshbridge_adapter_attempts_total{kind="inventory",source="b"}')


async def test_renamed_source_keeps_its_services_throughout(site: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(
        site.source("old", "vms.yaml"), rules=[{"match": {"source": "old"}, "set": {"host": "shop.mesh"}}]
    )

    async with site.connected() as (bridge, client):
        await eventually(lambda: site.held(client) == {"shop.mesh": ["10.0.0.1"]})
        site.inventory("vms.yaml", BROKEN)
        site.configure(
            site.source("new", "vms.yaml"), rules=[{"match": {"source": "new"}, "set": {"host": "shop.mesh"}}]
        )
        bridge.reloading.request()
        await eventually(lambda: bridge.view.sources()[0].name == "new" and bridge.view.sources()[0].error)
        assert bridge.view.generation == 1

        site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
        await eventually(lambda: bridge.view.generation > 1)
        assert next(bridge.view.services()).sources == ["new"]
        await eventually(lambda: site.held(client) == {"shop.mesh": ["10.0.0.1"]})


async def test_new_order_of_sources_is_new_precedence(site: Any, eventually: Any) -> None:
    for name in ("a", "b"):
        site.inventory(f"{name}.yaml", {"shop": ["10.0.0.1"]})
    sources = [site.source("a", "a.yaml"), site.source("b", "b.yaml")]
    rules = [{"set": {"host": "one.mesh"}}]
    site.configure(*sources, rules=rules)

    async with site.connected() as (bridge, client):
        await eventually(lambda: site.held(client))
        assert next(bridge.view.services()).sources == ["a", "b"]
        site.configure(*reversed(sources), rules=rules)
        bridge.reloading.request()
        await eventually(lambda: next(bridge.view.services()).sources == ["b", "a"])


async def test_invalid_file_is_refused_and_changes_nothing(site: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"))

    async with site.connected() as (bridge, client):
        await eventually(lambda: site.held(client))
        generation = bridge.view.generation
        with capture_logs() as logs:
            site.configure(site.source("other", "vms.yaml"), defaults={"hosst": "x"})
            bridge.reloading.request()
            await eventually(bridge.view.last_reload_error)

        assert "hosst" in bridge.view.last_reload_error()
        assert await reloads(site, bridge, "refused") >= 1
        assert [entry for entry in logs if entry["event"] == "reload refused"]
        assert [source.name for source in bridge.view.sources()] == ["vms"]
        assert bridge.view.generation == generation
        assert site.held(client) == {"shop.vms.mesh": ["10.0.0.1"]}

        site.configure(site.source("vms", "vms.yaml"))
        bridge.reloading.request()
        await eventually(lambda: bridge.view.last_reload_error() == "")
        assert await reloads(site, bridge, "unchanged") >= 1


async def test_adapter_that_can_not_be_made_refuses_the_whole_file(site: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"))
    probe = {"http": {"path": "/", "scheme": "https", "tls": {"ca_file": str(site.folder / "absent.pem")}}}

    async with site.running() as bridge:
        await bridge.view.wait_newer(0, 5.0)
        site.configure(
            site.source("vms", "vms.yaml", probe=probe),
            site.source("more", "vms.yaml"),
            rules=[{"drop": True}],
        )
        bridge.reloading.request()
        await eventually(bridge.view.last_reload_error)

        assert "source vms: probe.tls: a file can't be used" in bridge.view.last_reload_error()
        assert [source.name for source in bridge.view.sources()] == ["vms"]
        assert len(list(bridge.view.services())) == 1


async def test_bug_met_while_reading_a_file_keeps_the_old_one_in_force(
    site: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"))

    def odd(_self: object, _context: object) -> None:
        raise KeyError("weight")

    async with site.running() as bridge:
        await bridge.view.wait_newer(0, 5.0)
        monkeypatch.setattr(InventoryConfig, "build", odd)
        with capture_logs() as logs:
            site.configure(site.source("vms", "vms.yaml"), site.source("more", "vms.yaml"))
            bridge.reloading.request()
            await eventually(bridge.view.last_reload_error)

        assert bridge.view.last_reload_error() == "KeyError('weight')"
        assert [entry["exc_info"] for entry in logs if entry["event"] == "reload refused"]
        assert [source.name for source in bridge.view.sources()] == ["vms"]


async def test_bounds_of_the_guard_are_taken_up(site: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1", "10.0.0.2"]})
    site.configure(site.source("vms", "vms.yaml"))

    async with site.running() as bridge:
        await bridge.view.wait_newer(0, 5.0)
        site.configure(site.source("vms", "vms.yaml"), safety={"min_removed": 1, "max_removed_percent": 1})
        bridge.reloading.request()
        applied = bridge.publisher.mesh.guard("vms")
        await eventually(lambda: applied.settings.min_removed == 1)
        site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
        await eventually(lambda: bridge.view.sources()[0].held == 1)


async def test_parts_that_need_a_restart_are_named(site: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"))

    async with site.running() as bridge:
        with capture_logs() as logs:
            site.configure(
                site.source("vms", "vms.yaml"), log={"level": "debug"}, safety={"state_dir": str(site.state)}
            )
            bridge.reloading.request()
            await eventually(lambda: [entry for entry in logs if entry["event"] == "reloaded"])

    [entry] = [entry for entry in logs if entry["event"] == "reloaded"]
    assert entry["needs_restart"] == ["log", "safety.state_dir"]


async def test_running_program_reloads_on_sighup_and_stops_on_sigterm(
    site: Any, eventually: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"), log={"format": "json"})
    lines: list[dict[str, Any]] = []
    interval = sys.getswitchinterval()

    def said(event: str) -> list[dict[str, Any]]:
        lines.extend(map(json.loads, capsys.readouterr().err.splitlines()))
        return [line for line in lines if line["event"] == event]

    program = asyncio.create_task(serve(site.path), name="program")
    try:
        [started] = await eventually(lambda: said("started"))
        assert (started["sources"], started["mcp"][:10]) == (1, "127.0.0.1:")
        site.configure(site.source("vms", "vms.yaml"), defaults={"hosst": "x"})
        os.kill(os.getpid(), signal.SIGHUP)
        await eventually(lambda: said("reload refused"))
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(program, 5.0)
    finally:
        program.cancel()
        structlog.reset_defaults()
        sys.setswitchinterval(interval)
        gc.unfreeze()

    assert said("stopping")


async def test_bridge_without_a_file_has_nothing_to_reload(site: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"))

    async with running(load(site.path, {})) as bridge:
        bridge.reloading.request()
        assert await bridge.view.wait_newer(0, 5.0) == 1
        assert await reloads(site, bridge, "unchanged") == 0


@pytest.mark.parametrize("state", ["synced", "stale"])
async def test_probes_can_be_switched_on(site: Any, eventually: Any, state: str) -> None:
    site.inventory("vms.yaml", {"shop": ["127.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"))

    async with site.running() as bridge:
        await bridge.view.wait_newer(0, 5.0)
        if state == "stale":
            site.inventory("vms.yaml", BROKEN)
            await eventually(lambda: bridge.view.sources()[0].state == "stale")
        site.configure(site.source("vms", "vms.yaml", probe={"tcp": {}, "interval": "1s"}))
        bridge.reloading.request()
        await eventually(lambda: "probes" in bridge.view.sources()[0].details)

        assert len(list(bridge.view.services())) == 1
