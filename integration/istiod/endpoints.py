"""Endpoints as istiod tells them to a proxy: a subscription to the endpoint discovery service (EDS)."""

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import grpc
import msgspec
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

_TYPE = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
_NODE = "sidecar~127.0.0.77~watcher.default~default.svc.cluster.local"


class Endpoint(msgspec.Struct, frozen=True, order=True, gc=False):
    """One endpoint of a cluster."""

    address: str
    """IP address and port."""
    locality: str
    weight: int
    priority: int = 0
    """Proxies use it when all of smaller priority have failed."""
    is_draining: bool = False


class Update(msgspec.Struct, frozen=True, gc=False):
    """What a proxy knows from some moment on."""

    at: float
    """Monotonic seconds."""
    endpoints: tuple[Endpoint, ...]

    @property
    def addresses(self) -> list[str]:
        """Addresses and ports, sorted."""
        return [endpoint.address for endpoint in self.endpoints]


class EndpointWatch:
    """Follows one host for as long as `async with` lasts. `updates` has everything it was told."""

    def __init__(self, istiod: str, host: str, port: int) -> None:
        self._istiod = istiod
        self._cluster = f"outbound|{port}||{host}"
        self._moved = asyncio.Event()
        self.updates: list[Update] = []

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self._istiod)
        self._task = asyncio.create_task(self._follow(), name=f"endpoints of {self._cluster}")
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
        await self._channel.close(grace=None)
        if not self._task.cancelled():
            self._task.result()

    async def wait_for(self, condition: Callable[[Update], bool], within: float = 10.0) -> Update:
        """Return the first update from now on that meets the condition; the newest one counts too.

        Raises:
            TimeoutError: there is none within so many seconds.
        """
        async with asyncio.timeout(within):
            while not (self.updates and condition(self.updates[-1])):
                self._moved.clear()
                await self._moved.wait()
        return self.updates[-1]

    async def wait_for_addresses(self, wanted: Sequence[str], within: float = 10.0) -> Update:
        """Return the update since which the endpoints are these, `address:port`, in any order.

        Raises:
            TimeoutError: they are not within so many seconds.
        """
        return await self.wait_for(lambda update: update.addresses == sorted(wanted), within)

    async def _follow(self) -> None:
        call = AggregatedDiscoveryServiceStub(self._channel).StreamAggregatedResources()
        await call.write(self._request())
        async for response in call:
            found = [ClusterLoadAssignment.FromString(item.value) for item in response.resources]
            self.updates += [Update(time.monotonic(), _endpoints(assignment)) for assignment in found]
            self._moved.set()
            await call.write(self._request(response.version_info, response.nonce))

    def _request(self, version: str = "", nonce: str = "") -> DiscoveryRequest:
        request = DiscoveryRequest(
            type_url=_TYPE, resource_names=[self._cluster], version_info=version, response_nonce=nonce
        )
        request.node.id = _NODE
        request.node.metadata.update(
            {"NAMESPACE": "default", "CLUSTER_ID": "Kubernetes", "ISTIO_VERSION": "1.29.0"}
        )
        return request


def _endpoints(assignment: ClusterLoadAssignment) -> tuple[Endpoint, ...]:
    found = [_endpoint(group, one) for group in assignment.endpoints for one in group.lb_endpoints]
    return tuple(sorted(found))


def _endpoint(group: LocalityLbEndpoints, one: LbEndpoint) -> Endpoint:
    where = group.locality
    socket = one.endpoint.address.socket_address
    return Endpoint(
        address=f"{socket.address}:{socket.port_value}",
        locality="/".join(filter(None, (where.region, where.zone, where.sub_zone))),
        weight=one.load_balancing_weight.value,
        priority=group.priority,
        is_draining=one.health_status == HealthStatus.DRAINING,
    )
