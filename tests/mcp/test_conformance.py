"""The conformance kit: our server passes it, and one that makes the usual mistakes does not."""

from collections.abc import AsyncIterator

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from meshbridge.mcp.conformance.rules import DELTA, LEGACY, RULES, SOTW, TYPES
from meshbridge.mcp.conformance.run import Timing, Unreachable, run
from meshbridge.mcp.conformance.script import fault, lines, saying
from meshbridge.mcp.conformance.tongues import TONGUES, Hearing

QUICK = Timing(answer=2.0, quiet=0.15)
ALL = (SOTW, DELTA, LEGACY)


async def results(port: int, protocols=ALL, timing: Timing = QUICK):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        return await run(channel, protocols, timing)


async def test_our_server_keeps_every_rule(port, publisher, entry, workload) -> None:
    await publisher.put(entry("a"), entry("b"), workload("w"))

    found = await results(port)

    assert [(r.rule, r.reason) for r in found if r.result != "pass"] == []
    assert [(r.protocol, r.rule) for r in found] == [(rule.protocol, rule.name) for rule in RULES]


async def test_rules_that_need_resources_are_skipped_where_there_are_none(port, publisher) -> None:
    await publisher.put()

    found = await results(port)

    assert {r.result for r in found} == {"pass", "skip"}
    assert {r.rule for r in found if r.result == "skip"} == {
        rule.name for rule in RULES if "$" in rule.script
    }


async def test_server_that_holds_its_answers_fails(port) -> None:
    found = await results(port, [SOTW], Timing(answer=0.2, quiet=0.1))

    assert {r.result for r in found} == {"fail"}
    assert "no answer for networking.istio.io/v1/ServiceEntry within 0.2 s" in found[0].reason


async def test_address_where_nothing_listens_is_unreachable(unused_tcp_port: int) -> None:
    with pytest.raises(Unreachable):
        await results(unused_tcp_port)


@pytest.fixture
def unused_tcp_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
async def careless() -> AsyncIterator[int]:
    """A server that answers everything, always the same, and ends the stream if it can't."""

    async def serve(requests, context) -> None:
        async for raw in requests:
            request = DiscoveryRequest.FromString(raw)
            if "Unheard" in request.type_url:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such type")
            await context.write(DiscoveryResponse(type_url=TYPES[SOTW]["SE"]).SerializeToString())

    server = grpc.aio.server()
    methods = {"StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(serve)}
    service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(0)


async def test_careless_server_fails_with_reasons(careless: int) -> None:
    found = await results(careless, timing=Timing(answer=0.3, quiet=0.1))

    reasons = {r.rule: r.reason for r in found if r.protocol == SOTW}
    assert {r.result for r in found if r.protocol == SOTW} == {"fail"}
    assert (
        "the server ended the stream: INVALID_ARGUMENT no such type"
        in reasons["unknown type is answered empty and ends nothing"]
    )
    assert "the response has no nonce" in reasons["first request is answered whatever nonce it has"]
    assert {(r.protocol, r.result) for r in found if r.protocol != SOTW} == {
        (DELTA, "skip"),
        (LEGACY, "skip"),
    }


SE = TYPES[SOTW]["SE"]


def heard(**more) -> Hearing:
    return Hearing(**{"type_url": SE, "nonce": "n2", "version": "v", "resources": {"l/a": "1"}, **more})


@pytest.mark.parametrize(
    ("words", "response", "reason"),
    [
        ("SE all", heard(), "it lacks l/b"),
        ("SE all", heard(resources={}), "it lacks l/a and 1 more"),
        ("SE none", heard(), "it has l/a"),
        ("SE some=l/b", heard(), "it lacks l/b"),
        ("SE only", heard(resources={"l/a": "1", "l/b": "1"}), "it has 2 resources"),
        ("SE removed=l/c", heard(), "l/c is not listed as removed"),
        ("SE gone=l/c", heard(is_whole=False), "neither listed as removed nor missing"),
        ("SE nonce=new", heard(nonce="n1"), "it has the nonce of the response before"),
        ("SE whole", heard(is_whole=False), "it is an increment"),
        ("SE", heard(faults=("bad",)), "bad"),
        ("SE some=l/a only nonce=new whole gone=l/c", heard(), ""),
    ],
)
def test_each_expectation_can_fail(words: str, response: Hearing, reason: str) -> None:
    before = heard(nonce="n1")

    found = fault(response, words.split(), before, {"l/a": "1", "l/b": "1"})

    assert found == reason or (reason and reason in found)


def test_response_that_breaks_the_basics_is_faulty() -> None:
    tongue = TONGUES[SOTW]
    response = DiscoveryResponse(type_url=SE)
    response.resources.add(type_url="x", value=b"")
    response.resources.add(type_url="type.googleapis.com/istio.mcp.v1alpha1.Resource", value=b"\xff")

    faults = tongue.hear(response.SerializeToString()).faults

    assert faults == (
        "the response has no nonce",
        'the name "" is not namespace/name',
        'the name "" is not namespace/name',
        "names occur more than once",
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.protocol}-{rule.name}")
def test_scripts_are_well_formed_and_expect_something(rule) -> None:
    played = lines(rule, {"l/a": "1"})

    for verb, *words in played:
        assert verb in {">", "<", "ack"}
        if words != ["nothing"]:
            assert words[0] in TYPES[rule.protocol]
        if verb == ">":
            TONGUES[rule.protocol].say(saying(rule.protocol, words, {}, {"l/a": "1"}))
    assert any(verb == "<" for verb, *_ in played)
    assert rule.why


def test_rules_have_names_of_their_own() -> None:
    assert len({(rule.protocol, rule.name) for rule in RULES}) == len(RULES)
