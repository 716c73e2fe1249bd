"""Clients that mean harm, or are broken: others are served as ever, and memory stays bounded."""

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.mcp.dialects import delta, legacy, state_of_the_world
from meshbridge.mcp.flow import Pacing
from meshbridge.mcp.limits import Limits, TooMuch
from meshbridge.mcp.view import View
from meshbridge.schemas.proto.meshbridge_mcp_pb2 import RequestResources

SE = "networking.istio.io/v1/ServiceEntry"
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"


def resident_megabytes() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


@pytest.fixture
async def served(publisher, entry, connect) -> Callable:
    """Checks that a well-behaved client of a server gets every change at once."""
    await publisher.put(entry("a"))
    salt = 0

    async def check(port: int) -> None:
        nonlocal salt
        salt += 1
        peer = connect(port)
        await peer.ask(SE)
        await peer.acked()
        await publisher.put(entry("a", salt=salt % 250))
        await peer.acked(within=2.0)
        peer.call.cancel()

    return check


@pytest.mark.parametrize("speaker", [state_of_the_world, delta, legacy])
@given(raw=st.lists(st.binary(max_size=200), max_size=5))
def test_random_bytes_are_a_request_or_a_known_error(speaker: Callable, raw: list[bytes]) -> None:
    view = View()
    view.apply(1, [], [])
    dialect = speaker(view, Pacing(), Limits())
    for number, one in enumerate(raw):
        with suppress(DecodeError, TooMuch):
            dialect.hear(one, float(number))
        for url in dialect.due(number + 0.5).types:
            dialect.answer(url)


texts = st.text(st.characters(codec="utf-8"), max_size=10)
delta_requests = st.builds(
    DeltaDiscoveryRequest,
    type_url=st.sampled_from([SE, "a/b/C", ""]),
    response_nonce=st.sampled_from(["", "g1", "g1.1", "x"]),
    resource_names_subscribe=st.lists(texts | st.just("*"), max_size=3),
    resource_names_unsubscribe=st.lists(texts | st.just("*"), max_size=3),
    initial_resource_versions=st.dictionaries(texts, texts, max_size=3),
)
legacy_requests = st.builds(
    RequestResources,
    collection=st.sampled_from(["istio/networking/v1alpha3/serviceentries", "x"]),
    response_nonce=st.sampled_from(["", "g1", "g1.1"]),
    initial_resource_versions=st.dictionaries(texts, texts, max_size=3),
    incremental=st.booleans(),
)


@pytest.mark.parametrize(("speaker", "requests"), [(delta, delta_requests), (legacy, legacy_requests)])
def test_any_sequence_of_requests_is_answered_without_an_error(speaker: Callable, requests) -> None:
    @given(st.lists(requests, max_size=12))
    def play(story) -> None:
        view = View()
        dialect = speaker(view, Pacing(), Limits())
        for number, request in enumerate(story):
            view.apply(number + 1, [], [])
            now = number * 20.0
            dialect.hear(request.SerializeToString(), now)
            for url in dialect.due(now + 15.0).types:
                answer = dialect.answer(url)
                dialect.state.note(url, answer)
                nonce = dialect.state.nonce(url, answer.nonce)
                dialect.state.on_sent(url, answer.version, nonce, now + 15.0)

    play()


async def test_huge_names_end_their_stream_alone(port, connect, served) -> None:
    sotw, delta = connect(port), connect(port, "delta")

    await sotw.ask(SE, names=["x" * 100_000])
    await delta.say(SE, subscribe=["x" * 100_000])

    assert await sotw.status() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await delta.status() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await served(port)


@pytest.mark.parametrize("request_type", [DiscoveryRequest, DeltaDiscoveryRequest])
async def test_names_beyond_the_limit_end_their_stream(serve, cache, connect, served, request_type) -> None:
    _, port = await serve(cache, limits=Limits(names=1000))
    names = [f"legacy/{i}" for i in range(1001)]
    status = grpc.StatusCode.INTERNAL

    for _ in range(5):  # gRPC calls a write that meets the end of its stream INTERNAL, whatever the end was.
        if status is not grpc.StatusCode.INTERNAL:
            break
        peer = connect(port) if request_type is DiscoveryRequest else connect(port, "delta")
        with suppress(grpc.aio.AioRpcError):
            if request_type is DiscoveryRequest:
                await peer.ask(SE, names=names)
            else:
                for i in range(0, 1001, 100):
                    await peer.say(SE, subscribe=names[i : i + 100])
        status = await peer.status()

    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
    await served(port)


async def test_message_beyond_the_limit_ends_its_stream(serve, cache, connect, served) -> None:
    _, port = await serve(cache, limits=Limits(request_bytes=10_000))
    peer = connect(port)

    await peer.send(b"\0" * 10_001)

    assert await peer.status() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await served(port)


async def test_flood_of_requests_is_read_slowly_and_harms_nobody(serve, cache, connect, served) -> None:
    now = asyncio.get_running_loop().time
    _, port = await serve(cache, limits=Limits(requests_per_second=50, request_burst=10))
    peer = connect(port)
    request = DiscoveryRequest(type_url="a/b/C", response_nonce="x" * 1000).SerializeToString()

    async def flood() -> None:
        while True:
            await peer.send(request)

    flooding = asyncio.create_task(flood())
    started = now()
    for _ in range(5):
        await served(port)

    assert now() - started < 5
    flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)


async def test_thousands_of_streams_are_refused_beyond_the_limit(serve, cache, served, eventually) -> None:
    server, port = await serve(cache, limits=Limits(streams=60, streams_per_peer=50))
    before = resident_megabytes()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)])
    method = channel.stream_stream(METHOD, None, None)
    calls = [method() for _ in range(2000)]
    request = DiscoveryRequest(type_url=SE).SerializeToString()
    writes = [asyncio.create_task(send(call, request)) for call in calls]

    await eventually(lambda: len(server.clients) == 50, within=10)
    await asyncio.sleep(0.2)
    assert len(server.clients) == 50
    assert resident_megabytes() - before < 200
    for task in writes:
        task.cancel()
    for call in calls:
        call.cancel()
    await asyncio.gather(*writes, return_exceptions=True)
    await channel.close()
    await eventually(lambda: len(server.clients) == 0, within=10)
    await served(port)


async def send(call, request: bytes) -> None:
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await call.write(request)


async def test_stream_that_never_says_what_it_wants_is_ended(serve, cache, connect, served) -> None:
    _, port = await serve(cache, limits=Limits(first_request=0.2))
    peer = connect(port)

    assert await peer.status() is grpc.StatusCode.DEADLINE_EXCEEDED
    await served(port)


async def test_stream_that_said_what_it_wants_may_be_silent(serve, cache, connect, publisher, entry) -> None:
    _, port = await serve(cache, limits=Limits(first_request=0.1))
    await publisher.put(entry("a"))
    peer = connect(port)
    await peer.ask(SE)
    await peer.acked()
    await asyncio.sleep(0.3)

    await publisher.put(entry("b"))

    await peer.acked()


async def test_half_open_connections_and_other_protocols_harm_nobody(port, served) -> None:
    words = [
        b"",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\0" * 5000,
    ]
    sockets = []
    for number in range(200):
        found = socket.create_connection(("127.0.0.1", port))
        with suppress(ConnectionError):
            found.sendall(words[number % len(words)])
        sockets.append(found)

    await served(port)

    for found in sockets:
        found.close()


async def test_clients_killed_in_the_middle_of_a_push_leave_nothing_behind(
    serve, cache, publisher, entry, connect, served, eventually
) -> None:
    server, port = await serve(cache)
    await publisher.put(*(entry(f"s{i}", 100) for i in range(1200)))  # 7 MB, beyond any window.
    for protocol in ("sotw", "delta"):
        for _ in range(10):
            peer = connect(port, protocol)
            await (peer.ask(SE) if protocol == "sotw" else peer.say(SE))
            await eventually(lambda: any(c.types and c.types[0].version for c in server.clients.statuses()))
            peer.call.cancel()
            await peer.channel.close()

    await eventually(lambda: len(server.clients) == 0)
    await served(port)


async def test_client_process_that_is_killed_in_the_middle_of_a_push_is_let_go(
    serve, cache, publisher, entry, served, eventually
) -> None:
    server, port = await serve(cache)
    await publisher.put(*(entry(f"s{i}", 100) for i in range(1200)))
    program = f"""
import grpc, time
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
def asks():
    yield DiscoveryRequest(type_url="{SE}").SerializeToString()
    time.sleep(60)
channel = grpc.insecure_channel("127.0.0.1:{port}", [("grpc.http2.bdp_probe", 0)])
call = channel.stream_stream("{METHOD}")(asks())
time.sleep(60)
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)

    def is_written_to() -> bool:
        return any(found.types and found.types[0].version for found in server.clients.statuses())

    await eventually(is_written_to, within=20)

    process.kill()
    await process.wait()

    await eventually(lambda: len(server.clients) == 0)
    await served(port)


async def test_client_that_connects_in_a_loop_harms_nobody(serve, cache, connect, served, eventually) -> None:
    server, port = await serve(cache)
    await served(port)
    before = resident_megabytes()

    for _ in range(200):
        peer = connect(port)
        await peer.ask(SE, nonce="1795527651743")
        await peer.answer()
        await peer.channel.close()

    await served(port)
    await eventually(lambda: len(server.clients) == 0)
    assert resident_megabytes() - before < 50


async def test_clients_that_never_read_hold_one_answer_each(serve, cache, publisher, entry, connect) -> None:
    _, port = await serve(cache, pacing=Pacing(min_push_interval=0.0, ack_timeout=0.01))
    await publisher.put(*(entry(f"s{i}", 100) for i in range(1200)))
    size = len(cache.current(SE).body) / 1e6
    frozen = [connect(port) for _ in range(8)]
    before = resident_megabytes()
    for peer in frozen:
        await peer.ask(SE)

    for salt in range(20):
        await publisher.put(entry("s0", 100, salt=salt))
        await asyncio.sleep(0.05)

    assert resident_megabytes() - before < (len(frozen) + 4) * size


@pytest.mark.parametrize("protocol", ["sotw", "delta", "legacy"])
async def test_replayed_nonces_bring_nothing(port, publisher, entry, connect, protocol: str) -> None:
    await publisher.put(entry("a"))
    url = "istio/networking/v1alpha3/serviceentries" if protocol == "legacy" else SE
    peer = connect(port, protocol)
    say, heard = (peer.ask, peer.acked) if protocol == "sotw" else (peer.say, peer.heard)
    await say(url)
    first = await heard()

    for _ in range(50):
        await say(url, first.nonce)
    await say("a/b/C")

    answer = await heard()
    assert (answer.collection if protocol == "legacy" else answer.type_url) == "a/b/C"
