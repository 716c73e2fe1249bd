"""How long the way from a registry's event to a client takes, and what it costs.

    python tests/benchmarks/mesh.py [--json FILE] [--quick]

Every size runs in a process of its own, with a client in another, over loopback. Each figure stands
beside a floor measured in the same run, since machines differ and are noisy: compare the ratios.

| figure | floor |
|---|---|
| load: all groups to the first publication | building and serialising the same with protobuf's classes |
| join: one change to the whole response ready | joining the same framed bytes |
| change: one change to its resource published | encoding that one ServiceEntry with protobuf's classes |
| push: first request to the whole response received | the same from a bare gRPC stream, also its first |
| receipt: one change to the whole response received | the same bytes from a bare gRPC stream |
| memory: resident, per instance | - |
"""

import argparse
import asyncio
import gc
import json
import multiprocessing
import multiprocessing.connection
import os
import queue
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from meshbridge.bridge import logs
from meshbridge.bridge.config.models import Defaults, Log
from meshbridge.bridge.metrics import Metrics
from meshbridge.bridge.pipeline.bounds import GuardSettings
from meshbridge.bridge.pipeline.mesh import Mesh
from meshbridge.bridge.pipeline.outside import GateSettings
from meshbridge.bridge.pipeline.publish import Publisher
from meshbridge.bridge.pipeline.rules import Rules
from meshbridge.bridge.pipeline.sources import Source
from meshbridge.mcp import codec
from meshbridge.mcp.cache import SnapshotCache
from meshbridge.mcp.flow import Pacing
from meshbridge.mcp.server import McpServer
from meshbridge.mcp.stream import Serving
from meshbridge.schemas import wire
from meshbridge.schemas.proto import meshbridge_networking_pb2 as pb
from meshbridge.schemas.registry import (
    FullSync,
    GroupUpdate,
    Instance,
    InstanceGroup,
    Port,
    ServiceKey,
    group,
    labels,
)
from meshbridge.schemas.resource import Kind, Resource, ResourceKey

SIZES = ((1_000, 20), (5_000, 20))
"""Services, instances of each."""
SOURCE = "bench"
TYPE_URL = "networking.istio.io/v1/ServiceEntry"
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
FLOOR_METHOD = "/bench.Floor/Send"
CHANGES = 100
PUSHES = 15


def groups_of(services: int, instances: int) -> list[InstanceGroup]:
    """Return services as a registry would have them: six labels, a locality, a weight."""
    return [_group(number, instances) for number in range(services)]


def _group(number: int, instances: int) -> InstanceGroup:
    key = ServiceKey(SOURCE, f"service-{number}")
    return group(key, [_instance(number, index) for index in range(instances)])


def _instance(number: int, index: int, weight: int = 100) -> Instance:
    carried = {
        "app": f"service-{number}",
        "version": f"v{index % 3}",
        "team": f"team-{number % 50}",
        "env": "prod",
        "tier": "backend",
        "build": f"b{number % 200}",
    }
    return Instance(
        id=f"service-{number}/{index}",
        address=f"10.{number >> 8}.{number & 255}.{index + 1}",
        ports=(Port("http", 8080, "http"),),
        labels=labels(carried),
        locality=f"eu/eu-{index % 3}",
        weight=weight,
    )


def _changed(number: int, instances: int, weight: int) -> InstanceGroup:
    members = [_instance(number, 0, weight), *(_instance(number, index) for index in range(1, instances))]
    return group(ServiceKey(SOURCE, f"service-{number}"), members)


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Bench:
    """One size, in this process."""

    def __init__(self, services: int, instances: int) -> None:
        self.services = services
        self.instances = instances
        self.cache = SnapshotCache()
        mesh = Mesh(Rules((), Defaults()), [SOURCE], GuardSettings())
        self.publisher = Publisher(mesh, [self.cache], Metrics().pipeline, GateSettings())
        self.publisher.sources[SOURCE] = Source(SOURCE, "bench", required=True, since=0)
        self.figures: dict[str, float] = {}

    async def run(self) -> dict[str, float]:
        """Return all figures: seconds, bytes, and ratios."""
        gc.collect()
        before = resident()
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(self.publisher.run())
            loaded = await self._load()
            gc.collect()
            count = self.services * self.instances
            self.figures |= {"memory_bytes": resident(), "memory_per_instance": (resident() - before) / count}
            gc.freeze()
            self._note("load", loaded, self._protobuf_floor())
            await self._one_change()
            await self._over_the_wire()
            working.cancel()
        return self.figures

    async def _load(self) -> float:
        found = groups_of(self.services, self.instances)
        started = time.perf_counter()
        await self.publisher.submit(SOURCE, FullSync(tuple(found), time.monotonic()))
        await self.publisher.wait_newer(0, 300)
        return time.perf_counter() - started

    def _protobuf_floor(self) -> float:
        """Return the seconds to build and serialise the same messages with the generated classes."""
        specs = [wire.decode(found.key.kind, found.body) for found in self._resources().values()]
        messages = [pb.ServiceEntry.FromString(wire.encode(spec)) for spec in specs]
        return _timed(
            lambda: [_rebuilt(message).SerializeToString(deterministic=True) for message in messages]
        )

    async def _one_change(self) -> None:
        changes, joins = [], []
        for number in range(CHANGES):
            update = GroupUpdate(_changed(number, self.instances, 7), time.monotonic())
            generation = self.publisher.generation
            started = time.perf_counter()
            await self.publisher.submit(SOURCE, update)
            await self.publisher.wait_newer(generation, 10)
            changes.append(time.perf_counter() - started)
            if number < PUSHES:
                started = time.perf_counter()
                self.cache.current(TYPE_URL)
                joins.append(time.perf_counter() - started)
        frames = [codec.frame(found) for found in self._resources().values()]
        key = next(iter(self._resources()))
        message = pb.ServiceEntry.FromString(self._resources()[key].body)
        one = statistics.median(
            _timed(lambda: _rebuilt(message).SerializeToString(deterministic=True)) for _ in range(50)
        )
        self._note("change", statistics.median(changes), one)
        self.figures["change_p99"] = sorted(changes)[int(len(changes) * 0.99)]
        self._note("join", min(joins), min(_timed(lambda: b"".join(frames)) for _ in range(PUSHES)))

    async def _over_the_wire(self) -> None:
        answer = self.cache.current(TYPE_URL)
        assert answer is not None
        self.figures["response_bytes"] = len(answer.body)
        pacing = Pacing(min_push_interval=0.0, pause_ratio=0.0, first_answer_delay=0.0)
        server = McpServer(Serving(self.cache, pacing=pacing), "127.0.0.1:0")
        floor = FloorServer(answer.body)
        port, floor_port = await server.start(), await floor.start()
        try:
            async with receiver(port, METHOD) as receive:
                pushes = [(await receive()).seconds]
                receipts = [await self._receipt(receive, number) for number in range(PUSHES)]
            async with receiver(floor_port, FLOOR_METHOD) as receive:
                firsts = [(await receive()).seconds]
                floors = [await floor.receipt(receive) for _ in range(PUSHES)]
            for _ in range(4):
                async with receiver(port, METHOD) as receive:
                    pushes.append((await receive()).seconds)
                floor.go()
                async with receiver(floor_port, FLOOR_METHOD) as receive:
                    firsts.append((await receive()).seconds)
        finally:
            await server.stop(0)
            await floor.stop()
        self._note("push", statistics.median(pushes), statistics.median(firsts))
        self._note("receipt", statistics.median(receipts), statistics.median(floors))

    async def _receipt(self, receive: "Receive", number: int) -> float:
        update = GroupUpdate(_changed(number, self.instances, 9), time.monotonic())
        await self.publisher.submit(SOURCE, update)
        return (await receive()).at - update.observed

    def _resources(self) -> Mapping[ResourceKey, Resource]:
        return self.publisher.snapshot[Kind.SERVICE_ENTRY].resources

    def _note(self, name: str, seconds: float, floor: float) -> None:
        self.figures |= {name: seconds, f"{name}_floor": floor, f"{name}_ratio": seconds / floor}


class Receipt(NamedTuple):
    """One response at the client."""

    at: float
    """Monotonic seconds, the same clock in every process."""
    seconds: float
    """Since the client sent its last request."""


Receive = Callable[[], Awaitable[Receipt]]


class FloorServer:
    """The least a gRPC server can do: send the same bytes whenever it is told to."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._go = asyncio.Event()
        self.go()
        self._server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])

    async def start(self) -> int:
        """Listen and return the port."""
        service, _, method = FLOOR_METHOD.removeprefix("/").partition("/")
        handler = grpc.stream_stream_rpc_method_handler(self._send)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: handler}),)
        )
        port: int = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return port

    async def stop(self) -> None:
        """Stop listening."""
        await self._server.stop(0)

    def go(self) -> None:
        """Send once more."""
        self._go.set()

    async def receipt(self, receive: Receive) -> float:
        """Send once and return the seconds until the client has it."""
        started = time.monotonic()
        self.go()
        return (await receive()).at - started

    async def _send(self, _requests: object, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        while True:
            await self._go.wait()
            self._go.clear()
            await context.write(self._body)


@asynccontextmanager
async def receiver(port: int, method: str) -> AsyncIterator[Receive]:
    """Give what waits for the next response at a client in another process."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=follow, args=(port, method, theirs), daemon=True)
    process.start()

    async def receive() -> Receipt:
        return Receipt(*await asyncio.to_thread(ours.recv))

    try:
        yield receive
    finally:
        process.kill()
        process.join()


def follow(port: int, method: str, pipe: "multiprocessing.connection.Connection") -> None:
    """Be the client: tell when each response came, and acknowledge it."""
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        grpc.channel_ready_future(channel).result(timeout=30)
        asked = time.monotonic()
        requests.put(DiscoveryRequest(type_url=TYPE_URL, response_nonce="made up").SerializeToString())
        for response in channel.stream_stream(method)(iter(requests.get, b"")):
            now = time.monotonic()
            if method == METHOD:
                nonce = DiscoveryResponse.FromString(response).nonce
                requests.put(DiscoveryRequest(type_url=TYPE_URL, response_nonce=nonce).SerializeToString())
            pipe.send((now, now - asked))
            asked = now


def _rebuilt(message: pb.ServiceEntry) -> pb.ServiceEntry:
    """Return a copy made as a program would make it from its own values."""
    made = pb.ServiceEntry(hosts=message.hosts, location=message.location, resolution=message.resolution)
    for port in message.ports:
        made.ports.add(number=port.number, name=port.name, protocol=port.protocol)
    for endpoint in message.endpoints:
        added = made.endpoints.add(
            address=endpoint.address, locality=endpoint.locality, weight=endpoint.weight
        )
        added.labels.update(endpoint.labels)
        added.ports.update(endpoint.ports)
    return made


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(size: tuple[int, int]) -> dict[str, float]:
    """Return the figures of one size, measured in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(_measure_here, *size).result()


def _measure_here(services: int, instances: int) -> dict[str, float]:
    logs.configure(Log(level="warning"))
    return asyncio.run(Bench(services, instances).run())


ROWS = (
    ("load", "load to the first publication", 1.0, "s"),
    ("change", "one change to its resource published, p50", 1e6, "us"),
    ("join", "whole response made ready", 1e3, "ms"),
    ("push", "request to whole response received, p50", 1e3, "ms"),
    ("receipt", "one change to whole response received, p50", 1e3, "ms"),
)


def table(results: dict[str, dict[str, float]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield "| services / instances | figure | measured | floor | ratio |"
    yield "|---|---|---|---|---|"
    for size, figures in results.items():
        for name, text, factor, unit in ROWS:
            measured, floor = (f"{figures[key] * factor:.3g} {unit}" for key in (name, f"{name}_floor"))
            yield f"| {size} | {text} | {measured} | {floor} | {figures[f'{name}_ratio']:.2f} |"
        megabytes = figures["response_bytes"] / 1e6
        yield f"| {size} | bytes of the whole response | {megabytes:.1f} MB | | |"
        memory = f"{figures['memory_bytes'] / 2**20:.0f} MiB, {figures['memory_per_instance']:.0f} B"
        yield f"| {size} | resident memory, and per instance | {memory} | | |"


def main() -> None:
    """Measure every size, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description="Measure the way from a registry's event to a client.")
    parser.add_argument("--json", type=Path, help="write all figures to this file, too")
    parser.add_argument("--quick", action="store_true", help="one small size only")
    arguments = parser.parse_args()
    results = {}
    for services, instances in ((100, 20),) if arguments.quick else SIZES:
        size = f"{services:,} / {services * instances:,}"
        sys.stderr.write(f"measuring {size} ...\n")
        results[size] = measure((services, instances))
    sys.stdout.write("\n".join(table(results)) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
