"""What the Kubernetes output costs, beside bare server-side apply against the same server in the same run.

    PYTHONPATH=. python tests/benchmarks/kubernetes_output.py [--count 1000] [--endpoints 20] [--json FILE]

Needs the API server of integration/build_kubernetes.py. Client and server share the machine, so that ratios
count, not times. Bare apply is the same bodies, made before, with 8 requests in flight and nothing else: no
list, no watch, no lease. CPU is this process's.
"""

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from integration.build_kubernetes import binary, crd_file
from integration.kubernetes.process import APPLY, ApiServer
from meshbridge.bridge import logs
from meshbridge.bridge.config.kubernetes import KubernetesOutput
from meshbridge.bridge.config.models import Log
from meshbridge.bridge.kubernetes.leavers import Limits
from meshbridge.bridge.kubernetes.objects import encode, object_path
from meshbridge.bridge.kubernetes.sink import KubernetesSink
from meshbridge.schemas import wire
from meshbridge.schemas.istio import Location, Resolution, ServiceEntry, ServicePort, WorkloadEntry
from meshbridge.schemas.registry import labels
from meshbridge.schemas.resource import (
    EMPTY_SNAPSHOT,
    Kind,
    Publication,
    Resource,
    ResourceKey,
    diff,
    snapshot,
)
from meshbridge.schemas.resource import resource as make_resource

IN_FLIGHT = 8
LABELS = labels({"app.kubernetes.io/managed-by": "meshbridge"})

Figures = dict[str, float]


class Counts:
    """Writes by result."""

    def __init__(self) -> None:
        self.results: Counter[str] = Counter()

    def written(self, _kind: Kind, result: str, _seconds: float) -> None:
        """Count a write."""
        self.results[result] += 1


class Meter:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Return both."""
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def entries(namespace: str, count: int, endpoints: int, generation: int = 0) -> list[Resource]:
    """Return ServiceEntries; the generation changes the first one."""
    made = []
    for number in range(count):
        weight = 100 + (generation if number == 0 else 0)
        spec = ServiceEntry(
            hosts=(f"svc-{number:05d}.zk.mesh",),
            location=Location.MESH_INTERNAL,
            resolution=Resolution.STATIC,
            ports=(ServicePort(number=8080, name="http", protocol="HTTP"),),
            endpoints=tuple(
                WorkloadEntry(
                    address=f"10.{number >> 8 & 255}.{number & 255}.{place + 1}",
                    ports={"http": 8081},
                    labels={"version": "v1", "zone": "eu-1a"},
                    locality="eu-1/eu-1a",
                    weight=weight,
                )
                for place in range(endpoints)
            ),
        )
        key = ResourceKey(Kind.SERVICE_ENTRY, namespace, f"svc-{number:05d}")
        made.append(make_resource(key, wire.encode(spec), LABELS))
    return made


async def bare(server: ApiServer, resources: list[Resource], group: str) -> tuple[float, float]:
    """Apply everything, 8 at once, and return wall and CPU seconds."""
    bodies = [(object_path(one.key), encode(one, group)[0]) for one in resources]
    work: Iterator[tuple[str, bytes]] = iter(bodies)
    query = {"fieldManager": f"bench-{group}", "force": "false"}

    async with server.session() as http:

        async def worker() -> None:
            for path, body in work:
                async with http.patch(
                    path, params=query, data=body, headers={"Content-Type": APPLY}
                ) as answer:
                    await answer.read()
                    if answer.status not in {200, 201}:
                        raise RuntimeError(f"HTTP {answer.status}")

        meter = Meter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(IN_FLIGHT):
                tasks.create_task(worker())
        return meter.read()


@asynccontextmanager
async def running(server: ApiServer, namespace: str) -> AsyncIterator[tuple[KubernetesSink, Counts]]:
    """Run a sink that leads already."""
    settings = KubernetesOutput.model_validate(
        {
            "enabled": True,
            "kubeconfig": str(server.kubeconfig),
            "group": namespace,
            "namespaces": (namespace,),
            "in_flight": IN_FLIGHT,
            "lease": {"namespace": namespace},
        }
    )
    counts = Counts()
    sink = KubernetesSink(settings, counts, lambda: True, Limits())
    task = asyncio.create_task(sink.run())
    try:
        while sink.status().state != "leading":  # noqa: ASYNC110 - as below
            await asyncio.sleep(0.01)
        yield sink, counts
    finally:
        task.cancel()
        await asyncio.wait({task})


async def settled(sink: KubernetesSink) -> None:
    """Return when nothing waits."""
    while sink.status().pending:  # noqa: ASYNC110 - it has no event for that
        await asyncio.sleep(0.02)


async def create_namespace(server: ApiServer, name: str) -> None:
    """Make a namespace."""
    async with (
        server.session() as http,
        http.post("/api/v1/namespaces", json={"kind": "Namespace", "metadata": {"name": name}}) as answer,
    ):
        await answer.read()


async def measure(server: ApiServer, count: int, endpoints: int, rounds: int) -> Figures:
    """Return all figures. Bare and ours take turns, in namespaces of their own; the best of each counts."""
    bare_times, our_times = [], []
    for turn in range(rounds):
        for name in (f"bare-{turn}", f"ours-{turn}"):
            await create_namespace(server, name)
        bare_times.append(await bare(server, entries(f"bare-{turn}", count, endpoints), f"bare-{turn}"))
        ours = entries(f"ours-{turn}", count, endpoints)
        async with running(server, f"ours-{turn}") as (sink, _):
            full = snapshot(ours)
            meter = Meter()
            await sink.apply(Publication(1, full, diff(EMPTY_SNAPSHOT, full), {}))
            await settled(sink)
            our_times.append(meter.read())
    floor, floor_cpu = min(bare_times)
    first, first_cpu = min(our_times)
    print(f"first write of {count} x {endpoints}, {IN_FLIGHT} in flight: {first:.2f} s, bare {floor:.2f} s")
    figures = {
        "first_write_seconds": first,
        "bare_seconds": floor,
        "first_write_over_bare": first / floor,
        "cpu_ms_per_object": first_cpu / count * 1000,
        "bare_cpu_ms_per_object": floor_cpu / count * 1000,
    }
    return figures | await later(server, count, endpoints)


async def later(server: ApiServer, count: int, endpoints: int) -> Figures:
    """Return the figures of a restart and of one change."""
    name = "ours-0"
    before = snapshot(entries(name, count, endpoints))
    async with running(server, name) as (sink, counts):
        meter = Meter()
        await sink.apply(Publication(1, before, diff(EMPTY_SNAPSHOT, before), {}))
        await settled(sink)
        wall, cpu = meter.read()
        figures = {
            "restart_writes": float(sum(counts.results.values())),
            "restart_seconds": wall,
            "restart_cpu_ms_per_object": cpu / count * 1000,
        }
        after = snapshot(entries(name, count, endpoints, generation=1))
        meter = Meter()
        await sink.apply(Publication(2, after, diff(before, after), {}))
        await settled(sink)
        wall, _ = meter.read()
        await asyncio.sleep(1.0)  # For writes that should not come.
        figures["one_change_writes"] = float(sum(counts.results.values()))
        figures["one_change_ms"] = wall * 1000
    return figures


async def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--endpoints", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    logs.configure(Log(level="warning"))
    if not binary().exists():
        print(f"{binary()} is missing; python integration/build_kubernetes.py builds it")
        return 75
    with tempfile.TemporaryDirectory() as folder:
        async with ApiServer(binary(), crd_file(), Path(folder)) as server:
            figures = await measure(server, options.count, options.endpoints, options.rounds)
    figures["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for name, value in figures.items():
        print(f"{name:28s} {value:10.3f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
