"""CPU share of a source's TCP probes: `python tests/benchmarks/probing.py [TARGETS] [SECONDS]`.

A second process listens on one loopback port; targets are addresses of 127.0.0.0/8, and one in twenty
has a port where nobody listens. The floor is the same number of bare blocking connects by one thread.
"""

import asyncio
import json
import multiprocessing
import multiprocessing.connection
import resource
import socket
import sys
import time

from meshbridge.adapters.base import AdapterContext, Emit
from meshbridge.adapters.probing.adapter import Probing
from meshbridge.adapters.probing.settings import ProbeSettings, TcpProbe
from meshbridge.schemas.registry import (
    FullSync,
    GroupUpdate,
    Instance,
    InstanceGroup,
    Port,
    ServiceKey,
    SourceEvent,
    group,
)

INTERVAL = 10.0
GROUP_SIZE = 20
REFUSED_SHARE = 20


def listen(ready: multiprocessing.connection.Connection) -> None:
    """Accept and close connections until the process is ended."""
    with socket.create_server(("0.0.0.0", 0), backlog=4096) as server:
        ready.send(server.getsockname()[1])
        while True:
            server.accept()[0].close()


def free_port() -> int:
    """Return a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def make_groups(targets: int, open_port: int) -> tuple[InstanceGroup, ...]:
    """Return groups with that many instances in all, each of its own address."""
    closed = free_port()
    instances = [
        Instance(
            id=str(number),
            address=f"127.{1 + number // 62_500}.{number // 250 % 250}.{1 + number % 250}",
            ports=(Port("tcp", closed if number % REFUSED_SHARE == 0 else open_port),),
        )
        for number in range(targets)
    ]
    return tuple(
        group(ServiceKey("bench", f"service-{start}"), instances[start : start + GROUP_SIZE])
        for start in range(0, targets, GROUP_SIZE)
    )


class Still:
    """An adapter whose registry never changes."""

    name = "bench"

    def __init__(self, groups: tuple[InstanceGroup, ...]) -> None:
        self._groups = groups

    async def run(self, emit: Emit) -> None:
        await emit(FullSync(self._groups, time.monotonic()))
        await asyncio.Event().wait()


def cpu_seconds() -> float:
    """Return the CPU time of this process, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure(groups: tuple[InstanceGroup, ...], seconds: float) -> dict[str, float]:
    """Probe for so long after the first interval, and return the figures."""
    settings = ProbeSettings(tcp=TcpProbe(), interval=INTERVAL)
    unready: dict[ServiceKey, int] = {}

    async def count(event: SourceEvent) -> None:
        if isinstance(event, GroupUpdate):
            unready[event.group.key] = sum(not i.health.is_served for i in event.group.instances)

    adapter = Probing(Still(groups), settings, AdapterContext("bench"))
    running = asyncio.create_task(adapter.run(count))
    try:
        before, begun = cpu_seconds(), time.monotonic()
        await asyncio.sleep(INTERVAL)
        first = (cpu_seconds() - before) / (time.monotonic() - begun)
        before, begun = cpu_seconds(), time.monotonic()
        await asyncio.sleep(seconds)
        steady = (cpu_seconds() - before) / (time.monotonic() - begun)
    finally:
        running.cancel()
        await asyncio.wait([running])
    return {"first_interval_cores": first, "steady_cores": steady, "unready": sum(unready.values())}


def floor(groups: tuple[InstanceGroup, ...], seconds: float) -> float:
    """Return the cores that the same rate of bare connects takes."""
    addresses = [(i.address, i.ports[0].number) for one in groups for i in one.instances]
    before = cpu_seconds()
    for address in addresses:
        with socket.socket() as connection:
            connection.connect_ex(address)
    return (cpu_seconds() - before) / seconds


def main(targets: int = 10_000, seconds: float = 25.0) -> None:
    """Print the figures as JSON."""
    ready, theirs = multiprocessing.Pipe()
    listener = multiprocessing.get_context("spawn").Process(target=listen, args=(theirs,), daemon=True)
    listener.start()
    try:
        groups = make_groups(targets, ready.recv())
        floor_cores = floor(groups, INTERVAL)
        figures = asyncio.run(measure(groups, seconds))
    finally:
        listener.terminate()
    print(json.dumps({"targets": targets, "floor_cores": floor_cores, **figures}, indent=2))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
