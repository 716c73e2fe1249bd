"""The demo: the whole bridge on a made-up inventory, with nothing else needed.

A few HTTP services on loopback play VMs. An inventory lists them, one as a canary by its version label.
The bridge probes them, and a client that behaves like istiod follows what is served. Then one VM stops.
"""

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import yaml
from aiohttp import web

from meshbridge.bridge import logs
from meshbridge.bridge.app import Bridge, running
from meshbridge.bridge.cli.kinds import find
from meshbridge.bridge.cli.output import print_lines, print_table
from meshbridge.bridge.config.loading import load
from meshbridge.bridge.config.models import Log
from meshbridge.mcp.client import IstiodClient
from meshbridge.schemas.istio import ServiceEntry
from meshbridge.schemas.resource import Kind

SERVICES: Mapping[str, tuple[str, ...]] = {"shop": ("v1", "v1", "v2"), "payments": ("v1", "v1")}
"""Service to the versions of its VMs; v2 of the shop is the canary."""

SERVICE_ENTRIES = "networking.istio.io/v1/ServiceEntry"
_PATIENCE = 20.0
"""Seconds that a step of the show may take before it has failed."""


def run(once: bool) -> int:
    """Run the demo and return the exit code; with `once` it ends by itself."""
    logs.configure(Log(level="warning"))
    try:
        return asyncio.run(_show(once))
    except TimeoutError:
        print_lines(
            ["", f"The demo got stuck: what should have happened did not within {_PATIENCE:g} seconds."]
        )
        return 1


async def _show(once: bool) -> int:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshbridge-demo-")))
        vms = {
            f"{service}-{index}": await stack.enter_async_context(_vm(service, version))
            for service, versions in SERVICES.items()
            for index, version in enumerate(versions)
        }
        config = _write_config(folder, vms, ports=(0, 0) if once else (16010, 16080))
        bridge = await stack.enter_async_context(running(load(config), config))
        client = await stack.enter_async_context(IstiodClient(bridge.mcp_address))
        await client.wait_for(lambda held: _endpoints(held, "shop") == len(SERVICES["shop"]), _PATIENCE)
        print_lines([f"{len(vms)} local services play VMs; the inventory is {folder}/vms.yaml.", ""])
        _print_entries(bridge)
        await _stop_one(vms["shop-0"], client)
        _print_entries(bridge)
        if not once:
            await _serve_on(bridge)
    return 0


class Vm:
    """One HTTP service."""

    def __init__(self, version: str, port: int, runner: web.AppRunner) -> None:
        self.version = version
        self.port = port
        self._runner = runner

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()


@asynccontextmanager
async def _vm(service: str, version: str) -> AsyncIterator[Vm]:
    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text=f"{service} {version}\n")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield Vm(version, runner.addresses[0][1], runner)
    finally:
        await runner.cleanup()


def _write_config(folder: Path, vms: Mapping[str, Vm], ports: tuple[int, int]) -> Path:
    """Write an inventory of the VMs and a configuration that uses it; return the latter."""
    inventory = [
        {
            "name": service,
            "protocol": "http",
            "instances": [
                {"address": "127.0.0.1", "port": vm.port, "version": vm.version, "zone": "eu-1a"}
                for name, vm in vms.items()
                if name.rpartition("-")[0] == service
            ],
        }
        for service in SERVICES
    ]
    (folder / "vms.yaml").write_text(yaml.safe_dump({"services": inventory}, sort_keys=False))
    probe = {"http": {"path": "/"}, "interval": "1s", "timeout": "500ms", "fall": 2}
    ports_rule = {"match": {"source": "vms"}, "set": {"ports": {"http": 80}}}
    config = {
        "sources": [
            {"name": "vms", "kind": "inventory", "files": [str(folder / "vms.yaml")], "probe": probe}
        ],
        "rules": [ports_rule],
        "defaults": {"region": "eu"},
        "outputs": {"mcp": {"listen": f"127.0.0.1:{ports[0]}"}},
        "admin": {"listen": f"127.0.0.1:{ports[1]}"},
    }
    path = folder / "meshbridge.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def _endpoints(client: IstiodClient, service: str) -> int:
    """Return how many endpoints the client holds of a service."""
    held = client.entries.get(SERVICE_ENTRIES, {}).get(f"meshbridge/{service}.vms.mesh")
    spec = held.spec if held else None
    return len(spec.endpoints) if isinstance(spec, ServiceEntry) else 0


async def _stop_one(vm: Vm, client: IstiodClient) -> None:
    stopped = time.monotonic()
    await vm.stop()
    print_lines(["", f"Stopped the VM on port {vm.port} (shop, {vm.version}) ..."])
    await client.wait_for(lambda held: _endpoints(held, "shop") == len(SERVICES["shop"]) - 1, _PATIENCE)
    took = time.monotonic() - stopped
    print_lines(
        [f"... {took:.1f} s later its endpoint has left every client (probes: 1s apart, 2 to fail).", ""]
    )


def _print_entries(bridge: Bridge) -> None:
    listing = find("serviceentries")
    assert listing is not None  # noqa: S101 - a name of our own
    items = [msgspec.to_builtins(found) for found in bridge.view.resources(Kind.SERVICE_ENTRY)]
    print_table(listing.headers, [listing.row(item, time.time()) for item in items])


async def _serve_on(bridge: Bridge) -> None:
    program = sys.argv[0]
    print_lines(
        [
            "",
            f"Serving MCP on {bridge.mcp_address} and the admin interface on {bridge.admin_address}.",
            "In another terminal:",
            f"  {program} get serviceentries -o yaml",
            f"  {program} explain shop.vms.mesh",
            f"  {program} client {bridge.mcp_address}",
            "Ctrl-C stops it.",
        ]
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
