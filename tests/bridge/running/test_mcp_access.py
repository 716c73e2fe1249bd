"""What the configuration says of MCP clients is what they meet."""

from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

SERVICE_ENTRIES = "networking.istio.io/v1/ServiceEntry"
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"


@pytest.fixture
def tls(tmp_path: Path, authority: trustme.CA) -> dict[str, Any]:
    issued = authority.issue_cert("bridge.test")
    issued.private_key_pem.write_to_path(tmp_path / "tls.key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "tls.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return {
        "cert_file": str(tmp_path / "tls.pem"),
        "key_file": str(tmp_path / "tls.key"),
        "client_ca_file": str(tmp_path / "ca.pem"),
    }


def channel(address: str, authority: trustme.CA, name: str) -> grpc.aio.Channel:
    issued = authority.issue_cert(name)
    credentials = grpc.ssl_channel_credentials(
        authority.cert_pem.bytes(), issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()
    )
    options = [("grpc.ssl_target_name_override", "bridge.test"), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(address, credentials, options)


async def first_answer(of: grpc.aio.Channel) -> DiscoveryResponse:
    async with of:
        call = of.stream_stream(METHOD, None, None)()
        await call.write(DiscoveryRequest(type_url=SERVICE_ENTRIES).SerializeToString())
        async for raw in call:
            return DiscoveryResponse.FromString(raw)
        raise AssertionError("no answer")


async def test_allow_list_decides_who_sees_what(site, tls, authority) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    allow = [{"san": "istiod.test"}, {"san": "audit.test", "namespaces": ["elsewhere"]}]
    mcp = {"listen": "127.0.0.1:0", "tls": tls, "allow": allow}
    site.configure(site.source("vms", "vms.yaml"), outputs={"mcp": mcp})

    async with site.running() as bridge:
        all_of_it = await first_answer(channel(bridge.mcp_address, authority, "istiod.test"))
        nothing = await first_answer(channel(bridge.mcp_address, authority, "audit.test"))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await first_answer(channel(bridge.mcp_address, authority, "stranger.test"))

    assert (len(all_of_it.resources), len(nothing.resources)) == (1, 0)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_limits_hold(site) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    limits = {"streams": 5, "streams_per_client": 1}
    mcp = {"listen": "127.0.0.1:0", "limits": limits}
    site.configure(site.source("vms", "vms.yaml"), outputs={"mcp": mcp})

    async with site.connected() as (bridge, client):
        await client.wait_for(lambda seen: not seen.unsynced, 5)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await first_answer(grpc.aio.insecure_channel(bridge.mcp_address))

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
