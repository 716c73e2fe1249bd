"""How servers are asked: encodings, credentials, TLS, bounds."""

import asyncio
import gzip
import json
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from meshbridge.adapters.eureka.client import Client, Failure, open_client
from meshbridge.adapters.eureka.settings import EurekaConfig
from meshbridge.schemas.errors import RegistryDenied, RegistryUnavailable

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
BODY = json.dumps({"applications": {"application": []}}).encode()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """`await serve(handler, ssl)` gives the base address of a server that answers by the handler."""
    runners = []

    async def begin(answer: Answer, tls: ssl.SSLContext | None = None) -> str:
        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        scheme = "https" if tls else "http"
        return f"{scheme}://localhost:{runner.addresses[0][1]}/eureka"

    yield begin
    for runner in runners:
        await runner.cleanup()


async def ask(url: str, known: bytes = b"", **settings: object) -> object:
    config = EurekaConfig.model_validate({"name": "spring", "urls": [url], **settings})
    async with open_client(config) as client:
        assert isinstance(client, Client)
        return await client.get(url, "/apps", known)


def answering(body: bytes, **headers: str) -> Answer:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, headers={key.replace("_", "-"): text for key, text in headers.items()})

    return answer


async def test_json_is_asked_for_and_the_servers_clock_is_read(serve) -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.path_qs, request.headers["Accept"], request.headers["Accept-Encoding"]))
        return web.Response(body=BODY, headers={"Date": "Thu, 01 Jan 1970 00:00:07 GMT"})

    found = await ask(await serve(answer), regions=["eu", "us"])

    assert asked == [("/eureka/apps?regions=eu,us", "application/json", "gzip")]
    assert (found.body, found.server_time, found.is_same) == (BODY, 7000, False)


async def test_clock_that_can_not_be_read_is_unknown(serve) -> None:
    assert (await ask(await serve(answering(BODY, Date="yesterday")))).server_time == 0


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_answer_that_is_the_same_comes_without_its_body(serve, encoding) -> None:
    body = gzip.compress(BODY, mtime=0) if encoding == "gzip" else BODY
    url = await serve(answering(body, Content_Encoding=encoding))

    first = await ask(url)
    again = await ask(url, first.digest)

    assert first.body == BODY
    assert (again.is_same, again.body, again.digest) == (True, b"", first.digest)


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (gzip.compress(BODY)[:-9], {"Content_Encoding": "gzip"}, "ends early"),
        (b"no gzip at all", {"Content_Encoding": "gzip"}, "damaged"),
        (zlib.compress(BODY), {"Content_Encoding": "br"}, "encoded as 'br'"),
    ],
)
async def test_damaged_answer_is_a_failure(serve, body, headers, reason) -> None:
    with pytest.raises(Failure, match=reason) as raised:
        await ask(await serve(answering(body, **headers)))

    assert raised.value.reason == "encoding"


async def test_answers_are_bounded_as_sent_and_unpacked(serve) -> None:
    long = b" " * 200_000

    async def streamed(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(20):
            await response.write(long[:10_000])
        return response

    for handler in (
        answering(long),
        streamed,
        answering(gzip.compress(long), Content_Encoding="gzip"),
    ):
        with pytest.raises(Failure, match="max_size") as raised:
            await ask(await serve(handler), max_size=100_000)
        assert raised.value.reason == "too_large"


@pytest.mark.parametrize(("status", "denied"), [(401, True), (403, False), (404, False), (500, False)])
async def test_status_is_told(serve, status, denied) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status)

    with pytest.raises(Failure, match=str(status)) as raised:
        await ask(await serve(answer))

    assert (raised.value.is_denied, raised.value.status) == (denied, status)


async def test_redirect_is_not_followed(serve) -> None:
    async def answer(_request: web.Request) -> web.Response:
        raise web.HTTPFound("http://192.0.2.1/elsewhere")

    with pytest.raises(Failure, match="302"):
        await ask(await serve(answer))


async def test_silent_server_runs_into_the_timeout(serve) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        await response.write(b"x")
        await asyncio.Event().wait()  # Until the client hangs up.
        return response

    with pytest.raises(Failure, match="in time"):
        await ask(await serve(answer), timeout="100ms")


async def test_credentials_are_read_for_every_request(serve, tmp_path: Path) -> None:
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(body=BODY)

    url = await serve(answer)
    file = tmp_path / "secret"
    for text in ("one", "two"):
        file.write_text(f"{text}\n")
        await ask(url, token_file=str(file))
        await ask(url, username="u", password_file=str(file))
    await ask(url, username="u", password="one")
    await ask(url)

    one, two = "Basic dTpvbmU=", "Basic dTp0d28="
    assert seen == ["Bearer one", one, "Bearer two", two, one, None]


@pytest.mark.parametrize("content", [None, b"\xff", "t\u00f6ken".encode(), b"a\nb"])
async def test_unusable_token_is_a_failure_that_does_not_show_it(tmp_path: Path, content) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(Failure, match="token_file") as raised:
        await ask("http://127.0.0.1:1/eureka", token_file=str(file))

    assert raised.value.is_denied


async def test_mutual_tls(serve, authority: trustme.CA, tmp_path: Path) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    ours = authority.issue_cert("bridge")
    ours.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    ours.private_key_pem.write_to_path(tmp_path / "key.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    url = await serve(answering(BODY), server)
    tls = {"ca_file": str(tmp_path / "ca.pem")}

    with pytest.raises(Failure, match=r"ssl|SSL|closed|reset|disconnected|Connection") as raised:
        await ask(url, tls=tls)
    assert raised.value.reason == "connection"
    pair = {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}
    assert (await ask(url, tls=tls | pair)).body == BODY
    with pytest.raises(Failure, match="certificate"):
        await ask(url, tls=tls | pair | {"server_name": "other.corp"})


async def test_unusable_tls_files_stop_the_source(start, eureka, tmp_path: Path) -> None:
    with pytest.raises(RegistryUnavailable, match="tls"):
        await start(eureka, zones={"a": ["https://h"]}, tls={"ca_file": str(tmp_path / "missing.pem")})


async def test_unreadable_password_is_denied(start, eureka, tmp_path: Path) -> None:
    with pytest.raises(RegistryDenied, match="password_file"):
        await start(eureka, username="u", password_file=str(tmp_path / "missing"))
