"""Delta and the legacy protocol over the wire: what the scripts leave open."""

import asyncio

import grpc
import pytest
from structlog.testing import capture_logs

from meshbridge.mcp.flow import Pacing
from meshbridge.schemas.proto.meshbridge_mcp_pb2 import Resource as Wrapped

SE = "networking.istio.io/v1/ServiceEntry"
COLLECTION = "istio/networking/v1alpha3/serviceentries"


async def test_one_changed_resource_of_many_costs_one_resource(port, publisher, entry, connect) -> None:
    await publisher.put(*(entry(f"s{i}") for i in range(5000)))
    peer = connect(port, "delta")
    await peer.say(SE)
    first = await peer.heard()

    await publisher.put(entry("s77", salt=1))

    second = await peer.heard()
    assert len(first.resources) == 5000
    assert [item.name for item in second.resources] == ["legacy/s77"]
    assert second.ByteSize() < 1000


async def test_delta_brings_resources_with_name_and_version_and_removals(
    port, publisher, entry, connect
) -> None:
    await publisher.put(entry("a"), entry("b"))
    peer = connect(port, "delta")
    await peer.say(SE)
    first = await peer.heard()
    await publisher.remove(entry("a").key)

    second = await peer.heard()

    [item, _] = first.resources
    assert (item.name, item.version) == ("legacy/a", entry("a").version)
    assert Wrapped.FromString(item.resource.value).metadata.name == "legacy/a"
    assert list(second.removed_resources) == ["legacy/a"]


async def test_delta_clients_get_the_same_bytes(port, publisher, entry, connect) -> None:
    await publisher.put(entry("a"))
    peers = [connect(port, "delta") for _ in range(3)]
    for peer in peers:
        await peer.say(SE)
    first = {await peer.read() for peer in peers}
    await publisher.put(entry("b"))

    second = {await peer.read() for peer in peers for _ in [await peer.say(SE, "g1")]}

    assert (len(first), len(second)) == (1, 1)


async def test_delta_client_behind_a_lot_of_removals_is_sent_away_to_come_again(
    serve, cache, publisher, entry, connect, eventually
) -> None:
    _, port = await serve(cache, pacing=Pacing(0.0, 1e6, 0.0, 0.0, 0.0))
    await publisher.put(entry("keep"))
    peer = connect(port, "delta")
    await peer.say(SE)
    await peer.read()
    gone = [entry(f"n{i}") for i in range(3000)]
    await publisher.put(*gone)
    for found in gone:
        await publisher.remove(found.key)

    await peer.say(SE, "g1")

    assert await peer.status() is grpc.StatusCode.UNAVAILABLE
    again = connect(port, "delta")
    await again.say(SE, initial={"legacy/n1": "x"})
    assert list((await again.heard()).removed_resources) == ["legacy/n1"]


async def test_legacy_sink_gets_whole_collections_inline(port, publisher, entry, connect) -> None:
    await publisher.put(entry("a"))
    sink = connect(port, "legacy")
    await sink.say(COLLECTION)
    first = await sink.heard()
    await publisher.put(entry("b"))

    second = await sink.heard()

    assert [item.metadata.name for item in first.resources] == ["legacy/a"]
    assert first.resources[0].body.type_url == "type.googleapis.com/istio.networking.v1alpha3.ServiceEntry"
    assert [item.metadata.name for item in second.resources] == ["legacy/a", "legacy/b"]
    assert first.nonce != second.nonce
    assert not second.incremental


async def test_legacy_sink_that_asks_for_increments_gets_them(port, publisher, entry, connect) -> None:
    await publisher.put(entry("a"), entry("b"))
    sink = connect(port, "legacy")
    await sink.say(COLLECTION, incremental=True, initial_resource_versions={"legacy/b": entry("b").version})
    first = await sink.heard(incremental=True)
    await publisher.remove(entry("b").key)

    second = await sink.heard(incremental=True)

    assert [item.metadata.name for item in first.resources] == ["legacy/a"]
    assert list(second.removed_resources) == ["legacy/b"]
    assert second.incremental


async def test_response_that_old_pilots_refuse_is_warned_of_once(port, publisher, entry, connect) -> None:
    await publisher.put(*(entry(f"s{i}", 100) for i in range(900)))
    sink = connect(port, "legacy")

    with capture_logs() as logs:
        await sink.say(COLLECTION)
        await sink.heard()
        await publisher.put(entry("s0", 100, 1))
        await sink.heard()

    [warning] = [line for line in logs if "larger than a Pilot takes" in line["event"]]
    assert warning["size"] > 4 << 20


@pytest.mark.parametrize(("protocol", "url"), [("delta", SE), ("legacy", COLLECTION)])
async def test_status_tells_protocol_refusals_and_why(
    serve, cache, publisher, entry, connect, eventually, protocol: str, url: str
) -> None:
    server, port = await serve(cache)
    await publisher.put(entry("a"))
    peer = connect(port, protocol)
    await peer.say(url)
    answer = await peer.heard()

    await publisher.put(entry("a", salt=1))
    await peer.read()
    error = (
        {"error": "bad\nhost\x1b[31m"}
        if protocol == "delta"
        else {"error_detail": {"message": "bad\nhost\x1b[31m"}}
    )
    nonce = answer.nonce.replace("1", "2")
    await peer.say(url, nonce, **error)
    await eventually(lambda: server.clients.statuses()[0].types[0].nacks == 1)

    [status] = server.clients.statuses()
    assert status.protocol == protocol
    assert status.types[0].nack_text == "bad host [31m"
    assert status.types[0].acked == answer.system_version_info


async def test_all_protocols_are_served_on_one_port_at_once(port, publisher, entry, connect) -> None:
    await publisher.put(entry("a"))
    sotw, delta, sink = connect(port), connect(port, "delta"), connect(port, "legacy")
    await sotw.ask(SE)
    await delta.say(SE)
    await sink.say(COLLECTION)

    first = await asyncio.gather(sotw.acked(), delta.heard(), sink.heard())
    await publisher.put(entry("b"))
    second = await asyncio.gather(sotw.acked(), delta.heard(), sink.heard())

    assert [len(found.resources) for found in first] == [1, 1, 1]
    assert [len(found.resources) for found in second] == [2, 1, 2]


@pytest.mark.parametrize("protocol", ["sotw", "delta", "legacy"])
async def test_bytes_that_are_no_request_end_the_stream(port, connect, protocol: str) -> None:
    peer = connect(port, protocol)

    await peer.send(b"\xff\xff\xff")

    assert await peer.status() is grpc.StatusCode.INVALID_ARGUMENT
