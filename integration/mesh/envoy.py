"""A stock Envoy beside a client: services and endpoints from istiod, and mTLS where istiod says so."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import grpc

from integration.mesh.backends import METHOD
from integration.mesh.certificates import Identity
from integration.mesh.clients import Call
from integration.mesh.registries import PORT
from integration.mesh.secrets import serve_secrets
from integration.processes import PATIENCE, dies_with_us, end, eventually, free_ports

_ADDRESS = "192.0.2.20"
_TIMEOUT = 5.0
_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": f"{_EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


class Envoy:
    """Runs for as long as `async with` lasts."""

    def __init__(self, program: Path, folder: Path, istiod: str, identity: Identity) -> None:
        """Prepare to run `program` with what it needs in `folder`."""
        self._program = program
        self._folder = folder
        self._istiod = int(istiod.rpartition(":")[2])
        self._identity = identity
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        port, admin = free_ports(2)
        async with AsyncExitStack() as stack:
            secrets = await stack.enter_async_context(serve_secrets(self._identity))
            file = self._folder / "envoy.json"
            file.write_text(json.dumps(_config(port, admin, self._istiod, secrets)))
            log = stack.enter_context((self._folder / "envoy.log").open("wb"))
            self._process = await asyncio.create_subprocess_exec(
                *dies_with_us(),
                *(str(self._program), "-c", str(file), "--concurrency", "1", "--disable-hot-restart"),
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
            )
            stack.push_async_callback(end, self._process)
            self._http = await stack.enter_async_context(aiohttp.ClientSession())
            self._admin = f"http://127.0.0.1:{admin}"
            self._channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
            await eventually(self._is_ready)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print((self._folder / "envoy.log").read_text(errors="replace")[-4000:])
        await self._stack.__aexit__(kind, error, trace)

    async def wait_for_hosts(self, hosts: Sequence[str], within: float = PATIENCE) -> None:
        """Return as soon as it knows endpoints of all these hosts.

        Raises:
            TimeoutError: it doesn't within so many seconds.
        """

        async def knows_all() -> bool:
            async with self._http.get(f"{self._admin}/clusters") as response:
                found = await response.text()
            return all(f"{_cluster(host)}::127.0.0.1:" in found for host in hosts)

        await eventually(knows_all, within)

    async def call(self, host: str) -> Call:
        """Call a host through it, once."""
        sent = time.monotonic()
        server, caller, error = "", "", ""
        metadata = (("x-cluster", _cluster(host)),)
        try:
            answer = await self._channel.unary_unary(METHOD)(b"", timeout=_TIMEOUT, metadata=metadata)
            server, caller = json.loads(answer)
        except grpc.aio.AioRpcError as failure:
            error = f"{failure.code().name}: {failure.details()}"
        return Call(sent, time.monotonic() - sent, host, server, caller, error)

    async def _is_ready(self) -> bool:
        assert self._process.returncode is None, "Envoy has ended"
        try:
            async with self._http.get(f"{self._admin}/ready") as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False


def _cluster(host: str) -> str:
    return f"outbound|{PORT}||{host}"


def _config(port: int, admin: int, istiod: int, secrets: int) -> Mapping[str, Any]:
    """Return a bootstrap; the one listener takes the cluster to call from the header `x-cluster`."""
    metadata = {"NAMESPACE": "default", "CLUSTER_ID": "Kubernetes", "INSTANCE_IPS": _ADDRESS}
    return {
        "node": {
            "id": f"sidecar~{_ADDRESS}~envoy.default~default.svc.cluster.local",
            "cluster": "envoy.default",
            "metadata": metadata | {"ISTIO_VERSION": "1.31.0"},
        },
        "admin": {"address": _address(admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "istiod"}}],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            # istiod's clusters ask for certificates at a cluster of this name, as beside Istio's agent.
            "clusters": [_static("istiod", istiod), _static("sds-grpc", secrets)],
            "listeners": [_listener(port)],
        },
    }


def _listener(port: int) -> Mapping[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster_header": "x-cluster"}}
    router = {"@type": f"{_EXTENSIONS}.filters.http.router.v3.Router"}
    connections = {
        "@type": f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": "HTTP2",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    chain = {"filters": [{"name": "connections", "typed_config": connections}]}
    return {"name": "in", "address": _address(port), "filter_chains": [chain]}


def _static(name: str, port: int) -> Mapping[str, Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": _HTTP2,
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


def _address(port: int) -> Mapping[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
