"""URLs and commands: what servers and programs answer in practice."""

import asyncio
import gzip
import os
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trustme
from aiohttp import web

from meshbridge.schemas.errors import RegistryDenied, RegistryUnavailable
from meshbridge.schemas.registry import SourceState

BODY = b'[{"targets": ["192.0.2.1:80"], "labels": {"service": "payments"}}]'

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers every request with the newest `answer`."""

    def __init__(self) -> None:
        self.answer: Answer = self.respond()
        self.requests: list[web.Request] = []
        self.url = ""

    def respond(self, body: bytes = BODY, **more: object) -> Answer:
        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.Response(body=body, **more)

        return answer

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        return await self.answer(request)


@asynccontextmanager
async def serving(found: Server, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    app = web.Application()
    app.router.add_get("/{path:.*}", found.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    found.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}/vms"
    try:
        yield found
    finally:
        await runner.cleanup()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(Server()) as found:
        yield found


async def _never(_request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


BOMB = gzip.compress(b"[" + b" " * 500_000 + b"]")

BAD_ANSWERS = {
    "a server error": ({"status": 503}, "HTTP status 503", RegistryUnavailable),
    "not found": ({"status": 404}, "HTTP status 404", RegistryUnavailable),
    "refused": ({"status": 401}, "HTTP status 401", RegistryDenied),
    "forbidden": ({"status": 403}, "HTTP status 403", RegistryDenied),
    "a redirect": (
        {"status": 302, "headers": {"Location": "http://elsewhere.example.com/?token=x"}},
        "a redirect to http://elsewhere.example.com/, which is not followed",
        RegistryUnavailable,
    ),
    "a proxy's page": ({"body": b"<html>busy</html>"}, "none of the known formats", RegistryUnavailable),
    "too large": ({"body": b"x" * 2000}, "2000 bytes are more than max_size", RegistryUnavailable),
    "a gzip bomb": (
        {"body": BOMB, "headers": {"Content-Encoding": "gzip"}},
        "more than max_size (1000 bytes, unpacked)",
        RegistryUnavailable,
    ),
    "a cut gzip": (
        {"body": gzip.compress(BODY)[:-9], "headers": {"Content-Encoding": "gzip"}},
        "the compressed answer ends early",
        RegistryUnavailable,
    ),
    "no gzip": (
        {"body": BODY, "headers": {"Content-Encoding": "gzip"}},
        "the compressed answer is damaged",
        RegistryUnavailable,
    ),
    "another encoding": (
        {"body": BODY, "headers": {"Content-Encoding": "br"}},
        "encoded as 'br'",
        RegistryUnavailable,
    ),
}


@pytest.mark.parametrize("case", BAD_ANSWERS)
async def test_a_bad_first_answer_stops_the_start(case, start, server) -> None:
    answer, message, error = BAD_ANSWERS[case]
    server.answer = server.respond(**answer)

    with pytest.raises(error) as raised:
        await start(urls=[server.url + "?key=hidden"], max_size=1000)

    assert message in str(raised.value)
    assert server.url in str(raised.value)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("case", BAD_ANSWERS)
async def test_a_bad_later_answer_keeps_the_last_good_one(case, start, server, eventually) -> None:
    answer, message, _ = BAD_ANSWERS[case]
    run = await start(urls=[server.url], max_size=1000, refresh="10ms")

    server.answer = server.respond(**answer)
    await eventually(lambda: run.report.state is not SourceState.SYNCED)
    assert message in run.report.reason
    server.answer = server.respond()
    await eventually(lambda: run.report.state is SourceState.SYNCED)

    assert run.updates == []
    assert run.addresses("payments") == {"192.0.2.1"}


async def test_an_unchanged_document_is_not_sent_again(start, server, eventually) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers.get("If-None-Match") == '"1"':
            return web.Response(status=304)
        return web.Response(body=BODY, headers={"ETag": '"1"'})

    server.answer = answer
    run = await start(urls=[server.url], refresh="10ms")
    await eventually(lambda: len(server.requests) > 3)

    assert run.report.state is SourceState.SYNCED
    assert run.updates == []
    assert run.counts.seen["success"] > 2


async def test_a_server_that_does_not_answer_times_out(start, server) -> None:
    server.answer = _never

    with pytest.raises(RegistryUnavailable, match="no complete answer in time"):
        await start(urls=[server.url], timeout="50ms")


async def test_a_server_that_is_not_there_is_unavailable(start, unused_tcp_port) -> None:
    with pytest.raises(RegistryUnavailable, match="ClientConnector"):
        await start(urls=[f"http://127.0.0.1:{unused_tcp_port}/vms"])


async def test_a_token_is_read_for_every_request(tmp_path, start, server, eventually) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    await start(urls=[server.url], token_file=str(token), refresh="10ms")
    assert server.requests[0].headers["Authorization"] == "Bearer first"

    token.write_text("second\n")

    await eventually(lambda: server.requests[-1].headers["Authorization"] == "Bearer second")


@pytest.mark.parametrize("content", [None, b"\xff", b"two\nlines"])
async def test_a_bad_token_file_is_denied(content, tmp_path, start, server) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)

    with pytest.raises(RegistryDenied, match="token_file"):
        await start(urls=[server.url], token_file=str(tmp_path / "token"))
    assert server.requests == []


async def test_bad_tls_files_are_named(tmp_path, start, server) -> None:
    with pytest.raises(RegistryUnavailable, match="the files under `tls` can't be used"):
        await start(urls=[server.url], tls={"ca_file": str(tmp_path / "missing.pem")})


async def test_a_server_is_read_over_mutual_tls(tmp_path, start) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    authority.issue_cert("inventory.example.com").configure_cert(context)

    async with serving(Server(), context) as server:
        tls = {"ca_file": str(tmp_path / "ca.pem"), "cert_file": str(tmp_path / "client.pem")}
        run = await start(urls=[server.url], tls={**tls, "server_name": "inventory.example.com"})
        assert run.addresses("payments") == {"192.0.2.1"}
        await run.stop()

        with pytest.raises(RegistryUnavailable, match="ClientConnectorCertificateError"):
            await start(urls=[server.url], tls=tls)


async def test_two_addresses_that_differ_in_their_query_are_two_documents(start, server) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=BODY.replace(b".1:", f".{request.query['part']}:".encode()))

    server.answer = answer
    run = await start(urls=[server.url + "?part=7", server.url + "?part=8"])

    assert run.addresses("payments") == {"192.0.2.7", "192.0.2.8"}


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


BAD_COMMANDS = {
    "a failure": (python("import sys; sys.exit('no such host')"), "exit status 1: no such host"),
    "a silent failure": (["false"], "exit status 1"),
    "no such program": (["/no/such/program"], "can't be started: No such file or directory"),
    "too much output": (python("print('x' * 100000)"), "prints more than max_size (1000 bytes)"),
    "too slow": (["sleep", "60"], "did not end within 0.5 seconds"),
    "no inventory": (["echo", "hello"], "none of the known formats"),
}


@pytest.mark.parametrize("case", BAD_COMMANDS)
async def test_a_bad_command_stops_the_start(case, start) -> None:
    argv, message = BAD_COMMANDS[case]

    with pytest.raises(RegistryUnavailable) as raised:
        await start(commands=[argv], max_size=1000, timeout="500ms")

    assert f"command {argv[0]}" in str(raised.value)
    assert message in str(raised.value)


async def test_a_cancelled_command_ends_with_its_children(tmp_path, start, eventually) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess; child = subprocess.Popen(['sleep', '60']);"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}\\n'); child.wait()"
    )
    begin = asyncio.create_task(start(commands=[python(code)]))
    await eventually(lambda: pids.exists() and pids.read_text().endswith("\n"))

    begin.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begin
    tasks = [task for task in asyncio.all_tasks() if task.get_name() == "adapter under test"]
    tasks[0].cancel()
    await asyncio.wait(tasks, timeout=1)

    for pid in pids.read_text().split():
        await eventually(lambda pid=pid: _has_ended(int(pid)))


def _has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"
