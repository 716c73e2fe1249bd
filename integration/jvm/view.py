"""What a client of the mesh holds of registered services, and when it and ZooKeeper learned of a change."""

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.protocol.states import WatchedEvent

from integration.bridges import SERVICE_ENTRIES
from integration.processes import PATIENCE
from meshbridge.mcp.client import IstiodClient
from meshbridge.schemas.istio import ServiceEntry


class Endpoint(msgspec.Struct, frozen=True, order=True, gc=False):
    """One endpoint, with the port that each protocol has there."""

    address: str
    ports: tuple[tuple[str, int], ...]
    """Protocol in Istio's words, and number."""
    version: str = ""
    weight: int = 0
    zone: str = ""
    tag: str = ""


class View:
    """The services of one domain as a client of the mesh holds them."""

    def __init__(self, client: IstiodClient, domain: str) -> None:
        self._client = client
        self._domain = domain

    def endpoints(self, service: str) -> list[Endpoint]:
        """Return the endpoints of a service; not one is left out, not even one that is there twice."""
        host = f"{service}.{self._domain}"
        found: list[Endpoint] = []
        for held in self._client.entries.get(SERVICE_ENTRIES, {}).values():
            spec = held.spec
            assert isinstance(spec, ServiceEntry)
            if host in spec.hosts:
                found += _endpoints(spec)
        return sorted(found)

    @property
    def services(self) -> set[str]:
        """The services of the domain, with or without endpoints."""
        held = self._client.entries.get(SERVICE_ENTRIES, {}).values()
        hosts = {host for found in held for host in found.spec.hosts}
        return {host.removesuffix(f".{self._domain}") for host in hosts}

    def addresses(self, service: str) -> list[str]:
        """Return the addresses of a service's endpoints."""
        return [endpoint.address for endpoint in self.endpoints(service)]

    async def becomes(self, condition: Callable[[], bool], within: float = PATIENCE) -> float:
        """Return the monotonic seconds at which the client holds what makes the condition true.

        Raises:
            TimeoutError: it does not within so many seconds.
        """
        await self._client.wait_for(lambda _: condition(), within)
        return time.monotonic()


class Registry:
    """What ZooKeeper has, asked by a session of its own."""

    def __init__(self, client: KazooClient) -> None:
        self._client = client

    async def empties(self, directory: str, part: str) -> asyncio.Future[float]:
        """Return the moment to come, in monotonic seconds, when no name in a directory has this part."""
        loop = asyncio.get_running_loop()
        moment: asyncio.Future[float] = loop.create_future()

        def look(_event: WatchedEvent | None = None) -> None:
            seen = time.monotonic()
            try:
                names = self._client.get_children(directory, watch=look)
            except KazooException:
                names = []  # The directory has gone, too, or the test is over.
            if not any(part in name for name in names):
                loop.call_soon_threadsafe(note, seen)

        def note(seen: float) -> None:
            if not moment.done():  # The watch outlives it.
                moment.set_result(seen)

        await asyncio.to_thread(look)
        return moment


def delays(began: Sequence[float], ended: Sequence[float]) -> str:
    """Return how long things took, as text; a client may be told before the test's own session is."""
    pairs = zip(began, ended, strict=True)
    return ", ".join(f"{max(end - begin, 0.0) * 1000:.0f}" for begin, end in pairs) + " ms"


def _endpoints(entry: ServiceEntry) -> list[Endpoint]:
    return [
        Endpoint(
            found.address,
            tuple(
                sorted((str(port.protocol), found.ports.get(port.name, port.number)) for port in entry.ports)
            ),
            found.labels.get("version", ""),
            found.weight,
            found.locality,
            found.labels.get("tag", ""),
        )
        for found in entry.endpoints
    ]
