"""The commands of operators against a whole bridge."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner, Result

from meshbridge.bridge.cli.program import app


@pytest.fixture(autouse=True)
def logs_are_reset() -> Iterator[None]:
    """Commands send logs to the standard error of their time."""
    yield
    structlog.reset_defaults()


async def command(*arguments: str) -> Result:
    """Run a command beside the bridge."""
    return await asyncio.to_thread(CliRunner().invoke, app, arguments)


async def test_instances_are_listed_by_source_service_and_id(site: Any, eventually: Any) -> None:
    site.inventory("b.yaml", {"shop": ["10.0.0.2", "10.0.0.1"], "pay": ["10.0.0.3"]})
    site.inventory("a.yaml", {"shop": ["10.0.0.4"]})
    site.configure(site.source("b", "b.yaml"), site.source("a", "a.yaml"))

    async with site.connected() as (bridge, client):
        await eventually(lambda: len(site.held(client)) == 3)
        result = await command("get", "instances", "--admin", f"http://{bridge.admin_address}")

    found = [line.split()[:4:3] + line.split()[1:2] for line in result.stdout.splitlines()[1:]]
    assert found == [
        ["a", "10.0.0.4", "shop"],
        ["b", "10.0.0.3", "pay"],
        ["b", "10.0.0.1", "shop"],
        ["b", "10.0.0.2", "shop"],
    ]


async def test_preflight_finds_a_bridge_that_answers(site: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"))

    async with site.connected() as (bridge, _):
        admin = f"http://{bridge.admin_address}"
        result = await command("preflight", "--admin", admin, "--server", bridge.mcp_address)

    assert f"ok       {bridge.mcp_address} answers as an MCP server" in result.stdout
    assert "ok       1 connected, of revision default" in result.stdout
    assert result.exit_code == 0


async def test_preflight_fails_for_a_bridge_that_holds_its_answers(site: Any) -> None:
    site.configure(site.source("vms", "missing.yaml"))

    async with site.running() as bridge:
        admin = f"http://{bridge.admin_address}"
        result = await command("preflight", "--admin", admin, "--server", bridge.mcp_address, "--wait", "0.3")

    assert "gave no answers within 0.3s" in result.stdout
    assert "holds its answers until it has read vms" in result.stdout
    assert result.exit_code == 1
