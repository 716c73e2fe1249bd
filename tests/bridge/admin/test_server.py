import asyncio
import os
import socket
import ssl
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from meshbridge.bridge.admin.server import AdminServer
from meshbridge.bridge.config.models import Admin
from meshbridge.schemas.errors import ConfigError, SinkError

Serve = Callable[..., Awaitable[str]]


async def status(http: aiohttp.ClientSession, method: str, url: str, **headers: str) -> int:
    async with http.request(method, url, headers=headers) as answer:
        await answer.json(content_type=None) if "json" in answer.content_type else await answer.read()
        return answer.status


async def test_token_opens_reads_and_changes(
    http: aiohttp.ClientSession, serve: Serve, token_file: Path, view: Any
) -> None:
    url = f"http://{await serve(token_file=str(token_file))}"
    right = {"Authorization": "Bearer sesame"}

    assert await status(http, "GET", f"{url}/api/v1/sources") == 401
    assert await status(http, "GET", f"{url}/metrics") == 401
    assert await status(http, "GET", f"{url}/api/v1/sources", Authorization="Bearer wrong") == 401
    assert await status(http, "POST", f"{url}/api/v1/release/vms", Authorization="Basic sesame") == 401
    assert view.released == []
    assert await status(http, "GET", f"{url}/api/v1/sources", **right) == 200
    assert await status(http, "POST", f"{url}/api/v1/release/vms/a", **right) == 200
    assert view.released == ["vms/a"]


async def test_releasing_an_unknown_source_is_not_found(
    http: aiohttp.ClientSession, serve: Serve, token_file: Path
) -> None:
    url = f"http://{await serve(token_file=str(token_file))}"

    found = await status(http, "POST", f"{url}/api/v1/release/nobody", Authorization="Bearer sesame")

    assert found == 404


async def test_health_needs_no_token(http: aiohttp.ClientSession, serve: Serve, token_file: Path) -> None:
    url = f"http://{await serve(token_file=str(token_file))}"

    assert await status(http, "GET", f"{url}/healthz") == 200
    assert await status(http, "GET", f"{url}/readyz") == 200


async def test_changed_token_file_counts_at_once(
    http: aiohttp.ClientSession, serve: Serve, token_file: Path
) -> None:
    url = f"http://{await serve(token_file=str(token_file))}/api/v1/sources"
    renewed = token_file.with_name("renewed")
    renewed.write_text("changed")
    renewed.rename(token_file)

    assert await status(http, "GET", url, Authorization="Bearer sesame") == 401
    assert await status(http, "GET", url, Authorization="Bearer changed") == 200


def replace(path: Path, content: bytes | None) -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
async def test_unusable_token_file_lets_nobody_in(
    http: aiohttp.ClientSession, serve: Serve, token_file: Path, content: bytes | None
) -> None:
    url = f"http://{await serve(token_file=str(token_file))}/api/v1/sources"
    replace(token_file, content)

    assert await status(http, "GET", url, Authorization="Bearer sesame") == 401
    assert await status(http, "GET", url, Authorization="Bearer ") == 401


@pytest.mark.parametrize("content", [None, b" \n", b"\xff\xfe", b"x" * 70_000])
async def test_unusable_token_file_is_a_config_error_at_start(
    serve: Serve, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=r"admin\.token_file"):
        await serve(token_file=str(path))


async def test_changes_are_refused_without_a_token(http: aiohttp.ClientSession, url: str, view: Any) -> None:
    assert await status(http, "POST", f"{url}/api/v1/release/vms") == 403
    assert view.released == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:80", "127.1.2.3"])
async def test_loopback_names_are_answered(http: aiohttp.ClientSession, url: str, host: str) -> None:
    assert await status(http, "GET", f"{url}/api/v1/sources", Host=host) == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:16080", "localhost.evil.example", "[bad", ""])
async def test_foreign_host_header_is_refused(http: aiohttp.ClientSession, url: str, host: str) -> None:
    assert await status(http, "GET", f"{url}/api/v1/sources", Host=host) == 403
    assert await status(http, "GET", f"{url}/metrics", Host=host) == 403


async def test_unix_socket_is_private_and_may_change_things(serve: Serve, tmp_path: Path, view: Any) -> None:
    path = tmp_path / "admin.sock"
    await serve(socket=str(path))

    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as local:
        assert await status(local, "POST", "http://meshbridge/api/v1/release/vms") == 200
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert view.released == ["vms"]


async def test_stale_socket_is_replaced_and_ours_removed_at_stop(view: Any, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    server = AdminServer(view, Admin(listen="127.0.0.1:0", socket=str(path)), CollectorRegistry())

    await server.start()
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
    await server.stop()

    assert not path.exists()


async def test_stop_leaves_the_socket_of_a_successor(view: Any, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    server = AdminServer(view, Admin(listen="127.0.0.1:0", socket=str(path)), CollectorRegistry())
    await server.start()
    successor = tmp_path / "successor"
    successor.write_text("")
    os.rename(successor, path)

    await server.stop()

    assert path.exists()


async def test_socket_of_a_living_process_is_left_alone(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    await serve(socket=str(path))

    with pytest.raises(SinkError, match="another process listens there"):
        await serve(socket=str(path))
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))


async def test_a_file_that_is_no_socket_is_left_alone(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("kept")

    with pytest.raises(SinkError, match="is not a socket"):
        await serve(socket=str(path))
    assert path.read_text() == "kept"


async def test_unusable_socket_path_is_said(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="No such file"):
        await serve(socket=str(tmp_path / "missing" / "admin.sock"))


async def test_taken_address_is_said(serve: Serve) -> None:
    address = await serve()

    with pytest.raises(SinkError, match=f"can't listen on {address}: Address already in use"):
        await serve(listen=address)


async def test_stop_does_not_wait_for_long_polls(view: Any, http: aiohttp.ClientSession) -> None:
    server = AdminServer(view, Admin(listen="127.0.0.1:0"), CollectorRegistry())
    url = f"http://{await server.start()}/api/v1/sources"
    poll = asyncio.create_task(status(http, "GET", f"{url}?generation=7&wait=60"))
    await asyncio.wait_for(view.polled.wait(), 5)

    async with asyncio.timeout(0.5):
        await server.stop()

    assert await poll == 200


async def test_tls_serves_and_takes_up_a_renewed_certificate(
    serve: Serve,
    tmp_path: Path,
    certificates: Callable[[str], tuple[Path, Path, Path]],
    trusting: Callable[[Path], ssl.SSLContext],
) -> None:
    ca, cert, key = certificates("first")
    used = {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}

    def install(cert: Path, key: Path) -> None:
        for path, kept in ((cert, used["cert_file"]), (key, used["key_file"])):
            os.symlink(path, f"{kept}.new")
            os.rename(f"{kept}.new", kept)

    install(cert, key)
    address = await serve(tls=used)

    async def answer(ca: Path) -> int:
        connector = aiohttp.TCPConnector(ssl=trusting(ca))
        async with aiohttp.ClientSession(connector=connector) as http:
            return await status(http, "GET", f"https://{address}/api/v1/sources")

    assert await answer(ca) == 200
    renewed_ca, renewed, renewed_key = certificates("second")
    install(renewed, renewed_key)
    assert await answer(renewed_ca) == 200
    os.unlink(used["key_file"])
    assert await answer(renewed_ca) == 200


async def test_client_certificates_are_required_when_configured(
    serve: Serve,
    certificates: Callable[[str], tuple[Path, Path, Path]],
    trusting: Callable[[Path], ssl.SSLContext],
) -> None:
    ca, cert, key = certificates("server")
    client_ca, client_cert, client_key = certificates("client")
    address = await serve(
        tls={"cert_file": str(cert), "key_file": str(key), "client_ca_file": str(client_ca)}
    )
    anonymous, known = trusting(ca), trusting(ca)
    known.load_cert_chain(client_cert, client_key)

    async def answer(context: ssl.SSLContext) -> int:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http:
            return await status(http, "GET", f"https://{address}/api/v1/sources")

    assert await answer(known) == 200
    with pytest.raises(aiohttp.ClientError):
        await answer(anonymous)


async def test_missing_certificate_is_a_config_error(serve: Serve, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")

    with pytest.raises(ConfigError, match=r"admin\.tls: .*missing\.pem"):
        await serve(tls={"cert_file": missing, "key_file": missing})
