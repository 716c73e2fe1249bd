import asyncio
import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from meshbridge.adapters.inventory.settings import InventoryConfig
from meshbridge.bridge.check import SourceCheck, check_sources
from meshbridge.bridge.config.loading import load
from meshbridge.schemas.errors import ConfigError
from meshbridge.schemas.registry import FullSync


async def checked(site: Any, within: float = 5.0) -> list[SourceCheck]:
    return (await check_sources(load(site.path, {}), within)).sources


async def test_good_source_has_no_problems_and_nothing_is_left_running(site: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1", "10.0.0.2"], "pay": ["10.0.0.3"]})
    site.configure(site.source("vms", "vms.yaml"))
    before = asyncio.all_tasks()

    assert await checked(site) == [SourceCheck("vms", "inventory", ok=True, services=2, instances=3)]
    assert asyncio.all_tasks() == before


async def test_source_that_can_not_be_read_says_why_and_others_are_read(site: Any) -> None:
    site.inventory("good.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("good", "good.yaml"), site.source("bad", "absent.yaml"))

    good, bad = await checked(site)

    assert good.ok
    assert (bad.ok, bad.services) == (False, 0)
    assert bad.error.startswith("read: ")
    assert "absent.yaml" in bad.error


async def test_slow_source_is_given_up(site: Any) -> None:
    command = ["sleep", "60"]
    site.configure({"name": "slow", "kind": "inventory", "commands": [command], "timeout": "60s"})
    started = time.monotonic()

    [slow] = await checked(site, within=0.1)

    assert slow.error == "not read within 0.1 seconds"
    assert time.monotonic() - started < 5.0


async def test_everything_that_would_be_left_out_is_told_once(site: Any) -> None:
    listed = """
services:
  - {name: shop, port: 80, instances: [{address: 10.0.0.1}, {address: 10.0.0.2, port: 0}]}
  - {name: other, port: 81, instances: [{address: 10.0.0.3}]}
  - {name: pay, port: 80, instances: [{address: 10.0.0.4}]}
"""
    site.inventory("vms.yaml", listed)
    site.configure(
        site.source("vms", "vms.yaml"),
        rules=[
            {"match": {"service": ["shop", "other"]}, "set": {"host": "one.mesh"}},
            {"match": {"service": "pay"}, "set": {"export_to": [".", "*"]}},
        ],
    )

    [check] = await checked(site)

    assert check.ok
    said = "\n".join(check.problems)
    assert said.count("shop: ") == 1
    assert said.count("map to this one host") == 1
    assert said.count("exportTo") == 1


async def test_source_that_fails_unforeseen_is_no_good_source(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from meshbridge.adapters.inventory.adapter import InventoryAdapter

    async def odd(_self: object, _emit: object) -> None:
        raise KeyError("weight")

    monkeypatch.setattr(InventoryAdapter, "run", odd)
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"))

    with capture_logs() as logs:
        [check] = await checked(site)

    assert (check.ok, check.error) == (False, "bug: KeyError: 'weight'")
    assert [entry["event"] for entry in logs] == ["adapter failed"]


async def test_source_that_can_not_be_made_says_what_is_missing(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(_self: object, _context: object) -> None:
        raise ConfigError(["a library is not installed"])

    monkeypatch.setattr(InventoryConfig, "build", lacking)
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"))

    with capture_logs() as logs:
        [check] = await checked(site)

    assert (check.ok, check.error) == (False, "a library is not installed")
    assert logs == []


async def test_source_that_has_nothing_says_that_it_would_not_be_believed(
    site: Any, monkeypatch: Any
) -> None:
    async def run(_self: object, emit: Any) -> None:
        await emit(FullSync((), 0.0))
        await asyncio.Event().wait()

    monkeypatch.setattr("meshbridge.adapters.inventory.adapter.InventoryAdapter.run", run)
    site.configure(site.source("vms", "vms.yaml"), site.source("new", "vms.yaml", allow_empty=True))

    vms, new = await checked(site)

    assert vms.ok
    assert ["release vms" in problem for problem in vms.problems] == [True]
    assert new.problems == []
