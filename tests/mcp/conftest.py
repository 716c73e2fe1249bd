"""What the tests of the MCP server share: resources, a publisher, servers and a hand-driven client."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import grpc
import pytest
import trustme
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from meshbridge.mcp.cache import SnapshotCache
from meshbridge.mcp.flow import Pacing
from meshbridge.mcp.server import McpServer
from meshbridge.mcp.stream import Serving
from meshbridge.schemas import wire
from meshbridge.schemas.istio import Location, Resolution, ServiceEntry, ServicePort, WorkloadEntry
from meshbridge.schemas.proto.meshbridge_mcp_pb2 import RequestResources, Resources
from meshbridge.schemas.resource import (
    EMPTY_SNAPSHOT,
    Kind,
    Publication,
    Resource,
    ResourceKey,
    replace,
    resource,
)

ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
METHOD = f"{ADS}StreamAggregatedResources"
DELTA_METHOD = f"{ADS}DeltaAggregatedResources"
LEGACY_METHOD = "/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream"


class Publisher:
    """Publishes to a cache as the pipeline does."""

    def __init__(self, cache: SnapshotCache) -> None:
        self.cache = cache
        self.generation = 0
        self.snapshot = EMPTY_SNAPSHOT

    def prepare(
        self, *put: Resource, remove: Iterable[ResourceKey] = (), oldest: dict[str, float] | None = None
    ) -> Publication:
        changes: dict[ResourceKey, Resource | None] = dict.fromkeys(remove)
        changes.update({found.key: found for found in put})
        self.snapshot, delta = replace(self.snapshot, changes)
        self.generation += 1
        return Publication(self.generation, self.snapshot, delta, oldest or {})

    async def put(self, *put: Resource, **more: dict[str, float]) -> None:
        await self.cache.apply(self.prepare(*put, **more))

    async def remove(self, *keys: ResourceKey) -> None:
        await self.cache.apply(self.prepare(remove=keys))


class Peer:
    """A client that does only what it is told."""

    def __init__(
        self, port: int, method: str = METHOD, credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.http2.bdp_probe", 0),  # The window stays small, so that who doesn't read has little room.
        ]
        if credentials is None:
            self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options)
        else:
            options.append(("grpc.ssl_target_name_override", "first.test"))
            self.channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options)
        self.call = self.channel.stream_stream(method, None, None)()

    async def ask(
        self, type_url: str, nonce: str = "", version: str = "", error: str = "", names: Iterable[str] = ()
    ) -> None:
        request = DiscoveryRequest(
            type_url=type_url, response_nonce=nonce, version_info=version, resource_names=names
        )
        if error:
            request.error_detail.message = error
        await self.send(request.SerializeToString())

    async def send(self, raw: bytes) -> None:
        await self.call.write(raw)

    async def read(self, within: float = 5.0) -> bytes:
        async with asyncio.timeout(within):
            raw = await self.call.read()
        assert raw is not grpc.aio.EOF, await self.call.code()
        return raw

    async def answer(self, within: float = 5.0) -> DiscoveryResponse:
        return DiscoveryResponse.FromString(await self.read(within))

    async def acked(self, within: float = 5.0) -> DiscoveryResponse:
        """The next answer, which is acknowledged."""
        found = await self.answer(within)
        await self.ask(found.type_url, found.nonce, found.version_info)
        return found

    async def status(self, within: float = 5.0) -> grpc.StatusCode:
        """How the stream ended. gRPC tells it only after everything before it was read."""
        async with asyncio.timeout(within):
            with suppress(grpc.aio.AioRpcError):
                while await self.call.read() is not grpc.aio.EOF:
                    pass
            return await self.call.code()


class DeltaPeer(Peer):
    """The same for delta."""

    def __init__(self, port: int) -> None:
        super().__init__(port, DELTA_METHOD)

    async def say(self, type_url: str, nonce: str = "", error: str = "", **names: object) -> None:
        subscribe, unsubscribe = names.get("subscribe", ()), names.get("unsubscribe", ())
        request = DeltaDiscoveryRequest(
            type_url=type_url,
            response_nonce=nonce,
            resource_names_subscribe=subscribe,
            resource_names_unsubscribe=unsubscribe,
            initial_resource_versions=names.get("initial", {}),
        )
        if error:
            request.error_detail.message = error
        await self.send(request.SerializeToString())

    async def heard(self, within: float = 5.0) -> DeltaDiscoveryResponse:
        """The next answer, which is acknowledged."""
        found = DeltaDiscoveryResponse.FromString(await self.read(within))
        await self.say(found.type_url, found.nonce)
        return found


class Sink(Peer):
    """The same for the legacy protocol."""

    def __init__(self, port: int) -> None:
        super().__init__(port, LEGACY_METHOD)

    async def say(self, collection: str, nonce: str = "", **more: object) -> None:
        request = RequestResources(collection=collection, response_nonce=nonce, **more)
        await self.send(request.SerializeToString())

    async def heard(self, within: float = 5.0, **more: object) -> Resources:
        """The next answer, which is acknowledged."""
        found = Resources.FromString(await self.read(within))
        await self.say(found.collection, found.nonce, **more)
        return found


@pytest.fixture
def entry() -> Callable[..., Resource]:
    """Makes a ServiceEntry resource of some endpoints; `salt` makes their addresses differ."""

    def make(
        name: str, endpoints: int = 1, salt: int = 0, labels: tuple[tuple[str, str], ...] = ()
    ) -> Resource:
        spec = ServiceEntry(
            hosts=(f"{name}.mesh",),
            location=Location.MESH_INTERNAL,
            resolution=Resolution.STATIC,
            ports=(ServicePort(80, "http", "HTTP"),),
            endpoints=tuple(
                WorkloadEntry(
                    address=f"10.{salt}.{i // 250}.{i % 250}",
                    labels={"app": name, "version": "v1"},
                    locality="eu-1/a",
                )
                for i in range(endpoints)
            ),
        )
        return resource(ResourceKey(Kind.SERVICE_ENTRY, "legacy", name), wire.encode(spec), labels)

    return make


@pytest.fixture
def workload() -> Callable[..., Resource]:
    """Makes a WorkloadEntry resource."""

    def make(name: str, address: str = "10.0.0.1") -> Resource:
        body = wire.encode(WorkloadEntry(address=address, labels={"app": name}))
        return resource(ResourceKey(Kind.WORKLOAD_ENTRY, "legacy", name), body)

    return make


@pytest.fixture
def cache() -> SnapshotCache:
    return SnapshotCache()


@pytest.fixture
def publisher(cache: SnapshotCache) -> Publisher:
    return Publisher(cache)


@pytest.fixture
def pacing() -> Pacing:
    """As in production, but quicker."""
    return Pacing(min_push_interval=0.03, ack_timeout=0.5, first_answer_delay=0.01)


@pytest.fixture
async def serve(pacing: Pacing) -> AsyncIterator[Callable[..., Awaitable[tuple[McpServer, int]]]]:
    """Starts servers, which stop at the end of the test."""
    async with AsyncExitStack() as stack:

        async def start(
            cache: SnapshotCache, listen: str = "127.0.0.1:0", tls: object = None, **more: object
        ) -> tuple[McpServer, int]:
            ping_interval = more.pop("ping_interval", 10.0)
            serving = Serving(cache, **{"pacing": pacing, **more})
            server = McpServer(serving, listen, tls=tls, ping_interval=ping_interval)
            port = await server.start()
            stack.push_async_callback(server.stop, 0.1)
            return server, port

        yield start


@pytest.fixture
async def port(serve: Callable[..., Awaitable[tuple[McpServer, int]]], cache: SnapshotCache) -> int:
    """Port of a server of `cache`."""
    return (await serve(cache))[1]


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[int], Peer]]:
    """Opens hand-driven clients, which are closed at the end of the test."""
    peers: list[Peer] = []

    kinds = {"sotw": Peer, "delta": DeltaPeer, "legacy": Sink}

    def open_peer(to: int, protocol: str = "sotw", **more: object) -> Peer:
        peers.append(kinds[protocol](to, **more))
        return peers[-1]

    yield open_peer
    for peer in peers:
        peer.call.cancel()
        await peer.channel.close()


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Path:
    """A folder with the authority (ca.pem) and two certificates, for first.test and second.test."""
    folder = tmp_path_factory.mktemp("certs")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("first", "second"):
        issued = authority.issue_cert(f"{name}.test")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
    return folder
