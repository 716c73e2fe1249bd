"""What a bridge as its users run it needs for changes of a real ZooKeeper, up to a client that has them.

    python tests/benchmarks/whole_way.py [--json FILE] [--quick]

`meshbridge run` is a process, so is the client, which asks and acknowledges as istiod does. The registry
holds 1,000 Dubbo services of 10 providers. The peer beside it is the best of four other bridges, measured
on this work on two shared cores. It too sends every service at each change, as istiod wants it.

| figure | floor |
|---|---|
| start: from the command to a client that holds everything | - |
| one change: node created or deleted to response received | kazoo's watch, then bare gRPC with these bytes |
| storm: 500 nodes created, a millisecond or two apart | - |

It starts ZooKeeper as the tests of integration/ do; without one it says so and exits with 75.
"""

import argparse
import asyncio
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).parents[2]))

from integration.processes import free_ports
from integration.zookeeper.process import Ensemble, missing
from integration.zookeeper.writer import Writer
from tests.benchmarks.mcp import ECHO, Echo
from tests.benchmarks.processes import Client, Process, bridge
from tests.benchmarks.zookeeper import INSTANCES, dubbo_nodes

SERVICES = 1_000
STORM = 500
STORM_GAP = 0.002
"""Seconds between two changes of the storm."""
QUIET = 0.4
"""Seconds between single changes: each finds the client at rest."""

Figures = dict[str, float]

PEER = {
    "start": "4.15 s",
    "memory": "170 MB",
    "change": "62 ms",
    "change_p99": "83 ms",
    "change_cpu": "80 ms",
    "storm_pushes": "170",
    "storm_cpu": "15.5 s",
    "storm": "490 ms",
    "storm_p99": "1240 ms",
}


def source(hosts: str) -> Mapping[str, Any]:
    """Return the bridge's source."""
    roots = [{"path": "/dubbo", "layout": "dubbo"}]
    return {"name": "dubbo", "kind": "zookeeper", "hosts": hosts, "roots": roots}


def node(service: int, number: int) -> tuple[str, str]:
    """Return the path of one more provider of a service, and its address."""
    interface, address = f"com.acme.shop.Service{service}", f"10.200.{number >> 8}.{number & 255}"
    url = f"dubbo://{address}:20880/{interface}?application=more&interface={interface}&side=provider"
    return f"/dubbo/{interface}/providers/{quote(url + '&version=1.2.0', safe='')}", address


async def changes(
    writer: Writer, client: Client, process: Process, services: int, count: int, figures: Figures
) -> None:
    """Measure providers that come and go, one at a time."""
    took = []
    cpu = process.cpu
    for number in range(count):
        path, address = node(number * 7 % services, number)
        for change, present in ((writer.client.create_async, True), (writer.client.delete_async, False)):
            await client.forget()
            started = time.monotonic()
            change(path)
            took.append(await client.seen(address, present=present) - started)
            await asyncio.sleep(QUIET)
    figures["change_cpu"] = (process.cpu - cpu) / len(took)
    figures["change"], figures["change_p99"] = statistics.median(took), p99(took)


async def storm(writer: Writer, client: Client, process: Process, services: int, figures: Figures) -> None:
    """Measure many providers that come within a second."""
    await client.forget()
    started, cpu = {}, process.cpu
    for number in range(STORM):
        path, address = node(number % services, number)
        started[address] = time.monotonic()
        writer.client.create_async(path)
        await asyncio.sleep(STORM_GAP)
    took = [await client.seen(address) - at for address, at in started.items()]
    await asyncio.sleep(1.0)
    figures["storm_cpu"], figures["storm_pushes"] = process.cpu - cpu, await client.count()
    figures["storm"], figures["storm_p99"] = statistics.median(took), p99(took)


async def floor(writer: Writer, hosts: str, size: int, count: int) -> list[float]:
    """Return the seconds for a watch of kazoo to be told, and for bare gRPC to bring so many bytes."""
    told, sent = await watch_floor(writer, hosts, count), await grpc_floor(size, count)
    return [watch + push for watch, push in zip(told, sent, strict=True)]


async def watch_floor(writer: Writer, hosts: str, count: int) -> list[float]:
    """Return the seconds from a node to a callback of another session."""
    loop, fired, took = asyncio.get_running_loop(), asyncio.Event(), []
    await writer.put("/floor")

    def callback(_names: list[str]) -> None:
        loop.call_soon_threadsafe(fired.set)

    async with Writer(hosts) as other:
        await asyncio.to_thread(other.client.ChildrenWatch, "/floor", callback)
        for number in range(count):
            fired.clear()
            started = time.monotonic()
            writer.client.create_async(f"/floor/{number}")
            await fired.wait()
            took.append(time.monotonic() - started)
            await asyncio.sleep(0.01)
    return took


async def grpc_floor(size: int, count: int) -> list[float]:
    """Return the seconds that a gRPC server which does nothing else takes for so many bytes."""
    echo, took = Echo(os.urandom(size)), []
    port = await echo.start()
    async with Client(port, ECHO) as client:
        await client.synced()
        for number in range(count):
            await client.forget()
            started = await echo.change(number)
            took.append(await client.seen("never there", present=False) - started)
            await asyncio.sleep(0.01)
    await echo.stop()
    return took


def p99(found: list[float]) -> float:
    """Return what one in a hundred is above."""
    return sorted(found)[math.ceil(len(found) * 0.99) - 1]


async def measure(services: int, count: int) -> Figures:
    """Return all figures."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with Ensemble(folder) as ensemble, Writer(ensemble.hosts) as writer:
            await writer.put_many(dubbo_nodes(services))
            (port,) = free_ports(1)
            async with Client(port) as client:
                await client.count()  # It has started, and waits for the bridge.
                started = time.monotonic()
                async with bridge(folder, port, [source(ensemble.hosts)]) as process:
                    at, figures["response_bytes"] = await client.synced()
                    figures["start"] = at - started
                    await asyncio.sleep(1.0)
                    await changes(writer, client, process, services, count, figures)
                    await storm(writer, client, process, services, figures)
                    figures["memory"] = process.peak
            floors = await floor(writer, ensemble.hosts, int(figures["response_bytes"]), 2 * count)
            figures["change_floor"], figures["change_p99_floor"] = statistics.median(floors), p99(floors)
    return figures


ROWS = (
    ("start", "command to a client that holds everything", 1, "s"),
    ("memory", "resident memory at most", 1e-6, "MB"),
    ("change", "one change received, p50", 1e3, "ms"),
    ("change_p99", "one change received, p99", 1e3, "ms"),
    ("change_cpu", "CPU for one change", 1e3, "ms"),
    ("storm_pushes", f"storm of {STORM} changes: responses", 1, ""),
    ("storm_cpu", "storm: CPU", 1, "s"),
    ("storm", "storm: a change received, p50", 1e3, "ms"),
    ("storm_p99", "storm: a change received, p99", 1e3, "ms"),
)


def table(services: int, figures: Figures) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield f"| {services:,} Dubbo services of {INSTANCES}, ZooKeeper | measured | floor | ratio | best peer |"
    yield "|---|---|---|---|---|"
    for key, text, factor, unit in ROWS:
        lowest = figures.get(f"{key}_floor")
        beside = f"{lowest * factor:.3g} {unit} | {figures[key] / lowest:.2f}" if lowest else " | "
        yield f"| {text} | {figures[key] * factor:.3g} {unit} | {beside} | {PEER.get(key, '')} |"
    yield f"| bytes of each response | {figures['response_bytes'] / 1e6:.2f} MB | | | |"


def main() -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file, too")
    parser.add_argument("--quick", action="store_true", help="fewer services and changes")
    arguments = parser.parse_args()
    if reason := missing():
        print(reason)
        return 75
    services, count = (200, 5) if arguments.quick else (SERVICES, 50)
    figures = asyncio.run(measure(services, count))
    print("\n".join(table(services, figures)))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
