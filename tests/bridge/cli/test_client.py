"""`meshbridge client` against a real MCP server."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import Result

from meshbridge.mcp.cache import SnapshotCache
from meshbridge.mcp.flow import Pacing
from meshbridge.mcp.server import McpServer
from meshbridge.mcp.stream import Serving
from meshbridge.schemas import wire
from meshbridge.schemas.istio import Location, Resolution, ServiceEntry, ServicePort, WorkloadEntry
from meshbridge.schemas.manifest import to_object
from meshbridge.schemas.resource import (
    EMPTY_SNAPSHOT,
    Kind,
    Publication,
    Resource,
    ResourceKey,
    replace,
    resource,
)
from meshbridge.schemas.settings import ServerTls

Process = asyncio.subprocess.Process
Start = Callable[..., Awaitable[Process]]
Once = Callable[..., Awaitable[tuple[int, str, str]]]


def shop(*addresses: str) -> Resource:
    spec = ServiceEntry(
        hosts=("shop.mesh",),
        location=Location.MESH_INTERNAL,
        resolution=Resolution.STATIC,
        ports=(ServicePort(number=80, name="http", protocol="HTTP"),),
        endpoints=tuple(WorkloadEntry(address=address) for address in addresses),
    )
    return resource(ResourceKey(Kind.SERVICE_ENTRY, "legacy", "shop"), wire.encode(spec))


VM = resource(
    ResourceKey(Kind.WORKLOAD_ENTRY, "legacy", "vm-1"),
    wire.encode(WorkloadEntry(address="10.0.0.9", ports={"http": 8080})),
    labels=(("app", "shop"),),
)


class Bridge:
    """An MCP server and what it serves."""

    def __init__(self) -> None:
        self.cache = SnapshotCache()
        self._published = Publication(0, EMPTY_SNAPSHOT, replace(EMPTY_SNAPSHOT, {})[1], {})

    async def publish(self, changes: dict[ResourceKey, Resource | None]) -> None:
        snapshot, delta = replace(self._published.snapshot, changes)
        self._published = Publication(self._published.generation + 1, snapshot, delta, {})
        await self.cache.apply(self._published)


@pytest.fixture
def served() -> Bridge:
    return Bridge()


@pytest.fixture
async def target(served: Bridge) -> AsyncIterator[str]:
    pacing = Pacing(min_push_interval=0.01, ack_timeout=0.5, first_answer_delay=0.01)
    server = McpServer(Serving(served.cache, pacing=pacing), "127.0.0.1:0")
    yield f"127.0.0.1:{await server.start()}"
    await server.stop(0.1)


@pytest.fixture
async def client() -> AsyncIterator[Start]:
    """Starts `meshbridge client` as a process of its own."""
    started: list[Process] = []

    async def start(*arguments: str) -> Process:
        program = "from meshbridge.bridge.cli import main; main()"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, "client", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
def once(run: Callable[..., Result]) -> Callable[..., Awaitable[tuple[int, str, str]]]:
    """Runs `meshbridge client` in a thread of this process, to its end."""

    async def invoke(*arguments: str) -> tuple[int, str, str]:
        result = await asyncio.to_thread(run, "client", *arguments)
        return result.exit_code, result.stdout, result.stderr

    return invoke


async def finish(process: Process) -> tuple[int | None, str, str]:
    stdout, stderr = await asyncio.wait_for(process.communicate(), 10)
    return process.returncode, stdout.decode(), stderr.decode()


async def read_row(process: Process) -> list[str]:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 10)
    return line.decode().split()


async def test_delta_shows_the_same(served: Bridge, target: str, once: Once) -> None:
    await served.publish({VM.key: VM, shop().key: shop("10.0.0.1", "10.0.0.2")})

    assert await once(target, "--delta") == await once(target)


async def test_once_shows_what_the_server_holds(served: Bridge, target: str, once: Once) -> None:
    await served.publish({VM.key: VM, shop().key: shop("10.0.0.1", "10.0.0.2")})

    code, stdout, stderr = await once(target)

    assert (code, stderr) == (0, "")
    header, *rows = (line.split() for line in stdout.splitlines())
    assert header == ["KIND", "NAMESPACE", "NAME", "HOSTS", "PORTS", "ENDPOINTS", "VERSION"]
    assert [row[:6] for row in rows] == [
        ["ServiceEntry", "legacy", "shop", "shop.mesh", "80/http", "2"],
        ["WorkloadEntry", "legacy", "vm-1", "10.0.0.9", "8080/http", "<none>"],
    ]


async def test_yaml_and_json_are_what_is_served(served: Bridge, target: str, once: Once) -> None:
    await served.publish({VM.key: VM})

    _, as_yaml, _ = await once(target, "-o", "yaml")
    _, as_json, _ = await once(target, "-o", "json")

    assert list(yaml.safe_load_all(as_yaml)) == [to_object(VM)]
    assert json.loads(as_json) == {"apiVersion": "v1", "kind": "List", "items": [to_object(VM)]}


async def test_kind_narrows_what_is_asked_for(served: Bridge, target: str, once: Once) -> None:
    await served.publish({VM.key: VM, shop().key: shop("10.0.0.1")})

    _, stdout, _ = await once(target, "--kind", "we", "-o", "name")

    assert stdout == "workloadentry/legacy/vm-1\n"


async def test_nothing_held_is_said_on_stderr(served: Bridge, target: str, once: Once) -> None:
    await served.publish({})

    code, stdout, stderr = await once(target)

    assert (code, stdout) == (0, "")
    assert "holds nothing" in stderr


async def test_follow_shows_each_change_until_interrupted(served: Bridge, target: str, client: Start) -> None:
    await served.publish({shop().key: shop("10.0.0.1")})
    process = await client(target, "--follow", "-k", "se")
    header, added = await read_row(process), await read_row(process)

    await served.publish({shop().key: shop("10.0.0.1", "10.0.0.2")})
    modified = await read_row(process)
    await served.publish({shop().key: None})
    deleted = await read_row(process)
    process.send_signal(signal.SIGINT)

    assert (header[0], added[0], added[6]) == ("EVENT", "ADDED", "1")
    assert (modified[0], modified[6]) == ("MODIFIED", "2")
    assert (deleted[0], deleted[3], deleted[6]) == ("DELETED", "shop", "2")
    assert await finish(process) == (130, "", "")


async def test_follow_as_json_is_one_event_a_line(served: Bridge, target: str, client: Start) -> None:
    await served.publish({VM.key: VM})
    process = await client(target, "--follow", "-o", "json")

    event = json.loads(" ".join(await read_row(process)))

    assert event == {"type": "ADDED", "object": to_object(VM)}


async def test_a_server_that_holds_its_answers_is_a_failure(target: str, once: Once) -> None:
    code, stdout, stderr = await once(target, "--timeout", "0.5")

    assert (code, stdout) == (1, "")
    assert "no answer for ServiceEntry, WorkloadEntry, WorkloadGroup within 0.5s" in stderr


async def test_no_server_is_unreachable(once: Once) -> None:
    code, _, stderr = await once("127.0.0.1:1", "--timeout", "0.3")

    assert code == 3
    assert "no MCP server answers at 127.0.0.1:1" in stderr


async def test_tls_is_spoken_with_an_authority(
    served: Bridge, once: Once, certificates: Callable[[str], tuple[Path, Path, Path]]
) -> None:
    ca, cert, key = certificates("mcp")
    tls = ServerTls(cert_file=str(cert), key_file=str(key))
    server = McpServer(Serving(served.cache), "127.0.0.1:0", tls=tls)
    target = f"127.0.0.1:{await server.start()}"
    await served.publish({VM.key: VM})

    code, stdout, _ = await once(target, "--ca", str(ca), "-o", "name")
    await server.stop(0.1)

    assert (code, stdout) == (0, "workloadentry/legacy/vm-1\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "is not HOST:PORT"),
        (["a:1", "--kind", "servicentry"], 'did you mean "serviceentry"'),
        (["a:1", "--follow", "-o", "yaml"], "--follow goes with"),
        (["a:1", "--ca", "/missing.pem"], "No such file"),
    ],
)
def test_wrong_arguments_are_usage_errors(
    run: Callable[..., Result], arguments: list[str], words: str
) -> None:
    result = run("client", *arguments)

    assert result.exit_code == 2
    assert words in result.stderr
