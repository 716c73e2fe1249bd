"""What the ZooKeeper adapter costs on a real server, beside what the client alone costs in the same run.

    python tests/benchmarks/zookeeper.py [--json FILE] [--quick]

| figure | floor |
|---|---|
| load: run() to the first FullSync, 2,000 services of 10 | bulk reads of the same nodes and lists alone |
| mirror: the same to the mirror filled, before a layout looks at it | the same |
| event: node created to its group emitted, p50 | the same to a ChildrenWatch callback of kazoo |
| flood: 1,000 changes a second, lag of the last fifth of the time against the first | - |
| memory: resident after the load, per instance, above that of an adapter with an empty root | - |

Of Dubbo's providers the adapter reads the names alone; "names" is the floor of just that.

It starts ZooKeeper as the tests of integration/ do; without one it says so and exits with 75.
"""

import argparse
import asyncio
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).parents[2]))

from integration.zookeeper.process import Ensemble, missing
from integration.zookeeper.writer import Writer
from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.zookeeper import wire
from meshbridge.adapters.zookeeper.endpoint import endpoint
from meshbridge.adapters.zookeeper.kazoo_session import KazooSession
from meshbridge.adapters.zookeeper.settings import ZookeeperConfig
from meshbridge.adapters.zookeeper.tree import Mirror
from meshbridge.adapters.zookeeper.walk import Walk
from meshbridge.schemas.registry import FullSync, SourceEvent, SourceReport

SERVICES, INSTANCES = 2_000, 10
RUNS = 5


def dubbo_nodes(services: int) -> dict[str, bytes]:
    """Return providers as Dubbo 2.7 writes them: everything is in the name."""
    nodes: dict[str, bytes] = {"/dubbo": b""}
    for number in range(services):
        interface = f"com.acme.shop.Service{number}"
        nodes[f"/dubbo/{interface}"] = b"127.0.0.1"
        for category in ("providers", "configurators"):
            nodes[f"/dubbo/{interface}/{category}"] = b"127.0.0.1"
        for instance in range(INSTANCES):
            address = f"10.{number >> 8}.{number & 255}.{instance + 1}:20880"
            url = (
                f"dubbo://{address}/{interface}?anyhost=true&application=shop-{number % 200}&deprecated=false"
                f"&dubbo=2.0.2&dynamic=true&generic=false&interface={interface}&methods=find,save,remove"
                f"&pid={1000 + instance}&release=2.7.23&revision=1.2.0&side=provider"
                f"&timestamp={1795435373016 + number * 10 + instance}&version=1.2.0&weight=100"
            )
            nodes[f"/dubbo/{interface}/providers/{quote(url, safe='')}"] = b"127.0.0.1"
    return nodes


def curator_nodes(services: int) -> dict[str, bytes]:
    """Return instances as Spring Cloud writes them: JSON in the data."""
    nodes: dict[str, bytes] = {"/services": b""}
    for number in range(services):
        name = f"shop-{number}"
        nodes[f"/services/{name}"] = b""
        for instance in range(INSTANCES):
            record = {
                "name": name,
                "id": f"{number:08x}-da79-4e43-a137-{instance:012x}",
                "address": f"10.{number >> 8}.{number & 255}.{instance + 1}",
                "port": 8080,
                "sslPort": None,
                "payload": {
                    "@class": "org.springframework.cloud.zookeeper.discovery.ZookeeperInstance",
                    "id": name,
                    "name": name,
                    "metadata": {"instance_status": "UP", "version": "1.2.0", "zone": f"eu-{instance % 3}"},
                },
                "registrationTimeUTC": 1795435373016,
                "serviceType": "DYNAMIC",
            }
            nodes[f"/services/{name}/{record['id']}"] = json.dumps(record).encode()
    return nodes


ROOTS: dict[str, dict[str, object]] = {
    "dubbo": {"path": "/dubbo", "layout": "dubbo"},
    "curator": {"path": "/services", "layout": "curator"},
}


def config_of(hosts: str, root: Mapping[str, object]) -> ZookeeperConfig:
    return ZookeeperConfig.model_validate(
        {"name": "bench", "hosts": hosts, "roots": [root], "session_timeout": "4s"}
    )


class Watching:
    """Runs the adapter and notes when what was said."""

    def __init__(self, config: ZookeeperConfig) -> None:
        self.events: list[tuple[float, SourceEvent]] = []
        self.synced = asyncio.Event()
        self.told = asyncio.Event()
        self.task = asyncio.create_task(config.build(AdapterContext("bench")).run(self._emit))

    async def _emit(self, event: SourceEvent) -> None:
        if not isinstance(event, SourceReport):
            self.events.append((time.perf_counter(), event))
            self.told.set()
        if isinstance(event, FullSync):
            self.synced.set()

    async def stop(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


async def load(hosts: str, root: Mapping[str, object]) -> float:
    """Return the seconds from run() to the first FullSync."""
    gc.collect()
    started = time.perf_counter()
    watching = Watching(config_of(hosts, root))
    await watching.synced.wait()
    took = time.perf_counter() - started
    await watching.stop()
    return took


async def bare(hosts: str, nodes: Mapping[str, bytes], *, data: bool) -> float:
    """Return the seconds that connecting and reading the same nodes in bulk takes.

    Args:
        hosts: the servers.
        nodes: the nodes; children of all but the deepest are listed.
        data: whether all nodes are read, not only listed.
    """
    config = config_of(hosts, ROOTS["dubbo"])
    session = KazooSession("bench", lambda: endpoint(config), time.monotonic)
    depths: dict[int, list[str]] = {}
    for path in nodes:
        depths.setdefault(path.count("/"), []).append(path)
    gc.collect()
    started = time.perf_counter()
    await session.open()
    client = session._client
    for depth in sorted(depths):
        operations = [wire.GET_DATA] * data + [wire.GET_CHILDREN] * (depth < max(depths))
        for operation in operations:
            for batch in wire.batches(depths[depth]):
                await client.request(wire.MultiRead(operation, batch))
    took = time.perf_counter() - started
    session.close()
    return took


async def latencies(hosts: str, writer: Writer, count: int) -> tuple[float, float]:
    """Return the median milliseconds from a change to its group, and to kazoo's own callback."""
    client = writer.client
    times: list[list[float]] = [[], []]
    watching = Watching(config_of(hosts, ROOTS["curator"]))
    await watching.synced.wait()
    loop = asyncio.get_running_loop()
    async with Writer(hosts) as other:
        fired = asyncio.Event()
        seen = [0.0]

        def callback(_names: list[str]) -> None:
            seen[0] = time.perf_counter()
            loop.call_soon_threadsafe(fired.set)

        await asyncio.to_thread(client.ensure_path, "/floor")
        await asyncio.to_thread(other.client.ChildrenWatch, "/floor", callback)
        for number in range(count):
            data = json.dumps(
                {"name": "x", "address": "10.9.9.9", "port": 80, "serviceType": "DYNAMIC"}
            ).encode()
            for which, path in ((0, f"/services/shop-7/new-{number}"), (1, f"/floor/{number}")):
                event = fired if which else watching.told
                event.clear()
                started = time.perf_counter()
                client.create_async(path, data)
                await event.wait()
                ended = seen[0] if which else watching.events[-1][0]
                times[which].append((ended - started) * 1e3)
                await asyncio.sleep(0.01)
    await watching.stop()
    return statistics.median(times[0]), statistics.median(times[1])


async def flood(hosts: str, writer: Writer, seconds: int, rate: int) -> tuple[float, float]:
    """Return the median lag in ms in the first and in the last fifth of a flood of changes."""
    watching = Watching(config_of(hosts, ROOTS["curator"]))
    await watching.synced.wait()
    sent: dict[str, float] = {}
    started = time.perf_counter()
    for number in range(seconds * rate):
        delay = started + number / rate - time.perf_counter()
        if delay > 0.001:
            await asyncio.sleep(delay)
        port = 1024 + number % 60_000
        record = {"name": "x", "address": "10.8.8.8", "port": port, "serviceType": "DYNAMIC"}
        sent[f"{number % 200}/{port}"] = time.perf_counter()
        writer.client.set_async(f"/services/shop-{number % 200}/flood", json.dumps(record).encode())
    await asyncio.sleep(2)
    lags = []
    for at, event in watching.events[1:]:
        groups = event.groups if isinstance(event, FullSync) else (event.group,)
        for group in groups:
            port = next((i.ports[0].number for i in group.instances if i.id.endswith("flood")), 0)
            known = sent.pop(f"{group.key.name.removeprefix('shop-')}/{port}", None)
            if known is not None:
                lags.append((known - started, (at - known) * 1e3))
    await watching.stop()
    first = [lag for at, lag in lags if at < seconds / 5]
    last = [lag for at, lag in lags if at > seconds * 4 / 5]
    return statistics.median(first), statistics.median(last)


def resident() -> int:
    """Return the bytes this process holds in memory."""
    with Path("/proc/self/statm").open() as statm:
        return int(statm.read().split()[1]) * 4096


async def mirror(hosts: str, root: Mapping[str, object]) -> float:
    """Return the seconds from connecting to a mirror of the root, before the layout looks at it."""
    config = config_of(hosts, root)
    layout = config.root.make_layout()
    session = KazooSession("bench", lambda: endpoint(config), time.monotonic)
    gc.collect()
    started = time.perf_counter()
    await session.open()
    walk = Walk(session, config.root.base, layout, config.max_node_size)
    await walk.snapshot(layout.trees, Mirror(layout.owner if layout.indexed else None))
    took = time.perf_counter() - started
    session.close()
    return took


async def memory_of(hosts: str, layout: str, instances: int) -> float:
    """Return what `memory` does in a process that has held nothing before."""
    arguments = ("--memory", layout, hosts, str(instances))
    child = await asyncio.create_subprocess_exec(
        sys.executable, __file__, *arguments, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await child.communicate()
    return float(printed)


async def memory(hosts: str, root: Mapping[str, object], instances: int) -> float:
    """Return the bytes per instance that a synced adapter holds, its groups included."""
    empty = Watching(config_of(hosts, {"path": "/empty", "layout": "json"}))
    await empty.synced.wait()
    gc.collect()
    before = resident()
    watching = Watching(config_of(hosts, root))
    await watching.synced.wait()
    await asyncio.sleep(0.5)
    watching.events.clear()
    gc.collect()
    after = resident()
    await watching.stop()
    await empty.stop()
    return (after - before) / instances


async def rounds(hosts: str, layout: str, nodes: Mapping[str, bytes]) -> dict[str, float]:
    """Return the seconds of one round of loads and of their floors, one right after the other."""
    return {
        "names": await bare(hosts, nodes, data=False),
        "bare": await bare(hosts, nodes, data=True),
        "mirror": await mirror(hosts, ROOTS[layout]),
        "load": await load(hosts, ROOTS[layout]),
    }


async def measure(quick: bool) -> dict[str, Any]:
    services = SERVICES // 10 if quick else SERVICES
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with Ensemble(Path(folder)) as ensemble, Writer(ensemble.hosts) as writer:
            hosts = ensemble.hosts
            await writer.put("/empty")
            nodes = {"dubbo": dubbo_nodes(services), "curator": curator_nodes(services)}
            for layout, made in nodes.items():
                await writer.put_many(made)
                figures[f"{layout}: bytes per instance"] = await memory_of(
                    hosts, layout, services * INSTANCES
                )
                runs = [await rounds(hosts, layout, made) for _ in range(RUNS)]
                middle = {what: statistics.median(run[what] for run in runs) for what in runs[0]}
                floor = middle["bare"]
                figures |= {f"{layout}: {what} s": value for what, value in middle.items()}
                figures[f"{layout}: mirror ratio"] = middle["mirror"] / floor
                figures[f"{layout}: load ratio"] = middle["load"] / floor
                figures[f"{layout}: load ratio, to names"] = middle["load"] / middle["names"]
            event, floor = await latencies(hosts, writer, 30 if quick else 200)
            figures |= {"event p50 ms": event, "kazoo's watch p50 ms": floor, "event ratio": event / floor}
            await writer.put_many({f"/services/shop-{number}/flood": b"" for number in range(200)})
            first, last = await flood(hosts, writer, 5 if quick else 60, 1_000)
            figures |= {"flood: first lag ms": first, "flood: last lag ms": last}
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        layout, hosts, instances = arguments.memory
        print(asyncio.run(memory(hosts, ROOTS[layout], int(instances))))
        return 0
    if reason := missing():
        print(reason)
        return 75
    figures = asyncio.run(measure(arguments.quick))
    for what, value in figures.items():
        print(f"{what:<36} {value:10.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
