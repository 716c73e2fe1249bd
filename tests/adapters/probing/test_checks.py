"""Tests of the checks against real servers on the loopback interface."""

import asyncio
import pathlib
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import grpc.aio
import pytest
from aiohttp import web

from meshbridge.adapters.base import AdapterContext, Emit
from meshbridge.adapters.probing.adapter import Probing
from meshbridge.adapters.probing.checks import Checks
from meshbridge.adapters.probing.settings import ProbeSettings
from meshbridge.schemas.errors import ConfigError
from meshbridge.schemas.registry import (
    FullSync,
    GroupUpdate,
    Health,
    Instance,
    Port,
    ServiceKey,
    SourceEvent,
    group,
)

Run = Callable[..., Awaitable[str]]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
async def black_hole() -> AsyncIterator[int]:
    """The port of a server that accepts and never answers."""
    ended = asyncio.Event()

    async def ignore(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    ended.set()
    server.close()
    await server.wait_closed()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Certificate and key files for the name vm.example."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=vm.example", "-addext", "subjectAltName=DNS:vm.example"]
    subprocess.run([*command.split(), *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


async def run(port: int, address: str = "127.0.0.1", **probe: object) -> str:
    settings = ProbeSettings.model_validate(probe)
    async with Checks(settings) as check:
        return await check(address, port, settings)


def make_app() -> web.Application:
    async def answer(request: web.Request) -> web.Response:
        status = int(request.match_info["status"])
        return web.Response(status=status, text="x" * 200_000, headers={"Location": "/500"})

    async def echo(request: web.Request) -> web.Response:
        right = request.host == "pay.example" and request.headers.get("X-Probe") == "hush"
        return web.Response(status=200 if right and request.query_string == "deep=1" else 400)

    app = web.Application()
    app.router.add_get("/{status:\\d+}", answer)
    app.router.add_get("/echo", echo)
    return app


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[int]]]:
    """Starts the HTTP server, plain or with TLS, and returns its port."""
    runner = web.AppRunner(make_app())
    await runner.setup()

    async def start(context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> int:
        await web.TCPSite(runner, host, 0, ssl_context=context).start()
        return int(runner.addresses[-1][1])

    yield start
    await runner.cleanup()


async def test_tcp_passes_where_somebody_listens(black_hole: int) -> None:
    assert await run(black_hole, tcp={}) == ""


async def test_tcp_fails_where_nobody_listens(closed_port: int) -> None:
    assert await run(closed_port, tcp={}) == "connection refused"


async def test_tcp_speaks_ipv6(closed_port: int) -> None:
    assert await run(closed_port, address="::1", tcp={}) in (
        "connection refused",
        "cannot assign requested address",
    )


async def test_tcp_resolves_names_and_tries_each_address(black_hole: int) -> None:
    assert await run(black_hole, address="localhost", tcp={}) == ""


async def test_tcp_fails_for_names_that_do_not_resolve() -> None:
    assert (await run(80, address="no-such-host.invalid", tcp={})).startswith("name not resolved")


@pytest.mark.parametrize("action", ["tcp", "http"])
async def test_addresses_that_are_no_host_names_fail(action: str) -> None:
    assert await run(80, address="a" * 70 + ".example", **{action: {}}) != ""


async def test_tcp_leaves_no_connection_waiting_to_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert await run(server.getsockname()[1], tcp={}) == ""
        accepted, _ = server.accept()

        with accepted, pytest.raises(ConnectionResetError):
            accepted.recv(1)


@pytest.mark.parametrize(
    ("path", "outcome"), [("/200", ""), ("/301", ""), ("/404", "status 404"), ("/500", "status 500")]
)
async def test_http_passes_by_status_and_follows_no_redirect(serve: Run, path: str, outcome: str) -> None:
    port = await serve()

    assert await run(port, http={"path": path}) == outcome  # type: ignore[arg-type]


async def test_http_sends_host_headers_and_query(serve: Callable[..., Awaitable[int]]) -> None:
    http = {"path": "/echo?deep=1", "host": "pay.example", "headers": {"X-Probe": "hush"}, "statuses": [200]}

    assert await run(await serve(), http=http) == ""


async def test_http_fails_where_nobody_listens(closed_port: int) -> None:
    assert await run(closed_port, http={}) == "connection refused"


async def test_http_that_never_answers_ends_with_the_callers_timeout(black_hole: int) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await run(black_hole, http={})


async def test_http_fails_when_the_answer_is_not_http() -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        outcome = await run(server.sockets[0].getsockname()[1], http={})

    assert outcome.startswith("no HTTP answer")


@pytest.fixture
def server_context(certificate: tuple[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


@pytest.mark.parametrize(
    ("trust", "outcome"),
    [
        ({"tls": {"ca_file": "{cert}", "server_name": "vm.example"}}, ""),
        ({"tls": {"ca_file": "{cert}", "server_name": "other.example"}}, "TLS handshake failed"),
        ({"tls": {"ca_file": "{cert}"}}, "TLS handshake failed"),
        ({}, "TLS handshake failed"),
        ({"insecure_skip_verify": True}, ""),
    ],
)
async def test_https_passes_with_a_certificate_that_is_trusted(
    serve: Callable[..., Awaitable[int]],
    server_context: ssl.SSLContext,
    certificate: tuple[str, str],
    trust: dict[str, object],
    outcome: str,
) -> None:
    port = await serve(server_context)
    tls = trust.get("tls")
    if isinstance(tls, dict):
        trust = {"tls": {key: value.format(cert=certificate[0]) for key, value in tls.items()}}

    assert await run(port, http={"path": "/200", "scheme": "https", **trust}) == outcome


async def test_https_shows_our_certificate_to_servers_that_ask(
    serve: Callable[..., Awaitable[int]], server_context: ssl.SSLContext, certificate: tuple[str, str]
) -> None:
    cert, key = certificate
    server_context.load_verify_locations(cert)
    server_context.verify_mode = ssl.CERT_REQUIRED
    port = await serve(server_context)
    http = {"path": "/200", "scheme": "https", "tls": {"ca_file": cert, "server_name": "vm.example"}}

    without = await run(port, http=http)
    http["tls"] = {"ca_file": cert, "server_name": "vm.example", "cert_file": cert, "key_file": key}

    assert without != ""
    assert await run(port, http=http) == ""


@pytest.mark.parametrize("action", ["http", "grpc"])
def test_missing_tls_files_are_a_configuration_error(action: str, tmp_path: pathlib.Path) -> None:
    tls = {"tls": {"ca_file": str(tmp_path / "missing.pem")}}
    scheme = {"scheme": "https"} if action == "http" else {}

    with pytest.raises(ConfigError, match="can't be used"):
        Checks(ProbeSettings.model_validate({action: {**tls, **scheme}}))


async def answer_health(request: bytes, context: grpc.aio.ServicerContext) -> bytes:  # type: ignore[type-arg]
    """SERVING for the server as a whole and for `pay`, NOT_SERVING for `shop`, unknown otherwise."""
    if request in (b"", b"\x0a\x03pay"):
        return b"\x08\x01"
    if request == b"\x0a\x04shop":
        return b"\x08\x02"
    await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")


@pytest.fixture
async def grpc_server() -> AsyncIterator[grpc.aio.Server]:
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(answer_health)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method}),)
    )
    yield server
    await server.stop(None)


@pytest.mark.parametrize(
    ("service", "outcome"),
    [
        ("", ""),
        ("pay", ""),
        ("shop", "gRPC health is 2, not SERVING"),
        ("other", "gRPC status NOT_FOUND"),
    ],
)
@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
async def test_grpc_passes_when_the_service_is_serving(
    grpc_server: grpc.aio.Server, address: str, service: str, outcome: str
) -> None:
    port = grpc_server.add_insecure_port("127.0.0.1:0")
    await grpc_server.start()

    assert await run(port, address=address, grpc={"service": service}) == outcome


async def test_grpc_fails_where_health_is_not_implemented() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    assert await run(port, grpc={}) == "gRPC status UNIMPLEMENTED"
    await server.stop(None)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_grpc_fails_where_nobody_listens(closed_port: int, address: str) -> None:
    assert await run(closed_port, address=address, grpc={}) == "gRPC status UNAVAILABLE"


async def test_grpc_that_never_answers_ends_with_the_callers_timeout(black_hole: int) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await run(black_hole, grpc={})


@pytest.fixture
def grpc_credentials(certificate: tuple[str, str]) -> grpc.ServerCredentials:
    cert, key = (pathlib.Path(path).read_bytes() for path in certificate)
    return grpc.ssl_server_credentials([(key, cert)])


async def test_grpc_with_tls_expects_the_servers_name(
    grpc_server: grpc.aio.Server, grpc_credentials: grpc.ServerCredentials, certificate: tuple[str, str]
) -> None:
    port = grpc_server.add_secure_port("127.0.0.1:0", grpc_credentials)
    await grpc_server.start()
    tls = {"ca_file": certificate[0]}

    right = await run(port, grpc={"tls": {**tls, "server_name": "vm.example"}})
    wrong = await run(port, grpc={"tls": {**tls, "server_name": "other.example"}})

    assert (right, wrong) == ("", "gRPC status UNAVAILABLE")


async def test_a_server_that_stops_makes_its_instance_unready_within_its_failures() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = Port("web", server.sockets[0].getsockname()[1])
    vms = group(ServiceKey("vms", "pay"), [Instance("1", "127.0.0.1", (port,))])
    seen: asyncio.Queue[Health] = asyncio.Queue()

    class Registry:
        name = "vms"

        async def run(self, emit: Emit) -> None:
            await emit(FullSync((vms,), 0.0))
            await asyncio.Event().wait()

    async def note(event: SourceEvent) -> None:
        if isinstance(event, GroupUpdate):
            seen.put_nowait(event.group.instances[0].health)

    settings = ProbeSettings.model_validate({"tcp": {}, "interval": "20ms"})
    running = asyncio.create_task(Probing(Registry(), settings, AdapterContext("vms")).run(note))
    async with asyncio.timeout(5):
        first = await seen.get()
        server.close()
        second = await seen.get()
    running.cancel()
    await asyncio.wait([running])

    assert (first, second) == (Health.READY, Health.UNREADY)
