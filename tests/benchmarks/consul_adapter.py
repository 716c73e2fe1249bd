#!/usr/bin/env python3
"""Measures the Consul adapter against a real server, with floors measured in the same run.

    python integration/consul/fetch.py               # once
    PYTHONPATH=. python tests/benchmarks/consul_adapter.py [--services 5000] [--instances 20] [--json FILE]

| figure | floor |
|---|---|
| first read of everything to the FullSync | a bare sweep, 8 at a time, decoded with the same JSON library |
| one change of a hot service to its event, p50 | a bare waiting query for that service |
| the server's CPU while nothing changes | the same without us: a large Consul is never quite idle |
| most connections at once | the budget |
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec

from integration.consul.agents import Agent
from integration.consul.fetch import BUILT, VERSIONS
from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.consul.settings import ConsulConfig
from meshbridge.schemas.registry import FullSync, GroupUpdate, SourceEvent

CHANGES = 60
BATCH = 20
"""Registrations in one transaction: a node, a service and a check each."""
IDLE, WINDOWS, ROUNDS = 15.0, 2, 2
"""Seconds of a window, windows in a row with us and without, and how often."""
PARALLEL = 8


def operations(service: int, instance: int) -> list[dict[str, object]]:
    """Return what registers one instance."""
    node, name = f"node-{(service * 7 + instance) % 500}", f"service-{service}"
    id_ = f"{name}-{instance}"
    made = {
        "ID": id_,
        "Service": name,
        "Address": f"10.{service >> 8}.{service & 255}.{instance + 1}",
        "Port": 8080,
        "Tags": ["prod", f"v{instance % 3}"],
        "Meta": {"version": f"v{instance % 3}", "team": f"team-{service % 50}"},
    }
    check = {"Node": node, "CheckID": f"c-{id_}", "Name": "up", "Status": "passing", "ServiceID": id_}
    return [
        {"Node": {"Verb": "set", "Node": {"Node": node, "Address": "10.255.0.1"}}},
        {"Service": {"Verb": "set", "Node": node, "Service": made}},
        {"Check": {"Verb": "set", "Check": check}},
    ]


async def load(agent: Agent, services: int, instances: int) -> None:
    """Register everything."""
    pairs = [(service, instance) for service in range(services) for instance in range(instances)]
    async with aiohttp.ClientSession() as http:
        for start in range(0, len(pairs), BATCH):
            body = [op for pair in pairs[start : start + BATCH] for op in operations(*pair)]
            async with http.put(f"{agent.url}/v1/txn", data=json.dumps(body)) as answer:
                assert answer.status == 200, await answer.text()


async def bare_sweep(agent: Agent, services: int) -> float:
    """Return the seconds to read every service, 8 at a time, and to decode the answers."""
    names = iter(range(services))
    started = time.perf_counter()
    async with aiohttp.ClientSession() as http:

        async def work() -> None:
            for number in names:
                async with http.get(f"{agent.url}/v1/health/service/service-{number}?stale") as answer:
                    msgspec.json.decode(await answer.read())

        await asyncio.gather(*(work() for _ in range(PARALLEL)))
    return time.perf_counter() - started


async def bare_wait(agent: Agent, change: Callable[[int], Awaitable[None]]) -> float:
    """Return the median seconds from a change to the answer of a waiting query."""
    seen = []
    async with aiohttp.ClientSession() as http:
        url = f"{agent.url}/v1/health/service/service-0?stale"
        async with http.get(url) as answer:
            index = answer.headers["X-Consul-Index"]
        for number in range(CHANGES):

            async def ask(index: str = index) -> tuple[str, float]:
                async with http.get(f"{url}&index={index}&wait=60s") as answer:
                    msgspec.json.decode(await answer.read())
                    return answer.headers["X-Consul-Index"], time.perf_counter()

            asked = asyncio.create_task(ask())
            await asyncio.sleep(0.3)
            started = time.perf_counter()
            await change(number)
            index, at = await asked
            seen.append(at - started)
    return statistics.median(seen)


class Adapter:
    """The adapter, and when it said what."""

    def __init__(self, agent: Agent, connections: int) -> None:
        config = ConsulConfig(name="consul", address=agent.url, connections=connections)
        self._adapter = config.build(AdapterContext("consul"))
        self.synced = asyncio.Event()
        self.updates: asyncio.Queue[tuple[str, float]] = asyncio.Queue()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch, from the first FullSync on."""
        task = asyncio.create_task(self._adapter.run(self._emit))
        try:
            await self.synced.wait()
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _emit(self, event: SourceEvent) -> None:
        if isinstance(event, FullSync):
            self.synced.set()
        elif isinstance(event, GroupUpdate):
            self.updates.put_nowait((event.group.key.name, time.perf_counter()))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def connections_to(agent: Agent) -> int:
    """Return how many connections to the agent are established, seen from our side."""
    port = int(agent.url.rpartition(":")[2])
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines)


async def measure(version: str, services: int, instances: int, connections: int) -> dict[str, float]:
    """Return all figures of one release."""
    figures: dict[str, float] = {"services": services, "instances": services * instances}
    with tempfile.TemporaryDirectory() as folder:
        async with Agent(version, Path(folder)) as agent:
            await load(agent, services, instances)

            async def change(number: int) -> None:
                body = operations(0, 0)
                body[1]["Service"]["Service"]["Port"] = 9000 + number  # type: ignore[index]
                await agent.call("PUT", "/v1/txn", body)

            floors, loads = [], []
            for _ in range(3):
                floors.append(await bare_sweep(agent, services))
                loads.append(await first_read(agent, connections))
            figures |= {"load": statistics.median(loads), "load_floor": statistics.median(floors)}
            figures["change_floor"] = await bare_wait(agent, change)
            watching = asyncio.create_task(most_connections(agent, most := [0]))
            figures["change"] = await hot_change(agent, connections, change)
            figures |= await idle(agent, connections)
            watching.cancel()
            await asyncio.wait([watching])
            figures["connections"] = most[0]
    return figures


async def most_connections(agent: Agent, most: list[int]) -> None:
    """Keep the most connections that were open at once, until cancelled."""
    while True:
        most[0] = max(most[0], connections_to(agent))
        await asyncio.sleep(0.25)


async def hot_change(agent: Agent, connections: int, change: Callable[[int], Awaitable[None]]) -> float:
    """Return the median seconds from a change of a service that is waited for to its event."""
    adapter = Adapter(agent, connections)
    seen = []
    async with adapter.running():
        await change(-1)
        await adapter.updates.get()
        await asyncio.sleep(2)
        for number in range(CHANGES):
            started = time.perf_counter()
            await change(number)
            seen.append((await adapter.updates.get())[1] - started)
            await asyncio.sleep(0.3)
    return statistics.median(seen)


async def idle(agent: Agent, connections: int) -> dict[str, float]:
    """Return the server's share of a core while nothing changes, with us and without, in turn."""
    found: dict[str, list[float]] = {"idle": [], "idle_floor": []}

    async def look(name: str) -> None:
        await asyncio.sleep(5)  # For what the server has to clear up.
        for _ in range(WINDOWS):
            before, at = cpu_seconds(agent.pid), time.monotonic()
            await asyncio.sleep(IDLE)
            found[name].append((cpu_seconds(agent.pid) - before) / (time.monotonic() - at))

    for _ in range(ROUNDS):
        await look("idle_floor")
        async with Adapter(agent, connections).running():
            await look("idle")
    return {name: statistics.median(values) for name, values in found.items()}


async def first_read(agent: Agent, connections: int) -> float:
    """Return the seconds from the start of an adapter to its FullSync."""
    adapter = Adapter(agent, connections)
    started = time.perf_counter()
    async with adapter.running():
        return time.perf_counter() - started


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description="Measure the Consul adapter against a real server.")
    parser.add_argument("--services", type=int, default=5000)
    parser.add_argument("--instances", type=int, default=20, help="of each service")
    parser.add_argument("--connections", type=int, default=150, help="the budget")
    parser.add_argument("--version", choices=VERSIONS, default=BUILT)
    parser.add_argument("--json", type=Path, help="write all figures to this file, too")
    given = parser.parse_args()
    found = asyncio.run(measure(given.version, given.services, given.instances, given.connections))
    print = sys.stdout.write
    print(f"consul {given.version}, {given.services:,} services, {int(found['instances']):,} instances\n")
    for name, unit, factor in (("load", "s", 1.0), ("change", "ms", 1e3)):
        measured, floor = found[name] * factor, found[f"{name}_floor"] * factor
        print(f"{name}: {measured:.2f} {unit}, floor {floor:.2f} {unit}, ratio {measured / floor:.2f}\n")
    ours = found["idle"] - found["idle_floor"]
    print(f"idle: {found['idle']:.2%} of a core, without us {found['idle_floor']:.2%}, ours {ours:.2%}\n")
    print(f"connections: {int(found['connections'])} of {given.connections}\n")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
