"""Faults that would empty a mesh, each with what injects it and what it cost: real processes, no mocks."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import yaml

from integration.bridges import SERVICE_ENTRIES, Bridge
from integration.eureka.process import QUICK, Clients, EurekaServer
from integration.processes import eventually
from meshbridge.mcp.client import ClientSettings, IstiodClient
from meshbridge.schemas.istio import ServiceEntry

MANY = [f"10.0.0.{number}" for number in range(1, 41)]
HALF = MANY[:20]


class Outcome(NamedTuple):
    """One line of the table."""

    fault: str
    injected: str
    lost: int
    """Endpoints that a client lost at any moment though the registry had not taken them out."""
    seconds: float
    """From the end of the fault until the client had the truth."""


class Witness:
    """A client that holds what istiod would hold, and remembers the least it had."""

    def __init__(self, address: str) -> None:
        settings = ClientSettings(first_retry=0.02, max_retry=0.1)
        self._client = IstiodClient(address, settings, lambda _change: self._look())
        self._most = 0
        self.lost = 0

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    def addresses(self) -> list[str]:
        """Return the addresses of all endpoints."""
        specs = [found.spec for found in self._client.entries.get(SERVICE_ENTRIES, {}).values()]
        return sorted(
            point.address for spec in specs if isinstance(spec, ServiceEntry) for point in spec.endpoints
        )

    async def has(self, wanted: Sequence[str], within: float = 30.0) -> None:
        """Return as soon as these are all there is."""

        async def holds() -> bool:
            return self.addresses() == sorted(wanted)

        await eventually(holds, within)

    @property
    def responses(self) -> int:
        """How many answers came."""
        return self._client.counters.responses

    async def has_newer(self, responses: int) -> None:
        """Return as soon as more answers came than so many."""
        await self._client.wait_for(lambda seen: seen.counters.responses > responses, within=30.0)

    def _look(self) -> None:
        count = len(self.addresses())
        self.lost = max(self.lost, self._most - count)
        self._most = max(self._most, count)


def listed(*addresses: str, weight: int = 1) -> Mapping[str, Any]:
    """Return a service with these instances, as the inventory has it."""
    instances = [{"address": address, "weight": weight} for address in addresses]
    return {"name": "shop", "port": 80, "instances": instances}


@asynccontextmanager
async def served(bridge: Bridge, *addresses: str) -> AsyncIterator[Witness]:
    """Run a bridge with one service, and a client that has all of it."""
    bridge.inventory.write(listed(*addresses))
    async with bridge, Witness(bridge.mcp_address) as witness:
        await witness.has(addresses)
        yield witness


def stateful(folder: Path, state: Path, **safety: object) -> Bridge:
    """Return a bridge with a state directory."""
    folder.mkdir(exist_ok=True)
    return Bridge(folder, safety={"state_dir": str(state), **safety})


async def killed(folder: Path) -> Outcome:
    """Kill the bridge again and again while its registry changes and its state is written."""
    bridge = stateful(folder, folder / "state")
    async with served(bridge, *MANY) as witness:
        for number in range(5):
            bridge.inventory.write(listed(*MANY, f"10.1.0.{number}"))
            await bridge.kill()
            await bridge.start()
        lost = witness.lost
        began = time.monotonic()
        await witness.has([*MANY, "10.1.0.4"])
        return Outcome("the bridge crashes", "kill -9, 5 times, under changes", lost, _since(began))


async def unreadable_at_start(folder: Path) -> Outcome:
    """Restart the bridge while its registry can't be read."""
    bridge = stateful(folder, folder / "state")
    async with served(bridge, *MANY) as witness:
        await bridge.stop()
        bridge.inventory.write_text('{"services": [{"name": "sh')
        await bridge.start()
        await bridge.wait_for_client()
        lost = witness.lost
        began = time.monotonic()
        bridge.inventory.write(listed(*MANY, "10.1.0.1"))
        await witness.has([*MANY, "10.1.0.1"])
        return Outcome("registry down at a cold start", "restart, broken document", lost, _since(began))


async def half_gone(folder: Path) -> Outcome:
    """Let the registry come back with half of what it had."""
    bridge = stateful(folder, folder / "state")
    async with served(bridge, *MANY) as witness:
        bridge.inventory.write(listed(*HALF))
        await eventually(lambda: held(bridge, len(MANY) - len(HALF)))
        await bridge.stop()
        await bridge.start()  # What is held survives that.
        await eventually(lambda: held(bridge, len(MANY) - len(HALF)))
        await bridge.wait_for_client()
        lost = witness.lost
        began = time.monotonic()
        bridge.inventory.write(listed(*MANY[:-1]))
        await witness.has(MANY[:-1])
        return Outcome(
            "registry comes back with half", "document with 20 of 40, and a restart", lost, _since(began)
        )


async def emptied(folder: Path, jar: Path) -> Outcome:
    """Restart a real Eureka, which forgets everything, below a running bridge."""
    with EurekaServer(jar, folder, *QUICK) as server:
        source = {
            **{"name": "spring", "kind": "eureka", "urls": [server.url]},
            **{"poll_interval": "200ms", "settle": "1s"},
        }
        bridge = Bridge(folder, sources=[source])
        clients = Clients(server.url)
        for address in MANY:
            await clients.register("shop", address)
        async with bridge, Witness(bridge.mcp_address) as witness:
            await witness.has(MANY)
            server.kill()
            server.start()
            await asyncio.sleep(3.0)  # Longer than `settle`: the bridge had time to believe it.
            lost = witness.lost
            for address in MANY:
                await clients.register("shop", address)
            began = time.monotonic()
            await clients.register("shop", "10.1.0.1")
            await witness.has([*MANY, "10.1.0.1"])
            return Outcome("registry comes back empty", "Eureka killed and restarted", lost, _since(began))


async def emptied_at_start(folder: Path, jar: Path) -> Outcome:
    """Restart both a bridge without retained state and its Eureka."""
    with EurekaServer(jar, folder, *QUICK) as server:
        source = {"name": "spring", "kind": "eureka", "urls": [server.url], "poll_interval": "200ms"}
        bridge = Bridge(folder, sources=[source], safety={"refill": "2s"})
        clients = Clients(server.url)
        for address in HALF:
            await clients.register("shop", address)
        async with bridge, Witness(bridge.mcp_address) as witness:
            await witness.has(HALF)
            await bridge.kill()
            server.kill()
            server.start()
            await bridge.start()
            await eventually(lambda: in_state(bridge, "empty"))
            assert not await bridge.is_ready()
            lost = witness.lost
            began = time.monotonic()
            for address in [*HALF, "10.1.0.1"]:
                await clients.register("shop", address)
            await witness.has([*HALF, "10.1.0.1"])
            return Outcome("both restart, no retained state", "bridge and Eureka killed", lost, _since(began))


async def disk_trouble(folder: Path, *, is_full: bool) -> Outcome:
    """Fill the disk below the state directory, or make it read-only, and restart without a registry."""
    state = folder / "state"
    with small_disk(state) as disk:
        bridge = stateful(folder, state / "own")
        async with served(bridge, *MANY) as witness:
            await bridge.stop()
            filler = state / "filler"
            disk.fill(filler) if is_full else disk.remount("ro")
            await bridge.start()
            responses = witness.responses
            bridge.inventory.write(listed(*MANY, weight=2))
            await witness.has_newer(responses)
            await bridge.stop()  # It writes its state now, and can't.
            assert "state not written" in bridge.log or "state directory unusable" in bridge.log
            bridge.inventory.write_text("{")
            await bridge.start()
            await bridge.wait_for_client()
            lost = witness.lost
            disk.remount("rw")
            filler.unlink(missing_ok=True)
            began = time.monotonic()
            bridge.inventory.write(listed(*MANY, "10.1.0.2"))
            await witness.has([*MANY, "10.1.0.2"])
        name, how = ("full disk", "tmpfs without room") if is_full else ("read-only disk", "tmpfs remounted")
        return Outcome(f"{name} for the state", f"{how}, two restarts", lost, _since(began))


async def bad_reload(folder: Path) -> Outcome:
    """Write invalid configurations, and one that drops everything, while instances come."""
    bridge = stateful(folder, folder / "state")
    config = folder / "meshbridge.yaml"
    async with served(bridge, *MANY) as witness:
        good = config.read_text()
        dropping = yaml.safe_load(good) | {"rules": [{"match": {"service": "*"}, "drop": True}]}
        for number, text in enumerate(["sources: [", "sources: []", yaml.safe_dump(dropping)] * 5):
            config.write_text(text)
            bridge.inventory.write(listed(*MANY, f"10.1.0.{number}"))
            await witness.has([*MANY, f"10.1.0.{number}"])
        await eventually(lambda: refused(bridge))
        lost = witness.lost
        began = time.monotonic()
        config.write_text(good)
        bridge.inventory.write(listed(*MANY))
        await witness.has(MANY)
        return Outcome("reload with a bad file", "15 files, invalid or dropping all", lost, _since(began))


async def held(bridge: Bridge, count: int) -> bool:
    """Whether the guard holds so many instances."""
    return sum(source["held"] for source in await bridge.get("sources")) == count


async def in_state(bridge: Bridge, state: str) -> bool:
    """Whether the only source is in this state."""
    return [source["state"] for source in await bridge.get("sources")] == [state]


async def refused(bridge: Bridge) -> bool:
    """Whether a reload was refused for what it would remove."""
    return "would remove" in bridge.log


class Disk(NamedTuple):
    """A small file system of its own."""

    place: Path

    def fill(self, path: Path) -> None:
        """Leave no room."""
        with path.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                return

    def remount(self, mode: str) -> None:
        """Make it `ro` or `rw`."""
        subprocess.run(["mount", "-o", f"remount,{mode}", str(self.place)], check=True)


@contextmanager
def small_disk(place: Path) -> Iterator[Disk]:
    """Give a file system of 256 KiB.

    Raises:
        PermissionError: this user may not mount.
    """
    place.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        raise PermissionError("a small disk needs the right to mount")
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _since(began: float) -> float:
    return time.monotonic() - began


Fault = Callable[[Path], Awaitable[Outcome]]


def faults(jar: Path | None) -> dict[str, Fault]:
    """Return all faults by name; without a Eureka those that need none."""
    found: dict[str, Fault] = {
        "killed": killed,
        "unreadable-at-start": unreadable_at_start,
        "half-gone": half_gone,
        "full-disk": lambda folder: disk_trouble(folder, is_full=True),
        "read-only-disk": lambda folder: disk_trouble(folder, is_full=False),
        "bad-reload": bad_reload,
    }
    if jar is not None:
        found["emptied"] = lambda folder: emptied(folder, jar)
        found["emptied-at-start"] = lambda folder: emptied_at_start(folder, jar)
    return found
