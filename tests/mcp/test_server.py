"""The server, spoken to by a hand-driven client: the protocol, line by line."""

import asyncio

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from meshbridge.mcp.flow import Pacing
from meshbridge.mcp.server import McpServer, clean_peer
from meshbridge.mcp.stream import Serving
from meshbridge.mcp.turns import Turns
from meshbridge.schemas.errors import SinkError
from meshbridge.schemas.proto.meshbridge_mcp_pb2 import Resource as Wrapped

SE = "networking.istio.io/v1/ServiceEntry"
WE = "networking.istio.io/v1/WorkloadEntry"
MESH_CONFIG = "core/v1alpha1/MeshConfig"
LAST = "networking.istio.io/v1/DestinationRule"


def names(response) -> list[str]:
    return [Wrapped.FromString(item.value).metadata.name for item in response.resources]


async def settled(peer) -> None:
    """Return when the server has handled all that was sent: it answers a type never asked before."""
    await peer.ask(LAST)
    answer = await peer.acked()
    assert answer.type_url == LAST, "something else was sent"


class Metrics:
    def __init__(self) -> None:
        self.pushes: list[tuple[str, int]] = []
        self.acks: list[tuple[str, dict[str, float]]] = []
        self.nacks: list[str] = []
        self.clients: list[int] = []

    def push(self, kind: str, size: int, seconds: float) -> None:
        assert seconds >= 0
        self.pushes.append((kind, size))

    def acked(self, kind: str, seconds: float, convergence: dict[str, float]) -> None:
        assert seconds > 0
        self.acks.append((kind, dict(convergence)))

    def nack(self, kind: str) -> None:
        self.nacks.append(kind)

    def connected(self, clients: int) -> None:
        self.clients.append(clients)


async def test_first_request_with_foreign_nonce_and_version_is_answered(
    port, publisher, entry, connect
) -> None:
    await publisher.put(entry("a"))
    peer = connect(port)

    await peer.ask(SE, nonce="2026-11-23 10:00:00", version="v77")

    answer = await peer.answer()
    assert names(answer) == ["legacy/a"]
    assert answer.nonce
    assert answer.version_info


@pytest.mark.parametrize(
    "type_url", [MESH_CONFIG, LAST, "a/b/C", "", "no parts", "type.googleapis.com/x.y.Z"]
)
async def test_any_other_type_is_answered_empty_at_once(port, connect, type_url: str) -> None:
    peer = connect(port)

    await peer.ask(type_url)

    answer = await peer.answer()
    assert (answer.type_url, names(answer)) == (type_url, [])


async def test_each_url_version_is_answered_under_its_own_url(port, publisher, entry, connect) -> None:
    await publisher.put(entry("a"))
    peer = connect(port)
    urls = [f"networking.istio.io/{version}/ServiceEntry" for version in ("v1", "v1beta1", "v1alpha3")]

    for url in urls:
        await peer.ask(url)
    answers = [await peer.answer() for _ in urls]

    assert [answer.type_url for answer in answers] == urls
    assert {tuple(names(answer)) for answer in answers} == {("legacy/a",)}


async def test_our_kinds_are_held_until_the_first_publication(port, publisher, entry, connect) -> None:
    peer = connect(port)
    await peer.ask(SE)
    await settled(peer)

    await publisher.put(entry("a"))

    assert names(await peer.answer()) == ["legacy/a"]


async def test_push_has_the_full_set_of_the_changed_type_only(
    port, publisher, entry, workload, connect
) -> None:
    await publisher.put(entry("a"), entry("b"), workload("w"))
    peer = connect(port)
    await peer.ask(SE)
    await peer.ask(WE)
    first = [(await peer.acked()).type_url for _ in range(2)]

    await publisher.put(entry("a", salt=1))

    assert first == [WE, SE]
    assert names(await peer.acked()) == ["legacy/a", "legacy/b"]
    await settled(peer)


async def test_publication_without_difference_sends_nothing(port, publisher, entry, connect) -> None:
    await publisher.put(entry("a"))
    peer = connect(port)
    await peer.ask(SE)
    await peer.acked()

    await publisher.put(entry("a"))

    await settled(peer)


async def test_nack_is_counted_and_answered_only_by_a_change(
    serve, cache, publisher, entry, connect, eventually
) -> None:
    metrics = Metrics()
    server, port = await serve(cache, metrics=metrics)
    await publisher.put(entry("a"))
    peer = connect(port)
    await peer.ask(SE)
    bad = await peer.answer()

    await peer.ask(SE, bad.nonce, error="invalid host")
    await settled(peer)
    assert metrics.nacks == ["ServiceEntry"]
    assert server.clients.statuses()[0].types[0].nacks == 1
    await publisher.put(entry("a", salt=1))

    assert names(await peer.answer()) == ["legacy/a"]


async def test_stale_nonce_causes_no_answer(port, publisher, entry, connect) -> None:
    await publisher.put(entry("a"))
    peer = connect(port)
    await peer.ask(SE)
    first = await peer.acked()
    await publisher.put(entry("a", salt=1))
    await peer.acked()

    await peer.ask(SE, first.nonce, first.version_info)

    await settled(peer)


async def test_new_names_are_answered_with_the_whole_type_under_a_new_nonce(
    port, publisher, entry, connect
) -> None:
    await publisher.put(entry("a"))
    peer = connect(port)
    await peer.ask(SE)
    first = await peer.answer()

    await peer.ask(SE, first.nonce, names=["legacy/a"])

    again = await peer.answer()
    assert names(again) == ["legacy/a"]
    assert again.version_info == first.version_info
    assert again.nonce != first.nonce


async def test_client_that_never_acknowledges_gets_newer_states(port, publisher, entry, connect) -> None:
    await publisher.put(entry("a"))
    peer = connect(port)
    await peer.ask(SE)
    await peer.answer()

    await publisher.put(entry("b"))
    await publisher.put(entry("c"))

    assert names(await peer.answer()) == ["legacy/a", "legacy/b", "legacy/c"]


async def test_clients_get_the_same_bytes(port, publisher, entry, connect) -> None:
    await publisher.put(entry("a"))
    answers = []
    for _ in range(3):
        peer = connect(port)
        await peer.ask(SE)
        answers.append((await peer.answer()).SerializeToString())

    assert len(set(answers)) == 1


async def test_convergence_is_the_age_of_the_oldest_unseen_event(
    serve, cache, publisher, entry, connect, eventually
) -> None:
    now = 100.0
    metrics = Metrics()

    def clock() -> float:
        nonlocal now
        now += 0.001
        return now

    _, port = await serve(cache, metrics=metrics, clock=clock, pacing=Pacing(0.0, 1e6, 0.0, 0.0, 0.0))
    await publisher.put(entry("a"), oldest={"vms": 1.0})
    peer = connect(port)
    await peer.ask(SE)
    first = await peer.answer()
    await publisher.put(entry("a", salt=1), oldest={"vms": 40.0, "dc1": 60.0})
    await publisher.put(entry("a", salt=2), oldest={"vms": 50.0})
    await peer.ask(SE, first.nonce)
    await peer.acked()
    await eventually(lambda: len(metrics.acks) == 2)

    assert metrics.acks[0] == ("ServiceEntry", {})
    assert metrics.acks[1][0] == "ServiceEntry"
    assert metrics.acks[1][1] == pytest.approx({"vms": 60.0, "dc1": 40.0}, abs=0.5)
    assert [kind for kind, _ in metrics.pushes] == ["ServiceEntry", "ServiceEntry"]


async def test_refused_response_is_not_counted_as_convergence(
    serve, cache, publisher, entry, connect, eventually
) -> None:
    metrics = Metrics()
    _, port = await serve(cache, metrics=metrics)
    await publisher.put(entry("a"))
    peer = connect(port)
    await peer.ask(SE)
    await peer.acked()
    await publisher.put(entry("a", salt=1), oldest={"vms": 1.0})
    refused = await peer.answer()
    await peer.ask(SE, refused.nonce, error="bad")
    await publisher.put(entry("a", salt=2), oldest={"dc1": 2.0})
    await peer.acked()
    await eventually(lambda: len(metrics.acks) == 2)

    assert metrics.acks[1][1].keys() == {"dc1"}


async def test_status_names_the_client_while_it_is_connected(
    serve, cache, publisher, connect, eventually
) -> None:
    metrics = Metrics()
    server, port = await serve(cache, metrics=metrics)
    await publisher.put()
    peer = connect(port)
    request = DiscoveryRequest(type_url=SE)
    request.node.id = "sidecar~10.0.0.1~istiod-0.istio-system~istio-system.svc.cluster.local"
    request.node.metadata.update({"ISTIO_REVISION": "blue"})
    await peer.send(request.SerializeToString())
    answer = await peer.acked()
    await eventually(lambda: server.clients.statuses()[0].types[0].acked == answer.version_info)

    [status] = server.clients.statuses()
    assert (status.id, status.revision) == (request.node.id, "blue")
    assert status.address.startswith("127.0.0.1:")
    peer.call.cancel()
    await eventually(lambda: len(server.clients) == 0)
    assert metrics.clients == [1, 0]


async def test_bad_bytes_end_their_stream_alone(port, publisher, entry, connect) -> None:
    await publisher.put(entry("a"))
    good, bad = connect(port), connect(port)
    await good.ask(SE)
    await good.acked()

    await bad.send(b"\xff\xff\xff")

    assert await bad.status() is grpc.StatusCode.INVALID_ARGUMENT
    await publisher.put(entry("b"))
    assert names(await good.answer()) == ["legacy/a", "legacy/b"]


async def test_stream_may_not_ask_for_unboundedly_many_types(port, connect) -> None:
    peer = connect(port)
    for i in range(101):
        await peer.ask(f"a/b/{i}")

    assert await peer.status() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_client_that_ends_its_side_is_let_go(serve, cache, connect, eventually) -> None:
    server, port = await serve(cache)
    peer = connect(port)
    await peer.ask(SE)
    await eventually(lambda: len(server.clients) == 1)

    await peer.call.done_writing()

    assert await peer.status() is grpc.StatusCode.OK
    assert len(server.clients) == 0


async def test_stop_sends_nothing_and_says_unavailable(serve, cache, publisher, entry, connect) -> None:
    server, port = await serve(cache)
    await publisher.put(entry("a"))
    peer = connect(port)
    await peer.ask(SE)
    await peer.acked()

    await server.stop(5.0)

    assert await peer.status() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.aio.AioRpcError):
        await peer.call.read()


async def test_stop_while_answers_are_held_sends_none(serve, cache, connect) -> None:
    server, port = await serve(cache)
    peer = connect(port)
    await peer.ask(SE)
    await settled(peer)

    await server.stop(5.0)

    with pytest.raises(grpc.aio.AioRpcError):
        await peer.call.read()


async def test_stop_before_start_does_nothing(cache) -> None:
    await McpServer(Serving(cache), "127.0.0.1:0").stop(1.0)


async def test_taken_port_is_an_error_that_names_the_address(cache, serve) -> None:
    _, port = await serve(cache)

    with pytest.raises(SinkError, match=f"127.0.0.1:{port}: Address already in use"):
        await serve(cache, f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("listen", "reason"),
    [("no-port", "not host:port"), ("192.0.2.1:0", "Cannot assign")],
)
async def test_address_that_can_not_be_had_is_an_error(cache, serve, listen: str, reason: str) -> None:
    with pytest.raises(SinkError, match=reason):
        await serve(cache, listen)


async def test_client_that_does_not_read_holds_up_no_other(
    serve, cache, publisher, entry, connect, eventually
) -> None:
    server, port = await serve(cache, turns=Turns(at_once=4, longest=0.1))
    await publisher.put(*(entry(f"s{i}", 100) for i in range(1200)))  # 7 MB, beyond any window.
    before = resident_megabytes()
    deaf = [connect(port) for _ in range(10)]
    for peer in deaf:
        await peer.ask(SE)
    await eventually(lambda: len(server.clients) == 10)
    good = connect(port)
    await good.ask(SE)
    assert len((await good.acked(within=10)).resources) == 1200
    await eventually(
        lambda: all(c.types and c.types[0].version for c in server.clients.statuses()), within=10
    )
    stalled = resident_megabytes()

    for salt in range(1, 31):  # Copies kept for each would be 2 GB.
        await publisher.put(entry("s0", 100, salt))
        assert len((await good.acked()).resources) == 1200

    assert stalled - before < 400
    assert resident_megabytes() - stalled < 300


async def test_client_that_reads_nothing_for_too_long_is_let_go(
    serve, cache, publisher, entry, connect, eventually
) -> None:
    server, port = await serve(cache, write_timeout=0.3, slowest_rate=1e9)
    await publisher.put(*(entry(f"s{i}", 100) for i in range(1200)))  # 7 MB, beyond any window.
    peer = connect(port)

    await peer.ask(SE)

    await eventually(lambda: len(server.clients) == 1)
    await eventually(lambda: len(server.clients) == 0, within=5)


async def test_fifty_thousand_endpoints_fit_in_one_response(port, publisher, entry, connect) -> None:
    await publisher.put(*(entry(f"s{i}", 1000) for i in range(50)))
    peer = connect(port)

    await peer.ask(SE)

    assert len((await peer.answer(within=20)).resources) == 50


async def test_quiet_client_may_ping_as_often_as_the_option_says(serve, cache, connect) -> None:
    lenient = (await serve(cache, ping_interval=0.05))[1]
    strict = (await serve(cache, ping_interval=300.0))[1]
    options = [
        ("grpc.keepalive_time_ms", 100),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    calls, channels = [], []
    for port in (lenient, strict):
        channels.append(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options))
        peer = connect(port)
        peer.call = channels[-1].stream_stream(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
        )()
        await peer.ask(SE)
        calls.append(peer)

    async with asyncio.timeout(20):  # gRPC's default ends the stream after a few pings.
        assert await calls[1].call.code() is not grpc.StatusCode.OK

    assert not calls[0].call.done()
    await settled(calls[0])
    for peer, channel in zip(calls, channels, strict=True):
        peer.call.cancel()
        await channel.close()


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:1234", "127.0.0.1:1234"),
        ("ipv6:%5B::1%5D:1234", "[::1]:1234"),
        ("unix:/run/x", "unix:/run/x"),
    ],
)
def test_peer_is_shown_as_an_address(peer: str, address: str) -> None:
    assert clean_peer(peer) == address


def resident_megabytes() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / 1e6
