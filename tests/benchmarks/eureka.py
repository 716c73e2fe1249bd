"""What a large Eureka registry costs: 2,000 applications of 10 instances, 19 MB of JSON.

    python tests/benchmarks/eureka.py [--json FILE] [--quick]

The server is a process of its own that sends prepared bytes. Each figure stands beside a floor measured in
the same run, or a limit, since machines differ and are noisy: compare the ratios.

| figure | floor |
|---|---|
| full load: run() to its first event | the same transfer, and decoding into the same structs in one go |
| most CPU time between two turns of the event loop meanwhile | 25 ms |
| CPU of reading an answer that has not changed | 5 ms |
| change told by the server to its group emitted, beyond the poll | 50 ms |
| memory per instance | - |
"""

import argparse
import asyncio
import contextlib
import gc
import gzip
import json
import multiprocessing
import multiprocessing.connection
import os
import statistics
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.eureka.adapter import EurekaAdapter
from meshbridge.adapters.eureka.client import open_client
from meshbridge.adapters.eureka.payload import read_application, read_outline
from meshbridge.adapters.eureka.settings import EurekaConfig
from meshbridge.bridge import logs
from meshbridge.bridge.config.models import Log
from meshbridge.schemas.registry import FullSync, GroupUpdate, SourceEvent

APPS = 2_000
INSTANCES = 10
POLL = 0.5
ROUNDS = 15
CHANGES = 20


def instance(number: int, app: str, **fields: object) -> dict[str, object]:
    """Return an instance as Spring Cloud registers it."""
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    lease = {"registrationTimestamp": 1_790_000_000_000 + number, "lastRenewalTimestamp": 1_790_000_030_000}
    return {
        "instanceId": f"{address}:{app.lower()}:8080",
        "hostName": f"vm{number}.corp",
        "app": app,
        "ipAddr": address,
        "status": "UP",
        "overriddenStatus": "UNKNOWN",
        "port": {"$": 8080, "@enabled": "true"},
        "securePort": {"$": 443, "@enabled": "false"},
        "countryId": 1,
        "dataCenterInfo": {
            "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo",
            "name": "MyOwn",
        },
        "leaseInfo": {"renewalIntervalInSecs": 30, "durationInSecs": 90, **lease, "evictionTimestamp": 0},
        "metadata": {
            "zone": f"eu-1{'abc'[number % 3]}",
            "management.port": "8081",
            "version": f"v{number % 3}",
        },
        "homePageUrl": f"http://{address}:8080/",
        "statusPageUrl": f"http://{address}:8080/actuator/info",
        "healthCheckUrl": f"http://{address}:8080/actuator/health",
        "vipAddress": app.lower(),
        "secureVipAddress": app.lower(),
        "isCoordinatingDiscoveryServer": "false",
        "lastUpdatedTimestamp": str(1_790_000_000_100 + number),
        "lastDirtyTimestamp": str(1_790_000_000_000 + number),
        "actionType": "ADDED",
        **fields,
    }


def document(applications: list[dict[str, object]], total: int) -> bytes:
    """Return an answer, packed as servers do."""
    body = {
        "applications": {
            "versions__delta": "1",
            "apps__hashcode": f"UP_{total}_",
            "application": applications,
        }
    }
    return gzip.compress(json.dumps(body, separators=(",", ":")).encode(), 6, mtime=0)


def everything(apps: int) -> bytes:
    """Return the full answer."""
    names = [f"APP-{number:04d}" for number in range(apps)]
    return document(
        [
            {
                "name": name,
                "instance": [instance(app * INSTANCES + index, name) for index in range(INSTANCES)],
            }
            for app, name in enumerate(names)
        ],
        apps * INSTANCES,
    )


def serve(pipe: "multiprocessing.connection.Connection", apps: int) -> None:
    """Be the server: each message from the pipe is the delta from now on, answered by the time it counts."""
    asyncio.run(_serve(pipe, apps))


async def _serve(pipe: "multiprocessing.connection.Connection", apps: int) -> None:
    full = everything(apps)
    delta = full

    async def answer(request: web.Request) -> web.Response:
        body = delta if request.path.endswith("delta") else full
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    app = web.Application()
    app.router.add_get("/eureka/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pipe.send(runner.addresses[0][1])
    while True:
        delta = await asyncio.to_thread(pipe.recv_bytes)
        pipe.send(time.monotonic())


class Bench:
    """One run against one server."""

    def __init__(self, url: str, pipe: "multiprocessing.connection.Connection", apps: int) -> None:
        self._url = url
        self._pipe = pipe
        self._apps = apps
        self.figures: dict[str, float] = {}

    async def run(self) -> dict[str, float]:
        """Return all figures: seconds and bytes."""
        self.figures["memory_per_instance"] = await self._memory()
        loads, floors, plain_floors, blocks = [], [], [], []
        for _ in range(ROUNDS):
            loads.append(await _timed(self._load()))
            floors.append(await _timed(self._floor(typed=True)))
            plain_floors.append(await _timed(self._floor(typed=False)))
            gc.collect()
            blocks.append(await self._longest_block())
        for suffix, took in (("", 0), ("_cpu", 1)):
            self._note(f"load{suffix}", _median(loads, took), _median(floors, took))
            self._note(f"load_plain{suffix}", _median(loads, took), _median(plain_floors, took))
        self._note("block", statistics.median(blocks), 0.025)
        self.figures["block_longest"] = max(blocks)
        self._note("unchanged", await self._unchanged(), 0.005)
        await self._changes()
        return self.figures

    def _adapter(self, poll: float = 3600.0) -> EurekaAdapter:
        config = EurekaConfig(name="bench", urls=[self._url], poll_interval=poll, full_interval=3600.0)
        return EurekaAdapter(config, AdapterContext("bench"))

    async def _memory(self) -> float:
        """Return the bytes that an instance takes when nothing else was ever loaded."""
        gc.collect()
        before = resident()
        async with _running(self._adapter()) as seen:
            await seen.synced.wait()
            gc.collect()
            return (resident() - before) / (self._apps * INSTANCES)

    async def _load(self) -> None:
        async with _running(self._adapter()) as seen:
            await seen.synced.wait()
            assert len(seen.groups) == self._apps

    async def _longest_block(self) -> float:
        """Return the most CPU time between two turns of a task that always wants one.

        CPU time, because on a busy machine the other processes' turns would be measured, too.
        """
        gaps = [0.0]
        async with asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(_watch_turns(gaps))
            async with _running(self._adapter()) as seen:
                await seen.synced.wait()
            watcher.cancel()
        return max(gaps)

    async def _floor(self, *, typed: bool) -> None:
        """Get the same answer and decode it, into structs or Python's own types."""
        config = EurekaConfig(name="bench", urls=[self._url])
        async with open_client(config) as client:
            body = (await client.get(self._url, "/apps")).body
        if typed:
            decoded: list[Any] = [read_application(raw) for raw in read_outline(body).applications]
        else:
            decoded = msgspec.json.decode(body)["applications"]["application"]
        assert len(decoded) == self._apps

    async def _unchanged(self) -> float:
        """Return the CPU seconds of a whole read whose answer, everything once more, is the same."""
        config = EurekaConfig(name="bench", urls=[self._url])
        costs = []
        async with open_client(config) as client:
            digest = (await client.get(self._url, "/apps/delta")).digest
            for _ in range(ROUNDS * 3):
                started = time.process_time()
                assert (await client.get(self._url, "/apps/delta", digest)).is_same
                costs.append(time.process_time() - started)
        return statistics.median(costs)

    async def _changes(self) -> None:
        delays = []
        self._tell(document([], self._apps * INSTANCES))
        async with _running(self._adapter(POLL)) as seen:
            await seen.synced.wait()
            for number in range(CHANGES):
                fields = {
                    "metadata": {"version": f"w{number}"},
                    "lastUpdatedTimestamp": str(1_800_000_000_000 + number),
                }
                changed = [{"name": "APP-0007", "instance": [instance(70, "APP-0007", **fields)]}]
                seen.updated.clear()
                told = self._tell(document(changed, self._apps * INSTANCES))
                await seen.updated.wait()
                delays.append(time.monotonic() - told)
        self._note("change", max(max(delays) - POLL, 0.0), 0.05)
        self.figures["change_median"] = statistics.median(delays)

    def _tell(self, delta: bytes) -> float:
        self._pipe.send_bytes(delta)
        return float(self._pipe.recv())

    def _note(self, name: str, seconds: float, floor: float) -> None:
        self.figures |= {name: seconds, f"{name}_floor": floor, f"{name}_ratio": seconds / floor}


class _Seen:
    """What an adapter has said."""

    def __init__(self) -> None:
        self.synced = asyncio.Event()
        self.updated = asyncio.Event()
        self.groups: tuple[object, ...] = ()

    async def take(self, event: SourceEvent) -> None:
        if isinstance(event, FullSync):
            self.groups = event.groups
            self.synced.set()
        elif isinstance(event, GroupUpdate):
            self.updated.set()


@contextlib.asynccontextmanager
async def _running(adapter: EurekaAdapter) -> AsyncIterator[_Seen]:
    seen = _Seen()
    task = asyncio.create_task(adapter.run(seen.take), name="adapter")
    try:
        yield seen
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _timed(work: Coroutine[Any, Any, None]) -> tuple[float, float]:
    """Return the seconds that some work takes, by the clock and of this process's CPU time."""
    gc.collect()
    started, cpu = time.perf_counter(), time.process_time()
    await work
    return time.perf_counter() - started, time.process_time() - cpu


def _median(measured: list[tuple[float, float]], index: int) -> float:
    return statistics.median(pair[index] for pair in measured)


async def _watch_turns(gaps: list[float]) -> None:
    last = time.thread_time()
    while True:
        await asyncio.sleep(0)
        now = time.thread_time()
        gaps.append(now - last)
        last = now


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def measure(apps: int) -> dict[str, float]:
    """Return the figures for so many applications."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    server = spawn.Process(target=serve, args=(theirs, apps), daemon=True)
    server.start()
    try:
        port = ours.recv()
        return asyncio.run(Bench(f"http://127.0.0.1:{port}/eureka", ours, apps).run())
    finally:
        server.kill()
        server.join()


ROWS = (
    ("load", "full load to the first event, p50", 1e3, "ms"),
    ("load_cpu", "the same, CPU time", 1e3, "ms"),
    ("load_plain", "the same, floor decoded into dicts and lists", 1e3, "ms"),
    ("block", "loop blocked during a full load, p50 of the longest, CPU", 1e3, "ms"),
    ("unchanged", "CPU of an answer that is the same", 1e3, "ms"),
    ("change", "change told to group emitted, beyond one poll, longest", 1e3, "ms"),
)


def table(figures: dict[str, float]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield "| figure | measured | floor | ratio |"
    yield "|---|---|---|---|"
    for name, text, factor, unit in ROWS:
        measured, floor = (f"{figures[key] * factor:.3g} {unit}" for key in (name, f"{name}_floor"))
        yield f"| {text} | {measured} | {floor} | {figures[f'{name}_ratio']:.2f} |"
    yield f"| longest block of all loads | {figures['block_longest'] * 1e3:.3g} ms | | |"
    yield f"| memory per instance | {figures['memory_per_instance']:.0f} B | | |"


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="a tenth of the size")
    options = parser.parse_args()
    logs.configure(Log(level="warning"))
    figures = measure(APPS // 10 if options.quick else APPS)
    print("\n".join(table(figures)))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
