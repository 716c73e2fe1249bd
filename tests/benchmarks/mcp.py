"""What a change costs from the MCP server to its clients, beside what bare gRPC needs for the same bytes.

    python tests/benchmarks/mcp.py [--json FILE] [--quick]

Clients are in a process of their own, acknowledge at once, and decode nothing but the nonce. Times are from
the moment a publication is handed to the server to its receipt by the last client; CPU is the server's.
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest

from meshbridge.bridge import logs
from meshbridge.bridge.config.models import Log
from meshbridge.mcp.cache import SnapshotCache
from meshbridge.mcp.codec import DELTA
from meshbridge.mcp.flow import Pacing
from meshbridge.mcp.server import McpServer
from meshbridge.mcp.stream import Serving
from meshbridge.mcp.view import EVERYTHING
from meshbridge.schemas import wire
from meshbridge.schemas.istio import Location, Resolution, ServiceEntry, ServicePort, WorkloadEntry
from meshbridge.schemas.resource import (
    EMPTY_SNAPSHOT,
    Kind,
    Publication,
    Resource,
    ResourceKey,
    replace,
    resource,
)

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

TYPE_URL = "networking.istio.io/v1/ServiceEntry"
ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
SOTW, DELTA_METHOD = f"{ADS}StreamAggregatedResources", f"{ADS}DeltaAggregatedResources"
ECHO = "/bench.Echo/Send"
SIZES = ((1_000, 10), (5_000, 20))
"""Services, instances of each."""
CHANGES = 200
STORM = 500
STORM_GAP = 0.002
"""Seconds between two changes of the storm."""

Figures = dict[str, float]


def service(number: int, instances: int, weight: int = 100) -> Resource:
    """Return one ServiceEntry whose endpoints have six labels each."""
    endpoints = tuple(
        WorkloadEntry(
            address=f"10.{number >> 8}.{number & 255}.{index + 1}",
            labels={
                "app": f"service-{number}",
                "version": f"v{index % 3}",
                "team": f"team-{number % 50}",
                "env": "prod",
                "tier": "backend",
                "build": f"b{number % 200}",
            },
            locality=f"eu/eu-{index % 3}",
            weight=weight if index == 0 else 100,
        )
        for index in range(instances)
    )
    spec = ServiceEntry(
        hosts=(f"service-{number}.mesh",),
        location=Location.MESH_INTERNAL,
        resolution=Resolution.STATIC,
        ports=(ServicePort(8080, "http", "HTTP"),),
        endpoints=endpoints,
    )
    key = ResourceKey(Kind.SERVICE_ENTRY, f"ns-{number % 50}", f"service-{number}")
    return resource(key, wire.encode(spec))


class Source:
    """Publishes changes to a cache as the pipeline does."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.cache = SnapshotCache()
        self._snapshot = EMPTY_SNAPSHOT
        self._services, self._instances = size
        self._generation = 0
        self._weight = 0

    async def load(self) -> None:
        """Publish everything."""
        await self._publish([service(number, self._instances) for number in range(self._services)])

    async def change(self, number: int) -> float:
        """Change one instance, and return when it was handed over."""
        self._weight += 1
        changed = service(number % self._services, self._instances, 101 + self._weight)
        started = time.monotonic()
        await self._publish([changed])
        return started

    async def _publish(self, put: list[Resource]) -> None:
        self._snapshot, delta = replace(self._snapshot, {found.key: found for found in put})
        self._generation += 1
        await self.cache.apply(Publication(self._generation, self._snapshot, delta, {}))


class Echo:
    """The least a gRPC server can do: send the same bytes to every stream when it is told to."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._condition = asyncio.Condition()
        self._round = 0
        self._server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])

    async def start(self) -> int:
        """Listen and return the port."""
        handler = grpc.stream_stream_rpc_method_handler(self._send)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("bench.Echo", {"Send": handler}),)
        )
        port: int = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return port

    async def change(self, _number: int) -> float:
        """Send once more, and return when it was told to."""
        started = time.monotonic()
        async with self._condition:
            self._round += 1
            self._condition.notify_all()
        return started

    async def stop(self) -> None:
        """Stop listening."""
        await self._server.stop(0)

    async def _send(self, _requests: object, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        sent = -1
        while True:
            async with self._condition:
                await self._condition.wait_for(lambda seen=sent: self._round > seen)
                sent = self._round
            await context.write(self._body)


Receive = Callable[[], Awaitable[float]]
"""Waits for the next response at any client, and returns when it came."""


@asynccontextmanager
async def clients(port: int, method: str, count: int, frozen: int = 0) -> AsyncIterator[Receive]:
    """Run clients in a process of their own; the frozen ones read nothing."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_be_clients, args=(port, method, count, frozen, theirs), daemon=True)
    process.start()
    theirs.close()  # So that a client process that dies is noticed.

    async def receive() -> float:
        return await asyncio.to_thread(ours.recv)

    try:
        yield receive
    finally:
        process.kill()
        process.join()


def _be_clients(port: int, method: str, count: int, frozen: int, pipe: "Connection") -> None:
    asyncio.run(_follow_all(port, method, count, frozen, pipe))


async def _follow_all(port: int, method: str, count: int, frozen: int, pipe: "Connection") -> None:
    async with asyncio.TaskGroup() as tasks:
        for number in range(count + frozen):
            tasks.create_task(_follow(port, method, pipe, is_frozen=number < frozen))


async def _follow(port: int, method: str, pipe: "Connection", *, is_frozen: bool) -> None:
    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),
        *([("grpc.http2.bdp_probe", 0)] if is_frozen else []),
    ]
    request = DeltaDiscoveryRequest if method == DELTA_METHOD else DiscoveryRequest
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        call = channel.stream_stream(method, None, None)(request_iterator=None)
        await call.write(request(type_url=TYPE_URL).SerializeToString())
        if is_frozen:
            await asyncio.Event().wait()
        async for body in call:
            pipe.send(time.monotonic())
            if method != ECHO:
                nonce = body[body.rfind(b"*") + 2 :].decode()  # The last field, behind its length.
                await call.write(request(type_url=TYPE_URL, response_nonce=nonce).SerializeToString())


async def receipts(
    change: Callable[[int], Awaitable[float]], receive: Receive, count: int, changes: int = CHANGES
) -> list[float]:
    """Return the seconds from each of many single changes to its receipt by the last client."""
    found = []
    for number in range(changes):
        started = await change(number)
        found.append(max([await receive() for _ in range(count)]) - started)
        await asyncio.sleep(0.005)
    return found


async def delta(size: tuple[int, int], figures: Figures) -> None:
    """Measure single changes, for one and for ten delta clients."""
    source = Source(size)
    await source.load()
    unpaced = Pacing(min_push_interval=0.0, pause_ratio=0.0, first_answer_delay=0.0)
    server = McpServer(Serving(source.cache, pacing=unpaced), "127.0.0.1:0")
    await source.change(0)
    generation = source.cache.generation
    answer = source.cache.view(EVERYTHING).answer(DELTA, TYPE_URL, generation - 1)
    assert answer is not None
    figures["delta_bytes"] = len(answer.body)
    echo = Echo(answer.body)
    port, echo_port = await server.start(), await echo.start()
    try:
        for count in (1, 10):
            async with clients(port, DELTA_METHOD, count) as receive:
                [await receive() for _ in range(count)]
                before = time.process_time()
                ours = await receipts(source.change, receive, count)
                figures[f"delta_{count}_cpu"] = (time.process_time() - before) / CHANGES
            async with clients(echo_port, ECHO, count) as receive:
                [await receive() for _ in range(count)]
                before = time.process_time()
                floor = await receipts(echo.change, receive, count)
                figures[f"delta_{count}_cpu_floor"] = (time.process_time() - before) / CHANGES
            _note(figures, f"delta_{count}", ours, floor)
    finally:
        await server.stop(0)
        await echo.stop()


def _note(figures: Figures, name: str, ours: list[float], floor: list[float]) -> None:
    figures[name], figures[f"{name}_floor"] = statistics.median(ours), statistics.median(floor)
    figures[f"{name}_p99"], figures[f"{name}_p99_floor"] = _p99(ours), _p99(floor)
    figures[f"{name}_ratio"] = figures[name] / figures[f"{name}_floor"]


def _p99(found: list[float]) -> float:
    return sorted(found)[int(len(found) * 0.99)]


class Pushes:
    """Counts responses at all clients, and when the last came."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.count = 0
        self.last = 0.0

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            self.last = await self._receive()
            self.count += 1


async def storm(size: tuple[int, int], figures: Figures, name: str, frozen: int = 0) -> None:
    """Measure 500 changes, a second's worth of them, for ten clients that are paced as in production."""
    source = Source(size)
    await source.load()
    server = McpServer(Serving(source.cache), "127.0.0.1:0")
    port = await server.start()
    count = 10 - frozen
    try:
        async with clients(port, SOTW, count, frozen) as receive:
            [await receive() for _ in range(count)]
            await asyncio.sleep(1.0)
            pushes = Pushes(receive)
            counting = asyncio.create_task(pushes.run())
            cpu, started = time.process_time(), time.monotonic()
            for number in range(STORM):
                await source.change(number)
                await asyncio.sleep(STORM_GAP)
            handed_over = time.monotonic()
            await _all_have(server, source.cache, count)
            figures[f"{name}_settled"] = time.monotonic() - handed_over
            figures[f"{name}_cpu"] = time.process_time() - cpu
            figures[f"{name}_seconds"] = handed_over - started
            await asyncio.sleep(0.3)
            counting.cancel()
            figures[f"{name}_pushes"] = pushes.count / count
    finally:
        await server.stop(0)


async def _all_have(server: McpServer, cache: SnapshotCache, count: int) -> None:
    """Return when so many clients have acknowledged the newest state."""
    async with asyncio.timeout(60):
        while True:
            version = cache.versions([TYPE_URL])[TYPE_URL]
            acked = [found.types[0].acked for found in server.clients.statuses() if found.types]
            if acked.count(version) >= count:
                return
            await asyncio.sleep(0.005)


async def measure(size: tuple[int, int]) -> Figures:
    """Return all figures of one size."""
    figures: Figures = {}
    await delta(size, figures)
    await storm(size, figures, "storm")
    await storm(size, figures, "frozen", frozen=1)
    return figures


def table(size: str, figures: Figures) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield f"| {size} | measured | bare gRPC | ratio |"
    yield "|---|---|---|---|"
    for count in (1, 10):
        name = f"delta_{count}"
        who = f"{count} delta client{'s' * (count > 1)}"
        for key, text in ((name, "p50"), (f"{name}_p99", "p99"), (f"{name}_cpu", "CPU")):
            ours, floor = figures[key] * 1e3, figures[f"{key}_floor"] * 1e3
            yield f"| one change, {who}, {text} | {ours:.2f} ms | {floor:.2f} ms | {ours / floor:.2f} |"
    yield f"| bytes of one change, delta | {figures['delta_bytes']:.0f} | | |"
    for name, who in (("storm", "10 clients"), ("frozen", "9 clients beside a frozen one")):
        yield f"| {STORM} changes, {who}: pushes to each | {figures[f'{name}_pushes']:.1f} | | |"
        yield f"| {STORM} changes, {who}: time in which they came | {figures[f'{name}_seconds']:.1f} s | | |"
        yield f"| {STORM} changes, {who}: CPU | {figures[f'{name}_cpu']:.2f} s | | |"
        settled = figures[f"{name}_settled"]
        yield f"| {STORM} changes, {who}: last change to all have it | {settled:.2f} s | | |"


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description="Measure the way from a publication to MCP clients.")
    parser.add_argument("--json", type=Path, help="write all figures to this file, too")
    parser.add_argument("--quick", action="store_true", help="a small size only")
    arguments = parser.parse_args()
    logs.configure(Log(level="warning"))
    results = {}
    for services, instances in ((100, 10),) if arguments.quick else SIZES:
        size = f"{services:,} / {services * instances:,}"
        sys.stderr.write(f"measuring {size} ...\n")
        results[size] = asyncio.run(measure((services, instances)))
        sys.stdout.write("\n".join(table(size, results[size])) + "\n\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
