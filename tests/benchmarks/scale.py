"""How the MCP server bears many clients, many changes, and many instances.

    python tests/benchmarks/scale.py [--json FILE] [--quick]

| figure | floor |
|---|---|
| one change to the last of 10, 100 clients that get everything, at 5,000 / 100,000 | bare gRPC, same bytes |
| CPU of it for each client | the same |
| 1,000 changes a second for a minute: lag of the oldest change in a push, CPU, memory | - |
| a store of 1,000,000 instances: load, memory, whole response, one change | a store of 100,000 |
| istiod's own side of one change: CPU from push to acknowledgement, memory | ours |

Clients are in a process of their own and decode nothing but the nonce; the last case needs istiod's program,
which integration/build_istiod.py builds, and is left out without it.
"""

import argparse
import asyncio
import gc
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from integration.build_istiod import binary
from integration.istiod.process import Istiod
from meshbridge.bridge import logs
from meshbridge.bridge.config.models import Log
from meshbridge.mcp.codec import DELTA
from meshbridge.mcp.flow import Pacing
from meshbridge.mcp.server import McpServer
from meshbridge.mcp.stream import Serving
from meshbridge.mcp.view import EVERYTHING
from tests.benchmarks.fleet import Fleet
from tests.benchmarks.mcp import DELTA_METHOD, ECHO, SOTW, TYPE_URL, Echo, Source, clients, receipts
from tests.benchmarks.mesh import resident
from tests.benchmarks.processes import Process

SIZE = (5_000, 20)
RATE = 1_000
"""Changes a second."""

Figures = dict[str, float]


async def many_clients(size: tuple[int, int], count: int, changes: int) -> Figures:
    """Measure single changes for clients that each get everything."""
    source = Source(size)
    await source.load()
    unpaced = Pacing(min_push_interval=0.0, pause_ratio=0.0, first_answer_delay=0.0)
    server = McpServer(Serving(source.cache, pacing=unpaced), "127.0.0.1:0")
    answer = source.cache.current(TYPE_URL)
    assert answer is not None
    echo = Echo(answer.body)
    figures: Figures = {}
    try:
        for name, subject, method in (("", source, SOTW), ("_floor", echo, ECHO)):
            port = await (server if subject is source else echo).start()
            async with clients(port, method, count) as receive:
                [await receive() for _ in range(count)]
                await asyncio.sleep(1.0)
                cpu = time.process_time()
                took = await receipts(subject.change, receive, count, changes)
                figures[f"all{name}"] = statistics.median(took)
                figures[f"cpu{name}"] = (time.process_time() - cpu) / changes / count
    finally:
        await server.stop(0.5)
        await echo.stop()
    return figures | {"memory": resident()}


async def flood(size: tuple[int, int], method: str, count: int, seconds: int, pacing: Pacing) -> Figures:
    """Measure many changes a second for a long time: does lag or memory grow?"""
    source = Source(size)
    await source.load()
    server = McpServer(Serving(source.cache, pacing=pacing), "127.0.0.1:0")
    port = await server.start()
    published = array("d", bytes(8 * (seconds * RATE + 10)))  # Made now, so that it grows nothing later.
    memory: list[int] = []
    try:
        async with Fleet(port, method, count) as fleet:
            await fleet.wait_for(source.cache.generation)
            cpu, started = time.process_time(), time.monotonic()
            for number in range(seconds * RATE):
                if (ahead := started + number / RATE - time.monotonic()) > 0.001:
                    await asyncio.sleep(ahead)
                at = await source.change(number)
                published[source.cache.generation] = at
                if number % RATE == 0:
                    memory.append(resident())
            took, cpu = time.monotonic() - started, time.process_time() - cpu
            await fleet.wait_for(source.cache.generation)
            lags = [lag for seen in await fleet.seen() for lag in oldest(seen, published, started)]
    finally:
        await server.stop(0.5)
    fifth = len(memory) // 5
    first = [lag for at, lag in lags if at < took / 5]
    last = [lag for at, lag in lags if at > took * 4 / 5]
    return {
        "rate": seconds * RATE / took,
        "cores": cpu / took,
        "p50": statistics.median(lag for _, lag in lags),
        "p99": sorted(lag for _, lag in lags)[int(len(lags) * 0.99)],
        "growth": statistics.median(last) / statistics.median(first),
        "pushes": len(lags) / count / took,
        "memory": max(memory),
        "memory_growth": statistics.median(memory[-fifth:]) - statistics.median(memory[fifth : 2 * fifth]),
    }


def oldest(
    seen: list[tuple[float, int]], published: Sequence[float], started: float
) -> Iterator[tuple[float, float]]:
    """Yield, for each push to a client, when it came and how old the oldest change in it was."""
    before = 1  # Which brought everything.
    for at, generation in seen:
        if generation > before:
            yield at - started, at - published[before + 1]
            before = generation


async def store(size: tuple[int, int]) -> Figures:
    """Measure what is held for many instances, without clients."""
    gc.collect()
    before, started = resident(), time.perf_counter()
    source = Source(size)
    await source.load()
    figures: Figures = {"load": time.perf_counter() - started}
    gc.collect()
    figures["memory"] = (resident() - before) / (size[0] * size[1])
    gc.freeze()
    changes, wholes = [], []
    for number in range(200):
        at = await source.change(number)
        view = source.cache.view(EVERYTHING)
        view.answer(DELTA, TYPE_URL, source.cache.generation - 1)
        changes.append(time.monotonic() - at)
        if number % 40 == 0:
            at = time.monotonic()
            view.current(TYPE_URL)
            wholes.append(time.monotonic() - at)
    return figures | {"change": statistics.median(changes), "whole": min(wholes)}


async def istiod(size: tuple[int, int], changes: int) -> Figures:
    """Measure what a real istiod needs for what it is sent, beside what sending it takes."""
    source = Source(size)
    await source.load()
    server = McpServer(Serving(source.cache), "127.0.0.1:0")
    port = await server.start()
    theirs, ours, took = [], [], []
    try:
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            async with Istiod(binary(), Path(folder), f"127.0.0.1:{port}") as real:
                await real.wait_ready()
                ready, process = time.monotonic() - started, Process(real.pid)
                await asyncio.sleep(5.0)
                for number in range(changes):
                    before = process.cpu, time.process_time()
                    at = await source.change(number)
                    await _acked(server, source)
                    took.append(time.monotonic() - at)
                    await asyncio.sleep(2.0)  # What follows inside istiod belongs to it.
                    theirs.append(process.cpu - before[0])
                    ours.append(time.process_time() - before[1])
                peak = process.peak
    finally:
        await server.stop(0.5)
    median = statistics.median
    return {
        "ready": ready,
        "acked": median(took),
        "cpu": median(theirs),
        "ours": median(ours),
        "memory": peak,
    }


async def _acked(server: McpServer, source: Source) -> None:
    async with asyncio.timeout(60):
        while True:
            version = source.cache.versions([TYPE_URL])[TYPE_URL]
            types = [one for client in server.clients.statuses() for one in client.types]
            if any(one.type_url == TYPE_URL and one.acked == version for one in types):
                return
            await asyncio.sleep(0.005)


def alone(measure: str, *words: object) -> Figures:
    """Return the figures of a case, measured in a process that has held nothing before."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_here, measure, *words).result()


def _here(measure: str, *words: object) -> Figures:
    logs.configure(Log(level="warning"))
    found: Figures = asyncio.run(globals()[measure](*words))
    return found


def run(quick: bool) -> Iterator[tuple[str, str, str, str]]:
    """Yield what was measured, the figure, its floor, and the ratio."""
    size, seconds = ((500, 20), 5) if quick else (SIZE, 60)
    for count, changes in ((10, 20), (100, 5)):
        found = alone("many_clients", size, count, changes)
        for key, text in (("all", "one change to all have it, p50"), ("cpu", "CPU for each")):
            ours, floor = found[key], found[f"{key}_floor"]
            yield (
                f"{count} clients: {text}",
                f"{ours * 1e3:.1f} ms",
                f"{floor * 1e3:.1f} ms",
                f"{ours / floor:.2f}",
            )
        yield f"{count} clients: resident memory", f"{found['memory'] / 1e6:.0f} MB", "", ""
    unpaced = Pacing(min_push_interval=0.0, pause_ratio=0.0)
    for name, method, count, pacing in (
        ("1 delta client, no pauses", DELTA_METHOD, 1, unpaced),
        ("10 clients that get everything", SOTW, 10, Pacing()),
    ):
        found = alone("flood", size, method, count, seconds, pacing)
        yield f"{name}: changes a second, for {seconds} s", f"{found['rate']:.0f}", f"{RATE} asked for", ""
        yield f"{name}: CPU", f"{found['cores']:.0%} of a core", "", ""
        lag = f"{found['p50'] * 1e3:.1f} / {found['p99'] * 1e3:.1f} ms"
        yield f"{name}: lag of the oldest change in a push, p50 / p99", lag, "", ""
        yield f"{name}: pushes a second to each", f"{found['pushes']:.1f}", "", ""
        yield f"{name}: lag of the last fifth to the first", "", "", f"{found['growth']:.2f}"
        grown = f"{found['memory'] / 1e6:.0f} MB, {found['memory_growth'] / 1e6:+.1f} MB"
        yield f"{name}: resident memory at most; the last fifth to the second", grown, "", ""
    small, large = (
        alone("store", (services, 20)) for services in ((500, 2_000) if quick else (5_000, 50_000))
    )
    times = 4 if quick else 10
    for key, text, factor, unit, scale in (
        ("load", "load", 1, "s", times),
        ("memory", "memory per instance", 1, "B", 1),
        ("whole", "whole response made ready", 1e3, "ms", times),
        ("change", "one change to its delta ready, p50", 1e6, "us", 1),
    ):
        floor = small[key] * scale
        figures = (f"{value * factor:.3g} {unit}" for value in (large[key], floor))
        yield f"store of {times} times the instances: {text}", *figures, f"{large[key] / floor:.2f}"
    if binary().exists():
        found = alone("istiod", size, 5)
        yield "istiod: start to ready", f"{found['ready']:.2f} s", "", ""
        yield "istiod: one change to acknowledged, p50", f"{found['acked'] * 1e3:.0f} ms", "", ""
        cpu, ours = found["cpu"], found["ours"]
        yield "istiod: CPU for one change, beside ours", f"{cpu:.2f} s", f"{ours:.3f} s", f"{cpu / ours:.0f}"
        yield "istiod: resident memory at most", f"{found['memory'] / 1e6:.0f} MB", "", ""


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file, too")
    parser.add_argument("--quick", action="store_true", help="small sizes, for seconds")
    arguments = parser.parse_args()
    rows = []
    print("| figure | measured | floor | ratio |\n|---|---|---|---|")
    for row in run(arguments.quick):
        print("| " + " | ".join(row) + " |", flush=True)
        rows.append(row)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
