import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from meshbridge.bridge import demo
from meshbridge.bridge.app import Bridge, running
from meshbridge.bridge.config.loading import load
from meshbridge.mcp.client import IstiodClient
from meshbridge.schemas.istio import ServiceEntry
from meshbridge.schemas.resource import Kind

MAIN = "from meshbridge.bridge.cli import main; main()"


async def command(*words: str) -> tuple[int, str, str]:
    """Run `meshbridge` and return its exit code and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MAIN, *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "200"},
    )
    async with asyncio.timeout(30.0):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_demo_shows_the_services_and_how_an_endpoint_leaves() -> None:
    code, out, err = await command("demo", "--once")

    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("5 local services play VMs")
    shop = [line for line in lines if "shop.vms.mesh" in line]
    assert [re.findall(r"\b\d/\d\b", line) for line in shop] == [["3/3"], ["2/3"]]
    assert [line for line in lines if line.startswith("NAMESPACE")]
    assert [line for line in lines if "its endpoint has left every client" in line]


class Show:
    """The demo's bridge and VMs, with a client."""

    def __init__(self, bridge: Bridge, client: IstiodClient, vms: Mapping[str, demo.Vm]) -> None:
        self.bridge = bridge
        self.client = client
        self.vms = vms

    def addresses(self, name: str) -> set[int]:
        """Return the ports of a service's endpoints, as the client holds them."""
        held = self.client.entries[demo.SERVICE_ENTRIES].get(f"meshbridge/{name}.vms.mesh")
        spec = held.spec if held else None
        return {e.ports["http"] for e in spec.endpoints} if isinstance(spec, ServiceEntry) else set()


@pytest.fixture
async def show(tmp_path: Path) -> AsyncIterator[Show]:
    async with AsyncExitStack() as stack:
        vms = {
            f"{service}-{number}": await stack.enter_async_context(demo._vm(service, version))
            for service, versions in demo.SERVICES.items()
            for number, version in enumerate(versions)
        }
        path = demo._write_config(tmp_path, vms, ports=(0, 0))
        bridge = await stack.enter_async_context(running(load(path), path))
        client = await stack.enter_async_context(IstiodClient(bridge.mcp_address))
        yield Show(bridge, client, vms)


async def test_every_entry_of_the_demo_is_valid_by_istios_schema(
    show: Show, eventually: Any, validate_crd: Callable[[Mapping[str, Any]], None]
) -> None:
    await eventually(lambda: len(show.addresses("shop")) == 3)

    code, out, _ = await command(
        "get", "serviceentries", "-o", "yaml", "--admin", f"http://{show.bridge.admin_address}"
    )

    assert code == 0
    found = list(yaml.safe_load_all(out))
    entries = [item for one in found for item in (one["items"] if one.get("kind") == "List" else [one])]
    assert {entry["metadata"]["name"] for entry in entries} == {"shop.vms.mesh", "payments.vms.mesh"}
    for entry in entries:
        validate_crd(entry)
    canary = [e for entry in entries for e in entry["spec"]["endpoints"] if e["labels"]["version"] == "v2"]
    assert len(canary) == 1


async def test_endpoint_leaves_the_client_within_a_second_of_the_probes_verdict(
    show: Show, eventually: Any
) -> None:
    await eventually(lambda: len(show.addresses("shop")) == 3)
    gone = show.vms["shop-0"]
    publisher = show.bridge.publisher

    def served() -> int:
        groups = publisher.mesh.catalog.groups("vms")
        return sum(i.health.is_served for one in groups for i in one.instances if one.key.name == "shop")

    await gone.stop()
    await eventually(lambda: served() == 2, within=10.0)
    verdict = time.monotonic()
    await eventually(lambda: gone.port not in show.addresses("shop"), within=1.0)

    assert time.monotonic() - verdict < 1.0
    assert len(show.addresses("shop")) == 2
    assert {entry.total for entry in show.bridge.view.resources(Kind.SERVICE_ENTRY)} == {2, 3}


async def test_demo_serves_on_until_it_is_told_to_stop(
    show: Show, eventually: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    serving = asyncio.create_task(demo._serve_on(show.bridge), name="serving")
    out = ""

    def told() -> bool:
        nonlocal out
        out += capsys.readouterr().out
        return "Ctrl-C stops it." in out

    await eventually(told)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, 5.0)

    assert f" client {show.bridge.mcp_address}" in out


def test_demo_that_gets_stuck_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def never(_vm: object, client: IstiodClient) -> None:
        await client.wait_for(lambda _: False, 0.01)

    monkeypatch.setattr(demo, "_stop_one", never)

    assert demo.run(once=True) == 1

    structlog.reset_defaults()
    assert "The demo got stuck" in capsys.readouterr().out
