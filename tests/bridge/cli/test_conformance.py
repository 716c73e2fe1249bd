"""`meshbridge conformance` against our own server, which runs in a thread of its own."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from typer.testing import Result

from meshbridge.mcp.cache import SnapshotCache
from meshbridge.mcp.conformance.rules import RULES
from meshbridge.mcp.server import McpServer
from meshbridge.mcp.stream import Serving
from meshbridge.schemas.resource import EMPTY_SNAPSHOT, Publication, replace

Run = Callable[..., Result]


@pytest.fixture
def serving() -> Iterator[Callable[[bool], int]]:
    """Starts a server that is open, with nothing to serve, or holds its answers."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    servers = []

    async def start(is_open: bool) -> int:
        cache = SnapshotCache()
        if is_open:
            await cache.apply(Publication(1, *replace(EMPTY_SNAPSHOT, {}), {}))
        servers.append(McpServer(Serving(cache), "127.0.0.1:0"))
        return await servers[0].start()

    yield lambda is_open: asyncio.run_coroutine_threadsafe(start(is_open), loop).result(10)
    for server in servers:
        asyncio.run_coroutine_threadsafe(server.stop(0), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_server_that_keeps_the_rules_ends_with_zero(run: Run, serving) -> None:
    port = serving(True)

    result = run("conformance", f"127.0.0.1:{port}", "-p", "legacy")

    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["PROTOCOL", "RESULT", "RULE", "REASON"]
    assert len(lines) == 1 + sum(rule.protocol == "legacy" for rule in RULES)
    assert all(line.startswith("legacy    pass") for line in lines[1:])


def test_server_that_breaks_a_rule_ends_with_one_and_says_why(run: Run, serving) -> None:
    port = serving(False)

    result = run("conformance", f"127.0.0.1:{port}", "-p", "sotw", "--timeout", "0.3", "-o", "json")

    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert {one["result"] for one in found} == {"fail"}
    assert "no answer for networking.istio.io/v1/ServiceEntry" in found[0]["reason"]


def test_address_where_nothing_listens_ends_with_three(run: Run) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]

        result = run("conformance", f"127.0.0.1:{port}", "--timeout", "2")

    assert result.exit_code == 3
    assert "no MCP server answers" in result.output


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["nowhere"], "is not HOST:PORT"),
        (["a:1", "--cert", "x.pem"], "--cert needs --ca"),
        (["a:1", "--ca", "/nowhere.pem"], "/nowhere.pem: No such file"),
    ],
)
def test_words_that_make_no_sense_end_with_two(run: Run, words: list[str], reason: str) -> None:
    result = run("conformance", *words)

    assert result.exit_code == 2
    assert reason in result.output
